/**
 * The typed face of the native addon: the system calls that Node lacks, and a channel that brings FUSE requests to the
 * event loop. The only file that loads the addon.
 *
 * Rules of every call:
 * - A wrong type throws a `TypeError`; a value out of range, a name that is empty or has NUL in it, and bytes beyond
 *   their buffer throw a `RangeError`. A call on a closed handle throws a `TypeError`. All of them throw at once, also
 *   from a call that returns a promise.
 * - A system call that fails throws (or rejects with) a `NativeError`.
 * - Names and paths are bytes: a Buffer, or a string that is sent as UTF-8.
 * - Every descriptor that is returned is close-on-exec, and belongs to the caller, who ends it with `closeDescriptor`.
 * - Calls without a promise block the thread that makes them; none of them waits for a lock.
 */
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { constants } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** What a failed system call throws. `errno` is positive, unlike in the errors of `node:fs`. */
export interface NativeError extends Error {
  /** As in `ENOENT`. */
  readonly code: string;
  /** Absent only when `code` is `ERR_MOUNT_HELPER`. */
  readonly errno?: number;
  readonly syscall?: string;
}

/** A name in a directory, or a path. Not empty, without NUL; its bytes are not interpreted. */
export type NativeName = string | Uint8Array;

/** In place of the descriptor of a directory: names are relative to the working directory of the process. */
export const AT_FDCWD = -100;

/** What `mountFuse` tells the kernel. Absent flags are off. */
export interface FuseMountOptions {
  /** The first column of /proc/mounts; without commas and line breaks. */
  readonly source: string;
  /** `fuse`, or `fuse.` and a subtype of letters, digits, `_` and `-`. */
  readonly fsType: string;
  readonly readOnly?: boolean;
  readonly nosuid?: boolean;
  readonly nodev?: boolean;
  /** Other users than the mounting one may enter. */
  readonly allowOther?: boolean;
  /** The kernel checks modes before it asks. */
  readonly defaultPermissions?: boolean;
  /** The largest READ the kernel sends; absent or 0 leaves that to the INIT reply. */
  readonly maxReadBytes?: number;
}

export interface UnmountOptions {
  /** MNT_DETACH: gone from the tree at once, ended when the last user is. */
  readonly lazy?: boolean;
  /** MNT_FORCE: what is in flight fails. */
  readonly force?: boolean;
}

export interface ChannelOptions {
  /** Bytes offered to each read(2): at least 8192, and at least the header and the largest WRITE negotiated. */
  readonly requestBytesMax: number;
  /** Bytes of the arena, at least `requestBytesMax`, at most 1 GiB. */
  readonly arenaBytes: number;
  /** Requests in one call of `onRequests`, at most 65536. */
  readonly requestsMax: number;
}

/**
 * Requests from a FUSE descriptor, replies to it. The descriptor stays the caller's: it must be open until `close()`,
 * which does not close it. A channel that polls keeps itself and the event loop alive.
 */
export interface Channel {
  /** Where requests lie while `onRequests` runs; overwritten after it returns. Never transfer it. */
  readonly arena: Buffer;
  /** Offset and length in the arena of each request, pairwise. Offsets are multiples of 8. */
  readonly spans: Uint32Array;
  /**
   * Writes `length` bytes from `offset` as one message. Returns 0 or a positive errno; ENOENT is normal: the request
   * was interrupted, and nobody waits for the answer any more.
   */
  reply(buffer: Uint8Array, offset: number, length: number): number;
  /**
   * Writes `count` messages, each the part of `buffer` that a pair of `spans` (offset, length) names, each by its own
   * write(2). Every length is overwritten with the result of its message: 0 or a positive errno. Returns how many
   * failed with something other than ENOENT.
   */
  replyMany(buffer: Uint8Array, spans: Uint32Array, count: number): number;
  /** Writes a header and a body as one message, without joining them first. Returns as `reply` does. */
  replyWithBytes(
    header: Uint8Array,
    headerOffset: number,
    headerLength: number,
    body: Uint8Array,
    bodyOffset: number,
    bodyLength: number,
  ): number;
  /** Stops to poll. After it every other method throws; a second `close()` does nothing. */
  close(): void;
}

