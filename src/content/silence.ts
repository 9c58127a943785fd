/**
 * Whether an origin of blocks is silent: it left somebody without an answer, and then did not answer
 * what costs it nothing either. Who wants a block of such a one is told at once.
 *
 * Invariants: nobody waits for the question longer than `SILENCE_ASKED_MS_MAX`, and it is asked once for
 * all who wait; what it found counts for `SILENCE_KEPT_MS`, or until the origin answers anything.
 */
import { before } from '../base/before.ts';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { SILENCE_ASKED_MS_MAX, SILENCE_KEPT_MS } from '../base/limits.ts';

/** Asks the origin for anything. */
export type Ping = (options: { readonly signal: AbortSignal }) => Promise<unknown>;

export class Silence {
  readonly #clock: Clock;
  /** When it was found; undefined: it answers, as far as anybody knows. */
  #foundMs: number | undefined;
  #asking: Promise<boolean> | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** It has answered somebody. */
  end(): void {
    this.#foundMs = undefined;
  }

  /** Whether it goes on; asked again when that was found some time ago. @throws the signal's reason. */
  async lasts(ping: Ping, signal: AbortSignal): Promise<boolean> {
    if (this.#foundMs === undefined) return false;
    if (this.#clock.monotonicMs() - this.#foundMs < SILENCE_KEPT_MS) return true;
    return await before(this.isFound(ping), signal);
  }

  /** Asks. */
  isFound(ping: Ping): Promise<boolean> {
    this.#asking ??= this.#ask(ping).finally(() => {
      this.#asking = undefined;
    });
    return this.#asking;
  }

  async #ask(ping: Ping): Promise<boolean> {
    const ended = new AbortController();
    const { signal } = ended;
    this.#clock.sleep(SILENCE_ASKED_MS_MAX, signal).then(
      () => ended.abort(new OpError('timeout', 'ask the node')),
      () => {}, // It answered before.
    );
    try {
      await before(ping({ signal }), signal);
      this.end();
    } catch {
      // One that refuses says so by itself, at once.
      this.#foundMs = signal.aborted ? this.#clock.monotonicMs() : undefined;
    } finally {
      ended.abort();
    }
    return this.#foundMs !== undefined;
  }
}
