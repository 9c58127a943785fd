/** Making names: mknod, mkdir, symlink, link, create, tmpfile. */
import { OpError } from '../base/errors.ts';
import { type Ino, type Name, NO_CONTENT } from '../base/ids.ts';
import { LINKS_MAX, PATH_BYTES_MAX } from '../base/limits.ts';
import {
  isDirectory,
  O_CREAT,
  O_EXCL,
  O_TRUNC,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  writes,
} from '../base/posix.ts';
import type { InodeRow, OpKind, Tx } from '../journal/journal.ts';
import { inheritAcl } from './acl-change.ts';
import type { Caller, Opened } from './contract.ts';
import { attributesOf, type Core } from './core.ts';
import { enterDirect, planOf } from './direct.ts';
import type { OpenFile } from './handles.ts';
import { demandHolds, demandHoldsNode } from './mfs-names.ts';
import { openNow, shareOut } from './open.ts';
import { demandDirectoryWrite } from './permissions.ts';
import { isDoubtful } from './unclean.ts';

/** Flags that mean something to open(2) only, not to the handle. */
const OPENING_FLAGS = O_CREAT | O_EXCL | O_TRUNC;

/** A directory that may take a new name. @throws OpError exists, not-found, denied, … */
function demandFree(core: Core, caller: Caller, parent: Ino, name: Name, op: string): InodeRow {
  const directory = core.directory(parent, op);
  core.demandName(name, op);
  if (core.mounts.covered(parent, name) !== undefined || core.child(parent, name) !== undefined) {
    throw new OpError('exists', op);
  }
  demandTakes(core, caller, directory, name, op);
  return directory;
}

/** It may take a name that is free there. @throws OpError not-found, denied, read-only, … */
export function demandTakes(
  core: Core,
  caller: Caller,
  directory: InodeRow,
  name: Name,
  op: string,
): void {
  core.demandWritable(directory, op);
  demandHolds(core, directory, name, op);
  // A directory that was removed but is still somebody's working directory takes nothing.
  if (directory.nlink === 0) throw new OpError('not-found', op);
  demandDirectoryWrite(caller, directory, op);
}

export interface NewName {
  readonly caller: Caller;
  readonly parent: InodeRow;
  readonly name: Name;
  readonly kind: OpKind;
  readonly mode: number;
  readonly rdev: number;
  /** Bytes that it has from the first moment on. */
  readonly size?: number;
  /** Makes the row, before it is written, what it shall be. */
  readonly prepare?: (row: InodeRow) => void;
}

/** Row, name, parent and record of a new inode. The caller has checked everything. */
export function enter(core: Core, tx: Tx, made: NewName): InodeRow {
  const { caller, parent, name, kind, mode, rdev, size = 0 } = made;
  core.charge(tx, parent.superblock, 1, size, kind);
  const row = core.newRow(tx, caller, parent, mode, rdev);
  made.prepare?.(row);
  core.inodes.add(tx, row);
  core.incapable.add(row);
  inheritAcl(core, tx, parent, row);
  core.journal.dentries.insert(parent.ino, name, row.ino);
  if (isDirectory(mode)) parent.nlink += 1;
  core.touchDirectory(tx, parent);
  core.record(tx, caller, kind, {
    ino: row.ino,
    parent: parent.ino,
    name,
    path: core.pathnames.join(parent.ino, name),
    mode: row.mode,
  });
  core.announceEntry(tx, caller, parent.ino, name);
  return row;
}

/** What mknod(2) makes. */
const NODE_TYPES: ReadonlySet<number> = new Set([S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK]);

export function mknod(
  core: Core,
  caller: Caller,
  parent: Ino,
  name: Name,
  mode: number,
  rdev: number,
): InodeRow {
  const directory = demandFree(core, caller, parent, name, 'mknod');
  const type = (mode & S_IFMT) === 0 ? S_IFREG : mode & S_IFMT;
  if (!NODE_TYPES.has(type)) throw new OpError('invalid', 'mknod');
  if (type !== S_IFREG) demandHoldsNode(core, directory, 'mknod');
  const isDevice = type === S_IFCHR || type === S_IFBLK;
  if (isDevice && !caller.checked && caller.uid !== 0) {
    throw new OpError('not-permitted', 'mknod', { hint: 'only root makes devices' });
  }
  const kind = type === S_IFREG ? 'create' : 'mknod';
  return core.journal.commit((tx) =>
    enter(core, tx, {
      caller,
      parent: directory,
      name,
      kind,
      mode: type | (mode & 0o7777),
      rdev,
    }),
  );
}

export function mkdir(core: Core, caller: Caller, parent: Ino, name: Name, mode: number): InodeRow {
  const directory = demandFree(core, caller, parent, name, 'mkdir');
  if (directory.nlink >= LINKS_MAX) throw new OpError('too-many-links', 'mkdir');
  const bits = S_IFDIR | (mode & 0o7777);
  return core.journal.commit((tx) =>
    enter(core, tx, { caller, parent: directory, name, kind: 'mkdir', mode: bits, rdev: 0 }),
  );
}

export function symlink(
  core: Core,
  caller: Caller,
  parent: Ino,
  name: Name,
  target: Name,
): InodeRow {
  const directory = demandFree(core, caller, parent, name, 'symlink');
  if (target.length === 0) throw new OpError('not-found', 'symlink');
  if (target.length > PATH_BYTES_MAX) throw new OpError('name-too-long', 'symlink');
  return core.journal.commit((tx) => {
    const made: NewName = {
      caller,
      parent: directory,
      name,
      kind: 'symlink',
      mode: S_IFLNK | 0o777,
      rdev: 0,
    };
    const row = enter(core, tx, made);
    core.journal.symlinks.set(row.ino, target);
    row.size = target.length;
    core.inodes.change(tx, row);
    return row;
  });
}

