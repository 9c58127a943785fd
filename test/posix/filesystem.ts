/**
 * Some file system, by path, as the table of POSIX cases sees it: in process, or through the
 * kernel. Failures reject with an error whose `code` is the errno's name.
 */
export interface Stat {
  readonly ino: number;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  readonly rdev: number;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
}

export interface Time {
  readonly s: number;
  readonly ns: number;
}

/** As statfs(2) has it. */
export interface Space {
  readonly blockSize: number;
  readonly blocks: number;
  readonly blocksFree: number;
  readonly blocksAvailable: number;
  readonly files: number;
  readonly filesFree: number;
}

/** A name or path: text, or bytes that are not UTF-8 in latin1 behind a marker. */
export type Path = string;

const BYTE_MARK = '\u{10ffff}';

/** Names as bytes: every char below U+0100 stands for one byte. */
export const bytePath = (latin1: string): Path => `${BYTE_MARK}${latin1}`;

export const bytesOfPath = (path: Path): Buffer =>
  path.startsWith(BYTE_MARK)
    ? Buffer.from(path.slice(BYTE_MARK.length), 'latin1')
    : Buffer.from(path, 'utf8');

export interface Filesystem {
  /** From now on calls are made as this user; root in the beginning. `groups` are supplementary. */
  as(uid: number, gid: number, groups?: readonly number[]): Promise<void>;
  mkdir(path: Path, mode: number): Promise<void>;
  rmdir(path: Path): Promise<void>;
  unlink(path: Path): Promise<void>;
  /** flags of renameat2(2): 1 RENAME_NOREPLACE, 2 RENAME_EXCHANGE. */
  rename(from: Path, to: Path, flags?: number): Promise<void>;
  link(from: Path, to: Path): Promise<void>;
  symlink(target: Path, path: Path): Promise<void>;
  readlink(path: Path): Promise<string>;
  lstat(path: Path): Promise<Stat>;
  stat(path: Path): Promise<Stat>;
  chmod(path: Path, mode: number): Promise<void>;
  chown(path: Path, uid: number, gid: number): Promise<void>;
  utimes(path: Path, atimeS: number, mtimeS: number): Promise<void>;
  truncate(path: Path, size: number): Promise<void>;
  mknod(path: Path, mode: number, major: number, minor: number): Promise<void>;
  readdir(path: Path): Promise<string[]>;
  /** Opens a directory to be read in pieces. Ends with `close`. */
  opendir(path: Path): Promise<number>;
  /** Some of the names that come next, without `.` and `..`; none at the end. */
  readSome(fd: number): Promise<string[]>;
  statfs(path: Path): Promise<Space>;
  open(path: Path, flags: number, mode?: number): Promise<number>;
  /** A file in that directory without a name (O_TMPFILE), open for reading and writing. */
  tmpfile(directory: Path, mode: number): Promise<number>;
  /** Gives an open file a name. */
  linkFile(fd: number, path: Path): Promise<void>;
  close(fd: number): Promise<void>;
  /** Text in latin1: one char per byte. */
  read(fd: number, length: number, position: number): Promise<string>;
  write(fd: number, latin1: string, position: number): Promise<void>;
  fsync(fd: number): Promise<void>;
  fstat(fd: number): Promise<Stat>;
  /** Bits of fallocate(2): 1 keep size, 2 punch hole, 16 zero range. */
  fallocate(fd: number, mode: number, position: number, length: number): Promise<void>;
  seek(fd: number, position: number, whence: 'data' | 'hole'): Promise<number>;
  copyRange(from: number, fromAt: number, to: number, toAt: number, n: number): Promise<number>;
  getxattr(path: Path, name: string): Promise<string>;
  setxattr(path: Path, name: string, latin1: string, flags: number): Promise<void>;
  listxattr(path: Path): Promise<string[]>;
  removexattr(path: Path, name: string): Promise<void>;
}

/** A time for utimensat(2). */
export type Moment = Time | 'now' | 'omit';

/** Some of what statx(2) tells, and stat(2) does not. */
export interface Facts {
  readonly btime: Time;
  /** Of 512 bytes. */
  readonly blocks: number;
}

/** What the table asks besides; the model has no need of it. */
export interface PosixFilesystem extends Filesystem {
  /** access(2): bits 4, 2, 1 for reading, writing, executing; 0 asks whether it is there. */
  access(path: Path, mask: number): Promise<void>;
  /** A symbolic link is itself meant. */
  utimens(path: Path, atime: Moment, mtime: Moment): Promise<void>;
  /** A symbolic link is itself meant. */
  statx(path: Path): Promise<Facts>;
}
