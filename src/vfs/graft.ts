/**
 * Carrying out a planned change of a tree: one transaction, with the rights of the caller, each
 * name with the records that undo it. The plan may be older than the tree: whatever it replaces or
 * removes must be what it was made for, and nothing it did not know of is lost.
 */
import { assert, unreachable } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type {
  PlannedAdjustment,
  PlannedEntry,
  PlannedMaking,
  PlannedMetadata,
  PlannedNode,
  PlannedRemoval,
  Seen,
  SetAside,
  TreePlan,
} from '../base/graft.ts';
import { type ContentId, type Ino, type Name, NO_CONTENT } from '../base/ids.ts';
import { S_IFMT, S_IFREG } from '../base/posix.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { followMode, isAcl } from './acl-change.ts';
import { setattrNow } from './attributes.ts';
import type { Caller } from './contract.ts';
import { attributesOf, type Core } from './core.ts';
import { demandTakes, enter, link, mkdir, mknod, symlink } from './create.ts';
import { rmdir, unlink } from './remove.ts';
import { removexattr, setxattr } from './xattr.ts';

/** What new files and directories have when the plan does not say. */
const FILE_MODE = 0o644;
const DIRECTORY_MODE = 0o755;

type PlannedFile = Extract<PlannedNode, { readonly type: 'file' }>;

interface Grafting {
  readonly core: Core;
  readonly caller: Caller;
  readonly tx: Tx;
  readonly plan: TreePlan;
}

/**
 * @throws OpError version-conflict when the tree is not what the plan was made for; denied,
 *   not-permitted, read-only, no-space, busy, name-too-long as the single operations do.
 */
export function graft(core: Core, caller: Caller, plan: TreePlan): void {
  const root = core.directory(plan.root, 'restore');
  core.demandWritable(root, 'restore');
  core.journal.commit((tx) => {
    const grafting = { core, caller, tx, plan };
    for (const entry of plan.children) graftEntry(grafting, plan.root, entry);
    adjustMetadata(grafting, root.ino, plan.metadata);
  });
}

function graftEntry(grafting: Grafting, parent: Ino, entry: PlannedEntry): void {
  switch (entry.action) {
    case 'remove':
      remove(grafting, parent, entry);
      return;
    case 'make':
      make(grafting, parent, entry);
      return;
    default:
      adjust(grafting, parent, entry);
  }
}

const changed = (name: Name): OpError =>
  new OpError('version-conflict', `restore ${Buffer.from(name, 'latin1')}`, {
    hint: 'the tree changed meanwhile; try again',
  });

/** The child of that name, if it is what the plan saw. */
function expected({ core }: Grafting, parent: Ino, name: Name, seen: Seen): InodeRow {
  const row = core.child(parent, name);
  if (row?.ino !== seen.ino || row.version !== seen.version) throw changed(name);
  return row;
}

function remove(grafting: Grafting, parent: Ino, removal: PlannedRemoval): void {
  const { core, caller } = grafting;
  const { name, isDirectory: isTree, children } = removal;
  const { ino } = expected(grafting, parent, name, removal.seen);
  if (!isTree) {
    unlink(core, caller, parent, name);
    return;
  }
  for (const child of children) remove(grafting, ino, child);
  // A name that the plan did not know of.
  if (!core.journal.dentries.isEmpty(ino)) throw changed(name);
  rmdir(core, caller, parent, name);
}

/** `isNew`: the plan made the directory, so that no name in it is taken. */
function make(grafting: Grafting, parent: Ino, making: PlannedMaking, isNew = false): void {
  const { core, caller, tx } = grafting;
  const { name, node, replaces, metadata, children } = making;
  if (replaces !== undefined) remove(grafting, parent, replaces);
  else if (!isNew && core.child(parent, name) !== undefined) throw changed(name);
  if (making.numbers !== undefined) offer(core, node, making.numbers);
  if (node.type === 'link') {
    link(core, caller, linkedFrom(grafting, node.to), parent, name);
    return;
  }
  if (node.type === 'file') {
    makeFile(grafting, parent, name, node, metadata);
    return;
  }
  const made = makeNode(grafting, parent, name, node);
  for (const child of children) make(grafting, made.ino, child, true);
  setMetadata(core, tx, caller, made, metadata);
}

