/** getattr and setattr: chmod, chown, utimens, truncate; one record for each that was asked. */
import { OpError } from '../base/errors.ts';
import { type Fh, type Ino, NO_CONTENT } from '../base/ids.ts';
import { FILE_BYTES_MAX, SECTOR_BYTES } from '../base/limits.ts';
import { isDirectory, isRegular, S_ISGID, S_ISUID, W_OK, writes } from '../base/posix.ts';
import { sectorsAt } from '../content/content.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { followMode } from './acl-change.ts';
import { clearSetId, truncate } from './bytes.ts';
import type { Asking, AttributeChange, Awaitable, Caller, Inode, TimeChange } from './contract.ts';
import type { Core } from './core.ts';
import { demand, demandOwner, mayGiveTo } from './permissions.ts';
import { ascertain, isDoubtful } from './unclean.ts';
import { clearCapability } from './xattr.ts';

/**
 * What an inode takes on disk, in units of 512 bytes. The disk is asked: only it knows what of a
 * backing file is holes. What is packed has none, and what has no content takes nothing; of what is
 * elsewhere only what came here takes room.
 */
export function sectors(core: Core, { mode, size, content }: Inode): number {
  if (!isRegular(mode)) return Math.ceil(size / SECTOR_BYTES);
  if (content === NO_CONTENT || size === 0) return 0;
  const row = core.content.row(content);
  // Its file may stay for a while: until the disk knows that nothing is in it that anybody may need.
  if (row?.state === 'remote' && core.content.remote.bytesHere(row) === 0) return 0;
  const path = core.content.backingPath(content);
  if (path !== undefined) return sectorsAt(path);
  return core.content.remote.has(content, 0, size) ? Math.ceil(size / SECTOR_BYTES) : 0;
}

/**
 * Who sets the size of a file waits as who opens it, but not to cut it to nothing. Nothing is changed
 * for who has stopped waiting.
 */
export function setattr(
  core: Core,
  caller: Caller,
  ino: Ino,
  change: AttributeChange,
  fh: Fh | undefined,
  asking?: Asking,
): Awaitable<InodeRow> {
  const { content } = core.inodes.get(ino);
  if ((change.size ?? 0) === 0 || !isDoubtful(core, content)) {
    return setattrNow(core, caller, ino, change, fh);
  }
  // Asked for now: who asks may be another one afterwards.
  const signal = asking?.signal;
  return ascertain(core, content).then(() => {
    signal?.throwIfAborted();
    return setattr(core, caller, ino, change, fh, signal && { signal });
  });
}

/** As `setattr`, of what is no file, or for another change than that of its size. */
export function setattrNow(
  core: Core,
  caller: Caller,
  ino: Ino,
  change: AttributeChange,
  fh?: Fh,
): InodeRow {
  const row = core.inodes.get(ino);
  core.demandWritable(row, 'setattr');
  demandAllowed(core, caller, row, change, fh);
  const apply = (tx: Tx): InodeRow => {
    if (change.size !== undefined) {
      truncate(core, tx, caller, row, change.size, fh);
      if (change.killSetId === true) clearSetId(core, tx, row, caller);
    }
    if (isChown(change)) chown(core, tx, caller, row, change);
    if (change.mode !== undefined) chmod(core, tx, caller, row, change.mode);
    if (change.atime !== undefined || change.mtime !== undefined) {
      utimens(core, tx, caller, row, change);
    }
    core.announceInode(tx, caller, ino, change.size !== undefined);
    return row;
  };
  const isCut = change.size !== undefined && change.size < row.size;
  return isCut ? core.journal.commitFreeing(apply) : core.journal.commit(apply);
}

/** The kernel asks for a change of nothing when neither owner nor group was given to chown(2). */
function isChown({ uid, gid, ...others }: AttributeChange): boolean {
  const isNothing = [others.mode, others.size, others.atime, others.mtime].every(
    (value) => value === undefined,
  );
  return uid !== undefined || gid !== undefined || isNothing;
}

