/**
 * The operations of a driver that is asked by path: each is a walk and one call on the file system.
 * Who gives the calls, and where the answers go, is `pathwise.ts`'s.
 */
import { OpError } from '../base/errors.ts';
import type { Fh, Ino, Name } from '../base/ids.ts';
import { FILE_BYTES_MAX } from '../base/limits.ts';
import type { Libfuse2Turn } from '../base/native.ts';
import { O_APPEND, O_TRUNC } from '../base/posix.ts';
import type {
  Asking,
  AttributeChange,
  Awaitable,
  Caller,
  DirectoryEntry,
  FileSystem,
  Inode,
  Statfs,
  TimeChange,
} from '../vfs/vfs.ts';
import { CONTROL_INO_FROM, narrowMode } from '../vfs/vfs.ts';
import { FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE, FALLOC_FL_ZERO_RANGE } from './layout.ts';
import type { Opening } from './openings.ts';
import { after, type Place, walk, walkToPlace } from './walk.ts';

/** One call. A call on what is open has a handle, and no path. */
export interface PathCall {
  readonly fileSystem: FileSystem;
  readonly caller: Caller;
  readonly path: Name | undefined;
  /** The second path, the target of a link, or the name of an attribute. */
  readonly other: Name;
  /** What is open; undefined when nothing is. */
  readonly opened: Opening | undefined;
  /** Not applied yet to the mode of what is made. */
  readonly umask: number;
  /** Of the open file. */
  readonly flags: number;
  /** Whether the bytes written are pages that a mapping changed. */
  readonly isWriteback: boolean;
  /** Bytes the caller has room for; 0 asks how many there are. */
  readonly room: number;
  /** What fallocate(2) asks; undefined in every other call. */
  readonly allocate: Libfuse2Turn['allocate'];
  readonly atime: TimeChange | undefined;
  readonly mtime: TimeChange | undefined;
  /** Aborts when the call is answered. */
  readonly signal: AbortSignal;
}

const PERMISSION_BITS = 0o7777;
/** chown(2)'s "as it is", as an unsigned number. */
const UNCHANGED_ID = 0xffff_ffff;
/** Struct statvfs arrives in 32-bit numbers. */
const COUNT_MAX = 0xffff_ffff;

const target = ({ fileSystem, path, opened }: PathCall): Awaitable<Ino> => {
  if (path !== undefined) return walk(fileSystem, path);
  if (opened !== undefined) return opened.ino;
  throw new OpError('bad-handle', 'serve a call without a path');
};

const place = ({ fileSystem, path }: PathCall): Awaitable<Place> => {
  if (path === undefined) throw new OpError('not-found', 'find a name without a path');
  return walkToPlace(fileSystem, path);
};

const handle = ({ opened }: PathCall): Fh => {
  if (opened === undefined) throw new OpError('bad-handle', 'use a file that is not open');
  return opened.fh;
};

/** What is to be done in its turn. */
export type InTurn<T> = (asking: Asking) => Promise<T>;

/** What is elsewhere may have to be waited for: what reads it takes no memory before its turn. */
function inTurn<T>(
  { opened, fileSystem }: PathCall,
  read: (asking?: Asking) => Awaitable<T>,
): Awaitable<T> | InTurn<T> {
  const isHere = opened === undefined || fileSystem.isHere(opened.ino);
  return isHere ? read() : async (asking) => read(asking);
}

/** What stat(2) tells, as far as libfuse carries it. */
export interface Attributes {
  readonly inode: Inode;
  /** For a kernel that knows no ACLs, and checks permissions by the mode. */
  readonly mode: number;
  /** Units of 512 bytes. */
  readonly sectors: number;
}

export function getattr(call: PathCall): Awaitable<Attributes> {
  const { fileSystem, caller } = call;
  return after(target(call), (ino) =>
    after(fileSystem.getattr(caller, ino), (inode) => ({
      inode,
      mode: narrowMode(inode),
      sectors: fileSystem.sectors(inode),
    })),
  );
}

export function readlink(call: PathCall): Awaitable<Name> {
  return after(target(call), (ino) => call.fileSystem.readlink(call.caller, ino));
}

const masked = ({ fileSystem, umask }: PathCall, parent: Ino, mode: number): number =>
  fileSystem.newMode(parent, mode, umask);

export function mknod(call: PathCall, mode: number, rdev: number): Awaitable<void> {
  return after(place(call), ({ parent, name }) => {
    call.fileSystem.mknod(call.caller, parent, name, masked(call, parent, mode), rdev);
  });
}

