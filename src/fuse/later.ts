/**
 * What nobody waits for: handles the kernel gave back, inodes it knows no more. A transaction for
 * each would cost the requests that somebody does wait for, so they are kept for a moment and done
 * together.
 *
 * Invariant: all of it is done before the connection's end is told; a kill in between loses
 * nothing, because the next start ends what it finds open.
 */
import type { Clock } from '../base/clock.ts';
import type { Fh, Ino } from '../base/ids.ts';
import { FUSE_LATER_MAX, FUSE_LATER_MS } from '../base/limits.ts';

export interface LaterWork {
  readonly handles: readonly Fh[];
  readonly inos: readonly Ino[];
}

export class Later {
  readonly #clock: Clock;
  readonly #run: (work: LaterWork) => void;
  readonly #ended = new AbortController();
  #handles: Fh[] = [];
  #inos: Ino[] = [];
  #isArmed = false;

  constructor(clock: Clock, run: (work: LaterWork) => void) {
    this.#clock = clock;
    this.#run = run;
  }

  release(fh: Fh): void {
    this.#handles.push(fh);
    this.#arm();
  }

  forget(ino: Ino): void {
    this.#inos.push(ino);
    this.#arm();
  }

  /** Between groups: does what has become too much to be kept. */
  relieve(): void {
    if (this.#handles.length + this.#inos.length >= FUSE_LATER_MAX) this.flush();
  }

  /** Does all of it. Outside a group. */
  flush(): void {
    while (this.#handles.length + this.#inos.length > 0) {
      const handles = this.#handles.splice(0, FUSE_LATER_MAX);
      const inos = this.#inos.splice(0, FUSE_LATER_MAX);
      this.#run({ handles, inos });
    }
  }

  /** Does all of it, and waits for nothing more. */
  end(): void {
    this.#ended.abort();
    this.flush();
  }

  #arm(): void {
    if (this.#isArmed) return;
    this.#isArmed = true;
    this.#clock.sleep(FUSE_LATER_MS, this.#ended.signal).then(
      () => {
        this.#isArmed = false;
        this.flush();
      },
      () => {}, // The connection has ended, and with it what was kept.
    );
  }
}
