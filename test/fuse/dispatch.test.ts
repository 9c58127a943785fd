import { constants } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { O_CREAT } from '../../src/base/posix.ts';
import type { FileSystem } from '../../src/vfs/vfs.ts';
import { settle } from '../fakes/clock.ts';
import { type Answer, OPENS_DIRECTORIES, request, text, u32, u64 } from './requests.ts';
import { Rig } from './rig.ts';

const { errno } = constants;
const NODE = 5;
/** FLUSH is asked for no file. */
const FOPEN_NOFLUSH = 1 << 5;

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => {
  rig.close();
});

/** What the operation was called with, without who asked, when it does nothing but answer that. */
function called(method: keyof FileSystem, result: unknown, opcode: number, ...body: Buffer[]) {
  rig.faulty.faults.set(method, () => result);
  const answer = rig.ask(opcode, NODE, ...body);
  const [args = []] = rig.faulty.callsOf(method);
  return { args: args.filter((arg) => !isCaller(arg)), answer };
}

const isCaller = (arg: unknown): boolean =>
  typeof arg === 'object' && arg !== null && 'checked' in arg;

/** A reply that is refused before the file system hears of it. */
function refused(opcode: number, ...body: Buffer[]): Answer['errno'] {
  const before = rig.faulty.calls.length;
  const answer = rig.ask(opcode, NODE, ...body);
  expect(rig.faulty.calls.length).toBe(before);
  return answer.errno;
}

const inode = () => rig.fixture.vfs.core.inodes.get(rig.ipfs);
const opened = () => ({ inode: inode(), handle: { fh: 3, ino: rig.ipfs, flags: 0 } });

describe('names', () => {
  test('each operation gets its names, modes and directories', () => {
    const entry = inode();
    expect(called('mknod', entry, 8, u32(0o060644, 0x801, 0o22, 0), text('n')).args).toEqual([
      NODE,
      'n',
      0o060644,
      0x801,
    ]);
    expect(called('mkdir', entry, 9, u32(0o041755, 0), text('d')).args).toEqual([
      NODE,
      'd',
      0o1755,
    ]);
    expect(called('symlink', entry, 6, text('s'), text('../t')).args).toEqual([NODE, 's', '../t']);
    expect(called('link', entry, 13, u64(77), text('l')).args).toEqual([77, NODE, 'l']);
    expect(called('unlink', undefined, 10, text('u')).args).toEqual([NODE, 'u']);
    expect(called('rmdir', undefined, 11, text('r')).args).toEqual([NODE, 'r']);
    expect(rig.references.inodeCount).toBe(1);
  });

  test('a rename gets both places and its flags', () => {
    const names = [text('from'), text('to')];
    const places = [
      { parent: NODE, name: 'from' },
      { parent: 8, name: 'to' },
    ];
    const flagsOf = (flags: number) => {
      rig.faulty.calls.length = 0;
      const { args } = called('rename', undefined, 45, u64(8), u32(flags, 0), ...names);
      return args;
    };
    expect(called('rename', undefined, 12, u64(8), ...names).args).toEqual([
      ...places,
      { noReplace: false, exchange: false },
    ]);
    expect(flagsOf(1)).toEqual([...places, { noReplace: true, exchange: false }]);
    expect(flagsOf(2)).toEqual([...places, { noReplace: false, exchange: true }]);
    expect(refused(45, u64(8), u32(4, 0), ...names)).toBe(errno.EINVAL);
  });

  test('a name absent from a control directory is not kept as absent', () => {
    const [control] = ['/.kitfs'].map((path) => rig.fixture.ino(path));
    const answer = rig.ask(1, control ?? 0, text('absent'));
    expect([answer.errno, answer.body.length]).toEqual([errno.ENOENT, 0]);
  });
});

