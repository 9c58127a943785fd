/**
 * A change of a whole tree, worked out beforehand: what `sync` hands to whoever may write the tree,
 * to be carried out at one moment or not at all. Plain values, because the two do not know each
 * other.
 */
import type { Instant } from './clock.ts';
import type { ContentId, Ino, Name } from './ids.ts';

/** What stood under a name when the plan was made. When it is another one now, the plan is void. */
export interface Seen {
  readonly ino: Ino;
  readonly version: number;
}

/** Absent fields: as a new file has them, or as they are. */
export interface PlannedMetadata {
  /** Permission bits, set-id and sticky bits included. */
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly atime?: Instant | undefined;
  readonly mtime?: Instant | undefined;
  /** All there shall be. */
  readonly xattrs?: readonly { readonly name: Name; readonly value: Buffer }[] | undefined;
}

export type PlannedNode =
  | { readonly type: 'directory' }
  /**
   * The bytes are at rest in `content`; with none they are not here, which only a rehearsal takes.
   * Where others show it too it must still have this CID (binary): they may have written to it since.
   */
  | {
      readonly type: 'file';
      readonly content: ContentId;
      readonly size: number;
      readonly cid?: Uint8Array | undefined;
    }
  | { readonly type: 'symlink'; readonly target: Name }
  /** FIFO, socket or device, by the type bits of `mode`. */
  | { readonly type: 'special'; readonly mode: number; readonly rdev: number }
  /** Another name of what lies at `to`, names from `linksFrom` of the plan on, made before. */
  | { readonly type: 'link'; readonly to: readonly Name[] };

/** Removes a name; of a directory all that was in it, which is listed. */
export interface PlannedRemoval {
  readonly action: 'remove';
  readonly name: Name;
  readonly seen: Seen;
  readonly isDirectory: boolean;
  readonly children: readonly PlannedRemoval[];
}

/** Makes a name that is free, or that is freed first. */
export interface PlannedMaking {
  readonly action: 'make';
  readonly name: Name;
  readonly replaces: PlannedRemoval | undefined;
  readonly node: PlannedNode;
  readonly metadata: PlannedMetadata;
  readonly children: readonly PlannedMaking[];
  /** What was told of it before it is made; absent: nothing. */
  readonly numbers?: SetAside | undefined;
}

/** Numbers that were set aside for an entry (see `Counters`): its inode's, and its place in readdir. */
export interface SetAside {
  readonly ino: Ino | undefined;
  readonly cookie: number | undefined;
}

/** Leaves a name and its inode, and changes what is in it or known of it. */
export interface PlannedAdjustment {
  readonly action: 'adjust';
  readonly name: Name;
  readonly seen: Seen;
  readonly metadata: PlannedMetadata;
  readonly children: readonly PlannedEntry[];
}

export type PlannedEntry = PlannedRemoval | PlannedMaking | PlannedAdjustment;

export interface TreePlan {
  /** The directory that the names are in. */
  readonly root: Ino;
  /** Names from `root` to the directory at which the paths of links begin. */
  readonly linksFrom: readonly Name[];
  readonly metadata: PlannedMetadata;
  readonly children: readonly PlannedEntry[];
}