function demandAllowed(
  core: Core,
  caller: Caller,
  row: InodeRow,
  change: AttributeChange,
  fh: Fh | undefined,
): void {
  if (change.size !== undefined) {
    if (isDirectory(row.mode)) throw new OpError('is-directory', 'truncate');
    if (!isRegular(row.mode)) throw new OpError('invalid', 'truncate');
    if (change.size > FILE_BYTES_MAX) throw new OpError('file-too-large', 'truncate');
    const handle = fh === undefined ? undefined : core.handles.find(fh);
    if (handle === undefined || !writes(handle.flags)) demand(caller, row, W_OK, 'truncate');
    core.mounts.demandRoom(row.superblock, 0, change.size - row.size, 'truncate');
  }
  if (change.mode !== undefined) demandOwner(caller, row, 'chmod');
  const isOthers = caller.uid !== row.uid || change.uid !== row.uid;
  if (change.uid !== undefined && isOthers && !caller.checked && caller.uid !== 0) {
    throw new OpError('not-permitted', 'chown', { hint: 'only root changes owners' });
  }
  if (change.gid !== undefined && !caller.checked) {
    demandOwner(caller, row, 'chown');
    if (change.gid !== row.gid && !mayGiveTo(caller, change.gid)) {
      throw new OpError('not-permitted', 'chown', { hint: 'you are not in that group' });
    }
  }
  demandTimes(caller, row, change);
}

/** utimensat(2): 'now' for both needs write permission or ownership; anything else ownership. */
function demandTimes(caller: Caller, row: InodeRow, { atime, mtime }: AttributeChange): void {
  if (atime === undefined && mtime === undefined) return;
  const isNow = atime === 'now' && mtime === 'now';
  if (isNow && caller.uid !== row.uid) demand(caller, row, W_OK, 'utimens');
  else demandOwner(caller, row, 'utimens');
}

function chmod(core: Core, tx: Tx, caller: Caller, row: InodeRow, mode: number): void {
  const oldMode = row.mode;
  let bits = mode & 0o7777;
  // chmod(2): set-gid is dropped when the owner is not in the file's group.
  const outsider = !caller.checked && caller.uid !== 0 && !mayGiveTo(caller, row.gid);
  if (outsider && !isDirectory(row.mode)) bits &= ~S_ISGID;
  row.mode = (row.mode & ~0o7777) | bits;
  followMode(core, tx, row);
  core.touchChange(tx, row);
  core.record(tx, caller, 'chmod', { ino: row.ino, mode: row.mode, oldMode });
}

function chown(core: Core, tx: Tx, caller: Caller, row: InodeRow, change: AttributeChange): void {
  const before = { uid: row.uid, gid: row.gid, mode: row.mode };
  row.uid = change.uid ?? row.uid;
  row.gid = change.gid ?? row.gid;
  // chown(2): set-id bits go, of whoever's file; set-gid without group execution is not set-gid.
  if (!isDirectory(row.mode)) {
    const drop = (row.mode & 0o010) !== 0 ? S_ISUID | S_ISGID : S_ISUID;
    row.mode &= ~drop;
  }
  clearCapability(core, tx, row, caller);
  core.touchChange(tx, row);
  core.record(tx, caller, 'chown', {
    ino: row.ino,
    before,
    after: { uid: row.uid, gid: row.gid, mode: row.mode },
  });
}

function utimens(core: Core, tx: Tx, caller: Caller, row: InodeRow, change: AttributeChange): void {
  const before = { atime: [row.atimeS, row.atimeNs], mtime: [row.mtimeS, row.mtimeNs] };
  const resolve = (time: TimeChange) => (time === 'now' ? tx.now : time);
  if (change.atime !== undefined) {
    const { s, ns } = resolve(change.atime);
    row.atimeS = s;
    row.atimeNs = ns;
  }
  if (change.mtime !== undefined) {
    const { s, ns } = resolve(change.mtime);
    row.mtimeS = s;
    row.mtimeNs = ns;
  }
  core.touchChange(tx, row);
  core.record(tx, caller, 'utimens', {
    ino: row.ino,
    before,
    after: { atime: [row.atimeS, row.atimeNs], mtime: [row.mtimeS, row.mtimeNs] },
  });
}
