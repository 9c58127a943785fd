/**
 * Copies of what a name means: trees that nobody may write to but who brings what was published
 * under it. A copy follows its name as long as it is mounted, and its rows say all about that.
 */
import { OpError } from '../base/errors.ts';
import type { TreePlan } from '../base/graft.ts';
import type { Ino, Name } from '../base/ids.ts';
import { announceSince } from './announce.ts';
import type { Caller } from './contract.ts';
import type { Core } from './core.ts';
import { graft } from './graft.ts';
import { isFollowing } from './mounts.ts';

/** One copy. */
export interface Following {
  readonly mountId: string;
  readonly path: Name;
  readonly root: Ino;
  /** `/ipns/<name>…` */
  readonly source: string;
  /** What it shows, as text; absent: nothing yet. */
  readonly shown: string | undefined;
  /** Seconds between two looks at the name; absent: nobody said. */
  readonly intervalS: number | undefined;
}

/** In bytewise order of their paths. */
export const followings = ({ mounts }: Core): readonly Following[] =>
  mounts
    .mounts()
    .filter(({ superblock }) => isFollowing(superblock))
    .map(({ mountId, mountPoint, superblock: { root, source, options } }) => {
      const { shown, refresh_s: intervalS } = options as {
        readonly shown?: string;
        readonly refresh_s?: number;
      };
      return { mountId, path: mountPoint, root, source, shown, intervalS };
    });

/**
 * Carries out a plan in a copy, which shows `shown` from then on: all at one moment.
 * @throws OpError cancelled: the copy is gone; as `graft`.
 */
export function bringUpToDate(
  core: Core,
  caller: Caller,
  { mountId, path }: Pick<Following, 'mountId' | 'path'>,
  { plan, shown }: { readonly plan: TreePlan; readonly shown: string },
): void {
  const mounted = core.mounts.mountAt(path);
  if (mounted?.mountId !== mountId) {
    throw new OpError('cancelled', `bring ${path} up to date`, { hint: 'it was unmounted' });
  }
  const { superblock } = mounted;
  const told = core.journal.head.seq;
  core.journal.commit((tx) => {
    // Nothing else runs meanwhile: nobody finds it writable.
    superblock.readOnly = false;
    try {
      graft(core, asChecked(caller), plan);
    } finally {
      superblock.readOnly = true;
    }
    const { options } = superblock;
    tx.onRollback(() => {
      superblock.options = options;
    });
    superblock.options = { ...options, shown };
    core.journal.superblocks.update(superblock);
    tx.afterCommit(() => announceSince(core, told));
  });
}

/** Fills a new copy, while it is mounted. @throws OpError as `graft`. */
export function fillCopy(core: Core, caller: Caller, root: Ino, plan: TreePlan): void {
  graft(core, asChecked(caller), { ...plan, root });
}

/** The modes of what was published say who may write there; they are not for who brings it. */
const asChecked = (caller: Caller): Caller => ({
  ...caller,
  actor: () => caller.actor(),
  checked: true,
});
