/** The tree of blocks over the chunks of a file, of any size, as the importer of the js-ipfs project makes it. */
import { decode } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { importFile } from 'ipfs-unixfs-importer';
import { CID } from 'multiformats/cid';
import { describe, expect, test } from 'vitest';
import {
  CHUNK_BYTES,
  type Child,
  CONTENT_PROFILE,
  hashStream,
  type Piece,
  type Run,
  rawCid,
  treeOver,
} from '../../src/content/hash.ts';

const GIB = 2 ** 30;

/** Zeros, in pieces that are no chunks. */
async function* zeros(size: number, pieceBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < size; at += pieceBytes) {
    yield new Uint8Array(Math.min(pieceBytes, size - at));
  }
}

/** The same, told as it is. */
async function* holed(size: number): AsyncGenerator<Piece> {
  const zeroChunks = Math.floor(size / CHUNK_BYTES);
  if (zeroChunks > 0) yield { zeroChunks };
  yield new Uint8Array(size % CHUNK_BYTES);
}

test.each([0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 7 * CHUNK_BYTES + 13])(
  '%d bytes have the blocks the importer makes of them',
  async (size) => {
    const blocks = new Map<string, Uint8Array>();
    const put = (cid: CID, block: unknown): CID => {
      blocks.set(cid.toString(), block as Uint8Array);
      return cid;
    };
    const content = zeros(size, CHUNK_BYTES);
    const { cid } = await importFile({ content }, { put }, { profile: CONTENT_PROFILE });
    const hashed = await hashStream(zeros(size, 300_001));
    expect(await hashStream(holed(size))).toMatchObject({ cid: hashed.cid });
    expect(CID.decode(hashed.cid).toString()).toBe(cid.toString());
    for (const { cid: node, bytes } of hashed.nodes) {
      const theirs = blocks.get(CID.decode(node).toString());
      expect(Buffer.from(bytes).equals(theirs ?? Buffer.alloc(0))).toBe(true);
    }
  },
);

describe('a tree over more than a thousand chunks', () => {
  const chunk = rawCid(new Uint8Array(CHUNK_BYTES)).bytes;
  const leafOf = (size: number): Child => ({ cid: chunk, size, totalSize: size });
  /** Each a leaf of its own, though they are equal. */
  const leavesOf = (size: number): Run[] =>
    Array.from({ length: Math.ceil(size / CHUNK_BYTES) }, (_, index) => {
      const left = size - index * CHUNK_BYTES;
      return { child: leafOf(Math.min(CHUNK_BYTES, left)), count: 1 };
    });

  test.each([
    [[3]],
    [[1024]],
    [[1025]],
    [[700, 700]],
    [[5, 4000, 1, 1]],
    [[1024 * 1024 + 1]],
    [[1, 2 * 1024 * 1024, 1023]],
  ])('is the same whether equal ones are told one by one or as runs of %j', (counts) => {
    const runs = counts.map((count) => ({ child: leafOf(CHUNK_BYTES), count }));
    const whole = counts.reduce((a, b) => a + b, 0) * CHUNK_BYTES;
    const told = treeOver(runs);
    const one = treeOver(leavesOf(whole));
    expect(told.cid).toEqual(one.cid);
    const distinct = (nodes: typeof one.nodes) =>
      new Set(nodes.map(({ cid }) => Buffer.from(cid).toString('hex')));
    expect(distinct(told.nodes)).toEqual(distinct(one.nodes));
  });

  test('is made in no time for the largest file there can be, zeros but for its end', async () => {
    const zeroChunks = 2 ** 33 - 1;
    async function* most(): AsyncGenerator<Piece> {
      yield { zeroChunks };
      yield new Uint8Array(5);
    }
    const { leaves, nodes } = await hashStream(most());
    expect(leaves.map(({ position, size }) => [position, size])).toEqual([
      [0, CHUNK_BYTES],
      [zeroChunks * CHUNK_BYTES, 5],
    ]);
    const file = UnixFS.unmarshal(decode(nodes.at(-1)?.bytes ?? new Uint8Array()).Data ?? chunk);
    expect(Number(file.fileSize())).toBe(zeroChunks * CHUNK_BYTES + 5);
  });

  // Between 2 and 4 GiB a size has bit 31 and no higher one.
  test.each([
    GIB + 1,
    2 * GIB - 1,
    2 * GIB,
    2 * GIB + 2,
    3 * GIB,
    4 * GIB - 1,
    4 * GIB,
    6 * GIB + 5,
  ])('says that it is a file of %d bytes', (size) => {
    const { cid, nodes } = treeOver(leavesOf(size));
    const root = nodes.at(-1);
    expect(root?.cid).toEqual(cid);
    const { Data = new Uint8Array(), Links } = decode(root?.bytes ?? new Uint8Array());
    const file = UnixFS.unmarshal(Data);
    expect([file.type, Number(file.fileSize())]).toEqual(['file', size]);
    expect(file.blockSizes).toHaveLength(Links.length);
    // 1 type, 5 and a tag for the size, and as much for each block: nothing is left over.
    const varint = (value: number) => Math.ceil(Math.log2(value + 1) / 7);
    const sizes = file.blockSizes.map((below) => 1 + varint(Number(below)));
    expect(Data.length).toBe(2 + 1 + varint(size) + sizes.reduce((a, b) => a + b, 0));
    // The size itself, read by nothing but arithmetic.
    const written = Data.subarray(3, 3 + varint(size));
    expect(written.reduceRight((sum, byte) => sum * 128 + (byte % 128), 0)).toBe(size);
  });
});
