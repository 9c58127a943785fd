/**
 * Operations on open files. An O_SYNC or O_DSYNC descriptor needs nothing here: the kernel follows
 * each write with FSYNC (fs/fuse/file.c, generic_write_sync).
 */
import { OpError } from '../base/errors.ts';
import { FILE_BYTES_MAX, FUSE_IO_BYTES_MAX } from '../base/limits.ts';
import { O_APPEND, O_CREAT, O_EXCL, O_TRUNC } from '../base/posix.ts';
import type { FileSystem, Handle, HeldHandle, Opened } from '../vfs/vfs.ts';
import type { Request } from './decode.ts';
import { isControl, type Reply } from './encode.ts';
import {
  COPY_FILE_RANGE_IN,
  COPY_FILE_RANGE_OUT,
  CREATE_IN,
  ENTRY_OUT,
  FALLOC_FL_KEEP_SIZE,
  FALLOC_FL_PUNCH_HOLE,
  FALLOC_FL_ZERO_RANGE,
  FALLOCATE_IN,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  FOPEN_NOFLUSH,
  FOPEN_PASSTHROUGH,
  FSYNC_IN,
  FUSE_FSYNC_FDATASYNC,
  FUSE_OPEN_KILL_SUIDGID,
  FUSE_WRITE_CACHE,
  FUSE_WRITE_KILL_SUIDGID,
  LSEEK_IN,
  LSEEK_OUT,
  OP,
  OPEN_IN,
  OPEN_OUT,
  READ_IN,
  RELEASE_IN,
  SEEK_DATA,
  SEEK_HOLE,
  WRITE_IN,
  WRITE_OUT,
} from './layout.ts';
import { type Call, type Deferred, type Operation, readInTurn, settle } from './operation.ts';

/** MAX_RW_COUNT of the kernel: what one copy may be asked to do. */
const COPY_BYTES_MAX = 0x7fff_f000;

/**
 * Pages survive opens: whatever changes a file behind the mount announces it. A close writes no
 * mapping back, as on a disk: Linux 6.18 zeroes what lies behind the end of the file in the page it
 * writes back (fs/iomap/buffered-io.c, iomap_writeback_handle_eof), and the end is still the old
 * one while another process appends to that page. The last unmap does write back.
 */
function answerOpen(reply: Reply, handle: Handle): void {
  const { fh, ino, flags, backing } = handle;
  const openFlags = openFlagsOf(handle);
  reply.open({ fh, ino, flags, isDirectory: false, openFlags, backing });
}

function openFlagsOf({ ino, backing, dropsPages }: Handle): number {
  if (backing !== undefined) return FOPEN_PASSTHROUGH;
  if (isControl(ino)) return FOPEN_DIRECT_IO;
  return dropsPages === true ? FOPEN_NOFLUSH : FOPEN_KEEP_CACHE | FOPEN_NOFLUSH;
}

function open(call: Call): void | Promise<void> {
  const { fileSystem, caller, request, reply } = call;
  const { ino } = request;
  const flags = request.u32(OPEN_IN.flags);
  const killSetId = (request.u32(OPEN_IN.openFlags) & FUSE_OPEN_KILL_SUIDGID) !== 0;
  return settle(fileSystem.open(caller, ino, flags, killSetId, call), (handle) => {
    answerOpen(reply, handle);
  });
}

const modeOf = (fileSystem: FileSystem, request: Request): number =>
  fileSystem.newMode(request.ino, request.u32(CREATE_IN.mode), request.u32(CREATE_IN.umask));

function create({ fileSystem, caller, request, reply }: Call): void {
  const name = request.name(CREATE_IN.bytes);
  const mode = modeOf(fileSystem, request);
  const flags = request.u32(CREATE_IN.flags);
  answerOpened(reply, fileSystem.create(caller, request.ino, name, mode, flags));
}

function tmpfile({ fileSystem, caller, request, reply }: Call): void {
  const mode = modeOf(fileSystem, request);
  const flags = request.u32(CREATE_IN.flags);
  answerOpened(reply, fileSystem.tmpfile(caller, request.ino, mode, flags));
}

