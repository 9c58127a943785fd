/** When a call on a store is made again, and after how long: the one policy of all stores. */
import type { Clock } from '../base/clock.ts';
import { type Failure, OpError } from '../base/errors.ts';
import { STORE_REPEAT_MS, STORE_REPEATS_MAX, STORE_RETRY_AFTER_MS_MAX } from '../base/limits.ts';
import type { Random } from '../base/random.ts';

export interface Timing {
  readonly clock: Clock;
  readonly random: Random;
}

/** Those that may be over by themselves. */
const PASSING: ReadonlySet<Failure> = new Set(['unavailable', 'rate-limited', 'response-invalid']);

/** What ends a call and its repeats together: a `Deadline`, or what has the same of one. */
export interface Patience {
  readonly signal: AbortSignal;
  readonly leftMs: number;
}

/**
 * Does it, and again as often as that may help in time. Whoever calls sees to it that twice is as once.
 * @throws what `once` throws, the signal's reason.
 */
export async function repeated<T>(
  once: () => Promise<T>,
  timing: Timing,
  patience: Patience,
): Promise<T> {
  for (let repeats = 0; ; repeats++) {
    try {
      return await once();
    } catch (error) {
      await pauseAfter(error, repeats, timing, patience);
    }
  }
}

/** Waits until it may be tried again. @throws the error itself: that would not help, or come too late. */
export async function pauseAfter(
  error: unknown,
  repeats: number,
  { clock, random }: Timing,
  { signal, leftMs }: Patience,
): Promise<void> {
  const pauseMs = repeats < STORE_REPEATS_MAX ? pauseBefore(error, repeats, random) : undefined;
  if (pauseMs === undefined || pauseMs >= leftMs) throw error;
  await clock.sleep(pauseMs, signal);
}

/** Milliseconds until it may be tried again; undefined: that would not help. */
function pauseBefore(error: unknown, repeats: number, random: Random): number | undefined {
  if (!(error instanceof OpError) || !PASSING.has(error.failure)) return undefined;
  const spread = 0.75 + 0.5 * fraction(random);
  const ownMs = STORE_REPEAT_MS * 2 ** repeats * spread;
  const { retry_after_ms: told } = error.details;
  if (typeof told !== 'number') return ownMs;
  // Who asks for more patience than this is told to the caller, who has other things to do.
  return told > STORE_RETRY_AFTER_MS_MAX ? undefined : Math.max(told, ownMs);
}

/** Evenly from 0 to 1. */
const fraction = (random: Random): number =>
  Buffer.from(random.token(), 'base64url').readUInt16BE(0) / 0x1_0000;
