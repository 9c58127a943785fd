/** The laws of what never changes: content by CID, the control files, and paths through them. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { type Fh, type Ino, type Name, nameOfText, ROOT_INO } from '../../src/base/ids.ts';
import { NAME_BYTES_MAX, PATH_BYTES_MAX } from '../../src/base/limits.ts';
import {
  O_RDONLY,
  O_WRONLY,
  R_OK,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  W_OK,
  X_OK,
} from '../../src/base/posix.ts';
import { CidTree } from '../../src/vfs/cidtree.ts';
import {
  type ContentNode,
  type ContentReader,
  type DirectoryEntry,
  type FileSystem,
  type Inode,
  type Resolved,
  resolve,
  Vfs,
} from '../../src/vfs/vfs.ts';
import { Fixture, ROOT } from './fixture.ts';

const n = nameOfText;
const failure = (name: string) => expect.objectContaining({ failure: name });
const never = new AbortController().signal;

interface Made extends Omit<ContentNode, 'cid' | 'size'> {
  readonly bytes?: string;
  readonly children?: Readonly<Record<string, string>>;
}

const NODES: Readonly<Record<string, Made>> = {
  'bafy-tree': {
    type: 'directory',
    children: {
      d: 'bafy-inner',
      f: 'bafy-file',
      gone: 'bafy-gone',
      l: 'bafy-link',
      x: 'bafy-exec',
    },
  },
  'bafy-inner': { type: 'directory', children: { g: 'bafy-file', broken: 'bafy-broken' } },
  'bafy-file': { type: 'file', bytes: 'hello' },
  'bafy-exec': { type: 'file', bytes: '#!', mode: 0o4775, mtime: { s: 5, ns: 6 } },
  'bafy-link': { type: 'symlink', target: 'd/g' },
};

const reader: ContentReader = {
  isCid: (name) => name.startsWith('bafy-'),
  async node(cid) {
    const made = NODES[cid];
    if (cid === 'bafy-broken') throw new OpError('io', 'read block');
    if (made === undefined) throw new OpError('not-found', 'read block');
    return { ...made, cid, size: made.bytes?.length ?? 0 };
  },
  async *children(cid) {
    for (const [name, child] of Object.entries(NODES[cid]?.children ?? {})) {
      yield { name, cid: child };
    }
  },
  async read(cid, position, length) {
    return Buffer.from(NODES[cid]?.bytes ?? '').subarray(position, position + length);
  },
};

let f: Fixture;
let vfs: Vfs;
beforeEach(() => {
  f = new Fixture();
  vfs = new Vfs({
    journal: f.journal,
    content: f.content,
    clock: new SystemClock(),
    syncJournal: () => Promise.reject(new Error('nothing of this is in the journal')),
    contentReader: reader,
    controlFiles: [{ name: 'status.json', render: () => Buffer.from('{}\n') }],
    owner: { uid: 0, gid: 0 },
    stateDirectory: f.directory,
    signal: never,
  });
  for (const row of f.vfs.core.mounts.superblocks()) vfs.core.mounts.addSuperblock(row);
  for (const mounted of f.vfs.core.mounts.mounts()) {
    vfs.core.mounts.addMount(mounted);
    vfs.core.mounts.cover(ROOT_INO, n(mounted.mountPoint.slice(1)), mounted.superblock.root);
  }
});
afterEach(() => f.close());

const at = async (path: string, follow = true): Promise<Resolved> =>
  resolve(vfs, ROOT, n(path), { follow });

async function inodeAt(path: string, follow = true): Promise<Inode> {
  const { inode } = await at(path, follow);
  if (inode === undefined) throw new Error(`${path} is not there`);
  return inode;
}

async function listed(ino: Ino, cookie = 0, most = 100): Promise<DirectoryEntry[]> {
  const entries: DirectoryEntry[] = [];
  await vfs.list(ino, cookie, false, (entry) => entries.push(entry) < most);
  return entries;
}

const namesIn = async (ino: Ino, cookie = 0, most = 100): Promise<string[]> =>
  (await listed(ino, cookie, most)).map(({ name }) => name);

describe('a directory by CID', () => {
  test('is listed with what its children are, and a missing one as a file', async () => {
    const { ino } = await inodeAt('/ipfs/bafy-tree');
    const entries = await listed(ino);
    expect(entries.map(({ name, type }) => [name, type])).toEqual([
      ['.', S_IFDIR],
      ['..', S_IFDIR],
      ['d', S_IFDIR],
      ['f', S_IFREG],
      ['gone', S_IFREG],
      ['l', S_IFLNK],
      ['x', S_IFREG],
    ]);
    expect(entries[0]?.ino).toBe(ino);
    expect(entries[1]?.ino).toBe(f.ipfs);
  });

  test('is listed in pieces of any size, each behind the one before', async () => {
    const { ino } = await inodeAt('/ipfs/bafy-tree');
    expect(await namesIn(ino, 0, 1)).toEqual(['.']);
    expect(await namesIn(ino, 1, 2)).toEqual(['..', 'd']);
    expect(await namesIn(ino, 3, 2)).toEqual(['f', 'gone']);
    expect(await namesIn(ino, 5)).toEqual(['l', 'x']);
  });

  test('cannot be listed when a child fails for another reason than being absent', async () => {
    const { ino } = await inodeAt('/ipfs/bafy-tree/d');
    await expect(listed(ino)).rejects.toThrowError(failure('io'));
  });

  test('is opened as a directory only, and for nobody to write', async () => {
    const { ino } = await inodeAt('/ipfs/bafy-tree');
    expect(() => vfs.openNow(ROOT, ino, O_RDONLY, false)).toThrowError(failure('is-directory'));
    expect(() => vfs.open(ROOT, ino, O_WRONLY, false)).toThrowError(failure('read-only'));
    const handle = vfs.opendir(ROOT, ino);
    const names: string[] = [];
    await vfs.readdir(handle.fh, 2, false, ({ name }) => names.push(name) > 0);
    expect(names).toEqual(['d', 'f', 'gone', 'l', 'x']);
  });

  test('answers to the names of itself and of the directory above', async () => {
    const tree = await inodeAt('/ipfs/bafy-tree');
    const inner = await inodeAt('/ipfs/bafy-tree/d');
    expect((await vfs.lookup(ROOT, inner.ino, n('.')))?.ino).toBe(inner.ino);
    expect((await vfs.lookup(ROOT, inner.ino, n('..')))?.ino).toBe(tree.ino);
    expect((await vfs.lookup(ROOT, tree.ino, n('..')))?.ino).toBe(f.ipfs);
  });
});

describe('a file by CID', () => {
  test('has the same number by the same path, and another by another path', async () => {
    const once = await inodeAt('/ipfs/bafy-tree/f');
    vfs.forget(once.ino);
    expect(() => vfs.getattr(ROOT, once.ino)).toThrowError(failure('not-found'));
    expect((await inodeAt('/ipfs/bafy-tree/f')).ino).toBe(once.ino);
    expect((await inodeAt('/ipfs/bafy-tree/d/g')).ino).not.toBe(once.ino);
  });

  test('is read up to its end and not behind it', async () => {
    const { ino } = await inodeAt('/ipfs/bafy-tree/f');
    const { fh } = vfs.openNow(ROOT, ino, O_RDONLY, false);
    const into = Buffer.alloc(8, '-');
    expect(await vfs.read(fh, into, 1, 7, 2)).toBe(3);
    expect(into.toString()).toBe('-llo----');
    expect(await vfs.read(fh, into, 0, 8, 5)).toBe(0);
    expect(vfs.lseek(fh, 2, 'data')).toBe(2);
    expect(vfs.lseek(fh, 2, 'hole')).toBe(5);
    expect(() => vfs.lseek(fh, 5, 'data')).toThrowError(failure('no-such-extent'));
    vfs.release(fh);
    expect(() => vfs.read(fh, into, 0, 1, 0)).toThrow();
  });

  test('keeps of its mode who may run it, never who may write it or as whom it runs', async () => {
    const plain = await inodeAt('/ipfs/bafy-tree/f');
    const program = await inodeAt('/ipfs/bafy-tree/x');
    expect(plain).toMatchObject({ mode: S_IFREG | 0o444, mtimeS: 0 });
    expect(program).toMatchObject({ mode: S_IFREG | 0o555, mtimeS: 5, mtimeNs: 6 });
    vfs.access(ROOT, plain.ino, R_OK);
    vfs.access(ROOT, program.ino, R_OK | X_OK);
    expect(() => vfs.access(ROOT, plain.ino, X_OK)).toThrowError(failure('denied'));
    expect(() => vfs.access(ROOT, program.ino, W_OK)).toThrowError(failure('read-only'));
  });

  test('tells its CID, and has no other attribute', async () => {
    const { ino } = await inodeAt('/ipfs/bafy-tree/f');
    expect(vfs.getxattr(ROOT, ino, n('user.ipfs.cid'))?.toString()).toBe('bafy-file');
    expect(vfs.getxattr(ROOT, ino, n('user.kitfs.version'))).toBeUndefined();
    expect(vfs.listxattr(ROOT, ino)).toEqual([]);
    expect(vfs.sectors(vfs.getattr(ROOT, ino))).toBe(1);
  });

  test('is no link, and a link tells its target', async () => {
    const file = await inodeAt('/ipfs/bafy-tree/f');
    const link = await inodeAt('/ipfs/bafy-tree/l', false);
    expect(link.mode & S_IFMT).toBe(S_IFLNK);
    expect(vfs.readlink(ROOT, link.ino)).toBe('d/g');
    expect(() => vfs.readlink(ROOT, file.ino)).toThrowError(failure('invalid'));
  });

  test('is changed by no operation', async () => {
    const { ino } = await inodeAt('/ipfs/bafy-tree/f');
    const { ino: directory } = await inodeAt('/ipfs/bafy-tree');
    const { fh } = vfs.openNow(ROOT, ino, O_RDONLY, false);
    const name = n('user.a');
    const readOnly = [
      () => vfs.setattr(ROOT, ino, { mode: 0o600 }),
      () => vfs.setxattr(ROOT, ino, name, Buffer.from('x'), 'any'),
      () => vfs.removexattr(ROOT, ino, name),
      () => vfs.write(ROOT, fh, Buffer.from('x'), 0, false),
      () => vfs.unlink(ROOT, directory, n('f')),
      () => vfs.tmpfile(ROOT, directory, 0o600, O_WRONLY),
      () => vfs.mkdir(ROOT, f.ipfs, n('bafy-new'), 0o755),
    ];
    for (const change of readOnly) expect(change).toThrowError(failure('read-only'));
    expect(() => vfs.link(ROOT, ino, f.ipfs, n('l'))).toThrowError(failure('cross-mount'));
    const { handle } = vfs.create(ROOT, f.ipfs, n('to'), 0o644, O_WRONLY);
    const copy = () =>
      vfs.copyFileRange(ROOT, { fh, position: 0 }, { fh: handle.fh, position: 0 }, 5);
    expect(copy).toThrowError(failure('cross-mount'));
    // Its bytes are nobody's to bring to the disk: the journal here would refuse.
    await vfs.fsync(fh, false);
  });
});

describe('a control file', () => {
  const status = () => f.vfs.lookup(ROOT, control(), n('status.json')) as Inode;
  const control = () => (vfs.lookup(ROOT, ROOT_INO, n('.kitfs')) as Inode).ino;

  test('shows what it showed when it was opened, until it is closed', () => {
    const { ino } = status();
    const { fh } = vfs.openNow(ROOT, ino, O_RDONLY, false);
    const into = Buffer.alloc(4);
    expect(vfs.read(fh, into, 0, 4, 1)).toBe(2);
    expect(into.toString('latin1', 0, 2)).toBe('}\n');
    vfs.release(fh);
    expect(() => vfs.read(fh, into, 0, 4, 0)).toThrow();
  });

  test('lies in a directory below the root that nobody makes, fills or writes', () => {
    expect((vfs.lookup(ROOT, control(), n('..')) as Inode).ino).toBe(ROOT_INO);
    expect(vfs.lookup(ROOT, control(), n('absent'))).toBeUndefined();
    expect(() => vfs.lookup(ROOT, status().ino, n('x'))).toThrowError(failure('not-directory'));
    expect(() => vfs.mkdir(ROOT, ROOT_INO, n('.kitfs'), 0o755)).toThrowError(failure('busy'));
    expect(() => vfs.mkdir(ROOT, control(), n('d'), 0o755)).toThrowError(failure('read-only'));
    expect(() => vfs.access(ROOT, status().ino, W_OK)).toThrowError(failure('read-only'));
    vfs.access(ROOT, status().ino, R_OK);
    expect(vfs.getxattr(ROOT, status().ino, n('user.ipfs.cid'))).toBeUndefined();
  });

  test('tells of the disk where the content lies', () => {
    const disk = vfs.statfs(control());
    expect(disk.blockSize).toBeGreaterThan(0);
    expect(disk.blocks).toBeGreaterThan(0);
    expect(disk.blocks).toBe(vfs.statfs(f.ipfs).blocks);
  });

  test('is listed in a directory that opens like any other', () => {
    const { fh } = vfs.opendir(ROOT, control());
    const names: string[] = [];
    void vfs.readdir(fh, 0, false, ({ name }) => names.push(name) > 0);
    expect(names).toEqual(['.', '..', 'status.json']);
    expect(() => vfs.opendir(ROOT, status().ino)).toThrowError(failure('not-directory'));
  });
});

describe('a path', () => {
  test('leads into content by CID, through its links, and out again', async () => {
    const g = await inodeAt('/ipfs/bafy-tree/d/g');
    expect((await at('/ipfs/bafy-tree/l')).inode?.ino).toBe(g.ino);
    expect((await at('/ipfs/bafy-tree/l')).path).toBe('/ipfs/bafy-tree/d/g');
    expect((await at('/ipfs/bafy-tree/..')).inode?.ino).toBe(f.ipfs);
    expect((await at('/ipfs/bafy-tree/d/..')).path).toBe('/ipfs/bafy-tree');
  });

  test('may lack its last name and no other', async () => {
    const { ino } = await inodeAt('/ipfs/bafy-tree');
    expect(await at('/ipfs/bafy-tree/new')).toMatchObject({ parent: ino, inode: undefined });
    expect(await at('/ipfs/bafy-absent')).toMatchObject({ parent: f.ipfs, inode: undefined });
    await expect(at('/ipfs/bafy-absent/f')).rejects.toThrowError(failure('not-found'));
    await expect(at('/ipfs/bafy-tree/f/g')).rejects.toThrowError(failure('not-directory'));
  });

  test('fails with what it met on the way, unless that is only absence', async () => {
    await expect(at('/ipfs/bafy-tree/d/broken')).rejects.toThrowError(failure('io'));
  });

  test('starts at the root and is no longer than the system says', async () => {
    await expect(at('ipfs')).rejects.toThrowError(failure('invalid-path'));
    const long = `/${'a'.repeat(NAME_BYTES_MAX + 1)}`;
    await expect(at(long)).rejects.toThrowError(failure('name-too-long'));
    await expect(at('/'.repeat(PATH_BYTES_MAX + 1))).rejects.toThrowError(failure('name-too-long'));
    expect(await at('/'.repeat(PATH_BYTES_MAX))).toMatchObject({ name: '.', path: '/' });
  });

  test('through links that go round ends', async () => {
    vfs.symlink(ROOT, f.ipfs, n('a'), n('/ipfs/b'));
    vfs.symlink(ROOT, f.ipfs, n('b'), n('a'));
    await expect(at('/ipfs/a')).rejects.toThrowError(failure('too-many-symlinks'));
    expect((await at('/ipfs/a', false)).inode?.mode).toBe(S_IFLNK | 0o777);
  });

  test('means the same where every answer takes its time', async () => {
    vfs.mkdir(ROOT, f.ipfs, n('d'), 0o755);
    vfs.mknod(ROOT, f.ino('/ipfs/d'), n('f'), S_IFREG | 0o644, 0);
    vfs.symlink(ROOT, f.ipfs, n('out'), n('/ipfs/d'));
    vfs.symlink(ROOT, f.ipfs, n('in'), n('d/f'));
    const late: Pick<FileSystem, 'lookup' | 'getattr' | 'readlink'> = {
      lookup: async (caller, parent, name) => vfs.lookup(caller, parent, name),
      getattr: async (caller, ino) => vfs.getattr(caller, ino),
      readlink: async (caller, ino) => vfs.readlink(caller, ino),
    };
    for (const path of ['/', '/ipfs/out/f', '/ipfs/in', '/ipfs/out', '/ipfs/out/../d/absent']) {
      const answer = resolve(late as FileSystem, ROOT, n(path), { follow: true });
      expect(answer).toBeInstanceOf(Promise);
      expect(await answer).toEqual(await at(path));
    }
  });
});

describe('what a tree remembers of content', () => {
  test('is bounded: the oldest go, but what the kernel holds stays', async () => {
    const many = 131_072;
    const tree = new CidTree(
      {
        isCid: () => true,
        node: (cid) =>
          Promise.resolve({ cid, type: cid === 'root' ? 'directory' : 'file', size: 0 }),
        async *children() {
          for (let i = 0; i < many; i++) yield { name: `f${i}`, cid: `c${i}` };
        },
        read: () => Promise.resolve(new Uint8Array()),
      },
      never,
    );
    const root = await tree.root(ROOT_INO, n('root'), true);
    const held = await tree.child(root.ino, n('f0'), true);
    const inos: Ino[] = [];
    await tree.readdir(root.ino, 2, ({ ino }) => inos.push(ino) > 0);
    expect(inos).toHaveLength(many);
    expect(tree.find(root.ino).ino).toBe(root.ino);
    expect(tree.find(held.ino).ino).toBe(inos[0]);
    expect(() => tree.find(inos[1] ?? held.ino)).toThrowError(failure('not-found'));
    const last = inos.at(-1);
    expect(last !== undefined && tree.find(last).ino).toBe(last);
  });

  test.each(['not-found', 'content-missing', 'file-too-large'] as const)(
    'a file that is %s to who looks at it is listed with the others',
    async (why) => {
      const tree = new CidTree(
        {
          isCid: () => true,
          node: (cid) =>
            cid === 'away'
              ? Promise.reject(new OpError(why, 'look'))
              : Promise.resolve({ cid, type: cid === 'root' ? 'directory' : 'file', size: 0 }),
          async *children() {
            for (const cid of ['one', 'away', 'two']) yield { name: cid, cid };
          },
          read: () => Promise.resolve(new Uint8Array()),
        },
        never,
      );
      const root = await tree.root(ROOT_INO, n('root'), true);
      const names: string[] = [];
      await tree.readdir(root.ino, 2, ({ name }) => names.push(name) > 0);
      expect(names).toEqual(['one', 'away', 'two']);
      await expect(tree.child(root.ino, n('away'), true)).rejects.toMatchObject({ failure: why });
    },
  );
});

describe('a managed tree', () => {
  test('knows nothing of an inode that is gone', () => {
    const gone = 99_999 as Ino;
    const long = 'a-name-as-long-as-a-cid' as Name;
    expect(() => vfs.lookup(ROOT, gone, long)).toThrowError(failure('not-found'));
    expect(() => vfs.getattr(ROOT, gone)).toThrowError(failure('not-found'));
    expect(vfs.newMode(gone, 0o666, 0o022)).toBe(0o644);
    expect(() => vfs.releasedir(99_999 as Fh)).not.toThrow();
  });

  test('has links only where it has them', () => {
    expect(() => vfs.readlink(ROOT, f.ipfs)).toThrowError(failure('invalid'));
  });
});