function answerOpened(reply: Reply, { inode, handle }: Opened): void {
  reply.entry(inode);
  answerOpen(reply, handle);
}

function read({ fileSystem, request, reply }: Call): void | Promise<void> | Deferred {
  const fh = request.fh(READ_IN.fh);
  const position = request.u64(READ_IN.offset);
  const length = request.u32(READ_IN.size);
  // Nothing lies there; an empty answer is the end of the file.
  if (position > FILE_BYTES_MAX) return undefined;
  return readInTurn(fileSystem, request.ino, (asking) => {
    const { into, offset } = reply.lend();
    const bytes = fileSystem.read(fh, into, offset, length, position, asking);
    return settle(bytes, (count) => reply.lent(count));
  });
}

function write({ fileSystem, caller, request, reply }: Call): void {
  const fh = request.fh(WRITE_IN.fh);
  const size = request.u32(WRITE_IN.size);
  const position = request.u64(WRITE_IN.offset);
  if (position + size > FILE_BYTES_MAX) throw new OpError('file-too-large', 'write');
  const flags = request.u32(WRITE_IN.writeFlags);
  const bytes = request.bytes(WRITE_IN.bytes, size);
  if (isOfMapping(request)) {
    fileSystem.writePages(caller, fh, bytes, position);
  } else {
    const killSetId = (flags & FUSE_WRITE_KILL_SUIDGID) !== 0;
    // Of this write, not of the handle: fcntl(2) may have changed it.
    const appends = (request.u32(WRITE_IN.flags) & O_APPEND) !== 0;
    fileSystem.write(caller, fh, bytes, position, killSetId, appends);
  }
  reply.size(size);
}

/** Pages that a mapping changed are written back. */
const isOfMapping = (request: Request): boolean =>
  (request.u32(WRITE_IN.writeFlags) & FUSE_WRITE_CACHE) !== 0;

/** Answered at once: close(2) does not wait for it. */
function release({ request, closed }: Call): void {
  closed(request.fh(RELEASE_IN.fh));
}

/** What the requests before it changed must be committed before it can be made durable. */
async function fsync({ fileSystem, request, committed }: Call): Promise<void> {
  const fh = request.fh(FSYNC_IN.fh);
  const dataOnly = (request.u32(FSYNC_IN.fsyncFlags) & FUSE_FSYNC_FDATASYNC) !== 0;
  await committed();
  await fileSystem.fsync(fh, dataOnly);
}

function fallocate({ fileSystem, caller, request }: Call): void {
  const fh = request.fh(FALLOCATE_IN.fh);
  const position = request.u64(FALLOCATE_IN.offset);
  const length = request.u64(FALLOCATE_IN.length);
  const mode = request.u32(FALLOCATE_IN.mode);
  const known = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE;
  if ((mode & ~known) !== 0) throw new OpError('unsupported', `fallocate of mode ${mode}`);
  if (position + length > FILE_BYTES_MAX) throw new OpError('file-too-large', 'fallocate');
  const flags = {
    keepSize: (mode & FALLOC_FL_KEEP_SIZE) !== 0,
    punchHole: (mode & FALLOC_FL_PUNCH_HOLE) !== 0,
    zeroRange: (mode & FALLOC_FL_ZERO_RANGE) !== 0,
  };
  fileSystem.fallocate(caller, fh, flags, position, length);
}

const keepsSize = (request: Request): boolean =>
  (request.u32(FALLOCATE_IN.mode) & FALLOC_FL_KEEP_SIZE) !== 0;

function lseek({ fileSystem, request, reply }: Call): void | Promise<void> {
  const fh = request.fh(LSEEK_IN.fh);
  const position = request.u64(LSEEK_IN.offset);
  const whence = request.u32(LSEEK_IN.whence);
  if (whence !== SEEK_DATA && whence !== SEEK_HOLE) {
    throw new OpError('invalid', `lseek with whence ${whence}`);
  }
  if (position > FILE_BYTES_MAX) throw new OpError('no-such-extent', 'lseek');
  const found = fileSystem.lseek(fh, position, whence === SEEK_DATA ? 'data' : 'hole');
  return settle(found, (at) => reply.number(at));
}

