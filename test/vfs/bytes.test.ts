/** The laws of bytes at the edges: no bytes at all, holes, shared ones, too many. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Fh, type Ino, nameOfText, ROOT_INO } from '../../src/base/ids.ts';
import { FILE_BYTES_MAX, HISTORY_COPY_BYTES_MAX } from '../../src/base/limits.ts';
import {
  O_APPEND,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
  S_IFCHR,
  S_IFREG,
  S_ISGID,
  S_ISUID,
} from '../../src/base/posix.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { copyTree } from '../../src/vfs/vfs.ts';
import { callerOf, Fixture, ROOT } from './fixture.ts';

const n = nameOfText;
const failure = (name: string) => expect.objectContaining({ failure: name });
const PLAIN = { keepSize: false, punchHole: false, zeroRange: false };

let f: Fixture;
beforeEach(() => {
  f = new Fixture();
});
afterEach(() => {
  expect(checkJournal(f.journal)).toEqual([]);
  f.close();
});

function opened(path: string, text = '', flags = O_RDWR): { fh: Fh; ino: Ino } {
  const [, tree = '', name = ''] = path.split('/');
  const { handle, inode } = f.vfs.create(ROOT, f.ino(`/${tree}`), n(name), 0o644, flags);
  if (text !== '') f.vfs.write(ROOT, handle.fh, Buffer.from(text), 0, false);
  return { fh: handle.fh, ino: inode.ino };
}

function bytesOf(fh: Fh, length = 100, position = 0): string {
  const into = Buffer.alloc(length, '?');
  return into.toString('latin1', 0, f.vfs.read(fh, into, 0, length, position) as number);
}

const sizeOf = (ino: Ino): number => f.vfs.getattr(ROOT, ino).size;

describe('a file without bytes of its own', () => {
  test('is a hole from end to end, and reads as zeros', () => {
    const { fh, ino } = opened('/ipfs/a');
    expect(f.vfs.read(fh, Buffer.alloc(4), 0, 4, 0)).toBe(0);
    void f.vfs.setattr(ROOT, ino, { size: 6 });
    expect(bytesOf(fh, 4, 4)).toBe('\0\0');
    expect(() => f.vfs.lseek(fh, 6, 'hole')).toThrowError(failure('no-such-extent'));
    expect(() => f.vfs.lseek(fh, -1, 'data')).toThrowError(failure('no-such-extent'));
  });

  test('gives zeros to who copies a range of it', () => {
    const { fh: from, ino } = opened('/ipfs/z');
    void f.vfs.setattr(ROOT, ino, { size: 3 });
    const to = opened('/ipfs/to', 'abcdef').fh;
    const ends = [
      { fh: from, position: 0 },
      { fh: to, position: 2 },
    ] as const;
    expect(f.vfs.copyFileRange(ROOT, ...ends, 100)).toBe(3);
    expect(bytesOf(to)).toBe('ab\0\0\0f');
  });

  test('stays as it is when nothing is written, even far behind its end', () => {
    const { fh, ino } = opened('/ipfs/a');
    f.vfs.write(ROOT, fh, Buffer.alloc(0), 1000, false);
    expect(sizeOf(ino)).toBe(0);
  });

  test('has its end found as a hole behind its last bytes', () => {
    const { fh } = opened('/ipfs/a', 'abc');
    expect(f.vfs.lseek(fh, 1, 'data')).toBe(1);
    expect(f.vfs.lseek(fh, 1, 'hole')).toBe(3);
  });
});

describe('a handle', () => {
  test('does only what it was opened for', () => {
    const { ino } = opened('/ipfs/a', 'abc');
    const reads = f.vfs.openNow(ROOT, ino, O_RDONLY, false).fh;
    const puts = f.vfs.openNow(ROOT, ino, O_WRONLY, false).fh;
    const adds = f.vfs.openNow(ROOT, ino, O_RDWR | O_APPEND, false).fh;
    const copy = (from: Fh, to: Fh) =>
      f.vfs.copyFileRange(ROOT, { fh: from, position: 0 }, { fh: to, position: 10 }, 1);
    const refused = [
      () => f.vfs.read(puts, Buffer.alloc(1), 0, 1, 0),
      () => f.vfs.write(ROOT, reads, Buffer.from('x'), 0, false),
      () => f.vfs.fallocate(ROOT, reads, PLAIN, 0, 1),
      () => copy(puts, puts),
      () => copy(reads, reads),
      () => copy(reads, adds),
    ];
    for (const operation of refused) expect(operation).toThrowError(failure('bad-handle'));
    expect(sizeOf(ino)).toBe(3);
  });

  test('opened to append writes at the end, unless who asks says otherwise', () => {
    const { fh } = opened('/ipfs/a', '', O_RDWR | O_APPEND);
    f.vfs.write(ROOT, fh, Buffer.from('abc'), 7, false);
    f.vfs.write(ROOT, fh, Buffer.from('d'), 0, false);
    f.vfs.write(ROOT, fh, Buffer.from('X'), 1, false, false);
    expect(bytesOf(fh)).toBe('aXcd');
  });
});

describe('a range', () => {
  test('that no file can have is refused before anything changes', () => {
    const { fh, ino } = opened('/ipfs/a', 'abc');
    const big = [
      () => f.vfs.write(ROOT, fh, Buffer.from('x'), FILE_BYTES_MAX, false),
      () => f.vfs.fallocate(ROOT, fh, PLAIN, FILE_BYTES_MAX, 1),
    ];
    for (const operation of big) expect(operation).toThrowError(failure('file-too-large'));
    expect(() => f.vfs.fallocate(ROOT, fh, PLAIN, 0, 0)).toThrowError(failure('invalid'));
    expect(() => f.vfs.fallocate(ROOT, fh, PLAIN, -1, 5)).toThrowError(failure('invalid'));
    const punch = () => f.vfs.fallocate(ROOT, fh, { ...PLAIN, punchHole: true }, 0, 1);
    expect(punch).toThrowError(failure('unsupported'));
    expect(sizeOf(ino)).toBe(3);
  });

  test('is not copied onto itself, nor from behind the end', () => {
    const { fh } = opened('/ipfs/a', 'abcdef');
    const copy = (from: number, to: number, length: number) =>
      f.vfs.copyFileRange(ROOT, { fh, position: from }, { fh, position: to }, length);
    expect(() => copy(0, 2, 4)).toThrowError(failure('invalid'));
    expect(copy(6, 0, 4)).toBe(0);
    expect(copy(0, 4, 4)).toBe(4);
    expect(bytesOf(fh)).toBe('abcdabcd');
  });

  test('is made room for, with the size or without, and its bytes are zeros', () => {
    const { fh, ino } = opened('/ipfs/a', 'abcdef');
    f.vfs.fallocate(ROOT, fh, { ...PLAIN, keepSize: true }, 0, 100);
    expect(sizeOf(ino)).toBe(6);
    f.vfs.fallocate(ROOT, fh, PLAIN, 4, 4);
    f.vfs.fallocate(ROOT, fh, { ...PLAIN, zeroRange: true }, 1, 2);
    f.vfs.fallocate(ROOT, fh, { ...PLAIN, punchHole: true, keepSize: true }, 4, 1);
    expect(bytesOf(fh)).toBe('a\0\0d\0f\0\0');
  });
});

describe('shared bytes', () => {
  test.each(['/ipfs', '/mem'])(
    'too many to be kept are copied whole before one of them changes, in %s',
    (tree) => {
      const size = HISTORY_COPY_BYTES_MAX + 3;
      const { fh, ino } = opened(`${tree}/a`, 'abc');
      void f.vfs.setattr(ROOT, ino, { size });
      f.vfs.write(ROOT, fh, Buffer.from('end'), size - 3, false);
      f.vfs.release(fh);
      const { ino: copy } = copyTree(
        f.vfs.core,
        ROOT,
        ino,
        { parent: f.ino(tree), name: n('b') },
        false,
      );
      const contentOf = (of: Ino) => f.vfs.core.inodes.get(of).content;
      expect(contentOf(copy)).toBe(contentOf(ino));
      const to = f.vfs.openNow(ROOT, copy, O_RDWR, false).fh;
      f.vfs.write(ROOT, to, Buffer.from('X'), 1, false);
      expect(contentOf(copy)).not.toBe(contentOf(ino));
      expect([bytesOf(to, 3), bytesOf(to, 3, size - 3)]).toEqual(['aXc', 'end']);
      f.vfs.release(to);
      const from = f.vfs.openNow(ROOT, ino, O_RDONLY, false).fh;
      expect(bytesOf(from, 3)).toBe('abc');
    },
  );

  test('of a file that is read only come to rest when it is cut by its name', () => {
    const { fh, ino } = opened('/ipfs/a', 'abcdef');
    f.vfs.release(fh);
    const reads = f.vfs.openNow(ROOT, ino, O_RDONLY, false).fh;
    void f.vfs.setattr(ROOT, ino, { size: 3 });
    expect(bytesOf(reads)).toBe('abc');
    expect(f.content.row(f.vfs.core.inodes.get(ino).content)?.state).toBe('frozen');
  });

  test('are as they were, and counted as they were, when what cut them is undone', () => {
    const { fh, ino } = opened('/ipfs/a', 'abcdef');
    f.vfs.release(fh);
    const cut = () =>
      f.journal.commit(() => {
        void f.vfs.setattr(ROOT, ino, { size: 2 });
        throw new Error('undone');
      });
    expect(cut).toThrowError(failure('internal'));
    expect(bytesOf(f.vfs.openNow(ROOT, ino, O_RDONLY, false).fh)).toBe('abcdef');
  });
});

describe('set-id bits', () => {
  test('go when an ordinary user writes: set-gid only of what a group may run', () => {
    const made = (name: string, mode: number) => {
      const { ino } = f.vfs.mknod(ROOT, f.ipfs, n(name), S_IFREG | mode, 0);
      const { fh } = f.vfs.openNow(ROOT, ino, O_WRONLY, false);
      f.vfs.write(callerOf(7, 7), fh, Buffer.from('x'), 0, true);
      return f.vfs.getattr(ROOT, ino).mode & 0o7777;
    };
    expect(made('run', 0o777 | S_ISUID | S_ISGID)).toBe(0o777);
    expect(made('lock', 0o666 | S_ISUID | S_ISGID)).toBe(0o666 | S_ISGID);
    expect(made('plain', 0o666)).toBe(0o666);
  });
});

describe('attributes beside the bytes', () => {
  const text = (path: string, name: string) =>
    f.vfs.getxattr(ROOT, f.ino(path), n(name))?.toString();

  test('tell version, durability and who wrote last', () => {
    const { fh, ino } = opened('/ipfs/a', 'abc');
    f.vfs.release(fh);
    const { version } = f.vfs.core.inodes.get(ino);
    expect(text('/ipfs/a', 'user.kitfs.version')).toBe(`${ino}.${version}`);
    expect(text('/ipfs/a', 'user.kitfs.durability')).toBe('journaled');
    const last = JSON.parse(text('/ipfs/a', 'user.kitfs.provenance') ?? '{}');
    expect(last).toMatchObject({ op: 'write', surface: 'daemon', uid: 0 });
    expect(last.seq).toBe(f.journal.head.seq);
    expect(text('/ipfs/a', 'user.kitfs.unheard-of')).toBeUndefined();
  });

  test('tell no durability of a directory, and no CID of what is not sealed', () => {
    const { fh } = opened('/ipfs/a', 'abc');
    f.vfs.mkdir(ROOT, f.ipfs, n('d'), 0o755);
    expect(text('/ipfs/d', 'user.kitfs.durability')).toBeUndefined();
    expect(text('/ipfs/d', 'user.ipfs.cid')).toBeUndefined();
    expect(text('/ipfs/a', 'user.ipfs.cid')).toBeUndefined();
    f.vfs.release(fh);
  });

  test('tell nothing of the last writer where nothing was ever recorded', () => {
    expect(f.vfs.getxattr(ROOT, ROOT_INO, n('user.kitfs.provenance'))).toBeUndefined();
  });

  test('are set, replaced and removed as their mode says, and by names that can be', () => {
    const { ino } = opened('/ipfs/a');
    const device = f.vfs.mknod(ROOT, f.ipfs, n('dev'), S_IFCHR | 0o666, 0x103).ino;
    const set = (of: Ino, name: string, mode: 'any' | 'create' | 'replace', value = 'v') =>
      f.vfs.setxattr(ROOT, of, n(name), Buffer.from(value), mode);
    expect(() => set(ino, 'user.a', 'replace')).toThrowError(failure('no-attribute'));
    set(ino, 'user.a', 'create');
    expect(() => set(ino, 'user.a', 'create')).toThrowError(failure('exists'));
    set(ino, 'user.a', 'replace', 'w');
    expect(text('/ipfs/a', 'user.a')).toBe('w');
    f.vfs.removexattr(ROOT, ino, n('user.a'));
    const remove = (name: string) => () => f.vfs.removexattr(ROOT, ino, n(name));
    expect(remove('user.a')).toThrowError(failure('no-attribute'));
    expect(remove('user.kitfs.version')).toThrowError(failure('not-permitted'));
    expect(() => set(ino, 'user.ipfs.cid', 'any')).toThrowError(failure('not-permitted'));
    expect(() => set(device, 'user.a', 'any')).toThrowError(failure('not-permitted'));
    expect(() => set(ino, 'user.', 'any')).toThrowError(failure('unsupported'));
    const long = `user.${'a'.repeat(251)}`;
    expect(() => set(ino, long, 'any')).toThrowError(failure('range'));
    expect(() => text('/ipfs/a', long)).toThrowError(failure('range'));
    expect(() => text('/ipfs/a', 'other.a')).toThrowError(failure('unsupported'));
    const big = 'v'.repeat(65_537);
    expect(() => set(ino, 'user.b', 'any', big)).toThrowError(failure('attribute-too-big'));
  });

  test('of the system are set and seen by root only', () => {
    const { ino } = opened('/ipfs/a');
    const stranger = callerOf(7, 7);
    f.vfs.setxattr(ROOT, ino, n('trusted.t'), Buffer.from('1'), 'any');
    f.vfs.setxattr(ROOT, ino, n('security.s'), Buffer.from('2'), 'any');
    expect(f.vfs.listxattr(ROOT, ino)).toEqual(['security.s', 'trusted.t']);
    expect(f.vfs.listxattr(stranger, ino)).toEqual(['security.s']);
    expect(f.vfs.getxattr(stranger, ino, n('trusted.t'))).toBeUndefined();
    expect(f.vfs.getxattr(stranger, ino, n('security.s'))?.toString()).toBe('2');
    const set = () => f.vfs.setxattr(stranger, ino, n('trusted.t'), Buffer.from('3'), 'any');
    expect(set).toThrowError(failure('not-permitted'));
  });
});

describe('a file made long and written to in one open', () => {
  const sectorsOf = (ino: Ino) => f.vfs.sectors(f.vfs.getattr(ROOT, ino));

  test('takes the room of what was written, and no more', () => {
    const { fh, ino } = opened('/ipfs/a');
    void f.vfs.setattr(ROOT, ino, { size: 2 ** 40 }, fh);
    f.vfs.write(ROOT, fh, Buffer.from('x'), 0, false);
    expect(sectorsOf(ino)).toBeLessThan(1000);
    f.vfs.release(fh);
    expect([f.vfs.getattr(ROOT, ino).size, f.content.row(f.vfs.getattr(ROOT, ino).content)?.state])
      // It has come to rest.
      .toEqual([2 ** 40, 'frozen']);
  });

  test('takes no more also when another one was faster to close', () => {
    const { fh, ino } = opened('/ipfs/a');
    const other = f.vfs.openNow(ROOT, ino, O_RDWR, false);
    void f.vfs.setattr(ROOT, ino, { size: 2 ** 36 });
    f.vfs.write(ROOT, other.fh, Buffer.from('x'), 0, false);
    f.vfs.release(other.fh);
    void f.vfs.setattr(ROOT, ino, { size: 2 ** 37 });
    f.vfs.write(ROOT, fh, Buffer.from('y'), 2 ** 36, false);
    expect(sectorsOf(ino)).toBeLessThan(1000);
    expect([bytesOf(fh, 1), bytesOf(fh, 2, 2 ** 36)]).toEqual(['x', 'y\0']);
    f.vfs.release(fh);
  });
});
