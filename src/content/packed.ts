/** Packed bytes as functions of values: small buffers in, new or proven buffers out. */
import { hash } from 'node:crypto';
import { OpError } from '../base/errors.ts';
import type { ContentRow } from '../journal/journal.ts';

/** CIDv1, codec raw, SHA2-256 of 32 bytes: what sealed content of one chunk has (multiformats). */
const RAW_SHA2_256 = Buffer.from([0x01, 0x55, 0x12, 0x20]);

/**
 * The bytes of an object, hashed again when it is sealed: what is packed is small, and the kernel
 * keeps what it has read, so this is cheap and no damaged byte gets past it.
 * @throws OpError integrity.
 */
export function proven(row: Pick<ContentRow, 'id' | 'cid'>, bytes: Buffer): Buffer {
  const { cid } = row;
  if (cid === null || !isProvable(cid)) return bytes;
  const digest = hash('sha256', bytes, 'buffer');
  if (cid.compare(digest, 0, 32, 4, 36) === 0) return bytes;
  throw new OpError('integrity', `read content ${row.id}`, {
    hint: 'its bytes in the journal are damaged: restore the file from a snapshot or a backup',
    details: { content: row.id },
  });
}

const isProvable = (cid: Buffer): boolean =>
  cid.length === 36 && cid.compare(RAW_SHA2_256, 0, 4, 0, 4) === 0;

/** Whether bytes that are `proven` are those of this multihash: the row has it in its CID. */
export const isProof = ({ cid }: Pick<ContentRow, 'cid'>, multihash: Uint8Array): boolean =>
  cid !== null && isProvable(cid) && cid.compare(multihash, 0, multihash.length, 2) === 0;

/** `bytes` put over `old` at `position`; a gap between them reads as zeros. */
export function overwritten(old: Buffer, bytes: Buffer, position: number): Buffer {
  const result = resized(old, Math.max(old.length, position + bytes.length));
  bytes.copy(result, position);
  return result;
}

/** A copy of `old` with exactly `size` bytes, cut or filled with zeros. */
export function resized(old: Buffer, size: number): Buffer {
  const result = Buffer.alloc(size);
  old.copy(result, 0, 0, Math.min(size, old.length));
  return result;
}

/** A copy of `old` with zeros from `from` up to `to`, both within it or clipped to it. */
export function zeroed(old: Buffer, from: number, to: number): Buffer {
  const result = Buffer.from(old);
  return result.fill(0, Math.min(from, old.length), Math.min(to, old.length));
}
