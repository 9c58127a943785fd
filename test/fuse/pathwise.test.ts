/** The fallback driver over a real file system and journal, with the package held by hand. */
import { mkdtempSync, rmdirSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { FUSE_CID_READS_MAX, FUSE_REQUEST_MS_MAX } from '../../src/base/limits.ts';
import { loadNative } from '../../src/base/native.ts';
import { O_RDWR, O_TRUNC } from '../../src/base/posix.ts';
import { type PathwiseOptions, PathwiseServer } from '../../src/fuse/pathwise.ts';
import { countable } from '../../src/fuse/pathwise-operations.ts';
import { loadPackage } from '../../src/fuse/pathwise-package.ts';
import { type Asking, CID_INO_FROM } from '../../src/vfs/vfs.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { FaultyFileSystem } from '../fakes/faulty.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Fixture } from '../vfs/fixture.ts';
import { HandPackage } from './hand-package.ts';
import { gate } from './rig.ts';

const { errno } = constants;
/** More reads of content by CID than may be under way. */
const MANY = FUSE_CID_READS_MAX + 3;

let fixture: Fixture;
let faulty: FaultyFileSystem;
let hand: HandPackage;
let clock: TurnedClock;
let log: RememberedLog;
let server: PathwiseServer;
let directory: string;
beforeEach(async () => {
  fixture = new Fixture();
  faulty = new FaultyFileSystem(fixture.vfs);
  hand = new HandPackage();
  clock = new TurnedClock();
  log = new RememberedLog();
  directory = mkdtempSync(join(tmpdir(), 'kitfs-pathwise-'));
  server = new PathwiseServer({
    fileSystem: faulty.fileSystem,
    journal: fixture.journal,
    native: loadNative(),
    clock,
    log,
    load: hand.load,
  });
  await server.mount(directory);
});
afterEach(() => {
  server.abandon();
  fixture.close();
  rmdirSync(directory);
});

const errors = () => log.lines.filter(({ level }) => level === 'error');
const find = (name: string) => fixture.journal.dentries.find(fixture.ipfs, nameOfText(name));

/** Another server of the same file system, not mounted yet, and its package. */
function another(options: Partial<PathwiseOptions>): [PathwiseServer, HandPackage] {
  const itsHand = new HandPackage();
  const native = loadNative();
  const { journal, vfs: fileSystem } = fixture;
  const load = itsHand.load;
  return [
    new PathwiseServer({ fileSystem, journal, native, clock, log, load, ...options }),
    itsHand,
  ];
}

/** Makes a file, and gives the number under which it is open. */
function create(path: string): number {
  const [[result, fd] = []] = hand.ask('create', { path, flags: O_RDWR }, 0o100644);
  expect(result).toBe(0);
  return Number(fd);
}