describe('attributes', () => {
  const setattr = (valid: number, changes: { size?: bigint } = {}): Buffer =>
    Buffer.concat([
      u32(valid, 0),
      u64(9, changes.size ?? 4096n, 0, -3n, 2n ** 33n, 0),
      u32(11, 22, 33, 0o104755, 0, 1000, 100, 0),
    ]);

  test('SETATTR changes the fields that it names, and no others', () => {
    const result = inode();
    expect(called('setattr', result, 4, setattr(0)).args.slice(0, 3)).toEqual([
      NODE,
      { killSetId: false },
      undefined,
    ]);
    rig.faulty.calls.length = 0;
    const everything = 1 | 2 | 4 | 8 | 16 | 32 | 64 | 2048;
    expect(called('setattr', result, 4, setattr(everything)).args.slice(0, 3)).toEqual([
      NODE,
      {
        mode: 0o4755,
        uid: 1000,
        gid: 100,
        size: 4096,
        atime: { s: -3, ns: 11 },
        mtime: { s: 2 ** 33, ns: 22 },
        killSetId: true,
      },
      9,
    ]);
    rig.faulty.calls.length = 0;
    const now = called('setattr', result, 4, setattr(16 | 32 | 128 | 256)).args[1];
    expect(now).toMatchObject({ atime: 'now', mtime: 'now' });
  });

  test('SETATTR beyond what a file can be is EFBIG', () => {
    expect(refused(4, setattr(8, { size: 2n ** 53n }))).toBe(errno.EFBIG);
    expect(refused(4, setattr(8).subarray(0, 80))).toBe(errno.EINVAL);
  });

  test('STATX and GETATTR ask the same', () => {
    expect(called('getattr', inode(), 3, Buffer.alloc(16)).answer.body.length).toBe(104);
    expect(called('getattr', inode(), 52, Buffer.alloc(24)).answer.body.length).toBe(288);
    expect(rig.faulty.callsOf('getattr')).toHaveLength(2);
  });

  test('READLINK, ACCESS and STATFS are answered', () => {
    expect(called('readlink', 'to/\xff', 5).answer.body.toString('latin1')).toBe('to/\xff');
    expect(called('access', undefined, 34, u32(6, 0)).args).toEqual([NODE, 6]);
    expect(rig.ask(17, 1).body.length).toBe(80);
  });

  test('a value is told by its size, by its bytes, or does not fit', () => {
    const get = (size: number) =>
      called('getxattr', Buffer.from('value'), 22, u32(size, 0), text('user.a')).answer;
    expect(get(0).body.readUInt32LE(0)).toBe(5);
    expect(get(0).body.length).toBe(8);
    expect(get(5).body.toString()).toBe('value');
    expect(get(100).body.toString()).toBe('value');
    expect(get(4).errno).toBe(errno.ERANGE);
    const absent = called('getxattr', undefined, 22, u32(0, 0), text('user.b')).answer;
    expect(absent.errno).toBe(errno.ENODATA);
  });

  test('names of values are told by their size, by their bytes, or do not fit', () => {
    const list = (size: number) =>
      called('listxattr', ['user.a', 'user.\xff'], 23, u32(size, 0)).answer;
    expect(list(0).body.readUInt32LE(0)).toBe(14);
    expect(list(14).body.toString('latin1')).toBe('user.a\0user.\xff\0');
    expect(list(13).errno).toBe(errno.ERANGE);
  });

  test('a value is set, made or replaced as the flags say', () => {
    const set = (flags: number) => {
      rig.faulty.calls.length = 0;
      const body = [u32(3, flags, 0, 0), text('user.a'), Buffer.from('xyz')];
      const { args } = called('setxattr', undefined, 21, ...body);
      return [...args.slice(0, 2), String(args[2]), args[3]];
    };
    expect(set(0)).toEqual([NODE, 'user.a', 'xyz', 'any']);
    expect(set(1)).toEqual([NODE, 'user.a', 'xyz', 'create']);
    expect(set(2)).toEqual([NODE, 'user.a', 'xyz', 'replace']);
    const both = [u32(3, 3, 0, 0), text('user.a'), Buffer.from('xyz')];
    expect(refused(21, ...both)).toBe(errno.EINVAL);
    const short = [u32(4, 0, 0, 0), text('user.a'), Buffer.from('xyz')];
    expect(refused(21, ...short)).toBe(errno.EINVAL);
    expect(called('removexattr', undefined, 24, text('user.a')).args).toEqual([NODE, 'user.a']);
  });

  test('a value is set in the older form when the newer was not agreed on', () => {
    const old = new Rig({ isInitialized: false });
    old.drain(request(26, { body: [u32(7, 31, 0, 0)] }));
    old.faulty.faults.set('setxattr', () => undefined);
    old.ask(21, NODE, u32(2, 0), text('user.a'), Buffer.from('ok'));
    const [args = []] = old.faulty.callsOf('setxattr');
    expect([args[2], String(args[3])]).toEqual(['user.a', 'ok']);
    old.close();
  });
});