/**
 * A process of its own that writes messages to a FUSE descriptor, in order, from a duplicate of it: the connection
 * stays open until `close()` has resolved. Keep a reference: a notifier that is collected ends as if closed. While a
 * message is stuck in the kernel this process must go on answering requests, or neither can end.
 */
export interface Notifier {
  /**
   * Copies the message (1 byte to 16 MiB) and writes it later. Resolves to 0 or a positive errno: ENOENT is normal (the
   * kernel does not know that inode), ECANCELED means that the notifier was closed first. Rejects with code `ENOBUFS`
   * when `queueMax` messages are unsettled.
   */
  send(message: Uint8Array): Promise<number>;
  /** Finishes the message that is being written, cancels those that wait, and ends the thread. May be repeated. */
  close(): Promise<void>;
}

/** Nanoseconds do not fit one number: whole seconds since 1970 (negative before) and 0–999999999 more. */
export interface NativeTime {
  readonly s: number;
  readonly ns: number;
}

/** The fields of statx(2). */
export interface StatxResult {
  /** STATX_* bits: which fields the file system filled in. */
  readonly mask: number;
  /** The type and the permissions, as in `S_IFMT`. */
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly ino: number;
  /** Bytes. */
  readonly size: number;
  /** Of 512 bytes. */
  readonly blocks: number;
  readonly blksize: number;
  /** STATX_ATTR_* bits, and which of them the file system knows. */
  readonly attributes: number;
  readonly attributesMask: number;
  readonly atime: NativeTime;
  readonly mtime: NativeTime;
  readonly ctime: NativeTime;
  /** Undefined when the file system does not keep it. */
  readonly btime: NativeTime | undefined;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly devMajor: number;
  readonly devMinor: number;
}

export interface NativeDirectoryEntry {
  readonly name: Buffer;
  readonly ino: number;
  /** DT_*: the file type bits of the mode, shifted right by 12; 0 when the file system does not say. */
  readonly type: number;
}

/** The file whose extended attributes are meant: an open descriptor, or a path. */
export type XattrTarget = number | NativeName;

export interface FollowOption {
  /** Whether a last symbolic link in a path is followed. Off by default. */
  readonly follow?: boolean;
}

export interface EmptyPathOption {
  /** An empty name means the file that the descriptor itself is open on. */
  readonly emptyPath?: boolean;
}

/** Mounting and unmounting. */
export interface NativeMounting {
  /** Opens /dev/fuse, non-blocking. */
  openFuseDevice(): number;
  /** mount(2), which needs privilege. The root has the type of `dir`; the mount belongs to the calling user. */
  mountFuse(fd: number, dir: NativeName, options: FuseMountOptions): void;
  /**
   * Runs `helperPath` (absolute: fusermount3, set-user-id) and returns the /dev/fuse it opened and mounted on `dir`,
   * made non-blocking. `options` are those of fusermount3's -o, comma-separated, perhaps empty; `auto_unmount` is
   * refused. Blocks until the helper has ended, at most 30 s. Throws with code `ERR_MOUNT_HELPER` and what the
   * helper said.
   */
  mountWithHelper(helperPath: NativeName, dir: NativeName, options: string): number;
  /** umount2(2) in a thread of the pool, so that this process can go on answering meanwhile. */
  unmount(dir: NativeName, options?: UnmountOptions): Promise<void>;
}

/** An open FUSE connection. */
export interface NativeConnection {
  /**
   * Polls `fd` (made non-blocking). When requests wait, reads as many as fit into the arena and calls `onRequests` once
   * with their number. `onEnd` is called once, and nothing after it: with 0 when the file system was unmounted,
   * otherwise with a positive errno (ECONNABORTED: the connection was aborted). What a callback throws is an
   * uncaught exception.
   */
  openChannel(
    fd: number,
    options: ChannelOptions,
    onRequests: (count: number) => void,
    onEnd: (errno: number) => void,
  ): Channel;
  /**
   * At most `queueMax` messages (up to 1048576) are unsettled at a time. `program` is what writes them
   * (`notifyProgram`).
   */
  openNotifier(
    fd: number,
    options: { readonly queueMax: number; readonly program: string },
  ): Notifier;
  /** Registers a file for passthrough and returns its backing id. Needs CAP_SYS_ADMIN and Linux 6.9. */
  backingOpen(fuseFd: number, fileFd: number): number;
  backingClose(fuseFd: number, backingId: number): void;
}

