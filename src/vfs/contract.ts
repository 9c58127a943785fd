/**
 * What the faces (kernel, tools) see of the file system: operations by inode number, in the words
 * of POSIX, with the errors of the man pages as `OpError`. One method per operation.
 *
 * Managed trees answer at once (their namespace is in SQLite); content reached by CID may have to
 * be looked for and answers by promise. A mutation is committed when its method returns, or when
 * the journal group it was called in ends.
 */
import type { Fh, Ino, Name } from '../base/ids.ts';
import type { Actor, InodeRow } from '../journal/journal.ts';

/** Attributes of a file, as a row of the journal holds them. Owned by the vfs: read, never write. */
export type Inode = Readonly<InodeRow> & {
  /** Somebody may be writing through a mapping: the attributes are those of this moment. */
  readonly isMappable?: boolean;
  /** The name by which it was found means it for so many milliseconds more; absent: until told. */
  readonly validMs?: number;
};

export type Awaitable<T> = T | Promise<T>;

/** Who asks. One object per process or tool call, reused over its requests. */
export interface Caller {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  /**
   * Whether permission bits were checked already: true for the kernel, which runs with
   * `default_permissions`; everybody else is checked here.
   */
  readonly checked: boolean;
  /** Operations of one tool call share it in the journal. */
  readonly group?: string | undefined;
  /** Who the journal shall say it was. Asked only when something is recorded. */
  actor(): Actor;
}

/** Fields absent stay as they are. Times: seconds and nanoseconds; 'now' is the transaction's. */
export interface AttributeChange {
  readonly mode?: number | undefined;
  readonly uid?: number | undefined;
  readonly gid?: number | undefined;
  readonly size?: number | undefined;
  readonly atime?: TimeChange | undefined;
  readonly mtime?: TimeChange | undefined;
  /** Clear set-id bits as a write by an ordinary user would (FATTR_KILL_SUIDGID). */
  readonly killSetId?: boolean | undefined;
}
export type TimeChange = 'now' | { readonly s: number; readonly ns: number };

/** One open file or directory. */
export interface Handle {
  readonly fh: Fh;
  readonly ino: Ino;
  /** Flags of open(2), without O_CREAT, O_EXCL, O_TRUNC. */
  readonly flags: number;
  /** The kernel reads and writes the file itself, by the backing file of that number. */
  readonly backing?: number | undefined;
  /** What the kernel keeps of its bytes may not be true any more. */
  readonly dropsPages?: boolean | undefined;
}

export interface Opened {
  readonly inode: Inode;
  readonly handle: Handle;
}

/** One entry of a directory. `inode` is present when it was cheap to have. */
export interface DirectoryEntry {
  readonly name: Name;
  readonly ino: Ino;
  /** Type bits of st_mode. */
  readonly type: number;
  /** Where reading goes on behind this entry. */
  readonly cookie: number;
  readonly inode: Inode | undefined;
}

export interface Statfs {
  readonly blockSize: number;
  readonly blocks: number;
  readonly blocksFree: number;
  readonly blocksAvailable: number;
  readonly files: number;
  readonly filesFree: number;
}

export interface RenameFlags {
  /** RENAME_NOREPLACE. */
  readonly noReplace: boolean;
  /** RENAME_EXCHANGE. */
  readonly exchange: boolean;
}

export interface AllocateFlags {
  readonly keepSize: boolean;
  readonly punchHole: boolean;
  readonly zeroRange: boolean;
}

/** Told of every change that did not come from the kernel itself, after its commit. */
export interface Invalidator {
  /** The name appeared, vanished or means another inode now. */
  entry(parent: Ino, name: Name): void;
  /** Attributes changed; with `bytes` the content too. */
  inode(ino: Ino, bytes: boolean): void;
  /**
   * Attributes changed by a request of the kernel that it does not count as a change. The answer to
   * it waits until the kernel has taken this, which therefore waits for nobody.
   */
  uncounted(ino: Ino): void;
  /** Resolves when the kernel has taken all invalidations sent so far. */
  settled(): Promise<void>;
  /** Whether the kernel holds a reference to the inode, and so may still ask about it. */
  knows(ino: Ino): boolean;
}

/** Who waits for an answer. */
export interface Asking {
  /** Aborts when nobody waits any more; made when it is asked for, which few operations do. */
  readonly signal: AbortSignal;
}

/**
 * The operations. All throw (or reject with) `OpError`; the man page of the system call of that
 * name says which failure and when.
 */
