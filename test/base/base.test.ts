import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { assert, unreachable } from '../../src/base/assert.ts';
import { parseRfc3339, rfc3339, SystemClock } from '../../src/base/clock.ts';
import { asOpError, codeOf, FAILURES, OpError } from '../../src/base/errors.ts';
import { bytesOf, isUtf8Name, type Name, nameOf, nameOfText, textOf } from '../../src/base/ids.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { turn } from '../../src/base/turn.ts';

describe('errors', () => {
  test('a message says what was done, what happened, and what to do', () => {
    const error = new OpError('no-space', 'write /a', { hint: 'free space' });
    expect(error.message).toBe('write /a: no-space; free space');
    expect([error.failure, error.op, error.hint]).toEqual(['no-space', 'write /a', 'free space']);
  });

  test('an operating error is passed on as it is', () => {
    const error = new OpError('exists', 'mkdir /a');
    expect(asOpError(error, 'anything')).toBe(error);
  });

  test.each([
    ['ENOENT', 'not-found'],
    ['ENOSPC', 'no-space'],
    ['SQLITE_FULL', 'no-space'],
    ['SQLITE_CORRUPT', 'journal-corrupt'],
    ['SQLITE_BUSY', 'journal-unavailable'],
    ['EPIPE', 'io'],
    ['ABORT_ERR', 'cancelled'],
    ['ERR_SOMETHING', 'internal'],
  ])('a system error %s is %s, and its cause is kept', (code, failure) => {
    const cause = Object.assign(new Error('cause'), { code });
    expect(asOpError(cause, 'try')).toMatchObject({ failure, cause });
  });

  test('what is no error has no code, and is internal', () => {
    expect([codeOf('text'), codeOf({ code: 5 }), codeOf(null)]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(asOpError('text', 'try').failure).toBe('internal');
  });

  test('no failure is named twice', () => {
    expect(new Set(FAILURES).size).toBe(FAILURES.length);
  });

  test('a broken invariant is no operating error', () => {
    expect(() => assert(false, 'law')).toThrow('law');
    expect(() => unreachable('x' as never, 'case')).toThrow('case: x');
  });
});

describe('names', () => {
  test('every byte survives as a name', () => {
    const bytes = Buffer.from(Array.from({ length: 255 }, (_, i) => i + 1));
    expect(bytesOf(nameOf(bytes))).toEqual(bytes);
  });

  test('text and names convert where they are the same thing', () => {
    expect(textOf(nameOfText('naïve €'))).toBe('naïve €');
    expect(isUtf8Name(nameOfText('naïve €'))).toBe(true);
    expect(isUtf8Name('\xff' as Name)).toBe(false);
    expect(textOf('a\xff' as Name)).toBe('a\u{fffd}');
  });
});

describe('time', () => {
  test.each([
    { s: 0, ns: 0 },
    { s: 1_763_800_000, ns: 1 },
    { s: -1, ns: 999_999_999 },
    { s: 5_000_000_000, ns: 120_000_000 },
  ])('an instant survives being written as text: %o', (instant) => {
    expect(parseRfc3339(rfc3339(instant))).toEqual(instant);
  });

  test('offsets and short fractions are understood, other text is not', () => {
    expect(parseRfc3339('1970-01-01T01:00:00.5+01:00')).toEqual({ s: 0, ns: 500_000_000 });
    expect(parseRfc3339('1970-13-01T00:00:00Z')).toBeUndefined();
    expect(parseRfc3339('yesterday')).toBeUndefined();
    expect(rfc3339({ s: 9e12, ns: 5 })).toBe('@9000000000000.000000005');
  });

  test('the clock agrees with the host, and the monotonic one never goes back', () => {
    const clock = new SystemClock();
    const { s, ns } = clock.now();
    expect(Math.abs(s - Date.now() / 1000)).toBeLessThan(5);
    expect(ns).toBeGreaterThanOrEqual(0);
    expect(ns).toBeLessThan(1_000_000_000);
    const first = clock.monotonicMs();
    expect(clock.monotonicMs()).toBeGreaterThanOrEqual(first);
  });

  describe('the time that is told', () => {
    const host = { elapsedMs: 0, stepMs: 0, stoppedMs: 0 };
    const instant = () => {
      const { s, ns } = clock.now();
      return s * 1e9 + ns;
    };
    let clock: SystemClock;
    beforeEach(() => {
      Object.assign(host, { elapsedMs: 0.3, stepMs: 0, stoppedMs: 0 });
      vi.spyOn(performance, 'now').mockImplementation(() => host.elapsedMs);
      vi.spyOn(Date, 'now').mockImplementation(() => {
        host.elapsedMs += host.stoppedMs;
        return Math.floor(performance.timeOrigin + host.elapsedMs + host.stepMs);
      });
      clock = new SystemClock();
    });
    afterEach(() => {
      vi.restoreAllMocks();
    });

    test.each([0, 60_000, -60_000])(
      'follows a clock that the host set by %i ms, and never goes back otherwise',
      (stepMs) => {
        instant();
        host.stepMs = stepMs + 0.4;
        host.elapsedMs += 2000;
        let last = instant();
        expect(Math.abs(last / 1e6 - Date.now())).toBeLessThanOrEqual(1.5);
        for (let round = 0; round < 200; round++) {
          // The host is asked once a second: here between each two of them.
          host.elapsedMs += round % 2 === 0 ? 999.96 : 0.05 + round * 0.0013;
          const now = instant();
          expect(now, `round ${round}`).toBeGreaterThanOrEqual(last);
          last = now;
        }
      },
    );

    test('does not go back when the process was stopped while it asked the host', () => {
      instant();
      host.elapsedMs += 2000;
      host.stoppedMs = 40;
      let last = instant();
      host.stoppedMs = 0;
      for (const laterMs of [500, 499, 2]) {
        host.elapsedMs += laterMs;
        const now = instant();
        expect(now).toBeGreaterThan(last);
        expect(Math.abs(now / 1e6 - Date.now())).toBeLessThanOrEqual(1.5);
        last = now;
      }
    });
  });

  test('a sleep ends by itself, and at once when it is aborted', async () => {
    const clock = new SystemClock();
    const stop = new AbortController();
    await clock.sleep(1, stop.signal);
    const long = clock.sleep(1_000_000, stop.signal);
    stop.abort(new Error('enough'));
    await expect(long).rejects.toThrow('enough');
    await expect(clock.sleep(1, stop.signal)).rejects.toThrow('enough');
  });

  test('a turn lets others run', async () => {
    let ran = false;
    setImmediate(() => {
      ran = true;
    });
    await turn();
    expect(ran).toBe(true);
  });
});

test('handles are 128 random bits, and never the same', () => {
  const random = new SystemRandom();
  const tokens = Array.from({ length: 100 }, () => random.token());
  expect(tokens.every((token) => /^[\w-]{22}$/.test(token))).toBe(true);
  expect(new Set(tokens).size).toBe(100);
});