/** A further name of an inode takes no number of an inode. */
function offer({ journal }: Core, { type }: PlannedNode, { ino, cookie }: SetAside): void {
  if (ino !== undefined && type !== 'link') journal.counters.offer('ino', ino);
  if (cookie !== undefined) journal.counters.offer('cookie', cookie);
}

function makeNode(
  grafting: Grafting,
  parent: Ino,
  name: Name,
  node: Exclude<PlannedNode, { readonly type: 'link' | 'file' }>,
): InodeRow {
  const { core, caller } = grafting;
  switch (node.type) {
    case 'directory':
      return mkdir(core, caller, parent, name, DIRECTORY_MODE);
    case 'symlink':
      return symlink(core, caller, parent, name, node.target);
    case 'special':
      return mknod(core, caller, parent, name, (node.mode & S_IFMT) | FILE_MODE, node.rdev);
    default:
      return unreachable(node, 'restore');
  }
}

/** A tree is files for the most part: the row of one is written once, as it shall be. */
function makeFile(
  grafting: Grafting,
  parent: Ino,
  name: Name,
  node: PlannedFile,
  metadata: PlannedMetadata,
): void {
  const { core, caller, tx } = grafting;
  const directory = core.directory(parent, 'restore');
  core.demandName(name, 'restore');
  if (core.mounts.covered(parent, name) !== undefined) throw new OpError('exists', 'restore');
  demandTakes(core, caller, directory, name, 'restore');
  const { size } = node;
  const content = size === 0 ? NO_CONTENT : shownBytes(grafting, directory, node);
  const mode = S_IFREG | FILE_MODE;
  const prepare = (row: InodeRow) => {
    row.size = size;
    row.content = content;
    setOwn(row, metadata);
  };
  const named = { caller, parent: directory, name, kind: 'create', mode, rdev: 0 } as const;
  const row = enter(core, tx, { ...named, size, prepare });
  if (size > 0) {
    core.record(tx, caller, 'write', {
      ino: row.ino,
      path: core.pathnames.join(parent, name),
      size,
      oldSize: 0,
      content,
      position: 0,
      length: size,
      before: attributesOf({ ...row, size: 0 }),
    });
  }
  const hasList = core.inodes.defaultAcl(directory) !== undefined;
  const { xattrs = [] } = metadata;
  if (hasList || xattrs.length > 0) setMetadata(core, tx, caller, row, metadata);
}

/** The object at rest that a file shows; a tree in memory has a copy of its own. */
function shownBytes(
  { core, tx }: Grafting,
  directory: InodeRow,
  { content, size, cid }: PlannedFile,
): ContentId {
  // Nothing of a rehearsal is ever about to be committed.
  if (content === NO_CONTENT) {
    tx.beforeCommit(() => assert(false, 'bytes are brought here before they are shown'));
    return NO_CONTENT;
  }
  demandAtRest(core, content, size, cid);
  const { volatile } = core.superblockOf(directory);
  const shown = volatile ? inMemory(core, content, size) : content;
  core.content.retain(shown);
  core.content.freeze(shown);
  return shown;
}

/** What stands in the row itself. */
function setOwn(row: InodeRow, { mode, uid, gid, atime, mtime }: PlannedMetadata): void {
  if (mode !== undefined) row.mode = (row.mode & S_IFMT) | (mode & 0o7777);
  row.uid = uid ?? row.uid;
  row.gid = gid ?? row.gid;
  if (atime !== undefined) [row.atimeS, row.atimeNs] = [atime.s, atime.ns];
  if (mtime !== undefined) [row.mtimeS, row.mtimeNs] = [mtime.s, mtime.ns];
}

