/**
 * After a loss of power: what a file shows whose bytes the disk does not have. Bytes of which some
 * were fsynced stay, with what came of those written since. Others give way to the bytes before them, which may have
 * been fsynced; where there are none, the file shows what the disk has.
 *
 * Invariant: a CID that is not that of the bytes is taken away before anybody reads them by name.
 */
import { type ContentId, type Ino, NO_CONTENT } from '../base/ids.ts';
import type { Verdict } from '../content/content.ts';
import type { ContentRow, InodeRow, Tx } from '../journal/journal.ts';
import type { Caller } from './contract.ts';
import { attributesOf, type Core } from './core.ts';
import { isFull } from './live.ts';

/** Whether the bytes of a file at rest may not be those its row tells of. */
export function isDoubtful(core: Core, id: ContentId): boolean {
  if (core.doubt === undefined || id === NO_CONTENT) return false;
  const row = core.content.row(id);
  return row !== undefined && row.state !== 'open' && core.doubt.raises(row);
}

/**
 * Looks at an object and does what follows, however many ask. A file that shows it may show another
 * one afterwards, which may be in doubt too. The kernel is told of it, which takes a while (`settled`).
 * @throws OpError io, no-space.
 */
export async function ascertain(core: Core, id: ContentId): Promise<void> {
  const { doubt } = core;
  if (doubt === undefined || !isDoubtful(core, id)) return;
  const verdict = await doubt.judge(id);
  // Somebody who asked as well was first, or it is gone, or is being written anew.
  if (verdict === undefined || !isDoubtful(core, id)) return;
  try {
    core.journal.commitFreeing((tx) => follow(core, tx, id, verdict));
  } catch (error) {
    // There is no room to say that nothing is wrong with it: after another boot somebody looks again.
    if (verdict !== 'intact' || !isFull(error)) throw error;
    doubt.settle(id);
  }
}

function follow(core: Core, tx: Tx, id: ContentId, verdict: Verdict): void {
  const row = core.content.row(id);
  if (row === undefined) return;
  tx.afterCommit(() => core.doubt?.settle(id));
  if (verdict === 'unreadable') return;
  if (verdict === 'intact') {
    core.content.losses.deny(id);
    return;
  }
  core.inodes.flush();
  const inos = row.refs > 0 ? core.journal.inodes.showing(id) : [];
  const size = Math.min(row.size, core.doubt?.bytesOnDisk(row) ?? 0);
  const isKept = row.stable !== 0 && verdict !== 'gone';
  for (const ino of inos)
    if (isKept || !giveWay(core, tx, ino, id)) shorten(core, tx, ino, id, size);
  const left = core.content.row(id);
  // Of what was fsynced the rest is wanted: a newer file may have to give way to it.
  if (left?.refs === 0 && (!isKept || size === 0)) core.content.discard(id);
  else if (left !== undefined) core.content.losses.accept(id, size);
  tell(core, tx, id, inos);
}

/** The file shows what it showed before `id`; whether there was something. */
function giveWay(core: Core, tx: Tx, ino: Ino, id: ContentId, known?: ContentId): boolean {
  const previous = known === undefined ? previousOf(core, ino, id) : core.content.row(known);
  if (previous === undefined) return false;
  core.content.retain(previous.id);
  core.content.release(id);
  show(core, tx, ino, previous.id, previous.size);
  return true;
}

/** The file shows so many of the bytes. */
function shorten(core: Core, tx: Tx, ino: Ino, id: ContentId, size: number): void {
  if (size === 0) core.content.release(id);
  show(core, tx, ino, size === 0 ? NO_CONTENT : id, size);
}

function show(core: Core, tx: Tx, ino: Ino, content: ContentId, size: number): void {
  const row = core.inodes.get(ino);
  const [oldSize, before] = [row.size, attributesOf(row)];
  row.content = content;
  resize(core, tx, row, size);
  core.record(tx, NOBODY, 'write', {
    ino,
    size,
    oldSize,
    content,
    before,
    position: 0,
    length: size,
  });
  tx.afterCommit(() => core.invalidator.inode(ino, true));
}

function resize(core: Core, tx: Tx, row: InodeRow, size: number): void {
  const grown = size - row.size;
  core.mounts.charge(row.superblock, 0, grown);
  tx.onRollback(() => core.mounts.charge(row.superblock, 0, -grown));
  row.size = size;
  core.touchBytes(tx, row);
}

function tell(core: Core, tx: Tx, content: ContentId, inos: readonly Ino[]): void {
  if (inos.length === 0) return;
  const paths = inos.map((ino) => core.pathnames.ofInode(ino));
  const message = 'a loss of power took what was written last to a file';
  tx.afterCommit(() => core.doubt?.log.error({ content, paths }, message));
}

/** The object at rest whose bytes a file showed before. */
function previousOf(core: Core, ino: Ino, id: ContentId): Readonly<ContentRow> | undefined {
  for (const before of core.history.before(ino, id)) {
    const row = before === id ? undefined : core.content.row(before);
    if (row === undefined || row.state === 'open') continue;
    // At rest without a CID, and not to be hashed: it is lost.
    if (row.state !== 'sealed' || row.cid !== null) return row;
  }
  return undefined;
}

/**
 * Of an object that was being written when the power went, before it comes to rest: as many bytes as
 * the disk has. Answers false when there are none, or the bytes before are better: the file shows those then, and the
 * object is gone.
 */
export function takeRest(core: Core, tx: Tx, id: ContentId, ino: Ino): boolean {
  const content = core.content.row(id);
  if (content === undefined || core.doubt?.raises(content) !== true) return true;
  const size = core.doubt.bytesOnDisk(content);
  const row = core.inodes.get(ino);
  const sessions = core.journal.sessions.all().filter((session) => session.ino === ino);
  const begun = core.content.row(sessions[0]?.oldContent ?? NO_CONTENT);
  const previous = begun ?? previousOf(core, ino, id);
  // With fewer bytes it is not even what it began with.
  const least = begun === undefined ? row.size : Math.min(row.size, begun.size);
  const isBetter = content.stable !== 0 || previous === undefined || (size ?? 0) >= least;
  if (size !== undefined && isBetter) {
    if (content.slot === null && size < content.size) {
      core.content.losses.shorten(id, size);
      resize(core, tx, row, size);
    }
    return true;
  }
  // Their records would tell of bytes that are not there.
  for (const session of sessions) core.journal.sessions.delete(session.id);
  if (!giveWay(core, tx, ino, id, previous?.id)) shorten(core, tx, ino, id, 0);
  if (core.content.row(id) !== undefined) core.content.discard(id);
  tell(core, tx, id, [ino]);
  return false;
}

/** What a loss of power did, nobody did. */
const NOBODY: Caller = {
  uid: 0,
  gid: 0,
  groups: [],
  checked: false,
  actor: () => ({ surface: 'daemon', uid: 0, gid: 0 }),
};
