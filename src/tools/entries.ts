/** The objects `Entry`, `Stat`, `Durability` and `Actor` of the contract, made from inodes. */
import { z } from 'zod';
import { rfc3339 } from '../base/clock.ts';
import { bytesOf, type Ino, isUtf8Name, type Name, textOf } from '../base/ids.ts';
import {
  isDirectory,
  isRegular,
  isSymlink,
  R_OK,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
} from '../base/posix.ts';
import { RUNGS } from '../base/rungs.ts';
import type { Actor, HistoryRecord } from '../journal/journal.ts';
import {
  type Caller,
  CID_INO_FROM,
  CONTROL_INO_FROM,
  cidOf,
  durabilityOf,
  type Inode,
  isPermitted,
  type Replica,
  type Vfs,
  versionOf,
} from '../vfs/vfs.ts';
import { CODE_OF } from './errors.ts';

const TYPES = ['file', 'directory', 'symlink', 'fifo', 'socket', 'char', 'block'] as const;
export type EntryType = (typeof TYPES)[number];

const TYPE_OF: Readonly<Record<number, EntryType>> = {
  [S_IFREG]: 'file',
  [S_IFDIR]: 'directory',
  [S_IFLNK]: 'symlink',
  [S_IFIFO]: 'fifo',
  [S_IFSOCK]: 'socket',
  [S_IFCHR]: 'char',
  [S_IFBLK]: 'block',
};

/** By the type bits of st_mode. */
export const typeOf = (mode: number): EntryType => TYPE_OF[mode & S_IFMT] ?? 'file';

/** Permission bits as the contract writes modes. */
export const octal = (mode: number): string => `0${(mode & 0o7777).toString(8).padStart(3, '0')}`;

export const parseMode = (mode: string): number => Number.parseInt(mode, 8);

const entryShape = {
  name: z.string(),
  name_b64: z.string().optional(),
  type: z.enum(TYPES),
  size: z.int().optional(),
  mode: z.string(),
  mtime: z.string(),
  inode: z.int(),
  version: z.string(),
  cid: z.string().optional(),
  target: z.string().optional(),
};

export const entrySchema = z.object({
  ...entryShape,
  path: z.string().optional(),
  mount: z.boolean().optional(),
});
export type Entry = z.output<typeof entrySchema>;

export const durabilitySchema = z.object({
  state: z.enum(RUNGS),
  seq: z.int(),
  have: z.int(),
  want: z.int(),
  replicas: z.array(
    z.object({
      backend: z.string(),
      state: z.enum(['queued', 'uploading', 'stored', 'pinning', 'pinned', 'failed']),
      identifier: z.string().optional(),
      time: z.string().optional(),
      error_code: z.string().optional(),
    }),
  ),
});
export type Durability = z.output<typeof durabilitySchema>;

export const actorSchema = z.object({
  surface: z.enum(['fuse', 'mcp', 'cli', 'daemon']),
  uid: z.int(),
  gid: z.int(),
  pid: z.int().optional(),
  exe: z.string().optional(),
  client: z.object({ name: z.string(), version: z.string().optional() }).optional(),
  session_id: z.string().optional(),
  tool: z.string().optional(),
  tool_call_id: z.string().optional(),
});

export const statSchema = z.object({
  ...entryShape,
  path: z.string(),
  local_path: z.string().optional(),
  uri: z.string(),
  uid: z.int(),
  gid: z.int(),
  nlink: z.int(),
  atime: z.string(),
  ctime: z.string(),
  btime: z.string(),
  blocks: z.int(),
  mime: z.string().optional(),
  xattrs: z.array(z.string()),
  mount: z.object({
    mount_point: z.string(),
    backend: z.string(),
    kind: z.string(),
    read_only: z.boolean(),
  }),
  open_handles: z.int(),
  locked: z.boolean(),
  durability: durabilitySchema,
  last_change: z
    .object({ seq: z.int(), time: z.string(), op: z.string(), actor: actorSchema })
    .optional(),
});

const CID_XATTR = 'user.ipfs.cid' as Name;

/**
 * The CID of an inode's bytes when it is known: of content by CID, of sealed files. Who has it has the
 * bytes, so who may not read them is not told.
 */
export async function cidTextOf(vfs: Vfs, caller: Caller, inode: Inode) {
  if (inode.ino < CONTROL_INO_FROM) {
    return isPermitted(caller, inode, R_OK) ? cidOf(vfs.core, inode)?.toString() : undefined;
  }
  return inode.ino < CID_INO_FROM
    ? undefined
    : (await vfs.getxattr(caller, inode.ino, CID_XATTR))?.toString();
}

