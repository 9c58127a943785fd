import { constants } from 'node:os';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import { blame } from '../../src/fuse/take-over.ts';
import type { KeptMemory } from '../vfs/table-memory.ts';
import { request, text, u32, u64 } from './requests.ts';
import { RESENT, Rig } from './rig.ts';

const { errno } = constants;
const O_RDWR = 2;
const O_APPEND = 0o2000;
const O_TRUNC = 0o1000;

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => {
  rig.close();
});

const open = (unique: bigint, ino: number, flags: number) =>
  request(14, { unique, nodeid: ino, body: [u32(flags, 0)] });

const append = (unique: bigint, fh: bigint, position: number, bytes: string) => {
  const header = [u64(fh, position), u32(bytes.length, 0), u64(0), u32(O_RDWR | O_APPEND, 0)];
  return request(16, { unique, body: [...header, Buffer.from(bytes)] });
};

/** Serves requests whose answers reach the kernel, or not, of a daemon that is killed then. */
function killedAt(
  when: 'before the answer' | 'after the answer',
  ...requests: Buffer[]
): KeptMemory {
  let left = rig.fixture.memory.copy();
  rig.channel.takes = () => {
    left = rig.fixture.memory.copy();
    return 0;
  };
  rig.drain(...requests);
  rig.channel.takes = () => 0;
  return when === 'before the answer' ? left : rig.fixture.memory.copy();
}

const kinds = () => rig.fixture.journal.ops.page(0, 10_000).map(({ kind }) => kind);

function bytesOf(fh: bigint): string {
  const unique = rig.unique();
  rig.drain(rig.read(unique, fh, 0, 100));
  return rig.channel.answerTo(unique).body.toString();
}

