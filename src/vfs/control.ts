/**
 * `/.kitfs`: files that say how kitfs is. What they hold is made when they are opened, and a handle
 * keeps it, so a reader sees one moment. Sizes are 0, as in /proc: reading to the end tells.
 */
import type { Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import {
  type Fh,
  type Ino,
  type Name,
  nameOfText,
  ROOT_INO,
  type SuperblockId,
} from '../base/ids.ts';
import { S_IFDIR, S_IFREG, writes } from '../base/posix.ts';
import type { DirectoryEntry, Inode } from './contract.ts';
import { blankRow, DIRECTORY_SIZE } from './core.ts';

/** Inode numbers of control files: from here, below those of content by CID. */
export const CONTROL_INO_FROM = 2 ** 48;
export const CONTROL_INO: Ino = CONTROL_INO_FROM as Ino;
export const CONTROL_NAME = '.kitfs' as Name;

const NO_SUPERBLOCK = 0 as SuperblockId;

/** @throws OpError read-only: the inode is fixed, a control file or content by CID. */
export function demandManaged(ino: Ino, op: string): void {
  if (ino < CONTROL_INO_FROM) return;
  throw new OpError('read-only', op, { hint: 'content by CID and control files never change' });
}

export interface ControlFile {
  readonly name: string;
  /** Only the owner of the root, who runs the daemon, may read it. */
  readonly isPrivate?: boolean;
  /** The whole text at this moment, in UTF-8. */
  render(): Buffer;
}

interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** Bytes by the number of a handle, which outlive the process. */
export interface KeptBytes {
  get(fh: Fh): Buffer | undefined;
  set(fh: Fh, bytes: Buffer): void;
  delete(fh: Fh): void;
}

export class ControlTree {
  readonly #files: readonly ControlFile[];
  readonly #rows = new Map<Ino, Inode>();

  constructor(files: readonly ControlFile[], now: Instant, owner: Owner) {
    this.#files = files;
    const row = (ino: Ino, mode: number) =>
      blankRow({
        ino,
        superblock: NO_SUPERBLOCK,
        mode,
        ...owner,
        nlink: mode >> 12 === S_IFDIR >> 12 ? 2 : 1,
        size: mode >> 12 === S_IFDIR >> 12 ? DIRECTORY_SIZE : 0,
        rdev: 0,
        parent: ROOT_INO,
        now,
      });
    this.#rows.set(CONTROL_INO, row(CONTROL_INO, S_IFDIR | 0o555));
    files.forEach(({ isPrivate = false }, index) => {
      this.#rows.set(inoAt(index), row(inoAt(index), S_IFREG | (isPrivate ? 0o400 : 0o444)));
    });
  }

  find(ino: Ino): Inode {
    const row = this.#rows.get(ino);
    if (row === undefined) throw new OpError('not-found', `inode ${ino}`);
    return row;
  }

  child(parent: Ino, name: Name): Inode | undefined {
    if (parent !== CONTROL_INO) throw new OpError('not-directory', 'lookup');
    if (name === '.') return this.find(CONTROL_INO);
    const index = this.#files.findIndex((file) => nameOfText(file.name) === name);
    return index < 0 ? undefined : this.find(inoAt(index));
  }

  /** The bytes a new handle shows. @throws OpError is-directory, not-found, read-only. */
  open(ino: Ino, flags: number): Buffer {
    if (writes(flags)) throw new OpError('read-only', 'open');
    if (ino === CONTROL_INO) throw new OpError('is-directory', 'open');
    const file = this.#files[ino - CONTROL_INO_FROM - 1];
    if (file === undefined) throw new OpError('not-found', `inode ${ino}`);
    return file.render();
  }

  readdir(cookie: number, take: (entry: DirectoryEntry) => boolean): void {
    const entries: [string, Ino, number][] = [
      ['.', CONTROL_INO, S_IFDIR],
      ['..', ROOT_INO, S_IFDIR],
      ...this.#files.map(({ name }, i): [string, Ino, number] => [name, inoAt(i), S_IFREG]),
    ];
    for (let index = cookie; index < entries.length; index++) {
      const [name, ino, type] = entries[index] ?? ['.', CONTROL_INO, S_IFDIR];
      const inode = index < 2 ? undefined : this.find(ino);
      if (!take({ name: nameOfText(name), ino, type, cookie: index + 1, inode })) return;
    }
  }
}

const inoAt = (index: number): Ino => (CONTROL_INO_FROM + 1 + index) as Ino;

/**
 * Reads of what a handle shows.
 * @throws OpError version-conflict: a daemon before this one had it, and it was not kept; another
 *   text would not go on with that.
 */
export function readText(
  text: Buffer | undefined,
  into: Buffer,
  offset: number,
  length: number,
  position: number,
): number {
  if (text === undefined) throw new OpError('version-conflict', 'read a control file');
  if (position >= text.length) return 0;
  return text.copy(into, offset, position, position + length);
}