describe('the fallback driver', () => {
  test('mounts with options of its own, and none of the user', () => {
    expect(hand.options).toMatchObject({
      subtype: 'kitfs',
      defaultPermissions: true,
      allowOther: process.geteuid?.() === 0,
      timeout: false,
    });
    const words = hand.options?.fsname.split(',') ?? [];
    const wanted = ['big_writes', 'hard_remove', 'use_ino', 'attr_timeout=0', 'entry_timeout=0'];
    expect(words).toEqual(expect.arrayContaining([...wanted, 'nosuid', 'nodev', 'rw']));
    expect(server.status()).toMatchObject({ driver: 'fuse-native', mountPoint: directory });
  });

  test('a mount that the package refuses is a failure with its words', async () => {
    const [other, refused] = another({});
    refused.failure = new Error('Mountpoint in use');
    await expect(other.mount(directory)).rejects.toMatchObject({
      failure: 'mount-failed',
      hint: 'Mountpoint in use',
    });
    expect([other.status().mountPoint, refused.isClosed]).toEqual([undefined, true]);
  });

  test('a mount point that the package has no room for is refused before it is asked', async () => {
    const [other, unasked] = another({});
    await expect(other.mount(`/${'m'.repeat(1023)}`)).rejects.toMatchObject({
      failure: 'mount-failed',
      cause: { failure: 'name-too-long' },
    });
    expect(unasked.options).toBeUndefined();
  });

  test('mounts read-only, with set-id bits and with devices for whoever asks for that', async () => {
    const [other, asked] = another({ readOnly: true, suid: true, dev: true, allowOther: false });
    await other.mount(directory);
    expect(asked.options?.fsname.split(',').slice(-3)).toEqual(['ro', 'suid', 'dev']);
    expect(asked.options?.allowOther).toBe(false);
    other.abandon();
  });

  test('what the package throws that is no Error is the hint as it is', async () => {
    const [other, refused] = another({});
    refused.failure = 'fuse: bad mount point' as never;
    await expect(other.mount(directory)).rejects.toMatchObject({ hint: 'fuse: bad mount point' });
  });

  test('unmounts nothing before it has mounted', async () => {
    const [other] = another({});
    await expect(other.unmount()).resolves.toBeUndefined();
    expect(other.status()).toMatchObject({ mountPoint: undefined, protocolMinor: undefined });
  });

  test('a package that does not let go of the event loop is logged, and the mount ends', async () => {
    hand.closeFailure = new Error('still running');
    hand.end();
    expect(await server.ended).toEqual({ error: undefined });
    const line = { fields: { failure: 'internal', err: { message: 'still running' } } };
    expect(errors()).toMatchObject([line]);
  });

  test('what an operation changed is committed before its answer', () => {
    expect(hand.ask('mkdir', { path: '/ipfs/d' }, 0o755)).toEqual([[0]]);
    fixture.reopen();
    expect(find('d')).toBeDefined();
  });

  test('what goes wrong once an operation is committed does not make it fail', () => {
    faulty.faults.set('mkdir', (real) =>
      fixture.journal.commit((tx) => {
        tx.afterCommit(() => {
          throw new OpError('io', 'stat content 1');
        });
        return real();
      }),
    );
    expect(hand.ask('mkdir', { path: '/ipfs/d' }, 0o755)).toEqual([[0]]);
    expect(find('d')).toBeDefined();
    expect(errors()).toMatchObject([{ fields: { err: { cause: { failure: 'io' } } } }]);
  });

  test('what is made belongs to who asked, and the journal knows which process it was', () => {
    hand.ask('mkdir', { path: '/ipfs/d', uid: 1001, gid: 1002, pid: process.pid }, 0o755);
    const { core } = fixture.vfs;
    const { ino, uid, gid } = core.inodes.get(fixture.ino('/ipfs/d'));
    expect([uid, gid]).toEqual([1001, 1002]);
    const by = { surface: 'fuse', uid: 1001, gid: 1002, pid: process.pid };
    expect(core.history.last(ino)?.actor).toMatchObject(by);
  });

  test('the umask is applied to what is made, unless its directory has a default ACL', () => {
    const modeAt = (path: string) => fixture.vfs.core.inodes.get(fixture.ino(path)).mode & 0o7777;
    hand.ask('mkdir', { path: '/ipfs/d', umask: 0o27 }, 0o777);
    // linux/posix_acl_xattr.h: owner, group and others, all of them.
    const acl = Buffer.from('02000000' + '01000700ffffffff04000700ffffffff20000700ffffffff', 'hex');
    const attribute = { path: '/ipfs/d', other: 'system.posix_acl_default' };
    expect(hand.ask('setxattr', attribute, '', acl, 0, 0)).toEqual([[0]]);
    hand.ask('mkdir', { path: '/ipfs/d/e', umask: 0o27 }, 0o777);
    hand.ask('create', { path: '/ipfs/d/f', umask: 0o27 }, 0o100666);
    hand.ask('mknod', { path: '/ipfs/p', umask: 0o22 }, 0o010666, 0);
    expect(['/ipfs/d', '/ipfs/d/e', '/ipfs/d/f', '/ipfs/p'].map(modeAt)).toEqual([
      0o750, 0o777, 0o666, 0o644,
    ]);
  });

  test('a failure is its errno, of anything else EIO and a line in the log', () => {
    expect(hand.ask('rmdir', { path: '/ipfs/none' })).toEqual([[-errno.ENOENT]]);
    expect(hand.ask('unlink', { path: '/' })).toEqual([[-errno.EBUSY]]);
    expect(errors()).toEqual([]);
    faulty.faults.set('getattr', () => {
      throw new TypeError('a bug');
    });
    expect(hand.ask('getattr', { path: '/ipfs' })).toEqual([[-errno.EIO]]);
    expect(errors()).toHaveLength(1);
  });

  test('a call without a path is about what is open', () => {
    const fd = create('/ipfs/a');
    hand.ask('unlink', { path: '/ipfs/a' });
    expect(hand.ask('write', { fh: fd }, fd, Buffer.from('text'), 4, 0)).toEqual([[4]]);
    const into = Buffer.alloc(10);
    expect(hand.ask('read', { fh: fd }, fd, into, 10, 1)).toEqual([[3]]);
    expect(into.toString('latin1', 0, 3)).toBe('ext');
    expect(hand.ask('fgetattr', { fh: fd }, fd)).toEqual([[0]]);
    expect(hand.given.at(-1)).toMatchObject({ 2: 0, 6: 4, 7: 1 });
    expect(hand.ask('getattr', { fh: fd + 1 })).toEqual([[-errno.EBADF]]);
    hand.ask('release', { fh: fd }, fd);
    expect([server.status().handles, fixture.vfs.core.handles.size]).toEqual([0, 0]);
  });

  test('pages of a mapping lengthen nothing', () => {
    const fd = create('/ipfs/a');
    hand.ask('write', { fh: fd }, fd, Buffer.from('text'), 4, 0);
    const page = Buffer.from('TEXT behind the end');
    expect(hand.ask('write', { fh: fd, isWriteback: true }, fd, page, page.length, 0)).toEqual([
      [page.length],
    ]);
    const into = Buffer.alloc(10);
    expect(hand.ask('read', { fh: fd }, fd, into, 10, 0)).toEqual([[4]]);
    expect(into.toString('latin1', 0, 4)).toBe('TEXT');
  });

  test('opening with O_TRUNC takes set-id bits away from who is not root', () => {
    const mode = () => fixture.vfs.core.inodes.get(fixture.ino('/ipfs/a')).mode & 0o7777;
    hand.ask('release', {}, create('/ipfs/a'));
    for (const [uid, left] of [
      [0, 0o6777],
      [1001, 0o777],
    ] as const) {
      hand.ask('chmod', { path: '/ipfs/a' }, 0o6777);
      hand.ask('open', { path: '/ipfs/a', flags: O_RDWR | O_TRUNC, uid }, O_RDWR | O_TRUNC);
      expect(mode()).toBe(left);
    }
  });

  test('times and owners that are not given stay as they are', () => {
    create('/ipfs/a');
    hand.ask('utimens', { path: '/ipfs/a', atime: { s: -5, ns: 7 } }, 0, 0);
    hand.ask('chown', { path: '/ipfs/a' }, 7, 0xffff_ffff);
    const { atimeS, atimeNs, mtimeS, uid, gid } = fixture.vfs.core.inodes.get(
      fixture.ino('/ipfs/a'),
    );
    expect([atimeS, atimeNs, mtimeS > 1_000_000_000, uid, gid]).toEqual([-5, 7, true, 7, 0]);
  });

  test('an attribute that does not fit is ERANGE, and its size is told when that is asked', () => {
    create('/ipfs/a');
    const attribute = { path: '/ipfs/a', other: 'user.name' };
    hand.ask('setxattr', attribute, 'ticket', Buffer.from('value'), 0, 0);
    expect(hand.ask('getxattr', { ...attribute, room: 4 }, '', 0)).toEqual([[-errno.ERANGE]]);
    expect(hand.ask('getxattr', { ...attribute, room: 5 }, '', 0)).toEqual([
      [0, Buffer.from('value')],
    ]);
    expect(hand.ask('getxattr', attribute, '', 0)).toEqual([[0, Buffer.from('value')]]);
    expect(hand.ask('listxattr', { path: '/ipfs/a', room: 9 })).toEqual([[-errno.ERANGE]]);
    expect(hand.ask('listxattr', { path: '/ipfs/a', room: 10 })).toEqual([[0, ['user.name']]]);
    expect(hand.ask('setxattr', attribute, '', Buffer.from('x'), 0, 1)).toEqual([[-errno.EEXIST]]);
    expect(hand.ask('setxattr', attribute, '', Buffer.from('x'), 0, 3)).toEqual([[-errno.EINVAL]]);
  });

  test('fallocate comes as ftruncate that says so', () => {
    const fd = create('/ipfs/a');
    const allocate = { mode: 0, position: 10, length: 90 };
    expect(hand.ask('ftruncate', { fh: fd, allocate }, fd, 90)).toEqual([[0]]);
    expect(fixture.vfs.core.inodes.get(fixture.ino('/ipfs/a')).size).toBe(100);
    const collapse = { ...allocate, mode: 8 };
    expect(hand.ask('ftruncate', { fh: fd, allocate: collapse }, fd, 90)).toEqual([
      [-errno.EOPNOTSUPP],
    ]);
    expect(hand.ask('ftruncate', { fh: fd }, fd, 3)).toEqual([[0]]);
    expect(fixture.vfs.core.inodes.get(fixture.ino('/ipfs/a')).size).toBe(3);
  });

  test('a directory is given whole, a link as bytes, and a control file past the cache', () => {
    hand.ask('symlink', { path: '/ipfs/s', other: 'to\xff' }, '');
    expect(hand.ask('readlink', { path: '/ipfs/s' })).toEqual([[0, '']]);
    const [[, fd] = []] = hand.ask('opendir', { path: '/ipfs' }, 0);
    expect(hand.ask('readdir', { fh: Number(fd) })).toEqual([[0, [], []]]);
    hand.ask('open', { path: '/.kitfs/status.json' }, 0);
    expect(hand.given).toEqual(['to\xff', '.', '..', 's', 'direct']);
  });

  test('what waits is answered when it comes, with what it opened', async () => {
    create('/ipfs/a');
    const { promise, open } = gate<unknown>();
    faulty.faults.set('open', (real) => promise.then(real));
    const answers = hand.ask('open', { path: '/ipfs/a' }, 0);
    expect([answers, server.status().waiting]).toEqual([[], 1]);
    open(undefined);
    await settle();
    expect(answers).toEqual([[0, expect.any(Number)]]);
    expect([server.status().waiting, clock.sleeping]).toEqual([0, 0]);
  });

  test('what waits too long is EIO once, and what comes after is given back', async () => {
    create('/ipfs/a');
    const { promise, open } = gate<unknown>();
    faulty.faults.set('open', (real) => promise.then(real));
    const answers = hand.ask('open', { path: '/ipfs/a' }, 0);
    await clock.turn(FUSE_REQUEST_MS_MAX);
    expect(answers).toEqual([[-errno.EIO]]);
    open(undefined);
    await settle();
    expect(answers).toHaveLength(1);
    expect(fixture.vfs.core.handles.size).toBe(1);
  });

  test('however many wait, none is refused for it', async () => {
    const { promise, open } = gate<unknown>();
    faulty.faults.set('getattr', (real) => promise.then(real));
    const many = Array.from({ length: MANY }, () => hand.ask('getattr', { path: '/' }));
    await settle();
    expect(many.flat()).toEqual([]);
    expect(server.status().waiting).toBe(MANY);
    open(undefined);
    await settle();
    expect(many).toEqual(many.map(() => [[0]]));
  });

  describe('content by CID', () => {
    let reads: ReturnType<typeof gate<number>>[];
    let answers: (readonly unknown[])[][];
    beforeEach(async () => {
      reads = [];
      faulty.faults.set('lookup', (real, [, , name]) => {
        const inode = real();
        return name === 'a' ? { ...(inode as object), ino: CID_INO_FROM + 1 } : inode;
      });
      create('/ipfs/a');
      faulty.faults.set('open', () => ({ fh: 77 }));
      faulty.faults.set('read', () => {
        const bytes = gate<number>();
        reads.push(bytes);
        return bytes.promise;
      });
      const [[, fd] = []] = hand.ask('open', { path: '/ipfs/a' }, 0);
      const fh = Number(fd);
      answers = Array.from({ length: MANY }, () => {
        return hand.ask('read', { fh }, fh, Buffer.alloc(16), 16, 0);
      });
      await settle();
    });

    test('is read in turn, a number of files at once', async () => {
      expect([reads.length, server.status().waiting]).toEqual([FUSE_CID_READS_MAX, MANY]);
      for (let next = 0; next < MANY; next++) {
        reads[next]?.open(next % 16);
        await settle();
      }
      expect(answers).toEqual(answers.map((_, index) => [[index % 16]]));
    });

    test('that takes too long is given up', async () => {
      const asked = faulty.callsOf('read').map((args) => args[5] as Asking);
      expect(asked.map(({ signal }) => signal.aborted)).toEqual(reads.map(() => false));
      await clock.turn(FUSE_REQUEST_MS_MAX);
      expect(asked.map(({ signal }) => signal.aborted)).toEqual(reads.map(() => true));
    });

    test('is not read any more after the end, and who waits for it is answered', async () => {
      hand.end();
      await settle();
      const late = answers.slice(FUSE_CID_READS_MAX);
      expect(late).toEqual(late.map(() => [[-errno.ENOTCONN]]));
      for (const { open } of reads) open(1);
      await settle();
      expect(answers).toEqual(answers.map(() => [[-errno.ENOTCONN]]));
      expect(reads).toHaveLength(FUSE_CID_READS_MAX);
    });
  });

  test('fsync waits as long as the disk takes, and says what went wrong there', async () => {
    const fd = create('/ipfs/a');
    const { promise, fail } = gate<unknown>();
    faulty.faults.set('fsync', () => promise);
    const answers = hand.ask('fsync', { fh: fd }, 0, fd);
    await clock.turn(FUSE_REQUEST_MS_MAX * 2);
    expect(answers).toEqual([]);
    expect(hand.ask('fsyncdir', {}, 0, 0)).toEqual([]);
    expect(faulty.callsOf('fsyncDirectory')).toHaveLength(1);
    fail(new OpError('no-space', 'fsync'));
    await settle();
    expect(answers).toEqual([[-errno.ENOSPC]]);
  });

  test('at the end all is given back, and nothing is served any more', async () => {
    create('/ipfs/a');
    hand.ask('opendir', { path: '/ipfs' }, 0);
    const { promise, open } = gate<unknown>();
    faulty.faults.set('getattr', (real) => promise.then(real));
    const answers = hand.ask('getattr', { path: '/ipfs' });
    hand.end();
    expect(await server.ended).toEqual({ error: undefined });
    expect(hand.isClosed).toBe(true);
    expect([server.status().handles, fixture.vfs.core.handles.size]).toEqual([0, 0]);
    open(undefined);
    await settle();
    expect(answers).toEqual([[-errno.ENOTCONN]]);
    expect(hand.ask('mkdir', { path: '/ipfs/d' }, 0o755)).toEqual([[-errno.ENOTCONN]]);
    expect(find('d')).toBeUndefined();
  });
});

