/**
 * The durability ladder: how safe the bytes of a file are. The rungs here are read from the journal;
 * those of stores outside are asked for through a port, which says only what a store has said.
 */
import type { Failure } from '../base/errors.ts';
import { type Ino, NO_CONTENT } from '../base/ids.ts';
import type { Rung } from '../base/rungs.ts';
import type { InodeRow } from '../journal/journal.ts';
import type { Core } from './core.ts';

/** What a store has of a file, or of a directory with all that is in it, as they are now. */
export interface Replica {
  readonly store: string;
  readonly state: 'queued' | 'uploading' | 'stored' | 'pinned' | 'failed';
  /** Second at which the store last said so. */
  readonly checkedS: number | undefined;
  readonly failure: Failure | undefined;
}

/** Whoever knows what stores have. */
export interface Replicas {
  /** Stores that shall have a file before it is called replicated; undefined: none ever is. */
  readonly want: number | undefined;
  /** One for each store that shall have it. */
  of(ino: Ino): readonly Replica[];
}

export interface Durability {
  readonly state: Rung;
  /** Stores that have it, and that shall. */
  readonly have: number;
  readonly want: number;
  readonly replicas: readonly Replica[];
}

const isThere = ({ state }: Replica): boolean => state === 'stored' || state === 'pinned';

/**
 * The highest rung that holds for every byte of a file. Of a directory: that of its own entry or, where a
 * store has all that is in it as it is now, the one that this makes.
 */
export function durabilityOf(core: Core, row: InodeRow): Durability {
  const { replicas } = core;
  return climbed(ownRung(core, row), replicas.of(row.ino), replicas.want);
}

/** From the rung here to the one that stores make of it. */
export function climbed(
  own: Rung,
  replicas: readonly Replica[],
  wanted: number | undefined,
): Durability {
  const have = replicas.filter(isThere).length;
  const want = wanted ?? replicas.length;
  const isPinned = replicas.some(({ state }) => state === 'pinned');
  const outside = isPinned ? 'pinned' : 'stored';
  const state = wanted !== undefined && have >= wanted ? 'replicated' : outside;
  return { state: have === 0 ? own : state, have, want, replicas };
}

/** Of the bytes of a file; of a directory, its own entry. */
function ownRung(core: Core, row: InodeRow): Rung {
  const content = row.content === NO_CONTENT ? undefined : core.journal.contents.get(row.content);
  if (content?.state === 'sealed') return 'local';
  if (content !== undefined && content.stable !== 1) return 'journaled';
  // The bytes are stable, or there are none; so is what is known of them, once its record is.
  const last = core.history.last(row.ino);
  return last === undefined || last.row.seq > core.syncedSeq ? 'journaled' : 'fsynced';
}
