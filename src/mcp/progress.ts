/**
 * Progress of one call as notifications: at most four a second, at least one every five seconds,
 * each greater than the one before.
 */
import type { Clock } from '../base/clock.ts';
import type { Progress } from '../tools/tools.ts';

const TICK_MS = 250;
/** Sent before five seconds are over, whatever the tick makes of it. */
const SILENT_TICKS_MAX = 18;

export interface ProgressParams {
  readonly progress: number;
  readonly total?: number;
  readonly message: string;
}

export interface ProgressFeedOptions {
  readonly clock: Clock;
  /** Said when the tool says nothing. */
  readonly title: string;
  /** Ends the feed: nothing is sent after it. */
  readonly signal: AbortSignal;
  readonly send: (params: ProgressParams) => void;
}

export class ProgressFeed {
  readonly #options: ProgressFeedOptions;
  #latest: Progress = { done: 0, unit: 'items' };
  #sent = -1;
  #silentTicks = 0;

  constructor(options: ProgressFeedOptions) {
    this.#options = options;
  }

  report(progress: Progress): void {
    this.#latest = progress;
  }

  /** Resolves when the signal aborts. */
  async run(): Promise<void> {
    const { clock, signal } = this.#options;
    while (!signal.aborted) {
      try {
        await clock.sleep(TICK_MS, signal);
      } catch {
        return;
      }
      this.#tick();
    }
  }

  #tick(): void {
    const { done } = this.#latest;
    this.#silentTicks += 1;
    if (done > this.#sent && done > 0) {
      this.#send(done);
    } else if (this.#silentTicks >= SILENT_TICKS_MAX) {
      // Still the same, but the protocol wants a greater number: one below the next whole one.
      const from = Math.max(done, this.#sent);
      this.#send(from + (Math.floor(from) + 1 - from) / 2);
    }
  }

  #send(progress: number): void {
    const { total, message } = this.#latest;
    this.#sent = progress;
    this.#silentTicks = 0;
    this.#options.send({
      progress,
      // At its end a total would be overtaken by the next sign of life.
      ...(total === undefined || progress > total ? {} : { total }),
      message: message ?? this.#options.title,
    });
  }
}
