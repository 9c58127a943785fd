/**
 * Going on where a killed daemon was: handles the kernel still has, files it reads and writes past
 * us, write sessions.
 */
import { OpError } from '../base/errors.ts';
import type { ContentId, Fh, Ino, Name } from '../base/ids.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { CID_INO_FROM } from './cidtree.ts';
import type { Caller } from './contract.ts';
import { CONTROL_INO_FROM } from './control.ts';
import type { Core } from './core.ts';
import { compareTimes, type Live } from './live.ts';
import type { SavedFile } from './table-records.ts';

/** A handle that the kernel still has. */
export interface Inherited {
  readonly fh: Fh;
  readonly ino: Ino;
  readonly flags: number;
  readonly opener: Caller;
  /** The number by which the kernel knows the file that it reads and writes itself. */
  readonly backing: number | undefined;
  /** Whether it was taken from who holds it: so it stays. */
  readonly isRevoked: boolean;
}

/** Of a handle that is in no managed tree. */
export const fixedPathOf = (ino: Ino): Name => (ino < CID_INO_FROM ? '/.kitfs' : '/ipfs') as Name;

/** More than anybody has open without a name. */
const ORPHANS_MAX = 10_000_000;

/** The handles are open again, as far as there is something behind them. */
export function adoptHandles(core: Core, inherited: readonly Inherited[]): void {
  core.live.stalePages.distrust();
  for (const held of inherited) {
    const isManaged = held.ino < CONTROL_INO_FROM;
    const isGone = isManaged && core.inodes.find(held.ino) === undefined;
    if (isGone || held.isRevoked) {
      core.handles.disown(held.fh);
      continue;
    }
    const path = isManaged ? core.pathnames.ofInode(held.ino) : fixedPathOf(held.ino);
    const file = core.handles.adopt({ ...held, path });
    const open = core.handles.openInode(file.ino);
    const content = isManaged ? core.content.row(core.inodes.get(held.ino).content) : undefined;
    if (open !== undefined) open.isPrivate = content?.state === 'open';
  }
}

/**
 * The file whose bytes lie in an open object is written past us again. `saved` is what the disk said
 * when its row was written; without it every write that came later than the row counts as one.
 */
export function revive(core: Core, tx: Tx, row: InodeRow, saved: SavedFile | undefined): Live {
  const now = core.content.direct.sense(row.content);
  // Nobody has it open: then somebody has it mapped. For the others, `resume` knows.
  const isMappable = !core.handles.isOpen(row.ino);
  const given = { isWritable: true, isMappable, isNew: false };
  const live = core.live.add(tx, row, given, saved ?? now);
  live.isChanged = true;
  core.inodes.change(tx, row);
  if (saved !== undefined) {
    const { shown } = saved;
    // What somebody may have seen though it was not written is neither taken back nor moved.
    const isUnwritten = shown !== undefined && shown.version > row.version;
    if (isUnwritten) {
      row.version = shown.version;
      [row.ctimeS, row.ctimeNs] = [shown.s, shown.ns];
    }
    core.live.sense(row, isUnwritten ? shown : undefined);
    return live;
  }
  const known = { s: row.mtimeS, ns: row.mtimeNs };
  const isLater = compareTimes({ s: now.mtimeS, ns: now.mtimeNs }, known) > 0;
  if (now.size !== row.size || isLater) core.live.takeOver(row);
  return live;
}

/**
 * Files that the kernel only reads itself are live again too, all have the number the kernel knows
 * them by, and sessions of open handles go on.
 * @returns the ids of these sessions.
 */
export function resume(core: Core, saved: ReadonlyMap<Ino, SavedFile>): ReadonlySet<number> {
  for (const file of core.handles.all()) {
    if (file.backing === undefined) continue;
    const live = core.live.find(file.ino) ?? reviveReader(core, file.ino, saved);
    if (live !== undefined) core.live.adopt(live, file);
  }
  const resumed = new Set<number>();
  for (const session of core.journal.sessions.all()) {
    const { id, ino, actor, fh, path, before, oldContent, oldSize } = session;
    const file = core.handles.find(fh);
    const open = core.handles.openInode(ino);
    if (file?.ino !== ino || open === undefined) continue;
    const version = typeof before['version'] === 'number' ? before['version'] : 0;
    // By which it was opened, whatever it is called now.
    file.path = path;
    // Which bytes, nobody knows any more.
    file.session = { id, actor, version, from: 0, to: core.inodes.get(ino).size };
    open.writers += 1;
    open.base = { before, oldContent, oldSize };
    resumed.add(id);
  }
  return resumed;
}

function reviveReader(core: Core, ino: Ino, saved: ReadonlyMap<Ino, SavedFile>): Live | undefined {
  const row = core.inodes.get(ino);
  const given = { isWritable: false, isMappable: false, isNew: false };
  try {
    const now = core.content.direct.senseAtRest(row.content);
    const live = core.live.add(undefined, row, given, saved.get(ino) ?? now);
    core.live.sense(row);
    return live;
  } catch (error) {
    // The disk lost it: who reads it through the kernel goes on, who asks here is told.
    if (error instanceof OpError) return undefined;
    throw error;
  }
}

/** Nobody knows which of them the kernel still holds: it will say so, or be asked. */
export function keepOrphans(core: Core): number {
  for (const { ino } of core.journal.inodes.orphans(ORPHANS_MAX)) core.orphans.add(ino);
  return 0;
}

/** Which inodes show the content that the kernel reads and writes itself. */
export function shownBy(core: Core, saved: ReadonlyMap<Ino, SavedFile>): Map<ContentId, Ino> {
  const sessions = core.journal.sessions.all().map(({ ino }) => ino);
  const opened = [...core.handles.all()].map(({ ino }) => ino);
  const inos = new Map<ContentId, Ino>();
  for (const ino of [...sessions, ...saved.keys(), ...opened]) {
    if (ino >= CONTROL_INO_FROM) continue;
    const row = core.inodes.find(ino);
    if (row !== undefined) inos.set(row.content, ino);
  }
  return inos;
}
