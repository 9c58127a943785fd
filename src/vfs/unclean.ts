/**
 * After a loss of power: what a file shows whose bytes the disk does not have. Bytes of which some
 * were fsynced stay as they are. Others give way to the bytes before them; where there are none, they
 * cannot be read (`integrity`) until somebody writes the file anew.
 *
 * Invariant: a CID that is not that of the bytes is taken away before anybody reads them by name.
 */
import { type ContentId, type Ino, NO_CONTENT } from '../base/ids.ts';
import type { Verdict } from '../content/content.ts';
import type { ContentRow, InodeRow, Tx } from '../journal/journal.ts';
import type { Caller } from './contract.ts';
import { attributesOf, type Core } from './core.ts';

/** Whether the bytes of a file at rest may not be those its row tells of. */
export function isDoubtful(core: Core, id: ContentId): boolean {
  if (core.doubt === undefined || id === NO_CONTENT) return false;
  const row = core.content.row(id);
  return row !== undefined && row.state !== 'open' && core.doubt.raises(row);
}

/**
 * Looks at an object and does what follows, however many ask. A file that shows it may show another
 * one afterwards, which may be in doubt too.
 * @throws OpError io, no-space.
 */
export async function ascertain(core: Core, id: ContentId): Promise<void> {
  const row = core.content.row(id);
  if (core.doubt === undefined || row === undefined || !isDoubtful(core, id)) return;
  const verdict = await core.doubt.judge(row);
  // Somebody who asked as well was first, or it is gone, or is being written anew.
  if (isDoubtful(core, id)) core.journal.commit((tx) => follow(core, tx, id, verdict));
}

function follow(core: Core, tx: Tx, id: ContentId, verdict: Verdict): void {
  const row = core.content.row(id);
  if (row === undefined) return;
  if (verdict === 'intact') {
    core.content.losses.deny(id);
    return;
  }
  core.inodes.flush();
  const inos = row.refs > 0 ? core.journal.inodes.showing(id) : [];
  const isKept = row.stable !== 0 && verdict !== 'gone';
  if (isKept) keep(core, tx, row, inos);
  const unread = isKept ? [] : inos.filter((ino) => !giveWay(core, tx, ino, id));
  // An object without bytes went when it was let go of.
  if (!isKept && core.content.row(id) !== undefined) core.content.losses.concede(id);
  const paths = inos.map((ino) => core.pathnames.ofInode(ino));
  const fields = { content: id, verdict, paths, unreadable: unread.length };
  const message = isKept ? 'what was written last' : unread.length > 0 ? 'bytes' : 'newest bytes';
  tx.afterCommit(() => core.doubt?.log.error(fields, `a loss of power took ${message} of content`));
}

/** Some of the bytes were fsynced: they stay, with those that were written since and came so far. */
function keep(core: Core, tx: Tx, row: Readonly<ContentRow>, inos: readonly Ino[]): void {
  const size = Math.min(row.size, core.doubt?.bytesOnDisk(row.id) ?? 0);
  core.content.losses.accept(row.id, size);
  for (const ino of inos) show(core, tx, core.inodes.get(ino), row.id, size);
}

/** The file shows what it showed before; whether there was something. */
function giveWay(core: Core, tx: Tx, ino: Ino, id: ContentId): boolean {
  const row = core.inodes.get(ino);
  if (core.content.size(id) === 0) {
    core.content.release(id);
    show(core, tx, row, NO_CONTENT, 0);
    return true;
  }
  const previous = previousOf(core, ino, id);
  if (previous === undefined) return false;
  core.content.retain(previous.id);
  core.content.release(id);
  show(core, tx, row, previous.id, previous.size);
  return true;
}

function show(core: Core, tx: Tx, row: InodeRow, content: ContentId, size: number): void {
  const [{ ino, size: oldSize }, before] = [row, attributesOf(row)];
  row.content = content;
  resize(core, tx, row, size);
  const range = { position: 0, length: size };
  core.record(tx, NOBODY, 'write', { ino, size, oldSize, content, before, ...range });
}

function resize(core: Core, tx: Tx, row: InodeRow, size: number): void {
  const grown = size - row.size;
  core.mounts.charge(row.superblock, 0, grown);
  tx.onRollback(() => core.mounts.charge(row.superblock, 0, -grown));
  row.size = size;
  core.touchBytes(tx, row);
}

/** The object at rest whose bytes a file showed before, lost ones left out. */
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
 * the disk has. Answers false when it is to come to rest as its row has it, to be looked at like all
 * others, because something of the file is known that is better than what is left.
 */
export function takeRest(core: Core, tx: Tx, id: ContentId, ino: Ino): boolean {
  const content = core.content.row(id);
  if (content === undefined || core.doubt?.raises(content) !== true) return true;
  const row = core.journal.inodes.get(ino);
  const size = core.doubt.bytesOnDisk(id);
  if (row === undefined || size === undefined) return size !== undefined;
  if (content.stable === 0 && size < leastOf(core, row)) return false;
  if (content.slot === null && size < content.size) {
    core.content.losses.shorten(id, size);
    resize(core, tx, core.inodes.get(ino), size);
  }
  return true;
}

/**
 * With fewer bytes than this the bytes before are better: what it began with is not there, or what
 * was moved over another file is not whole.
 */
function leastOf(core: Core, { ino, size, content }: InodeRow): number {
  const sessions = core.journal.sessions.all();
  const begun = sessions.find((session) => session.ino === ino)?.oldContent ?? NO_CONTENT;
  if (begun !== NO_CONTENT) return Math.min(size, core.content.row(begun)?.size ?? 0);
  return previousOf(core, ino, content) === undefined ? 0 : size;
}

/** What a loss of power did, nobody did. */
const NOBODY: Caller = {
  uid: 0,
  gid: 0,
  groups: [],
  checked: false,
  actor: () => ({ surface: 'daemon', uid: 0, gid: 0 }),
};