describe('files', () => {
  test('are opened with their flags, and keep their pages', async () => {
    const handle = { fh: 3 };
    const { args, answer } = called('open', handle, 14, u32(0o1002, 1));
    expect(args.slice(0, 3)).toEqual([NODE, 0o1002, true]);
    expect([answer.body.readBigUInt64LE(0), answer.body.readUInt32LE(8)]).toEqual([3n, 34]);
    rig.faulty.faults.set('release', () => undefined);
    // Nobody waits for what becomes of them.
    expect(refused(18, u64(3), u32(0, 0), u64(0))).toBe(0);
    await rig.later();
    expect(rig.faulty.callsOf('release')).toEqual([[3]]);
  });

  test('that the kernel gets for itself are opened and made with the number of their backing file', () => {
    const PASSTHROUGH = 1 << 7;
    rig.faulty.faults.set('release', () => undefined);
    /** `struct fuse_open_out`. */
    const openOut = (body: Buffer) => [
      body.readBigUInt64LE(0),
      body.readUInt32LE(8) & ~FOPEN_NOFLUSH,
      body.readInt32LE(12),
    ];
    const direct = { fh: 3, backing: 77, dropsPages: false };
    expect(openOut(called('open', direct, 14, u32(2, 0)).answer.body)).toEqual([
      3n,
      PASSTHROUGH,
      77,
    ]);
    const handle = { ...opened().handle, fh: 4, backing: 78 };
    const body = [u32(O_CREAT | 2, 0o100600, 0, 0), text('c')];
    const made = called('create', { ...opened(), handle }, 35, ...body).answer;
    expect(openOut(made.body.subarray(128))).toEqual([4n, PASSTHROUGH, 78]);
    const cached = called(
      'tmpfile',
      { ...opened(), handle: { ...handle, fh: 5, backing: undefined } },
      51,
      ...body,
    );
    expect(openOut(cached.answer.body.subarray(128))[2]).toBe(0);
  });

  test('whose pages are not true any more are opened without them', () => {
    const KEEP_CACHE = 1 << 1;
    rig.faulty.faults.set('release', () => undefined);
    const flags = (fh: number, dropsPages: boolean) => {
      const { answer } = called('open', { fh, backing: undefined, dropsPages }, 14, u32(0, 0));
      return answer.body.readUInt32LE(8) & KEEP_CACHE;
    };
    expect([flags(3, false), flags(4, true)]).toEqual([KEEP_CACHE, 0]);
  });

  test('of control are opened past the page cache', () => {
    const ino = rig.fixture.ino('/.kitfs/status.json');
    const answer = rig.ask(14, ino, u32(0, 0));
    expect(answer.body.readUInt32LE(8)).toBe(1);
    const old = new Rig({ flags: OPENS_DIRECTORIES });
    const directory = old.ask(27, old.fixture.ino('/.kitfs'), u32(0, 0));
    expect(directory.body.readUInt32LE(8)).toBe(0);
    old.close();
  });

  test('are made with a name or without one', () => {
    rig.faulty.faults.set('release', () => undefined);
    const body = [u32(O_CREAT | 2, 0o100600, 0, 0), text('c')];
    const { args, answer } = called('create', opened(), 35, ...body);
    expect(args).toEqual([NODE, 'c', 0o100600, O_CREAT | 2]);
    expect(answer.body.length).toBe(144);
    rig.references.closed(3 as never);
    const { args: nameless } = called('tmpfile', opened(), 51, ...body);
    expect(nameless).toEqual([NODE, 0o100600, O_CREAT | 2]);
  });

  test('are written with the bytes of the request', () => {
    const header = [u64(3, 2n ** 40n), u32(4, 4), u64(0), u32(0, 0)];
    rig.faulty.faults.set('write', (_real, args) => {
      expect(String(args[2])).toBe('four');
    });
    const answer = rig.ask(16, NODE, ...header, Buffer.from('four'));
    expect(answer.body.readUInt32LE(0)).toBe(4);
    const [args = []] = rig.faulty.callsOf('write');
    expect([args[1], args[3], args[4]]).toEqual([3, 2 ** 40, true]);
    expect(refused(16, ...header, Buffer.from('three'))).toBe(errno.EINVAL);
    const beyond = [u64(3, 2n ** 53n - 4n), u32(4, 0), u64(0), u32(0, 0), Buffer.from('four')];
    expect(refused(16, ...beyond)).toBe(errno.EFBIG);
  });

  test('end before what no file can hold', () => {
    rig.drain(rig.read(10n, 3n, 2 ** 60, 100));
    expect(rig.channel.answerTo(10n)).toMatchObject({ errno: 0, body: Buffer.alloc(0) });
    expect(rig.faulty.calls).toEqual([]);
  });

  test('that read more than was asked for are a bug, which is answered with EIO', () => {
    rig.faulty.faults.set('read', () => 101);
    rig.drain(rig.read(10n, 3n, 0, 100));
    expect(rig.channel.answerTo(10n).errno).toBe(errno.EIO);
    expect(rig.errors()).toHaveLength(1);
  });

  test('are made durable, with their attributes or without', async () => {
    rig.faulty.faults.set('fsync', () => Promise.resolve());
    for (const flags of [0, 1]) rig.drain(request(20, { body: [u64(3), u32(flags, 0)] }));
    await settle();
    expect(rig.faulty.callsOf('fsync')).toEqual([
      [3, false],
      [3, true],
    ]);
  });

  test('are allocated as the mode says', () => {
    const allocate = (mode: number) => [u64(3, 4096, 8192), u32(mode, 0)];
    const { args } = called('fallocate', undefined, 43, ...allocate(1 | 2));
    expect(args).toEqual([3, { keepSize: true, punchHole: true, zeroRange: false }, 4096, 8192]);
    expect(refused(43, ...allocate(8))).toBe(errno.EOPNOTSUPP);
    expect(refused(43, u64(3, 2n ** 52n, 2n ** 52n), u32(0, 0))).toBe(errno.EFBIG);
  });

  test('are searched for bytes and holes', () => {
    const seek = (whence: number) => [u64(3, 10), u32(whence, 0)];
    const data = called('lseek', 20, 46, ...seek(3));
    expect(data.args).toEqual([3, 10, 'data']);
    expect(data.answer.body.readBigUInt64LE(0)).toBe(20n);
    rig.faulty.calls.length = 0;
    expect(called('lseek', 20, 46, ...seek(4)).args).toEqual([3, 10, 'hole']);
    expect(refused(46, ...seek(0))).toBe(errno.EINVAL);
    expect(refused(46, u64(3, 2n ** 60n), u32(3, 0))).toBe(errno.ENXIO);
  });

  test('are copied into each other, in pieces that a reply can tell', () => {
    const copy = (offIn: bigint, offOut: bigint, length: bigint, flags = 0) =>
      u64(3, offIn, 9, 4, offOut, length, flags);
    const first = called('copyFileRange', 7, 47, copy(1n, 2n, 2n ** 62n));
    expect(first.args).toEqual([{ fh: 3, position: 1 }, { fh: 4, position: 2 }, 0x7fff_f000]);
    expect(first.answer.body.readUInt32LE(0)).toBe(7);
    const second = called('copyFileRange', 8, 53, copy(1n, 2n, 10n));
    expect(second.answer.body.readBigUInt64LE(0)).toBe(8n);
    expect(refused(47, copy(1n, 2n, 10n, 1))).toBe(errno.EINVAL);
    expect(refused(47, copy(1n, 2n ** 53n, 10n))).toBe(errno.EFBIG);
    expect(refused(47, copy(2n ** 53n, 0n, 10n))).toBe(0);
  });
});

