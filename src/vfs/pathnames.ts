/** From inode to absolute path. Directories have one name, so theirs are remembered. */
import { type Ino, type Name, ROOT_INO } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import type { Journal } from '../journal/journal.ts';
import type { InodeCache } from './inodes.ts';
import type { MountTable } from './mounts.ts';

/** Remembered directories before all are forgotten. */
const REMEMBERED_MAX = 65_536;
/** A tree deeper than this cannot be addressed by path anyway (PATH_MAX / 2). */
const DEPTH_MAX = 2048;

export class Pathnames {
  readonly #journal: Journal;
  readonly #inodes: InodeCache;
  readonly #mounts: MountTable;
  readonly #directories = new Map<Ino, Name>();

  constructor(journal: Journal, inodes: InodeCache, mounts: MountTable) {
    this.#journal = journal;
    this.#inodes = inodes;
    this.#mounts = mounts;
  }

  /** `/ipfs/a/b` for `b` in the directory `/ipfs/a`. */
  join(parent: Ino, name: Name): Name {
    const above = this.ofDirectory(parent);
    return (above === '/' ? `/${name}` : `${above}/${name}`) as Name;
  }

  /** Path of a directory; of one without a name, the last part only, in parentheses. */
  ofDirectory(ino: Ino): Name {
    if (ino === ROOT_INO) return '/' as Name;
    const known = this.#directories.get(ino);
    if (known !== undefined) return known;
    const path = this.#walk(ino, 0);
    if (this.#directories.size >= REMEMBERED_MAX) this.#directories.clear();
    this.#directories.set(ino, path);
    return path;
  }

  /** Some path of an inode: for a file the first of its names. */
  ofInode(ino: Ino): Name {
    const row = this.#inodes.find(ino);
    if (row === undefined || isDirectory(row.mode)) return this.ofDirectory(ino);
    const first = this.#journal.dentries.namesOf(ino)[0];
    return first === undefined ? nameless(ino) : this.join(first.parent, first.name);
  }

  /** A directory was renamed, removed or covered: what was remembered may be wrong. */
  forget(): void {
    this.#directories.clear();
  }

  #walk(ino: Ino, depth: number): Name {
    if (ino === ROOT_INO) return '/' as Name;
    const cover = this.#mounts.coverOf(ino);
    const dentry = cover ?? this.#journal.dentries.namesOf(ino)[0];
    if (dentry === undefined || depth > DEPTH_MAX) return nameless(ino);
    const above = this.#directories.get(dentry.parent) ?? this.#walk(dentry.parent, depth + 1);
    return (above === '/' ? `/${dentry.name}` : `${above}/${dentry.name}`) as Name;
  }
}

const nameless = (ino: Ino): Name => `(inode ${ino})` as Name;
