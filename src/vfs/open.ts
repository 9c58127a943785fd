/** open, release, fsync of managed files. */
import { OpError } from '../base/errors.ts';
import { type Ino, NO_CONTENT } from '../base/ids.ts';
import {
  isDirectory,
  isRegular,
  O_ACCMODE,
  O_CREAT,
  O_EXCL,
  O_TRUNC,
  O_WRONLY,
  R_OK,
  W_OK,
  writes,
} from '../base/posix.ts';
import type { InodeRow } from '../journal/journal.ts';
import { clearSetId, endSession, isWrittenInPlace, openInPlace, truncate } from './bytes.ts';
import type { Caller } from './contract.ts';
import type { Core } from './core.ts';
import type { OpenFile } from './handles.ts';
import { demand } from './permissions.ts';

export function open(
  core: Core,
  caller: Caller,
  ino: Ino,
  flags: number,
  killSetId: boolean,
): OpenFile {
  const row = core.inodes.get(ino);
  demandOpenable(core, caller, row, flags);
  const kept = flags & ~(O_CREAT | O_EXCL | O_TRUNC);
  const isInPlace = (flags & O_TRUNC) === 0 && writes(flags) && isWrittenInPlace(core, row);
  if ((flags & O_TRUNC) === 0 && !killSetId && !isInPlace) {
    return core.handles.add(ino, kept, core.pathnames.ofInode(ino), caller);
  }
  return core.journal.commit((tx) => {
    // Also of an empty file: its times change.
    if ((flags & O_TRUNC) !== 0) truncate(core, tx, caller, row, 0);
    if (killSetId) clearSetId(core, tx, row, caller);
    const file = core.handles.add(ino, kept, core.pathnames.ofInode(ino), caller);
    tx.onRollback(() => core.handles.remove(file.fh));
    if (isInPlace) openInPlace(core, tx, row);
    return file;
  });
}

function demandOpenable(core: Core, caller: Caller, row: InodeRow, flags: number): void {
  const changes = writes(flags) || (flags & O_TRUNC) !== 0;
  if (isDirectory(row.mode)) throw new OpError('is-directory', 'open');
  if (!isRegular(row.mode)) throw new OpError('unsupported', 'open');
  if (changes) core.demandWritable(row, 'open');
  const access = flags & O_ACCMODE;
  let mask = access === O_WRONLY ? 0 : R_OK;
  if (changes) mask |= W_OK;
  demand(caller, row, mask, 'open');
}

/**
 * The last close of a handle: its session ends, and an inode without a name ends with it. When the
 * transaction is rolled back the handle is there again, for it is released once more then.
 */
export function release(core: Core, file: OpenFile): void {
  const { handles } = core;
  const open = handles.openInode(file.ino);
  const row = core.inodes.find(file.ino);
  const ending = row?.nlink === 0 && open?.count === 1 ? row : undefined;
  const changes = file.session !== undefined || open?.isPrivate === true || ending !== undefined;
  if (open === undefined || !changes) {
    handles.remove(file.fh);
    return;
  }
  core.journal.commit((tx) => {
    endSession(core, file, true);
    handles.remove(file.fh);
    tx.onRollback(() => handles.restore(file, open));
    if (ending !== undefined) core.reapIfUnused(tx, ending);
  });
}

/** Content first, then the journal: what is acknowledged after this survives a loss of power. */
export async function fsync(core: Core, file: OpenFile): Promise<void> {
  endSession(core, file, false);
  const row = core.inodes.find(file.ino);
  if (row !== undefined && row.content !== NO_CONTENT) await core.content.fsync([row.content]);
  await core.syncJournal();
}
