/** One freezing of an object: tells whether it was opened again since. */
export interface Stamp {
  /** Milliseconds of the monotonic clock; 0 when it was frozen before this process began. */
  readonly atMs: number;
}

export const BEFORE_OUR_TIME: Stamp = { atMs: 0 };
