/**
 * Brings files here that somebody pinned and whose bytes are elsewhere: one after another, again and
 * again until they have come.
 */
import type { Clock } from '../base/clock.ts';
import { asOpError } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import { GATHER_LOOK_MS, GATHER_RETRY_MS } from '../base/limits.ts';
import type { Log } from '../base/log.ts';

export interface GathererPorts {
  readonly clock: Clock;
  readonly log: Log;
  /** Whether its bytes shall be here still. */
  isPinned(ino: Ino): boolean;
  /** Resolves when they are. @throws OpError content-missing, not-found, … */
  bring(ino: Ino, signal: AbortSignal): Promise<void>;
}

export class Gatherer {
  readonly #ports: GathererPorts;
  #wanted: readonly Ino[] = [];
  /** Before then what failed is not tried again. */
  #notBeforeMs = 0;

  constructor(ports: GathererPorts) {
    this.#ports = ports;
  }

  /** All that are elsewhere, as far as they are known now. */
  want(files: readonly Ino[]): void {
    this.#wanted = files;
  }

  /** Until the signal aborts. @throws its reason. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    for (;;) {
      if (this.#wanted.length > 0 && clock.monotonicMs() >= this.#notBeforeMs) {
        await this.#round(signal);
      }
      await clock.sleep(GATHER_LOOK_MS, signal);
    }
  }

  async #round(signal: AbortSignal): Promise<void> {
    const { clock, log, isPinned, bring } = this.#ports;
    const files = this.#wanted;
    this.#wanted = [];
    const failed: Ino[] = [];
    let failure: string | undefined;
    for (const ino of files) {
      signal.throwIfAborted();
      try {
        if (isPinned(ino)) await bring(ino, signal);
      } catch (error) {
        signal.throwIfAborted();
        const known = asOpError(error, `bring inode ${ino}`).failure;
        if (known === 'not-found') continue;
        failure = known;
        failed.push(ino);
      }
    }
    if (failed.length === 0) return;
    log.warn(
      { files: failed.length, failure },
      'pinned files are elsewhere, and could not be had yet',
    );
    this.#notBeforeMs = clock.monotonicMs() + GATHER_RETRY_MS;
    if (this.#wanted.length === 0) this.#wanted = failed;
  }
}
