/**
 * From a path to an inode, for a driver that is asked by path: one lookup per component, each time
 * anew, because nobody tells such a driver when a name has changed.
 *
 * Invariants: managed trees are walked without a pause, so that nothing changes between the lookup
 * and what is done with it; only content by CID makes a walk a promise. Links are not followed: the
 * kernel has done that.
 */
import { OpError } from '../base/errors.ts';
import { type Ino, type Name, ROOT_INO } from '../base/ids.ts';
import type { Awaitable, Caller, FileSystem } from '../vfs/vfs.ts';

/** A name in a directory, which may or may not be there. */
export interface Place {
  readonly parent: Ino;
  readonly name: Name;
}

/**
 * Walks. The kernel has checked that its client may search these directories, so nobody is asked
 * again. Not `checked`, because that stands for a kernel that keeps what it was told.
 */
const WALKER: Caller = {
  uid: 0,
  gid: 0,
  groups: [],
  checked: false,
  actor: () => ({ surface: 'fuse', uid: 0, gid: 0 }),
};

/** Goes on at once when the value is there, so that what need not wait does not. */
export function after<T, U>(value: Awaitable<T>, next: (value: T) => Awaitable<U>): Awaitable<U> {
  return value instanceof Promise ? value.then(next) : next(value);
}

/** @throws OpError not-found, not-directory. */
export function walk(fileSystem: FileSystem, path: Name): Awaitable<Ino> {
  return descend(fileSystem, ROOT_INO, componentsOf(path), 0);
}

/** @throws OpError as `walk`, of the directory; busy: the path is that of the root. */
export function walkToPlace(fileSystem: FileSystem, path: Name): Awaitable<Place> {
  const components = componentsOf(path);
  const name = components.pop();
  if (name === undefined) throw new OpError('busy', 'change the root of the mount');
  return after(descend(fileSystem, ROOT_INO, components, 0), (parent) => ({ parent, name }));
}

const componentsOf = (path: Name): Name[] =>
  path.split('/').filter((component) => component !== '') as Name[];

function descend(
  fileSystem: FileSystem,
  from: Ino,
  components: readonly Name[],
  index: number,
): Awaitable<Ino> {
  let ino = from;
  for (let at = index; at < components.length; at++) {
    const name = components[at] as Name;
    const found = fileSystem.lookup(WALKER, ino, name);
    if (found instanceof Promise) {
      return found.then((inode) => descend(fileSystem, demand(inode, name), components, at + 1));
    }
    ino = demand(found, name);
  }
  return ino;
}

function demand(inode: { readonly ino: Ino } | undefined, name: Name): Ino {
  if (inode === undefined) throw new OpError('not-found', `lookup ${name}`);
  return inode.ino;
}
