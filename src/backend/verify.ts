/** Whether bytes are those of a CID. What no check was made of never leaves this module as a block. */
import { createHash } from 'node:crypto';
import type { CID } from 'multiformats/cid';
import { OpError } from '../base/errors.ts';

interface Hash {
  /** As the multicodec table and Kubo call it. */
  readonly name: string;
  /** As Node calls it. */
  readonly algorithm: string;
}

/** By their codes in the multicodec table. */
const HASHES: Readonly<Record<number, Hash>> = {
  18: { name: 'sha2-256', algorithm: 'sha256' },
  19: { name: 'sha2-512', algorithm: 'sha512' },
};
const IDENTITY_CODE = 0;
const KNOWN = [...Object.values(HASHES).map(({ name }) => name), 'identity'].join(', ');

/**
 * @throws OpError integrity: they are not; unsupported: by a hash that kitfs does not know, with
 *   details {cid}.
 */
export function demandBytesOf(cid: CID, bytes: Uint8Array, op: string): void {
  const { code, digest } = cid.multihash;
  const hash = HASHES[code];
  if (hash === undefined && code !== IDENTITY_CODE) throw unknownHash(cid, op);
  const found = hash === undefined ? bytes : createHash(hash.algorithm).update(bytes).digest();
  if (Buffer.compare(found, digest) === 0) return;
  throw new OpError('integrity', op, { details: { cid: cid.toString() } });
}

const unknownHash = (cid: CID, op: string): OpError =>
  new OpError('unsupported', op, {
    hint: `kitfs verifies ${KNOWN} only`,
    details: { cid: cid.toString() },
  });

/** The bytes that a CID is itself; undefined: it is the hash of others. */
export const inlineBytes = ({ multihash }: CID): Uint8Array | undefined =>
  multihash.code === IDENTITY_CODE ? multihash.digest : undefined;

/** The name of a CID's hash as Kubo calls it. @throws OpError unsupported. */
export function hashName(cid: CID, op: string): string {
  const { code } = cid.multihash;
  const name = code === IDENTITY_CODE ? 'identity' : HASHES[code]?.name;
  if (name === undefined) throw unknownHash(cid, op);
  return name;
}
