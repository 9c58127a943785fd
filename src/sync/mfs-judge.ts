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
  const { to, isDone } = row.next;
  if (isSameKey(to?.cid, there)) return to;
  if (isSameKey(row.agreed?.cid, there)) return row.agreed;
  // Somebody changed it: behind us if the node had taken what we brought.
  return isDone ? to : row.agreed;
}

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

const isSameKey = (one: Buffer | undefined, other: Buffer | undefined): boolean =>
  one === undefined || other === undefined ? one === other : one.equals(other);

/** `notes.txt` → `notes.conflict-3k5vtzl4.txt`, by the CID of what is kept under it (TOOLS.md §8). */
export function conflictName(name: Name, cid: string): Name {
  const dot = name.lastIndexOf('.');
  const [stem, extension] = dot > 0 ? [name.slice(0, dot), name.slice(dot)] : [name, ''];
  return `${stem}.conflict-${cid.slice(-8)}${extension}` as Name;
}

/** The row of the root of a tree. */
export const rootRow = (root: Ino, cid: Buffer): SeenRow => ({
  parent: root,
  name: '' as Name,
  agreed: { cid, ino: root, version: 0 },
  next: undefined,
});
