/** rename(2) and renameat2(2): atomic, within one superblock. */
import { OpError } from '../base/errors.ts';
import type { Ino, Name } from '../base/ids.ts';
import { LINKS_MAX } from '../base/limits.ts';
import { isDirectory, W_OK } from '../base/posix.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import type { Caller, RenameFlags } from './contract.ts';
import type { Core } from './core.ts';
import { mountsInside, parentOf } from './lookup.ts';
import { demandHolds } from './mfs-names.ts';
import { demand, demandDirectoryWrite, demandRemoval } from './permissions.ts';
import { dropName, obituary } from './remove.ts';

export interface Place {
  readonly parent: Ino;
  readonly name: Name;
}

interface Move {
  readonly caller: Caller;
  readonly from: Place;
  readonly to: Place;
  readonly source: InodeRow;
  readonly target: InodeRow | undefined;
  readonly fromDirectory: InodeRow;
  readonly toDirectory: InodeRow;
}

export function rename(
  core: Core,
  caller: Caller,
  from: Place,
  to: Place,
  flags: RenameFlags,
): void {
  if (flags.noReplace && flags.exchange) throw new OpError('invalid', 'rename');
  const move = plan(core, caller, from, to);
  const { source, target } = move;
  if (flags.exchange) {
    if (target === undefined) throw new OpError('not-found', 'rename');
    demandAllowed(core, move, true);
    if (isDirectory(target.mode)) demandNotInside(core, target.ino, move.fromDirectory);
    core.journal.commit((tx) => exchange(core, tx, move, target));
    return;
  }
  if (flags.noReplace && target !== undefined) throw new OpError('exists', 'rename');
  demandAllowed(core, move, false);
  // Two names of one inode: rename(2) does nothing and succeeds.
  if (target?.ino === source.ino) return;
  if (target !== undefined) demandReplaceable(core, move, target);
  core.journal.commit((tx) => replace(core, tx, move));
}

function plan(core: Core, caller: Caller, from: Place, to: Place): Move {
  const fromDirectory = core.directory(from.parent, 'rename');
  const toDirectory = core.directory(to.parent, 'rename');
  for (const { parent, name } of [from, to]) {
    if (name === '.' || name === '..') throw new OpError('busy', 'rename');
    core.demandName(name, 'rename');
    if (core.mounts.covered(parent, name) !== undefined) {
      throw new OpError('busy', 'rename', { hint: 'it is a mount point' });
    }
  }
  const source = core.child(from.parent, from.name);
  if (source === undefined) throw new OpError('not-found', 'rename');
  const target = core.child(to.parent, to.name);
  return { caller, from, to, source, target, fromDirectory, toDirectory };
}

function demandAllowed(core: Core, move: Move, exchanges: boolean): void {
  const { caller, source, target, fromDirectory, toDirectory } = move;
  if (fromDirectory.superblock !== toDirectory.superblock) {
    throw new OpError('cross-mount', 'rename', { hint: 'copy and remove' });
  }
  core.demandWritable(fromDirectory, 'rename');
  demandHolds(core, toDirectory, move.to.name, 'rename');
  if (toDirectory.nlink === 0) throw new OpError('not-found', 'rename');
  demandRemoval(caller, fromDirectory, source, 'rename');
  if (target === undefined) demandDirectoryWrite(caller, toDirectory, 'rename');
  else demandRemoval(caller, toDirectory, target, 'rename');
  if (isDirectory(source.mode)) demandNotInside(core, source.ino, toDirectory);
  if (fromDirectory !== toDirectory) {
    // rename(2): a directory that gets another parent is written, because its `..` changes.
    for (const moved of exchanges && target !== undefined ? [source, target] : [source]) {
      if (isDirectory(moved.mode)) demand(caller, moved, W_OK, 'rename');
    }
  }
  if (holdsMount(core, source) || (target !== undefined && holdsMount(core, target))) {
    throw new OpError('busy', 'rename', { hint: 'a tree is mounted inside' });
  }
  const arrives = isDirectory(source.mode) && fromDirectory !== toDirectory;
  if (arrives && toDirectory.nlink >= LINKS_MAX) throw new OpError('too-many-links', 'rename');
}

const holdsMount = (core: Core, row: InodeRow): boolean =>
  isDirectory(row.mode) && mountsInside(core, row.ino).length > 0;

/** A directory cannot become its own descendant. */
function demandNotInside(core: Core, ino: Ino, directory: InodeRow): void {
  if (isWithin(core, ino, directory))
    throw new OpError('invalid', 'rename', { hint: 'into itself' });
}

