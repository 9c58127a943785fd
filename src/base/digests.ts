/** The hashes by which bytes are told apart, by their codes in the multicodec table. */
import { createHash } from 'node:crypto';
import { blake2b } from '@noble/hashes/blake2.js';

export interface DigestKind {
  /** As the multicodec table and Kubo call it. */
  readonly name: 'sha2-256' | 'sha2-512' | 'blake2b-256';
  readonly code: number;
  digest(bytes: Uint8Array): Uint8Array;
}

/** Those that kitfs can verify; of the rest it takes no bytes. */
export const DIGESTS: readonly DigestKind[] = [
  { name: 'sha2-256', code: 0x12, digest: (bytes) => createHash('sha256').update(bytes).digest() },
  { name: 'sha2-512', code: 0x13, digest: (bytes) => createHash('sha512').update(bytes).digest() },
  // OpenSSL has it with 64 bytes only.
  { name: 'blake2b-256', code: 0xb220, digest: (bytes) => blake2b(bytes, { dkLen: 32 }) },
];

const BY_CODE: ReadonlyMap<number, DigestKind> = new Map(DIGESTS.map((kind) => [kind.code, kind]));

export const digestKind = (code: number): DigestKind | undefined => BY_CODE.get(code);

/** For a hint: what can be verified. */
export const DIGEST_NAMES = [...DIGESTS.map(({ name }) => name), 'identity'].join(', ');