function copy({ fileSystem, caller, request }: Call): number {
  const from = {
    fh: request.fh(COPY_FILE_RANGE_IN.fhIn),
    position: request.u64(COPY_FILE_RANGE_IN.offIn),
  };
  const to = {
    fh: request.fh(COPY_FILE_RANGE_IN.fhOut),
    position: request.u64(COPY_FILE_RANGE_IN.offOut),
  };
  const length = Math.min(request.u64(COPY_FILE_RANGE_IN.len), COPY_BYTES_MAX);
  const flags = request.u64(COPY_FILE_RANGE_IN.flags);
  if (flags !== 0) throw new OpError('invalid', `copy_file_range with flags ${flags}`);
  if (from.position > FILE_BYTES_MAX) return 0;
  if (to.position + length > FILE_BYTES_MAX) throw new OpError('file-too-large', 'copy_file_range');
  return fileSystem.copyFileRange(caller, from, to, length);
}

/** A READ asks for no more than was negotiated; more would not fit the place made for it. */
function readBody(request: Request): number {
  const size = request.u32(READ_IN.size);
  if (size > FUSE_IO_BYTES_MAX) throw new OpError('invalid', `read of ${size} bytes`);
  return size;
}

/**
 * An OPEN, CREATE or TMPFILE that a daemon before this one applied and stored `stored` for, and
 * whose handle is not known: the file is opened anew, and nothing else is done again.
 */
function openAgain(call: Call): void | Promise<void> {
  const { fileSystem, caller, request, reply } = call;
  const flags = request.u32(OPEN_IN.flags) & ~(O_CREAT | O_EXCL | O_TRUNC);
  return settle(fileSystem.open(caller, request.ino, flags, false, call), (handle) => {
    answerOpen(reply, handle);
  });
}

function createAgain(call: Call, stored: Buffer): void | Promise<void> {
  const { fileSystem, caller, request, reply } = call;
  const flags = request.u32(CREATE_IN.flags) & ~(O_CREAT | O_EXCL | O_TRUNC);
  const ino = reply.repeatEntry(stored);
  return settle(fileSystem.open(caller, ino, flags, false, call), (handle) => {
    answerOpen(reply, handle);
  });
}

/** The handle that was opened for the request is still open. */
const openClaimed = ({ reply }: Call, held: HeldHandle): void => reply.open(held);

function createClaimed(
  { fileSystem, caller, reply }: Call,
  held: HeldHandle,
): void | Promise<void> {
  return settle(fileSystem.getattr(caller, held.ino), (inode) => {
    reply.entry(inode);
    reply.open(held);
  });
}

const CREATED_BYTES = ENTRY_OUT.bytes + OPEN_OUT.bytes;

const creates = (serve: Operation['serve']): Operation => ({
  serve,
  body: CREATED_BYTES,
  records: true,
  again: createAgain,
  claimed: createClaimed,
});

export const FILE_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [
    OP.open,
    {
      serve: open,
      body: OPEN_OUT.bytes,
      records: 'perhaps',
      // It may have to copy a large file, or to look at all of it after a loss of power.
      isPatient: true,
      again: openAgain,
      claimed: openClaimed,
    },
  ],
  [OP.create, creates(create)],
  [OP.tmpfile, creates(tmpfile)],
  [OP.read, { serve: read, body: readBody }],
  [OP.write, { serve: write, body: WRITE_OUT.bytes, records: true, isUncounted: isOfMapping }],
  [OP.release, { serve: release, body: 0 }],
  [OP.fsync, { serve: fsync, body: 0, isUnhurried: true }],
  [OP.fallocate, { serve: fallocate, body: 0, records: true, isUncounted: keepsSize }],
  [OP.lseek, { serve: lseek, body: LSEEK_OUT.bytes }],
  [
    OP.copyFileRange,
    { serve: (call) => call.reply.size(copy(call)), body: WRITE_OUT.bytes, records: true },
  ],
  [
    OP.copyFileRange64,
    {
      serve: (call) => call.reply.number(copy(call)),
      body: COPY_FILE_RANGE_OUT.bytes,
      records: true,
    },
  ],
];
