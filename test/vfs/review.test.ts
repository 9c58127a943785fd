import { createHash } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Ino, type Name, ROOT_INO } from '../../src/base/ids.ts';
import { HISTORY_COPY_BYTES_MAX } from '../../src/base/limits.ts';
import { O_APPEND, O_RDONLY, O_RDWR, O_TRUNC, S_ISGID, S_ISUID } from '../../src/base/posix.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { CidTree } from '../../src/vfs/cidtree.ts';
import { type Caller, unmount } from '../../src/vfs/vfs.ts';
import { callerOf, Fixture, ROOT } from './fixture.ts';

const n = (text: string) => text as Name;
const LARGE = 200_000;
let f: Fixture;
beforeEach(() => {
  f = new Fixture();
});
afterEach(() => {
  f.close();
});

const records = () => f.journal.ops.page(0, 1000);

function create(name: string, bytes: Buffer) {
  const { handle, inode } = f.vfs.create(ROOT, f.ipfs, n(name), 0o644, O_RDWR);
  f.vfs.write(ROOT, handle.fh, bytes, 0, false);
  return { fh: handle.fh, ino: inode.ino };
}

function put(name: string, bytes: Buffer): Ino {
  const { fh, ino } = create(name, bytes);
  f.vfs.release(fh);
  return ino;
}

function bytesOf(ino: Ino): Buffer {
  const handle = f.vfs.openNow(ROOT, ino, O_RDONLY, false);
  const into = Buffer.alloc(1 << 20);
  const got = f.vfs.read(handle.fh, into, 0, into.length, 0) as number;
  f.vfs.release(handle.fh);
  return into.subarray(0, got);
}

const stateOf = (ino: Ino) => f.content.row(f.vfs.core.inodes.get(ino).content)?.state;

/** Runs `body` in a group that is taken back. */
function broken(body: () => void): void {
  expect(() =>
    f.journal.group(() => {
      body();
      f.journal.commit(() => {
        throw new Error('planted');
      });
    }),
  ).toThrow();
}

describe('bytes at rest', () => {
  test('a file that was fsynced before its last close comes to rest too', async () => {
    const { fh, ino } = create('a', Buffer.from('x'));
    await f.vfs.fsync(fh, false);
    f.vfs.release(fh);
    expect(stateOf(ino)).toBe('frozen');
  });

  test('a file whose only unsynced writer went first comes to rest with its last handle', async () => {
    const { fh, ino } = create('a', Buffer.from('x'));
    const other = f.vfs.openNow(ROOT, ino, O_RDWR, false);
    f.vfs.write(ROOT, other.fh, Buffer.from('y'), 0, false);
    await f.vfs.fsync(fh, false);
    await f.vfs.fsync(other.fh, false);
    f.vfs.release(other.fh);
    f.vfs.release(fh);
    expect(stateOf(ino)).toBe('frozen');
  });

  test('a file that was fsynced and then revoked comes to rest', async () => {
    const { fh, ino } = create('a', Buffer.from('x'));
    await f.vfs.fsync(fh, false);
    f.vfs.revoke(fh);
    expect(stateOf(ino)).toBe('frozen');
  });
});

