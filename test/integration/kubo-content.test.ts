/** The engine Kubo on a real node: content and pins. */
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CID } from 'multiformats/cid';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { AddEntry, IpfsNode } from '../../src/backend/backend.ts';
import {
  all,
  type Block,
  blockOf,
  calling,
  carOf,
  countsOf,
  directoryOf,
  engineAt,
  rawBlock,
  streamOf,
  text,
} from '../backend/engine.ts';
import { KuboNode } from '../services/kubo.ts';

let kubo: KuboNode;
let node: IpfsNode;

beforeAll(async () => {
  kubo = await KuboNode.start();
  node = engineAt(kubo.api);
});

afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  await kubo?.close();
});

const absent = rawBlock('nobody has this block').cid;
const failing = (failure: string) => expect.objectContaining({ failure });

describe('a block', () => {
  test.each([
    ['raw', blockOf(text('a raw block'))],
    ['dag-pb', directoryOf({})],
    ['dag-cbor', blockOf(Uint8Array.of(0xa0), 0x71)],
    ['dag-json', blockOf(text('{"a":1}'), 0x0129)],
    ['cbor', blockOf(Uint8Array.of(0xa1, 0x61, 0x61, 0x01), 0x51)],
    ['json', blockOf(text('{"a": 1}'), 0x0200)],
    ['libp2p-key, which has no name here', blockOf(text('key'), 0x72)],
  ])('of codec %s comes back as it was put, under its CID', async (_, { cid, bytes }) => {
    await node.content.blockPut(cid, bytes, calling());
    expect(Buffer.from(await node.content.blockGet(cid, calling()))).toEqual(Buffer.from(bytes));
    expect(await node.content.blockStat(cid, calling())).toEqual({ cid, size: bytes.length });
  });

  test('of CID version 0 is found under both versions', async () => {
    const { cid, bytes } = directoryOf({ 'v0.txt': rawBlock('version 0') });
    const v0 = CID.createV0(cid.multihash as Parameters<typeof CID.createV0>[0]);
    await node.content.blockPut(v0, bytes, calling());
    expect(await node.content.hasBlocks([v0, cid], calling())).toEqual([true, true]);
  });

  test('that is not here is missing when only this node is asked', async () => {
    const options = { ...calling(), local: true };
    await expect(node.content.blockGet(absent, options)).rejects.toEqual(
      failing('content-missing'),
    );
    await expect(node.content.blockStat(absent, options)).rejects.toEqual(
      failing('content-missing'),
    );
  });

  test('that nobody has is waited for until the deadline, and no longer', async () => {
    const options = { ...calling(), deadlineMs: 300 };
    await expect(node.content.blockGet(absent, options)).rejects.toEqual(failing('timeout'));
  });

  test('that is put with a pin is pinned under its name', async () => {
    const { cid, bytes } = rawBlock('pinned when put');
    await node.content.blockPut(cid, bytes, { ...calling(), pin: { name: 'put' } });
    expect(await node.pins.get(cid, calling())).toEqual({ cid, type: 'recursive', name: 'put' });
  });

  test('is told of among those that are here, each in its place', async () => {
    const blocks = Array.from({ length: 40 }, (_, at) => rawBlock(`one of many ${at}`));
    const held = blocks.filter((_, at) => at % 3 === 0);
    for (const { cid, bytes } of held) await node.content.blockPut(cid, bytes, calling());
    const cids = blocks.map(({ cid }) => cid);
    const expected = blocks.map((_, at) => at % 3 === 0);
    expect(await node.content.hasBlocks(cids, calling())).toEqual(expected);
    const refs = await all(node.content.refsLocal(calling()));
    const known = new Set(refs.map(({ cid }) => cid.toString()));
    expect(cids.map((cid) => known.has(cid.toString()))).toEqual(expected);
  });
});

