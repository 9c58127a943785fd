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

export class SystemClock implements Clock {
  readonly #originMs = performance.timeOrigin;
  readonly #driftCheckedMs: { at: number; originMs: number } = { at: 0, originMs: 0 };

  now(): Instant {
    const elapsedMs = performance.now();
    // The host may step its clock: take the origin again every second.
    if (elapsedMs - this.#driftCheckedMs.at > 1000 || this.#driftCheckedMs.originMs === 0) {
      this.#driftCheckedMs.at = elapsedMs;
      const originMs = Date.now() - elapsedMs;
      const isStepped = Math.abs(originMs - this.#originMs) > 5;
      this.#driftCheckedMs.originMs = isStepped ? originMs : this.#originMs;
    }
    const ms = this.#driftCheckedMs.originMs + elapsedMs;
    const s = Math.floor(ms / 1000);
    return { s, ns: Math.min(999_999_999, Math.floor((ms - s * 1000) * 1e6)) };
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