describe('after a kill', () => {
  test('handles of the kernel work as before, by their numbers', () => {
    const { fh } = rig.file('a', Buffer.from('bytes'));
    rig.takeOver();
    expect(bytesOf(fh)).toBe('bytes');
    rig.drain(rig.write(100n, fh, 5, Buffer.from('!')));
    expect(rig.channel.answerTo(100n).errno).toBe(0);
    expect(bytesOf(fh)).toBe('bytes!');
    expect(rig.references.handleCount).toBe(1);
  });

  test('a new handle has a number that no handle had', () => {
    const { ino, fh } = rig.file('a', Buffer.from('x'));
    rig.ask(18, ino, u64(fh), u32(0, 0), u64(0));
    rig.takeOver();
    expect(rig.ask(14, ino, u32(0, 0)).body.readBigUInt64LE(0)).toBeGreaterThan(fh);
  });

  test('an OPEN sent again gets the handle that was opened for it, and opens no other', () => {
    const { ino } = rig.file('a', Buffer.from('x'));
    const left = killedAt('before the answer', open(100n, ino, O_RDWR));
    const fh = rig.channel.answerTo(100n).body.readBigUInt64LE(0);
    rig.takeOver(left);
    rig.drain(open(100n | RESENT, ino, O_RDWR));
    const { body } = rig.channel.answerTo(100n | RESENT);
    expect(body.readBigUInt64LE(0)).toBe(fh);
    expect(rig.faulty.callsOf('open')).toEqual([]);
    expect(rig.fixture.vfs.core.handles.size).toBe(2);
    expect(rig.fixture.table.handles().map(({ isTold }) => isTold)).toEqual([true, true]);
  });

  test('an OPEN sent again after two kills gets it too', () => {
    const { ino } = rig.file('a', Buffer.from('x'));
    const left = killedAt('before the answer', open(100n, ino, O_RDWR));
    const fh = rig.channel.answerTo(100n).body.readBigUInt64LE(0);
    rig.takeOver(left);
    rig.takeOver(killedAt('before the answer', open(100n | RESENT, ino, O_RDWR)));
    rig.drain(open(100n | RESENT, ino, O_RDWR));
    expect(rig.channel.answerTo(100n | RESENT).body.readBigUInt64LE(0)).toBe(fh);
  });

  test('a CREATE sent again gets the same inode and handle', () => {
    const left = killedAt('before the answer', rig.create(100n, 'a'));
    const { body } = rig.channel.answerTo(100n);
    rig.takeOver(left);
    rig.drain(rig.create(100n | RESENT, 'a', O_RDWR | 0o300));
    const again = rig.channel.answerTo(100n | RESENT).body;
    expect(again.readBigUInt64LE(0)).toBe(body.readBigUInt64LE(0));
    expect(again.readBigUInt64LE(128)).toBe(body.readBigUInt64LE(128));
    expect(rig.faulty.callsOf('create')).toEqual([]);
  });

  test('between commit and handle table a CREATE sent again gets a handle, of the same file', () => {
    const before = rig.fixture.memory.copy();
    killedAt('before the answer', rig.create(100n, 'a'));
    const { body } = rig.channel.answerTo(100n);
    rig.takeOver(before);
    rig.drain(rig.create(100n | RESENT, 'a', O_RDWR | 0o300));
    const again = rig.channel.answerTo(100n | RESENT).body;
    expect(again.readBigUInt64LE(0)).toBe(body.readBigUInt64LE(0));
    expect(bytesOf(again.readBigUInt64LE(128))).toBe('');
    expect(kinds().filter((kind) => kind === 'create')).toHaveLength(1);
  });

  test('an OPEN that emptied a file does not empty it again', () => {
    const { ino, fh } = rig.file('a', Buffer.from('old'));
    const before = rig.fixture.memory.copy();
    killedAt('before the answer', open(100n, ino, O_RDWR | O_TRUNC));
    const truncates = kinds().filter((kind) => kind === 'truncate').length;
    rig.takeOver(before);
    rig.drain(rig.write(102n, fh, 0, Buffer.from('new')));
    rig.drain(open(100n | RESENT, ino, O_RDWR | O_TRUNC));
    expect(bytesOf(rig.channel.answerTo(100n | RESENT).body.readBigUInt64LE(0))).toBe('new');
    expect(kinds().filter((kind) => kind === 'truncate')).toHaveLength(truncates);
  });

  test('an answer that never left is given, and nothing is appended twice', () => {
    const { fh } = rig.file('a', Buffer.from('x'));
    rig.drain(append(100n, fh, 0, 'one'), append(102n, fh, 0, 'two'));
    rig.takeOver();
    rig.drain(append(100n | RESENT, fh, 0, 'one'), append(102n | RESENT, fh, 0, 'two'));
    expect(rig.channel.answerTo(102n | RESENT).body.readUInt32LE(0)).toBe(3);
    expect(rig.faulty.callsOf('write')).toEqual([]);
    expect(bytesOf(fh)).toBe('xonetwo');
  });

  test('nothing is appended twice when the next daemon is killed while it hears them again', () => {
    const { fh } = rig.file('a', Buffer.from('x'));
    rig.drain(append(100n, fh, 0, 'one'), append(102n, fh, 0, 'two'));
    rig.takeOver();
    // One that was not done yet, in a group of its own, as a careful daemon has it.
    rig.drain(append(104n | RESENT, fh, 0, 'three'));
    rig.takeOver();
    const sent = ['one', 'two', 'three'].map((bytes, index) =>
      append((100n + 2n * BigInt(index)) | RESENT, fh, 0, bytes),
    );
    rig.drain(...sent);
    expect(bytesOf(fh)).toBe('xonetwothree');
  });

  test('a handle that is given back is free, and its file closed', async () => {
    const { ino, fh } = rig.file('a', Buffer.from('x'));
    rig.takeOver();
    expect(rig.ask(18, ino, u64(fh), u32(0, 0), u64(0)).errno).toBe(0);
    await rig.later();
    expect(rig.fixture.table.handles()).toEqual([]);
    expect(rig.fixture.vfs.core.handles.size).toBe(0);
    expect(kinds().filter((kind) => kind === 'write')).toHaveLength(1);
    rig.takeOver();
    rig.drain(request(18, { unique: 100n | RESENT, nodeid: ino, body: [u64(fh, 0, 0)] }));
    await rig.later();
    expect([rig.channel.answerTo(100n | RESENT).errno, rig.errors()]).toEqual([0, []]);
  });

  test('a handle whose answer the kernel does not take any more is closed', () => {
    const { ino } = rig.file('a', Buffer.from('x'));
    const left = killedAt('before the answer', open(100n, ino, O_RDWR));
    rig.takeOver(left);
    rig.channel.takes = () => errno.ENOENT;
    rig.drain(open(100n | RESENT, ino, O_RDWR));
    expect(rig.fixture.table.handles()).toHaveLength(1);
    expect(rig.fixture.vfs.core.handles.size).toBe(1);
  });

  test('a handle that was taken from its holder stays taken', () => {
    const { fh } = rig.file('a', Buffer.from('x'));
    rig.fixture.vfs.revoke(Number(fh) as never);
    rig.takeOver();
    rig.drain(rig.read(100n, fh, 0, 1));
    expect(rig.channel.answerTo(100n).errno).toBe(errno.ESTALE);
  });

  test('a file without a name ends when the kernel gives it back', async () => {
    const { ino, fh } = rig.file('a', Buffer.from('x'));
    rig.ask(10, rig.ipfs, text('a'));
    rig.takeOver();
    expect(bytesOf(fh)).toBe('x');
    rig.ask(18, ino, u64(fh), u32(0, 0), u64(0));
    await rig.later();
    expect(rig.ask(3, ino, Buffer.alloc(16)).errno).toBe(0);
    rig.drain(request(2, { nodeid: ino, body: [u64(3)] }));
    await rig.later();
    expect(rig.fixture.journal.inodes.get(ino as Ino)).toBeUndefined();
  });
});