describe('a CAR', () => {
  const leaves = [rawBlock('leaf one'), rawBlock('leaf two')] as const;
  const root = directoryOf({ one: leaves[0], two: leaves[1] });
  const blocks: readonly Block[] = [root, ...leaves];

  test('is stored whole, counted, pinned, and comes out again', async () => {
    const sent = () => countsOf(blocks);
    const options = { ...calling(), pinRoots: true, sent };
    const imported = await node.content.importCar(streamOf(carOf(root.cid, blocks)), options);
    expect(imported).toEqual({ roots: [root.cid], ...countsOf(blocks) });
    expect((await node.pins.get(root.cid, calling()))?.type).toBe('recursive');
    const car = Buffer.concat(await all(node.content.exportCar(root.cid, calling())));
    expect(car).toEqual(Buffer.from(carOf(root.cid, blocks)));
  });

  test('that is counted otherwise than it was sent is no success', async () => {
    const options = { ...calling(), pinRoots: false, sent: () => ({ blocks: 4, bytes: 1 }) };
    const imported = node.content.importCar(streamOf(carOf(root.cid, blocks)), options);
    await expect(imported).rejects.toEqual(failing('response-invalid'));
  });

  test('of nothing at all is no success, though Kubo says 200', async () => {
    const imported = node.content.importCar(streamOf(), { ...calling(), pinRoots: true });
    await expect(imported).rejects.toThrow();
  });

  test('with a changed byte is refused as such', async () => {
    const fresh = rawBlock('a leaf that will be changed');
    const car = Buffer.from(carOf(fresh.cid, [fresh]));
    car[car.length - 1] = (car[car.length - 1] ?? 0) ^ 1;
    const imported = node.content.importCar(streamOf(car), { ...calling(), pinRoots: true });
    await expect(imported).rejects.toEqual(failing('integrity'));
    const options = { ...calling(), local: true };
    await expect(node.content.blockStat(fresh.cid, options)).rejects.toEqual(
      failing('content-missing'),
    );
  });

  test('cut inside a block leaves nothing, and is an error', async () => {
    const fresh = rawBlock('a leaf that will be cut');
    const car = carOf(fresh.cid, [fresh]).subarray(0, -3);
    const imported = node.content.importCar(streamOf(car), { ...calling(), pinRoots: true });
    await expect(imported).rejects.toEqual(failing('api-error'));
    expect(await node.content.hasBlocks([fresh.cid], calling())).toEqual([false]);
  });

  test('that lacks a block cannot be pinned, and says so', async () => {
    const [here, gone] = [rawBlock('here'), rawBlock('gone')];
    const half = directoryOf({ here, gone });
    const options = { ...calling(), pinRoots: true, deadlineMs: 2000 };
    const imported = node.content.importCar(streamOf(carOf(half.cid, [half, here])), options);
    await expect(imported).rejects.toEqual(
      expect.objectContaining({ failure: expect.stringMatching(/^(timeout|content-missing)$/) }),
    );
    expect(await node.pins.get(half.cid, calling())).toBeUndefined();
  });

  test('whose source breaks is not stored, and the source’s own error comes out', async () => {
    const fresh = rawBlock('before the break');
    const breaking = async function* () {
      yield carOf(fresh.cid, [fresh]).subarray(0, 60);
      throw new Error('the disk broke');
    };
    const imported = node.content.importCar(breaking(), { ...calling(), pinRoots: true });
    await expect(imported).rejects.toThrow('the disk broke');
    expect(await node.content.hasBlocks([fresh.cid], calling())).toEqual([false]);
  });

  test('of a DAG with a hole does not end as if it were whole', async () => {
    const [here, gone] = [rawBlock('not gone'), rawBlock('gone for good')];
    const half = directoryOf({ 'a-here': here, 'b-gone': gone });
    for (const { cid, bytes } of [half, here]) await node.content.blockPut(cid, bytes, calling());
    const car = all(node.content.exportCar(half.cid, { ...calling(), local: true }));
    await expect(car).rejects.toEqual(failing('content-missing'));
  });
});

describe('adding', () => {
  const entries: readonly AddEntry[] = [
    { path: 'top/ä b+c%.txt', type: 'file', content: streamOf(text('strange name')) },
    { path: 'top/empty', type: 'directory' },
    { path: 'top/link', type: 'symlink', target: 'ä b+c%.txt' },
    { path: 'top/sub/deep.bin', type: 'file', content: streamOf(new Uint8Array(1_500_000)) },
  ];

  test('a tree gives the CID that Kubo’s own command gives it', async () => {
    const told: string[] = [];
    let progress = 0;
    const root = await node.content.add(streamOf(...entries), {
      ...calling(),
      profile: 'unixfs-v1-2025',
      pin: { name: 'a tree' },
      onAdded: ({ path }) => told.push(path),
      onProgress: (bytes) => {
        progress = bytes;
      },
    });
    expect(root.path).toBe('top');
    expect(told).toContain('top/sub/deep.bin');
    expect(told.at(-1)).toBe('top');
    expect(progress).toBe(12 + 1_500_000);
    expect(await node.pins.get(root.cid, calling())).toMatchObject({ name: 'a tree' });
    const top = join(kubo.directory, 'top');
    mkdirSync(join(top, 'sub'), { recursive: true });
    mkdirSync(join(top, 'empty'));
    writeFileSync(join(top, 'ä b+c%.txt'), 'strange name');
    writeFileSync(join(top, 'sub/deep.bin'), new Uint8Array(1_500_000));
    symlinkSync('ä b+c%.txt', join(top, 'link'));
    const parameters = ['--cid-version=1', '--chunker=size-1048576', '--max-file-links=1024'];
    const cli = await kubo.cli(['add', '-r', '-Q', '-n', ...parameters, 'top']);
    expect(root.cid.toString()).toBe(cli.trim());
  });

  test.each([
    ['unixfs-v1-2025', ['--cid-version=1', '--chunker=size-1048576', '--max-file-links=1024']],
    ['unixfs-v0-2015', ['--cid-version=0', '--chunker=size-262144', '--max-file-links=174']],
  ] as const)('by profile %s gives what its parameters give', async (profile, parameters) => {
    const words = 'x'.repeat(300_000);
    const content = streamOf(text(words));
    const added = await node.content.add(streamOf({ path: '', type: 'file', content }), {
      ...calling(),
      profile,
      onlyHash: true,
    });
    const cli = await kubo.cli(['add', '-Q', '-n', ...parameters], { input: words });
    expect(added.cid.toString()).toBe(cli.trim());
    expect(await node.pins.get(added.cid, calling())).toBeUndefined();
  });

  test('keeps modes and times when told to', async () => {
    const mtime = { s: 1_600_000_000, ns: 123_456_789 };
    const content = streamOf(text('with a mode'));
    const entry: AddEntry = { path: 'm.txt', type: 'file', content, mode: 0o640, mtime };
    const added = await node.content.add(streamOf(entry), {
      ...calling(),
      profile: 'unixfs-v1-2025',
      metadata: true,
    });
    await node.mfs.cp(`/ipfs/${added.cid}`, '/with-mode', calling());
    expect(await node.mfs.stat('/with-mode', calling())).toMatchObject({ mode: 0o640, mtime });
  });

  test('wraps one file in a directory', async () => {
    const content = streamOf(text('wrapped'));
    const added = await node.content.add(streamOf({ path: 'w.txt', type: 'file', content }), {
      ...calling(),
      profile: 'unixfs-v1-2025',
      wrap: true,
    });
    expect(await kubo.cli(['cat', `${added.cid}/w.txt`])).toBe('wrapped');
  });
});

