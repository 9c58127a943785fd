import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { type Fh, type Name, ROOT_INO } from '../../src/base/ids.ts';
import { O_EXCL, O_RDONLY, O_RDWR, O_WRONLY } from '../../src/base/posix.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { copyTree, removeTree, replaceBytes } from '../../src/vfs/vfs.ts';
import { callerOf, Fixture, ROOT } from './fixture.ts';

const n = (text: string) => text as Name;
let f: Fixture;
beforeEach(() => {
  f = new Fixture();
});
afterEach(() => {
  f.close();
});

const kinds = () => f.journal.ops.page(0, 1000).map(({ kind }) => kind);

function put(name: string, text: string): void {
  const { handle } = f.vfs.create(ROOT, f.ipfs, n(name), 0o644, O_RDWR);
  f.vfs.write(ROOT, handle.fh, Buffer.from(text), 0, false);
  f.vfs.release(handle.fh);
}

function bytesOf(path: string): string {
  const handle = f.vfs.openNow(ROOT, f.ino(path), O_RDONLY, false);
  const into = Buffer.alloc(1 << 20);
  const got = f.vfs.read(handle.fh, into, 0, into.length, 0) as number;
  f.vfs.release(handle.fh);
  return into.toString('utf8', 0, got);
}

describe('the tree', () => {
  test('a file written and closed reads back, and is two records', () => {
    put('a', 'hello');
    expect(bytesOf('/ipfs/a')).toBe('hello');
    expect(kinds().slice(-2)).toEqual(['create', 'write']);
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('a kill loses nothing acknowledged, and the open session gets its record', () => {
    const { handle } = f.vfs.create(ROOT, f.ipfs, n('a'), 0o644, O_RDWR);
    f.vfs.write(ROOT, handle.fh, Buffer.alloc(200_000, 'x'), 0, false);
    f.reopen();
    expect(bytesOf('/ipfs/a')).toBe('x'.repeat(200_000));
    expect(kinds().at(-1)).toBe('write');
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('what is in memory is gone after a stop, and the tree is empty again', () => {
    const { handle } = f.vfs.create(ROOT, f.ino('/mem'), n('a'), 0o644, O_RDWR);
    f.vfs.write(ROOT, handle.fh, Buffer.from('x'), 0, false);
    f.vfs.mkdir(ROOT, f.ino('/mem'), n('d'), 0o755);
    f.reopen();
    expect(f.vfs.lookup(ROOT, f.ino('/mem'), n('a'))).toBeUndefined();
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('an unlinked open file is read until its last close, then it is gone', () => {
    put('a', 'still here');
    const ino = f.ino('/ipfs/a');
    const handle = f.vfs.openNow(ROOT, ino, O_RDONLY, false);
    f.vfs.unlink(ROOT, f.ipfs, n('a'));
    const into = Buffer.alloc(10);
    expect(f.vfs.read(handle.fh, into, 0, 10, 0)).toBe(10);
    f.vfs.release(handle.fh);
    expect(f.journal.inodes.get(ino)).toBeUndefined();
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('a write session keeps the bytes before it', () => {
    put('a', 'before');
    const handle = f.vfs.openNow(ROOT, f.ino('/ipfs/a'), O_WRONLY, false);
    f.vfs.write(ROOT, handle.fh, Buffer.from('after!'), 0, false);
    f.vfs.release(handle.fh);
    const last = f.journal.ops.page(0, 1000).at(-1);
    expect(last?.kind).toBe('write');
    const old = Buffer.alloc(6);
    f.content.read(last?.old_content ?? (0 as never), old, 0, 6, 0);
    expect(old.toString()).toBe('before');
    expect(bytesOf('/ipfs/a')).toBe('after!');
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('pages of a mapping never lengthen the file, and the kernel learns the new times', () => {
    const told: number[] = [];
    put('a', '0123456789');
    const { fh } = f.vfs.openNow(ROOT, f.ino('/ipfs/a'), O_RDWR, false);
    void f.vfs.setattr(ROOT, f.ino('/ipfs/a'), { size: 6 }, fh);
    const { core } = f.vfs;
    core.invalidator = Object.assign(Object.create(core.invalidator), {
      uncounted: (ino: number) => told.push(ino),
    });
    const kernel = { ...ROOT, checked: true };
    f.vfs.writePages(kernel, fh, Buffer.from('abcdefgh'), 4);
    f.vfs.writePages(kernel, fh, Buffer.from('late'), 8);
    f.vfs.release(fh);
    expect(told).toEqual([f.ino('/ipfs/a'), f.ino('/ipfs/a')]);
    expect(bytesOf('/ipfs/a')).toBe('0123ab');
  });

  test('pages are dropped for the sake of an access time, but not those of a mapping', () => {
    put('a', 'bytes');
    const kernel = { ...ROOT, checked: true };
    const ino = f.ino('/ipfs/a');
    const drops = () => {
      const { fh, dropsPages } = f.vfs.openNow(kernel, ino, O_RDONLY, false);
      f.vfs.release(fh);
      return dropsPages;
    };
    expect(drops()).toBe(true);
    const writer = f.vfs.openNow(kernel, ino, O_RDWR, false);
    expect(drops()).toBe(false);
    f.vfs.release(writer.fh);
    expect(drops()).toBe(true);
  });

  test('rename over a file takes its place at once and frees it', () => {
    put('a', 'new');
    put('b', 'old');
    const at = (name: string) => ({ parent: f.ipfs, name: n(name) });
    f.vfs.rename(ROOT, at('a'), at('b'), { noReplace: false, exchange: false });
    expect(bytesOf('/ipfs/b')).toBe('new');
    expect(f.vfs.lookup(ROOT, f.ipfs, n('a'))).toBeUndefined();
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('a group that breaks leaves rows, caches and handles as they were', () => {
    put('a', 'one');
    const seq = f.journal.head.seq;
    let fh = 0 as Fh;
    expect(() =>
      f.journal.group(() => {
        fh = f.vfs.create(ROOT, f.ipfs, n('b'), 0o644, O_RDWR).handle.fh;
        f.vfs.write(ROOT, fh, Buffer.from('two'), 0, false);
        f.vfs.unlink(ROOT, f.ipfs, n('a'));
        f.journal.commit(() => {
          throw new Error('planted');
        });
      }),
    ).toThrow();
    expect(f.journal.head.seq).toBe(seq);
    expect(bytesOf('/ipfs/a')).toBe('one');
    expect(f.vfs.lookup(ROOT, f.ipfs, n('b'))).toBeUndefined();
    expect(() => f.vfs.write(ROOT, fh, Buffer.from('x'), 0, false)).toThrow('bad-handle');
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('create of a name somebody made meanwhile opens it, unless it must be new', () => {
    put('a', 'theirs');
    const { inode, handle } = f.vfs.create(ROOT, f.ipfs, n('a'), 0o600, O_RDWR);
    expect([inode.ino, inode.mode & 0o777]).toEqual([f.ino('/ipfs/a'), 0o644]);
    f.vfs.release(handle.fh);
    expect(bytesOf('/ipfs/a')).toBe('theirs');
    expect(() => f.vfs.create(ROOT, f.ipfs, n('a'), 0o600, O_RDWR | O_EXCL)).toThrow('exists');
    const nobody = callerOf(65534, 65534);
    expect(() => f.vfs.create(nobody, f.ipfs, n('a'), 0o600, O_RDWR)).toThrow('denied');
  });

  test('fsync answers after the bytes are on the disk, and then the journal, in this order', async () => {
    const { handle } = f.vfs.create(ROOT, f.ipfs, n('a'), 0o644, O_RDWR);
    f.vfs.write(ROOT, handle.fh, Buffer.alloc(200_000, 'x'), 0, false);
    const { core } = f.vfs;
    const done: string[] = [];
    const content = vi.spyOn(f.content, 'fsync').mockImplementation(async (ids) => {
      await new Promise(setImmediate);
      done.push(`content ${ids.join()}`);
    });
    Object.defineProperty(core, 'syncJournal', {
      value: async () => {
        await new Promise(setImmediate);
        // The record of what was written is in what is synced now.
        done.push(`journal ${kinds().at(-1)}`);
      },
    });
    await f.vfs.fsync(handle.fh, false);
    expect(done).toEqual([`content ${core.inodes.get(handle.ino).content}`, 'journal write']);
    content.mockRestore();
    f.vfs.release(handle.fh);
  });

  test('names that are CIDs cannot be made below /ipfs', () => {
    const name = n(`bafy${'b'.repeat(55)}`);
    expect(() => f.vfs.mkdir(ROOT, f.ipfs, name, 0o755)).toThrow('read-only');
  });

  test('an inode has at most 65,000 links', () => {
    put('a', 'x');
    f.journal.connection.exec(`UPDATE inode SET nlink = 64999 WHERE ino = ${f.ino('/ipfs/a')}`);
    f.reopen();
    const link = (name: string) => f.vfs.link(ROOT, f.ino('/ipfs/a'), f.ipfs, n(name));
    expect(link('b').nlink).toBe(65_000);
    expect(() => link('c')).toThrow(expect.objectContaining({ failure: 'too-many-links' }));
  });

  test('the root lists what is mounted, and takes nothing', () => {
    const handle = f.vfs.opendir(ROOT, ROOT_INO);
    const names: string[] = [];
    void f.vfs.readdir(handle.fh, 0, true, ({ name }) => names.push(name) > 0);
    expect(names).toEqual(['.', '..', '.kitfs', 'ipfs', 'mem']);
    expect(() => f.vfs.mkdir(ROOT, ROOT_INO, n('x'), 0o755)).toThrow('read-only');
  });

  test('copies share bytes, and a write to one leaves the other alone', () => {
    put('a', 'shared');
    copyTree(f.vfs.core, ROOT, f.ino('/ipfs/a'), { parent: f.ipfs, name: n('b') }, true);
    replaceBytes(f.vfs.core, ROOT, f.ino('/ipfs/b'), Buffer.from('mine'));
    const handle = f.vfs.openNow(ROOT, f.ino('/ipfs/a'), O_RDWR, false);
    f.vfs.write(ROOT, handle.fh, Buffer.from('S'), 0, false);
    f.vfs.release(handle.fh);
    expect([bytesOf('/ipfs/a'), bytesOf('/ipfs/b')]).toEqual(['Shared', 'mine']);
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('a tree is removed as one, or not at all', () => {
    const d = f.vfs.mkdir(ROOT, f.ipfs, n('d'), 0o755).ino;
    f.vfs.mkdir(ROOT, d, n('e'), 0o755);
    f.vfs.symlink(ROOT, d, n('l'), n('/nowhere'));
    removeTree(f.vfs.core, ROOT, f.ipfs, n('d'));
    expect(f.vfs.lookup(ROOT, f.ipfs, n('d'))).toBeUndefined();
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('a tree of many entries gives signs of life while it is removed', () => {
    const d = f.vfs.mkdir(ROOT, f.ipfs, n('d'), 0o755).ino;
    f.journal.group(() => {
      for (let i = 0; i < 512; i++) f.vfs.mkdir(ROOT, d, n(`e${i}`), 0o755);
    });
    const seen: boolean[] = [];
    f.onWork = () => seen.push(f.vfs.lookup(ROOT, f.ipfs, n('d')) !== undefined);
    removeTree(f.vfs.core, ROOT, f.ipfs, n('d'));
    // While it is listed, while each goes, and while each record is written.
    expect(seen.length).toBeGreaterThanOrEqual((512 * 3) / 64);
    expect(seen.filter(Boolean).length).toBeGreaterThanOrEqual((512 * 2) / 64);
  });

  test('whom the kernel did not check is checked here', () => {
    put('a', 'secret');
    void f.vfs.setattr(ROOT, f.ino('/ipfs/a'), { mode: 0o600 });
    const nobody = callerOf(65534, 65534);
    expect(() => f.vfs.openNow(nobody, f.ino('/ipfs/a'), O_RDONLY, false)).toThrow('denied');
    expect(() => f.vfs.unlink(nobody, f.ipfs, n('a'))).toThrow('denied');
    expect(() => f.vfs.setattr(nobody, f.ino('/ipfs/a'), { mode: 0o666 })).toThrow('not-permitted');
  });
});
