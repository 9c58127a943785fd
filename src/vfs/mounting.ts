/**
 * Attaching and detaching trees, and what a start finds: the table is made again from the journal,
 * what was volatile is dropped, what a kill left open is closed and recorded.
 */
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import {
  type ContentId,
  type Ino,
  type Name,
  NO_CONTENT,
  ROOT_INO,
  type SuperblockId,
} from '../base/ids.ts';
import { isDirectory, S_IFDIR } from '../base/posix.ts';
import type { InodeRow, SuperblockRow, Tx } from '../journal/journal.ts';
import type { Caller } from './contract.ts';
import { attributesOf, blankRow, type Core, DIRECTORY_SIZE, EMPTY_NAME } from './core.ts';
import { enter, mkdir, reapOrphans } from './create.ts';
import { rest } from './direct.ts';
import { isFollowing, type Mounted, type Superblock } from './mounts.ts';
import { dropName, obituary } from './remove.ts';
import type { SavedFile } from './table-records.ts';
import { adoptHandles, type Inherited, keepOrphans, resume, revive, shownBy } from './take-over.ts';
import { takeRest } from './unclean.ts';

const ROOT_SUPERBLOCK = 1 as SuperblockId;

export interface MountRequest {
  readonly mountId: string;
  readonly mountPoint: Name;
  readonly kind: string;
  readonly backend: string;
  readonly source: string;
  readonly readOnly: boolean;
  readonly volatile: boolean;
  readonly sizeBytesMax?: number | undefined;
  readonly inodesMax?: number | undefined;
  readonly options: Readonly<Record<string, unknown>>;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
  /** Make the directories above the mount point that are not there. */
  readonly parents?: boolean | undefined;
  /** Puts into a new tree what it starts with, also when nobody may write to it later. */
  readonly fill?: ((root: Ino) => void) | undefined;
}

/** What a start did, for the log. */
export interface Recovery {
  readonly sessionsEnded: number;
  readonly orphansReaped: number;
  readonly volatileDropped: number;
  /** Files being written whose bytes the disk has not. */
  readonly contentsLost: number;
}

/**
 * Makes the core ready: the root, the table, and order after a kill. With `inherited` a connection
 * to the kernel is gone on with: these handles stay open, and so does what is written through them.
 * @throws OpError journal-corrupt: the rows are not what the schema says; no-space and the like.
 */
export function recover(
  core: Core,
  owner: { uid: number; gid: number },
  inherited?: readonly Inherited[],
): Recovery {
  try {
    return restored(core, owner, inherited);
  } catch (error) {
    throw damageOf(error);
  }
}

/**
 * What a start stumbles over is what it reads: no request has been served yet, so that an invariant
 * that does not hold is one of the rows.
 */
function damageOf(error: unknown): OpError {
  const op = 'recover the tree';
  const known = asOpError(error, op);
  const isRefusedRow = /^SQLITE_(ERROR|CONSTRAINT|MISMATCH)/.test(codeOf(known.cause) ?? '');
  if (known.failure !== 'internal' && !isRefusedRow) return known;
  return new OpError('journal-corrupt', op, { cause: error, hint: 'see kitfs fsck' });
}

function restored(
  core: Core,
  owner: { uid: number; gid: number },
  inherited: readonly Inherited[] | undefined,
): Recovery {
  const { journal } = core;
  core.doubt?.begin(inherited !== undefined);
  if (journal.superblocks.all().length === 0) journal.commit((tx) => makeRoot(core, tx, owner));
  const volatileDropped = inherited === undefined ? dropVolatile(core) : 0;
  for (const row of journal.superblocks.all()) core.mounts.addSuperblock(counted(core, row));
  for (const row of journal.superblocks.mounts()) {
    attach(core, { ...row, superblock: core.mounts.superblock(row.superblock) });
  }
  if (inherited !== undefined) adoptHandles(core, inherited);
  const saved = core.table.leftSaved((ino) => core.inodes.find(ino)?.version);
  const contentsLost = restOpen(core, shownBy(core, saved), saved);
  const sessionsEnded = endOldSessions(core, resume(core, saved));
  core.table.dropLeft();
  const orphansReaped = inherited === undefined ? reapOrphans(core) : keepOrphans(core);
  return { sessionsEnded, orphansReaped, volatileDropped, contentsLost };
}

