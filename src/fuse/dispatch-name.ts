/** Operations on names: LOOKUP, and all that makes, moves and removes them. */
import { OpError } from '../base/errors.ts';
import type { Ino, Name } from '../base/ids.ts';
import type { Inode } from '../vfs/vfs.ts';
import { isControl, type Reply } from './encode.ts';
import {
  ENTRY_OUT,
  LINK_IN,
  MKDIR_IN,
  MKNOD_IN,
  OP,
  RENAME_EXCHANGE,
  RENAME_IN,
  RENAME_NOREPLACE,
  RENAME2_IN,
} from './layout.ts';
import { type Call, type Operation, settle } from './operation.ts';

const PERMISSION_BITS = 0o7777;

/**
 * A name that is absent is kept as absent, because its appearance is announced. A file system that
 * throws `not-found` instead of saying undefined makes the kernel ask again each time.
 */
function lookup(call: Call): void | Promise<void> {
  const { fileSystem, caller, request, reply } = call;
  const parent = request.ino;
  return settle(fileSystem.lookup(caller, parent, request.name(0), call), (inode) => {
    answerLookup(reply, parent, inode);
  });
}

function answerLookup(reply: Reply, parent: Ino, inode: Inode | undefined): void {
  if (inode !== undefined) reply.entry(inode);
  else if (isControl(parent)) throw new OpError('not-found', `lookup in inode ${parent}`);
  else reply.negativeEntry();
}

function mknod({ fileSystem, caller, request, reply }: Call): void {
  const name = request.name(MKNOD_IN.bytes);
  const asked = request.u32(MKNOD_IN.mode);
  const mode = fileSystem.newMode(request.ino, asked, request.u32(MKNOD_IN.umask));
  const rdev = request.u32(MKNOD_IN.rdev);
  reply.entry(fileSystem.mknod(caller, request.ino, name, mode, rdev));
}

function mkdir({ fileSystem, caller, request, reply }: Call): void {
  const name = request.name(MKDIR_IN.bytes);
  const asked = request.u32(MKDIR_IN.mode) & PERMISSION_BITS;
  const mode = fileSystem.newMode(request.ino, asked, request.u32(MKDIR_IN.umask));
  reply.entry(fileSystem.mkdir(caller, request.ino, name, mode));
}

function symlink({ fileSystem, caller, request, reply }: Call): void {
  const name = request.name(0);
  const target = request.text(name.length + 1);
  reply.entry(fileSystem.symlink(caller, request.ino, name, target));
}

function link({ fileSystem, caller, request, reply }: Call): void {
  const name = request.name(LINK_IN.bytes);
  const ino = request.inoAt(LINK_IN.oldnodeid);
  reply.entry(fileSystem.link(caller, ino, request.ino, name));
}

function unlink({ fileSystem, caller, request }: Call): void {
  fileSystem.unlink(caller, request.ino, request.name(0));
}

function rmdir({ fileSystem, caller, request }: Call): void {
  fileSystem.rmdir(caller, request.ino, request.name(0));
}

function rename(call: Call): void {
  move(call, call.request.inoAt(RENAME_IN.newdir), RENAME_IN.bytes, 0);
}

function rename2(call: Call): void {
  const flags = call.request.u32(RENAME2_IN.flags);
  move(call, call.request.inoAt(RENAME2_IN.newdir), RENAME2_IN.bytes, flags);
}

function move({ fileSystem, caller, request }: Call, newdir: Ino, at: number, flags: number): void {
  const oldName: Name = request.name(at);
  const newName = request.name(at + oldName.length + 1);
  // RENAME_WHITEOUT among them: no layer of kitfs has a use for it.
  const unknown = flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE);
  if (unknown !== 0) throw new OpError('invalid', `rename with flags ${flags}`);
  fileSystem.rename(
    caller,
    { parent: request.ino, name: oldName },
    { parent: newdir, name: newName },
    {
      noReplace: (flags & RENAME_NOREPLACE) !== 0,
      exchange: (flags & RENAME_EXCHANGE) !== 0,
    },
  );
}

const makes = (serve: Operation['serve']): Operation => ({
  serve,
  body: ENTRY_OUT.bytes,
  records: true,
  again: ({ reply }, stored) => {
    reply.repeatEntry(stored);
  },
});
const changes = (serve: Operation['serve']): Operation => ({ serve, body: 0, records: true });

export const NAME_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [OP.lookup, { serve: lookup, body: ENTRY_OUT.bytes }],
  [OP.mknod, makes(mknod)],
  [OP.mkdir, makes(mkdir)],
  [OP.symlink, makes(symlink)],
  [OP.link, makes(link)],
  [OP.unlink, changes(unlink)],
  [OP.rmdir, changes(rmdir)],
  [OP.rename, changes(rename)],
  [OP.rename2, changes(rename2)],
];
