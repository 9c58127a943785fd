/** How inodes, and what hangs on their numbers, are put in order. */
import type { Ino } from '../base/ids.ts';
import {
  isDirectory,
  isRegular,
  isSymlink,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../base/posix.ts';
import type { InodeRow } from './inodes.ts';
import { type Mend, type Mending, repaired, SETTLED } from './mending.ts';

const TYPES: readonly number[] = [
  ...[S_IFREG, S_IFDIR, S_IFLNK, S_IFCHR, S_IFBLK, S_IFIFO, S_IFSOCK],
];
const OWNER_MAX = 2 ** 32 - 1;
const MODE = 0o7777;
/** As chown(2): what ran as one user does not run as another, least of all as root. */
const MODE_OF_ANOTHER = 0o1777;
const NS_MAX = 999_999_999;
const DIRECTORY_BYTES = 4096;

/** What an inode of no type must have been, by what hangs on it. */
function typeOf(mending: Mending, row: InodeRow): number {
  const known = row.mode & S_IFMT;
  if (TYPES.includes(known)) return known;
  if (row.parent !== 0 || !mending.journal.dentries.isEmpty(row.ino)) return S_IFDIR;
  return mending.journal.symlinks.get(row.ino) === undefined ? S_IFREG : S_IFLNK;
}

const inodeFields: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  if (row === undefined) return SETTLED;
  const { mode, size, nlink, uid, gid } = row;
  const times = ['atime', 'mtime', 'ctime', 'btime']
    .map(
      (time) =>
        `${time}_ns = CASE WHEN ${time}_ns BETWEEN 0 AND ${NS_MAX} THEN ${time}_ns ELSE 0 END`,
    )
    .join(', ');
  mending.run(`UPDATE inode SET generation = 1, ${times} WHERE ino = ?`, row.ino);
  const now = mending.inode(ino) ?? row;
  const owner = (id: number) => (id >= 0 && id <= OWNER_MAX ? id : 0);
  now.size = Math.max(0, size);
  now.nlink = Math.max(0, nlink);
  now.uid = owner(uid);
  now.gid = owner(gid);
  const isOthers = now.uid !== uid || now.gid !== gid;
  now.mode = typeOf(mending, row) | (mode & (isOthers ? MODE_OF_ANOTHER : MODE));
  return mending.change(now, { mode, size, nlink, uid, gid });
};

const directorySize: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  if (row === undefined || !isDirectory(row.mode)) return SETTLED;
  return sized(mending, row, DIRECTORY_BYTES);
};

const symlinkSize: Mend = (mending, { ino }) => {
  const row = mending.inode(ino);
  const target = row && mending.journal.symlinks.get(row.ino);
  if (row === undefined || target === undefined || !isSymlink(row.mode)) return SETTLED;
  return sized(mending, row, target.length);
};

function sized(mending: Mending, row: InodeRow, size: number) {
  const before = row.size;
  if (before === size) return SETTLED;
  row.size = size;
  return mending.change(row, { size: before });
}

/**
 * A link without a target has nothing to say any more: what is left is an empty file. A target
 * without an inode is a link again.
 */
const symlinkTarget: Mend = (mending, { ino }) => {
  if (ino === undefined) return SETTLED;
  const { symlinks } = mending.journal;
  const row = mending.inode(ino);
  const target = symlinks.get(ino);
  if (row === undefined && target !== undefined) {
    return found(mending, ino, { mode: S_IFLNK | 0o777, size: target.length });
  }
  if (row === undefined || isSymlink(row.mode) === (target !== undefined)) return SETTLED;
  if (target !== undefined) {
    symlinks.remove(ino);
    const before = { target: Buffer.from(target, 'latin1').toString('base64') };
    mending.record({ ino, path: mending.pathOf(ino), before });
    return repaired('the target is in the record of this repair: it is no symbolic link');
  }
  const names = mending.namesOf(ino);
  for (const { parent, name } of names) mending.unname(parent, name, ino);
  const now = mending.inode(ino) ?? row;
  const { mode, size } = now;
  now.mode = S_IFREG | 0o600;
  now.size = 0;
  mending.change(now, { mode, size });
  const done = mending.quarantine(now, names[0]?.name);
  return { ...done, action: `${done.action}, as an empty file: its target is lost` };
};

/** Attributes of nobody: they are those of an empty file from now on. */
const attributesOfNobody: Mend = (mending, { ino }) =>
  ino === undefined || mending.inode(ino) !== undefined
    ? SETTLED
    : found(mending, ino, { mode: S_IFREG | 0o600 });

/** The inode that something is left of is there again, in `lost+found`. */
function found(mending: Mending, ino: Ino, given: Pick<InodeRow, 'mode'> & Partial<InodeRow>) {
  const superblock = mending.firstTree();
  return mending.quarantine(mending.insert({ ...given, ino, superblock }), undefined);
}

const sessionGoes: Mend = (mending, { ino, session }) => {
  const row = mending.inode(ino);
  if (ino === undefined || session === undefined) return SETTLED;
  if (row !== undefined && isRegular(row.mode)) return SETTLED;
  mending.journal.sessions.delete(session);
  mending.record({ ino, path: mending.pathOf(ino), before: { write_session: session } });
  return repaired('the write session is gone: there is no file it belongs to');
};

const sessionFields: Mend = (mending, { session }) => {
  mending.run(
    `UPDATE write_session SET before = CASE
        WHEN coalesce(json_valid(before), 0) AND json_type(before) = 'object' THEN before
        ELSE '{}' END,
      old_content = CASE WHEN old_content IN (SELECT id FROM content) THEN old_content ELSE 0 END
      WHERE id = ?`,
    session,
  );
  return repaired('what was before the session is not known any more');
};

export const INODE_MENDS: Readonly<Record<string, Mend>> = {
  'inode-fields': inodeFields,
  'directory-size': directorySize,
  'symlink-target': symlinkTarget,
  'symlink-size': symlinkSize,
  'xattr-inode': attributesOfNobody,
  'session-inode': sessionGoes,
  'session-fields': sessionFields,
};
