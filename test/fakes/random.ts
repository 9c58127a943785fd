/** Tokens of the right length that count up, so that a run can be repeated. */
import type { Random } from '../../src/base/random.ts';

export class CountingRandom implements Random {
  #count = 0;

  token(): string {
    this.#count += 1;
    return `token-${String(this.#count).padStart(16, '0')}`;
  }
}
