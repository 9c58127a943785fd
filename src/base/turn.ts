/** The event loop turns: long work is done in pieces, and others are answered in between. */

/** Resolves once whoever waits has been answered. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
