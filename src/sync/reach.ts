/**
 * Why a file cannot come to a rung as things are set up, however long one waits. What is merely late
 * (a store that does not answer, a tree that has not rested yet) is no reason.
 */
import type { Ino } from '../base/ids.ts';
import { isRegular } from '../base/posix.ts';
import { isAtLeast, type Rung } from '../base/rungs.ts';
import type { Journal, SuperblockRow, TargetRow } from '../journal/journal.ts';
import type { Background } from './background.ts';
import type { Ladder } from './ladder.ts';
import { waysUp } from './since.ts';

export interface ReachPorts {
  readonly journal: Journal;
  readonly background: Pick<Background, 'publishes'>;
  readonly ladder: Pick<Ladder, 'want' | 'holding'>;
  /** Stores that are configured. */
  readonly stores: readonly string[];
}

/** undefined: there is none. */
export function hindranceOf(ports: ReachPorts, ino: Ino, rung: Rung): string | undefined {
  const { journal } = ports;
  const row = journal.inodes.get(ino);
  if (!isAtLeast(rung, 'stored')) {
    const hasBytes = row === undefined || (isRegular(row.mode) && row.size > 0);
    return rung === 'local' && !hasBytes ? 'it has no bytes to be hashed' : undefined;
  }
  const tree = journal.superblocks.all().find(({ id }) => id === row?.superblock);
  if (tree?.kind !== 'ipfs' || tree.volatile) return 'its tree is one that is brought to no store';
  return hindranceOfStores(ports, rung) ?? hindranceOfTree(ports, ino, rung, tree);
}

function hindranceOfStores({ stores, ladder }: ReachPorts, rung: Rung): string | undefined {
  if (stores.length === 0) return 'no store is configured: see ipfs.kubo.api';
  if (rung !== 'replicated') return undefined;
  const { want } = ladder;
  if (want === undefined) return 'nobody says how many stores that takes: see sync.want';
  return want > stores.length ? `sync.want is ${want}, of ${stores.length} stores` : undefined;
}

function hindranceOfTree(
  { journal, background, ladder, stores }: ReachPorts,
  ino: Ino,
  rung: Rung,
  tree: SuperblockRow,
): string | undefined {
  const rows = journal.targets.all().filter(({ target, wanted }) => {
    return stores.includes(target) && waysUp(journal, ino, wanted.ino).length > 0;
  });
  const coming = rows.filter(({ dueS }) => dueS !== undefined);
  const refusing = rows.find(isRefused);
  if (coming.length === 0 && refusing !== undefined) {
    return `${refusing.target} has something else in its place: see kitfs status`;
  }
  if (background.publishes(tree)) return undefined;
  const held = ladder.holding(ino);
  if (coming.length === 0 && held === undefined) {
    return 'its tree is published only when somebody asks: kitfs sync';
  }
  const isPinned = held?.held?.pin === true || coming.some(({ pin }) => pin);
  return rung === 'stored' || isPinned ? undefined : 'it was published without a pin: kitfs sync';
}

/** Time does not mend it. */
const isRefused = ({ state, dueS }: TargetRow): boolean => state === 'failed' && dueS === undefined;
