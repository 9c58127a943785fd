/** Whether bytes are those of a CID. What no check was made of never leaves this module as a block. */
import type { CID } from 'multiformats/cid';
import { DIGEST_NAMES, digestKind } from '../base/digests.ts';
import { OpError } from '../base/errors.ts';

const IDENTITY_CODE = 0;

/**
 * @throws OpError integrity: they are not; unsupported: by a hash that kitfs does not know, with
 *   details {cid}.
 */
export function demandBytesOf(cid: CID, bytes: Uint8Array, op: string): void {
  const { code, digest } = cid.multihash;
  const hash = digestKind(code);
  if (hash === undefined && code !== IDENTITY_CODE) throw unknownHash(cid, op);
  const found = hash === undefined ? bytes : hash.digest(bytes);
  if (Buffer.compare(found, digest) === 0) return;
  throw new OpError('integrity', op, { details: { cid: cid.toString() } });
}

const unknownHash = (cid: CID, op: string): OpError =>
  new OpError('unsupported', op, {
    hint: `kitfs verifies ${DIGEST_NAMES} only`,
    details: { cid: cid.toString() },
  });

/** The bytes that a CID is itself; undefined: it is the hash of others. */
export const inlineBytes = ({ multihash }: CID): Uint8Array | undefined =>
  multihash.code === IDENTITY_CODE ? multihash.digest : undefined;

/** The name of a CID's hash as Kubo calls it. @throws OpError unsupported. */
export function hashName(cid: CID, op: string): string {
  const { code } = cid.multihash;
  const name = code === IDENTITY_CODE ? 'identity' : digestKind(code)?.name;
  if (name === undefined) throw unknownHash(cid, op);
  return name;
}