function makeRoot(core: Core, tx: Tx, owner: { uid: number; gid: number }): void {
  const ino = core.journal.inodes.nextIno();
  if (ino !== ROOT_INO) throw new OpError('journal-corrupt', 'make the root inode');
  core.journal.superblocks.insert({
    id: ROOT_SUPERBLOCK,
    kind: 'root',
    backend: 'root',
    source: '',
    root: ino,
    volatile: false,
    readOnly: true,
    sizeBytesMax: undefined,
    inodesMax: undefined,
    options: {},
  });
  core.inodes.add(tx, rootRow(ino, ROOT_SUPERBLOCK, { ...owner, mode: 0o755 }, tx));
}

function rootRow(
  ino: Ino,
  superblock: SuperblockId,
  { uid, gid, mode }: { uid: number; gid: number; mode: number },
  tx: Tx,
): InodeRow {
  return blankRow({
    ino,
    superblock,
    mode: S_IFDIR | mode,
    uid,
    gid,
    nlink: 2,
    size: DIRECTORY_SIZE,
    rdev: 0,
    parent: 0 as Ino,
    now: tx.now,
  });
}

function counted(core: Core, row: SuperblockRow): Superblock {
  const isLimited = row.sizeBytesMax !== undefined || row.inodesMax !== undefined;
  return { ...row, usage: isLimited ? { ...core.journal.inodes.usage(row.id) } : undefined };
}

/**
 * Trees in memory do not outlive their daemon: their names go, and a new root is made. Also called
 * at the end, when nobody asks any more. How many trees there were.
 */
export function dropVolatile(core: Core): number {
  const { journal } = core;
  const rows = journal.superblocks.all().filter(({ volatile }) => volatile);
  for (const row of rows) {
    const root = journal.inodes.get(row.root);
    journal.commitFreeing(() => {
      releaseContents(core, row.id);
      journal.superblocks.dropInodes(row.id);
      if (root !== undefined) journal.inodes.insert({ ...root, nlink: 2 });
    });
  }
  core.inodes.clear();
  return rows.length;
}

function releaseContents(core: Core, id: SuperblockId): void {
  for (const ino of core.journal.superblocks.inosOf(id)) {
    const content = core.journal.inodes.get(ino)?.content ?? NO_CONTENT;
    if (content !== NO_CONTENT) core.content.release(content);
  }
}

/**
 * Sessions that nobody goes on with get their record now, with the whole file as their range, if
 * anything was written. The first one of a file tells of all that was written to it.
 */
function endOldSessions(core: Core, resumed: ReadonlySet<number>): number {
  const { journal } = core;
  const sessions = journal.sessions.all().filter(({ id }) => !resumed.has(id));
  const told = new Set<Ino>();
  for (const session of sessions) {
    journal.commitFreeing((tx) => {
      const row = core.inodes.find(session.ino);
      const isTold = row !== undefined && told.has(row.ino);
      const { oldContent } = session;
      journal.sessions.delete(session.id);
      if (row !== undefined && row.version === session.before['version']) return;
      tx.record({
        kind: 'write',
        actor: session.actor,
        ino: session.ino,
        parent: 0,
        name: EMPTY_NAME,
        path: session.path,
        size: row?.size,
        oldSize: isTold ? row.size : session.oldSize,
        content: row?.content,
        oldContent: isTold || oldContent === NO_CONTENT ? undefined : oldContent,
        position: 0,
        length: row?.size,
        before: isTold ? attributesOf(row) : session.before,
        after: { interrupted: true },
      });
      told.add(session.ino);
    });
  }
  return sessions.length;
}

/**
 * What was being written, and nobody goes on with, comes to rest. Of bytes the kernel wrote past the
 * daemon, the disk knows how many there are; somebody may have them mapped still. A loss of power
 * may have taken the file itself: who opens it is told, and all others have theirs. Answers how
 * many those are.
 */
function restOpen(
  core: Core,
  inos: ReadonlyMap<ContentId, Ino>,
  saved: ReadonlyMap<Ino, SavedFile>,
): number {
  let contentsLost = 0;
  for (const { id } of core.content.recoverOpen()) {
    core.journal.commitFreeing((tx) => {
      const ino = inos.get(id) ?? core.journal.inodes.ofContent(id);
      const isOpen = ino !== undefined && core.handles.isOpen(ino);
      // While somebody had it open the power was there.
      if (ino !== undefined && !isOpen && !takeRest(core, tx, id, ino)) return;
      if (!core.content.direct.has(id)) {
        if (!isOpen) core.content.freeze(id);
        return;
      }
      if (ino === undefined) {
        core.content.discard(id);
      } else if (core.content.direct.isThere(id)) {
        core.content.direct.claim(id);
        const live = revive(core, tx, core.inodes.get(ino), saved.get(ino));
        if (!isOpen) rest(core, tx, live);
      } else {
        core.content.direct.abandon(id, core.inodes.get(ino).size);
        core.content.freeze(id);
        contentsLost += 1;
      }
    });
  }
  return contentsLost;
}

