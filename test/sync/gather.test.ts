/** The laws of bringing pinned files here. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { Ino } from '../../src/base/ids.ts';
import { GATHER_LOOK_MS, GATHER_RETRY_MS } from '../../src/base/limits.ts';
import { Gatherer } from '../../src/sync/gather.ts';
import { TurnedClock } from '../fakes/clock.ts';

let clock: TurnedClock;
let stop: AbortController;
let gatherer: Gatherer;
let running: Promise<void>;
/** Each call, in order. */
let brought: number[];
let failures: Map<number, OpError>;
let unpinned: Set<number>;
let said: string[];

beforeEach(() => {
  clock = new TurnedClock();
  stop = new AbortController();
  brought = [];
  failures = new Map();
  unpinned = new Set();
  said = [];
  const note = (_: object, message: string) => void said.push(message);
  gatherer = new Gatherer({
    clock,
    log: { info: note, warn: note, error: note },
    isPinned: (ino) => !unpinned.has(ino),
    bring: async (ino) => {
      brought.push(ino);
      const failure = failures.get(ino);
      if (failure !== undefined) throw failure;
    },
  });
  running = gatherer.run(stop.signal).catch(() => undefined);
});
afterEach(async () => {
  stop.abort(new Error('the test is over'));
  await running;
});

const inos = (...numbers: number[]) => numbers as Ino[];
const pass = (ms: number) => clock.turn(ms);

test('those that are wanted are brought one after another, and once', async () => {
  gatherer.want(inos(1, 2, 3));
  await pass(GATHER_LOOK_MS);
  expect(brought).toEqual([1, 2, 3]);
  await pass(GATHER_RETRY_MS);
  expect(brought).toEqual([1, 2, 3]);
});

test('one that is pinned no more is not brought', async () => {
  unpinned.add(2);
  gatherer.want(inos(1, 2, 3));
  await pass(GATHER_LOOK_MS);
  expect(brought).toEqual([1, 3]);
});

test('one that cannot be had keeps no other waiting, is told of, and is tried again', async () => {
  failures.set(1, new OpError('content-missing', 'read'));
  gatherer.want(inos(1, 2));
  await pass(GATHER_LOOK_MS);
  expect(brought).toEqual([1, 2]);
  expect(said).toEqual(['pinned files are elsewhere, and could not be had yet']);
  failures.clear();
  await pass(GATHER_RETRY_MS - GATHER_LOOK_MS);
  expect(brought).toEqual([1, 2]);
  await pass(GATHER_LOOK_MS);
  expect(brought).toEqual([1, 2, 1]);
});

test('one that is gone is forgotten', async () => {
  failures.set(1, new OpError('not-found', 'inode 1'));
  gatherer.want(inos(1));
  await pass(GATHER_LOOK_MS);
  await pass(GATHER_RETRY_MS);
  expect([brought, said]).toEqual([[1], []]);
});
