/**
 * What is owed to stores, decided: pure functions of rows and times.
 */
import type { Failure } from '../base/errors.ts';
import type { Name } from '../base/ids.ts';
import { SYNC_RETRY_S_MAX } from '../base/limits.ts';
import type { Root, TargetRow } from '../journal/journal.ts';

export type RootKeys = Pick<Root, 'tree' | 'snapshot'>;

export interface Intention {
  readonly path: Name;
  readonly target: string;
  readonly wanted: Root;
  readonly pin: boolean;
  readonly nowS: number;
}

export const isSameRoot = (one: RootKeys, other: RootKeys): boolean =>
  one.tree.equals(other.tree) && one.snapshot.equals(other.snapshot);

const HELD: ReadonlySet<string> = new Set(['stored', 'pinned']);

/** Whether the store said that it has what it shall have. */
export const isHeld = ({ state }: Pick<TargetRow, 'state'>): boolean => HELD.has(state);

/** The row of who has what is wanted already, which includes more records now; undefined: it says so. */
function confirmed(known: TargetRow, wanted: Root): TargetRow | undefined {
  const { held } = known;
  if (held === undefined || wanted.seq <= held.seq) return undefined;
  return { ...known, wanted, held: { ...wanted, pin: held.pin } };
}

/** The row that owes `wanted`; undefined: the one there is does, and is not waiting for anybody. */
export function intended(
  known: TargetRow | undefined,
  { path, target, wanted, pin, nowS }: Intention,
): TargetRow | undefined {
  const isSame = known !== undefined && isSameRoot(known.wanted, wanted) && known.pin === pin;
  if (isSame && isHeld(known) && known.dueS === undefined) return confirmed(known, wanted);
  if (isSame && known.state !== 'failed') return { ...known, wanted, attempts: 0, dueS: nowS };
  return {
    ...{ path, target, wanted, pin, state: 'queued', attempts: 0, dueS: nowS, failure: undefined },
    ...{ held: known?.held, sent: known?.sent ?? [], checkedS: known?.checkedS },
  };
}

/** The pause after so many failures in a row, of one at least. */
export const retryDelayS = (failures: number): number =>
  Math.min(2 ** Math.min(failures - 1, 30), SYNC_RETRY_S_MAX);

/** What time does not mend: tried again only when somebody asks. */
const FINAL: ReadonlySet<Failure> = new Set(['sync-conflict', 'not-configured']);

/** How long the question whether a store still has it may take, in seconds. */
const ASKING_S_MAX = 60;

const ageS = ({ checkedS = Number.NEGATIVE_INFINITY }: Pick<TargetRow, 'checkedS'>, nowS: number) =>
  nowS - checkedS;

/**
 * Whether what the store said it holds counts still: for an interval, and until the question that comes
 * then is answered, or failed.
 */
export function isBelieved(row: TargetRow, { nowS, checkS }: CheckedAt): boolean {
  const { state, held, wanted } = row;
  const isRefuted = state === 'failed' && held !== undefined && isSameRoot(held, wanted);
  return !isRefuted && ageS(row, nowS) < checkS + ASKING_S_MAX;
}

export interface CheckedAt {
  readonly nowS: number;
  /** As `UploadLimits` has it. */
  readonly checkS: number;
}

/** The row after an attempt that failed. What the store held it may hold still, and is believed to for a while. */
export function failed(row: TargetRow, failure: Failure, { nowS, checkS }: CheckedAt): TargetRow {
  const attempts = row.attempts + 1;
  const isFinal = FINAL.has(failure);
  const isStill = isHeld(row) && !isFinal && ageS(row, nowS) < checkS;
  const state = isStill ? row.state : 'failed';
  return {
    ...row,
    state,
    attempts,
    failure,
    dueS: isFinal ? undefined : nowS + retryDelayS(attempts),
  };
}

/** Second at which the row is to be seen to next: owed, or to be checked; undefined: never. */
export function dueAt({ dueS, checkedS, ...row }: TargetRow, checkS: number): number | undefined {
  if (dueS !== undefined) return dueS;
  return isHeld(row) && checkedS !== undefined ? checkedS + checkS : undefined;
}
