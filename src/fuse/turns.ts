/**
 * Lets so many things be under way at once. The others wait in order, and hold nothing but what was
 * asked for.
 */
import { OpError } from '../base/errors.ts';

export class Turns {
  readonly #waiting = new Set<() => void>();
  #left: number;

  constructor(max: number) {
    this.#left = max;
  }

  /**
   * Runs `body` when it is its turn. Until it has settled it keeps its place, whoever has given up.
   * @throws OpError cancelled: `signal` was aborted before that.
   */
  async run<T>(body: () => Promise<T>, signal: AbortSignal): Promise<T> {
    await this.#enter(signal);
    try {
      // Once more: between the turn and here others ran.
      if (signal.aborted) throw new OpError('cancelled', 'wait for a turn');
      return await body();
    } finally {
      this.#leave();
    }
  }

  #enter(signal: AbortSignal): Promise<void> {
    if (this.#left > 0) {
      this.#left -= 1;
      return Promise.resolve();
    }
    return new Promise((go, refuse) => {
      const giveUp = () => {
        this.#waiting.delete(begin);
        refuse(new OpError('cancelled', 'wait for a turn'));
      };
      const begin = () => {
        signal.removeEventListener('abort', giveUp);
        go();
      };
      this.#waiting.add(begin);
      signal.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** From now on so many more may be under way. */
  widen(more: number): void {
    for (let left = more; left > 0; left--) this.#leave();
  }

  /** The place goes to who has waited longest. */
  #leave(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#left += 1;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}
