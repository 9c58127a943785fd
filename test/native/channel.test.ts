/**
 * The channel, on FIFOs: they poll as /dev/fuse does, and one that is open for both directions hears its own replies.
 * test/native/mount.test.ts has the real thing.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { AT_FDCWD, type Channel, loadNative, notifyProgram } from '../../src/base/native.ts';
import { S_IFIFO } from '../../src/base/posix.ts';

const native = loadNative();
const ADDON = fileURLToPath(new URL('../../native/build/Release/kitfs.node', import.meta.url));
const OPTIONS = { requestBytesMax: 8192, arenaBytes: 4 * 8192, requestsMax: 16 };
const nothing = () => undefined;

let dir = '';
let fifo = '';
let channels: Channel[] = [];
let fds: number[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  fifo = join(dir, 'fifo');
  native.mknodAt(AT_FDCWD, fifo, S_IFIFO | 0o600, 0, 0);
});

afterEach(() => {
  for (const channel of channels) channel.close();
  for (const fd of fds) closeSync(fd);
  channels = [];
  fds = [];
  rmSync(dir, { recursive: true });
});

function open(flags: number): number {
  const fd = openSync(fifo, flags | constants.O_NONBLOCK);
  fds.push(fd);
  return fd;
}

/** Both ends in one descriptor. */
const openBoth = () => open(constants.O_RDWR);

function channelOn(
  fd: number,
  onRequests: (count: number, channel: Channel) => void,
  options = OPTIONS,
): { readonly channel: Channel; readonly ended: Promise<number> } {
  let end: (errno: number) => void = nothing;
  const ended = new Promise<number>((resolve) => {
    end = resolve;
  });
  const channel = native.openChannel(fd, options, (count) => onRequests(count, channel), end);
  channels.push(channel);
  return { channel, ended };
}

/** The requests of one call, copied. */
function requests(channel: Channel, count: number): Buffer[] {
  return Array.from({ length: count }, (_, i) => {
    const [offset = -1, length = -1] = channel.spans.subarray(2 * i);
    expect(offset % 8).toBe(0);
    return Buffer.from(channel.arena.subarray(offset, offset + length));
  });
}

describe('reading', () => {
  test('one call brings every request that waits, each aligned, then the end of the file', async () => {
    const reader = open(constants.O_RDONLY);
    const writer = openSync(fifo, constants.O_WRONLY);
    const sent = Buffer.from(Array.from({ length: 2 * 8192 + 13 }, (_, i) => i % 251));
    const calls: Buffer[][] = [];
    const { ended } = channelOn(reader, (count, channel) => calls.push(requests(channel, count)));
    writeSync(writer, sent);
    closeSync(writer);
    expect(await ended).toBe(0);
    expect(calls.map((call) => call.map(({ length }) => length))).toEqual([[8192, 8192, 13]]);
    expect(Buffer.concat(calls.flat())).toEqual(sent);
  });

  test.each([
    ['the arena has no room for one more', { ...OPTIONS, arenaBytes: 3 * 8192 - 1 }],
    ['the spans are full', { ...OPTIONS, requestsMax: 2 }],
  ])('a call ends when %s, and the rest comes in the next', async (_why, options) => {
    const reader = open(constants.O_RDONLY);
    const writer = openSync(fifo, constants.O_WRONLY);
    const counts: number[] = [];
    const { ended } = channelOn(reader, (count) => counts.push(count), options);
    writeSync(writer, Buffer.alloc(5 * 8192));
    closeSync(writer);
    expect(await ended).toBe(0);
    expect(counts).toEqual([2, 2, 1]);
  });

  test('other events have their turn before a flood has ended', async () => {
    const both = openBoth();
    let calls = 0;
    let others = 0;
    const finished = new Promise<void>((resolve) => {
      channelOn(both, (count, channel) => {
        calls += 1;
        if (calls === 100) resolve();
        else channel.reply(Buffer.alloc(8, count), 0, 8);
      });
    });
    const watch = setInterval(() => {
      others += 1;
    }, 0);
    const immediate = async () => {
      while (calls < 100) {
        await turn();
        others += 1;
      }
    };
    writeSync(both, Buffer.alloc(8));
    await Promise.all([finished, immediate()]);
    clearInterval(watch);
    expect(others).toBeGreaterThan(10);
  });

  test('a channel that was closed in the middle of a call is not called again', async () => {
    const both = openBoth();
    let calls = 0;
    const closed = new Promise<void>((resolve) => {
      channelOn(both, (_count, channel) => {
        calls += 1;
        channel.close();
        resolve();
      });
    });
    writeSync(both, Buffer.alloc(3 * 8192));
    await closed;
    writeSync(both, Buffer.alloc(1));
    await turn();
    await turn();
    expect(calls).toBe(1);
  });

  test('a detached arena ends the channel with EFAULT instead of being written', async () => {
    const both = openBoth();
    const { channel, ended } = channelOn(both, nothing);
    structuredClone(channel.arena.buffer, { transfer: [channel.arena.buffer as ArrayBuffer] });
    writeSync(both, Buffer.alloc(8));
    expect(await ended).toBe(14);
  });

  test('what cannot be polled is refused', () => {
    const file = openSync(join(dir, 'file'), 'w');
    expect(() => native.openChannel(file, OPTIONS, nothing, nothing)).toThrow(
      expect.objectContaining({ code: 'EPERM', syscall: 'epoll_ctl' }),
    );
    closeSync(file);
    expect(() => native.openChannel(9999, OPTIONS, nothing, nothing)).toThrow(
      expect.objectContaining({ code: 'EBADF' }),
    );
  });
});

