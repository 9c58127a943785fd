/**
 * The operations as the package fuse-native calls them: each is one of `pathwise-operations.ts` and
 * the form that its answer has. Every entry hands its answer to `serve`, which sees to it that there
 * is one, and only one.
 */
import { bytesOf, textOf } from '../base/ids.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import type { Libfuse2 } from '../base/native.ts';
import type { Awaitable, Statfs } from '../vfs/vfs.ts';
import { isControl } from './encode.ts';
import type { Opening, Openings } from './openings.ts';
import {
  type Attributes,
  chmod,
  chown,
  create,
  fsync,
  fsyncdir,
  getattr,
  getxattr,
  type InTurn,
  link,
  listxattr,
  mkdir,
  mknod,
  open,
  opendir,
  type PathCall,
  read,
  readdir,
  readlink,
  removexattr,
  rename,
  rmdir,
  setxattr,
  statfs,
  symlink,
  truncate,
  truncateOrAllocate,
  unlink,
  utimens,
  write,
} from './pathwise-operations.ts';
import type { Answer, PackageOperations, Ticket } from './pathwise-package.ts';

/** How one operation is served. */
export interface Entry<T> {
  readonly serve: (call: PathCall) => Awaitable<T> | InTurn<T>;
  /** Answers with the result: leaves what the package would garble, then calls `done`. */
  readonly answer: (value: T, libfuse: Libfuse2, number: number) => void;
  /** Answers with an error, or whatever `answer` makes of it. */
  readonly done: Answer;
  /** Gives back what nobody waits for any more. */
  readonly drop?: (value: T) => void;
  /** Runs outside a group, because it waits for what was committed before it; for as long as it takes. */
  readonly isSync?: boolean;
}

/** What the operations need of the driver. */
export interface Ports {
  serve<T>(ticket: Ticket, entry: Entry<T>): void;
  readonly openings: Openings;
  giveBack(opening: Opening): void;
}

type Part<K extends keyof PackageOperations> = Pick<PackageOperations, K>;

export function operationsAt(ports: Ports): PackageOperations {
  return {
    ...nameOperations(ports),
    ...attributeOperations(ports),
    ...xattrOperations(ports),
    ...fileOperations(ports),
    ...directoryOperations(ports),
  };
}

/** Operations whose answer is that they are done. */
function plainly(ports: Ports) {
  return (ticket: Ticket, done: Answer, serve: (call: PathCall) => Awaitable<void>): void =>
    ports.serve(ticket, { serve, done, answer: () => done(0) });
}

function nameOperations(
  ports: Ports,
): Part<'mknod' | 'mkdir' | 'symlink' | 'link' | 'unlink' | 'rmdir' | 'rename' | 'readlink'> {
  const plain = plainly(ports);
  return {
    mknod: (ticket, mode, rdev, done) => plain(ticket, done, (call) => mknod(call, mode, rdev)),
    mkdir: (ticket, mode, done) => plain(ticket, done, (call) => mkdir(call, mode)),
    symlink: (ticket, _target, done) => plain(ticket, done, symlink),
    link: (ticket, _to, done) => plain(ticket, done, link),
    unlink: (ticket, done) => plain(ticket, done, unlink),
    rmdir: (ticket, done) => plain(ticket, done, rmdir),
    rename: (ticket, _to, done) => plain(ticket, done, rename),
    readlink: (ticket, done) =>
      ports.serve(ticket, {
        serve: readlink,
        done,
        answer: (target, libfuse, number) => {
          libfuse.giveName(number, bytesOf(target));
          done(0, '');
        },
      }),
  };
}

function attributeOperations(
  ports: Ports,
): Part<
  'getattr' | 'fgetattr' | 'chmod' | 'chown' | 'truncate' | 'ftruncate' | 'utimens' | 'statfs'
> {
  const plain = plainly(ports);
  const stat = (ticket: Ticket, done: Answer) =>
    ports.serve(ticket, {
      serve: getattr,
      done,
      answer: (attributes, libfuse, number) => {
        libfuse.giveStat(number, statOf(attributes));
        done(0);
      },
    });
  return {
    getattr: stat,
    fgetattr: (ticket, _fd, done) => stat(ticket, done),
    chmod: (ticket, mode, done) => plain(ticket, done, (call) => chmod(call, mode)),
    chown: (ticket, uid, gid, done) => plain(ticket, done, (call) => chown(call, uid, gid)),
    truncate: (ticket, size, done) => plain(ticket, done, (call) => truncate(call, size)),
    ftruncate: (ticket, _fd, size, done) =>
      plain(ticket, done, (call) => truncateOrAllocate(call, size)),
    // The times are in the call; those the package gives are of the wrong unit, and one is wrong.
    utimens: (ticket, _atime, _mtime, done) => plain(ticket, done, utimens),
    statfs: (ticket, done) =>
      ports.serve(ticket, { serve: statfs, done, answer: (space) => done(0, spaceOf(space)) }),
  };
}