/** Names in open directories; `dirFd` may be `AT_FDCWD`. Modes are subject to the umask of the process. */
export interface NativeNames {
  /** openat(2) with O_CLOEXEC added. `mode` is 0 when absent. */
  openAt(dirFd: number, name: NativeName, flags: number, mode?: number): number;
  mkdirAt(dirFd: number, name: NativeName, mode: number): void;
  /** `mode` has the type of the node in it. The device numbers count for devices only. */
  mknodAt(
    dirFd: number,
    name: NativeName,
    mode: number,
    rdevMajor: number,
    rdevMinor: number,
  ): void;
  unlinkAt(dirFd: number, name: NativeName, removeDirectory: boolean): void;
  /** `flags`: RENAME_NOREPLACE 1, RENAME_EXCHANGE 2, RENAME_WHITEOUT 4. */
  renameAt2(
    fromDirFd: number,
    from: NativeName,
    toDirFd: number,
    to: NativeName,
    flags: number,
  ): void;
  linkAt(
    fromDirFd: number,
    from: NativeName,
    toDirFd: number,
    to: NativeName,
    options?: FollowOption & EmptyPathOption,
  ): void;
  symlinkAt(target: NativeName, dirFd: number, name: NativeName): void;
  /** The whole target. */
  readlinkAt(dirFd: number, name: NativeName, options?: EmptyPathOption): Buffer;
  /** A RangeError when a number of the file exceeds 2^53 - 1. */
  statx(dirFd: number, name: NativeName, options?: FollowOption & EmptyPathOption): StatxResult;
  /**
   * The next entries of an open directory, without `.` and `..`; none means the end. Reads at most `bytesMax` bytes
   * at a time (1024 to 1048576; 32768 when absent), about 24 bytes an entry and its name.
   */
  readDirectory(fd: number, bytesMax?: number): NativeDirectoryEntry[];
}

/** Extended attributes. An absent one throws ENODATA. */
export interface NativeXattrs {
  getXattr(target: XattrTarget, name: NativeName, options?: FollowOption): Buffer;
  /** `flags`: XATTR_CREATE 1, XATTR_REPLACE 2; 0 when absent. */
  setXattr(
    target: XattrTarget,
    name: NativeName,
    value: Uint8Array,
    flags?: number,
    options?: FollowOption,
  ): void;
  listXattr(target: XattrTarget, options?: FollowOption): Buffer[];
  removeXattr(target: XattrTarget, name: NativeName, options?: FollowOption): void;
}

/** Open files. Offsets and lengths are bytes, 0 to 2^53 - 1. */
export interface NativeFiles {
  /** The descriptor is free afterwards even when this throws. Closing one twice may close somebody else's. */
  closeDescriptor(fd: number): void;
  /** `mode`: FALLOC_FL_* bits. */
  fallocate(fd: number, mode: number, offset: number, length: number): void;
  /** Where the next data, or the next hole, begins at or after `offset`; undefined when there is none. */
  seek(fd: number, offset: number, whence: 'data' | 'hole'): number | undefined;
  /** One copy_file_range(2): returns how many bytes it copied, perhaps fewer, 0 at the end. */
  copyFileRange(
    fdIn: number,
    offsetIn: number,
    fdOut: number,
    offsetOut: number,
    length: number,
  ): number;
  /** Makes `fdTo` share the blocks of `fdFrom`. False when that cannot be done with these two files. */
  reflink(fdFrom: number, fdTo: number): boolean;
  /**
   * fdatasync(2) of each (at most 65536) in a thread of the pool. All are tried; rejects with the first failure,
   * whose property `failed` has the places of all that failed. The descriptors must stay open until it has settled.
   */
  fdatasyncMany(fds: readonly number[]): Promise<void>;
  /** flock(2) without waiting. False when another open file holds a lock in the way. Ends with the descriptor. */
  flockTry(fd: number, exclusive: boolean): boolean;
  /**
   * Who else has the file open, by a descriptor or a mapping: nobody, readers only, or somebody who can
   * write. `fd` is open for reading only. The answer holds until somebody opens the file.
   */
  otherOpeners(fd: number): 'none' | 'readers' | 'writers';
  /**
   * stat(2) of a path, fstat(2) of a descriptor: writes size in bytes, then seconds and nanoseconds of the modification
   * and of the access time, to `into`, which takes at least 5 numbers.
   */
  sense(file: number | string, into: Float64Array): void;
  /** Sets the access time of a file, by its path or a descriptor, to 1970: the next read moves it. */
  unread(file: number | string): void;
  /** Cuts a file to nothing, so that its next close costs no more than that of a new file. */
  empty(path: string): void;
  /** Who connected to, or who listens at, the other end of a Unix socket: as it was at connect(2). */
  peerCredentials(socketFd: number): {
    readonly pid: number;
    readonly uid: number;
    readonly gid: number;
    /** Supplementary groups, SO_PEERGROUPS. */
    readonly groups: readonly number[];
  };
}