/** @throws OpError version-conflict: old bytes that history has let go since, or written again. */
function demandAtRest(
  core: Core,
  content: ContentId,
  size: number,
  cid: Uint8Array | undefined,
): void {
  const found = core.content.row(content);
  const isSame = cid === undefined || found?.cid?.equals(cid) === true;
  if (isSame && found !== undefined && found.state !== 'open' && found.size === size) return;
  throw new OpError('version-conflict', 'restore', { hint: 'the bytes went meanwhile; try again' });
}

function inMemory(core: Core, content: ContentId, size: number): ContentId {
  const copy = core.content.create('memory');
  for (let at = 0; at < size; ) at += core.content.copy(content, at, copy, at, size - at);
  return copy;
}

/** The inode at a path of the plan, which was made or found before. */
function linkedFrom({ core, plan }: Grafting, to: readonly Name[]): Ino {
  let ino = plan.root;
  for (const name of [...plan.linksFrom, ...to]) {
    const next = core.child(ino, name);
    if (next === undefined) throw changed(name);
    ino = next.ino;
  }
  return ino;
}

/** Of an inode made in this transaction: what it was before needs no record. */
function setMetadata(
  core: Core,
  tx: Tx,
  caller: Caller,
  row: InodeRow,
  metadata: PlannedMetadata,
): void {
  const { mode, xattrs } = metadata;
  // Also of what came from a default ACL.
  if (xattrs !== undefined) adjustXattrs(core, caller, row.ino, xattrs);
  setOwn(row, metadata);
  if (mode !== undefined) followMode(core, tx, row);
  core.touchChange(tx, row);
  core.announceInode(tx, caller, row.ino, false);
}

function adjust(grafting: Grafting, parent: Ino, entry: PlannedAdjustment): void {
  const { ino } = expected(grafting, parent, entry.name, entry.seen);
  for (const child of entry.children) graftEntry(grafting, ino, child);
  adjustMetadata(grafting, ino, entry.metadata);
}

/** Of an inode that was there: each change has its record. Owner first, for it clears set-id bits. */
function adjustMetadata({ core, caller }: Grafting, ino: Ino, metadata: PlannedMetadata): void {
  const { mode, uid, gid, atime, mtime, xattrs } = metadata;
  if (xattrs !== undefined) adjustXattrs(core, caller, ino, xattrs);
  const row = core.inodes.get(ino);
  const owner = {
    uid: uid === row.uid ? undefined : uid,
    gid: gid === row.gid ? undefined : gid,
  };
  const isOwned = owner.uid !== undefined || owner.gid !== undefined;
  if (isOwned) setattrNow(core, caller, ino, owner);
  if (mode !== undefined && (row.mode & 0o7777) !== (mode & 0o7777)) {
    setattrNow(core, caller, ino, { mode });
  }
  const isLater = mtime !== undefined && (row.mtimeS !== mtime.s || row.mtimeNs !== mtime.ns);
  if (isLater) setattrNow(core, caller, ino, { atime, mtime });
}

function adjustXattrs(
  core: Core,
  caller: Caller,
  ino: Ino,
  wanted: NonNullable<PlannedMetadata['xattrs']>,
): void {
  const left = new Map(core.journal.xattrs.all(ino).map(({ name, value }) => [name, value]));
  for (const { name, value } of wanted) {
    const is = left.get(name);
    left.delete(name);
    if (is?.equals(value) !== true) setxattr(core, caller, ino, name, value, 'any');
  }
  for (const name of left.keys()) {
    // What only uid 0 may set is not missing from what others restore.
    const isOthers = !name.startsWith('user.') && !isAcl(name) && caller.uid !== 0;
    if (!isOthers) removexattr(core, caller, ino, name);
  }
}