function xattrOperations(
  ports: Ports,
): Part<'setxattr' | 'getxattr' | 'listxattr' | 'removexattr'> {
  const plain = plainly(ports);
  return {
    // The package's memory ends with the answer; what is stored must not.
    setxattr: (ticket, _name, value, _position, flags, done) =>
      plain(ticket, done, (call) => setxattr(call, Buffer.from(value), flags)),
    getxattr: (ticket, _name, _position, done) =>
      ports.serve(ticket, { serve: getxattr, done, answer: (value) => done(0, value) }),
    listxattr: (ticket, done) =>
      ports.serve(ticket, {
        serve: listxattr,
        done,
        answer: (names) => done(0, names.map(textOf)),
      }),
    removexattr: (ticket, _name, done) => plain(ticket, done, removexattr),
  };
}

/** Opens, and answers with the number of what is open. */
function opening(ports: Ports) {
  return (ticket: Ticket, done: Answer, serve: (call: PathCall) => Awaitable<Opening>): void =>
    ports.serve(ticket, {
      serve,
      done,
      answer: (opened, libfuse, number) => {
        // The size of a control file is 0 until it is read.
        if (isControl(opened.ino) && !opened.isDirectory) libfuse.giveDirect(number);
        done(0, ports.openings.add(opened));
      },
      drop: (opened) => ports.giveBack(opened),
    });
}

/** The end of what is open. The answer is not waited for by anybody. */
function closing(ports: Ports) {
  return (ticket: Ticket, fd: number, done: Answer): void =>
    plainly(ports)(ticket, done, () => {
      const opened = ports.openings.take(fd);
      if (opened !== undefined) ports.giveBack(opened);
    });
}

/** The answer waits for the disk. */
function syncing(ports: Ports) {
  return (ticket: Ticket, done: Answer, serve: (call: PathCall) => Promise<void>): void =>
    ports.serve(ticket, { serve, done, answer: () => done(0), isSync: true });
}

function fileOperations(
  ports: Ports,
): Part<'open' | 'create' | 'read' | 'write' | 'fsync' | 'release'> {
  const opens = opening(ports);
  return {
    open: (ticket, _flags, done) => opens(ticket, done, open),
    create: (ticket, mode, done) => opens(ticket, done, (call) => create(call, mode)),
    read: (ticket, _fd, into, length, position, done) =>
      ports.serve(ticket, {
        serve: (call) => read(call, length, position),
        done,
        answer: (bytes) => done(bytes.copy(into)),
      }),
    write: (ticket, _fd, bytes, length, position, done) =>
      ports.serve(ticket, {
        serve: (call) => write(call, bytes, position),
        done,
        answer: () => done(length),
      }),
    fsync: (ticket, dataOnly, _fd, done) =>
      syncing(ports)(ticket, done, (call) => fsync(call, dataOnly !== 0)),
    release: closing(ports),
  };
}

function directoryOperations(
  ports: Ports,
): Part<'opendir' | 'fsyncdir' | 'readdir' | 'releasedir'> {
  const opens = opening(ports);
  return {
    opendir: (ticket, _flags, done) => opens(ticket, done, opendir),
    fsyncdir: (ticket, _dataOnly, _fd, done) => syncing(ports)(ticket, done, fsyncdir),
    readdir: (ticket, done) =>
      ports.serve(ticket, {
        serve: readdir,
        done,
        answer: (entries, libfuse, number) => {
          for (const { name, ino, type } of entries) {
            libfuse.giveEntry(number, bytesOf(name), ino, type);
          }
          done(0, [], []);
        },
      }),
    releasedir: closing(ports),
  };
}

const statOf = ({ inode, mode, sectors }: Attributes): number[] => [
  ...[inode.ino, mode, inode.nlink, inode.uid, inode.gid, inode.rdev, inode.size, sectors],
  ...[inode.atimeS, inode.atimeNs, inode.mtimeS, inode.mtimeNs, inode.ctimeS, inode.ctimeNs],
];

const spaceOf = (space: Statfs) => ({
  bsize: space.blockSize,
  frsize: space.blockSize,
  blocks: space.blocks,
  bfree: space.blocksFree,
  bavail: space.blocksAvailable,
  files: space.files,
  ffree: space.filesFree,
  favail: space.filesFree,
  namemax: NAME_BYTES_MAX,
});