describe('replying', () => {
  /** A channel on one FIFO, and what a reader of it gets. */
  function replies(): { readonly channel: Channel; readonly received: () => string } {
    const both = openBoth();
    const { channel } = channelOn(both, nothing);
    const bytes = Buffer.alloc(1024);
    return { channel, received: () => bytes.toString('latin1', 0, readSync(both, bytes)) };
  }

  test('a reply is the part of the buffer that was named', () => {
    const { channel, received } = replies();
    expect(channel.reply(Buffer.from('0123456789'), 3, 4)).toBe(0);
    expect(received()).toBe('3456');
  });

  test('a header and a body are one message', () => {
    const { channel, received } = replies();
    expect(channel.replyWithBytes(Buffer.from('xhead'), 1, 4, Buffer.from('bodyx'), 0, 4)).toBe(0);
    expect(received()).toBe('headbody');
    expect(channel.replyWithBytes(Buffer.from('head'), 0, 4, Buffer.alloc(0), 0, 0)).toBe(0);
    expect(received()).toBe('head');
  });

  test('many replies are each written, and each length becomes its result', () => {
    const { channel, received } = replies();
    const spans = new Uint32Array([1, 2, 4, 3, 0, 9]);
    expect(channel.replyMany(Buffer.from('0123456789'), spans, 2)).toBe(0);
    expect(received()).toBe('12456');
    expect([...spans]).toEqual([1, 0, 4, 0, 0, 9]);
  });

  test('a reply that fails is counted, and its errno is told', () => {
    const reader = open(constants.O_RDONLY);
    const { channel } = channelOn(reader, nothing);
    const EBADF = 9;
    expect(channel.reply(Buffer.alloc(8), 0, 8)).toBe(EBADF);
    expect(channel.replyWithBytes(Buffer.alloc(8), 0, 8, Buffer.alloc(8), 0, 8)).toBe(EBADF);
    const spans = new Uint32Array([0, 8, 0, 8]);
    expect(channel.replyMany(Buffer.alloc(8), spans, 2)).toBe(2);
    expect([...spans]).toEqual([0, EBADF, 0, EBADF]);
  });

  test('bytes beyond the buffer are refused, and nothing is written', () => {
    const { channel, received } = replies();
    const eight = Buffer.alloc(8, 'a');
    const beyond: readonly (readonly [number, number])[] = [
      [0, 9],
      [8, 1],
      [9, 0],
      [1, 8],
      [2 ** 53 - 1, 2 ** 53 - 1],
    ];
    const wrong = [-1, 0.5, Number.NaN, 2 ** 53];
    for (const [offset, length] of [...beyond, ...wrong.map((n) => [n, 1] as const)]) {
      const at = `${offset}, ${length}`;
      expect(() => channel.reply(eight, offset, length), at).toThrow(RangeError);
      expect(() => channel.replyWithBytes(eight, offset, length, eight, 0, 8), at).toThrow(
        RangeError,
      );
      expect(() => channel.replyWithBytes(eight, 0, 8, eight, offset, length), at).toThrow(
        RangeError,
      );
    }
    for (const pair of [
      [0, 9],
      [9, 0],
      [2 ** 32 - 1, 2 ** 32 - 1],
    ]) {
      const spans = new Uint32Array([0, 8, ...pair]);
      expect(() => channel.replyMany(eight, spans, 2), `${pair}`).toThrow(RangeError);
    }
    for (const count of [3, ...wrong]) {
      const spans = new Uint32Array([0, 1, 0, 1]);
      expect(() => channel.replyMany(eight, spans, count), `${count}`).toThrow(RangeError);
    }
    expect(received).toThrow('EAGAIN');
  });

  test('arguments of a wrong type are refused', () => {
    const { channel } = replies();
    const call = channel as unknown as Record<string, (...args: unknown[]) => unknown>;
    const eight = Buffer.alloc(8);
    for (const wrong of [
      undefined,
      null,
      'text',
      {},
      new Uint16Array(8),
      new DataView(new ArrayBuffer(8)),
    ]) {
      expect(() => call['reply']?.(wrong, 0, 8)).toThrow(TypeError);
      expect(() => call['replyMany']?.(wrong, new Uint32Array(2), 1)).toThrow(TypeError);
      expect(() => call['replyMany']?.(eight, wrong, 1)).toThrow(TypeError);
      expect(() => call['replyWithBytes']?.(wrong, 0, 8, eight, 0, 8)).toThrow(TypeError);
      expect(() => call['replyWithBytes']?.(eight, 0, 8, wrong, 0, 8)).toThrow(TypeError);
    }
    expect(() => call['reply']?.(eight, '0', 8)).toThrow(TypeError);
    expect(() => call['reply']?.(eight, 0)).toThrow(TypeError);
  });

  test('a method is refused on what is not a channel', () => {
    const { channel } = replies();
    const both = openBoth();
    const notifier = native.openNotifier(both, { queueMax: 1, program: notifyProgram() });
    for (const other of [{}, notifier, Object.create(channel) as object]) {
      expect(() => channel.reply.call(other as Channel, Buffer.alloc(1), 0, 1)).toThrow(TypeError);
      expect(() => channel.close.call(other as Channel)).toThrow(TypeError);
    }
    return notifier.close();
  });

  test('after close every method throws, but close itself', () => {
    const { channel } = replies();
    channel.close();
    channel.close();
    const eight = Buffer.alloc(8);
    expect(() => channel.reply(eight, 0, 8)).toThrow(TypeError);
    expect(() => channel.replyMany(eight, new Uint32Array(2), 1)).toThrow(TypeError);
    expect(() => channel.replyWithBytes(eight, 0, 8, eight, 0, 8)).toThrow(TypeError);
  });

  test('close leaves the descriptor open', () => {
    const both = openBoth();
    channelOn(both, nothing).channel.close();
    expect(writeSync(both, 'still open')).toBe(10);
  });
});

