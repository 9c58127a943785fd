import { createHash } from 'node:crypto';
import { CarReader } from '@ipld/car';
import { encode as encodeCbor } from '@ipld/dag-cbor';
import { encode as encodePb, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { create as digestOf } from 'multiformats/hashes/digest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import {
  type BlockStore,
  type Built,
  CID,
  carOf,
  Dag,
  exportCar,
  rawCid,
} from '../../src/content/content.ts';
import { Fixture, noise } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const MIB = 1024 * 1024;
const PROFILE = { profile: 'unixfs-v1-2025' } as const;
const failing = (failure: string) => expect.objectContaining({ failure });
const collected = async <T>(source: AsyncIterable<T>): Promise<T[]> => {
  const all: T[] = [];
  for await (const one of source) all.push(one);
  return all;
};

function store(bytes: Uint8Array, codec: number): CID {
  const digest = createHash('sha256').update(bytes).digest();
  const cid = CID.createV1(codec, digestOf(0x12, digest));
  fixture.blocks.put(cid, bytes);
  return cid;
}
const storePb = (unixfs: UnixFS | undefined, links: { Name: string; Hash: CID; Tsize: number }[]) =>
  store(encodePb(prepare({ ...(unixfs && { Data: unixfs.marshal() }), Links: links })), 0x70);

/** d/{large, small, sub/} */
async function makeTree(): Promise<{ root: Built; large: Built; small: Built }> {
  const { builder, signal } = fixture;
  const large = await builder.addBytes(noise(3 * MIB + 100), PROFILE, signal);
  const small = await builder.addBytes(Buffer.from('small'), PROFILE, signal);
  const root = await builder.buildTree(
    [
      { path: 'large', type: 'file', ...large },
      { path: 'small', type: 'file', ...small },
      { path: 'sub', type: 'directory' },
    ],
    PROFILE,
    signal,
  );
  return { root, large, small };
}

/** Removes a block from the store, whatever else goes with its content. */
function lose(blocks: BlockStore, cid: CID): BlockStore {
  const isLost = (asked: CID) => asked.equals(cid);
  return Object.assign(Object.create(blocks) as BlockStore, {
    get: (asked: CID) => (isLost(asked) ? undefined : blocks.get(asked)),
    sizeOf: (asked: CID) => (isLost(asked) ? undefined : blocks.sizeOf(asked)),
  });
}

describe('a path', () => {
  test('leads through directories to what is there', async () => {
    const { dag, signal } = fixture;
    const { root, small } = await makeTree();
    expect((await dag.resolve(root.cid, ['small'], signal)).equals(small.cid)).toBe(true);
    expect((await dag.resolve(root.cid, [], signal)).equals(root.cid)).toBe(true);
  });

  test.each([
    [['nothing'], 'not-found'],
    [['sub', 'nothing'], 'not-found'],
    [[''], 'not-found'],
    [['sub/x'], 'not-found'],
    [['small', 'x'], 'not-directory'],
    [['large', 'x'], 'not-directory'],
  ])('%j fails as it would in a file system', async (path, failure) => {
    const { root } = await makeTree();
    await expect(fixture.dag.resolve(root.cid, path, fixture.signal)).rejects.toThrowError(
      failing(failure),
    );
  });

  test('in a sharded directory that is not there is not found', async () => {
    const { builder, dag, signal } = fixture;
    const file = await builder.addBytes(Buffer.from('x'), PROFILE, signal);
    const children = Array.from({ length: 8000 }, (_, index) => ({ ...file, name: `f${index}` }));
    const { cid } = await builder.buildDirectory(children, PROFILE, signal);
    expect((await dag.resolve(cid, ['f77'], signal)).equals(file.cid)).toBe(true);
    await expect(dag.resolve(cid, ['f8000'], signal)).rejects.toThrowError(failing('not-found'));
  });
});

