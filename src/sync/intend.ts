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

/** The row after an attempt that failed. What the store held it may hold still. */
export function failed(row: TargetRow, failure: Failure, nowS: number): TargetRow {
  const attempts = row.attempts + 1;
  const isFinal = FINAL.has(failure);
  const state = isHeld(row) && !isFinal ? row.state : 'failed';
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
