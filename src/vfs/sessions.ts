/**
 * Write sessions: what a handle wrote from its first write (or, when the kernel writes by itself, from
 * its open) to its release or fsync, told as one record.
 */
import { NO_CONTENT } from '../base/ids.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { attributesOf, type Core, EMPTY_NAME } from './core.ts';
import type { OpenFile, OpenInode, WriteSession } from './handles.ts';

/** The row of a session that begins now. */
export function insertSession(
  core: Core,
  tx: Tx,
  file: OpenFile,
  begun: Pick<WriteSession, 'oldContent' | 'oldSize' | 'before' | 'version'>,
): void {
  // Of the opener: pages of a mapping are written back by nobody in particular.
  const actor = core.journal.actors.intern(file.opener.actor());
  const { oldContent, oldSize, before } = begun;
  const { id } = core.journal.sessions.insert({
    ino: file.ino,
    actor,
    path: file.path,
    begunS: tx.now.s,
    begunNs: tx.now.ns,
    oldContent,
    oldSize,
    before,
  });
  const open = core.handles.openInode(file.ino);
  const { version } = begun;
  const [from, to] = [Number.MAX_SAFE_INTEGER, 0];
  file.session = { id, actor, before, oldContent, oldSize, version, from, to };
  if (open !== undefined) open.writers += 1;
  tx.onRollback(() => {
    file.session = undefined;
    if (open !== undefined) open.writers -= 1;
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
    appendRecord(tx, file, session, row);
  }
  if (isChanged || isRelease) dropSession(core, tx, file, session, open);
  if (!isChanged || isRelease) return;
  // What comes now follows what has its record, of which no copy was made.
  const { size: oldSize, version } = row;
  const before = attributesOf(row);
  insertSession(core, tx, file, { oldContent: NO_CONTENT, oldSize, before, version });
}

function recordSession(
  core: Core,
  tx: Tx,
  file: OpenFile,
  session: WriteSession,
  open: OpenInode,
): void {
  appendRecord(tx, file, session, core.inodes.find(file.ino));
  dropSession(core, tx, file, session, open);
}

function appendRecord(
  tx: Tx,
  file: OpenFile,
  session: WriteSession,
  row: InodeRow | undefined,
): void {
  tx.record({
    kind: 'write',
    actor: session.actor,
    ino: file.ino,
    parent: 0,
    name: EMPTY_NAME,
    path: file.path,
    size: row?.size,
    oldSize: session.oldSize,
    content: row?.content,
    oldContent: session.oldContent === NO_CONTENT ? undefined : session.oldContent,
    position: Math.min(session.from, session.to),
    length: Math.max(0, session.to - session.from),
    before: session.before,
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
  open.writers -= 1;
  tx.onRollback(() => {
    file.session = session;
    open.writers += 1;
  });
}
