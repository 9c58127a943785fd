/**
 * Bytes → CID and blocks, by the parameters of `unixfs-v1-2025` (IPIP-499): chunks of 1 MiB as raw
 * leaves, a balanced tree of dag-pb nodes over them. Pure: runs in a hashing thread and in this one.
 */
import { createHash } from 'node:crypto';
import { encode as encodeNode } from '@ipld/dag-pb';
import { CID } from 'multiformats/cid';
import { create as digestOf } from 'multiformats/hashes/digest';
import { assert } from '../base/assert.ts';
import { DAG_PB_CODEC, RAW_CODEC, SHA2_256_CODE } from './cid.ts';

export type Profile = 'unixfs-v1-2025' | 'unixfs-v0-2015';

/** The profile of sealed content. Its leaves are ranges of the file, so they need no second copy. */
export const CONTENT_PROFILE = 'unixfs-v1-2025' satisfies Profile;

/** Size of a chunk in that profile. */
export const CHUNK_BYTES = 1024 * 1024;
/** Links of one node in that profile. */
const LINKS_MAX = 1024;

/** A block that is a range of the bytes, and may be at other places of them too. */
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

/** Bytes of a file in order: some, or so many whole chunks of zeros, at a multiple of a chunk. */
export type Piece = Uint8Array | { readonly zeroChunks: number };

/** For any number of bytes, in pieces of any size; chunks of zeros cost nothing. */
export async function hashStream(source: AsyncIterable<Piece>): Promise<Hashed> {
  const leaves: Leaf[] = [];
  const level: Run[] = [];
  let position = 0;
  let zeros: Child | undefined;
  const add = (child: Child, count: number, isNew: boolean): void => {
    const { cid, size } = child;
    if (isNew) leaves.push({ cid, position, size });
    level.push({ child, count });
    position += size * count;
  };
  for await (const chunk of chunksOf(source)) {
    if (chunk instanceof Uint8Array) {
      add(leafOver(chunk), 1, true);
      continue;
    }
    const isNew = zeros === undefined;
    zeros ??= leafOver(new Uint8Array(CHUNK_BYTES));
    add(zeros, chunk.zeroChunks, isNew);
  }
  if (level.length === 0) return hashChunk(new Uint8Array());
  return { ...treeOver(level), leaves };
}

function leafOver(bytes: Uint8Array): Child {
  const size = bytes.length;
  return { cid: rawCid(bytes).bytes, size, totalSize: size };
}

/** The balanced tree over at least one leaf. A node that comes again and again is given once. */
export function treeOver(leaves: readonly Run[]): Pick<Hashed, 'cid' | 'nodes'> {
  const nodes: InnerNode[] = [];
  let level = leaves;
  while (level.length > 1 || level[0]?.count !== 1) {
    assert(level.length > 0, 'a tree has leaves');
    level = levelAbove(level, nodes);
  }
  return { cid: level[0].child.cid, nodes };
}

function levelAbove(level: readonly Run[], nodes: InnerNode[]): Run[] {
  const above: Run[] = [];
  let group: Child[] = [];
  const close = (count: number): void => {
    const node = nodeOver(group);
    nodes.push(node);
    const size = sum(group.map((child) => child.size));
    const below = sum(group.map((child) => child.totalSize));
    above.push({ child: { cid: node.cid, size, totalSize: below + node.bytes.length }, count });
    group = [];
  };
  for (const { child, count } of level) {
    for (let left = count; left > 0; ) {
      const taken = Math.min(left, LINKS_MAX - group.length);
      const repeats = group.length === 0 ? Math.max(1, Math.floor(left / LINKS_MAX)) : 1;
      for (let i = 0; i < taken; i++) group.push(child);
      left -= taken * repeats;
      if (group.length === LINKS_MAX) close(repeats);
    }
  }
  if (group.length > 0) close(1);
  return above;
}

/** The same leaf or node so many times, one after another. */
export interface Run {
  readonly child: Child;
  readonly count: number;
}

/** A leaf or a node, as the node above it tells of it. */
export interface Child {
  readonly cid: Uint8Array;
  /** Bytes of the file below it. */
  readonly size: number;
  /** Bytes of all its blocks. */
  readonly totalSize: number;
}

const sum = (numbers: readonly number[]): number => numbers.reduce((a, b) => a + b, 0);

/**
 * A UnixFS node of a file. Not by `ipfs-unixfs`, whose encoder (protons-runtime 7 and 8) takes a
 * size from 2 GiB to 4 GiB for a negative number and leaves four bytes of it as memory had them.
 */
function nodeOver(children: readonly Child[]): InnerNode {
  const sizes = children.map(({ size }) => size);
  const data = [FILE_TYPE, field(FILE_SIZE_TAG, sum(sizes))];
  for (const size of sizes) data.push(field(BLOCK_SIZE_TAG, size));
  const bytes = encodeNode({
    Data: Buffer.concat(data),
    Links: children.map(({ cid, totalSize }) => ({
      Name: '',
      Tsize: totalSize,
      Hash: CID.decode(cid),
    })),
  });
  const digest = createHash('sha256').update(bytes).digest();
  return { cid: CID.createV1(DAG_PB_CODEC, digestOf(SHA2_256_CODE, digest)).bytes, bytes };
}

/** Fields of the message `Data` of unixfs.proto: `Type` is 2, a file; the others are varints. */
const FILE_TYPE = Buffer.from([0x08, 2]);
const FILE_SIZE_TAG = 0x18;
const BLOCK_SIZE_TAG = 0x20;

function field(tag: number, value: number): Buffer {
  const bytes = [tag];
  let rest = value;
  // Division, because bits are shifted out of 32 only.
  for (; rest >= 0x80; rest = Math.floor(rest / 0x80)) bytes.push((rest % 0x80) | 0x80);
  return Buffer.from([...bytes, rest]);
}

/** The same bytes in pieces of a chunk each, the last aside. */
async function* chunksOf(source: AsyncIterable<Piece>): AsyncGenerator<Piece> {
  let pieces: Uint8Array[] = [];
  let held = 0;
  for await (const piece of source) {
    if (!(piece instanceof Uint8Array)) {
      assert(held === 0, 'chunks of zeros begin at a multiple of a chunk');
      yield piece;
      continue;
    }
    let rest = piece;
    while (held + rest.length >= CHUNK_BYTES) {
      const missing = CHUNK_BYTES - held;
      const last = rest.subarray(0, missing);
      yield pieces.length === 0 ? last : Buffer.concat([...pieces, last]);
      rest = rest.subarray(missing);
      pieces = [];
      held = 0;
    }
    // A copy: the caller may use its buffer again.
    if (rest.length > 0) pieces.push(Uint8Array.from(rest));
    held += rest.length;
  }
  if (held > 0) yield Buffer.concat(pieces);
}

/** The CID, in version 1, of one raw block. */
export function rawCid(bytes: Uint8Array): CID {
  const digest = createHash('sha256').update(bytes).digest();
  return CID.createV1(RAW_CODEC, digestOf(SHA2_256_CODE, digest));
}
