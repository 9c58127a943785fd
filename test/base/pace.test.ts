/** The laws of a limit of bandwidth. */
import { expect, test } from 'vitest';
import { Pace } from '../../src/base/pace.ts';
import { TurnedClock } from '../fakes/clock.ts';

test('a large piece goes in parts, of which none keeps the next waiting for longer than a second', async () => {
  const clock = new TurnedClock();
  const stop = new AbortController();
  const whole = Buffer.from(Array.from({ length: 2500 }, (_, at) => at % 251));
  const source = (async function* () {
    yield whole;
    yield Buffer.alloc(0);
    yield whole;
  })();
  const parts: Uint8Array[] = [];
  const times: number[] = [];
  const reading = (async () => {
    for await (const part of new Pace(1000, clock).through(stop.signal)(source)) {
      parts.push(part);
      times.push(clock.monotonicMs());
    }
  })();
  await clock.turn(10_000);
  await reading;
  expect(Buffer.concat(parts).equals(Buffer.concat([whole, whole]))).toBe(true);
  const gaps = times.slice(1).map((time, at) => time - (times[at] ?? 0));
  expect(Math.max(...gaps)).toBeLessThanOrEqual(1000);
  // As fast as it may, and no faster.
  expect((times.at(-1) ?? 0) - (times[0] ?? 0)).toBeGreaterThanOrEqual(4000);
});