describe('a group that breaks', () => {
  test('leaves a handle that was released in it open, and its session to be recorded', () => {
    const { fh, ino } = create('a', Buffer.from('x'));
    broken(() => f.vfs.release(fh));
    expect(f.vfs.core.handles.find(fh)).toBeDefined();
    f.vfs.release(fh);
    expect(records().filter(({ kind }) => kind === 'write')).toHaveLength(1);
    expect(f.journal.sessions.all()).toEqual([]);
    expect(stateOf(ino)).toBe('frozen');
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('leaves the last handle of a file without a name, so that its end is not missed', () => {
    const { fh, ino } = create('a', Buffer.from('x'));
    f.vfs.unlink(ROOT, f.ipfs, n('a'));
    broken(() => f.vfs.release(fh));
    f.vfs.release(fh);
    expect(f.journal.inodes.get(ino)).toBeUndefined();
  });

  test('does not cut the bytes of a file that is being written', () => {
    const bytes = Buffer.alloc(LARGE, 'x');
    const { fh, ino } = create('a', bytes);
    broken(() => f.vfs.setattr(ROOT, ino, { size: 10 }, fh));
    expect(bytesOf(ino).equals(bytes)).toBe(true);
    f.vfs.release(fh);
  });
});

describe('cutting', () => {
  test('what was cut off reads as zeros when the file grows again, in one group and later', () => {
    const { fh, ino } = create('a', Buffer.alloc(LARGE, 'x'));
    f.journal.group(() => {
      void f.vfs.setattr(ROOT, ino, { size: 100_000 }, fh);
      void f.vfs.setattr(ROOT, ino, { size: 150_000 }, fh);
    });
    void f.vfs.setattr(ROOT, ino, { size: 120_000 }, fh);
    void f.vfs.setattr(ROOT, ino, { size: LARGE }, fh);
    const bytes = bytesOf(ino);
    expect(bytes.subarray(0, 100_000).every((byte) => byte === 0x78)).toBe(true);
    expect(bytes.subarray(100_000).every((byte) => byte === 0)).toBe(true);
    f.vfs.release(fh);
  });

  test('O_TRUNC sets the time of a file that is empty already', () => {
    const ino = put('stamp', Buffer.alloc(0));
    void f.vfs.setattr(ROOT, ino, { mtime: { s: 1, ns: 0 } });
    f.vfs.release(f.vfs.openNow(ROOT, ino, O_RDWR | O_TRUNC, false).fh);
    expect(f.vfs.core.inodes.get(ino).mtimeS).toBeGreaterThan(1);
    expect(checkJournal(f.journal)).toEqual([]);
  });
});

describe('writes', () => {
  test('pages written back land where they belong, whatever handle the kernel does it by', () => {
    const ino = put('log', Buffer.from('abcdef'));
    const handle = f.vfs.openNow(ROOT, ino, O_RDWR | O_APPEND, false);
    f.vfs.write(ROOT, handle.fh, Buffer.from('X'), 1, false, false);
    f.vfs.write(ROOT, handle.fh, Buffer.from('Y'), 0, false);
    f.vfs.release(handle.fh);
    expect(bytesOf(ino).toString()).toBe('aXcdefY');
  });

  test('a session is of who opened the file, not of who happens to write', () => {
    const ino = put('a', Buffer.from('x'));
    const of = (pid: number): Caller => ({
      ...ROOT,
      actor: () => ({ surface: 'fuse', uid: 0, gid: 0, pid }),
    });
    const { fh } = f.vfs.openNow(of(4711), ino, O_RDWR, false);
    f.vfs.write(of(0), fh, Buffer.from('y'), 0, false);
    f.vfs.release(fh);
    expect(f.vfs.core.history.last(ino)?.actor.pid).toBe(4711);
  });

  test('fallocate and copy_file_range by a user take set-id bits away', () => {
    const source = put('s', Buffer.from('abc'));
    for (const name of ['p', 'q']) {
      const ino = put(name, Buffer.from('xyz'));
      void f.vfs.setattr(ROOT, ino, { mode: 0o6777 });
    }
    const user = callerOf(1000, 1000);
    const [p, q] = [f.ino('/ipfs/p'), f.ino('/ipfs/q')];
    const [from, to] = [
      f.vfs.openNow(user, source, O_RDONLY, false).fh,
      f.vfs.openNow(user, p, O_RDWR, false).fh,
    ];
    f.vfs.copyFileRange(user, { fh: from, position: 0 }, { fh: to, position: 0 }, 3);
    const other = f.vfs.openNow(user, q, O_RDWR, false).fh;
    const grow = { keepSize: false, punchHole: false, zeroRange: false };
    f.vfs.fallocate(user, other, grow, 0, 10);
    for (const fh of [from, to, other]) f.vfs.release(fh);
    for (const ino of [p, q]) {
      expect(f.vfs.core.inodes.get(ino).mode & (S_ISUID | S_ISGID)).toBe(0);
    }
  });
});

describe('callers the kernel did not check', () => {
  test('only the owner chowns, even to the owner it has', () => {
    const ino = put('a', Buffer.from('x'));
    void f.vfs.setattr(ROOT, ino, { mode: 0o4755 });
    expect(() => f.vfs.setattr(callerOf(1000, 1000), ino, { uid: 0 })).toThrow('not-permitted');
    expect(f.vfs.core.inodes.get(ino).mode & S_ISUID).toBe(S_ISUID);
  });

  test('a set-gid directory hands its group, but no set-gid file, to strangers', () => {
    const ino = f.vfs.mkdir(ROOT, f.ipfs, n('d'), 0o755).ino;
    void f.vfs.setattr(ROOT, ino, { gid: 42 });
    void f.vfs.setattr(ROOT, ino, { mode: 0o2777 });
    const made = f.vfs.mknod(callerOf(1000, 1000), ino, n('x'), 0o2755, 0);
    expect([made.gid, made.mode & S_ISGID]).toEqual([42, 0]);
  });
});

describe('mounts', () => {
  test('a position in a directory stays right when a tree is unmounted meanwhile', () => {
    const handle = f.vfs.opendir(ROOT, ROOT_INO);
    let position = 0;
    const seen: string[] = [];
    const take = ({ name, cookie }: { name: Name; cookie: number }) => {
      if (seen.length === 4) return false;
      seen.push(name);
      position = cookie;
      return true;
    };
    void f.vfs.readdir(handle.fh, 0, false, take);
    expect(seen.at(-1)).toBe('ipfs');
    unmount(f.vfs.core, ROOT, n('/ipfs'));
    void f.vfs.readdir(handle.fh, position, false, ({ name }) => seen.push(name) > 0);
    f.vfs.releasedir(handle.fh);
    expect(seen.at(-1)).toBe('mem');
  });

  test('a tree in memory may go while files in it are written', () => {
    const { handle } = f.vfs.create(ROOT, f.ino('/mem'), n('a'), 0o644, O_RDWR);
    f.vfs.write(ROOT, handle.fh, Buffer.alloc(LARGE, 'x'), 0, false);
    unmount(f.vfs.core, ROOT, n('/mem'));
    expect(() => f.vfs.write(ROOT, handle.fh, Buffer.from('y'), 0, false)).toThrow('not-found');
    f.vfs.release(handle.fh);
    expect(checkJournal(f.journal)).toEqual([]);
  });
});

describe('content by CID', () => {
  test('a directory of very many entries is still there once it was listed', async () => {
    const many = 70_000;
    const tree = new CidTree(
      {
        isCid: () => true,
        node: (cid) =>
          Promise.resolve({
            cid,
            type: cid === 'root' ? 'directory' : 'file',
            size: 0,
          }),
        async *children() {
          for (let i = 0; i < many; i++) yield { name: `f${i}`, cid: `c${i}` };
        },
        read: () => Promise.resolve(new Uint8Array()),
      },
      new AbortController().signal,
    );
    const root = await tree.root(ROOT_INO, n('root'), false);
    const inos: Ino[] = [];
    await tree.readdir(root.ino, 2, ({ ino }) => inos.push(ino) > 0);
    expect(tree.find(root.ino).ino).toBe(root.ino);
    expect(inos.map((ino) => tree.find(ino).ino)).toEqual(inos);
  });
});

describe('a sealed small file', () => {
  test('with a damaged byte is an error, never a wrong read', () => {
    const bytes = Buffer.from('sealed');
    const ino = put('a', bytes);
    const { content } = f.vfs.core.inodes.get(ino);
    const digest = createHash('sha256').update(bytes).digest();
    const cid = Buffer.concat([Buffer.from([1, 0x55, 0x12, 0x20]), digest]);
    f.journal.commit(() => f.content.seal(content, cid, 'unixfs-v1-2025'));
    expect(bytesOf(ino)).toEqual(bytes);
    f.journal.commit(() => f.journal.contents.setBytes(content, Buffer.from('sealeD')));
    expect(() => bytesOf(ino)).toThrow('integrity');
  });
});

describe('bytes written in place', () => {
  test('an append to a file that is not sealed yet keeps no copy of it', () => {
    const ino = put('a', Buffer.alloc(LARGE, 'x'));
    const { content } = f.vfs.core.inodes.get(ino);
    for (let i = 0; i < 5; i++) {
      const handle = f.vfs.openNow(ROOT, ino, O_RDWR | O_APPEND, false);
      f.vfs.write(ROOT, handle.fh, Buffer.from('!'), 0, false);
      f.vfs.release(handle.fh);
    }
    expect(f.vfs.core.inodes.get(ino).content).toBe(content);
    expect(bytesOf(ino).subarray(-6).toString()).toBe('x!!!!!');
    expect(records().at(-1)).toMatchObject({ kind: 'write', old_content: null });
    expect(checkJournal(f.journal)).toEqual([]);
  });

  test('an append to a sealed file keeps its old bytes', () => {
    const ino = put('a', Buffer.alloc(LARGE, 'x'));
    const { content } = f.vfs.core.inodes.get(ino);
    f.journal.commit(() => f.content.seal(content, Buffer.from([1, 2, 3]), 'test'));
    const handle = f.vfs.openNow(ROOT, ino, O_RDWR | O_APPEND, false);
    f.vfs.write(ROOT, handle.fh, Buffer.from('!'), 0, false);
    f.vfs.release(handle.fh);
    expect(f.vfs.core.inodes.get(ino).content).not.toBe(content);
    expect(records().at(-1)).toMatchObject({ kind: 'write', old_content: content });
  });

  test('a file too large to copy has no CID any more before its first byte can change', () => {
    const ino = put('a', Buffer.from('x'));
    void f.vfs.setattr(ROOT, ino, { size: HISTORY_COPY_BYTES_MAX + 1 });
    const { content } = f.vfs.core.inodes.get(ino);
    f.journal.commit(() => f.content.seal(content, Buffer.from([1, 2, 3]), 'test'));
    // The first fork finds out that this disk has no reflinks; what follows is the common case.
    if (f.content.canFork(content)) f.journal.commit(() => void f.content.fork(content));
    expect(f.content.canFork(content)).toBe(false);
    const handle = f.vfs.openNow(ROOT, ino, O_RDWR, false);
    expect(f.content.row(content)).toMatchObject({ state: 'open', cid: null });
    f.vfs.release(handle.fh);
    expect(stateOf(ino)).toBe('frozen');
    expect(checkJournal(f.journal)).toEqual([]);
  });
});
