/** Removing names: unlink, rmdir. What a record keeps is what undo needs to bring it back. */
import { OpError } from '../base/errors.ts';
import { type Ino, type Name, NO_CONTENT } from '../base/ids.ts';
import { isDirectory, isSymlink } from '../base/posix.ts';
import type { InodeRow, OpEntry, Tx } from '../journal/journal.ts';
import type { Caller } from './contract.ts';
import { attributesOf, base64Of, type Core } from './core.ts';
import { demandRemoval } from './permissions.ts';

function demandPresent(
  core: Core,
  caller: Caller,
  parent: Ino,
  name: Name,
  op: string,
): { directory: InodeRow; target: InodeRow } {
  const directory = core.directory(parent, op);
  if (core.mounts.covered(parent, name) !== undefined) {
    throw new OpError('busy', op, { hint: 'unmount it first' });
  }
  const target = core.child(parent, name);
  if (target === undefined) throw new OpError('not-found', op);
  core.demandWritable(directory, op);
  demandRemoval(caller, directory, target, op);
  return { directory, target };
}

/** Everything about an inode that goes with its last name. */
export function obituary(core: Core, row: InodeRow): Partial<OpEntry> {
  const target = isSymlink(row.mode) ? core.journal.symlinks.get(row.ino) : undefined;
  const xattrs = core.journal.xattrs
    .stored(row.ino)
    .map(({ name, value }) => [base64Of(name), value.toString('base64')]);
  return {
    oldSize: row.size,
    oldMode: row.mode,
    oldContent: row.content === NO_CONTENT ? undefined : row.content,
    before: {
      attributes: attributesOf(row),
      ...(target === undefined ? {} : { target: base64Of(target) }),
      ...(xattrs.length === 0 ? {} : { xattrs }),
    },
  };
}

/** Takes one name from an inode; the rest of its end is `reapIfUnused`. */
export function dropName(core: Core, tx: Tx, caller: Caller, row: InodeRow): void {
  row.nlink = isDirectory(row.mode) ? 0 : row.nlink - 1;
  core.touchChange(tx, row);
  core.announceInode(tx, caller, row.ino, false);
  core.reapIfUnused(tx, row);
}

export function unlink(core: Core, caller: Caller, parent: Ino, name: Name): void {
  const { directory, target } = demandPresent(core, caller, parent, name, 'unlink');
  if (isDirectory(target.mode)) throw new OpError('is-directory', 'unlink');
  core.journal.commitFreeing((tx) => {
    core.record(tx, caller, 'unlink', {
      ino: target.ino,
      parent,
      name,
      path: core.pathnames.join(parent, name),
      ...(target.nlink === 1 ? obituary(core, target) : {}),
    });
    core.journal.dentries.remove(parent, name);
    core.touchDirectory(tx, directory);
    core.announceEntry(tx, caller, parent, name);
    dropName(core, tx, caller, target);
  });
}

export function rmdir(core: Core, caller: Caller, parent: Ino, name: Name): void {
  if (name === '.') throw new OpError('invalid', 'rmdir');
  if (name === '..') throw new OpError('not-empty', 'rmdir');
  const { directory, target } = demandPresent(core, caller, parent, name, 'rmdir');
  if (!isDirectory(target.mode)) throw new OpError('not-directory', 'rmdir');
  if (core.mounts.coversIn(target.ino) !== undefined) throw new OpError('busy', 'rmdir');
  if (!core.journal.dentries.isEmpty(target.ino)) throw new OpError('not-empty', 'rmdir');
  core.journal.commitFreeing((tx) => {
    core.record(tx, caller, 'rmdir', {
      ino: target.ino,
      parent,
      name,
      path: core.pathnames.join(parent, name),
      ...obituary(core, target),
    });
    core.journal.dentries.remove(parent, name);
    directory.nlink -= 1;
    core.touchDirectory(tx, directory);
    core.pathnames.forget();
    tx.onRollback(() => core.pathnames.forget());
    core.announceEntry(tx, caller, parent, name);
    dropName(core, tx, caller, target);
  });
}
