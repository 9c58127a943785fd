/**
 * Trees of kind `mfs`, which show the mutable tree of the home node: how what changed there comes into
 * them.
 */
import { OpError } from '../base/errors.ts';
import type { PlannedEntry, PlannedRemoval, TreePlan } from '../base/graft.ts';
import type { Ino, Name, SuperblockId } from '../base/ids.ts';
import { announceSince } from './announce.ts';
import type { Caller } from './contract.ts';
import type { Core } from './core.ts';
import { graft } from './graft.ts';

/** One that is mounted. */
export interface MfsMount {
  readonly mountId: string;
  readonly superblock: SuperblockId;
  readonly path: Name;
  readonly root: Ino;
  /** A directory of MFS. */
  readonly source: string;
  readonly readOnly: boolean;
}

/** In bytewise order of their paths. */
export const mfsMounts = ({ mounts }: Core): readonly MfsMount[] =>
  mounts
    .mounts()
    .filter(({ superblock: { kind } }) => kind === 'mfs')
    .map(({ mountId, mountPoint, superblock: { id, root, source, readOnly } }) => ({
      ...{ mountId, superblock: id, path: mountPoint, root, source, readOnly },
    }));

/**
 * Carries out a plan in such a tree: all at one moment.
 * @throws OpError cancelled: it is gone; version-conflict: it is not what the plan was made for, or
 *   somebody writes to what would give way; as `graft`.
 */
export function bringFromMfs(
  core: Core,
  caller: Caller,
  { mountId, path }: Pick<MfsMount, 'mountId' | 'path'>,
  plan: TreePlan,
): void {
  const mounted = core.mounts.mountAt(path);
  if (mounted?.mountId !== mountId) {
    throw new OpError('cancelled', `bring ${path} up to date`, { hint: 'it was unmounted' });
  }
  for (const { seen } of removalsIn(plan.children)) {
    if (!isWrittenTo(core, seen.ino)) continue;
    throw new OpError('version-conflict', `bring ${path} up to date`, { hint: 'it is written to' });
  }
  const { superblock } = mounted;
  const { readOnly } = superblock;
  const told = core.journal.head.seq;
  core.journal.commit((tx) => {
    // Nothing else runs meanwhile: nobody finds it writable who may not write.
    superblock.readOnly = false;
    try {
      graft(core, { ...caller, actor: () => caller.actor(), checked: true }, plan);
    } finally {
      superblock.readOnly = readOnly;
    }
    tx.afterCommit(() => announceSince(core, told));
  });
}

function* removalsIn(entries: readonly PlannedEntry[]): Generator<PlannedRemoval> {
  for (const entry of entries) {
    if (entry.action === 'remove') yield entry;
    if (entry.action === 'make') {
      if (entry.replaces !== undefined) yield* removalsIn([entry.replaces]);
    } else yield* removalsIn(entry.children);
  }
}

/** Whether somebody has it open for writing, or may write to it through a mapping. */
export const isWrittenTo = ({ handles, live }: Core, ino: Ino): boolean =>
  (handles.openInode(ino)?.writers ?? 0) > 0 || live.find(ino)?.isWritable === true;
