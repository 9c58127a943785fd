/**
 * The bytes of managed files: read, write, truncate, fallocate, lseek, copy_file_range; and write
 * sessions, from a handle's first write to its release or fsync.
 *
 * Invariants: the first change of a file nobody is writing makes a private content object, so that
 * the bytes before stay for history; several writers of one inode share that object; it is frozen
 * when the last of them ends. A file's size is in its row in the same transaction as its bytes.
 */
import { OpError } from '../base/errors.ts';
import { type ContentId, type Fh, type Ino, NO_CONTENT } from '../base/ids.ts';
import { COPY_ON_MAIN_BYTES_MAX, FILE_BYTES_MAX } from '../base/limits.ts';
import {
  isDirectory,
  O_ACCMODE,
  O_APPEND,
  O_NOATIME,
  O_WRONLY,
  S_ISGID,
  S_ISUID,
  writes,
} from '../base/posix.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { markRead } from './access-times.ts';
import type { AllocateFlags, Caller } from './contract.ts';
import { attributesOf, type Core } from './core.ts';
import { isAlone, keptBefore, upgradeHere } from './direct.ts';
import type { OpenFile } from './handles.ts';
import { isFull } from './live.ts';
import { insertSession } from './sessions.ts';
import { clearCapability } from './xattr.ts';

export function read(
  core: Core,
  file: OpenFile,
  into: Buffer,
  offset: number,
  length: number,
  position: number,
): number {
  if ((file.flags & O_ACCMODE) === O_WRONLY) throw new OpError('bad-handle', 'read');
  const row = core.inodes.get(file.ino);
  if (isDirectory(row.mode)) throw new OpError('is-directory', 'read');
  const got = readInode(core, row, into, offset, length, position);
  if ((file.flags & O_NOATIME) === 0) markRead(core, row);
  return got;
}

/** Bytes of an inode without a handle; holes and space never written read as zeros. */
function readInode(
  core: Core,
  row: InodeRow,
  into: Buffer,
  offset: number,
  length: number,
  position: number,
): number {
  const wanted = Math.min(length, row.size - position);
  if (wanted <= 0) return 0;
  const got =
    row.content === NO_CONTENT ? 0 : core.content.read(row.content, into, offset, wanted, position);
  into.fill(0, offset + got, offset + wanted);
  return wanted;
}

export function write(
  core: Core,
  caller: Caller,
  file: OpenFile,
  bytes: Buffer,
  position: number,
  killSetId: boolean,
  appends = (file.flags & O_APPEND) !== 0,
): void {
  if (!writes(file.flags)) throw new OpError('bad-handle', 'write');
  const row = core.inodes.get(file.ino);
  core.demandWritable(row, 'write');
  // write(2): nothing written is nothing changed, not even the size when it is behind the end.
  if (bytes.length === 0) return;
  const from = appends ? row.size : position;
  const to = from + bytes.length;
  if (to > FILE_BYTES_MAX) throw new OpError('file-too-large', 'write');
  core.mounts.demandRoom(row.superblock, 0, to - row.size, 'write');
  core.journal.commit((tx) => {
    beginSession(core, tx, file, row);
    core.content.write(row.content, bytes, from);
    core.live.restamp(row.ino);
    extendRange(file, from, to);
    if (to > row.size) resize(core, tx, row, to);
    core.touchBytes(tx, row);
    clearCapability(core, tx, row, caller);
    if (killSetId) clearSetId(core, tx, row, caller);
    core.announceInode(tx, caller, row.ino, true);
  });
}

/**
 * Pages that a mapping changed, written back by the kernel. They never lengthen the file, and may
 * come too late, when it was cut since: nothing holds them back from an OPEN with O_TRUNC
 * (fs/fuse/file.c, fuse_open).
 */
export function writePages(
  core: Core,
  caller: Caller,
  file: OpenFile,
  bytes: Buffer,
  position: number,
): void {
  const row = core.inodes.get(file.ino);
  const kept = bytes.subarray(0, Math.max(0, row.size - position));
  core.journal.commit((tx) => {
    write(core, caller, file, kept, position, false, false);
    announceTimes(core, tx, caller, row);
  });
}