/** Runs `script` in a Node of its own, where `native` is the addon and `fd` a FIFO open for both directions. */
function child(script: string): {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
} {
  const prelude =
    `const native = require(${JSON.stringify(ADDON)});` +
    `const fs = require('node:fs');` +
    `const fd = fs.openSync(${JSON.stringify(fifo)}, fs.constants.O_RDWR | fs.constants.O_NONBLOCK);` +
    `const OPTIONS = ${JSON.stringify(OPTIONS)};`;
  const done = spawnSync(process.execPath, ['--expose-gc', '-e', prelude + script], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  return { status: done.status, stdout: done.stdout, stderr: done.stderr };
}

describe('a process', () => {
  test('hears of what a callback throws as of any uncaught exception', () => {
    const script =
      `native.openChannel(fd, OPTIONS, () => { throw new Error('from the callback') }, () => {});` +
      `fs.writeSync(fd, 'a');`;
    const unheard = child(script);
    expect(unheard.status).toBe(1);
    expect(unheard.stderr).toContain('Error: from the callback');

    const heard = child(
      `let caught = 0;` +
        `process.on('uncaughtException', (error) => {` +
        `  process.stdout.write(error.message + '\\n');` +
        `  if (++caught === 2) process.exit(0);` +
        `  fs.writeSync(fd, 'b');` +
        `});${script}`,
    );
    expect(heard).toMatchObject({ status: 0, stdout: 'from the callback\nfrom the callback\n' });
  });

  test('lives while a channel polls, and ends when it is closed', () => {
    const script =
      `const channel = native.openChannel(fd, OPTIONS, () => {` +
      `  process.stdout.write('read'); channel.close() }, () => {});` +
      `fs.writeSync(fd, "a");`;
    expect(child(script)).toMatchObject({ status: 0, stdout: 'read' });
  });

  test('that forgets a channel still hears from it', () => {
    const script =
      `(() => native.openChannel(fd, OPTIONS, () => { process.stdout.write('read'); process.exit(0) }, () => {}))();` +
      `setImmediate(() => { gc(); gc(); setImmediate(() => fs.writeSync(fd, 'a')) });`;
    expect(child(script)).toMatchObject({ status: 0, stdout: 'read' });
  });

  test('ends with a channel and a notifier open', () => {
    const script =
      `native.openChannel(fd, OPTIONS, () => {}, () => {});` +
      `const program = ${JSON.stringify(notifyProgram())};` +
      `native.openNotifier(fd, { queueMax: 4, program }).send(Buffer.alloc(8)); process.exit(7);`;
    expect(child(script)).toMatchObject({ status: 7, stderr: '' });
  });

  test('survives the end of a worker thread that left both open, and works on', () => {
    const worker =
      `const native = require(${JSON.stringify(ADDON)});` +
      `const { workerData: { fd, OPTIONS }, parentPort } = require('node:worker_threads');` +
      `native.openChannel(fd, OPTIONS, () => parentPort.postMessage('read'), () => {});` +
      `const notifier = native.openNotifier(fd, { queueMax: 4, program: ${JSON.stringify(notifyProgram())} });` +
      `globalThis.kept = notifier; notifier.send(Buffer.alloc(8));`;
    const script =
      `const { Worker } = require('node:worker_threads');` +
      `const one = new Worker(${JSON.stringify(worker)}, { eval: true, workerData: { fd, OPTIONS } });` +
      `one.once('message', async () => {` +
      `  await one.terminate();` +
      `  const notifier = native.openNotifier(fd, { queueMax: 4, program: ${JSON.stringify(notifyProgram())} });` +
      `  process.stdout.write(String(await notifier.send(Buffer.alloc(8))));` +
      `  await notifier.close();` +
      `});`;
    expect(child(script)).toMatchObject({ status: 0, stdout: '0', stderr: '' });
  });
});