/** A time that utimensat(2) sets; undefined leaves it as it is. */
export type GivenTime = 'now' | { readonly s: number; readonly ns: number } | undefined;

/** What one operation of libfuse 2 is about. Text is bytes, one char (U+0000 to U+00FF) each. */
export interface Libfuse2Turn {
  /** Absolute from the root of the mount; absent when the operation has an open handle. */
  readonly path?: string;
  /** The second path, the target of a new link, or the name of an attribute; empty otherwise. */
  readonly other: string;
  /** Who asks: the thread and its ids. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
  /** Of whoever makes something: it was not applied to the mode. */
  readonly umask: number;
  /** Of open(2), of the open file that is written, or 0. */
  readonly flags: number;
  /** Whether these are pages that a mapping changed, and not a write(2). */
  readonly isWriteback: boolean;
  /** What opening answered; 0 when nothing is open. */
  readonly fh: number;
  /** Bytes the caller has room for, where that matters. */
  readonly room: number;
  /** This is fallocate(2), which the package takes for ftruncate. `mode`: FALLOC_FL_* bits. */
  readonly allocate?: { readonly mode: number; readonly position: number; readonly length: number };
  readonly atime: GivenTime;
  readonly mtime: GivenTime;
}

/**
 * What stands between the package fuse-native and libfuse 2, and says what the package does not. Operations of the
 * package are given a number, as text, in place of each path. A number is valid until its operation is answered, and
 * throws a RangeError after that.
 */
export interface Libfuse2 {
  describe(number: number): Libfuse2Turn;
  /**
   * The answer to getattr: ino, mode, nlink, uid, gid, rdev, size, blocks of 512 bytes, then seconds and nanoseconds of
   * atime, mtime and ctime.
   */
  giveStat(number: number, numbers: readonly number[]): void;
  /** The answer to readlink. */
  giveName(number: number, name: Uint8Array): void;
  /** One more entry of the answer to readdir; `type`: type bits of st_mode. */
  giveEntry(number: number, name: Uint8Array, ino: number, type: number): void;
  /** The file that is being opened is read past the kernel's cache. */
  giveDirect(number: number): void;
  /** Calls `told`, once, when libfuse has ended with the mount. */
  watchEnd(told: () => void): void;
}

export interface NativeProcess {
  /**
   * Ends the process with that code at the latest after `delayMs` (up to 60,000), whatever its threads wait for.
   * Returns at once; an end that comes sooner, of any kind, stays what it is.
   */
  endWithin(delayMs: number, code: number): void;
  /**
   * Sends one message of sd_notify(3), lines of NAME=VALUE, at most 4096 bytes, to the manager of services. `socket`:
   * a path, or `@` and a name of the abstract kind, as $NOTIFY_SOCKET has it. Waits for a manager that does not read
   * a second at most, then throws EAGAIN.
   */
  tellSystemd(socket: string, message: string): void;
}

/** One message of a conversation, and the descriptor that came with it. */
export interface NativeMessage {
  readonly bytes: Buffer;
  readonly descriptor?: number;
}

