/** Operations on open directories. */
import { OpError } from '../base/errors.ts';
import { FUSE_IO_BYTES_MAX } from '../base/limits.ts';
import type { DirectoryEntry } from '../vfs/vfs.ts';
import type { Request } from './decode.ts';
import { isControl, type Reply } from './encode.ts';
import {
  FOPEN_CACHE_DIR,
  FOPEN_KEEP_CACHE,
  OP,
  OPEN_OUT,
  OUT_HEADER,
  READ_IN,
  RELEASE_IN,
} from './layout.ts';
import { type Call, type Deferred, type Operation, readInTurn, settle } from './operation.ts';

function opendir({ fileSystem, caller, request, reply }: Call): void | Promise<void> {
  const openFlags = isControl(request.ino) ? 0 : FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE;
  return settle(fileSystem.opendir(caller, request.ino), ({ fh, ino, flags }) => {
    reply.open({ fh, ino, flags, isDirectory: true, openFlags, backing: undefined });
  });
}

function readdir(call: Call): void | Promise<void> | Deferred {
  const { reply } = call;
  return list(call, false, (entry) => reply.dirent(entry));
}

function readdirplus(call: Call): void | Promise<void> | Deferred {
  const { reply } = call;
  return list(call, true, (entry) => reply.direntplus(entry));
}

function list(
  { fileSystem, request, reply }: Call,
  withInodes: boolean,
  put: (entry: DirectoryEntry) => boolean,
): void | Promise<void> | Deferred {
  // By inode: a kernel that was told so opens no directories (see `Server`).
  const { ino } = request;
  const cookie = request.cookie(READ_IN.offset);
  return readInTurn(fileSystem, ino, (asking) => {
    let isCut = false;
    const take = (entry: DirectoryEntry) => {
      isCut = !put(entry);
      return !isCut;
    };
    const done = fileSystem.list(ino, cookie, withInodes, take, asking);
    return settle(done, () => demandProgress(reply, isCut));
  });
}

/** An empty answer is the end of the directory, so it may not stand for "no room". */
function demandProgress(reply: Reply, isCut: boolean): void {
  if (isCut && reply.length === OUT_HEADER.bytes) throw new OpError('invalid', 'readdir');
}

function releasedir({ request, closed }: Call): void {
  closed(request.fh(RELEASE_IN.fh));
}

/** What the requests before it changed must be committed before it can be made durable. */
async function fsyncdir({ fileSystem, committed }: Call): Promise<void> {
  await committed();
  await fileSystem.fsyncDirectory();
}

function listBody(request: Request): number {
  const size = request.u32(READ_IN.size);
  if (size > FUSE_IO_BYTES_MAX) throw new OpError('invalid', `readdir of ${size} bytes`);
  return size;
}

export const DIRECTORY_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [
    OP.opendir,
    { serve: opendir, body: OPEN_OUT.bytes, claimed: ({ reply }, held) => reply.open(held) },
  ],
  [OP.readdir, { serve: readdir, body: listBody }],
  [OP.readdirplus, { serve: readdirplus, body: listBody }],
  [OP.releasedir, { serve: releasedir, body: 0 }],
  [OP.fsyncdir, { serve: fsyncdir, body: 0, isUnhurried: true }],
];
