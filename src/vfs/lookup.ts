/** From a name to an inode, seen through the mount table. */

import { OpError } from '../base/errors.ts';
import type { Ino, Name } from '../base/ids.ts';
import { ROOT_INO } from '../base/ids.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import { X_OK } from '../base/posix.ts';
import type { InodeRow } from '../journal/journal.ts';
import type { Caller } from './contract.ts';
import type { Core } from './core.ts';
import type { Mounted } from './mounts.ts';
import { demand } from './permissions.ts';

/** lookup(2) in a managed directory; undefined when there is no such name. */
export function lookup(core: Core, caller: Caller, parent: Ino, name: Name): InodeRow | undefined {
  core.inodes.trim();
  const directory = core.directory(parent, 'lookup');
  demand(caller, directory, X_OK, 'lookup');
  if (name.length > NAME_BYTES_MAX) throw new OpError('name-too-long', 'lookup');
  if (name === '.') return directory;
  if (name === '..') return core.inodes.get(parentOf(core, directory));
  const covered = core.mounts.covered(parent, name);
  if (covered !== undefined) return core.inodes.find(covered);
  return core.child(parent, name);
}

/** Whether a name in `/ipns` is one of IPNS, and nothing is mounted there. */
export function isIpnsName({ mounts }: Core, parent: Ino, name: Name): boolean {
  if (parent !== mounts.namesRoot || name === '.' || name === '..') return false;
  return mounts.covered(parent, name) === undefined;
}

/** The directory above, across mount points; the root is above itself. */
export function parentOf(core: Core, directory: InodeRow): Ino {
  if (directory.ino === ROOT_INO) return ROOT_INO;
  return core.mounts.coverOf(directory.ino)?.parent ?? directory.parent;
}

/** The trees mounted anywhere below a directory, by bytewise order of their mount points. */
export function mountsInside(core: Core, ino: Ino): Mounted[] {
  return core.mounts.mounts().filter(({ superblock }) => {
    let above = core.mounts.coverOf(superblock.root)?.parent;
    while (above !== undefined && above !== ino && above !== ROOT_INO) {
      above = parentOf(core, core.inodes.get(above));
    }
    return above === ino;
  });
}
