import { readdirSync, readFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import { request, text, u32, u64 } from './requests.ts';
import { Rig } from './rig.ts';

let rig: Rig;
beforeEach(() => {
  rig = new Rig();
});
afterEach(() => {
  rig.close();
});

const SETATTR_MTIME = 32;
const setMtime = (seconds: bigint) =>
  Buffer.concat([u32(SETATTR_MTIME, 0), u64(0, 0, 0, 0, seconds, 0), u32(0, 0, 0, 0, 0, 0, 0, 0)]);

test('a time beyond what numbers count leaves a file that can still be reached', () => {
  const { ino } = rig.file('a', Buffer.from('x'));
  for (const seconds of [2n ** 62n, -(2n ** 62n)]) {
    expect(rig.ask(4, ino, setMtime(seconds)).errno).toBe(0);
    expect(rig.ask(1, rig.ipfs, text('a')).errno).toBe(0);
  }
  rig.fixture.vfs.core.inodes.clear();
  expect(rig.ask(1, rig.ipfs, text('a')).errno).toBe(0);
});

test('pages of a mapping go where they belong through a handle that appends', () => {
  const O_RDWR_APPEND = 0o2002;
  const unique = rig.unique();
  rig.drain(rig.create(unique, 'a', O_RDWR_APPEND));
  const fh = rig.channel.answerTo(unique).body.readBigUInt64LE(128);
  const write = (position: number, flags: number, bytes: string) => {
    const header = [u64(fh, position), u32(bytes.length, 0), u64(0), u32(flags, 0)];
    rig.drain(request(16, { unique: rig.unique(), body: [...header, Buffer.from(bytes)] }));
  };
  write(0, O_RDWR_APPEND, 'abc');
  write(0, O_RDWR_APPEND, 'def');
  write(1, 0, 'X');
  const asked = rig.unique();
  rig.drain(rig.read(asked, fh, 0, 100));
  expect(rig.channel.answerTo(asked).body.toString()).toBe('aXcdef');
});

test('a release in a group that breaks still ends what it has to', async () => {
  const { fh } = rig.file('a', Buffer.alloc(200_000, 'x'));
  let isFirst = true;
  rig.faulty.faults.set('mkdir', (real, args) => {
    if (!isFirst) return Reflect.apply(real, undefined, args);
    isFirst = false;
    return rig.fixture.journal.commit(() => {
      throw new Error('planted');
    });
  });
  const unique = rig.unique();
  const body = [u64(fh), u32(0, 0), u64(0)];
  rig.drain(request(18, { unique, body }), rig.mkdir(rig.unique(), 'b'));
  await rig.later();
  expect(rig.fixture.journal.sessions.all()).toEqual([]);
  expect(rig.fixture.vfs.core.handles.size).toBe(0);
  const { directory } = rig.fixture;
  const files = readdirSync(`${directory}/content`, { recursive: true, withFileTypes: true });
  const [file] = files.filter((entry) => entry.isFile());
  expect(readFileSync(`${file?.parentPath}/${file?.name}`).length).toBe(200_000);
});

test('a file that is there already loses its set-id bits when a CREATE empties it', () => {
  const O_RDWR_TRUNC = 0o1002;
  const { ino } = rig.file('a', Buffer.from('x'));
  const SETATTR_MODE = 1;
  const setMode = Buffer.alloc(88);
  setMode.writeUInt32LE(SETATTR_MODE, 0);
  setMode.writeUInt32LE(0o106777, 68);
  expect(rig.ask(4, ino, setMode).errno).toBe(0);
  const unique = rig.unique();
  const body = [u32(O_RDWR_TRUNC, 0o100644, 0, 1), text('a')];
  rig.drain(request(35, { unique, nodeid: rig.ipfs, uid: 1000, gid: 1000, body }));
  expect(rig.channel.answerTo(unique).errno).toBe(0);
  expect(rig.fixture.vfs.core.inodes.get(ino as Ino).mode.toString(8)).toBe('100777');
});