/** Kernels differ in whether they open a directory before they read it. */
const KERNELS = [
  { kernel: 'as they are', flags: 0xffff_ffff, opens: false },
  { kernel: 'opened first', flags: OPENS_DIRECTORIES, opens: true },
];

describe.each(KERNELS)('directories, $kernel,', ({ flags, opens }) => {
  beforeEach(() => {
    rig.close();
    rig = new Rig({ flags });
  });

  function open(): bigint {
    const answer = rig.ask(27, rig.ipfs, u32(0, 0));
    expect(answer.errno).toBe(opens ? 0 : errno.ENOSYS);
    return opens ? answer.body.readBigUInt64LE(0) : 0n;
  }

  /** Reads a directory to its end; the names in order, and how many requests it took. */
  async function list(
    opcode: number,
    bytes: number,
  ): Promise<{ names: string[]; requests: number }> {
    const fh = open();
    expect(rig.references.handleCount).toBe(opens ? 1 : 0);
    const names: string[] = [];
    let cookie = 0n;
    let requests = 0;
    for (;;) {
      const args = [u64(fh, cookie), u32(bytes, 0), u64(0), u32(0, 0)];
      const { body } = rig.ask(opcode, rig.ipfs, ...args);
      requests += 1;
      if (body.length === 0) break;
      expect(body.length).toBeLessThanOrEqual(bytes);
      const skip = opcode === 44 ? 128 : 0;
      for (let at = 0; at < body.length; ) {
        const entry = body.subarray(at + skip);
        const length = entry.readUInt32LE(16);
        cookie = entry.readBigUInt64LE(8);
        names.push(entry.toString('latin1', 24, 24 + length));
        at += skip + Math.ceil((24 + length) / 8) * 8;
      }
    }
    if (opens) expect(rig.ask(29, rig.ipfs, u64(fh), u32(0, 0), u64(0)).errno).toBe(0);
    await rig.later();
    expect(rig.fixture.vfs.core.handles.size).toBe(0);
    return { names, requests };
  }

  test('are read in pieces, each name once', async () => {
    const names = Array.from({ length: 100 }, (_, index) => `name-${index}`);
    rig.drain(...names.slice(0, 60).map((name) => rig.mkdir(rig.unique(), name)));
    rig.drain(...names.slice(60).map((name) => rig.mkdir(rig.unique(), name)));
    const all = ['.', '..', ...names].sort();
    const plain = await list(28, 1024);
    expect(plain.names.sort()).toEqual(all);
    expect(plain.requests).toBeGreaterThan(3);
    const plus = await list(44, 4096);
    expect(plus.names.sort()).toEqual(all);
    expect(rig.references.handleCount).toBe(0);
  });

  test('read with attributes hand out one reference for each name', async () => {
    const { body } = rig.ask(9, rig.ipfs, u32(0o755, 0), text('a'));
    const ino = Number(body.readBigUInt64LE(0));
    await list(44, 4096);
    rig.drain(request(2, { nodeid: ino, body: [u64(1)] }));
    await rig.later();
    expect(rig.faulty.callsOf('forget')).toEqual([]);
    rig.drain(request(2, { nodeid: ino, body: [u64(1)] }));
    await rig.later();
    expect(rig.faulty.callsOf('forget')).toEqual([[ino]]);
  });

  test('are not at their end when there is no room for a name', () => {
    const fh = open();
    const answer = rig.ask(28, rig.ipfs, u64(fh, 0), u32(16, 0), u64(0), u32(0, 0));
    expect(answer.errno).toBe(errno.EINVAL);
  });

  test('are made durable, all of them at once', async () => {
    rig.faulty.faults.set('fsyncDirectory', () => Promise.resolve());
    rig.drain(request(30, { unique: 10n, nodeid: rig.ipfs, body: [u64(0), u32(1, 0)] }));
    await settle();
    expect(rig.channel.answerTo(10n).errno).toBe(0);
    expect(rig.faulty.callsOf('fsyncDirectory')).toHaveLength(1);
  });
});