export function mkdir(call: PathCall, mode: number): Awaitable<void> {
  return after(place(call), ({ parent, name }) => {
    const bits = masked(call, parent, mode & PERMISSION_BITS);
    call.fileSystem.mkdir(call.caller, parent, name, bits);
  });
}

export function symlink(call: PathCall): Awaitable<void> {
  return after(place(call), ({ parent, name }) => {
    call.fileSystem.symlink(call.caller, parent, name, call.other);
  });
}

export function unlink(call: PathCall): Awaitable<void> {
  return after(place(call), ({ parent, name }) => {
    call.fileSystem.unlink(call.caller, parent, name);
  });
}

export function rmdir(call: PathCall): Awaitable<void> {
  return after(place(call), ({ parent, name }) => {
    call.fileSystem.rmdir(call.caller, parent, name);
  });
}

export function rename(call: PathCall): Awaitable<void> {
  const { fileSystem, caller, other } = call;
  return after(place(call), (from) =>
    after(walkToPlace(fileSystem, other), (to) => {
      fileSystem.rename(caller, from, to, { noReplace: false, exchange: false });
    }),
  );
}

export function link(call: PathCall): Awaitable<void> {
  const { fileSystem, caller, other } = call;
  return after(target(call), (ino) =>
    after(walkToPlace(fileSystem, other), ({ parent, name }) => {
      fileSystem.link(caller, ino, parent, name);
    }),
  );
}

export function chmod(call: PathCall, mode: number): Awaitable<void> {
  return setattr(call, { mode: mode & PERMISSION_BITS });
}

export function chown(call: PathCall, uid: number, gid: number): Awaitable<void> {
  return setattr(call, {
    uid: uid === UNCHANGED_ID ? undefined : uid,
    gid: gid === UNCHANGED_ID ? undefined : gid,
  });
}

export function truncate(call: PathCall, size: number): Awaitable<void> {
  if (size > FILE_BYTES_MAX) throw new OpError('file-too-large', 'truncate');
  return setattr(call, { size });
}

/** truncate(2) of what is open, or what travels in its name. */
export function truncateOrAllocate(call: PathCall, size: number): Awaitable<void> {
  if (call.allocate === undefined) return truncate(call, size);
  const { mode, position, length } = call.allocate;
  const known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~known) !== 0) throw new OpError('unsupported', `fallocate of mode ${mode}`);
  if (position + length > FILE_BYTES_MAX) throw new OpError('file-too-large', 'fallocate');
  const flags = {
    keepSize: (mode & FALLOC_FL_KEEP_SIZE) !== 0,
    punchHole: (mode & FALLOC_FL_PUNCH_HOLE) !== 0,
    zeroRange: (mode & FALLOC_FL_ZERO_RANGE) !== 0,
  };
  call.fileSystem.fallocate(call.caller, handle(call), flags, position, length);
}

export function utimens(call: PathCall): Awaitable<void> {
  return setattr(call, { atime: call.atime, mtime: call.mtime });
}

function setattr(call: PathCall, change: AttributeChange): Awaitable<void> {
  const { fileSystem, caller, opened } = call;
  return after(target(call), (ino) => {
    const apply = () =>
      after(fileSystem.setattr(caller, ino, change, opened?.fh, call), () => undefined);
    // What stays of a file that is cut must be here; of one that is emptied nothing does.
    const isCut = (change.size ?? 0) > 0 && ino < CONTROL_INO_FROM;
    if (!isCut || fileSystem.isHere(ino)) return apply();
    return fileSystem.bring(ino, call).then(() => {
      call.signal.throwIfAborted();
      return apply();
    });
  });
}

/**
 * The kernel clears set-id bits before a write or a truncation, but not when opening truncates:
 * that it leaves to us.
 */
export function open(call: PathCall): Awaitable<Opening> {
  const { fileSystem, caller, flags } = call;
  const killSetId = (flags & O_TRUNC) !== 0 && caller.uid !== 0;
  return after(target(call), (ino) =>
    after(fileSystem.open(caller, ino, flags, killSetId, call), ({ fh }) => {
      return { fh, ino, isDirectory: false };
    }),
  );
}

export function create(call: PathCall, mode: number): Awaitable<Opening> {
  const { fileSystem, caller, flags } = call;
  return after(place(call), ({ parent, name }) => {
    const bits = masked(call, parent, mode);
    const { inode, handle } = fileSystem.create(caller, parent, name, bits, flags);
    return { fh: handle.fh, ino: inode.ino, isDirectory: false };
  });
}

