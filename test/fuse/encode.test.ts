import { describe, expect, test } from 'vitest';
import type { ContentId, Fh, Ino, Name, SuperblockId } from '../../src/base/ids.ts';
import { Arena, Reply } from '../../src/fuse/encode.ts';
import type { Inode } from '../../src/vfs/vfs.ts';
import { answer } from './requests.ts';

const TEN_YEARS_S = 315_360_000n;
const CONTROL = 2 ** 48 + 3;

function inode(changes: Partial<Inode> = {}): Inode {
  return {
    ino: (2 ** 40 + 5) as Ino,
    generation: 1,
    superblock: 1 as SuperblockId,
    mode: 0o100644,
    uid: 1000,
    gid: 0xffff_fffe,
    nlink: 2,
    size: 2 ** 33 + 1,
    rdev: 0,
    atimeS: -5,
    atimeNs: 1,
    mtimeS: 2 ** 34,
    mtimeNs: 999_999_999,
    ctimeS: 3,
    ctimeNs: 33,
    btimeS: 4,
    btimeNs: 44,
    content: 0 as ContentId,
    parent: 0 as Ino,
    version: 1,
    ...changes,
  };
}

interface Place {
  readonly bodyMin?: number;
  readonly bodyMax: number;
}

/** A reply in an arena full of other bytes, not at its start. */
function replyOf({ bodyMin = 0, bodyMax }: Place, fill: (reply: Reply) => void) {
  const arena = new Arena(2048);
  arena.buffer.fill(0xaa);
  const reply = new Reply(arena, ({ size }) => Math.ceil(size / 512));
  const request = { uniqueLow: 7, uniqueHigh: 0x8000_0001, uid: 1, gid: 2, pid: 3 };
  reply.begin({ arena, start: 24, bodyMin, bodyMax, request });
  fill(reply);
  const length = reply.finish();
  expect(reply.message.length).toBe(length);
  const read = answer(reply.message);
  expect(read.unique).toBe(0x8000_0001_0000_0007n);
  return { reply, arena, ...read };
}

/** `struct fuse_attr`. */
function attributes(body: Buffer, at: number) {
  return {
    ino: body.readBigUInt64LE(at),
    size: body.readBigUInt64LE(at + 8),
    blocks: body.readBigUInt64LE(at + 16),
    times: [24, 32, 40].map((offset) => body.readBigInt64LE(at + offset)),
    nanoseconds: [48, 52, 56].map((offset) => body.readUInt32LE(at + offset)),
    mode: body.readUInt32LE(at + 60),
    nlink: body.readUInt32LE(at + 64),
    owner: [body.readUInt32LE(at + 68), body.readUInt32LE(at + 72)],
    rdev: body.readUInt32LE(at + 76),
    blksize: body.readUInt32LE(at + 80),
    flags: body.readUInt32LE(at + 84),
  };
}

const ATTRIBUTES = {
  ino: 2n ** 40n + 5n,
  size: 2n ** 33n + 1n,
  blocks: 2n ** 24n + 1n,
  times: [-5n, 2n ** 34n, 3n],
  nanoseconds: [1, 999_999_999, 33],
  mode: 0o100644,
  nlink: 2,
  owner: [1000, 0xffff_fffe],
  rdev: 0,
  blksize: 4096,
  flags: 0,
};

