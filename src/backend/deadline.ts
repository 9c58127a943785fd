/**
 * One call's end: the caller's signal, its deadline and the engine's own end, in one signal whose
 * reason is always an operating error. The deadline of what moves content as long as there is any is
 * one without progress.
 */
import { setMaxListeners } from 'node:events';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import type { CallOptions } from './call.ts';

/** The longest that setTimeout of Node can wait, some 25 days; more would be no time at all. */
const DEADLINE_MS_MAX = 2 ** 31 - 1;
/** Said where nobody reads it: the signal would otherwise make an error, with a stack, each time. */
const OVER = 'over';

interface Ends extends CallOptions {
  readonly deadlineMs: number;
  /** It is a time without progress, and begins anew with each. */
  readonly isIdle?: boolean;
}

export class Deadline implements Disposable {
  readonly #controller = new AbortController();
  /** Aborts when nobody needs to be told any more. */
  readonly #over = new AbortController();
  readonly #timer = new AbortController();
  readonly #clock: Clock;
  /** How long nothing may move; undefined: the whole has an end. */
  readonly #idleMs: number | undefined;
  #untilMs: number;
  readonly op: string;

  /** @throws OpError cancelled or timeout: the signal is aborted already. */
  constructor(
    op: string,
    { signal, deadlineMs, isIdle = false }: Ends,
    { clock, closed }: { readonly clock: Clock; readonly closed: AbortSignal },
  ) {
    this.op = op;
    this.#clock = clock;
    const lastsMs = Math.min(deadlineMs, DEADLINE_MS_MAX);
    this.#idleMs = isIdle ? lastsMs : undefined;
    this.#untilMs = clock.monotonicMs() + lastsMs;
    for (const source of [closed, signal]) if (source.aborted) throw toldBy(source.reason, op);
    // One signal may end any number of calls; that is no leak, and Node need not say so.
    setMaxListeners(0, closed, signal, this.signal);
    for (const source of [closed, signal]) {
      const onAbort = () => this.#end(toldBy(source.reason, op));
      source.addEventListener('abort', onAbort, { once: true, signal: this.#over.signal });
    }
    this.#wait(lastsMs).then(
      () => this.#end(new OpError('timeout', op)),
      () => {}, // The call was over first.
    );
  }

  /** Until the time is up, which may move on meanwhile. */
  async #wait(lastsMs: number): Promise<void> {
    for (let leftMs = lastsMs; leftMs > 0; leftMs = this.#untilMs - this.#clock.monotonicMs()) {
      await this.#clock.sleep(leftMs, this.#timer.signal);
    }
  }

  /** Aborts with an OpError. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Milliseconds that are left, at least 1. */
  get leftMs(): number {
    return Math.max(1, Math.ceil(this.#untilMs - this.#clock.monotonicMs()));
  }

  /** What to tell the node of the end; undefined: nothing, there is none while bytes move. */
  get toldMs(): number | undefined {
    return this.#idleMs === undefined ? this.leftMs : undefined;
  }

  /** Something came or went. */
  moved(): void {
    if (this.#idleMs !== undefined) this.#untilMs = this.#clock.monotonicMs() + this.#idleMs;
  }

  /** For a call within this one. */
  get options(): CallOptions {
    return { signal: this.signal, deadlineMs: this.leftMs };
  }

  /** The deadline does not count any more, only the other two: for what was opened to last. */
  lift(): void {
    this.#timer.abort(OVER);
  }

  #end(reason: OpError): void {
    this.#controller.abort(reason);
  }

  [Symbol.dispose](): void {
    this.#over.abort(OVER);
    this.#timer.abort(OVER);
  }
}

/** Why somebody told a call to end, as an operating error. */
function toldBy(reason: unknown, op: string): OpError {
  if (reason instanceof OpError) return reason;
  const isTimeout = reason instanceof Error && reason.name === 'TimeoutError';
  return new OpError(isTimeout ? 'timeout' : 'cancelled', op, { cause: reason });
}
