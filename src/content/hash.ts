/**
 * Bytes → CID and blocks, by the parameters of `unixfs-v1-2025` (IPIP-499): chunks of 1 MiB as raw
 * leaves, a balanced tree of dag-pb nodes over them. Pure: runs in a hashing thread and in this one.
 */
import { createHash } from 'node:crypto';
import { CID } from 'multiformats/cid';
import { create as digestOf } from 'multiformats/hashes/digest';
import { RAW_CODEC, SHA2_256_CODE } from './cid.ts';

export type Profile = 'unixfs-v1-2025' | 'unixfs-v0-2015';

/** The profile of sealed content. Its leaves are ranges of the file, so they need no second copy. */
export const CONTENT_PROFILE = 'unixfs-v1-2025' satisfies Profile;

/** Size of a chunk in that profile. */
export const CHUNK_BYTES = 1024 * 1024;

/** A block that is a range of the bytes. */
export interface Leaf {
  readonly cid: Uint8Array;
  readonly position: number;
  readonly size: number;
}

/** A block that is not: an inner node of the DAG. */
export interface InnerNode {
  readonly cid: Uint8Array;
  readonly bytes: Uint8Array;
}

export interface Hashed {
  /** The root: a leaf's CID when there is only one. */
  readonly cid: Uint8Array;
  readonly leaves: readonly Leaf[];
  readonly nodes: readonly InnerNode[];
}

/** For at most one chunk. */
export function hashChunk(bytes: Uint8Array): Hashed {
  const cid = rawCid(bytes).bytes;
  return { cid, leaves: [{ cid, position: 0, size: bytes.length }], nodes: [] };
}

/** For any number of bytes, in buffers of any size that are not reused meanwhile. */
export async function hashStream(source: AsyncIterable<Uint8Array>): Promise<Hashed> {
  const { importFile } = await import('ipfs-unixfs-importer');
  const leaves: Leaf[] = [];
  const nodes: InnerNode[] = [];
  let position = 0;
  const put = (cid: CID, block: unknown): CID => {
    const bytes = block as Uint8Array;
    if (cid.code === RAW_CODEC) {
      leaves.push({ cid: cid.bytes, position, size: bytes.length });
      position += bytes.length;
    } else {
      nodes.push({ cid: cid.bytes, bytes });
    }
    return cid;
  };
  // One block at a time: leaves then come in the order of their positions.
  const options = { profile: CONTENT_PROFILE, blockWriteConcurrency: 1 } as const;
  const { cid } = await importFile({ content: source }, { put }, options);
  return { cid: cid.bytes, leaves, nodes };
}

/** The CID, in version 1, of one raw block. */
export function rawCid(bytes: Uint8Array): CID {
  const digest = createHash('sha256').update(bytes).digest();
  return CID.createV1(RAW_CODEC, digestOf(SHA2_256_CODE, digest));
}