describe('a reply', () => {
  test('with an entry tells all of the inode, and counts as one lookup', () => {
    const { body, reply } = replyOf({ bodyMin: 128, bodyMax: 128 }, (r) => r.entry(inode()));
    expect(body.readBigUInt64LE(0)).toBe(2n ** 40n + 5n);
    expect(body.readBigUInt64LE(8)).toBe(1n);
    expect(body.readBigUInt64LE(16)).toBe(TEN_YEARS_S);
    expect(body.readBigUInt64LE(24)).toBe(TEN_YEARS_S);
    expect(body.readBigUInt64LE(32)).toBe(0n);
    expect(attributes(body, 40)).toEqual(ATTRIBUTES);
    expect(reply.lookups).toEqual([2 ** 40 + 5]);
  });

  test('with an absent name lets the kernel keep that, and counts as no lookup', () => {
    const { body, reply } = replyOf({ bodyMax: 128 }, (r) => r.negativeEntry());
    expect(body.readBigUInt64LE(0)).toBe(0n);
    expect(body.readBigUInt64LE(16)).toBe(TEN_YEARS_S);
    expect(body.subarray(24).every((byte) => byte === 0)).toBe(true);
    expect(reply.lookups).toEqual([]);
  });

  test('of a control file is not to be kept', () => {
    const control = inode({ ino: CONTROL as Ino });
    const entry = replyOf({ bodyMax: 128 }, (r) => r.entry(control)).body;
    expect([entry.readBigUInt64LE(16), entry.readBigUInt64LE(24)]).toEqual([0n, 0n]);
    const attr = replyOf({ bodyMax: 104 }, (r) => r.attributes(control)).body;
    expect(attr.readBigUInt64LE(0)).toBe(0n);
  });

  test('of a name that may mean something else soon is kept for the whole seconds that it holds', () => {
    const link = (validMs: number) => {
      const { body } = replyOf({ bodyMax: 128 }, (r) => r.entry({ ...inode(), validMs }));
      return [body.readBigUInt64LE(16), body.readBigUInt64LE(24), body.readBigUInt64LE(32)];
    };
    expect(link(2999.5)).toEqual([2n, TEN_YEARS_S, 0n]);
    expect(link(999)).toEqual([0n, TEN_YEARS_S, 0n]);
  });

  test('with attributes is a fuse_attr_out', () => {
    const { body } = replyOf({ bodyMin: 104, bodyMax: 104 }, (r) => r.attributes(inode()));
    expect(body.readBigUInt64LE(0)).toBe(TEN_YEARS_S);
    expect(body.readBigUInt64LE(8)).toBe(0n);
    expect(attributes(body, 16)).toEqual(ATTRIBUTES);
  });

  test('to STATX tells when the inode was made, and splits device numbers', () => {
    // makedev(0x123, 0x45678) as new_encode_dev packs it.
    const device = inode({ rdev: 0x4561_2378, mode: 0o020600 });
    const { body } = replyOf({ bodyMin: 288, bodyMax: 288 }, (r) => r.statx(device));
    expect(body.readBigUInt64LE(0)).toBe(TEN_YEARS_S);
    const stat = body.subarray(32);
    expect(stat.readUInt32LE(0)).toBe(0xfff);
    expect(stat.readUInt32LE(16)).toBe(2);
    expect(stat.readUInt16LE(28)).toBe(0o020600);
    expect(stat.readBigUInt64LE(32)).toBe(2n ** 40n + 5n);
    expect(stat.readBigUInt64LE(40)).toBe(2n ** 33n + 1n);
    expect(stat.readBigInt64LE(64)).toBe(-5n);
    expect([stat.readBigInt64LE(80), stat.readUInt32LE(88)]).toEqual([4n, 44]);
    expect([stat.readBigInt64LE(96), stat.readUInt32LE(104)]).toEqual([3n, 33]);
    expect(stat.readBigInt64LE(112)).toBe(2n ** 34n);
    expect([stat.readUInt32LE(128), stat.readUInt32LE(132)]).toEqual([0x123, 0x45678]);
  });

  test('with a handle hands it out', () => {
    const known = { ino: 5 as Ino, flags: 2, openFlags: 10, backing: undefined };
    const opened = { fh: (2 ** 45) as Fh, isDirectory: true, ...known };
    const { body, reply } = replyOf({ bodyMin: 16, bodyMax: 16 }, (r) => r.open(opened));
    expect([body.readBigUInt64LE(0), body.readUInt32LE(8)]).toEqual([2n ** 45n, 10]);
    expect(reply.opened).toEqual(opened);
  });

  test('to STATFS has every field in its place', () => {
    const { body } = replyOf({ bodyMin: 80, bodyMax: 80 }, (r) =>
      r.statfs({
        blockSize: 4096,
        blocks: 2 ** 34,
        blocksFree: 3,
        blocksAvailable: 2,
        files: 10,
        filesFree: 9,
      }),
    );
    const numbers = [0, 8, 16, 24, 32].map((at) => body.readBigUInt64LE(at));
    expect(numbers).toEqual([2n ** 34n, 3n, 2n, 10n, 9n]);
    expect([40, 44, 48].map((at) => body.readUInt32LE(at))).toEqual([4096, 255, 4096]);
  });

  test('with directory entries holds those that fit, each at a multiple of 8', () => {
    const entry = { ino: 9 as Ino, type: 0o040000, cookie: 2 ** 40, inode: undefined };
    const fitted: boolean[] = [];
    const { body } = replyOf({ bodyMax: 72 }, (r) => {
      for (const name of ['abc', '123456789', 'x', 'y']) {
        fitted.push(r.dirent({ ...entry, name: name as Name }));
      }
    });
    expect(fitted).toEqual([true, true, false, false]);
    expect(body.length).toBe(32 + 40);
    expect(body.readBigUInt64LE(0)).toBe(9n);
    expect(body.readBigUInt64LE(8)).toBe(2n ** 40n);
    expect([body.readUInt32LE(16), body.readUInt32LE(20)]).toEqual([3, 4]);
    expect(body.toString('latin1', 24, 32)).toBe('abc\0\0\0\0\0');
    expect(body.toString('latin1', 32 + 24)).toBe('123456789\0\0\0\0\0\0\0');
  });

  test('to READDIRPLUS counts the lookups that it hands out, and no others', () => {
    const of = (name: string, ino: number, withInode: boolean) => ({
      name: name as Name,
      ino: ino as Ino,
      type: 0o100000,
      cookie: ino,
      inode: withInode ? inode({ ino: ino as Ino }) : undefined,
    });
    const { body, reply } = replyOf({ bodyMax: 5 * 160 }, (r) => {
      expect(r.direntplus(of('.', 1, true))).toBe(true);
      expect(r.direntplus(of('..', 2, true))).toBe(true);
      expect(r.direntplus(of('bare', 3, false))).toBe(true);
      expect(r.direntplus(of('full', 4, true))).toBe(true);
      expect(r.direntplus(of('too-long-to-fit', 5, true))).toBe(false);
      expect(r.direntplus(of('fits', 6, true))).toBe(true);
    });
    expect(reply.lookups).toEqual([4, 6]);
    const nodeids = [0, 1, 2, 3, 4].map((index) => body.readBigUInt64LE(index * 160));
    expect(nodeids).toEqual([0n, 0n, 0n, 4n, 6n]);
    const inos = [0, 1, 2, 3, 4].map((index) => body.readBigUInt64LE(index * 160 + 128));
    expect(inos).toEqual([1n, 2n, 3n, 4n, 6n]);
  });

  test('that is an error has no body, whatever was written before', () => {
    const { errno, body } = replyOf({ bodyMin: 128, bodyMax: 128 }, (r) => {
      r.entry(inode());
      r.fail(2);
    });
    expect([errno, body.length]).toEqual([2, 0]);
  });

  test('cannot leave with a size its opcode does not have', () => {
    const of = (place: Place, fill: (reply: Reply) => void) => () => replyOf(place, fill);
    expect(of({ bodyMin: 128, bodyMax: 128 }, () => {})).toThrow('a body of 0 bytes');
    expect(of({ bodyMax: 8 }, (r) => r.bytes(Buffer.alloc(9)))).toThrow('longer than its opcode');
    expect(of({ bodyMax: 8 }, (r) => r.lent(9))).toThrow('9 bytes read');
    expect(of({ bodyMax: 8 }, (r) => r.lent(-1))).toThrow('-1 bytes read');
    expect(of({ bodyMax: 8 }, (r) => r.lent(Number.NaN))).toThrow('NaN bytes read');
    expect(of({ bodyMax: 8 }, (r) => r.fail(0))).toThrow('errno 0');
    expect(of({ bodyMax: 8 }, (r) => r.fail(512))).toThrow('errno 512');
  });

  test('cannot leave with a number that does not fit its field', () => {
    const of = (changes: Partial<Inode>) => () =>
      replyOf({ bodyMax: 128 }, (r) => r.entry(inode(changes)));
    expect(of({ size: -1 })).toThrow('negative number');
    expect(of({ size: 0.5 })).toThrow('whole numbers');
    expect(of({ size: Number.NaN })).toThrow('negative number');
    expect(of({ mtimeS: 2 ** 53 })).toThrow('whole numbers');
    expect(of({ uid: -1 })).toThrow('32 bits');
    expect(of({ nlink: 2 ** 32 })).toThrow('32 bits');
  });

  test('is written between what lies beside it', () => {
    const { arena, reply } = replyOf({ bodyMax: 128 }, (r) => r.entry(inode()));
    expect(arena.buffer.subarray(0, 24).every((byte) => byte === 0xaa)).toBe(true);
    expect(arena.buffer.subarray(24 + reply.length).every((byte) => byte === 0xaa)).toBe(true);
  });

  test('keeps what is written when it moves to an arena of its own', () => {
    const { body, arena } = replyOf({ bodyMax: 40 }, (r) => {
      r.size(5);
      r.moveToOwnArena();
      r.size(6);
    });
    expect([body.length, body.readUInt32LE(0), body.readUInt32LE(8)]).toEqual([16, 5, 6]);
    expect(arena.buffer.subarray(24 + 24).every((byte) => byte === 0xaa)).toBe(true);
  });
});
