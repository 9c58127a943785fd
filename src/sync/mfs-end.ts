/**
 * The mutable tree of the home node, as a tree of kind `mfs` reaches it: what differs between the
 * engines is behind this.
 */
import type { CallOptions, MfsStat } from '../backend/backend.ts';
import type { CID } from '../content/content.ts';

export interface MfsEnd {
  /** What it said it has, no kill takes from it. */
  readonly isSure: boolean;
  /** What is at a path, whose blocks can be read then; undefined: nothing. */
  stat(path: string, options: CallOptions): Promise<MfsStat | undefined>;
  /**
   * Brings blocks, as a CAR, to where the node reads them; absent: it reads those of our store.
   * `count` is asked when all were sent.
   */
  readonly send?: (
    car: AsyncIterable<Uint8Array>,
    count: () => { readonly blocks: number; readonly bytes: number },
    options: CallOptions,
  ) => Promise<void>;
  /** Makes changes. Where the engine can, all of them at one moment or none. */
  edit(signal: AbortSignal, body: (edits: MfsEditing) => Promise<void>): Promise<void>;
}

export interface MfsEditing {
  stat(path: string): Promise<MfsStat | undefined>;
  /** A directory, where nothing is. */
  mkdir(path: string): Promise<CID>;
  /** Whether all blocks of what is at a path are there. */
  isWhole(path: string): Promise<boolean>;
  /** `there` is what is at the path, and gives way; undefined: nothing. */
  link(path: string, cid: CID, there: MfsStat | undefined): Promise<void>;
  /** What is there, and all below it. */
  remove(path: string): Promise<void>;
}