/**
 * Tells the kernel of new times after a change of its own in which the size stays: it does not count
 * that as a change of attributes (fuse_file_fallocate, fuse_writepage_end), and would take an answer
 * to somebody's GETATTR from before it, when that is handled late, for the newest. So it is told
 * before it has the answer to this: else a time that was seen could go back until it is.
 */
function announceTimes(core: Core, tx: Tx, caller: Caller, row: InodeRow): void {
  if (caller.checked) tx.afterCommit(() => core.invalidator.uncounted(row.ino));
}

function extendRange(file: OpenFile, from: number, to: number): void {
  const { session } = file;
  if (session === undefined) return;
  session.from = Math.min(session.from, from);
  session.to = Math.max(session.to, to);
}

function resize(core: Core, tx: Tx, row: InodeRow, size: number): void {
  const grown = size - row.size;
  core.mounts.charge(row.superblock, 0, grown);
  tx.onRollback(() => core.mounts.charge(row.superblock, 0, -grown));
  row.size = size;
}

/** A write by an ordinary user takes set-id bits away (inode(7)); recorded as the chmod it is. */
export function clearSetId(core: Core, tx: Tx, row: InodeRow, caller: Caller): void {
  const drop = (row.mode & 0o010) !== 0 ? S_ISUID | S_ISGID : S_ISUID;
  if ((row.mode & drop) === 0) return;
  const oldMode = row.mode;
  row.mode &= ~drop;
  core.touchChange(tx, row);
  core.record(tx, caller, 'chmod', { ino: row.ino, mode: row.mode, oldMode });
}

/**
 * Gives the inode a content object that may be written in place. Answers the object with the bytes
 * before, or NO_CONTENT when there were none or they are not kept. With `mayReopen` a sealed object
 * that is too large to copy is itself opened again: only for a change of size, which touches no
 * byte before it is committed.
 */
export function makePrivate(core: Core, tx: Tx, row: InodeRow, mayReopen = false): ContentId {
  const open = core.handles.openInode(row.ino);
  const live = core.live.find(row.ino);
  if (live !== undefined) return live.isWritable ? keptBefore(live) : upgradeHere(core, tx, live);
  if (open?.isPrivate === true && row.content !== NO_CONTENT) return NO_CONTENT;
  const old = row.content;
  if (old === NO_CONTENT) {
    const superblock = core.superblockOf(row);
    row.content = core.content.create(superblock.volatile ? 'memory' : 'local');
    core.content.retain(row.content);
  } else {
    const fork = forkOf(core, row, mayReopen);
    if (fork === undefined) {
      core.reopen(old);
    } else {
      row.content = fork;
      core.content.retain(fork);
      core.content.release(old);
    }
  }
  core.inodes.change(tx, row);
  if (open !== undefined) {
    const was = open.isPrivate;
    open.isPrivate = true;
    tx.onRollback(() => {
      open.isPrivate = was;
    });
  }
  return row.content === old ? NO_CONTENT : old;
}

/**
 * Whether a handle would write the bytes in place: they are too large for a copy, or were written a
 * moment ago and are not sealed yet, so that a file written again and again keeps one copy of its
 * old bytes and not one for every open.
 */
export function isWrittenInPlace(core: Core, row: InodeRow): boolean {
  if (row.content === NO_CONTENT || core.handles.openInode(row.ino)?.isPrivate === true) {
    return false;
  }
  const content = core.content.row(row.content);
  if (content?.place !== 'file' || !isAlone(core, row)) return false;
  return content.state === 'frozen' || !core.content.canFork(row.content);
}

/**
 * For such bytes, at the open: the object is opened again in a transaction that is committed before
 * the first of them changes, so that a kill never leaves a CID that is not true.
 */
export function openInPlace(core: Core, tx: Tx, row: InodeRow): void {
  const open = core.handles.openInode(row.ino);
  if (open === undefined) return;
  core.reopen(row.content);
  open.isPrivate = true;
  tx.onRollback(() => {
    open.isPrivate = false;
  });
}

