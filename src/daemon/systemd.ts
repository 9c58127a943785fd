/**
 * What a daemon tells the manager of services that started it, by sd_notify(3): that it serves, how it
 * fares, that it lives, that it stops. Without one nothing is told.
 *
 * Invariants: the sign of life comes from the event loop that answers the kernel, or from between the
 * pieces of what it is long at, so one that hangs gives none; what cannot be told is logged once and changes nothing.
 */
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { NativeProcess } from '../base/native.ts';

/** What the manager said in the environment of the process. */
export interface Supervision {
  /** $NOTIFY_SOCKET: a path, or `@` and an abstract name. */
  readonly socket: string;
  /** $WATCHDOG_USEC: after so long without a sign of life the process is ended. Undefined: never. */
  readonly watchdogMs: number | undefined;
}

export interface SystemdParts {
  /** Undefined: nobody wants to hear. */
  readonly supervision: Supervision | undefined;
  readonly native: Pick<NativeProcess, 'tellSystemd'>;
  readonly clock: Clock;
  readonly log: Log;
}

export class Systemd implements Disposable {
  readonly #parts: SystemdParts;
  readonly #ended = new AbortController();
  #isMute = false;

  constructor(parts: SystemdParts) {
    this.#parts = parts;
  }

  /** It serves. From here on it gives signs of life. */
  ready(status: string): void {
    this.#tell({ READY: '1', STATUS: status });
    void this.#live();
  }

  /** It is in the middle of something long, in which the event loop has no turn. */
  alive(): void {
    if (this.#parts.supervision?.watchdogMs !== undefined) this.#tell({ WATCHDOG: '1' });
  }

  /** It stops, and still gives signs of life. */
  stopping(status: string): void {
    this.#tell({ STOPPING: '1', STATUS: status });
  }

  /** Ends the signs of life. */
  [Symbol.dispose](): void {
    this.#ended.abort();
  }

  /** At half the time, as sd_watchdog_enabled(3) asks: one that comes late is no death. */
  async #live(): Promise<void> {
    const watchdogMs = this.#parts.supervision?.watchdogMs;
    if (watchdogMs === undefined) return;
    const { signal } = this.#ended;
    while (!signal.aborted) {
      this.alive();
      await this.#parts.clock.sleep(watchdogMs / 2, signal).catch(() => {}); // Ended: seen above.
    }
  }

  #tell(assignments: Readonly<Record<string, string>>): void {
    const { supervision, native, log } = this.#parts;
    if (supervision === undefined) return;
    // A line break would begin another assignment.
    const lines = Object.entries(assignments).map(
      ([name, value]) => `${name}=${value.replaceAll('\n', ' ')}`,
    );
    try {
      native.tellSystemd(supervision.socket, lines.join('\n'));
      this.#isMute = false;
    } catch (error) {
      if (!this.#isMute) log.warn({ error }, 'systemd does not hear');
      this.#isMute = true;
    }
  }
}
