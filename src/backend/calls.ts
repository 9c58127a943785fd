/**
 * The calls of one store: what ends each of them, and that none of them outlasts the store.
 *
 * Invariant: what a call has begun and must undo, it may, also when it was told to end or the store is
 * being closed; `close` waits for that.
 */
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { STORE_CALL_MS, STORE_TRANSFER_MS, STORE_UNDO_MS } from '../base/limits.ts';
import type { CallOptions } from './call.ts';
import { Deadline } from './deadline.ts';
import { demandKey } from './keys.ts';
import type { StoreLimits } from './store.ts';

export class Calls {
  readonly #clock: Clock;
  readonly #limits: StoreLimits;
  readonly #closed = new AbortController();
  readonly #underway = new Set<Promise<unknown>>();

  constructor(clock: Clock, limits: StoreLimits) {
    this.#clock = clock;
    this.#limits = limits;
  }

  /** For a call that asks or changes a little. @throws OpError invalid-path, name-too-long, and as `Deadline`. */
  ask(op: string, options: CallOptions, key?: string): Deadline {
    if (key !== undefined) demandKey(key, this.#limits, op);
    const deadlineMs = options.deadlineMs ?? STORE_CALL_MS;
    return this.#deadline(op, { ...options, deadlineMs });
  }

  /**
   * For one that moves bytes or names. How many there are nobody knows here: without an end of the
   * caller's, standing still is one.
   * @throws as `ask`.
   */
  move(op: string, options: CallOptions, key?: string): Deadline {
    if (options.deadlineMs !== undefined) return this.ask(op, options, key);
    if (key !== undefined) demandKey(key, this.#limits, op);
    return this.#deadline(op, { ...options, deadlineMs: STORE_TRANSFER_MS, isIdle: true });
  }

  /** For undoing: nobody ends it but its own time. */
  undo(op: string): Deadline {
    const never = new AbortController().signal;
    const ends = { signal: never, deadlineMs: STORE_UNDO_MS };
    return new Deadline(op, ends, { clock: this.#clock, closed: never });
  }

  /** A call that may have to undo something. */
  async during<T>(work: Promise<T>): Promise<T> {
    this.#underway.add(work);
    try {
      return await work;
    } finally {
      this.#underway.delete(work);
    }
  }

  /** Ends every call, refuses later ones, and resolves when nothing is undone any more. */
  async close(place: string): Promise<void> {
    this.#closed.abort(new OpError('not-ready', `close ${place}`));
    await Promise.allSettled(this.#underway);
  }

  #deadline(op: string, ends: ConstructorParameters<typeof Deadline>[1]): Deadline {
    return new Deadline(op, ends, { clock: this.#clock, closed: this.#closed.signal });
  }
}
