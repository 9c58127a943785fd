/** The notifier, on FIFOs. test/native/mount.test.ts has the kernel at the other end. */
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AT_FDCWD, loadNative, type Notifier, notifyProgram } from '../../src/base/native.ts';
import { S_IFIFO } from '../../src/base/posix.ts';

const native = loadNative();
const program = notifyProgram();
const ECANCELED = 125;
const EBADF = 9;
/** What a FIFO takes whole or not at all, and all that it takes. */
const PIPE_BUF = 4096;
const FIFO_BYTES = 65_536;

let dir = '';
let fd = -1;
let notifier: Notifier;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  native.mknodAt(AT_FDCWD, join(dir, 'fifo'), S_IFIFO | 0o600, 0, 0);
  fd = openSync(join(dir, 'fifo'), constants.O_RDWR | constants.O_NONBLOCK);
});

afterEach(async () => {
  await notifier.close();
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

/** Sends as much as the FIFO holds: one more message is stuck. */
const fill = () =>
  Array.from({ length: FIFO_BYTES / PIPE_BUF }, () => notifier.send(Buffer.alloc(PIPE_BUF)));

test('messages are written in the order of sending, each as it was when it was sent', async () => {
  notifier = native.openNotifier(fd, { queueMax: 1000, program });
  const message = Buffer.alloc(4);
  const sent = Array.from({ length: 1000 }, (_, i) => {
    message.writeUInt32LE(i);
    return notifier.send(message);
  });
  message.fill(0xff);
  expect(new Set(await Promise.all(sent))).toEqual(new Set([0]));
  const received = Buffer.alloc(5000);
  expect(readSync(fd, received)).toBe(4000);
  expect(Array.from({ length: 1000 }, (_, i) => received.readUInt32LE(4 * i))).toEqual(
    Array.from({ length: 1000 }, (_, i) => i),
  );
});

test('a message that cannot be written resolves to its errno, and the next is tried', async () => {
  const reader = openSync(join(dir, 'fifo'), constants.O_RDONLY | constants.O_NONBLOCK);
  notifier = native.openNotifier(reader, { queueMax: 4, program });
  const errors = await Promise.all([
    notifier.send(Buffer.alloc(1)),
    notifier.send(Buffer.alloc(1)),
  ]);
  expect(errors).toEqual([EBADF, EBADF]);
  closeSync(reader);
});

test('a full descriptor delays a message until there is room', async () => {
  notifier = native.openNotifier(fd, { queueMax: 100, program });
  await Promise.all(fill());
  const stuck = notifier.send(Buffer.from('last'));
  expect(readSync(fd, Buffer.alloc(FIFO_BYTES))).toBe(FIFO_BYTES);
  expect(await stuck).toBe(0);
});

test('a full queue rejects with ENOBUFS, and takes messages again when it has drained', async () => {
  notifier = native.openNotifier(fd, { queueMax: FIFO_BYTES / PIPE_BUF, program });
  const full = fill();
  await expect(notifier.send(Buffer.alloc(1))).rejects.toMatchObject({
    code: 'ENOBUFS',
    errno: 105,
  });
  await Promise.all(full);
  readSync(fd, Buffer.alloc(FIFO_BYTES));
  expect(await notifier.send(Buffer.alloc(1))).toBe(0);
});

test('close cancels what waits, and resolves when the thread has ended', async () => {
  notifier = native.openNotifier(fd, { queueMax: 100, program });
  const settled: string[] = [];
  await Promise.all(fill());
  const waiting = Array.from({ length: 3 }, () => notifier.send(Buffer.alloc(PIPE_BUF)));
  for (const one of waiting) void one.then((errno) => settled.push(`${errno}`));
  await notifier.close();
  settled.push('closed');
  expect(settled).toEqual([...waiting.map(() => `${ECANCELED}`), 'closed']);
});

test('a closed notifier refuses messages, and may be closed again at any time', async () => {
  notifier = native.openNotifier(fd, { queueMax: 4, program });
  const twice = [notifier.close(), notifier.close()];
  expect(() => notifier.send(Buffer.alloc(1))).toThrow(TypeError);
  await Promise.all(twice);
  await notifier.close();
  expect(() => notifier.send(Buffer.alloc(1))).toThrow(TypeError);
});

test('what is not a message is refused', () => {
  notifier = native.openNotifier(fd, { queueMax: 4, program });
  const call = notifier as unknown as { send(message: unknown): unknown };
  for (const wrong of [undefined, null, 'text', {}, new Uint16Array(8)]) {
    expect(() => call.send(wrong)).toThrow(TypeError);
  }
  expect(() => call.send(Buffer.alloc(0))).toThrow(RangeError);
  expect(() => call.send(Buffer.alloc((16 << 20) + 1))).toThrow(RangeError);
});

test('the notifier works on when the descriptor that it was given is closed', async () => {
  const other = openSync(join(dir, 'fifo'), constants.O_RDWR | constants.O_NONBLOCK);
  notifier = native.openNotifier(other, { queueMax: 4, program });
  closeSync(other);
  expect(await notifier.send(Buffer.from('a'))).toBe(0);
  expect(readSync(fd, Buffer.alloc(8))).toBe(1);
});

test('a descriptor that is not open is refused', () => {
  notifier = native.openNotifier(fd, { queueMax: 4, program });
  expect(() => native.openNotifier(9999, { queueMax: 4, program })).toThrow(
    expect.objectContaining({ code: 'EBADF' }),
  );
});
