/**
 * Signs of life of a thread that is long at one thing: the watchdogs of a keeper and of systemd hear the
 * event loop, which has no turn while a tree of many entries goes in one transaction.
 */
import type { Clock } from '../base/clock.ts';
import { KEEPER_PROGRESS_MS } from '../base/limits.ts';

/** Answers what is to be called between pieces of work, as often as one likes. */
export function pulse(
  clock: Pick<Clock, 'monotonicMs'>,
  watchdogs: readonly ({ alive(): void } | undefined)[],
): () => void {
  let saidMs = clock.monotonicMs();
  return () => {
    const nowMs = clock.monotonicMs();
    if (nowMs - saidMs < KEEPER_PROGRESS_MS) return;
    saidMs = nowMs;
    for (const watchdog of watchdogs) watchdog?.alive();
  };
}