/** Shows a superblock's root at its mount point; missing directories of the root tree are made. */
function attach(core: Core, mounted: Mounted): void {
  const { parent, name } = pointOf(core, mounted.mountPoint);
  core.mounts.addMount(mounted);
  core.mounts.cover(parent, name, mounted.superblock.root);
  core.pathnames.forget();
}

function pointOf(core: Core, mountPoint: Name): { parent: Ino; name: Name } {
  const names = mountPoint.split('/').slice(1) as Name[];
  const name = names.pop();
  if (name === undefined || name === '') throw new OpError('invalid-path', `mount ${mountPoint}`);
  let parent = ROOT_INO;
  for (const step of names) {
    const next = core.mounts.covered(parent, step) ?? core.journal.dentries.find(parent, step);
    if (next === undefined || !isDirectory(core.inodes.get(next).mode)) {
      throw new OpError('not-found', `mount ${mountPoint}`, {
        hint: 'make the directory above it first',
      });
    }
    parent = next;
  }
  return { parent, name };
}

/** @throws OpError mount-busy, not-empty, not-found, not-directory; what `fill` throws. */
export function mount(core: Core, caller: Caller, request: MountRequest): Mounted {
  const { mountPoint } = request;
  if (core.mounts.mountAt(mountPoint) !== undefined) {
    throw new OpError('mount-busy', `mount ${mountPoint}`, {
      hint: 'another tree is mounted there',
    });
  }
  return core.journal.commit((tx) => {
    if (request.parents === true) makeDirectoriesAbove(core, tx, caller, mountPoint);
    const { parent, name } = pointOf(core, mountPoint);
    demandPoint(core, parent, name, mountPoint);
    const mounted = detachedAt(core, tx, caller, request) ?? makeTree(core, tx, caller, request);
    tx.afterCommit(() => {
      attach(core, mounted);
      core.invalidator.entry(parent, name);
      core.invalidator.inode(parent, true);
    });
    return mounted;
  });
}

/** A name that is free, or means an empty directory. */
function demandPoint(core: Core, parent: Ino, name: Name, mountPoint: Name): void {
  core.demandName(name, 'mount');
  const existing = core.child(parent, name);
  if (existing === undefined) return;
  if (!isDirectory(existing.mode)) throw new OpError('not-directory', `mount ${mountPoint}`);
  if (!core.journal.dentries.isEmpty(existing.ino)) {
    throw new OpError('not-empty', `mount ${mountPoint}`);
  }
}

/** In the root tree they are made although nobody may write there, and go with their last mount. */
function makeDirectoriesAbove(core: Core, tx: Tx, caller: Caller, mountPoint: Name): void {
  let parent = ROOT_INO;
  for (const name of mountPoint.split('/').slice(1, -1) as Name[]) {
    const known = core.mounts.covered(parent, name) ?? core.journal.dentries.find(parent, name);
    const above = core.directory(parent, 'mount');
    const row = { caller, parent: above, name, mode: S_IFDIR | 0o755, rdev: 0 };
    if (known !== undefined) parent = known;
    else if (above.superblock === ROOT_SUPERBLOCK) {
      parent = enter(core, tx, { ...row, kind: 'mkdir' }).ino;
    } else parent = mkdir(core, caller, parent, name, 0o755).ino;
  }
}

/** A tree that was unmounted here before is shown again, with everything that is in it. */
function detachedAt(
  core: Core,
  tx: Tx,
  caller: Caller,
  request: MountRequest,
): Mounted | undefined {
  const { mountPoint, mountId } = request;
  const attached = new Set(core.mounts.mounts().map(({ superblock }) => superblock.id));
  for (const superblock of core.mounts.superblocks()) {
    const same =
      superblock.kind === request.kind &&
      superblock.backend === request.backend &&
      superblock.source === request.source &&
      superblock.options['mount_point'] === mountPoint;
    if (!same || attached.has(superblock.id)) continue;
    const { readOnly, options } = superblock;
    tx.onRollback(() => Object.assign(superblock, { readOnly, options }));
    superblock.readOnly = request.readOnly;
    superblock.options = { ...request.options, mount_point: mountPoint };
    core.journal.superblocks.update(superblock);
    core.journal.superblocks.insertMount({ mountPoint, mountId, superblock: superblock.id });
    core.record(tx, caller, 'mount', { ino: superblock.root, path: mountPoint });
    return { mountId, mountPoint, superblock };
  }
  return undefined;
}