/** A copy to write to; undefined when the object itself may be changed. */
function forkOf(core: Core, row: InodeRow, mayReopen: boolean): ContentId | undefined {
  const { volatile } = core.superblockOf(row);
  if (isAlone(core, row)) {
    // A tree in memory keeps no old bytes.
    const isReopened = volatile || (mayReopen && !core.content.canFork(row.content));
    if (isReopened) return undefined;
  }
  let fork: ContentId | undefined;
  try {
    fork = core.content.fork(row.content);
  } catch (error) {
    // Without space for the bytes before, they are not kept.
    if (mayReopen && isAlone(core, row) && isFull(error)) return undefined;
    throw error;
  }
  if (fork !== undefined) return fork;
  const whole = core.content.create(volatile ? 'memory' : 'local');
  core.content.losses.noteCopy(whole);
  const size = core.content.size(row.content);
  for (let at = 0; at < size; ) {
    const data = core.content.seek(row.content, at, 'data') ?? size;
    const hole = data < size ? (core.content.seek(row.content, data, 'hole') ?? size) : size;
    for (at = data; at < hole; ) {
      at += core.content.copy(row.content, at, whole, at, Math.min(COPY_BYTES_MAX, hole - at));
    }
  }
  core.content.truncate(whole, size);
  return whole;
}

/** Begins the handle's write session unless it has one. */
function beginSession(core: Core, tx: Tx, file: OpenFile, row: InodeRow): void {
  if (file.session !== undefined && row.content !== NO_CONTENT) return;
  const before = attributesOf(row);
  const oldSize = row.size;
  const oldContent = makePrivate(core, tx, row);
  if (file.session !== undefined) return;
  insertSession(core, tx, file, { oldContent, oldSize, before, version: row.version });
}

/** Inside a transaction; permission and limits were checked. */
export function truncate(
  core: Core,
  tx: Tx,
  caller: Caller,
  row: InodeRow,
  size: number,
  fh?: Fh,
): void {
  const oldSize = row.size;
  const before = attributesOf(row);
  const file = fh === undefined ? undefined : core.handles.find(fh);
  const staysOpen = file !== undefined && writes(file.flags) && size > COPY_ON_MAIN_BYTES_MAX;
  const oldContent = cut(core, tx, row, size, staysOpen);
  core.touchBytes(tx, row);
  clearCapability(core, tx, row, caller);
  core.record(tx, caller, 'truncate', {
    ino: row.ino,
    path: file?.path ?? core.pathnames.ofInode(row.ino),
    size,
    oldSize,
    oldContent: oldContent === NO_CONTENT ? undefined : oldContent,
    before,
  });
  core.announceInode(tx, caller, row.ino, true);
}

/**
 * Changes the size; answers the object with the bytes before, if they are another one now. With
 * `staysOpen` whoever did it may go on to write to the same bytes: they are no version of their own.
 */
function cut(core: Core, tx: Tx, row: InodeRow, size: number, staysOpen: boolean): ContentId {
  const open = core.handles.openInode(row.ino);
  const live = core.live.find(row.ino);
  const old = row.content;
  const grown = size - row.size;
  if (size === 0 && open?.isPrivate !== true && live === undefined) {
    if (old !== NO_CONTENT) core.content.release(old);
    row.content = NO_CONTENT;
    resize(core, tx, row, 0);
    core.inodes.change(tx, row);
    return old;
  }
  if (grown === 0) return NO_CONTENT;
  const kept = makePrivate(core, tx, row, true);
  core.content.truncate(row.content, size);
  // It is cut off once that is committed.
  if (live !== undefined) core.live.hold(tx, live);
  resize(core, tx, row, size);
  if (live !== undefined) return kept;
  // Without a handle nobody will end a session: the bytes are at rest again.
  if (open === undefined) core.content.freeze(row.content);
  else if (open.writers === 0 && !staysOpen) {
    open.isPrivate = false;
    core.content.freeze(row.content);
  }
  return kept;
}

