/** The laws of attaching and detaching trees, of their limits, and of whole trees as one. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Ino, nameOfText, ROOT_INO } from '../../src/base/ids.ts';
import { FILE_BYTES_MAX } from '../../src/base/limits.ts';
import { O_RDONLY, O_RDWR, S_IFIFO, S_IFREG } from '../../src/base/posix.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import {
  copyTree,
  type MountRequest,
  mount,
  patchBytes,
  rehearseWrite,
  removeTree,
  replaceBytes,
  unmount,
  walk,
} from '../../src/vfs/vfs.ts';
import { callerOf, Fixture, ROOT } from './fixture.ts';

const n = nameOfText;
const failure = (name: string) => expect.objectContaining({ failure: name });

let f: Fixture;
beforeEach(() => {
  f = new Fixture();
});
afterEach(() => {
  expect(checkJournal(f.journal)).toEqual([]);
  f.close();
});

const attach = (mountPoint: string, more: Partial<MountRequest> = {}) =>
  mount(f.vfs.core, ROOT, {
    mountId: mountPoint,
    mountPoint: n(mountPoint),
    kind: 'local',
    backend: 'local',
    source: '',
    readOnly: false,
    volatile: false,
    options: {},
    uid: 0,
    gid: 0,
    mode: 0o755,
    ...more,
  });

const detach = (mountPoint: string) => unmount(f.vfs.core, ROOT, n(mountPoint));

function put(tree: string, name: string, text: string): Ino {
  const { handle, inode } = f.vfs.create(ROOT, f.ino(tree), n(name), 0o644, O_RDWR);
  f.vfs.write(ROOT, handle.fh, Buffer.from(text), 0, false);
  f.vfs.release(handle.fh);
  return inode.ino;
}

function bytesOf(path: string): string {
  const { fh } = f.vfs.openNow(ROOT, f.ino(path), O_RDONLY, false);
  const into = Buffer.alloc(100);
  const got = f.vfs.read(fh, into, 0, 100, 0) as number;
  f.vfs.release(fh);
  return into.toString('latin1', 0, got);
}

describe('a tree is attached', () => {
  test('where there is a directory above, and nothing or an empty directory', () => {
    put('/ipfs', 'file', 'x');
    f.vfs.mkdir(ROOT, f.ipfs, n('full'), 0o755);
    f.vfs.mkdir(ROOT, f.ino('/ipfs/full'), n('d'), 0o755);
    const refused = {
      '/ipfs': 'mount-busy',
      '/': 'invalid-path',
      '/ipfs/absent/t': 'not-found',
      '/ipfs/file/t': 'not-found',
      '/ipfs/file': 'not-directory',
      '/ipfs/full': 'not-empty',
    };
    const { seq } = f.journal.head;
    for (const [point, why] of Object.entries(refused)) {
      expect(() => attach(point)).toThrowError(failure(why));
    }
    expect(f.journal.head.seq).toBe(seq);
    attach('/ipfs/full/d');
    put('/ipfs/full/d', 'a', 'inside');
    expect(bytesOf('/ipfs/full/d/a')).toBe('inside');
  });

  test('with the directories above it, which go with the last tree in them', () => {
    attach('/a/b/one', { parents: true });
    attach('/a/b/two', { parents: true });
    detach('/a/b/one');
    expect(f.vfs.getattr(ROOT, f.ino('/a/b/two')).nlink).toBe(2);
    detach('/a/b/two');
    expect(f.vfs.lookup(ROOT, ROOT_INO, n('a'))).toBeUndefined();
  });

  test('inside another, where the directories above it stay', () => {
    attach('/ipfs/x/y', { parents: true });
    detach('/ipfs/x/y');
    expect(f.ino('/ipfs/x')).toBeGreaterThan(0);
    expect(f.vfs.lookup(ROOT, f.ino('/ipfs/x'), n('y'))).toBeUndefined();
  });

  test('with everything that was in it when it was there before', () => {
    attach('/t', { source: 'this' });
    put('/t', 'a', 'kept');
    expect(detach('/t')).toEqual({ discardedFiles: 0, discardedBytes: 0 });
    attach('/t', { source: 'that' });
    expect(f.vfs.lookup(ROOT, f.ino('/t'), n('a'))).toBeUndefined();
    detach('/t');
    const { superblock } = attach('/t', { source: 'this', readOnly: true });
    expect(superblock.readOnly).toBe(true);
    expect(bytesOf('/t/a')).toBe('kept');
    expect(() => put('/t', 'b', 'x')).toThrowError(failure('read-only'));
  });

  test('or is as it was, when what attached it again is undone', () => {
    const { superblock } = attach('/t');
    detach('/t');
    const again = () =>
      f.journal.commit(() => {
        attach('/t', { readOnly: true });
        throw new Error('undone');
      });
    expect(again).toThrow();
    expect(superblock.readOnly).toBe(false);
    expect(f.vfs.lookup(ROOT, ROOT_INO, n('t'))).toBeUndefined();
  });

  test('with what it starts with, also when nobody may write to it', () => {
    const fill = (root: Ino) => void f.vfs.mkdir(ROOT, root, n('first'), 0o755);
    attach('/t', { readOnly: true, fill });
    expect(f.ino('/t/first')).toBeGreaterThan(0);
    expect(() => f.vfs.mkdir(ROOT, f.ino('/t'), n('d'), 0o755)).toThrowError(failure('read-only'));
    const broken = (root: Ino) => {
      fill(root);
      throw new Error('broken');
    };
    expect(() => attach('/u', { fill: broken })).toThrow();
    expect(f.vfs.core.mounts.mountAt(n('/u'))).toBeUndefined();
    expect(f.vfs.lookup(ROOT, ROOT_INO, n('u'))).toBeUndefined();
  });
});

describe('a tree is detached', () => {
  test('only from where one is', () => {
    expect(() => detach('/nowhere')).toThrowError(failure('not-found'));
  });

  test('and goes with all its files when it was in memory', () => {
    attach('/m', { volatile: true });
    put('/m', 'a', 'four');
    put('/m', 'b', 'five!');
    expect(detach('/m')).toEqual({ discardedFiles: 2, discardedBytes: 9 });
    attach('/m', { volatile: true });
    expect(f.vfs.lookup(ROOT, f.ino('/m'), n('a'))).toBeUndefined();
  });
});

describe('a limited tree', () => {
  test('tells its limits and what is left of them, also after a restart', () => {
    const { blockSize } = f.vfs.statfs(ROOT_INO);
    attach('/t', { sizeBytesMax: 10 * blockSize, inodesMax: 5 });
    put('/t', 'a', 'x'.repeat(blockSize + 1));
    const told = { blocks: 10, blocksFree: 8, blocksAvailable: 8, files: 5, filesFree: 3 };
    expect(f.vfs.statfs(f.ino('/t'))).toMatchObject(told);
    f.reopen();
    expect(f.vfs.statfs(f.ino('/t/a'))).toMatchObject(told);
    expect(f.vfs.statfs(f.ipfs).files).not.toBe(5);
  });

  test('takes no byte and no file more than it may have', () => {
    attach('/t', { sizeBytesMax: 8, inodesMax: 3 });
    const ino = put('/t', 'a', '12345678');
    const { fh } = f.vfs.openNow(ROOT, ino, O_RDWR, false);
    const more = () => f.vfs.write(ROOT, fh, Buffer.from('9'), 8, false);
    expect(more).toThrowError(failure('no-space'));
    f.vfs.write(ROOT, fh, Buffer.from('X'), 7, false);
    f.vfs.release(fh);
    put('/t', 'b', '');
    expect(() => put('/t', 'c', '')).toThrowError(failure('no-space'));
    expect(f.vfs.statfs(ino)).toMatchObject({ blocksFree: 0, filesFree: 0 });
    f.vfs.unlink(ROOT, f.ino('/t'), n('a'));
    put('/t', 'c', '123');
    expect(bytesOf('/t/c')).toBe('123');
  });
});

describe('a whole tree', () => {
  const copy = (from: string, tree: string, name: string, preserve = false, caller = ROOT) =>
    copyTree(f.vfs.core, caller, f.ino(from), { parent: f.ino(tree), name: n(name) }, preserve);

  test('is copied with its links, and says what it left out', () => {
    f.vfs.mkdir(ROOT, f.ipfs, n('d'), 0o500);
    const inside = f.ino('/ipfs/d');
    const file = put('/ipfs/d', 'a', 'bytes');
    f.vfs.link(ROOT, file, inside, n('b'));
    f.vfs.symlink(ROOT, inside, n('l'), n('a'));
    f.vfs.mknod(ROOT, inside, n('pipe'), S_IFIFO | 0o600, 0);
    f.vfs.setxattr(ROOT, file, n('user.u'), Buffer.from('1'), 'any');
    f.vfs.setxattr(ROOT, file, n('trusted.t'), Buffer.from('2'), 'any');
    void f.vfs.setattr(ROOT, file, { mtime: { s: 5, ns: 6 }, uid: 3 });
    const copied = copy('/ipfs/d', '/ipfs', 'e', true);
    expect(copied).toMatchObject({
      files: 1,
      directories: 1,
      symlinks: 1,
      skipped: ['/ipfs/e/pipe'],
    });
    const made = f.vfs.getattr(ROOT, f.ino('/ipfs/e/a'));
    expect(made).toMatchObject({ nlink: 2, mtimeS: 5, mtimeNs: 6, uid: 3 });
    expect(f.ino('/ipfs/e/b')).toBe(made.ino);
    expect(f.vfs.listxattr(ROOT, made.ino)).toEqual(['trusted.t', 'user.u']);
    expect(f.vfs.getattr(ROOT, copied.ino).mode & 0o777).toBe(0o500);
  });

  test('copied by a user keeps what is his to give', () => {
    void f.vfs.setattr(ROOT, f.ipfs, { mode: 0o777 });
    const file = put('/ipfs', 'a', 'bytes');
    f.vfs.setxattr(ROOT, file, n('user.u'), Buffer.from('1'), 'any');
    f.vfs.setxattr(ROOT, file, n('security.s'), Buffer.from('2'), 'any');
    void f.vfs.setattr(ROOT, file, { mtime: { s: 5, ns: 6 } });
    const { ino } = copy('/ipfs/a', '/ipfs', 'b', true, callerOf(7, 8));
    expect(f.vfs.getattr(ROOT, ino)).toMatchObject({ uid: 7, gid: 8, mtimeS: 5 });
    expect(f.vfs.listxattr(ROOT, ino)).toEqual(['user.u']);
  });

  test('copied while it is written has the bytes of that moment', () => {
    const { handle } = f.vfs.create(ROOT, f.ipfs, n('a'), 0o644, O_RDWR);
    f.vfs.write(ROOT, handle.fh, Buffer.from('now'), 0, false);
    expect(copy('/ipfs/a', '/ipfs', 'b')).toMatchObject({ bytes: 3, linkedBytes: 0 });
    f.vfs.write(ROOT, handle.fh, Buffer.from('new'), 0, false);
    f.vfs.release(handle.fh);
    expect([bytesOf('/ipfs/a'), bytesOf('/ipfs/b')]).toEqual(['new', 'now']);
    expect(copy('/ipfs/a', '/mem', 'c')).toMatchObject({ bytes: 3, linkedBytes: 0 });
    expect(copy('/ipfs/a', '/ipfs', 'd')).toMatchObject({ bytes: 3, linkedBytes: 3 });
    expect([bytesOf('/mem/c'), bytesOf('/ipfs/d')]).toEqual(['new', 'new']);
  });

  test('is never copied into itself', () => {
    f.vfs.mkdir(ROOT, f.ipfs, n('d'), 0o755);
    f.vfs.mkdir(ROOT, f.ino('/ipfs/d'), n('e'), 0o755);
    expect(() => copy('/ipfs/d', '/ipfs/d', 'x')).toThrowError(failure('invalid'));
    expect(() => copy('/ipfs/d', '/ipfs/d/e', 'x')).toThrowError(failure('invalid'));
  });

  test('is walked and removed without what is mounted in it', () => {
    attach('/ipfs/d/t', { parents: true });
    put('/ipfs/d', 'a', 'x');
    put('/ipfs/d/t', 'b', 'x');
    const names = () => [...walk(f.vfs.core, ROOT, f.ino('/ipfs/d'))].map(({ name }) => name);
    expect(names()).toEqual(['a']);
    const remove = (name: string) => removeTree(f.vfs.core, ROOT, f.ipfs, n(name));
    expect(() => remove('d')).toThrowError(failure('mount-busy'));
    expect(() => remove('absent')).toThrowError(failure('not-found'));
    detach('/ipfs/d/t');
    remove('d');
    put('/ipfs', 'f', 'x');
    remove('f');
    expect(f.vfs.lookup(ROOT, f.ipfs, n('f'))).toBeUndefined();
    expect(f.vfs.lookup(ROOT, f.ipfs, n('d'))).toBeUndefined();
  });

  test('of more names than are read at a time is walked in order', () => {
    const names = Array.from({ length: 300 }, (_, index) => `f${1000 + index}`);
    f.journal.commit(() => {
      for (const name of names) f.vfs.mknod(ROOT, f.ipfs, n(name), S_IFREG | 0o644, 0);
    });
    expect([...walk(f.vfs.core, ROOT, f.ipfs)].map(({ name }) => name)).toEqual(names);
  });
});

describe('a patch by path', () => {
  test('leaves the rest of the bytes, and nothing of a rehearsal', () => {
    const ino = put('/ipfs', 'a', 'abcdef');
    patchBytes(f.vfs.core, ROOT, ino, Buffer.from('XY'), 1);
    patchBytes(f.vfs.core, ROOT, ino, Buffer.from('!'), 'end');
    expect(bytesOf('/ipfs/a')).toBe('aXYdef!');
    const { seq } = f.journal.head;
    expect(patchBytes(f.vfs.core, ROOT, ino, Buffer.alloc(0), 100).size).toBe(7);
    expect(rehearseWrite(f.vfs.core, ROOT, ino, 0, 'end').size).toBe(7);
    expect(f.journal.head.seq).toBe(seq);
  });

  test('is of regular files only, and within limits', () => {
    const pipe = f.vfs.mknod(ROOT, f.ipfs, n('pipe'), S_IFIFO | 0o600, 0).ino;
    const ino = put('/ipfs', 'a', 'x');
    const patch = (of: Ino, at: number, caller = ROOT) => {
      patchBytes(f.vfs.core, caller, of, Buffer.from('y'), at);
    };
    expect(() => patch(f.ipfs, 0)).toThrowError(failure('is-directory'));
    expect(() => patch(pipe, 0)).toThrowError(failure('unsupported'));
    expect(() => patch(ino, FILE_BYTES_MAX)).toThrowError(failure('file-too-large'));
    expect(() => patch(ino, 0, callerOf(7, 7))).toThrowError(failure('denied'));
    expect(bytesOf('/ipfs/a')).toBe('x');
  });

  test('and a replacement leave open handles where they are', () => {
    const { handle, inode } = f.vfs.create(ROOT, f.ipfs, n('a'), 0o644, O_RDWR);
    f.vfs.write(ROOT, handle.fh, Buffer.from('abc'), 0, false);
    replaceBytes(f.vfs.core, ROOT, inode.ino, Buffer.alloc(0));
    expect(bytesOf('/ipfs/a')).toBe('');
    f.vfs.write(ROOT, handle.fh, Buffer.from('again'), 0, false);
    f.vfs.release(handle.fh);
    expect(bytesOf('/ipfs/a')).toBe('again');
    replaceBytes(f.vfs.core, ROOT, inode.ino, Buffer.from('once more'));
    expect(bytesOf('/ipfs/a')).toBe('once more');
  });
});