describe('an entry', () => {
  test('says what it is', async () => {
    const { dag, signal } = fixture;
    const { root, large, small } = await makeTree();
    expect(await dag.entryOf(root.cid, signal)).toMatchObject({ type: 'directory', size: 0 });
    expect(await dag.entryOf(large.cid, signal)).toMatchObject({ type: 'file', size: large.size });
    expect(await dag.entryOf(small.cid, signal)).toMatchObject({ type: 'raw', size: 5 });
    const cbor = store(encodeCbor({ a: 1 }), 0x71);
    expect(await dag.entryOf(cbor, signal)).toMatchObject({ type: 'other' });
    const bare = storePb(undefined, []);
    expect(await dag.entryOf(bare, signal)).toMatchObject({ type: 'other' });
  });

  test('that is not here is missing, by name', async () => {
    const { root } = await makeTree();
    const dag = new Dag(lose(fixture.blocks, root.cid));
    await expect(dag.entryOf(root.cid, fixture.signal)).rejects.toThrowError(
      expect.objectContaining({
        failure: 'content-missing',
        details: { cid: root.cid.toString() },
      }),
    );
  });

  test('lists a directory, and nothing else', async () => {
    const { dag, signal } = fixture;
    const { root, large, small } = await makeTree();
    const links = await collected(dag.list(root.cid, signal));
    expect(links.map(({ name }) => name)).toEqual(['large', 'small', 'sub']);
    expect(links[0]?.cumulativeSize).toBe(large.cumulativeSize);
    for (const cid of [large.cid, small.cid]) {
      await expect(collected(dag.list(cid, signal))).rejects.toThrowError(failing('not-directory'));
    }
  });
});

describe('a range', () => {
  test.each([
    [0, 10],
    [MIB - 5, 10],
    [MIB, MIB],
    [3 * MIB + 90, 1000],
    [3 * MIB + 100, 5],
    [10 * MIB, 5],
    [0, 4 * MIB],
    [5, 0],
  ])('from %i of %i bytes is what the file has there', async (position, length) => {
    const { dag, signal } = fixture;
    const { large } = await makeTree();
    const bytes = await dag.readRange(large.cid, { position, length }, signal);
    const expected = noise(3 * MIB + 100).subarray(position, position + length);
    expect(bytes.equals(expected)).toBe(true);
  });

  test('needs the blocks of the range only', async () => {
    const { large } = await makeTree();
    const leaf = store(noise(3 * MIB + 100).subarray(MIB, 2 * MIB), 0x55);
    const dag = new Dag(lose(fixture.blocks, leaf));
    const read = (position: number, length: number) =>
      dag.readRange(large.cid, { position, length }, fixture.signal);
    expect(await read(0, MIB)).toHaveLength(MIB);
    expect(await read(2 * MIB, MIB + 100)).toHaveLength(MIB + 100);
    await expect(read(MIB - 1, 2)).rejects.toThrowError(failing('content-missing'));
  });

  test('of a directory or a link is refused', async () => {
    const { builder, dag, signal } = fixture;
    const { root } = await makeTree();
    const range = { position: 0, length: 1 };
    await expect(dag.readRange(root.cid, range, signal)).rejects.toThrowError(
      failing('is-directory'),
    );
    const link = builder.buildSymlink('x' as Parameters<typeof builder.buildSymlink>[0], PROFILE);
    await expect(dag.readRange(link.cid, range, signal)).rejects.toThrowError(
      failing('unsupported'),
    );
  });
});