export function allocate(
  core: Core,
  caller: Caller,
  file: OpenFile,
  flags: AllocateFlags,
  position: number,
  length: number,
): void {
  if (!writes(file.flags)) throw new OpError('bad-handle', 'fallocate');
  if (length <= 0 || position < 0) throw new OpError('invalid', 'fallocate');
  if (flags.punchHole && !flags.keepSize) throw new OpError('unsupported', 'fallocate');
  const row = core.inodes.get(file.ino);
  core.demandWritable(row, 'fallocate');
  const to = position + length;
  if (to > FILE_BYTES_MAX) throw new OpError('file-too-large', 'fallocate');
  core.mounts.demandRoom(row.superblock, 0, flags.keepSize ? 0 : to - row.size, 'fallocate');
  core.journal.commit((tx) => {
    const oldSize = row.size;
    beginSession(core, tx, file, row);
    core.content.allocate(row.content, flags, position, length);
    core.live.restamp(row.ino);
    if (!flags.keepSize && to > row.size) resize(core, tx, row, to);
    if (flags.punchHole || flags.zeroRange) extendRange(file, position, to);
    core.touchBytes(tx, row);
    clearCapability(core, tx, row, caller);
    // The kernel leaves it to us here, without saying so (fs/fuse/file.c, file_modified).
    if (caller.uid !== 0) clearSetId(core, tx, row, caller);
    core.record(tx, caller, 'fallocate', {
      ino: row.ino,
      path: file.path,
      position,
      length,
      size: row.size,
      oldSize,
      after: { ...flags },
    });
    core.announceInode(tx, caller, row.ino, true);
    if (flags.keepSize) announceTimes(core, tx, caller, row);
  });
}

/** lseek(2) with SEEK_DATA or SEEK_HOLE. */
export function seek(core: Core, ino: Ino, position: number, whence: 'data' | 'hole'): number {
  const row = core.inodes.get(ino);
  if (position < 0 || position >= row.size) throw new OpError('no-such-extent', 'lseek');
  const found =
    row.content === NO_CONTENT ? undefined : core.content.seek(row.content, position, whence);
  if (found !== undefined && found < row.size) return found;
  if (whence === 'hole') return found === undefined ? position : row.size;
  throw new OpError('no-such-extent', 'lseek');
}

/** copy_file_range(2) between two managed files. */
export function copyRange(
  core: Core,
  caller: Caller,
  from: { readonly file: OpenFile; readonly position: number },
  to: { readonly file: OpenFile; readonly position: number },
  length: number,
): number {
  if ((from.file.flags & O_ACCMODE) === O_WRONLY || !writes(to.file.flags)) {
    throw new OpError('bad-handle', 'copy_file_range');
  }
  // copy_file_range(2): where to write would not be for the caller to say.
  if ((to.file.flags & O_APPEND) !== 0) throw new OpError('bad-handle', 'copy_file_range');
  const source = core.inodes.get(from.file.ino);
  const target = core.inodes.get(to.file.ino);
  if (isDirectory(source.mode)) throw new OpError('is-directory', 'copy_file_range');
  core.demandWritable(target, 'copy_file_range');
  // The kernel copies by read and write when it is told so (EXDEV), and a read can wait.
  if (core.content.row(source.content)?.state === 'remote') {
    throw new OpError('cross-mount', 'copy_file_range');
  }
  const wanted = Math.min(length, source.size - from.position, COPY_BYTES_MAX);
  if (wanted <= 0) return 0;
  const overlaps = Math.abs(from.position - to.position) < wanted;
  if (source === target && overlaps) throw new OpError('invalid', 'copy_file_range');
  const end = to.position + wanted;
  core.mounts.demandRoom(target.superblock, 0, end - target.size, 'copy_file_range');
  return core.journal.commit((tx) => {
    beginSession(core, tx, to.file, target);
    core.content.copy(source.content, from.position, target.content, to.position, wanted);
    core.live.restamp(target.ino);
    extendRange(to.file, to.position, end);
    if (end > target.size) resize(core, tx, target, end);
    core.touchBytes(tx, target);
    clearCapability(core, tx, target, caller);
    if (caller.uid !== 0) clearSetId(core, tx, target, caller);
    core.announceInode(tx, caller, target.ino, true);
    return wanted;
  });
}

/** One copy_file_range request copies at most this much, so that nobody waits long behind it. */
const COPY_BYTES_MAX = 4 * 1024 * 1024;
