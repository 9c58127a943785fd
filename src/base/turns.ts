/**
 * Bounded concurrency: so many at once, so many who wait, in the order they came. Waiting ends with
 * the caller's signal.
 */
import { OpError } from './errors.ts';

export class Turns {
  readonly #waitingMax: number;
  readonly #waiting = new Set<() => void>();
  #free: number;

  constructor({ atOnce, waitingMax }: { readonly atOnce: number; readonly waitingMax: number }) {
    this.#free = atOnce;
    this.#waitingMax = waitingMax;
  }

  get waiting(): number {
    return this.#waiting.size;
  }

  /**
   * Resolves with what ends the turn; calling that twice is as once.
   * @throws OpError rate-limited: too many wait. The signal's reason when it aborts.
   */
  async enter(op: string, signal: AbortSignal): Promise<() => void> {
    signal.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(op, signal);
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#passOn();
    };
  }

  /**
   * Does `work` when it is its turn; it is not begun once the signal aborted. Until it has settled it
   * keeps its place, whoever has given up. @throws as `enter`.
   */
  async run<T>(op: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> {
    const leave = await this.enter(op, signal);
    try {
      // Once more: between the turn and here others ran.
      signal.throwIfAborted();
      return await work();
    } finally {
      leave();
    }
  }

  /** From now on so many more have their turn at once. */
  widen(more: number): void {
    for (let left = more; left > 0; left--) this.#passOn();
  }

  #turn(op: string, signal: AbortSignal): Promise<void> {
    if (this.#waiting.size >= this.#waitingMax) {
      throw new OpError('rate-limited', op, { hint: 'too many wait already' });
    }
    return new Promise((resolve, reject) => {
      const onAbort = () => {
        this.#waiting.delete(take);
        reject(signal.reason);
      };
      const take = () => {
        signal.removeEventListener('abort', onAbort);
        resolve();
      };
      this.#waiting.add(take);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }

  /** The turn goes to who waits longest, without ever being free in between. */
  #passOn(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
