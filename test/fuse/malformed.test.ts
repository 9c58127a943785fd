/** Requests that no kernel of good faith sends, each found by the storms of `test/fuzz`. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CONTROL_INO_FROM } from '../../src/vfs/vfs.ts';
import { settle } from '../fakes/clock.ts';
import { OPENS_DIRECTORIES, request, text, u32, u64 } from './requests.ts';
import { gate, RESENT, Rig } from './rig.ts';

const EISDIR = 21;
const EINVAL = 22;
const ENOENT = 2;
const CONTROL_FILE = CONTROL_INO_FROM + 1;

let rig: Rig;
beforeEach(() => {
  rig = new Rig({ flags: OPENS_DIRECTORIES });
});
afterEach(() => rig.close());

const open = (ino: number, flags = 0): bigint =>
  rig.ask(14, ino, u32(flags, 0)).body.readBigUInt64LE(0);

test('a forget of no inode forgets nothing, and those after it are served', () => {
  const forget = u64(0, 1);
  rig.drain(request(2, { unique: rig.unique(), nodeid: 0, body: [u64(1)] }));
  rig.drain(request(42, { unique: rig.unique(), body: [u32(1, 0), forget] }));
  expect(rig.ask(1, rig.ipfs, text('none')).errno).toBe(0);
});

test('what is told and not asked gets no answer, however wrong it is', () => {
  const cut = [2, 36, 42].map((opcode) => request(opcode, { unique: rig.unique() }));
  rig.drain(...cut);
  expect(rig.channel.answers).toEqual([]);
});

test('a control file ends where it ends, wherever it is read', () => {
  const fh = open(CONTROL_FILE);
  for (const position of [0, 3, 4096, 2 ** 40]) {
    const unique = rig.unique();
    rig.drain(rig.read(unique, fh, position, 100));
    const { errno, body } = rig.channel.answerTo(unique);
    expect({ errno, text: body.toString() }).toEqual({ errno: 0, text: '{}\n'.slice(position) });
  }
});

test('an inode number of no control file is of none', () => {
  const { errno } = rig.ask(14, CONTROL_FILE + 1000, u32(0, 0));
  expect(errno).toBe(ENOENT);
  expect(rig.errors()).toEqual([]);
});

test('a directory has no bytes to be read or copied', () => {
  const directory = rig.ask(27, rig.ipfs, u32(0, 0)).body.readBigUInt64LE(0);
  const { fh } = rig.file('a', Buffer.from('abc'));
  const unique = rig.unique();
  rig.drain(rig.read(unique, directory, 0, 100));
  expect(rig.channel.answerTo(unique).errno).toBe(EISDIR);
  const copied = rig.ask(47, rig.ipfs, u64(directory, 0, rig.ipfs, fh, 0, 100, 0));
  expect(copied.errno).toBe(EISDIR);
});

test('a number asked again with another request is no request of that kind', () => {
  const made = rig.unique();
  rig.drain(rig.mkdir(made, 'a'));
  const again = RESENT | made;
  rig.drain(
    request(16, { unique: again, body: [u64(1, 0), u32(1, 0), u64(0), u32(0, 0), text('')] }),
  );
  expect(rig.channel.answerTo(again).errno).toBe(EINVAL);
  expect(rig.errors()).toEqual([]);
});

test('a node of a type that there is not is made by nobody', () => {
  for (const type of [0o030000, 0o040000, 0o110000, 0o120000, 0o170000]) {
    const { errno } = rig.ask(8, rig.ipfs, u32(type | 0o644, 0, 0, 0), text('n'));
    expect(errno).toBe(EINVAL);
  }
});

test('two that wait under one number are both answered', async () => {
  const waits = gate<void>();
  rig.faulty.faults.set('lookup', (real) => waits.promise.then(real));
  rig.drain(rig.lookup(12n, 'none'), rig.lookup(12n, 'none'));
  expect(rig.session.waitingCount).toBe(2);
  waits.open();
  await settle();
  expect(rig.session.waitingCount).toBe(0);
  expect(rig.channel.answers.map(({ unique }) => unique)).toEqual([12n, 12n]);
});