/** Whether `directory` is `ino`, or below it. */
function isWithin(core: Core, ino: Ino, directory: InodeRow): boolean {
  let above: InodeRow = directory;
  for (;;) {
    if (above.ino === ino) return true;
    const next = parentOf(core, above);
    if (next === above.ino || next === 0) return false;
    above = core.inodes.get(next);
  }
}

function demandReplaceable(core: Core, move: Move, target: InodeRow): void {
  const { source, fromDirectory } = move;
  // Before types are compared, as do_renameat2() in fs/namei.c.
  if (isDirectory(target.mode) && isWithin(core, target.ino, fromDirectory)) {
    throw new OpError('not-empty', 'rename');
  }
  if (isDirectory(source.mode) && !isDirectory(target.mode)) {
    throw new OpError('not-directory', 'rename');
  }
  if (!isDirectory(source.mode) && isDirectory(target.mode)) {
    throw new OpError('is-directory', 'rename');
  }
  if (isDirectory(target.mode) && !core.journal.dentries.isEmpty(target.ino)) {
    throw new OpError('not-empty', 'rename');
  }
}

function replace(core: Core, tx: Tx, move: Move): void {
  const { caller, from, to, source, target, fromDirectory, toDirectory } = move;
  const { dentries } = core.journal;
  const oldPath = core.pathnames.join(from.parent, from.name);
  const path = core.pathnames.join(to.parent, to.name);
  const lost = target !== undefined && (target.nlink === 1 || isDirectory(target.mode));
  core.record(tx, caller, 'rename', {
    ino: source.ino,
    parent: to.parent,
    name: to.name,
    path,
    oldPath,
    ...(lost ? obituary(core, target) : {}),
    after: { from: [from.parent, Buffer.from(from.name, 'latin1').toString('base64')] },
    ...(target === undefined ? {} : { before: replacedFacts(core, target, lost) }),
  });
  dentries.remove(from.parent, from.name);
  if (target === undefined) dentries.insert(to.parent, to.name, source.ino);
  else dentries.replace(to.parent, to.name, source.ino);
  if (isDirectory(source.mode)) {
    fromDirectory.nlink -= 1;
    toDirectory.nlink += 1;
    source.parent = to.parent;
    forgetPathnames(core, tx);
  }
  if (target !== undefined && isDirectory(target.mode)) toDirectory.nlink -= 1;
  core.touchDirectory(tx, fromDirectory);
  core.touchDirectory(tx, toDirectory);
  core.touchChange(tx, source);
  announce(core, tx, move);
  if (target !== undefined) dropName(core, tx, caller, target);
}

function replacedFacts(core: Core, target: InodeRow, lost: boolean): Record<string, unknown> {
  const facts = lost ? obituary(core, target).before : undefined;
  return { ...facts, replaced: target.ino };
}

function exchange(core: Core, tx: Tx, move: Move, target: InodeRow): void {
  const { caller, from, to, source, fromDirectory, toDirectory } = move;
  const oldPath = core.pathnames.join(from.parent, from.name);
  const path = core.pathnames.join(to.parent, to.name);
  core.record(tx, caller, 'rename', {
    ino: source.ino,
    parent: to.parent,
    name: to.name,
    path,
    oldPath,
    after: {
      exchanged: target.ino,
      from: [from.parent, Buffer.from(from.name, 'latin1').toString('base64')],
    },
  });
  core.journal.dentries.replace(from.parent, from.name, target.ino);
  core.journal.dentries.replace(to.parent, to.name, source.ino);
  const count = (row: InodeRow) => Number(isDirectory(row.mode));
  const shift = count(source) - count(target);
  if (fromDirectory !== toDirectory) {
    fromDirectory.nlink -= shift;
    toDirectory.nlink += shift;
  }
  if (isDirectory(source.mode)) source.parent = to.parent;
  if (isDirectory(target.mode)) target.parent = from.parent;
  if (count(source) + count(target) > 0) forgetPathnames(core, tx);
  core.touchDirectory(tx, fromDirectory);
  core.touchDirectory(tx, toDirectory);
  core.touchChange(tx, source);
  core.touchChange(tx, target);
  announce(core, tx, move);
  core.announceInode(tx, caller, target.ino, false);
}

/** What is remembered from now on is wrong again when the transaction is rolled back. */
function forgetPathnames(core: Core, tx: Tx): void {
  core.pathnames.forget();
  tx.onRollback(() => core.pathnames.forget());
}

function announce(core: Core, tx: Tx, { caller, from, to, source }: Move): void {
  core.announceEntry(tx, caller, from.parent, from.name);
  core.announceEntry(tx, caller, to.parent, to.name);
  core.announceInode(tx, caller, source.ino, false);
}
