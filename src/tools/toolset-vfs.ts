/**
 * Toolset vfs, the tools that only look: vfs_ls, vfs_stat, vfs_read. What changes files is in
 * `toolset-vfs-write.ts`, what takes two places in `toolset-vfs-copy.ts`, mounts in
 * `toolset-vfs-mount.ts`.
 */
import { z } from 'zod';
import { rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type Fh, type Ino, type Name, NO_CONTENT, nameOfText, textOf } from '../base/ids.ts';
import { SLICE_BYTES_MAX, SNAPSHOT_ITEMS_MAX } from '../base/limits.ts';
import { isDirectory, isRegular, O_NOATIME, R_OK, X_OK } from '../base/posix.ts';
import {
  type Awaitable,
  CID_INO_FROM,
  CONTROL_INO_FROM,
  type DirectoryEntry,
  type Inode,
  isPermitted,
  type Vfs,
} from '../vfs/vfs.ts';
import {
  blocksOf,
  cidTextOf,
  durabilityObject,
  entryOf,
  entrySchema,
  lastChangeOf,
  plainEntry,
  statSchema,
  versionTextOf,
} from './entries.ts';
import { sliceResult } from './envelope.ts';
import { mimeOf, mimeOfName, SNIFFED_BYTES } from './mime.ts';
import { treeUri } from './paths.ts';
import { type Asker, about, absent, askerOf, demandVersion, find, findInode } from './places.ts';
import * as schema from './schema.ts';
import { contentTool, recordTool, type ToolContext } from './tool.ts';

const READ = { readOnly: true, destructive: false, idempotent: true, openWorld: false } as const;
const COMMON = {
  toolset: 'vfs',
  version: '1.0.0',
  deadline: 'local',
  hints: READ,
  changes: 'nothing',
} as const;

/** An entry as a listing remembers it between pages: the row shows what is known last. */
interface Listed {
  readonly name: Name;
  readonly path: Name;
  readonly inode: Inode;
}

