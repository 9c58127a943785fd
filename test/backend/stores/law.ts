/** How a law of stores is written, and what a store says of itself to the laws. */
import { expect, test } from 'vitest';
import type { Store } from '../../../src/backend/store.ts';
import { calling } from './fixture.ts';

export interface Facets {
  readonly copying: boolean;
  readonly leftovers: boolean;
  readonly metadata: boolean;
  /** A key can be another's beginning: `a` beside `a/b`. */
  readonly nested: boolean;
  /** The digest of what was stored is noted. */
  readonly digest: boolean;
  /** Looks at versions at the moment of the change. */
  readonly putOver: boolean;
  readonly removeVersion: boolean;
}

/** An empty store that nobody else has. */
export type Open = () => Promise<Store>;

export const failing = (failure: string) => expect.objectContaining({ failure });

export const MIB = 1024 * 1024;

/** A store that is closed when the law has been seen to hold. */
export const law = (open: Open) => (title: string, body: (store: Store) => Promise<void>) =>
  test(title, async () => {
    await using store = await open();
    await body(store);
  });

export const sweep = async (store: Store): Promise<number> =>
  (await store.leftovers?.sweep({ ...calling(), olderThanMs: -60_000 })) ?? 0;