export interface FileSystem {
  /** undefined: there is no such name. `.` and `..` are understood. */
  lookup(caller: Caller, parent: Ino, name: Name, asking?: Asking): Awaitable<Inode | undefined>;
  /** The kernel holds no reference to `ino` any more. */
  forget(ino: Ino): void;
  /** Inodes without a name that stay because somebody, perhaps the kernel, still holds them. */
  unnamed(): readonly Ino[];
  getattr(caller: Caller, ino: Ino): Awaitable<Inode>;
  /** Room the inode takes on disk, in units of 512 bytes (st_blocks): holes take none. */
  sectors(inode: Inode): number;
  /** A size other than 0 is given to what is here only, see `bring`. */
  setattr(
    caller: Caller,
    ino: Ino,
    change: AttributeChange,
    fh?: Fh,
    asking?: Asking,
  ): Awaitable<Inode>;
  /** Whether what the inode holds, bytes or names, can be read without waiting for anybody. */
  isHere(ino: Ino): boolean;
  /** Resolves when all bytes of a managed file are here. */
  bring(ino: Ino, asking?: Asking): Promise<void>;
  readlink(caller: Caller, ino: Ino): Awaitable<Name>;
  /**
   * The permission bits asked for, without those in `umask`; but a directory with a default ACL
   * takes that in place of the umask, umask(2).
   */
  newMode(parent: Ino, mode: number, umask: number): number;
  /** Regular files, FIFOs, sockets and devices, by the type bits of `mode`. */
  mknod(caller: Caller, parent: Ino, name: Name, mode: number, rdev: number): Inode;
  mkdir(caller: Caller, parent: Ino, name: Name, mode: number): Inode;
  symlink(caller: Caller, parent: Ino, name: Name, target: Name): Inode;
  link(caller: Caller, ino: Ino, parent: Ino, name: Name): Inode;
  unlink(caller: Caller, parent: Ino, name: Name): void;
  rmdir(caller: Caller, parent: Ino, name: Name): void;
  rename(
    caller: Caller,
    from: { readonly parent: Ino; readonly name: Name },
    to: { readonly parent: Ino; readonly name: Name },
    flags: RenameFlags,
  ): void;
  /** O_TRUNC in `flags` truncates; `killSetId` as in `AttributeChange`. */
  open(
    caller: Caller,
    ino: Ino,
    flags: number,
    killSetId: boolean,
    asking?: Asking,
  ): Awaitable<Handle>;
  create(caller: Caller, parent: Ino, name: Name, mode: number, flags: number): Opened;
  /** A regular file without a name (O_TMPFILE). */
  tmpfile(caller: Caller, parent: Ino, mode: number, flags: number): Opened;
  /** Bytes read; fewer than `length` only at the end of the file. */
  read(
    fh: Fh,
    into: Buffer,
    offset: number,
    length: number,
    position: number,
    asking?: Asking,
  ): Awaitable<number>;
  /**
   * Writes all of it; at the end, whatever `position` is, when it `appends`. Unless told, that is
   * whether O_APPEND is in the handle's flags; the kernel tells, because fcntl(2) changes it.
   */
  write(
    caller: Caller,
    fh: Fh,
    bytes: Buffer,
    position: number,
    killSetId: boolean,
    appends?: boolean,
  ): void;
  /** Writes back pages that a mapping changed: nothing beyond the end of the file as it is now. */
  writePages(caller: Caller, fh: Fh, bytes: Buffer, position: number): void;
  /** Resolves when everything acknowledged about the file is on stable storage. */
  fsync(fh: Fh, dataOnly: boolean): Promise<void>;
  /** The same of a directory, open or not: its names, and all others. */
  fsyncDirectory(): Promise<void>;
  release(fh: Fh): void;
  /** With O_NOATIME in `flags` reading it leaves no trace. */
  opendir(caller: Caller, ino: Ino, flags?: number): Awaitable<Handle>;
  /** `readdir` without a handle, for who was let into the directory already. */
  list(
    ino: Ino,
    cookie: number,
    withInodes: boolean,
    take: (entry: DirectoryEntry) => boolean,
    asking?: Asking,
  ): Awaitable<void>;
  /**
   * Hands entries behind `cookie` (0 = from the start, `.` and `..` included) to `take` until it
   * returns false or the end is reached.
   */
  readdir(
    fh: Fh,
    cookie: number,
    withInodes: boolean,
    take: (entry: DirectoryEntry) => boolean,
    asking?: Asking,
  ): Awaitable<void>;
  releasedir(fh: Fh): void;
  statfs(ino: Ino): Statfs;
  /** undefined: no such attribute. */
  getxattr(caller: Caller, ino: Ino, name: Name): Awaitable<Buffer | undefined>;
  /** `killSetGid`: with an ACL, set-gid goes, because the kernel found the caller not in the group. */
  setxattr(
    caller: Caller,
    ino: Ino,
    name: Name,
    value: Buffer,
    mode: 'any' | 'create' | 'replace',
    killSetGid?: boolean,
  ): void;
  listxattr(caller: Caller, ino: Ino): Awaitable<readonly Name[]>;
  removexattr(caller: Caller, ino: Ino, name: Name): void;
  access(caller: Caller, ino: Ino, mask: number): Awaitable<void>;
  fallocate(caller: Caller, fh: Fh, flags: AllocateFlags, position: number, length: number): void;
  /** SEEK_DATA or SEEK_HOLE. */
  lseek(fh: Fh, position: number, whence: 'data' | 'hole'): Awaitable<number>;
  /** Bytes copied. */
  copyFileRange(
    caller: Caller,
    from: { readonly fh: Fh; readonly position: number },
    to: { readonly fh: Fh; readonly position: number },
    length: number,
  ): number;
}