describe('the package', () => {
  const failing = (message: string) => () =>
    loadPackage(() => {
      throw new Error(message);
    });

  test('that is absent, or lacks libfuse, is a missing dependency that says what to install', () => {
    const dependency = (hint: string) =>
      expect.objectContaining({
        failure: 'dependency-missing',
        hint: expect.stringContaining(hint),
      });
    expect(failing("Cannot find module 'fuse-native'")).toThrow(dependency('npm install'));
    expect(failing('libfuse.so.2: cannot open shared object file')).toThrow(
      dependency('apt-get install libfuse2'),
    );
    expect(failing('No native build was found\nmore')).toThrow(dependency('No native build'));
  });
});

test('a disk with more blocks than 32 bits count has larger ones', () => {
  const space = {
    blockSize: 4096,
    blocks: 2 ** 34,
    blocksFree: 2 ** 33,
    blocksAvailable: 5,
    files: 2 ** 40,
    filesFree: 1,
  };
  expect(countable(space)).toEqual({
    blockSize: 4096 * 8,
    blocks: 2 ** 31,
    blocksFree: 2 ** 30,
    blocksAvailable: 0,
    files: 2 ** 32 - 1,
    filesFree: 1,
  });
  expect(countable({ ...space, blocks: 10 }).blockSize).toBe(4096);
});