/**
 * At most `length` bytes. In memory of its own: what the package lends is gone when the answer is
 * given, and the answer may be given before the bytes come.
 */
export function read(
  call: PathCall,
  length: number,
  position: number,
): Awaitable<Buffer> | InTurn<Buffer> {
  if (position > FILE_BYTES_MAX) return Buffer.alloc(0);
  return inTurn(call, (asking) => {
    const bytes = Buffer.allocUnsafe(length);
    const count = call.fileSystem.read(handle(call), bytes, 0, length, position, asking);
    return after(count, (number) => bytes.subarray(0, number));
  });
}

export function write(call: PathCall, bytes: Buffer, position: number): void {
  if (position + bytes.length > FILE_BYTES_MAX) throw new OpError('file-too-large', 'write');
  if (call.isWriteback) {
    call.fileSystem.writePages(call.caller, handle(call), bytes, position);
    return;
  }
  const appends = (call.flags & O_APPEND) !== 0;
  call.fileSystem.write(call.caller, handle(call), bytes, position, false, appends);
}

export function fsync(call: PathCall, dataOnly: boolean): Promise<void> {
  return call.fileSystem.fsync(handle(call), dataOnly);
}

export function fsyncdir(call: PathCall): Promise<void> {
  return call.fileSystem.fsyncDirectory();
}

export function opendir(call: PathCall): Awaitable<Opening> {
  return after(target(call), (ino) =>
    after(call.fileSystem.opendir(call.caller, ino), ({ fh }) => {
      return { fh, ino, isDirectory: true };
    }),
  );
}

/** All entries: libfuse keeps them from here until the directory is read from its start again. */
export function readdir(
  call: PathCall,
): Awaitable<readonly DirectoryEntry[]> | InTurn<readonly DirectoryEntry[]> {
  return inTurn(call, (asking) => {
    const entries: DirectoryEntry[] = [];
    const take = (entry: DirectoryEntry) => {
      entries.push(entry);
      return true;
    };
    const done = call.fileSystem.readdir(handle(call), 0, false, take, asking);
    return after(done, () => entries);
  });
}

export function statfs(call: PathCall): Awaitable<Statfs> {
  return after(target(call), (ino) => countable(call.fileSystem.statfs(ino)));
}

/** Larger blocks when there are too many for the numbers they travel in. */
export function countable(space: Statfs): Statfs {
  let shift = 1;
  while (space.blocks / shift > COUNT_MAX) shift *= 2;
  const scaled = (blocks: number) => Math.floor(blocks / shift);
  return {
    blockSize: space.blockSize * shift,
    blocks: scaled(space.blocks),
    blocksFree: scaled(space.blocksFree),
    blocksAvailable: scaled(space.blocksAvailable),
    files: Math.min(space.files, COUNT_MAX),
    filesFree: Math.min(space.filesFree, COUNT_MAX),
  };
}

const XATTR_MODES = ['any', 'create', 'replace'] as const;

export function setxattr(call: PathCall, value: Buffer, flags: number): Awaitable<void> {
  const mode = XATTR_MODES[flags];
  if (mode === undefined) throw new OpError('invalid', `setxattr with flags ${flags}`);
  return after(target(call), (ino) => {
    call.fileSystem.setxattr(call.caller, ino, call.other, value, mode);
  });
}

/** The value, however much room there is when that is 0. @throws OpError no-attribute, range. */
export function getxattr(call: PathCall): Awaitable<Buffer> {
  const { fileSystem, caller, other, room } = call;
  return after(target(call), (ino) =>
    after(fileSystem.getxattr(caller, ino, other), (value) => {
      if (value === undefined) throw new OpError('no-attribute', `getxattr ${other}`);
      demandRoom(value.length, room);
      return value;
    }),
  );
}

export function listxattr(call: PathCall): Awaitable<readonly Name[]> {
  return after(target(call), (ino) =>
    after(call.fileSystem.listxattr(call.caller, ino), (names) => {
      demandRoom(
        names.reduce((sum, name) => sum + name.length + 1, 0),
        call.room,
      );
      return names;
    }),
  );
}

/** Neither the package nor libfuse looks whether an answer fits. */
function demandRoom(bytes: number, room: number): void {
  if (room > 0 && bytes > room) throw new OpError('range', 'answer with an extended attribute');
}

export function removexattr(call: PathCall): Awaitable<void> {
  return after(target(call), (ino) => {
    call.fileSystem.removexattr(call.caller, ino, call.other);
  });
}