/**
 * What outlives a process. Messages go over Unix sockets of type SOCK_SEQPACKET, 1 to 8192 bytes each. Shared
 * memory is at most 1 GiB, and never becomes shorter.
 */
export interface NativeKeeping {
  /**
   * Throws EPIPE or ECONNRESET when nobody reads any more, EAGAIN when there was no room for `waitMs` (0 when
   * absent, at most 60,000). `descriptor` stays the caller's.
   */
  sendMessage(fd: number, bytes: Uint8Array, descriptor?: number, waitMs?: number): void;
  /**
   * Undefined at the end of the conversation. Throws ETIMEDOUT when nothing came for `waitMs` (at most 60,000),
   * EMSGSIZE when it was too long, EMFILE when its descriptor could not be taken; the message is gone then.
   */
  receiveMessage(fd: number, waitMs: number): NativeMessage | undefined;
  /** Whether poll(2) says so. Of an open /dev/fuse: its connection has ended, by an unmount or an abort. */
  hasFailed(fd: number): boolean;
  /** Connects to a listening socket; the descriptor is non-blocking. ECONNREFUSED: nobody listens any more. */
  connectSeqpacket(path: NativeName): number;
  /** Memory of so many zero bytes, all of them allocated, as a descriptor. */
  makeShared(bytes: number): number;
  /** Allocates a range of what `makeShared` made, which becomes longer when the range is beyond its end. */
  allocateShared(fd: number, position: number, bytes: number): void;
  /**
   * The first `bytes` of what `makeShared` made, here or in another process: whoever maps it sees the same bytes. The
   * descriptor may be closed afterwards. A RangeError for any other descriptor, and for more than there is.
   */
  mapShared(fd: number, bytes: number): Buffer;
  /**
   * execve(2): this process becomes that program (an absolute path), with its own environment and with the descriptors
   * 0, 1 and 2 only, blocking. Does not return; throws when the program cannot be run.
   */
  replaceProcess(path: NativeName, args: readonly string[]): never;
}

/** The whole addon. Take the facet you need, not this. */
export interface Native
  extends NativeMounting,
    NativeConnection,
    NativeNames,
    NativeXattrs,
    NativeFiles,
    NativeProcess,
    NativeKeeping {}

/** Where addons are built, from `src/base` and from `dist/src/base`. */
const PLACES: readonly string[] = ['../../native/build/Release', '../../../native/build/Release'];

const notBuilt = () => new Error('the native addon is not built: run `npm run build:native`');

function isAbsent(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'MODULE_NOT_FOUND';
}

/**
 * Loads the addon; a second call returns the same object. Throws an Error that names `npm run build:native` when it
 * has not been built, and the loader's own error when it does not fit this Node.
 */
export function loadNative(): Native {
  const load = createRequire(import.meta.url);
  for (const place of PLACES) {
    try {
      const addon: Native = load(`${place}/kitfs.node`);
      return addon;
    } catch (error) {
      if (!isAbsent(error)) throw error;
    }
  }
  throw notBuilt();
}

/** Where the keeper lies; native/keeper.cc. Throws as `loadNative` when it has not been built. */
export const keeperProgram = (): string => programNamed('kitfs-keeper');

/** What writes for a notifier; native/notify.cc. Throws as `loadNative`. */
export const notifyProgram = (): string => programNamed('kitfs-notify');

function programNamed(name: string): string {
  const path = builtAt(name);
  if (path === undefined) throw notBuilt();
  return path;
}

function builtAt(name: string): string | undefined {
  return PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url)))
    .map((folder) => join(folder, name))
    .find((candidate) => existsSync(candidate));
}

/**
 * Loads what stands before libfuse 2. To be called once in the life of a process, and before the package fuse-native is
 * loaded: its symbols must be the first that the package finds. Throws as `loadNative`.
 */
export function loadLibfuse2(): Libfuse2 {
  const path = builtAt('kitfs-libfuse2.node');
  if (path === undefined) throw notBuilt();
  const { RTLD_GLOBAL, RTLD_NOW } = constants.dlopen;
  const module: { readonly exports: unknown } = { exports: {} };
  process.dlopen(module, path, RTLD_NOW | RTLD_GLOBAL);
  return module.exports as Libfuse2;
}
