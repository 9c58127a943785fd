/** Operations on what an inode is apart from its bytes: attributes, link targets, xattrs. */
import { OpError } from '../base/errors.ts';
import type { Fh } from '../base/ids.ts';
import { FILE_BYTES_MAX, XATTR_BYTES_MAX } from '../base/limits.ts';
import {
  type Asking,
  type AttributeChange,
  CONTROL_INO_FROM,
  type TimeChange,
} from '../vfs/vfs.ts';
import type { Request } from './decode.ts';
import { ENODATA } from './errno.ts';
import {
  ACCESS_IN,
  ATTR_OUT,
  FATTR,
  FUSE_SETXATTR_ACL_KILL_SGID,
  GETXATTR_IN,
  GETXATTR_OUT,
  KSTATFS,
  OP,
  READLINK_BYTES_MAX,
  SETATTR_IN,
  SETXATTR_IN,
  STATX_OUT,
  XATTR_CREATE,
  XATTR_REPLACE,
} from './layout.ts';
import { type Call, type Operation, settle } from './operation.ts';

const PERMISSION_BITS = 0o7777;

function getattr({ fileSystem, caller, request, reply }: Call): void | Promise<void> {
  return settle(fileSystem.getattr(caller, request.ino), (inode) => reply.attributes(inode));
}

/** All fields whatever was asked for: the kernel keeps them. */
function statx({ fileSystem, caller, request, reply }: Call): void | Promise<void> {
  return settle(fileSystem.getattr(caller, request.ino), (inode) => reply.statx(inode));
}

function setattr(call: Call): void | Promise<void> {
  const { fileSystem, caller, request, reply } = call;
  if (request.bodyBytes < SETATTR_IN.bytes) throw new OpError('invalid', 'read SETATTR');
  const valid = request.u32(SETATTR_IN.valid);
  const fh: Fh | undefined = (valid & FATTR.fh) === 0 ? undefined : request.fh(SETATTR_IN.fh);
  const change = changeOf(request, valid);
  const { ino } = request;
  const apply = (asking: Asking) =>
    settle(fileSystem.setattr(caller, ino, change, fh, asking), (inode) => {
      reply.attributes(inode);
    });
  // What stays of a file that is cut must be here; of one that is emptied nothing does.
  const isCut = (change.size ?? 0) > 0 && ino < CONTROL_INO_FROM;
  if (!isCut || fileSystem.isHere(ino)) return apply(call);
  const { signal } = call;
  return fileSystem.bring(ino, { signal }).then(() => {
    // Nothing is changed for who has stopped waiting.
    signal.throwIfAborted();
    return apply({ signal });
  });
}

function changeOf(request: Request, valid: number): AttributeChange {
  const has = (flag: number) => (valid & flag) !== 0;
  const size = has(FATTR.size) ? request.u64(SETATTR_IN.size) : undefined;
  if (size !== undefined && size > FILE_BYTES_MAX) throw new OpError('file-too-large', 'truncate');
  const time = (set: number, now: number, at: number, atNs: number): TimeChange | undefined => {
    if (!has(set)) return undefined;
    if (has(now)) return 'now';
    return { s: countable(request.i64(at)), ns: request.nanoseconds(atNs) };
  };
  return {
    mode: has(FATTR.mode) ? request.u32(SETATTR_IN.mode) & PERMISSION_BITS : undefined,
    uid: has(FATTR.uid) ? request.u32(SETATTR_IN.uid) : undefined,
    gid: has(FATTR.gid) ? request.u32(SETATTR_IN.gid) : undefined,
    size,
    atime: time(FATTR.atime, FATTR.atimeNow, SETATTR_IN.atime, SETATTR_IN.atimensec),
    mtime: time(FATTR.mtime, FATTR.mtimeNow, SETATTR_IN.mtime, SETATTR_IN.mtimensec),
    killSetId: has(FATTR.killSuidgid),
  };
}

/** Seconds that no number holds exactly become the nearest that one does, as other disks clamp. */
const countable = (s: number): number =>
  Math.max(Number.MIN_SAFE_INTEGER, Math.min(s, Number.MAX_SAFE_INTEGER));

