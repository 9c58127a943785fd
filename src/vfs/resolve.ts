/**
 * From a path to an inode, for callers that speak in paths: symbolic links are followed inside the
 * tree only, every directory on the way must be searchable, `..` never leaves the root
 * (path_resolution(7)).
 */
import { OpError } from '../base/errors.ts';
import { type Ino, type Name, ROOT_INO } from '../base/ids.ts';
import { NAME_BYTES_MAX, PATH_BYTES_MAX, SYMLINKS_MAX } from '../base/limits.ts';
import { isDirectory, isSymlink } from '../base/posix.ts';
import type { Awaitable, Caller, FileSystem, Inode } from './contract.ts';

/** Where a path ends: the directory, the last name, and what it means now, if anything. */
export interface Resolved {
  readonly parent: Ino;
  /** `.` when the path is the root. */
  readonly name: Name;
  readonly inode: Inode | undefined;
  /** The path with all links followed. */
  readonly path: Name;
}

/** Where a walk may go, whatever the permission bits say. */
export interface Bounds {
  /** Whether a path may end here. */
  covers(path: Name): boolean;
  /** Whether a path may pass here. */
  leadsTo(path: Name): boolean;
}

export interface ResolveOptions {
  /** Whether a link in the last place is followed. */
  readonly follow: boolean;
  /** undefined: everywhere. */
  readonly bounds?: Bounds | undefined;
}

interface Walk {
  readonly fileSystem: FileSystem;
  readonly caller: Caller;
  readonly follow: boolean;
  readonly bounds: Bounds | undefined;
  /** Names still to go, the next one last. */
  readonly rest: Name[];
  directory: Inode;
  /** Directories from the root to `directory`, with their names. */
  readonly trail: { readonly ino: Ino; readonly name: Name }[];
  links: number;
}

/**
 * Resolves an absolute path. The last name may be absent (`inode` undefined); any other must be
 * there. Answers at once in managed trees, by promise where content is reached by CID. Outside the
 * bounds nothing is looked at, so that the answer does not tell what is there.
 * @throws OpError not-found, not-directory, denied, too-many-symlinks, name-too-long,
 *   invalid-path; policy: it leads out of the bounds.
 */
export function resolve(
  fileSystem: FileSystem,
  caller: Caller,
  path: Name,
  { follow, bounds }: ResolveOptions,
): Awaitable<Resolved> {
  if (path.length > PATH_BYTES_MAX) throw new OpError('name-too-long', `resolve ${path}`);
  if (!path.startsWith('/')) throw new OpError('invalid-path', `resolve ${path}`);
  const root = fileSystem.getattr(caller, ROOT_INO);
  const rest = namesOf(path);
  const start = (directory: Inode): Awaitable<Resolved> =>
    step({ fileSystem, caller, follow, bounds, rest, directory, trail: [], links: 0 });
  return root instanceof Promise ? root.then(start) : start(root);
}

const namesOf = (path: Name): Name[] =>
  path
    .split('/')
    .filter((name) => name !== '' && name !== '.')
    .reverse() as Name[];

function step(walk: Walk): Awaitable<Resolved> {
  for (;;) {
    const name = walk.rest.pop();
    if (name === undefined) return arrivedAtDirectory(walk);
    if (name.length > NAME_BYTES_MAX) throw new OpError('name-too-long', `resolve ${name}`);
    if (!isDirectory(walk.directory.mode)) {
      throw new OpError('not-directory', `resolve ${pathOf(walk, name)}`);
    }
    if (name !== '..') demandWay(walk, pathOf(walk, name));
    const found = walk.fileSystem.lookup(walk.caller, walk.directory.ino, name);
    if (found instanceof Promise) {
      return absentToUndefined(found).then((inode) => enter(walk, name, inode) ?? step(walk));
    }
    const end = enter(walk, name, found);
    if (end !== undefined) return end;
  }
}

async function absentToUndefined(found: Promise<Inode | undefined>): Promise<Inode | undefined> {
  try {
    return await found;
  } catch (error) {
    if (error instanceof OpError && error.failure === 'not-found') return undefined;
    throw error;
  }
}

/** Takes one step; a result when the path ends here, else undefined. */
function enter(walk: Walk, name: Name, inode: Inode | undefined): Awaitable<Resolved> | undefined {
  const isLast = walk.rest.length === 0;
  if (name === '..') {
    walk.trail.pop();
    if (inode !== undefined) walk.directory = inode;
    return undefined;
  }
  if (inode === undefined) {
    if (!isLast) throw new OpError('not-found', `resolve ${pathOf(walk, name)}`);
    return arrived(walk, { parent: walk.directory.ino, name, inode, path: pathOf(walk, name) });
  }
  if (isSymlink(inode.mode) && (!isLast || walk.follow)) return followLink(walk, inode);
  if (isLast) {
    return arrived(walk, { parent: walk.directory.ino, name, inode, path: pathOf(walk, name) });
  }
  walk.trail.push({ ino: inode.ino, name });
  walk.directory = inode;
  return undefined;
}

function followLink(walk: Walk, link: Inode): Awaitable<Resolved> | undefined {
  walk.links += 1;
  if (walk.links > SYMLINKS_MAX) throw new OpError('too-many-symlinks', 'resolve');
  const go = (target: Name): Awaitable<Resolved> | undefined => {
    walk.rest.push(...namesOf(target));
    if (!target.startsWith('/')) return undefined;
    walk.trail.length = 0;
    const root = walk.fileSystem.getattr(walk.caller, ROOT_INO);
    if (root instanceof Promise) {
      return root.then((inode) => {
        walk.directory = inode;
        return step(walk);
      });
    }
    walk.directory = root;
    return undefined;
  };
  const target = walk.fileSystem.readlink(walk.caller, link.ino);
  if (target instanceof Promise) return target.then((text) => go(text) ?? step(walk));
  return go(target);
}

function arrivedAtDirectory(walk: Walk): Resolved {
  const last = walk.trail.at(-1);
  const parent = walk.trail.at(-2)?.ino ?? ROOT_INO;
  const path = `/${walk.trail.map(({ name }) => name).join('/')}` as Name;
  return arrived(walk, { parent, name: last?.name ?? ('.' as Name), inode: walk.directory, path });
}

function arrived({ bounds }: Walk, end: Resolved): Resolved {
  if (bounds?.covers(end.path) === false) throw new OpError('policy', 'resolve');
  return end;
}

function demandWay({ bounds }: Walk, path: Name): void {
  if (bounds?.leadsTo(path) === false) throw new OpError('policy', 'resolve');
}

const pathOf = (walk: Walk, name: Name): Name =>
  `/${[...walk.trail.map((part) => part.name), name].join('/')}` as Name;
