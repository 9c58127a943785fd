/**
 * Access times by the rule of `relatime` (mount(8)): reading moves one that is not later than the
 * last change, or a day old. They are no operations: nothing is recorded, and they are written with
 * the next transaction, or by and by (`lazytime`); a kill may lose the newest. The kernel knows of those it
 * causes; tools read with O_NOATIME.
 */
import type { Instant } from '../base/clock.ts';
import type { InodeRow } from '../journal/journal.ts';
import type { Core } from './core.ts';

const DAY_S = 24 * 60 * 60;

/** Whether reading now would move the access time. */
export function isReadDue(row: InodeRow, now: Instant): boolean {
  const { atimeS, atimeNs } = row;
  const isAfter = (s: number, ns: number) => atimeS > s || (atimeS === s && atimeNs > ns);
  if (!isAfter(row.mtimeS, row.mtimeNs) || !isAfter(row.ctimeS, row.ctimeNs)) return true;
  return now.s - atimeS >= DAY_S;
}

/** The file, directory or link was read. */
export function markRead(core: Core, row: InodeRow): void {
  const now = core.clock.now();
  if (!isReadDue(row, now) || core.superblockOf(row).readOnly) return;
  row.atimeS = now.s;
  row.atimeNs = now.ns;
  core.inodes.read(row);
}
