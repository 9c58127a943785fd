/** The laws of `user.kitfs.pin`. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { failureOf } from '../content/fixture.ts';
import { callerOf, Fixture, ROOT } from '../sync/fixture.ts';

const PIN = nameOfText('user.kitfs.pin');
const ONE = Buffer.from('1');

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  world.mkdir('/ipfs/a');
  world.mkdir('/ipfs/a/b');
  world.write('/ipfs/a/b/f', 'bytes');
  world.write('/ipfs/g', 'bytes');
});
afterEach(() => world.close());

const pin = (path: string, caller = ROOT, value = ONE) =>
  world.vfs.setxattr(caller, world.ino(path), PIN, value, 'any');
const unpin = (path: string) => world.vfs.removexattr(ROOT, world.ino(path), PIN);
const told = (path: string) => world.vfs.getxattr(ROOT, world.ino(path), PIN)?.toString('latin1');
const isPinned = (path: string, known?: Map<Ino, boolean>) =>
  world.vfs.core.pinnedHere.has(world.ino(path), known);
const failing = (work: () => unknown) => failureOf(Promise.resolve().then(work));

test('nothing is pinned until somebody says so', () => {
  expect([isPinned('/ipfs/g'), told('/ipfs/g'), world.vfs.core.pinnedHere.isUsed]).toEqual([
    false,
    undefined,
    false,
  ]);
});

test('a file is pinned until its pin is removed, and it says so', () => {
  pin('/ipfs/g');
  expect([isPinned('/ipfs/g'), told('/ipfs/g'), isPinned('/ipfs/a/b/f')]).toEqual([
    true,
    '1',
    false,
  ]);
  unpin('/ipfs/g');
  expect([isPinned('/ipfs/g'), told('/ipfs/g')]).toEqual([false, undefined]);
});

test('all below a directory is pinned with it, wherever it comes from and goes to', () => {
  pin('/ipfs/a');
  const known = new Map<Ino, boolean>();
  expect(isPinned('/ipfs/a/b/f', known)).toBe(true);
  expect([isPinned('/ipfs/a/b', known), isPinned('/ipfs/g', known)]).toEqual([true, false]);
  expect([isPinned('/ipfs/a/b/f', known), told('/ipfs/a/b/f')]).toEqual([true, undefined]);
  const at = (path: string, name: string) => ({ parent: world.ino(path), name: nameOfText(name) });
  const [once, flags] = [at('/ipfs/a', 'g'), { noReplace: false, exchange: false }];
  world.vfs.rename(ROOT, at('/ipfs', 'g'), once, flags);
  expect(isPinned('/ipfs/a/g')).toBe(true);
  world.vfs.rename(ROOT, once, at('/ipfs', 'g'), flags);
  expect(isPinned('/ipfs/g')).toBe(false);
});

test('a file of which one name is below a pinned directory is pinned', () => {
  world.link('/ipfs/g', '/ipfs/a/same');
  pin('/ipfs/a');
  expect(isPinned('/ipfs/g')).toBe(true);
  world.unlink('/ipfs/a/same');
  expect(isPinned('/ipfs/g')).toBe(false);
});

test('a pin is never listed, copied or published', async () => {
  world.vfs.setxattr(ROOT, world.ino('/ipfs/g'), nameOfText('user.own'), ONE, 'any');
  const before = await world.publish('/ipfs');
  pin('/ipfs/g');
  pin('/ipfs/a');
  expect(world.vfs.listxattr(ROOT, world.ino('/ipfs/g'))).toEqual(['user.own']);
  expect(world.journal.xattrs.all(world.ino('/ipfs/g'))).toHaveLength(1);
  const after = await world.publish('/ipfs');
  expect(after.root).toEqual(before.root);
  world.mkdir('/ipfs/copy');
  await world.restore(after.snapshot, '/ipfs/copy');
  expect([told('/ipfs/copy/g'), isPinned('/ipfs/copy/a/b/f')]).toEqual([undefined, false]);
});

test('what is restored over a pinned file leaves it pinned', async () => {
  const { snapshot } = await world.publish('/ipfs/a');
  pin('/ipfs/a/b/f');
  await world.restore(snapshot, '/ipfs/a', {
    conflicts: { how: 'restore', policy: 'keep_remote' },
  });
  expect(told('/ipfs/a/b/f')).toBe('1');
});

describe('a pin', () => {
  test('is set by who may write the file, and by nobody else', async () => {
    expect((await failing(() => pin('/ipfs/g', callerOf(7)))).failure).toBe('denied');
    expect(told('/ipfs/g')).toBeUndefined();
    await world.vfs.setattr(ROOT, world.ino('/ipfs/g'), { uid: 7 });
    pin('/ipfs/g', callerOf(7));
    expect(told('/ipfs/g')).toBe('1');
  });

  test.each(['', '0', '11', 'yes'])('has no other value: %j', async (value) => {
    const failed = await failing(() => pin('/ipfs/g', ROOT, Buffer.from(value)));
    expect(failed.failure).toBe('invalid');
    expect(told('/ipfs/g')).toBeUndefined();
  });

  test('is on files and directories only, and its neighbours cannot be set', async () => {
    world.symlink('/ipfs/link', 'g');
    expect((await failing(() => pin('/ipfs/link'))).failure).toBe('not-permitted');
    const other = nameOfText('user.kitfs.pinned');
    const setting = () => world.vfs.setxattr(ROOT, world.ino('/ipfs/g'), other, ONE, 'any');
    expect((await failing(setting)).failure).toBe('not-permitted');
  });

  test('is recorded, and a record of its file’s end has it', () => {
    const ino = world.ino('/ipfs/g');
    const last = () => world.vfs.core.history.last(ino)?.row;
    const name = Buffer.from('user.kitfs.pin').toString('base64');
    const value = ONE.toString('base64');
    pin('/ipfs/g');
    expect(last()?.kind).toBe('setxattr');
    expect(JSON.parse(last()?.before ?? '')).toEqual({ xattr: name, value: null });
    unpin('/ipfs/g');
    expect(last()?.kind).toBe('removexattr');
    expect(JSON.parse(last()?.before ?? '')).toEqual({ xattr: name, value });
    pin('/ipfs/g');
    world.unlink('/ipfs/g');
    expect(last()?.kind).toBe('unlink');
    expect(JSON.parse(last()?.before ?? '')).toMatchObject({ xattrs: [[name, value]] });
  });

  test('goes with its file', () => {
    pin('/ipfs/g');
    const ino = world.ino('/ipfs/g');
    world.unlink('/ipfs/g');
    world.vfs.forget(ino);
    expect(world.journal.xattrs.stored(ino)).toEqual([]);
  });
});
