/**
 * Copies of what lies in no managed tree (content by CID, control files). In two steps, because
 * such content answers by promise and a transaction never awaits: `stage` brings the bytes here
 * while others work, `plant` makes the names, all in one transaction.
 *
 * Invariant: staged bytes that are never planted count as old bytes, which retention ends; so a
 * kill between the two steps leaves nothing behind for ever.
 */
import { OpError } from '../base/errors.ts';
import { type ContentId, type Ino, type Name, NO_CONTENT } from '../base/ids.ts';
import { STAGED_ENTRIES_MAX } from '../base/limits.ts';
import { isDirectory, isRegular, isSymlink, O_NOATIME, S_IFREG } from '../base/posix.ts';
import { blockKey, parseCid } from '../content/content.ts';
import type { Tx } from '../journal/journal.ts';
import type { Caller, DirectoryEntry, FileSystem, Inode } from './contract.ts';
import type { Core } from './core.ts';
import { mkdir, mknod, symlink } from './create.ts';
import { type Copied, showContent } from './trees.ts';

const PIECE_BYTES = 1024 * 1024;
const CID_XATTR = 'user.ipfs.cid' as Name;

/** One entry with its bytes at hand. */
export interface Staged {
  readonly name: Name;
  readonly inode: Inode;
  readonly size: number;
  /** Of a symbolic link. */
  readonly target: Name | undefined;
  readonly content: ContentId;
  /** Whether the content was here before. */
  readonly isShared: boolean;
  /** What it has to have still when it is planted: whoever shows it may write to it meanwhile. */
  readonly cid: Buffer | undefined;
  readonly children: readonly Staged[];
}

export interface StageOptions {
  /** Whether the copy goes to a tree that is gone with the daemon. */
  readonly volatile: boolean;
  readonly signal: AbortSignal;
}

interface Stager extends StageOptions {
  readonly core: Core;
  readonly fileSystem: FileSystem;
  readonly caller: Caller;
  /** Made here; given up when staging fails. */
  readonly made: ContentId[];
  entries: number;
}

/**
 * Brings everything below `inode` here. What comes of it goes to `plant`, or to `unstage`.
 * @throws OpError result-too-large, denied, no-space, content-missing, integrity; the signal's
 *   reason.
 */
export async function stage(
  core: Core,
  fileSystem: FileSystem,
  caller: Caller,
  inode: Inode,
  options: StageOptions,
): Promise<Staged> {
  const stager: Stager = { ...options, core, fileSystem, caller, made: [], entries: 0 };
  try {
    return await stageOne(stager, '' as Name, inode);
  } catch (error) {
    discardAll(core, stager.made);
    throw error;
  }
}

/** Gives up what was staged and is not wanted any more. */
export function unstage(core: Core, staged: Staged): void {
  discardAll(core, contentsOf(staged));
}

const contentsOf = (staged: Staged): ContentId[] => [
  ...(staged.content === NO_CONTENT || staged.isShared ? [] : [staged.content]),
  ...staged.children.flatMap(contentsOf),
];

function discardAll(core: Core, contents: readonly ContentId[]): void {
  core.journal.commit(() => {
    for (const id of contents) {
      // Planted after all, or taken by retention meanwhile.
      if (core.content.row(id)?.refs === 0) core.content.discard(id);
    }
  });
}

async function stageOne(stager: Stager, name: Name, inode: Inode): Promise<Staged> {
  const { fileSystem, caller, signal } = stager;
  signal.throwIfAborted();
  stager.entries += 1;
  if (stager.entries > STAGED_ENTRIES_MAX) {
    throw new OpError('result-too-large', 'copy', {
      hint: 'copy a smaller part',
      details: { partial: { max: STAGED_ENTRIES_MAX } },
    });
  }
  const plain = {
    name,
    inode,
    size: 0,
    target: undefined,
    isShared: false,
    cid: undefined,
    children: [],
  };
  if (isSymlink(inode.mode)) {
    const target = await fileSystem.readlink(caller, inode.ino);
    return { ...plain, content: NO_CONTENT, target };
  }
  if (isDirectory(inode.mode)) {
    const children: Staged[] = [];
    for (const entry of await entriesOf(stager, inode.ino)) {
      children.push(await stageOne(stager, entry.name, await childOf(stager, inode.ino, entry)));
    }
    return { ...plain, content: NO_CONTENT, children };
  }
  return { ...plain, ...(await stageBytes(stager, inode)) };
}

/** Of content that is elsewhere a listing knows the names: what they are is found out by each. */
async function childOf(
  { fileSystem, caller }: Stager,
  directory: Ino,
  { ino, name }: DirectoryEntry,
): Promise<Inode> {
  try {
    return await fileSystem.getattr(caller, ino);
  } catch (error) {
    if (!(error instanceof OpError) || error.failure !== 'not-found') throw error;
    const found = await fileSystem.lookup(caller, directory, name);
    if (found === undefined) throw error;
    return found;
  }
}

async function entriesOf({ fileSystem, caller }: Stager, ino: Ino): Promise<DirectoryEntry[]> {
  const entries: DirectoryEntry[] = [];
  const { fh } = await fileSystem.opendir(caller, ino, O_NOATIME);
  try {
    await fileSystem.readdir(fh, 0, true, (entry) => {
      if (entry.name !== '.' && entry.name !== '..') entries.push(entry);
      return true;
    });
  } finally {
    fileSystem.releasedir(fh);
  }
  return entries;
}