function readlink({ fileSystem, caller, request, reply }: Call): void | Promise<void> {
  return settle(fileSystem.readlink(caller, request.ino), (target) => reply.name(target));
}

function statfs({ fileSystem, request, reply }: Call): void {
  reply.statfs(fileSystem.statfs(request.ino));
}

function access({ fileSystem, caller, request }: Call): void | Promise<void> {
  return fileSystem.access(caller, request.ino, request.u32(ACCESS_IN.mask));
}

/** A size of 0 asks how large the value is. */
function getxattr({ fileSystem, caller, request, reply }: Call): void | Promise<void> {
  const sizeMax = request.u32(GETXATTR_IN.size);
  const name = request.text(GETXATTR_IN.bytes);
  return settle(fileSystem.getxattr(caller, request.ino, name), (value) => {
    // Asked before the first write of every file, and seldom there: no error is made for it.
    if (value === undefined) reply.fail(ENODATA);
    else if (sizeMax === 0) reply.size(value.length);
    else if (value.length > sizeMax) throw new OpError('range', `getxattr ${name}`);
    else reply.bytes(value);
  });
}

function listxattr({ fileSystem, caller, request, reply }: Call): void | Promise<void> {
  const sizeMax = request.u32(GETXATTR_IN.size);
  return settle(fileSystem.listxattr(caller, request.ino), (names) => {
    const list = names.map((name) => `${name}\0`).join('');
    if (sizeMax === 0) reply.size(list.length);
    else if (list.length > sizeMax) throw new OpError('range', 'listxattr');
    else reply.bytes(Buffer.from(list, 'latin1'));
  });
}

function setxattr({ fileSystem, caller, request, features }: Call): void {
  const header = features.hasSetxattrExt ? SETXATTR_IN.bytes : SETXATTR_IN.compatBytes;
  const size = request.u32(SETXATTR_IN.size);
  const flags = request.u32(SETXATTR_IN.flags);
  const name = request.text(header);
  const value = request.bytes(header + name.length + 1, size);
  const extra = features.hasSetxattrExt ? request.u32(SETXATTR_IN.setxattrFlags) : 0;
  const killSetGid = (extra & FUSE_SETXATTR_ACL_KILL_SGID) !== 0;
  fileSystem.setxattr(caller, request.ino, name, value, xattrMode(flags), killSetGid);
}

function xattrMode(flags: number): 'any' | 'create' | 'replace' {
  if (flags === 0) return 'any';
  if (flags === XATTR_CREATE) return 'create';
  if (flags === XATTR_REPLACE) return 'replace';
  throw new OpError('invalid', `setxattr with flags ${flags}`);
}

function removexattr({ fileSystem, caller, request }: Call): void {
  fileSystem.removexattr(caller, request.ino, request.text(0));
}

/** As much as the caller has room for; without room, the structure that holds the size. */
function xattrBody(request: Request): number {
  const sizeMax = request.u32(GETXATTR_IN.size);
  return sizeMax === 0 ? GETXATTR_OUT.bytes : Math.min(sizeMax, XATTR_BYTES_MAX);
}

export const ATTRIBUTE_OPERATIONS: readonly (readonly [number, Operation])[] = [
  [OP.getattr, { serve: getattr, body: ATTR_OUT.bytes }],
  [OP.statx, { serve: statx, body: STATX_OUT.bytes }],
  // It may have to fetch a file, or to look at all of it after a loss of power.
  [OP.setattr, { serve: setattr, body: ATTR_OUT.bytes, records: true, isPatient: true }],
  [OP.readlink, { serve: readlink, body: () => READLINK_BYTES_MAX }],
  [OP.statfs, { serve: statfs, body: KSTATFS.bytes }],
  [OP.access, { serve: access, body: 0 }],
  [OP.getxattr, { serve: getxattr, body: xattrBody }],
  [OP.listxattr, { serve: listxattr, body: xattrBody }],
  [OP.setxattr, { serve: setxattr, body: 0, records: true }],
  [OP.removexattr, { serve: removexattr, body: 0, records: true }],
];
