/**
 * The daemon's background loops. Each is owned here from its start to its end.
 *
 * Invariants: a loop runs at least once, ends when it is told to, and is awaited; one that fails is
 * logged, is begun again after a while, and shows in the daemon's health until then.
 */
import type { Clock } from '../base/clock.ts';
import { asOpError, type OpError } from '../base/errors.ts';
import { LOOP_RESTART_MS } from '../base/limits.ts';
import type { Log } from '../base/log.ts';

export interface LoopFailure {
  readonly name: string;
  readonly error: OpError;
}

interface Loop {
  readonly stop: AbortController;
  readonly ended: Promise<void>;
}

export interface LoopsOptions {
  readonly clock: Clock;
  readonly log: Log;
  readonly restMs?: number | undefined;
}

export class Loops {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #restMs: number;
  readonly #loops: Loop[] = [];
  readonly #failures = new Map<string, OpError>();

  /** @param restMs the time left to programs that wait before any loop begins. */
  constructor({ clock, log, restMs = 0 }: LoopsOptions) {
    this.#clock = clock;
    this.#log = log;
    this.#restMs = restMs;
  }

  /** Starts a loop, which runs until its signal aborts. */
  start(name: string, run: (signal: AbortSignal) => Promise<void>): void {
    const stop = new AbortController();
    this.#loops.push({ stop, ended: this.#keep(name, run, stop.signal) });
  }

  /** Those that failed and have not been begun again yet. */
  failures(): readonly LoopFailure[] {
    return [...this.#failures].map(([name, error]) => ({ name, error }));
  }

  /** Tells all to end, the newest first, and resolves when each has. */
  async stop(): Promise<void> {
    for (const { stop, ended } of this.#loops.toReversed()) {
      stop.abort();
      await ended;
    }
    this.#loops.length = 0;
  }

  async #keep(
    name: string,
    run: (signal: AbortSignal) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#restMs > 0) await this.#clock.sleep(this.#restMs, signal).catch(() => {}); // As below.
    do {
      try {
        await run(signal);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#failures.set(name, asOpError(error, name));
        this.#log.error({ err: error, loop: name }, 'a background loop failed');
      }
      await this.#clock.sleep(LOOP_RESTART_MS, signal).catch(() => {}); // Told to stop.
      this.#failures.delete(name);
    } while (!signal.aborted);
  }
}
