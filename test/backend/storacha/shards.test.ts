/** Blocks as CARs, and where in these they lie. */
import { ShardedDAGIndex } from '@storacha/blob-index';
import { CID } from 'multiformats/cid';
import { describe, expect, test } from 'vitest';
import { type Shard, ShardIndex, shardsOf } from '../../../src/backend/storacha/shards.ts';
import { all, type Block, blockOf, carBlocks, rawBlock, streamOf } from '../engine.ts';
import { noise } from '../stores/fixture.ts';

const op = 'put';
const failing = (failure: string) => expect.objectContaining({ failure });
const blocksOf = (...sizes: readonly number[]): Block[] =>
  sizes.map((size, at) => blockOf(noise(size, at + 1)));
const bytesOf = ({ pieces }: Pick<Shard, 'pieces'>): Buffer => Buffer.concat(pieces);

async function cut(blocks: readonly Block[], bytesMax: number): Promise<Shard[]> {
  const [root] = blocks;
  if (root === undefined) throw new Error('no block');
  return await all(shardsOf(root.cid, streamOf(...blocks), { bytesMax, op }));
}

describe('blocks are cut into CARs', () => {
  test.each([
    [100, [1]],
    [1000, [0, 1, 127, 128, 129, 300, 500, 800, 16, 16]],
    [4096, Array.from({ length: 200 }, (_, at) => (at * 37) % 1000)],
    [700_000, [262_144, 262_144, 262_144, 600_000, 1, 2, 3]],
    [10_000_000, [262_144, 262_144, 5]],
  ])('of at most %i bytes, in which all of them lie where it says', async (bytesMax, sizes) => {
    const blocks = blocksOf(...sizes);
    const shards = await cut(blocks, bytesMax);
    const read: Block[] = [];
    for (const shard of shards) {
      const bytes = bytesOf(shard);
      expect(bytes.length).toBe(shard.size);
      expect(bytes.length).toBeLessThanOrEqual(bytesMax);
      expect(shard.cid.equals(CID.createV1(0x0202, blockOf(bytes).cid.multihash))).toBe(true);
      const within = await carBlocks(streamOf(bytes));
      for (const { cid, bytes: block } of within) {
        const slice = shard.slices.find(({ multihash }) =>
          Buffer.from(multihash.bytes).equals(cid.multihash.bytes),
        );
        const { offset = 0, length = -1 } = slice ?? {};
        expect(bytes.subarray(offset, offset + length).equals(block)).toBe(true);
      }
      // One more says where the CAR itself lies.
      expect(shard.slices).toHaveLength(within.length + 1);
      expect(shard.slices.at(-1)).toMatchObject({ offset: 0, length: shard.size });
      read.push(...within);
    }
    expect(read.map(({ cid }) => String(cid))).toEqual(blocks.map(({ cid }) => String(cid)));
  });

  test('a CAR is as full as it may be', async () => {
    const [shard, ...more] = await cut(blocksOf(100, 100), 1000);
    expect(more).toEqual([]);
    const size = shard?.size ?? 0;
    expect(await cut(blocksOf(100, 100), size)).toHaveLength(1);
    expect(await cut(blocksOf(100, 100), size - 1)).toHaveLength(2);
  });

  test('no more than one of them is made before it is asked for', async () => {
    const blocks = blocksOf(...Array.from({ length: 50 }, () => 900));
    const [root] = blocks;
    let given = 0;
    async function* counted() {
      for (const block of blocks) {
        given += 1;
        yield block;
      }
    }
    const shards = shardsOf(root?.cid ?? blockOf(noise(1)).cid, counted(), { bytesMax: 2000, op });
    for (let shard = 1; shard <= 5; shard++) {
      await shards.next();
      expect(given).toBe(2 * shard + 1);
    }
    await shards.return();
  });

  test('what came twice is in it once, and what is its own CID is not in it', async () => {
    const [one, other] = blocksOf(10, 20) as [Block, Block];
    const inline = { cid: CID.parse('bafkqaaa'), bytes: new Uint8Array() };
    const [shard, ...more] = await cut([one, other, one, inline], 1000);
    expect(more).toEqual([]);
    if (shard === undefined) throw new Error('no CAR');
    expect(await carBlocks(streamOf(bytesOf(shard)))).toHaveLength(2);
  });

  test('a block that is not its CID, of an unknown hash, or too large is refused', async () => {
    const [one, other] = blocksOf(10, 20) as [Block, Block];
    await expect(cut([{ cid: one.cid, bytes: other.bytes }], 1000)).rejects.toEqual(
      failing('integrity'),
    );
    const unknown = CID.createV1(0x55, { ...one.cid.multihash, code: 0x1e } as never);
    await expect(cut([one, { cid: unknown, bytes: one.bytes }], 1000)).rejects.toEqual(
      failing('unsupported'),
    );
    await expect(cut(blocksOf(10, 2000), 1000)).rejects.toEqual(failing('file-too-large'));
  });
});

describe('the index', () => {
  test('is one that the library of the service reads', async () => {
    const blocks = blocksOf(300, 300, 300, 300, 300, 300, 300);
    const shards = await cut(blocks, 900);
    expect(shards.length).toBeGreaterThan(2);
    const index = new ShardIndex(op);
    for (const shard of shards) index.add(shard);
    const [root] = blocks as [Block];
    const blob = index.blobFor(root.cid);
    expect(blob.size).toBe(bytesOf(blob).length);
    const { ok: read, error } = ShardedDAGIndex.extract(new Uint8Array(bytesOf(blob)));
    expect(error).toBeUndefined();
    expect(String(read?.content)).toBe(String(root.cid));
    const told = [...(read?.shards.entries() ?? [])].map(([digest, slices]) => ({
      digest: Buffer.from(digest.bytes).toString('hex'),
      slices: [...slices.entries()]
        .map(([of, at]) => [Buffer.from(of.bytes).toString('hex'), ...at])
        .sort(),
    }));
    const known = shards.map((shard) => ({
      digest: Buffer.from(shard.cid.multihash.bytes).toString('hex'),
      slices: shard.slices
        .map(({ multihash, offset, length }) => [
          Buffer.from(multihash.bytes).toString('hex'),
          offset,
          length,
        ])
        .sort(),
    }));
    const byDigest = (one: { digest: string }, other: { digest: string }) =>
      one.digest < other.digest ? -1 : 1;
    expect(told.sort(byDigest)).toEqual(known.sort(byDigest));
  });

  test('is the same in whatever order the CARs were made', async () => {
    const shards = await cut(blocksOf(300, 300, 300, 300), 500);
    const [one, other] = [new ShardIndex(op), new ShardIndex(op)];
    for (const shard of shards) one.add(shard);
    for (const shard of shards.toReversed()) other.add(shard);
    const { cid } = rawBlock('root');
    expect(other.blobFor(cid).cid.equals(one.blobFor(cid).cid)).toBe(true);
  });

  test('has an end: of more blocks than it has room for no upload is made', () => {
    const index = new ShardIndex(op);
    const { multihash } = rawBlock('x').cid;
    const slices = Array.from({ length: 200_000 }, (_, at) => ({
      multihash,
      offset: at,
      length: 1,
    }));
    const shard = { cid: rawBlock('car').cid, size: 1, pieces: [], slices };
    const fill = () => {
      for (let times = 0; times < 20; times++) index.add(shard);
    };
    expect(fill).toThrow(failing('file-too-large'));
  });
});
