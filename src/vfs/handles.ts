/**
 * Open files and directories, and per inode how many there are. A handle's number is never used
 * again in the life of the connection, which may be longer than that of the daemon.
 */
import { OpError } from '../base/errors.ts';
import type { ActorId, ContentId, Fh, Ino, Name } from '../base/ids.ts';
import { O_ACCMODE, O_RDWR } from '../base/posix.ts';
import type { Caller, Handle } from './contract.ts';
import type { HandleTable } from './handle-table.ts';

/** The journal row of what a handle wrote since it was opened or last synced. */
export interface WriteSession {
  readonly id: number;
  /** Who opened it. */
  readonly actor: ActorId;
  /** Version of the content when it began, or was last recorded. */
  version: number;
  /** Range of the bytes that changed: [from, to). */
  from: number;
  to: number;
}

/** What was there before bytes that no record tells of yet. */
export interface Before {
  readonly before: Readonly<Record<string, unknown>>;
  /** NO_CONTENT when the bytes were not kept. */
  readonly oldContent: ContentId;
  readonly oldSize: number;
}

export interface OpenFile extends Handle {
  /** By which it was opened. A daemon that took it over knows it of those with a session. */
  path: Name;
  backing: number | undefined;
  dropsPages: boolean;
  readonly opener: Caller;
  session: WriteSession | undefined;
}

/** What is open of one inode. */
export interface OpenInode {
  count: number;
  /** Whether the content object is this inode's alone and may be written in place. */
  isPrivate: boolean;
  /** Handles with a write session. */
  writers: number;
  /** While there are some: what the next record of any of them says of before. */
  base: Before | undefined;
}

export class Handles {
  readonly #files = new Map<Fh, OpenFile>();
  readonly #inodes = new Map<Ino, OpenInode>();
  /** Handles by which a mapping may be written. */
  readonly #mappable = new Map<Ino, number>();
  /** Given back by those who held them, which could not be written down yet. */
  readonly unreleased = new Set<Fh>();
  /** Taken from those who hold them, and not released by them yet. */
  readonly #revoked = new Set<Fh>();
  readonly #table: HandleTable;

  constructor(table: HandleTable) {
    this.#table = table;
  }

  add(ino: Ino, flags: number, path: Name, opener: Caller): OpenFile {
    const fh = (this.#table.lastFh + 1) as Fh;
    this.#table.lastFh = fh;
    const [session, backing, dropsPages] = [undefined, undefined, false];
    const file: OpenFile = { fh, ino, flags, path, opener, session, backing, dropsPages };
    this.#enter(file);
    return file;
  }

  /** A handle of a daemon before this one. */
  adopt(held: Pick<OpenFile, 'fh' | 'ino' | 'flags' | 'path' | 'opener' | 'backing'>): OpenFile {
    const file: OpenFile = { ...held, session: undefined, dropsPages: false };
    this.#enter(file);
    return file;
  }

  /** One that cannot be gone on with: whoever holds it is told so. */
  disown(fh: Fh): void {
    this.#revoked.add(fh);
  }

  /** @throws OpError bad-handle; version-conflict when it was revoked (the kernel says ESTALE). */
  get(fh: Fh): OpenFile {
    const file = this.#files.get(fh);
    if (file !== undefined) return file;
    throw new OpError(this.#revoked.has(fh) ? 'version-conflict' : 'bad-handle', `handle ${fh}`);
  }

  find(fh: Fh): OpenFile | undefined {
    return this.#files.get(fh);
  }

  /** Forgets a handle; how many of its inode are left. */
  remove(fh: Fh): number {
    const file = this.#files.get(fh);
    this.#revoked.delete(fh);
    if (file === undefined) return 0;
    this.#files.delete(fh);
    this.#countMappable(file, -1);
    const open = this.#inodes.get(file.ino);
    if (open === undefined) return 0;
    open.count -= 1;
    if (open.count === 0) this.#inodes.delete(file.ino);
    return open.count;
  }

  /** Undoes `remove`: `open` is what the handle's inode had then. */
  restore(file: OpenFile, open: OpenInode): void {
    this.#files.set(file.fh, file);
    this.#countMappable(file, 1);
    const others = this.#inodes.get(file.ino);
    if (others !== undefined && others !== open) open.count = others.count;
    open.count += 1;
    this.#inodes.set(file.ino, open);
  }

  /** Takes a handle from who holds it: all its operations fail from now on. */
  revoke(fh: Fh): void {
    this.remove(fh);
    this.#revoked.add(fh);
    this.#table.revoked(fh);
  }

  #countMappable({ ino, flags }: OpenFile, by: 1 | -1): void {
    if ((flags & O_ACCMODE) !== O_RDWR) return;
    const count = (this.#mappable.get(ino) ?? 0) + by;
    if (count === 0) this.#mappable.delete(ino);
    else this.#mappable.set(ino, count);
  }

  /** Whether somebody may write through a mapping (mmap(2) wants a handle for reading too). */
  isMappable(ino: Ino): boolean {
    return this.#mappable.has(ino);
  }

  #enter(file: OpenFile): void {
    this.#files.set(file.fh, file);
    this.#countMappable(file, 1);
    const open = this.#inodes.get(file.ino);
    if (open !== undefined) open.count += 1;
    else this.#inodes.set(file.ino, { count: 1, isPrivate: false, writers: 0, base: undefined });
  }

  isOpen(ino: Ino): boolean {
    return this.#inodes.has(ino);
  }

  count(ino: Ino): number {
    return this.#inodes.get(ino)?.count ?? 0;
  }

  openInode(ino: Ino): OpenInode | undefined {
    return this.#inodes.get(ino);
  }

  all(): IterableIterator<OpenFile> {
    return this.#files.values();
  }

  get size(): number {
    return this.#files.size;
  }
}
