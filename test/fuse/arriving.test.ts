/** Requests that ask for a tree which is not there yet: who waits, for how long, and what the others get. */
import { constants } from 'node:os';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { S_IFDIR } from '../../src/base/posix.ts';
import type { Arriving } from '../../src/vfs/vfs.ts';
import { ROOT } from '../vfs/fixture.ts';
import { request, text, u32, u64 } from './requests.ts';
import { Rig } from './rig.ts';

const { errno } = constants;
const OP = { lookup: 1, getattr: 3, readdir: 28 };
const NAMES = ['a', 'b'].map((name, at) => ({
  ...{ name: nameOfText(name), ino: (1000 + at) as Ino },
  ...{ type: S_IFDIR, cookie: 2000 + at },
}));

let rig: Rig;
let arriving: Arriving;
beforeEach(() => {
  rig = new Rig();
  arriving = rig.arrive(2);
});
afterEach(() => {
  rig.close();
});

const interrupt = (unique: bigint) => request(36, { unique: unique | 1n, body: [u64(unique)] });
const readdir = (unique: bigint, offset = 0) =>
  request(OP.readdir, {
    ...{ unique, nodeid: rig.ipfs },
    body: [u64(0, offset), u32(4096, 0), u64(0), u32(0, 0)],
  });
const isAnswered = (unique: bigint) =>
  rig.channel.answers.some((answer) => answer.unique === unique);

/** As the restoration does it. */
function comes(): void {
  for (const { name } of NAMES) rig.fixture.vfs.mkdir(ROOT, rig.ipfs, name, 0o755);
  rig.fixture.vfs.core.arriving = undefined;
  arriving.end('here');
}

test('a name is looked for when all of them are there, and not before', () => {
  arriving.tell(NAMES);
  rig.drain(rig.lookup(10n, 'a'), rig.lookup(12n, 'nothing'));
  expect(rig.channel.answers).toEqual([]);
  expect(rig.session.waitingCount).toBe(2);
  comes();
  expect(rig.channel.answerTo(10n).body.readBigUInt64LE(0)).toBe(
    BigInt(rig.fixture.ino('/ipfs/a')),
  );
  expect(rig.channel.answerTo(12n).body.readBigUInt64LE(0)).toBe(0n);
  expect(rig.session.waitingCount).toBe(0);
});

test('names are listed as soon as they are known, with the numbers and places they will have', () => {
  rig.drain(readdir(10n));
  expect(isAnswered(10n)).toBe(false);
  arriving.tell(NAMES);
  const { body } = rig.channel.answerTo(10n);
  for (const { name, ino } of NAMES) {
    const at = body.indexOf(name, 48, 'latin1') - 24;
    expect(body.readBigUInt64LE(at)).toBe(BigInt(ino));
  }
  // And from a place on.
  const cookie = Number(body.readBigUInt64LE(body.indexOf('a', 48, 'latin1') - 16));
  rig.drain(readdir(12n, cookie));
  expect(rig.channel.answerTo(12n).body.subarray(24, 25).toString()).toBe('b');
});

test('the directory has the links that it will have', () => {
  const linksNow = () =>
    rig.ask(OP.getattr, rig.ipfs, u32(0, 0), u64(0)).body.readUInt32LE(16 + 64);
  expect(linksNow()).toBe(4);
  arriving.tell(NAMES);
  comes();
  expect(linksNow()).toBe(4);
});

test('what is changed there is changed when the tree is there, and is in the journal', () => {
  arriving.tell(NAMES);
  const { seq } = rig.fixture.journal.head;
  rig.drain(rig.mkdir(10n, 'mine'), rig.mkdir(12n, 'a'));
  expect(rig.fixture.journal.head.seq).toBe(seq);
  comes();
  expect(rig.channel.answerTo(10n).errno).toBe(0);
  expect(rig.channel.answerTo(12n).errno).toBe(errno.EEXIST);
  expect(rig.fixture.journal.head.seq).toBe(seq + 3);
});

test('it is found, and what is above it answers, all the time', () => {
  const { errno: code, body } = rig.ask(OP.lookup, 1, text('ipfs'));
  expect([code, body.readBigUInt64LE(0), body.readUInt32LE(40 + 64)]).toEqual([
    ...[0, BigInt(rig.ipfs), 4],
  ]);
  const unique = rig.unique();
  rig.drain(request(OP.readdir, { unique, nodeid: 1, body: [u64(0, 0), u32(4096, 0), u64(0, 0)] }));
  expect(rig.channel.answerTo(unique).body.includes('ipfs')).toBe(true);
});

test('who is interrupted waits no more, and is answered once', () => {
  rig.drain(rig.lookup(10n, 'a'), rig.lookup(12n, 'b'));
  rig.drain(interrupt(10n));
  expect(rig.channel.answerTo(10n).errno).toBe(errno.EINTR);
  comes();
  expect(rig.channel.answers.map(({ unique }) => unique)).toEqual([10n, 12n]);
});

test('who is interrupted with the request itself waits no more', () => {
  rig.drain(rig.lookup(10n, 'a'), interrupt(10n), rig.lookup(12n, 'b'));
  expect(rig.channel.answers.map(({ unique, errno: code }) => [unique, code])).toEqual([
    [10n, errno.EINTR],
  ]);
});

test('what does not come is EIO for all who wait and all who ask then, and the log says why', () => {
  rig.drain(rig.lookup(10n, 'a'), readdir(12n));
  arriving.end(new OpError('content-missing', 'restore the tree'));
  rig.drain(rig.lookup(14n, 'a'));
  for (const unique of [10n, 12n, 14n]) {
    expect(rig.channel.answerTo(unique).errno).toBe(errno.EIO);
  }
  expect(rig.log.lines.map(({ fields }) => fields['failure'])).toContain('content-missing');
  expect(rig.ask(OP.getattr, rig.ipfs, u32(0, 0), u64(0)).errno).toBe(0);
});

test('a connection that ends takes those along who wait', () => {
  rig.drain(rig.lookup(10n, 'a'));
  rig.session.end();
  comes();
  expect(rig.channel.answers).toEqual([]);
});
