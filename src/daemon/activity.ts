/** Whether the kernel asks a lot just now, so that what can wait should. */
import type { Clock } from '../base/clock.ts';
import { BUSY_REQUESTS_PER_S, BUSY_SAMPLE_MS } from '../base/limits.ts';

export class Activity {
  readonly #clock: Clock;
  readonly #requests: () => number;
  #sample = { atMs: 0, requests: 0, isBusy: false };

  /** `requests`: how many were served so far. */
  constructor(clock: Clock, requests: () => number) {
    this.#clock = clock;
    this.#requests = requests;
  }

  get isBusy(): boolean {
    const nowMs = this.#clock.monotonicMs();
    const passedMs = nowMs - this.#sample.atMs;
    if (passedMs >= BUSY_SAMPLE_MS) {
      const requests = this.#requests();
      const perSecond = ((requests - this.#sample.requests) * 1000) / passedMs;
      this.#sample = { atMs: nowMs, requests, isBusy: perSecond > BUSY_REQUESTS_PER_S };
    }
    return this.#sample.isBusy;
  }
}
