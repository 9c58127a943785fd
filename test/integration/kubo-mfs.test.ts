/** The engine Kubo on a real node: its mutable tree. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IpfsNode } from '../../src/backend/backend.ts';
import {
  all,
  calling,
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

const failing = (failure: string) => expect.objectContaining({ failure });
const parents = () => ({ ...calling(), parents: true });
const write = (path: string, words: string, more: object = {}) =>
  node.mfs.write(path, streamOf(text(words)), {
    ...parents(),
    create: true,
    truncate: true,
    ...more,
  });
const read = async (path: string): Promise<string> =>
  Buffer.concat(await all(node.mfs.read(path, calling()))).toString('utf8');
const exists = async (path: string): Promise<boolean> =>
  (await node.mfs.stat(path, calling())) !== undefined;

describe('directories', () => {
  test('are made once, and again only where missing ones may be made', async () => {
    const made = await node.mfs.mkdir('/d/e', parents());
    expect(made.created).toBe(true);
    expect(await node.mfs.mkdir('/d/e', parents())).toEqual({ created: false, cid: made.cid });
    await expect(node.mfs.mkdir('/d/e', calling())).rejects.toEqual(failing('exists'));
    await expect(node.mfs.mkdir('/none/e', calling())).rejects.toEqual(failing('not-found'));
    await write('/d/file', 'x');
    await expect(node.mfs.mkdir('/d/file/e', calling())).rejects.toEqual(failing('not-directory'));
    await expect(node.mfs.mkdir('/d/file', parents())).rejects.toEqual(failing('exists'));
  });

  test('list what is in them by name, bytewise, with sizes; an empty one nothing', async () => {
    await write('/l/b', 'bb');
    await write('/l/B', 'b');
    await write('/l/ä', 'aaa');
    await node.mfs.mkdir('/l/dir', calling());
    const entries = await node.mfs.ls('/l', calling());
    expect(entries.map(({ name, type, size }) => [name, type, size])).toEqual([
      ['B', 'file', 1],
      ['b', 'file', 2],
      ['dir', 'directory', 0],
      ['ä', 'file', 3],
    ]);
    expect(await node.mfs.ls('/l/dir', calling())).toEqual([]);
    expect((await node.mfs.ls('/l/b', calling())).map(({ name }) => name)).toEqual(['b']);
    await expect(node.mfs.ls('/l/none', calling())).rejects.toEqual(failing('not-found'));
  });

  test('get other CIDs by other parameters, but not the root', async () => {
    await node.mfs.mkdir('/c', calling());
    const { previous, cid } = await node.mfs.chcid('/c', { ...calling(), cidVersion: 0 });
    expect([previous.version, cid.version]).toEqual([1, 0]);
    const blake = { ...calling(), cidVersion: 1, hash: 'blake2b-256' } as const;
    expect((await node.mfs.chcid('/c', blake)).cid.multihash.code).toBe(0xb220);
    await write('/l/b', 'bb');
    const chcid = (path: string, more: object = {}) =>
      node.mfs.chcid(path, { ...calling(), cidVersion: 1, ...more });
    await expect(chcid('/l/b')).rejects.toEqual(failing('not-directory'));
    await expect(chcid('/')).rejects.toEqual(failing('invalid-argument'));
    await expect(chcid('/none')).rejects.toEqual(failing('not-found'));
    const both = chcid('/c', { cidVersion: 0, hash: 'sha2-256' });
    await expect(both).rejects.toEqual(failing('invalid-argument'));
  });
});

describe('bytes', () => {
  test('are read as they were written, whole and in part', async () => {
    await write('/b/f', '0123456789');
    expect(await read('/b/f')).toBe('0123456789');
    const part = await all(node.mfs.read('/b/f', { ...calling(), offset: 3, length: 4 }));
    expect(Buffer.concat(part).toString()).toBe('3456');
    expect(await all(node.mfs.read('/b/f', { ...calling(), offset: 10 }))).toEqual([]);
    const past = all(node.mfs.read('/b/f', { ...calling(), offset: 11 }));
    await expect(past).rejects.toEqual(failing('offset-past-end'));
    await expect(read('/b')).rejects.toEqual(failing('is-directory'));
    await expect(read('/b/none')).rejects.toEqual(failing('not-found'));
  });

  test('written into a file leave its tail, and pad a hole with zeros', async () => {
    await write('/b/tail', 'abcdef');
    await write('/b/tail', 'XY', { truncate: false, offset: 1 });
    expect(await read('/b/tail')).toBe('aXYdef');
    const { size } = await write('/b/tail', 'Z', { truncate: false, offset: 8 });
    expect(size).toBe(9);
    expect(await read('/b/tail')).toBe('aXYdef\0\0Z');
    await write('/b/tail', 'short');
    expect(await read('/b/tail')).toBe('short');
  });

  test('are not written where there is no file to be made or a directory', async () => {
    const no = { ...calling(), create: false, parents: false };
    const bytes = () => streamOf(text('x'));
    const absent = node.mfs.write('/b/absent', bytes(), no);
    await expect(absent).rejects.toEqual(failing('not-found'));
    const deep = node.mfs.write('/deep/f', bytes(), { ...calling(), create: true });
    await expect(deep).rejects.toEqual(failing('not-found'));
    const directory = node.mfs.write('/b', bytes(), { ...calling(), create: true });
    await expect(directory).rejects.toEqual(failing('is-directory'));
  });

  test('that are not all there are told by how many', async () => {
    await write('/b/local', 'here');
    const stat = await node.mfs.stat('/b/local', { ...calling(), withLocal: true });
    expect(stat?.local?.complete).toBe(true);
  });
});

describe('copying and moving', () => {
  test('link the same content under another name', async () => {
    const { cid } = await write('/m/a', 'content');
    expect(await node.mfs.cp('/m/a', '/m/b', calling())).toEqual({ cid, overwritten: false });
    expect(await node.mfs.cp(`/ipfs/${cid}`, '/m/deep/c', parents())).toMatchObject({ cid });
    expect(await node.mfs.mv('/m/b', '/m/d', calling())).toEqual({ cid, overwritten: false });
    expect([await exists('/m/b'), await read('/m/d')]).toEqual([false, 'content']);
    expect(await node.mfs.mv('/m/d', '/m/new/d', parents())).toMatchObject({ cid });
  });

  test('replace a file only when told to, and never a directory', async () => {
    await write('/o/a', 'new');
    await write('/o/b', 'old');
    await node.mfs.mkdir('/o/dir', calling());
    for (const change of [node.mfs.cp.bind(node.mfs), node.mfs.mv.bind(node.mfs)]) {
      await expect(change('/o/a', '/o/b', calling())).rejects.toEqual(failing('exists'));
      await expect(change('/o/a', '/o/dir', calling())).rejects.toEqual(failing('exists'));
      const over = change('/o/a', '/o/dir', { ...calling(), overwrite: true });
      await expect(over).rejects.toEqual(failing('is-directory'));
      expect(await read('/o/b')).toBe('old');
    }
    const overwrite = { ...calling(), overwrite: true };
    expect(await node.mfs.cp('/o/a', '/o/b', overwrite)).toMatchObject({ overwritten: true });
    expect(await node.mfs.mv('/o/a', '/o/b', overwrite)).toMatchObject({ overwritten: true });
    expect([await read('/o/b'), await exists('/o/a')]).toEqual(['new', false]);
    const dirOver = node.mfs.mv('/o/dir', '/o/b', overwrite);
    await expect(dirOver).rejects.toEqual(failing('not-directory'));
    expect(await read('/o/b')).toBe('new');
  });

  test('never lose a directory that is moved into or onto itself', async () => {
    await write('/self/x/f', 'precious');
    for (const destination of ['/self', '/self/', '/self/x', '/self/x/deeper', '/self/new']) {
      const moved = node.mfs.mv('/self', destination, { ...parents(), overwrite: true });
      await expect(moved).rejects.toEqual(failing('invalid-argument'));
      expect(await read('/self/x/f')).toBe('precious');
    }
    const up = node.mfs.mv('/self/x', '/self', calling());
    await expect(up).rejects.toEqual(failing('exists'));
    const copied = node.mfs.cp('/self', '/self/x/copy', calling());
    await expect(copied).rejects.toEqual(failing('invalid-argument'));
    // A name that only begins alike is another one.
    await node.mfs.mv('/self', '/self-2', calling());
    expect(await read('/self-2/x/f')).toBe('precious');
  });

  test('need both ends as they should be', async () => {
    await write('/e/f', 'x');
    const mv = (from: string, to: string) => node.mfs.mv(from, to, calling());
    await expect(mv('/e/none', '/e/g')).rejects.toEqual(failing('not-found'));
    await expect(mv('/e/f', '/none/g')).rejects.toEqual(failing('not-found'));
    await expect(mv('/e/f', '/e/f/g')).rejects.toEqual(failing('invalid-argument'));
    await expect(mv('/', '/e/g')).rejects.toEqual(failing('invalid-argument'));
    await expect(mv('/e/f', '/')).rejects.toEqual(failing('invalid-argument'));
    await expect(mv('e/f', '/g')).rejects.toEqual(failing('invalid-path'));
    await expect(mv('/e/../e/f', '/g')).rejects.toEqual(failing('invalid-path'));
    await write('/e/h', 'y');
    await expect(mv('/e/f', '/e/h/g')).rejects.toEqual(failing('not-directory'));
  });

  test('of what nobody has end with the deadline', async () => {
    const { cid } = rawBlock('nobody has this file');
    const copied = node.mfs.cp(`/ipfs/${cid}`, '/x', { ...calling(), deadlineMs: 500 });
    await expect(copied).rejects.toEqual(failing('timeout'));
    expect(await exists('/x')).toBe(false);
  });
});

describe('removing', () => {
  test('takes away what is there, a directory only when told to', async () => {
    const { cid } = await write('/r/d/f', 'x');
    await expect(node.mfs.rm('/r', calling())).rejects.toEqual(failing('is-directory'));
    expect(await exists('/r/d/f')).toBe(true);
    expect((await node.mfs.rm('/r/d/f', calling())).cid).toEqual(cid);
    await expect(node.mfs.rm('/r/d/f', calling())).rejects.toEqual(failing('not-found'));
    await node.mfs.rm('/r', { ...calling(), recursive: true });
    expect(await exists('/r')).toBe(false);
    const root = node.mfs.rm('/', { ...calling(), recursive: true });
    await expect(root).rejects.toEqual(failing('invalid-argument'));
  });
});

describe('changes that need not be on disk yet', () => {
  test('are more than Kubo would take, and none is refused', async () => {
    await node.mfs.mkdir('/u', calling());
    for (let at = 0; at < 300; at++) {
      await node.mfs.mkdir(`/u/${at}`, { ...calling(), flush: false });
    }
    expect(await node.mfs.ls('/u', calling())).toHaveLength(300);
    await node.mfs.flush('/', calling());
  });

  test('of somebody else, which Kubo still holds back, are flushed when it refuses ours', async () => {
    for (let at = 0; at < 256; at++)
      await kubo.rpc.bytes(`files/mkdir?arg=/other-${at}&flush=false`);
    const refused = kubo.rpc.bytes('files/mkdir?arg=/other-256&flush=false');
    await expect(refused).rejects.toThrow('unflushed MFS operations');
    await node.mfs.mkdir('/ours', { ...calling(), flush: false });
    expect(await exists('/ours')).toBe(true);
  });

  test('are read as they are', async () => {
    await write('/u/fresh', 'fresh', { flush: false });
    expect(await read('/u/fresh')).toBe('fresh');
  });

  test('asked for at once are done one after another', async () => {
    const names = Array.from({ length: 30 }, (_, at) => `/p/${at}`);
    await Promise.all(names.map((name) => write(name, name)));
    expect(await Promise.all(names.map(read))).toEqual(names);
  });
});

describe('what is placed under a name', () => {
  const trees = ['one', 'two', 'three'].map((words) => {
    const leaf = rawBlock(`placed ${words}`);
    return { leaf, root: directoryOf({ leaf }) };
  });

  beforeAll(async () => {
    for (const { cid, bytes } of trees.flatMap(({ leaf, root }) => [leaf, root])) {
      await node.content.blockPut(cid, bytes, calling());
    }
  });

  test('takes the place of what was there, and once is as twice', async () => {
    const [one, two] = trees.map(({ root }) => root.cid);
    if (one === undefined || two === undefined) throw new Error('there are three');
    expect(await node.mfs.place('/kitfs/tree', one, calling())).toEqual({});
    expect(await node.mfs.place('/kitfs/tree', one, calling())).toEqual({});
    expect(await node.mfs.place('/kitfs/tree', two, calling())).toEqual({ previous: one });
    expect((await node.mfs.stat('/kitfs/tree', calling()))?.cid).toEqual(two);
    expect((await node.mfs.ls('/kitfs', calling())).map(({ name }) => name)).toEqual(['tree']);
  });

  test('takes the place of a file too', async () => {
    const [{ root }] = trees as [(typeof trees)[number]];
    await write('/kitfs/file', 'a file');
    await node.mfs.place('/kitfs/file', root.cid, calling());
    expect((await node.mfs.stat('/kitfs/file', calling()))?.cid).toEqual(root.cid);
  });

  test.each([
    ['the new was linked beside it', ['cp three', 'keep old']],
    ['the old was removed already', ['cp three', 'rm old']],
    ['another one had been linked beside it', ['cp two', 'keep old']],
    ['another one had been linked, and the old removed', ['cp two', 'rm old']],
  ])('is placed by who comes after a kill when %s', async (_, [copied, old]) => {
    const [one, two, three] = trees.map(({ root }) => root.cid);
    if (one === undefined || three === undefined) throw new Error('there are three');
    await node.mfs.place('/kitfs/cut', one, calling());
    const left = copied === 'cp three' ? three : two;
    await node.mfs.cp(`/ipfs/${left}`, '/kitfs/cut.kitfs-next', calling());
    if (old === 'rm old') await node.mfs.rm('/kitfs/cut', { ...calling(), recursive: true });
    await node.mfs.place('/kitfs/cut', three, calling());
    expect((await node.mfs.stat('/kitfs/cut', calling()))?.cid).toEqual(three);
    expect(await exists('/kitfs/cut.kitfs-next')).toBe(false);
  });
});
