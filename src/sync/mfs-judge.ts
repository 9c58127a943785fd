/**
 * One name of a tree of kind `mfs`, judged: which side changed since the two last agreed. Pure.
 *
 * A node that is killed may come back to what it had before a change it acknowledged (Kubo does, for
 * a third of a second). So what was brought there counts as agreed only as long as it is seen there,
 * and what was there before it means that it is to be brought again, not that somebody took it back.
 */
import type { Ino, Name } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import type { InodeRow, SeenRow, SeenState } from '../journal/journal.ts';

export interface Judgement {
  /** What both had last; undefined: nothing, or nobody knows. */
  readonly base: SeenState | undefined;
  readonly isChangedThere: boolean;
  readonly isChangedHere: boolean;
  /** What is under way was seen to be there; it may still be lost. */
  readonly isBrought: boolean;
}

type Here = Pick<InodeRow, 'ino' | 'version' | 'mode'>;

/** `there`: block key of what the node has under the name. */
export function judge(
  row: SeenRow | undefined,
  here: Here | undefined,
  there: Buffer | undefined,
): Judgement {
  const base = baseOf(row, there);
  return {
    base,
    isChangedThere: !isSameKey(base?.cid, there),
    isChangedHere: !isState(base, here),
    isBrought: row?.next !== undefined && isSameKey(row.next.to?.cid, there),
  };
}

function baseOf(row: SeenRow | undefined, there: Buffer | undefined): SeenState | undefined {
  if (row?.next === undefined) return row?.agreed;
  const { agreed, former, next } = row;
  if (isSameKey(next.to?.cid, there)) return next.to;
  if (isSameKey(agreed?.cid, there)) return agreed;
  if (former.some((key) => isSameKey(key, there))) return unlike(there);
  // Somebody changed it: behind us if the node had taken what we brought.
  return next.isDone ? next.to : agreed;
}

/** What is known to be there, and is the same as nothing here. */
export const unlike = (cid: Buffer | undefined): SeenState | undefined =>
  cid && { cid, ino: 0 as Ino, version: -1 };

/** Former states that are remembered: the node may come back to those of its last third of a second. */
const FORMER_MAX = 8;

/** The row of a name that is brought, or is to be. */
export function rowToward(
  { parent, name }: Pick<SeenRow, 'parent' | 'name'>,
  row: SeenRow | undefined,
  next: Pick<NonNullable<SeenRow['next']>, 'isDone' | 'to'>,
): SeenRow {
  const { agreed, former = [], next: before } = row ?? { agreed: undefined };
  const passed = before?.isDone === true ? [...former, before.to?.cid] : former;
  const went = next.to === undefined ? (lastOf(row)?.ino ?? 0) : 0;
  return { parent, name, agreed, former: passed.slice(-FORMER_MAX), next: { ...next, went } };
}

/** The row of a name of which nothing is under way. */
export const settledRow = (
  { parent, name }: Pick<SeenRow, 'parent' | 'name'>,
  agreed: SeenState | undefined,
): SeenRow => ({ parent, name, agreed, former: [], next: undefined });

/** What is to be compared with before the node was asked. */
export const lastOf = (row: SeenRow | undefined): SeenState | undefined =>
  row?.next?.isDone === true ? row.next.to : row?.agreed;

/** Whether the file here is the one of that state, with those bytes. */
export const isState = (state: SeenState | undefined, here: Here | undefined): boolean =>
  state === undefined || here === undefined
    ? state === here
    : state.ino === here.ino && state.version === versionOf(here);

/** Of a directory only its number counts: what is in it is looked at name by name. */
const versionOf = ({ mode, version }: Here): number => (isDirectory(mode) ? 0 : version);

export const stateOf = (cid: Buffer, here: Here): SeenState => ({
  cid,
  ino: here.ino,
  version: versionOf(here),
});

export const isSameKey = (one: Buffer | undefined, other: Buffer | undefined): boolean =>
  one === undefined || other === undefined ? one === other : one.equals(other);

/** The row of the root of a tree. */
export const rootRow = (root: Ino, cid: Buffer): SeenRow =>
  settledRow({ parent: root, name: '' as Name }, { cid, ino: root, version: 0 });
