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

  /**
   * Bytes as fast as they may go, those of all who asked taken together. A piece that is more than may go
   * in a second goes in parts: whoever takes them sees that they move.
   */
  through(signal: AbortSignal): (bytes: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array> {
    const wait = (length: number) => this.#wait(length, signal);
    const partBytes = Math.max(1, Math.floor(this.#bytesPerS));
    return async function* (bytes) {
      for await (const piece of bytes) {
        for (let at = 0; at < piece.length; at += partBytes) {
          const part = piece.subarray(at, at + partBytes);
          await wait(part.length);
          yield part;
        }
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
