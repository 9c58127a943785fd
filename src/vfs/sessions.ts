/**
 * Write sessions: what a handle wrote from its first write (or, when the kernel writes by itself, from
 * its open) to its release or fsync, told as one record.
 */
import { NO_CONTENT } from '../base/ids.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { attributesOf, type Core, EMPTY_NAME } from './core.ts';
import type { Before, OpenFile, OpenInode, WriteSession } from './handles.ts';

/**
 * The row of a session that begins now. While others write, what they have not recorded yet came
 * before it too, and the first record of any of them tells of all that.
 */
export function insertSession(
  core: Core,
  tx: Tx,
  file: OpenFile,
  begun: Before & Pick<WriteSession, 'version'>,
): void {
  // Of the opener: pages of a mapping are written back by nobody in particular.
  const actor = core.journal.actors.intern(file.opener.actor());
  const open = core.handles.openInode(file.ino);
  const { oldContent, oldSize, before } = open?.base ?? begun;
  const { id } = core.journal.sessions.insert({
    ino: file.ino,
    actor,
    path: file.path,
    begunS: tx.now.s,
    begunNs: tx.now.ns,
    oldContent,
    oldSize,
    before,
    fh: file.fh,
  });
  const [from, to] = [Number.MAX_SAFE_INTEGER, 0];
  file.session = { id, actor, version: begun.version, from, to };
  if (open !== undefined) changeWriters(tx, open, 1, { oldContent, oldSize, before });
  tx.onRollback(() => {
    file.session = undefined;
  });
}

function changeWriters(tx: Tx, open: OpenInode, by: 1 | -1, base: Before | undefined): void {
  const was = open.base;
  open.writers += by;
  open.base = open.writers > 0 ? base : undefined;
  tx.onRollback(() => {
    open.writers -= by;
    open.base = was;
  });
}

/** Ends the handle's write session with its record; freezes the bytes when nobody writes any more. */
export function endSession(core: Core, file: OpenFile, isRelease: boolean): void {
  const open = core.handles.openInode(file.ino);
  if (open === undefined) return;
  const { session } = file;
  const isLive = core.live.find(file.ino) !== undefined;
  // What was fsynced has its record already, and comes to rest with the last handle.
  const isLast = open.isPrivate && open.count === 1;
  if (session === undefined && !(isRelease && isLast)) return;
  core.journal.commit((tx) => {
    if (session !== undefined && isLive) endDirect(core, tx, file, session, isRelease);
    else if (session !== undefined) recordSession(core, tx, file, session, open);
    if (isLive || !isRelease || open.writers > 0 || !open.isPrivate) return;
    const row = core.inodes.find(file.ino);
    open.isPrivate = false;
    tx.onRollback(() => {
      open.isPrivate = true;
    });
    if (row !== undefined && row.content !== NO_CONTENT) core.content.freeze(row.content);
  });
}

/** A session whose writes nobody told us of: it gets its record if there were any. */
function endDirect(
  core: Core,
  tx: Tx,
  file: OpenFile,
  session: WriteSession,
  isRelease: boolean,
): void {
  const row = core.inodes.find(file.ino);
  const open = core.handles.openInode(file.ino);
  if (row === undefined || open === undefined) return;
  const isChanged = row.version !== session.version;
  if (isChanged) {
    core.inodes.change(tx, row);
    // Which bytes, nobody knows.
    session.from = 0;
    session.to = row.size;
    appendRecord(tx, { file, session, open }, row);
  }
  if (isRelease) dropSession(core, tx, file, session, open);
  if (isChanged) followRecord(core, tx, { file, session, open }, row);
}

function recordSession(
  core: Core,
  tx: Tx,
  file: OpenFile,
  session: WriteSession,
  open: OpenInode,
): void {
  const row = core.inodes.find(file.ino);
  appendRecord(tx, { file, session, open }, row);
  dropSession(core, tx, file, session, open);
  if (row !== undefined) followRecord(core, tx, { file, session, open }, row);
}

interface Recorded {
  readonly file: OpenFile;
  readonly session: WriteSession;
  readonly open: OpenInode;
}

function appendRecord(tx: Tx, { file, session, open }: Recorded, row: InodeRow | undefined): void {
  const { oldContent = NO_CONTENT, oldSize, before } = open.base ?? {};
  tx.record({
    kind: 'write',
    actor: session.actor,
    ino: file.ino,
    parent: 0,
    name: EMPTY_NAME,
    path: file.path,
    size: row?.size,
    oldSize,
    content: row?.content,
    oldContent: oldContent === NO_CONTENT ? undefined : oldContent,
    position: Math.min(session.from, session.to),
    length: Math.max(0, session.to - session.from),
    before,
  });
}

/** What comes now, whoever writes it, follows what has its record, of which no copy was made. */
function followRecord(core: Core, tx: Tx, { session, open }: Recorded, row: InodeRow): void {
  if (open.writers === 0) return;
  const { base } = open;
  const { version } = session;
  const next = { oldContent: NO_CONTENT, oldSize: row.size, before: attributesOf(row) };
  core.journal.sessions.rebase(row.ino, next);
  open.base = next;
  session.version = row.version;
  tx.onRollback(() => {
    open.base = base;
    session.version = version;
  });
}

function dropSession(
  core: Core,
  tx: Tx,
  file: OpenFile,
  session: WriteSession,
  open: OpenInode,
): void {
  core.journal.sessions.delete(session.id);
  file.session = undefined;
  changeWriters(tx, open, -1, open.base);
  tx.onRollback(() => {
    file.session = session;
  });
}