function makeTree(core: Core, tx: Tx, caller: Caller, request: MountRequest): Mounted {
  const { mountPoint, mountId, uid, gid, mode } = request;
  const ino = core.journal.inodes.nextIno();
  const ids = core.journal.superblocks.all().map(({ id }) => id);
  const row: SuperblockRow = {
    id: (Math.max(...ids) + 1) as SuperblockId,
    kind: request.kind,
    backend: request.backend,
    source: request.source,
    root: ino,
    volatile: request.volatile,
    readOnly: request.readOnly,
    sizeBytesMax: request.sizeBytesMax,
    inodesMax: request.inodesMax,
    options: { ...request.options, mount_point: mountPoint },
  };
  core.journal.superblocks.insert(row);
  core.journal.superblocks.insertMount({ mountPoint, mountId, superblock: row.id });
  core.inodes.add(tx, rootRow(ino, row.id, { uid, gid, mode }, tx));
  const superblock = counted(core, row);
  core.mounts.addSuperblock(superblock);
  tx.onRollback(() => core.mounts.removeSuperblock(row.id));
  core.record(tx, caller, 'mount', { ino, path: mountPoint, after: { kind: row.kind } });
  superblock.readOnly = false;
  request.fill?.(ino);
  superblock.readOnly = row.readOnly;
  return { mountId, mountPoint, superblock };
}

export interface UnmountResult {
  readonly discardedFiles: number;
  readonly discardedBytes: number;
}

/**
 * Detaches a tree. A volatile one is dropped, and so is the copy of what a name means; any other
 * keeps its names and bytes and is shown again by mounting the same source at the same place.
 * @throws OpError not-found. Whether it is busy is for the caller to ask first.
 */
export function unmount(core: Core, caller: Caller, mountPoint: Name): UnmountResult {
  const mounted = core.mounts.mountAt(mountPoint);
  if (mounted === undefined) {
    throw new OpError('not-found', `unmount ${mountPoint}`, { details: { kind: 'mount' } });
  }
  const { superblock } = mounted;
  const discarded = superblock.volatile
    ? core.journal.superblocks.filesOf(superblock.id)
    : { files: 0, bytes: 0 };
  core.journal.commit((tx) => {
    core.record(tx, caller, 'unmount', { ino: superblock.root, path: mountPoint });
    core.journal.superblocks.deleteMount(mountPoint);
    const place = core.mounts.coverOf(superblock.root);
    if (place !== undefined) removeDirectoriesAbove(core, tx, caller, place);
    if (isDropped(superblock)) {
      releaseContents(core, superblock.id);
      core.journal.superblocks.dropInodes(superblock.id);
      core.journal.superblocks.delete(superblock.id);
    }
    tx.afterCommit(() => detach(core, mounted));
  });
  return { discardedFiles: discarded.files, discardedBytes: discarded.bytes };
}

/** Whether nothing of it is kept when it is detached. */
const isDropped = (superblock: Superblock): boolean =>
  superblock.volatile || isFollowing(superblock);

/** Directories of the root tree that were made for a mount, and hold nothing without it. */
function removeDirectoriesAbove(
  core: Core,
  tx: Tx,
  caller: Caller,
  { parent, name }: { readonly parent: Ino; readonly name: Name },
): void {
  const row = core.inodes.get(parent);
  const others = [...(core.mounts.coversIn(parent)?.keys() ?? [])].filter((key) => key !== name);
  const isInUse = others.length > 0 || !core.journal.dentries.isEmpty(parent);
  if (row.superblock !== ROOT_SUPERBLOCK || parent === ROOT_INO || isInUse) return;
  const [place] = core.journal.dentries.namesOf(parent);
  if (place === undefined) return;
  const above = core.inodes.get(place.parent);
  const path = core.pathnames.join(place.parent, place.name);
  core.record(tx, caller, 'rmdir', { ino: parent, ...place, path, ...obituary(core, row) });
  core.journal.dentries.remove(place.parent, place.name);
  above.nlink -= 1;
  core.touchDirectory(tx, above);
  core.announceEntry(tx, caller, place.parent, place.name);
  dropName(core, tx, caller, row);
  removeDirectoriesAbove(core, tx, caller, place);
}

function detach(core: Core, { mountPoint, superblock }: Mounted): void {
  const place = core.mounts.coverOf(superblock.root);
  core.mounts.removeMount(mountPoint);
  core.pathnames.forget();
  if (isDropped(superblock)) {
    core.inodes.clear();
    core.mounts.removeSuperblock(superblock.id);
  }
  if (place === undefined) return;
  core.mounts.uncover(place.parent, place.name);
  core.invalidator.entry(place.parent, place.name);
  core.invalidator.inode(place.parent, true);
}