describe('a pin', () => {
  const leaf = rawBlock('kept leaf');
  const tree = directoryOf({ leaf });
  const other = directoryOf({ leaf, more: rawBlock('kept leaf') });

  beforeAll(async () => {
    for (const { cid, bytes } of [leaf, tree, other]) {
      await node.content.blockPut(cid, bytes, calling());
    }
  });

  test('is made once, renamed, listed, and keeps its name when it is made again', async () => {
    const { cid } = tree;
    expect(await node.pins.add(cid, { ...calling(), name: 'first' })).toMatchObject({
      type: 'recursive',
      name: 'first',
      alreadyPinned: false,
    });
    expect(await node.pins.add(cid, calling())).toEqual({
      type: 'recursive',
      name: 'first',
      alreadyPinned: true,
    });
    await node.pins.add(cid, { ...calling(), name: 'second' });
    const pins = await all(node.pins.ls({ ...calling(), name: 'secon' }));
    expect(pins).toEqual([{ cid, type: 'recursive', name: 'second' }]);
    expect(await all(node.pins.ls({ ...calling(), name: 'Secon' }))).toEqual([]);
  });

  test('of a block below is indirect, and cannot be taken away', async () => {
    const found = await node.pins.get(leaf.cid, calling());
    expect(found).toEqual({ cid: leaf.cid, type: 'indirect', through: tree.cid });
    const own = { ...calling(), own: true };
    expect(await node.pins.get(leaf.cid, own)).toBeUndefined();
    expect(await node.pins.get(tree.cid, own)).toMatchObject({ type: 'recursive' });
    const removed = node.pins.rm(leaf.cid, calling());
    await expect(removed).rejects.toMatchObject({
      failure: 'not-pinned',
      details: { partial: { pin_type: 'indirect' } },
    });
    const indirect = await all(node.pins.ls({ ...calling(), type: 'indirect' }));
    expect(indirect.map(({ cid }) => cid.toString())).toContain(leaf.cid.toString());
  });

  test('moves to another root with its name, and moving it again changes nothing', async () => {
    await node.pins.update(tree.cid, other.cid, calling());
    await node.pins.update(tree.cid, other.cid, calling());
    expect(await node.pins.get(tree.cid, calling())).toBeUndefined();
    expect(await node.pins.get(other.cid, calling())).toMatchObject({ name: 'second' });
    const back = node.pins.update(leaf.cid, tree.cid, calling());
    await expect(back).rejects.toEqual(failing('not-pinned'));
  });

  test('that is direct becomes recursive, and never the other way', async () => {
    const { cid } = tree;
    const direct = { ...calling(), recursive: false };
    expect(await node.pins.add(cid, direct)).toMatchObject({ type: 'direct' });
    await expect(node.pins.rm(cid, calling())).rejects.toEqual(failing('not-pinned'));
    expect(await node.pins.add(cid, calling())).toMatchObject({ type: 'recursive' });
    expect(await node.pins.add(cid, direct)).toMatchObject({
      type: 'recursive',
      alreadyPinned: true,
    });
    expect(await node.pins.rm(cid, calling())).toMatchObject({ type: 'recursive' });
    await expect(node.pins.rm(cid, calling())).rejects.toEqual(failing('not-pinned'));
  });

  test('of what is not here ends with the deadline', async () => {
    const added = node.pins.add(absent, { ...calling(), deadlineMs: 500 });
    await expect(added).rejects.toEqual(failing('timeout'));
    expect(await node.pins.get(absent, calling())).toBeUndefined();
  });
});
