/** A limit of bandwidth that several uploads share. */
import type { Clock } from './clock.ts';

/** What may be made up for at once after a pause. */
const BURST_MS = 100;

export class Pace {
  readonly #bytesPerS: number;
  readonly #clock: Clock;
  /** When the next bytes may go. */
  #freeMs = 0;

  constructor(bytesPerS: number, clock: Clock) {
    this.#bytesPerS = bytesPerS;
    this.#clock = clock;
  }

  /** Bytes as fast as they may go, those of all who asked taken together. */
  through(signal: AbortSignal): (bytes: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array> {
    const wait = (length: number) => this.#wait(length, signal);
    return async function* (bytes) {
      for await (const piece of bytes) {
        await wait(piece.length);
        yield piece;
      }
    };
  }

  async #wait(length: number, signal: AbortSignal): Promise<void> {
    const nowMs = this.#clock.monotonicMs();
    const fromMs = Math.max(this.#freeMs, nowMs - BURST_MS);
    // Taken before the sleep: who comes meanwhile is behind us.
    this.#freeMs = fromMs + (length / this.#bytesPerS) * 1000;
    if (fromMs > nowMs) await this.#clock.sleep(fromMs - nowMs, signal);
  }
}