/** Of content by CID the CID. */
export async function versionTextOf(vfs: Vfs, caller: Caller, inode: Inode): Promise<string> {
  const isByCid = inode.ino >= CID_INO_FROM;
  return (isByCid ? await cidTextOf(vfs, caller, inode) : undefined) ?? versionOf(inode);
}

/** What a name in a listing means. `path` only when the listing has several directories. */
export async function entryOf(
  vfs: Vfs,
  caller: Caller,
  { name, inode, path }: { name: Name; inode: Inode; path?: Name | undefined },
): Promise<Entry> {
  const isMount = vfs.core.mounts.coverOf(inode.ino) !== undefined;
  return {
    ...(await plainEntry(vfs, caller, name, inode)),
    ...(path === undefined ? {} : { path: textOf(path) }),
    ...(isMount ? { mount: true } : {}),
  };
}

/** The part of an entry that a stat has too. */
export async function plainEntry(vfs: Vfs, caller: Caller, name: Name, inode: Inode) {
  const cid =
    isRegular(inode.mode) || inode.ino >= CID_INO_FROM
      ? await cidTextOf(vfs, caller, inode)
      : undefined;
  const target = isSymlink(inode.mode) ? await targetOf(vfs, caller, inode.ino) : undefined;
  return {
    name: textOf(name),
    ...(isUtf8Name(name) ? {} : { name_b64: bytesOf(name).toString('base64') }),
    type: typeOf(inode.mode),
    size: inode.size,
    mode: octal(inode.mode),
    mtime: rfc3339({ s: inode.mtimeS, ns: inode.mtimeNs }),
    inode: inode.ino,
    version: await versionTextOf(vfs, caller, inode),
    ...(cid === undefined ? {} : { cid }),
    ...(target === undefined ? {} : { target }),
  };
}

/** undefined: the link was removed since it was listed. */
async function targetOf(vfs: Vfs, caller: Caller, ino: Ino): Promise<string | undefined> {
  if (ino < CONTROL_INO_FROM && vfs.core.inodes.find(ino) === undefined) return undefined;
  return textOf(await vfs.readlink(caller, ino));
}

/** The rung of a file, or of a directory, and what stores have of it. */
export function durabilityObject(vfs: Vfs, caller: Caller, inode: Inode): Durability {
  const { core } = vfs;
  if (inode.ino >= CONTROL_INO_FROM) {
    // Content by CID is here and hashed; control files say how things are now.
    const state = inode.ino >= CID_INO_FROM ? 'local' : 'journaled';
    return { state, seq: core.journal.head.seq, have: 0, want: 0, replicas: [] };
  }
  const seq = core.history.last(inode.ino)?.row.seq ?? 0;
  const { replicas, ...rung } = durabilityOf(core, inode);
  const identifier = isPermitted(caller, inode, R_OK) ? cidOf(core, inode)?.toString() : undefined;
  return { ...rung, seq, replicas: replicas.map((one) => replicaObject(one, identifier)) };
}

/** `identifier`: what it is called there, if that is known and may be told. */
export const replicaObject = (
  { store, state, checkedS, failure }: Replica,
  identifier: string | undefined,
): Durability['replicas'][number] => ({
  backend: store,
  state,
  ...(identifier === undefined ? {} : { identifier }),
  ...(checkedS === undefined ? {} : { time: rfc3339({ s: checkedS, ns: 0 }) }),
  ...(failure === undefined ? {} : { error_code: CODE_OF[failure] }),
});

/** As a record names who did it. */
export function actorObject(actor: Actor): z.output<typeof actorSchema> {
  const { surface, uid, gid, pid, exe, client, clientVersion, session, tool, toolCall } = actor;
  return {
    surface,
    uid,
    gid,
    ...(pid === undefined ? {} : { pid }),
    ...(exe === undefined ? {} : { exe }),
    ...(client === undefined
      ? {}
      : {
          client: {
            name: client,
            ...(clientVersion === undefined ? {} : { version: clientVersion }),
          },
        }),
    ...(session === undefined ? {} : { session_id: session }),
    ...(tool === undefined ? {} : { tool }),
    ...(toolCall === undefined ? {} : { tool_call_id: toolCall }),
  };
}

export const lastChangeOf = ({ row, actor }: HistoryRecord) => ({
  seq: row.seq,
  time: rfc3339({ s: row.time_s, ns: row.time_ns }),
  op: row.kind,
  actor: actorObject(actor),
});

/** st_blocks, in units of 512 bytes: the size rounded up, for nothing here counts holes. */
export const blocksOf = (inode: Inode): number =>
  isDirectory(inode.mode) ? 8 : Math.ceil(inode.size / 512);
