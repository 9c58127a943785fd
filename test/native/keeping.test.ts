/** Memory that several processes map; messages with descriptors, to a keeper that really listens. */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';

const native = loadNative();
const ADDON = JSON.stringify(
  fileURLToPath(new URL('../../native/build/Release/kitfs.node', import.meta.url)),
);

describe('shared memory', () => {
  test('shows every mapping of it the same bytes', () => {
    const fd = native.makeShared(5000);
    const [one, other] = [native.mapShared(fd, 5000), native.mapShared(fd, 4096)];
    closeSync(fd);
    expect(one.equals(Buffer.alloc(5000))).toBe(true);
    one.write('both', 100);
    expect(other.toString('latin1', 100, 104)).toBe('both');
    expect([one.length, other.length]).toEqual([5000, 4096]);
  });

  test('has all its pages before anybody touches one, and grows by the range asked for', () => {
    const fd = native.makeShared(8192);
    expect(fstatSync(fd)).toMatchObject({ size: 8192, blocks: 16 });
    native.allocateShared(fd, 40_960, 4096);
    expect(fstatSync(fd)).toMatchObject({ size: 45_056, blocks: 24 });
    native.mapShared(fd, 8192).write('kept');
    expect(native.mapShared(fd, 45_056).toString('latin1', 0, 4)).toBe('kept');
    closeSync(fd);
  });

  test('never becomes shorter, and is not mapped beyond its end', () => {
    const fd = native.makeShared(4096);
    expect(() => native.mapShared(fd, 4097)).toThrow(RangeError);
    expect(() => ftruncateSync(fd, 0)).toThrow(expect.objectContaining({ code: 'EPERM' }));
    expect(fstatSync(fd).size).toBe(4096);
    closeSync(fd);
  });

  test('is there for a process that opened it when who made it was killed', () => {
    const child = `
      const native = require(${ADDON});
      native.mapShared(3, 4096).write('from a process that died');
      process.kill(process.pid, 'SIGKILL');`;
    const fd = native.makeShared(4096);
    const { signal } = spawnSync(process.execPath, ['-e', child], {
      stdio: ['ignore', 'inherit', 'inherit', fd],
    });
    expect(signal).toBe('SIGKILL');
    expect(native.mapShared(fd, 4096).toString('latin1', 0, 24)).toBe('from a process that died');
    closeSync(fd);
  });

  test('is given back when the buffer over it is collected', () => {
    const collect = `
      const native = require(${ADDON});
      const { readFileSync } = require('node:fs');
      const mapped = () => (readFileSync('/proc/self/maps', 'latin1').match(/memfd:kitfs/g) ?? []).length;
      const fd = native.makeShared(4096);
      (() => { for (let i = 0; i < 100; i++) native.mapShared(fd, 4096)[0] = 1; })();
      if (mapped() === 0) process.exit(2);
      const until = () => { gc(); if (mapped() === 0) process.exit(0); setImmediate(until); };
      setImmediate(until);`;
    const { status } = spawnSync(process.execPath, ['--expose-gc', '-e', collect], {
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: 20_000,
    });
    expect(status).toBe(0);
  });
});

describe('a conversation', () => {
  const dir = mkdtempSync(join(tmpdir(), 'kitfs-keeping-'));
  const path = join(dir, 'keeper.sock');
  let keeper: ChildProcess;
  /** Counted by the keeper. */
  let generation = 0;

  beforeAll(async () => {
    const program = fileURLToPath(
      new URL('../../native/build/Release/kitfs-keeper', import.meta.url),
    );
    keeper = spawn(program, ['--listen', path], { stdio: 'inherit' });
    await once(keeper, 'spawn');
  });
  afterAll(() => {
    keeper.kill('SIGKILL');
    rmSync(dir, { recursive: true });
  });

  const isAbsent = (error: unknown): boolean =>
    error instanceof Error &&
    'code' in error &&
    (error.code === 'ENOENT' || error.code === 'ECONNREFUSED');

  async function connect(): Promise<number> {
    for (;;) {
      try {
        const fd = native.connectSeqpacket(path);
        generation += 1;
        return fd;
      } catch (error) {
        if (!isAbsent(error) || keeper.exitCode !== null) throw error;
        await new Promise(setImmediate);
      }
    }
  }
  const next = (fd: number) => native.receiveMessage(fd, 10_000)?.bytes.toString('latin1');
  const send = (fd: number, text: string, descriptor?: number) =>
    native.sendMessage(fd, Buffer.from(text), descriptor, 10_000);

  test('keeps the bounds of its messages, their order, and an open file', async () => {
    const [file, held] = [join(dir, 'held'), `a\n${'x'.repeat(8185)}`];
    const fd = await connect();
    expect([next(fd), next(fd)]).toEqual([`hello ${generation} none`, 'end']);
    const opened = openSync(file, 'w+');
    send(fd, `hold ${held}`, opened);
    send(fd, 'hold b\nlast', opened);
    closeSync(fd);
    const again = await connect();
    expect(next(again)).toBe(`hello ${generation} unknown`);
    const { bytes, descriptor = -1 } = native.receiveMessage(again, 10_000) ?? {};
    expect(bytes?.toString()).toBe(`held ${held}`);
    expect([next(again), next(again)]).toEqual(['held b\nlast', 'end']);
    expect(fstatSync(descriptor).ino).toBe(fstatSync(opened).ino);
    // O_CLOEXEC, in octal.
    expect(readFileSync(`/proc/self/fdinfo/${descriptor}`, 'utf8')).toMatch(/^flags:\s+02\d{6}$/m);
    for (const each of [descriptor, opened, again]) closeSync(each);
  });

  test('lets nobody wait longer than asked, for a message or for room', async () => {
    const fd = await connect();
    while (next(fd) !== 'end');
    expect(() => native.receiveMessage(fd, 20)).toThrow(
      expect.objectContaining({ code: 'ETIMEDOUT' }),
    );
    keeper.kill('SIGSTOP');
    const fill = (waitMs: number) => () => {
      for (;;) native.sendMessage(fd, Buffer.from('alive'), undefined, waitMs);
    };
    expect(fill(0)).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    expect(fill(20)).toThrow(expect.objectContaining({ code: 'EAGAIN' }));
    keeper.kill('SIGCONT');
    send(fd, 'alive');
    closeSync(fd);
  });

  test('is over when the other end is gone, for who reads and for who writes', async () => {
    const fd = await connect();
    while (next(fd) !== 'end');
    // Its sockets close one after the other.
    const ended = once(keeper, 'exit');
    keeper.kill('SIGKILL');
    expect(native.receiveMessage(fd, 10_000)).toBeUndefined();
    await ended;
    expect(() => send(fd, 'alive')).toThrow(expect.objectContaining({ code: 'EPIPE' }));
    expect(() => native.connectSeqpacket(path)).toThrow(
      expect.objectContaining({ code: 'ECONNREFUSED' }),
    );
    closeSync(fd);
  });
});