type Bytes = Pick<Staged, 'content' | 'size' | 'isShared' | 'cid'>;

async function stageBytes(stager: Stager, inode: Inode): Promise<Bytes> {
  const { core, fileSystem, caller, volatile } = stager;
  const text = await fileSystem.getxattr(caller, inode.ino, CID_XATTR);
  if (text !== undefined && !volatile) {
    const cid = blockKey(parseCid(text.toString()));
    const known = core.journal.contents.byCid(cid);
    const isWhole = known?.size === inode.size && inode.size > 0;
    if (isWhole) return { content: known.id, size: inode.size, isShared: true, cid };
  }
  return readBytes(stager, inode);
}

async function readBytes(stager: Stager, inode: Inode): Promise<Bytes> {
  const { core, fileSystem, caller, signal } = stager;
  const { fh } = await fileSystem.open(caller, inode.ino, O_NOATIME, false);
  const piece = Buffer.allocUnsafe(PIECE_BYTES);
  let content = NO_CONTENT;
  let size = 0;
  try {
    for (;;) {
      signal.throwIfAborted();
      const got = await fileSystem.read(fh, piece, 0, piece.length, size);
      if (got === 0) break;
      content = append(stager, content, piece.subarray(0, got), size);
      size += got;
    }
  } finally {
    fileSystem.release(fh);
  }
  if (content !== NO_CONTENT) core.journal.commit(() => core.content.freeze(content));
  return { content, size, isShared: false, cid: undefined };
}

function append(
  { core, volatile, made }: Stager,
  content: ContentId,
  bytes: Buffer,
  position: number,
): ContentId {
  return core.journal.commit(() => {
    if (content !== NO_CONTENT) {
      core.content.write(content, bytes, position);
      return content;
    }
    const id = core.content.create(volatile ? 'memory' : 'local');
    core.content.write(id, bytes, 0);
    made.push(id);
    if (volatile) return id; // Nothing of it outlives the daemon.
    // From now on it counts as old bytes.
    core.content.retain(id);
    core.content.release(id);
    return id;
  });
}

interface Planter {
  readonly core: Core;
  readonly tx: Tx;
  readonly caller: Caller;
  readonly preserve: boolean;
  readonly counts: Copied;
}

/**
 * Makes the names of what was staged, the top one as `to`; with `preserve` they keep their times.
 * @throws OpError exists, denied, no-space; content-missing when it took too long to come here.
 */
export function plant(
  core: Core,
  caller: Caller,
  staged: Staged,
  to: { readonly parent: Ino; readonly name: Name },
  preserve: boolean,
): Copied {
  return core.journal.commit((tx) => {
    const none = { files: 0, directories: 0, symlinks: 0, bytes: 0, linkedBytes: 0, leaving: 0 };
    const counts: Copied = { ino: staged.inode.ino, ...none, skipped: [] };
    const ino = plantOne({ core, tx, caller, preserve, counts }, staged, to.parent, to.name);
    return { ...counts, ino };
  });
}

/** The children of a staged directory become those of an empty one. */
export function plantInside(core: Core, caller: Caller, staged: Staged, directory: Ino): void {
  for (const child of staged.children) {
    plant(core, caller, child, { parent: directory, name: child.name }, true);
  }
}

function plantOne(planter: Planter, staged: Staged, parent: Ino, name: Name): Ino {
  const { core, caller, counts } = planter;
  const { inode } = staged;
  // Content by CID is shown without write bits, whatever it says: a copy has its owner's again.
  const mode = (inode.mode & 0o777) | 0o200;
  if (staged.target !== undefined) {
    counts.symlinks += 1;
    return symlink(core, caller, parent, name, staged.target).ino;
  }
  if (isRegular(inode.mode)) {
    const made = mknod(core, caller, parent, name, S_IFREG | mode, 0);
    counts.files += 1;
    counts.bytes += staged.size;
    if (staged.isShared) counts.linkedBytes += staged.size;
    plantBytes(planter, staged, made.ino);
    copyTimes(planter, inode, made.ino);
    return made.ino;
  }
  const made = mkdir(core, caller, parent, name, mode | 0o700);
  counts.directories += 1;
  for (const child of staged.children) plantOne(planter, child, made.ino, child.name);
  copyTimes(planter, inode, made.ino);
  return made.ino;
}

function plantBytes({ core, tx, caller }: Planter, staged: Staged, ino: Ino): void {
  const { content, size, cid } = staged;
  if (content === NO_CONTENT) return;
  const found = core.content.row(content);
  const isSame = cid === undefined || found?.cid?.equals(cid) === true;
  if (found === undefined || found.state === 'open' || !isSame) {
    throw new OpError('content-missing', 'copy', { hint: 'it was let go meanwhile: try again' });
  }
  showContent(core, tx, caller, core.inodes.get(ino), content, size);
}

/** Content without a time of its own shows the beginning of time, which is no time to copy. */
function copyTimes({ core, tx, preserve }: Planter, from: Inode, ino: Ino): void {
  if (!preserve || from.mtimeS === 0) return;
  const made = core.inodes.get(ino);
  made.mtimeS = from.mtimeS;
  made.mtimeNs = from.mtimeNs;
  core.touchChange(tx, made);
}
