/** Where randomness comes from; everything else is handed it. */
import { randomBytes } from 'node:crypto';

/** Randomness comes in by constructor, so that a test can repeat a run. */
export interface Random {
  /** An opaque handle of 128 random bits, URL-safe, 22 characters. */
  token(): string;
}

export class SystemRandom implements Random {
  token(): string {
    return randomBytes(16).toString('base64url');
  }
}
