/** What every call on a node takes: how it is told to end. */

/** What every call takes. */
export interface CallOptions {
  /** Ends the call. */
  readonly signal: AbortSignal;
  /**
   * The whole call, waiting for its turn and reading a stream to its end included. When absent, the
   * engine's own: short for questions, long for what walks content; for what moves content as long as there
   * is any, a time in which nothing came or went.
   */
  readonly deadlineMs?: number | undefined;
}

/** For what can be answered from here or by asking other nodes. */
export interface ReachOptions extends CallOptions {
  /** Answer from what the node holds itself, and ask nobody; false when absent. */
  readonly local?: boolean | undefined;
}