describe('a request that ends daemons', () => {
  test('is the same one when it is sent again, and refused in the end', () => {
    const { table } = rig.fixture;
    const served: number[] = [];
    rig.faulty.faults.set('lookup', (real) => {
      served.push(table.served);
      return real();
    });
    for (const unique of [100n, 100n | RESENT]) rig.drain(rig.lookup(unique, 'a'));
    expect(served).toEqual([100, 100]);
    expect(table.served).toBe(0);
    for (const deaths of [1, 2, 3]) {
      table.serving(100, 0);
      expect([...blame(table, true)]).toEqual(deaths < 3 ? [] : [100]);
    }
    rig.takeOver(undefined, { poisonous: blame(table, true), isCareful: true });
    rig.drain(rig.mkdir(100n | RESENT, 'a'), rig.mkdir(102n, 'b'));
    expect(rig.channel.answerTo(100n | RESENT).errno).toBe(errno.EIO);
    expect([rig.names(), rig.errors()]).toEqual([['b'], ['a request of the kernel failed']]);
  });

  test('is not one that was served when somebody killed the daemon', () => {
    const { table } = rig.fixture;
    table.serving(100, 0);
    expect([blame(table, false).size, table.poisonous(1), table.served]).toEqual([0, [], 0]);
  });

  test('is found by serving one at a time', () => {
    rig.takeOver(undefined, { isCareful: true });
    rig.drain(rig.mkdir(100n, 'a'), rig.mkdir(102n, 'b'));
    expect(rig.channel.writes.slice(-2)).toEqual([1, 1]);
    for (let count = 0; count < 1024; count++) rig.drain(rig.lookup(rig.unique(), 'a'));
    rig.drain(rig.mkdir(104n, 'c'), rig.mkdir(106n, 'd'));
    expect(rig.channel.writes.at(-1)).toBe(2);
  });
});
