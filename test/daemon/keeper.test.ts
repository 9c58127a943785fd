/** The daemon's end, with a keeper that really listens. This process is one daemon after the other. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, fstatSync, openSync, writeFileSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { codeOf } from '../../src/base/errors.ts';
import { keeperProgram, loadNative } from '../../src/base/native.ts';
import { connectKeeper } from '../../src/daemon/daemon.ts';
import { Keeper, keeperAt } from '../../src/daemon/keeper.ts';
import { pulse } from '../../src/daemon/pulse.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Scratch } from './scratch.ts';

const native = loadNative();
let clock: TurnedClock;
let scratch: Scratch;
let keeping: ChildProcess;
let sent: string[];

beforeEach(() => {
  scratch = new Scratch();
  sent = [];
  clock = new TurnedClock();
  keeping = spawn(keeperProgram(), ['--listen', scratch.path('keeper.sock')], { stdio: 'inherit' });
});
afterEach(async () => {
  keeping.kill('SIGKILL');
  if (keeping.signalCode === null) await once(keeping, 'exit');
  scratch[Symbol.dispose]();
});

/** Connects as soon as it listens. */
async function connected(): Promise<number> {
  for (;;) {
    try {
      return native.connectSeqpacket(scratch.path('keeper.sock'));
    } catch (error) {
      if (!['ENOENT', 'ECONNREFUSED'].includes(codeOf(error) ?? '')) throw error;
      if (keeping.exitCode !== null) throw error;
      await new Promise(setImmediate);
    }
  }
}

/** A daemon that has connected, until its descriptor is closed. */
async function daemon(): Promise<{ fd: number; keeper: Keeper }> {
  const fd = await connected();
  const spied: typeof native = {
    ...native,
    sendMessage: (...args) => {
      sent.push(Buffer.from(args[1]).toString());
      native.sendMessage(...args);
    },
  };
  return { fd, keeper: new Keeper({ fd, native: spied, clock }) };
}

test('a daemon finds what the one before it gave away', async () => {
  const first = await daemon();
  expect(first.keeper).toMatchObject({ pid: keeping.pid, generation: 1, last: 'none' });
  expect(first.keeper.held('a')).toBeUndefined();
  const opened = openSync(scratch.path('file'), 'w');
  first.keeper.hold('a', opened, 'old');
  first.keeper.note('a', 'two\nlines');
  first.keeper.hold('b', opened);
  first.keeper.hold('c', opened);
  first.keeper.drop('c');
  // It is held no more: the keeper would report what it cannot obey.
  first.keeper.drop('c');
  first.keeper.drop('never');
  expect(sent.filter((message) => message.startsWith('drop'))).toEqual(['drop c']);
  native.closeDescriptor(first.fd);
  const { fd, keeper } = await daemon();
  expect(keeper).toMatchObject({ generation: 2, last: 'unknown' });
  const [a, b] = [keeper.held('a'), keeper.held('b')];
  expect([a?.data, b?.data, keeper.held('c')]).toEqual(['two\nlines', '', undefined]);
  expect(fstatSync(a?.descriptor ?? -1).ino).toBe(fstatSync(opened).ino);
  for (const each of [fd, opened, a?.descriptor, b?.descriptor]) closeSync(each ?? -1);
});

test('a daemon that somebody else starts learns how the one before ended beside the socket of its keeper', async () => {
  const { fd, keeper } = await daemon();
  expect(keeper.last).toBe('none');
  native.closeDescriptor(fd);
  writeFileSync(scratch.path('ended'), 'core-dump dumped SEGV\n');
  const flags = { run: scratch.path('elsewhere') };
  const { keeper: next } = await connectKeeper(scratch.path('keeper.sock'), flags);
  expect(next).toMatchObject({ generation: 2, last: 'signal 11' });
  next.done();
});

test('where no keeper listens, that is what is said', () => {
  const failure = expect.objectContaining({ failure: 'not-running' });
  expect(() => keeperAt(scratch.path('absent'), native)).toThrow(failure);
});

test('a daemon that is done leaves nothing behind', async () => {
  const first = await daemon();
  const opened = openSync(scratch.path('file'), 'w');
  first.keeper.hold('a', opened);
  first.keeper.done();
  closeSync(opened);
  native.closeDescriptor(first.fd);
  const { fd, keeper } = await daemon();
  expect(keeper.held('a')).toBeUndefined();
  native.closeDescriptor(fd);
});

test('a second daemon hears that there is one', async () => {
  const first = await daemon();
  await expect(daemon()).rejects.toMatchObject({ failure: 'busy' });
  expect(first.keeper.isAlive).toBe(true);
  native.closeDescriptor(first.fd);
});

test('a keeper that says nothing is not waited for', async () => {
  native.closeDescriptor(await connected()); // It listens.
  keeping.kill('SIGSTOP');
  const fd = await connected();
  const late = { ...native, receiveMessage: (each: number) => native.receiveMessage(each, 1) };
  const meet = () => new Keeper({ fd, native: late, clock });
  expect(meet).toThrow(expect.objectContaining({ failure: 'timeout' }));
  expect(() => fstatSync(fd)).toThrow('EBADF');
});

test('a daemon says that it is alive, and at most once a second that it answered', async () => {
  const { fd, keeper } = await daemon();
  let answered = 0;
  keeper.ready(() => answered);
  for (let i = 0; i < 3; i++) keeper.progress();
  expect(sent).toEqual(['ready', 'progress']);
  for (let i = 0; i < 10; i++) await clock.turn(500);
  expect(sent).toEqual(['ready', 'progress', 'alive']);
  for (let i = 0; i < 4; i++) {
    answered += 1;
    await clock.turn(500);
  }
  expect(sent).toEqual(['ready', 'progress', 'alive', 'progress', 'progress']);
  native.closeDescriptor(fd);
});

test('a daemon that is long at one thing says once a second that it is alive', async () => {
  const { fd, keeper } = await daemon();
  const work = pulse(clock, [keeper, undefined]);
  for (let i = 0; i < 5; i++) {
    work();
    await clock.turn(500);
  }
  work();
  expect(sent).toEqual(['alive', 'alive']);
  native.closeDescriptor(fd);
});

test('a keeper that is gone is no error, and is told of once', async () => {
  const { keeper } = await daemon();
  const log = new RememberedLog();
  keeper.tell(log);
  keeping.kill('SIGKILL');
  await once(keeping, 'exit');
  expect(keeper.isAlive).toBe(true);
  keeper.mounted('/a', '0:1');
  expect(keeper.isAlive).toBe(false);
  keeper.unmounted();
  keeper.progress();
  keeper.done();
  expect(log.lines).toHaveLength(1);
});