describe('a DAG made by somebody who lies', () => {
  const range = { position: 0, length: 100 };
  const leaf = () => store(Buffer.from('leaf'), 0x55);
  const file = (blockSizes: bigint[]) => new UnixFS({ type: 'file', blockSizes });
  const link = (Hash: CID) => ({ Name: '', Hash, Tsize: 4 });

  test('about sizes is refused when it is read', async () => {
    const { dag, signal } = fixture;
    const claims = [file([2n ** 50n]), file([100n]), file([]), file([4n, 4n])];
    for (const unixfs of claims) {
      const links = unixfs.blockSizes.length === 0 ? [link(leaf())] : [link(leaf())];
      const cid = storePb(unixfs, links);
      if (unixfs.blockSizes.length === 0) {
        expect(await dag.readRange(cid, range, signal)).toHaveLength(0);
        continue;
      }
      await expect(dag.readRange(cid, range, signal)).rejects.toThrowError(failing('integrity'));
    }
  });

  test('about what a file consists of is refused when it is read', async () => {
    const { dag, signal } = fixture;
    const directory = storePb(new UnixFS({ type: 'directory' }), []);
    const cbor = store(encodeCbor('x'), 0x71);
    for (const part of [directory, cbor]) {
      const cid = storePb(file([4n]), [link(part)]);
      await expect(dag.readRange(cid, range, signal)).rejects.toThrowError(failing('integrity'));
    }
  });

  test('about being a node at all is refused', async () => {
    const { dag, signal } = fixture;
    const cid = store(Buffer.from('no protobuf \xff'), 0x70);
    await expect(dag.entryOf(cid, signal)).rejects.toThrowError(failing('integrity'));
    const shard = storePb(new UnixFS({ type: 'hamt-sharded-directory' }), []);
    await expect(collected(dag.list(shard, signal))).rejects.toThrowError(failing('integrity'));
    await expect(dag.resolve(shard, ['x'], signal)).rejects.toThrowError();
  });

  test('about its shards, so that it would be listed for ever, is refused', async () => {
    const { dag, signal } = fixture;
    const shardOf = (links: { Name: string; Hash: CID; Tsize: number }[]) => {
      const data = Uint8Array.of(links.length === 0 ? 0 : 3);
      const type = 'hamt-sharded-directory';
      return storePb(new UnixFS({ type, data, hashType: 0x22n, fanout: 256n }), links);
    };
    let shard = shardOf([]);
    for (let depth = 0; depth < 12; depth += 1) {
      shard = shardOf(['00', '01'].map((Name) => ({ Name, Hash: shard, Tsize: 1 })));
    }
    await expect(collected(dag.list(shard, signal))).rejects.toThrowError(failing('integrity'));
  });

  test('about parts without bytes is read without them', async () => {
    const empty = storePb(file([]), []);
    const cid = storePb(file([4n, 0n, 4n]), [link(leaf()), link(empty), link(leaf())]);
    const dag = new Dag(lose(fixture.blocks, empty));
    const whole = { size: 8, range: { from: 0, to: 8 } };
    const parts = await collected(dag.parts(cid, whole, fixture.signal));
    expect(parts.map(({ position }) => position)).toEqual([0, 4]);
    expect(String(await dag.readRange(cid, range, fixture.signal))).toBe('leafleaf');
  });

  test('about a size that no file can have is refused', async () => {
    const { dag, signal } = fixture;
    const cid = storePb(file([2n ** 53n]), [link(leaf())]);
    await expect(dag.entryOf(cid, signal)).rejects.toThrowError(failing('file-too-large'));
    const largest = storePb(file([2n ** 53n - 1n]), [link(leaf())]);
    expect(await dag.entryOf(largest, signal)).toMatchObject({ size: Number.MAX_SAFE_INTEGER });
  });

  test.each([
    ['as many nanoseconds as a second', { secs: 1n, nsecs: 1_000_000_000 }, undefined],
    ['a second that nobody can count to', { secs: 2n ** 63n - 1n, nsecs: 0 }, undefined],
    ['a second as long ago', { secs: -(2n ** 63n), nsecs: 0 }, undefined],
    ['the last nanosecond', { secs: -5n, nsecs: 999_999_999 }, { s: -5, ns: 999_999_999 }],
  ])('about its time is believed as far as it can be: %s', async (_, mtime, told) => {
    const { dag, signal } = fixture;
    const cid = storePb(new UnixFS({ type: 'file', mtime }), []);
    expect((await dag.entryOf(cid, signal)).mtime).toEqual(told);
  });
});

