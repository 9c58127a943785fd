/** When a tree that changed is published by itself: a pure function of times. */

/** What is known of a tree's changes since it was published, in monotonic milliseconds. */
export interface Unrest {
  readonly firstMs: number;
  readonly lastMs: number;
}

/** When nothing has changed for `quietMs`; at the latest `intervalMs` after the first change. */
export function dueAtMs(
  { firstMs, lastMs }: Unrest,
  { quietMs, intervalMs }: { readonly quietMs: number; readonly intervalMs: number },
): number {
  // Who wants it quiet for longer than the interval gets that.
  return Math.min(lastMs + quietMs, firstMs + Math.max(quietMs, intervalMs));
}
