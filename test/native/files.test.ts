/** Calls on open descriptors, on real files and sockets. */
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { createConnection, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';

const native = loadNative();
const KEEP_SIZE = 1;
const PUNCH_HOLE = 2;
const MIB = 1 << 20;

let dir = '';
let path = '';
let fd = -1;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  path = join(dir, 'file');
  fd = openSync(path, 'w+');
});

afterEach(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

test('a hole is punched, and seek finds it and what follows', () => {
  native.fallocate(fd, 0, 0, MIB);
  expect(fstatSync(fd).size).toBe(MIB);
  ftruncateSync(fd, 0);
  writeSync(fd, Buffer.alloc(MIB, 1), 0, MIB, 0);
  native.fallocate(fd, PUNCH_HOLE | KEEP_SIZE, MIB / 4, MIB / 4);
  expect(native.seek(fd, 0, 'data')).toBe(0);
  expect(native.seek(fd, 0, 'hole')).toBe(MIB / 4);
  expect(native.seek(fd, MIB / 4, 'data')).toBe(MIB / 2);
  expect(native.seek(fd, MIB / 2, 'hole')).toBe(MIB);
  expect(native.seek(fd, MIB, 'data')).toBeUndefined();
});

test('offsets beyond 32 bits arrive whole', () => {
  const far = 2 ** 33 + 4096;
  ftruncateSync(fd, far);
  expect(native.seek(fd, 0, 'data')).toBeUndefined();
  writeSync(fd, Buffer.alloc(1), 0, 1, far);
  expect(native.seek(fd, 2 ** 32, 'data')).toBeGreaterThan(2 ** 33 - 1);
});

test('copyFileRange copies a range, and nothing past the end', () => {
  writeFileSync(path, 'hello, world');
  const to = openSync(join(dir, 'to'), 'w+');
  expect(native.copyFileRange(fd, 7, to, 2, 100)).toBe(5);
  expect(native.copyFileRange(fd, 12, to, 0, 100)).toBe(0);
  closeSync(to);
  expect(readFileSync(join(dir, 'to'), 'latin1')).toBe('\0\0world');
});

test('reflink either shares the content or says that it cannot', () => {
  writeFileSync(path, 'shared');
  const to = openSync(join(dir, 'to'), 'w+');
  const shared = native.reflink(fd, to);
  closeSync(to);
  expect(readFileSync(join(dir, 'to'), 'latin1')).toBe(shared ? 'shared' : '');
  expect(() => native.reflink(9999, fd)).toThrow(expect.objectContaining({ code: 'EBADF' }));
});

test('a lock is refused while another open file has it, and free after that is closed', () => {
  const other = openSync(path, 'r');
  expect(native.flockTry(fd, true)).toBe(true);
  expect(native.flockTry(other, true)).toBe(false);
  expect(native.flockTry(other, false)).toBe(false);
  expect(native.flockTry(fd, false)).toBe(true);
  expect(native.flockTry(other, false)).toBe(true);
  native.closeDescriptor(other);
  expect(native.flockTry(fd, true)).toBe(true);
});

test('who else has a file open is told apart: writers, readers, nobody; mappings count', () => {
  const reader = openSync(path, 'r');
  expect(native.otherOpeners(reader)).toBe('writers');
  const lone = join(dir, 'lone');
  writeFileSync(lone, 'a');
  const own = openSync(lone, 'r');
  expect(native.otherOpeners(own)).toBe('none');
  const other = openSync(lone, 'r');
  expect(native.otherOpeners(own)).toBe('readers');
  closeSync(other);
  expect(native.otherOpeners(own)).toBe('none');
  closeSync(own);
  closeSync(reader);
});

test('what the disk says of a file is the same by path and by descriptor, to the nanosecond', () => {
  utimesSync(path, 1_700_000_001.25, 1_600_000_002.5);
  const [byPath, byDescriptor] = [new Float64Array(5), new Float64Array(5)];
  native.sense(path, byPath);
  native.sense(fd, byDescriptor);
  const { size } = statSync(path);
  expect([...byPath]).toEqual([size, 1_600_000_002, 5e8, 1_700_000_001, 25e7]);
  expect(byDescriptor).toEqual(byPath);
  expect(() => native.sense(join(dir, 'absent'), byPath)).toThrow(
    expect.objectContaining({ code: 'ENOENT', syscall: 'stat' }),
  );
  expect(() => native.sense(path, new Float64Array(4))).toThrow(TypeError);
});

test('the access time is taken back, and the modification time left', () => {
  for (const file of [path, fd]) {
    utimesSync(path, 1_700_000_001, 1_600_000_002.5);
    native.unread(file);
    const { atimeMs, mtimeMs } = statSync(path);
    expect([atimeMs, mtimeMs]).toEqual([0, 1_600_000_002_500]);
  }
  expect(() => native.unread(join(dir, 'absent'))).toThrow(
    expect.objectContaining({ code: 'ENOENT', syscall: 'utimensat' }),
  );
});

test('a file is cut to nothing by its path', () => {
  native.empty(path);
  expect(statSync(path).size).toBe(0);
  expect(() => native.empty(join(dir, 'absent'))).toThrow(
    expect.objectContaining({ code: 'ENOENT', syscall: 'open' }),
  );
});

test('fdatasyncMany resolves when all are durable, and rejects with the first failure', async () => {
  const others = Array.from({ length: 20 }, (_, i) => openSync(join(dir, `${i}`), 'w'));
  await expect(native.fdatasyncMany([])).resolves.toBeUndefined();
  await expect(native.fdatasyncMany([fd, ...others, fd])).resolves.toBeUndefined();
  const null_ = openSync('/dev/null', 'w');
  await expect(native.fdatasyncMany([...others, null_, 9999])).rejects.toMatchObject({
    code: 'EINVAL',
    errno: 22,
    syscall: 'fdatasync',
  });
  for (const one of [...others, null_]) closeSync(one);
});

test('closeDescriptor closes, once', () => {
  const opened = openSync(path, 'r');
  native.closeDescriptor(opened);
  expect(() => native.closeDescriptor(opened)).toThrow(expect.objectContaining({ code: 'EBADF' }));
});

/** The descriptor of a socket; Node has no public name for it. */
function descriptorOf(socket: Socket): number {
  const { _handle: handle } = socket as unknown as { _handle: { fd: number } };
  return handle.fd;
}

test('both ends of a Unix socket know the process at the other', async () => {
  const server = createServer().listen(join(dir, 'socket'));
  await once(server, 'listening');
  const accepted = once(server, 'connection');
  const client = createConnection(join(dir, 'socket'));
  const [served] = (await accepted) as [Socket];
  const groups = /^Groups:[ \t]*(.*)$/m
    .exec(readFileSync('/proc/self/status', 'latin1'))?.[1]
    ?.split(' ')
    .filter((group) => group !== '')
    .map(Number);
  const self = { groups, pid: process.pid, uid: process.getuid?.(), gid: process.getgid?.() };
  expect(native.peerCredentials(descriptorOf(served))).toEqual(self);
  expect(native.peerCredentials(descriptorOf(client))).toEqual(self);
  expect(() => native.peerCredentials(fd)).toThrow(expect.objectContaining({ code: 'ENOTSOCK' }));
  client.destroy();
  served.destroy();
  server.close();
  await once(server, 'close');
});