describe('a walk', () => {
  test('meets every block once, parents first', async () => {
    const { dag, signal } = fixture;
    const { root, large } = await makeTree();
    const walked = await collected(dag.walk(root.cid, signal));
    const texts = walked.map(({ cid }) => cid.toString());
    expect(new Set(texts).size).toBe(texts.length);
    expect(texts[0]).toBe(root.cid.toString());
    expect(texts[1]).toBe(large.cid.toString());
    expect(walked).toHaveLength(1 + 1 + 4 + 1 + 1);
    const total = walked.reduce((sum, { size }) => sum + (size ?? 0), 0);
    expect(total).toBe(root.cumulativeSize);
  });

  test('reports what is missing and goes on', async () => {
    const { root, large } = await makeTree();
    const dag = new Dag(lose(fixture.blocks, large.cid));
    const walked = await collected(dag.walk(root.cid, fixture.signal));
    const missing = walked.filter(({ size }) => size === undefined);
    expect(missing.map(({ cid }) => cid.toString())).toEqual([large.cid.toString()]);
    expect(walked).toHaveLength(4);
  });

  test('follows the links of dag-cbor, and refuses codecs it does not know', async () => {
    const { dag, signal } = fixture;
    const { root } = await makeTree();
    const record = store(
      encodeCbor({ tree: root.cid, list: [{ again: root.cid }], n: null }),
      0x71,
    );
    const walked = await collected(dag.walk(record, signal));
    expect(walked).toHaveLength(9);
    const unknown = store(Buffer.from('{}'), 0x78);
    await expect(collected(dag.walk(unknown, signal))).rejects.toThrowError(failing('unsupported'));
  });

  test('ends when it is aborted', async () => {
    const { root } = await makeTree();
    const stop = AbortSignal.abort(new Error('enough'));
    await expect(collected(fixture.dag.walk(root.cid, stop))).rejects.toThrowError('enough');
  });
});

describe('a CAR', () => {
  test('has every block of the DAG, and they verify', async () => {
    const { blocks, dag, signal } = fixture;
    const { root } = await makeTree();
    const walked = await collected(dag.walk(root.cid, signal));
    const reader = await CarReader.fromIterable(exportCar(dag, root.cid, signal));
    expect((await reader.getRoots()).map(String)).toEqual([root.cid.toString()]);
    const read = await collected(reader.blocks());
    expect(read.map(({ cid }) => cid.toString())).toEqual(walked.map(({ cid }) => cid.toString()));
    for (const { cid, bytes } of read) {
      expect(Buffer.from(blocks.get(cid) ?? []).equals(bytes)).toBe(true);
    }
  });

  test('of many small blocks comes in few pieces', async () => {
    const blocks = async function* () {
      for (let i = 0; i < 1000; i++) {
        const bytes = Buffer.alloc(1000, `${i} `);
        yield { cid: rawCid(bytes), bytes };
      }
    };
    const pieces = await collected(carOf([rawCid(Buffer.from('root'))], blocks()));
    expect(pieces.length).toBeLessThan(8);
    const reader = await CarReader.fromBytes(Buffer.concat(pieces));
    expect(await collected(reader.blocks())).toHaveLength(1000);
  });

  test('of an incomplete DAG fails with the name of what is missing', async () => {
    const { root, large } = await makeTree();
    const dag = new Dag(lose(fixture.blocks, large.cid));
    const exported = collected(exportCar(dag, root.cid, fixture.signal));
    await expect(exported).rejects.toThrowError(
      expect.objectContaining({
        failure: 'content-missing',
        details: { cid: large.cid.toString() },
      }),
    );
  });

  test('may be left in the middle', async () => {
    const { dag, signal } = fixture;
    const { root } = await makeTree();
    let count = 0;
    for await (const chunk of exportCar(dag, root.cid, signal)) {
      count += chunk.length;
      if (count > MIB) break;
    }
    expect(count).toBeLessThan(root.cumulativeSize);
  });

  test('ends when it is aborted', async () => {
    const { dag } = fixture;
    const { root } = await makeTree();
    const stop = new AbortController();
    const exported = exportCar(dag, root.cid, stop.signal);
    await exported.next();
    stop.abort(new Error('enough'));
    await expect(collected(exported)).rejects.toThrowError('enough');
  });
});
