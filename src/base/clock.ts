/** Time comes in by constructor, so that a test can turn it. Only this file asks the host. */

export interface Instant {
  /** Seconds since 1970, may be negative. */
  readonly s: number;
  /** 0 to 999,999,999. */
  readonly ns: number;
}

export interface Clock {
  /** Wall time; resolution of a microsecond or better. */
  now(): Instant;
  /** Milliseconds from an arbitrary start, never going back. */
  monotonicMs(): number;
  /**
   * Resolves after `delayMs`; never keeps the process alive by itself.
   * @throws the signal's reason when it aborts.
   */
  sleep(delayMs: number, signal: AbortSignal): Promise<void>;
}

/** How often the host is asked whether it has set its clock. */
const ORIGIN_CHECKED_MS = 1000;
/** What the origin may be mended by, without the host having set its clock: it tells whole ones. */
const MENDED_MS_MAX = 1;

/** Goes back only when the host's does, by more than a millisecond. */
export class SystemClock implements Clock {
  #originMs = performance.timeOrigin;
  #checkedMs = Number.NEGATIVE_INFINITY;
  #toldMs = 0;

  now(): Instant {
    const elapsedMs = performance.now();
    if (elapsedMs - this.#checkedMs > ORIGIN_CHECKED_MS) this.#check(elapsedMs);
    let ms = this.#originMs + elapsedMs;
    if (ms < this.#toldMs && this.#toldMs - ms < MENDED_MS_MAX) ms = this.#toldMs;
    this.#toldMs = ms;
    const s = Math.floor(ms / 1000);
    return { s, ns: Math.min(999_999_999, Math.floor((ms - s * 1000) * 1e6)) };
  }

  /**
   * The host may have set its clock. It tells whole milliseconds, and this process may be stopped
   * between two of these questions: the origin moves only as far as it is wrong for certain.
   */
  #check(beforeMs: number): void {
    const hostMs = Date.now();
    const afterMs = performance.now();
    const [earliestMs, latestMs] = [hostMs - afterMs, hostMs + 1 - beforeMs];
    this.#originMs = Math.min(Math.max(this.#originMs, earliestMs), latestMs);
    this.#checkedMs = afterMs;
  }

  monotonicMs(): number {
    return performance.now();
  }

  sleep(delayMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const onAbort = () => {
        clearTimeout(timer);
        reject(signal.reason);
      };
      const timer = setTimeout(() => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      }, delayMs);
      timer.unref();
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}

/**
 * Aborts after `delayMs`, or with the signal. The host has a way to say this, `AbortSignal.any` with an
 * `AbortSignal.timeout` among it: nothing holds that one, and once it is collected it never aborts.
 */
export function within(clock: Clock, delayMs: number, signal: AbortSignal): AbortSignal {
  if (signal.aborted) return signal;
  const over = new AbortController();
  clock.sleep(delayMs, signal).then(
    () => over.abort(),
    (reason: unknown) => over.abort(reason),
  );
  return over.signal;
}

/** RFC 3339 in UTC with nanoseconds: `2026-11-22T10:00:00.000000001Z`. */
export function rfc3339({ s, ns }: Instant): string {
  const date = new Date(s * 1000);
  if (Number.isNaN(date.getTime())) return `@${s}.${String(ns).padStart(9, '0')}`;
  return `${date.toISOString().slice(0, 19)}.${String(ns).padStart(9, '0')}Z`;
}

/** Inverse of `rfc3339`, also for fewer digits and offsets; undefined when it is no such time. */
export function parseRfc3339(text: string): Instant | undefined {
  const match = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/i.exec(text);
  if (match === null) return undefined;
  const ms = Date.parse(`${match[1]}${match[3]}`);
  if (Number.isNaN(ms)) return undefined;
  return { s: Math.floor(ms / 1000), ns: Number((match[2] ?? '').padEnd(9, '0')) };
}

/** Resolves when it is aborted. */
export const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