export const vfsLs = recordTool({
  ...COMMON,
  name: 'vfs_ls',
  title: 'List a directory',
  description:
    'List a directory of the tree, names in byte order; with recursive everything below it, ' +
    'mounts included, links not followed. For one file use vfs_stat.',
  input: schema.input({
    path: schema.path(),
    recursive: schema.recursive(),
    max_depth: schema.int(1, 256).optional().describe('levels, if recursive'),
    ...schema.page,
  }),
  example: { path: '/ipfs' },
  output: z.object({
    path: z.string(),
    local_path: z.string().optional(),
    entries: z.array(entrySchema),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const asker = askerOf(context, 'vfs_ls');
    const { vfs, caller } = asker;
    const { path, recursive } = input;
    const warnings: string[] = [];
    const request = { tool: 'vfs_ls', principal: context.principal, arguments: input };
    const page = await context.ports.cursors.page(
      request,
      async () => {
        const found = await find(asker, path, true);
        if (found.inode === undefined) throw absent(asker, path);
        const depth = recursive ? (input.max_depth ?? Number.MAX_SAFE_INTEGER) : 1;
        const walk = { asker, context, warnings, listed: [] };
        const directory = { name: found.name, path: found.path, inode: found.inode };
        await about(asker, path, () => list(walk, directory, depth));
        return walk.listed;
      },
      ({ name, path: at, inode }: Listed) =>
        entryOf(vfs, caller, { name, inode, path: recursive ? at : undefined }),
    );
    const { items: entries, ...fields } = page;
    return {
      data: { path, ...localPathOf(context, path), entries: [...entries], ...fields },
      warnings,
    };
  },
});

interface Listing {
  readonly asker: Asker;
  readonly context: ToolContext;
  readonly warnings: string[];
  readonly listed: Listed[];
}

/** Appends what is in a directory, and below it down to `depth`, directories before their own. */
async function list(listing: Listing, directory: Listed, depth: number): Promise<void> {
  const { asker, context, listed } = listing;
  context.signal.throwIfAborted();
  const { vfs } = asker;
  const entries = await readDirectory(asker, directory.inode);
  entries.sort((one, other) => (one.name < other.name ? -1 : 1));
  for (const entry of entries) {
    const inode = await inodeOf(asker, entry);
    const above = directory.path === '/' ? '' : directory.path;
    if (inode === undefined) {
      listing.warnings.push(`nothing is here of ${textOf(`${above}/${entry.name}` as Name)}`);
      continue;
    }
    const item = { name: entry.name, path: `${above}/${entry.name}` as Name, inode };
    listed.push(item);
    if (listed.length > SNAPSHOT_ITEMS_MAX) throw tooMany(asker);
    if (depth <= 1 || !isDirectory(inode.mode)) continue;
    if (isListable(vfs, asker, inode)) await list(listing, item, depth - 1);
    else listing.warnings.push(`no permission to list ${textOf(item.path)}`);
  }
}

const tooMany = ({ tool }: Asker): OpError =>
  new OpError('result-too-large', tool, {
    hint: 'list a smaller part, or give max_depth',
    details: { partial: { max: SNAPSHOT_ITEMS_MAX } },
  });

const isListable = (vfs: Vfs, { caller }: Asker, inode: Inode): boolean =>
  inode.ino >= CONTROL_INO_FROM ||
  isPermitted(caller, vfs.core.inodes.find(inode.ino) ?? inode, R_OK | X_OK);

/** @throws OpError not-directory, denied. */
async function readDirectory(asker: Asker, inode: Inode): Promise<DirectoryEntry[]> {
  const { vfs, caller, tool } = asker;
  if (!isDirectory(inode.mode)) throw new OpError('not-directory', tool);
  if (!isListable(vfs, asker, inode)) throw new OpError('denied', tool);
  const entries: DirectoryEntry[] = [];
  const { fh } = vfs.opendir(caller, inode.ino, O_NOATIME);
  try {
    await vfs.readdir(fh, 0, true, (entry) => {
      if (entry.name !== '.' && entry.name !== '..') entries.push(entry);
      return entries.length <= SNAPSHOT_ITEMS_MAX;
    });
  } finally {
    vfs.releasedir(fh);
  }
  return entries;
}

async function inodeOf({ vfs, caller }: Asker, entry: DirectoryEntry): Promise<Inode | undefined> {
  if (entry.inode !== undefined) return entry.inode;
  try {
    return await vfs.getattr(caller, entry.ino);
  } catch (error) {
    if (error instanceof OpError && error.failure === 'not-found') return undefined;
    throw error;
  }
}

/** `local_path` of a result, absent while nothing is mounted. */
export function localPathOf(context: ToolContext, path: string): { local_path?: string } {
  const local = context.ports.mount.localPath(path);
  return local === undefined ? {} : { local_path: local };
}

export const vfsStat = recordTool({
  ...COMMON,
  name: 'vfs_stat',
  title: 'Facts about a file',
  description:
    'Everything known about one file or directory: type, size, version, owner, CID, ' +
    'durability, who changed it last. To list a directory use vfs_ls.',
  input: schema.input({
    path: schema.path(),
    follow: schema.flag(true).describe('a last symbolic link'),
    compute_cid: schema.flag().describe('hash now, if not hashed yet'),
  }),
  example: { path: '/ipfs/notes.txt' },
  output: statSchema,
  run: async ({ path, follow, compute_cid: computeCid }, context) => {
    const asker = askerOf(context, 'vfs_stat');
    const { vfs, caller } = asker;
    const found = await find(asker, path, follow);
    if (found.inode === undefined) throw absent(asker, path);
    const { inode } = found;
    const isDue = computeCid && isRegular(inode.mode) && inode.ino < CONTROL_INO_FROM;
    if (isDue && !isPermitted(caller, inode, R_OK)) {
      throw new OpError('denied', `vfs_stat ${path}`, { details: { path } });
    }
    const computed = isDue
      ? await about(asker, path, () => sealNow(context, inode.ino))
      : undefined;
    const isLocked = isRegular(inode.mode) && vfs.core.handles.isOpen(inode.ino);
    const locks = isLocked ? await context.ports.locks.exclusive(inode.ino) : [];
    const name = path === '/' ? path : lastOf(path);
    const entry = await plainEntry(vfs, caller, nameOfText(name), inode);
    const last = inode.ino < CONTROL_INO_FROM ? vfs.core.history.last(inode.ino) : undefined;
    const mime = isRegular(inode.mode) ? mimeOfName(name) : undefined;
    return {
      data: {
        ...entry,
        ...(computed?.cid === undefined ? {} : { cid: computed.cid }),
        path,
        ...localPathOf(context, path),
        uri: treeUri(path),
        uid: inode.uid,
        gid: inode.gid,
        nlink: inode.nlink,
        atime: rfc3339({ s: inode.atimeS, ns: inode.atimeNs }),
        ctime: rfc3339({ s: inode.ctimeS, ns: inode.ctimeNs }),
        btime: rfc3339({ s: inode.btimeS, ns: inode.btimeNs }),
        blocks: blocksOf(inode),
        ...(mime === undefined ? {} : { mime }),
        xattrs: (await vfs.listxattr(caller, inode.ino)).map(textOf),
        mount: mountObject(vfs, inode),
        open_handles: vfs.core.handles.count(inode.ino),
        locked: locks.length > 0,
        durability: durabilityObject(vfs, caller, inode),
        ...(last === undefined ? {} : { last_change: lastChangeOf(last) }),
      },
      warnings: computed?.warnings,
    };
  },
});

/** Tries before a file that is written all the time is left without a CID. */
const SEAL_ATTEMPTS = 3;

async function sealNow(
  { ports, signal }: ToolContext,
  ino: Ino,
): Promise<{ cid?: string; warnings?: string[] }> {
  const { inodes } = ports.vfs.core;
  for (let attempt = 0; attempt < SEAL_ATTEMPTS; attempt += 1) {
    const before = { ...inodes.get(ino) };
    if (before.content === NO_CONTENT) {
      return before.size === 0 ? {} : { warnings: ['a file that is all hole has no CID yet'] };
    }
    const cid = await ports.sealer.seal(before.content, signal);
    const now = inodes.find(ino);
    if (now?.version === before.version && now.content === before.content) {
      return { cid: cid.toString() };
    }
  }
  return { warnings: ['the file is being written: no CID of it holds'] };
}

/** The mount an inode belongs to. */
function mountObject(vfs: Vfs, inode: Inode) {
  const { mounts, inodes } = vfs.core;
  if (inode.ino >= CID_INO_FROM) {
    return { mount_point: '/ipfs', backend: 'ipfs', kind: 'ipfs', read_only: true };
  }
  if (inode.ino >= CONTROL_INO_FROM) {
    return { mount_point: '/.kitfs', backend: 'kitfs', kind: 'control', read_only: true };
  }
  const { id, backend, kind, readOnly } = mounts.superblock(
    (inodes.find(inode.ino) ?? inode).superblock,
  );
  const mounted = mounts.mounts().find(({ superblock }) => superblock.id === id);
  const point = mounted === undefined ? '/' : textOf(mounted.mountPoint);
  return { mount_point: point, backend, kind, read_only: readOnly };
}

export const vfsRead = contentTool({
  ...COMMON,
  name: 'vfs_read',
  title: 'Read a file',
  description:
    'Read a slice of a file of the tree: text when it is, else base64. Go on at next_offset. ' +
    'On this host reading local_path is cheaper; for content by CID see ipfs_cat.',
  input: schema.input({
    path: schema.path(),
    ...schema.slice,
    expected_version: schema.expectedVersion(),
  }),
  example: { path: '/ipfs/notes.txt' },
  run: async (input, context) => {
    const asker = askerOf(context, 'vfs_read');
    const { path, offset, length, encoding } = input;
    const inode = await findInode(asker, path, true);
    const read = await about(asker, path, () => readSlice(asker, inode, offset, length));
    demandVersion(asker, path, input.expected_version, read.version);
    const name = lastOf(path);
    return sliceResult({
      op: `vfs_read ${path}`,
      ...read,
      offset,
      encoding,
      mime: mimeOf(name, read.head),
      uri: treeUri(path),
      name,
      localPath: context.ports.mount.localPath(path),
    });
  },
});

interface ReadSlice {
  readonly bytes: Buffer;
  readonly size: number;
  /** The first bytes of the file. */
  readonly head: Buffer;
  readonly version: string;
  readonly cid: string | undefined;
}

/** @throws OpError is-directory, unsupported (fifo, socket, device), denied, integrity. */
async function readSlice(
  asker: Asker,
  { ino, mode }: Inode,
  offset: number,
  length: number,
): Promise<ReadSlice> {
  const { vfs, caller, tool } = asker;
  if (isDirectory(mode)) throw new OpError('is-directory', tool, { hint: 'list it with vfs_ls' });
  if (!isRegular(mode)) throw new OpError('unsupported', tool, { hint: 'it has no bytes to read' });
  const { fh } = await vfs.open(caller, ino, O_NOATIME, false);
  try {
    const isControl = ino >= CONTROL_INO_FROM && ino < CID_INO_FROM;
    const shown = isControl ? await readAll(vfs, fh) : undefined;
    // In a managed tree the rest is asked before anything waits, so it is of one moment.
    const inode = vfs.getattr(caller, ino);
    const size = shown?.length ?? inode.size;
    const piece = (from: number, count: number) =>
      shown?.subarray(from, from + count) ?? readPiece(vfs, fh, from, Math.min(count, size - from));
    const [bytes, head, version, cid] = await Promise.all([
      piece(offset, length),
      piece(0, SNIFFED_BYTES),
      versionTextOf(vfs, caller, inode),
      cidTextOf(vfs, caller, inode),
    ]);
    return { size, bytes, head, version, cid };
  } finally {
    vfs.release(fh);
  }
}

function readPiece(vfs: Vfs, fh: Fh, from: number, length: number): Awaitable<Buffer> {
  if (length <= 0) return Buffer.alloc(0);
  const into = Buffer.allocUnsafe(length);
  const got = vfs.read(fh, into, 0, length, from);
  return got instanceof Promise
    ? got.then((count) => into.subarray(0, count))
    : into.subarray(0, got);
}

/** Control files say only by reading how long they are. */
async function readAll(vfs: Vfs, fh: Fh): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let at = 0; ; ) {
    const piece = await readPiece(vfs, fh, at, SLICE_BYTES_MAX);
    if (piece.length === 0) return Buffer.concat(pieces);
    pieces.push(piece);
    at += piece.length;
  }
}

/** The last name of a path. */
const lastOf = (path: string): string => path.slice(path.lastIndexOf('/') + 1);
