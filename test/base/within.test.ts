import { once } from 'node:events';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { SystemClock, within } from '../../src/base/clock.ts';
import { TurnedClock } from '../fakes/clock.ts';

setFlagsFromString('--expose-gc');
const collectGarbage: () => void = runInNewContext('gc');

test('a signal aborts when its time is over, and not before', async () => {
  const clock = new TurnedClock();
  const signal = within(clock, 500, new AbortController().signal);
  await clock.turn(499);
  expect(signal.aborted).toBe(false);
  await clock.turn(1);
  expect(signal.aborted).toBe(true);
});

test('a signal aborts with the one it was made of, for the same reason', async () => {
  const clock = new TurnedClock();
  const before = new AbortController();
  const signal = within(clock, 500, before.signal);
  before.abort('enough');
  await clock.turn(0);
  expect([signal.aborted, signal.reason, clock.sleeping]).toEqual([true, 'enough', 0]);
  expect(within(clock, 500, before.signal).aborted).toBe(true);
});

test('a signal to which nothing refers but who waits for it aborts all the same', async () => {
  const heard = once(within(new SystemClock(), 300, new AbortController().signal), 'abort');
  // Two turns later nothing of this turn holds it any more.
  for (let turn = 0; turn < 2; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    collectGarbage();
  }
  await heard;
});