export function link(core: Core, caller: Caller, ino: Ino, parent: Ino, name: Name): InodeRow {
  const directory = demandFree(core, caller, parent, name, 'link');
  const row = core.inodes.get(ino);
  if (isDirectory(row.mode)) throw new OpError('not-permitted', 'link');
  if (row.superblock !== directory.superblock) throw new OpError('cross-mount', 'link');
  // What has no name yet (O_TMPFILE) gets its one.
  if (row.nlink > 0) demandHoldsNode(core, directory, 'link');
  if (row.nlink >= LINKS_MAX) throw new OpError('too-many-links', 'link');
  return core.journal.commit((tx) => {
    const oldPath = core.pathnames.ofInode(ino);
    core.journal.dentries.insert(parent, name, ino);
    row.nlink += 1;
    core.touchChange(tx, row);
    core.touchDirectory(tx, directory);
    const path = core.pathnames.join(parent, name);
    core.record(tx, caller, 'link', { ino, parent, name, path, oldPath });
    core.announceEntry(tx, caller, parent, name);
    core.announceInode(tx, caller, ino, false);
    return row;
  });
}

export function create(
  core: Core,
  caller: Caller,
  parent: Ino,
  name: Name,
  mode: number,
  flags: number,
): Opened {
  const existing = core.child(core.directory(parent, 'create').ino, name);
  if (existing !== undefined && (flags & O_EXCL) === 0) {
    if (isDoubtful(core, existing.content)) {
      // The kernel looks again, finds it, and opens it, which may wait.
      throw new OpError('version-conflict', 'create', { hint: 'it is there: open it' });
    }
    // Somebody else made it since the kernel looked. It takes any answer for a new file and checks
    // nothing any more, so permissions are checked here.
    const judged = { ...caller, actor: () => caller.actor(), checked: false };
    // As the kernel asks of every OPEN that empties a file, and of a CREATE that turns out to be one.
    const killSetId = (flags & O_TRUNC) !== 0 && caller.uid !== 0;
    const given = { flags, killSetId, asker: caller };
    return { inode: existing, handle: openNow(core, judged, existing.ino, given) };
  }
  const directory = demandFree(core, caller, parent, name, 'create');
  const bits = S_IFREG | (mode & 0o7777);
  return core.journal.commit((tx) => {
    const inode = enter(core, tx, {
      caller,
      parent: directory,
      name,
      kind: 'create',
      mode: bits,
      rdev: 0,
    });
    const path = core.pathnames.join(parent, name);
    return { inode, handle: openNew(core, tx, caller, inode, { flags, path }) };
  });
}

/** A handle of a file just made. */
function openNew(
  core: Core,
  tx: Tx,
  caller: Caller,
  row: InodeRow,
  { flags, path }: { readonly flags: number; readonly path: Name },
): OpenFile {
  const plan = writes(flags) ? planOf(core, caller, row, flags) : undefined;
  const handle = core.handles.add(row.ino, flags & ~OPENING_FLAGS, path, caller);
  tx.onRollback(() => core.handles.remove(handle.fh));
  if (plan === undefined) return handle;
  const before = attributesOf(row);
  const { live } = enterDirect(core, tx, row, plan, { flags, isNew: true, slot: undefined });
  const begun = { oldContent: NO_CONTENT, oldSize: 0, before, version: row.version };
  shareOut(core, tx, handle, live, begun);
  return handle;
}

/** O_TMPFILE: an inode without a name; `link` may give it one later, its last release ends it. */
export function tmpfile(
  core: Core,
  caller: Caller,
  parent: Ino,
  mode: number,
  flags: number,
): Opened {
  const directory = core.directory(parent, 'tmpfile');
  core.demandWritable(directory, 'tmpfile');
  demandDirectoryWrite(caller, directory, 'tmpfile');
  return core.journal.commit((tx) => {
    core.charge(tx, directory.superblock, 1, 0, 'tmpfile');
    const row = core.newRow(tx, caller, directory, S_IFREG | (mode & 0o7777), 0);
    row.nlink = 0;
    core.inodes.add(tx, row);
    inheritAcl(core, tx, directory, row);
    const path = `${core.pathnames.ofDirectory(parent)}/(inode ${row.ino})` as Name;
    core.record(tx, caller, 'create', { ino: row.ino, path, mode: row.mode });
    return { inode: row, handle: openNew(core, tx, caller, row, { flags, path }) };
  });
}

/** Ends inodes that lost their last name while nobody was there to notice (a kill). */
export function reapOrphans(core: Core): number {
  const { journal } = core;
  let reaped = 0;
  let first: Ino | undefined;
  for (;;) {
    const rows = journal.inodes.orphans(1024);
    if (rows.length === 0) return reaped;
    // In a damaged file a row may be found and not be there to be removed.
    if (rows[0]?.ino === first) throw new OpError('journal-corrupt', `reap inode ${first}`);
    first = rows[0]?.ino;
    journal.commitFreeing((tx) => {
      for (const { ino } of rows) {
        const row = core.inodes.get(ino);
        const live = core.live.find(ino);
        // Nobody can name it any more, whoever has it mapped.
        if (live !== undefined) core.live.remove(tx, live);
        core.reap(tx, row);
      }
    });
    reaped += rows.length;
  }
}
