/**
 * CIDs as text, as bytes, and as keys of the block store.
 *
 * A block's key is the CID in version 1: version 0 and version 1 (dag-pb) of one multihash name the
 * same block, while the codec stays known, so that a listing of blocks can say what they are.
 */
import { bases } from 'multiformats/basics';
import { CID } from 'multiformats/cid';
import { OpError } from '../base/errors.ts';

export { CID } from 'multiformats/cid';

/** Codes of the multicodec table. */
export const RAW_CODEC = 0x55;
export const DAG_PB_CODEC = 0x70;
export const SHA2_256_CODE = 0x12;
export const IDENTITY_CODE = 0x00;

/** Longest text taken for a CID; one with a sha2-512 in base 2 has fewer characters. */
const CID_CHARS_MAX = 1024;

/**
 * Text → CID: version 0, or version 1 in any multibase. A path (`/ipfs/…`) is not a CID.
 * @throws OpError invalid-cid with details {cid}.
 */
export function parseCid(text: string): CID {
  try {
    if (text.length > CID_CHARS_MAX) throw new RangeError(`longer than ${CID_CHARS_MAX}`);
    if (text.startsWith('Qm')) return CID.parse(text);
    const base = Object.values(bases).find(({ prefix }) => text.startsWith(prefix));
    const cid = CID.decode(base?.decode(text) ?? Buffer.alloc(0));
    if (cid.version === 0) throw new RangeError('version 0 has no multibase prefix');
    return cid;
  } catch (cause) {
    const shown = text.length > 64 ? `${text.slice(0, 64)}…` : text;
    throw new OpError('invalid-cid', `parse CID "${shown}"`, { cause, details: { cid: shown } });
  }
}

/** Bytes of a column → CID. They were written by us, so anything else is damage. */
export function cidOfBytes(bytes: Uint8Array): CID {
  try {
    return CID.decode(bytes);
  } catch (cause) {
    throw new OpError('journal-corrupt', 'decode CID', { cause });
  }
}

/** The key of the block that `cid` names. */
export function blockKey(cid: CID): Buffer {
  const { bytes } = cid.version === 0 ? cid.toV1() : cid;
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The same as a key of maps and sets: a character for each byte, which is cheaper than a multibase. */
export const blockName = (cid: CID): string => blockKey(cid).toString('latin1');
