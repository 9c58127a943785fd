/**
 * Operations on whole files and trees, for callers that speak in paths: replace, patch, copy,
 * remove. Each is one transaction: all of it or nothing, whatever its size.
 */
import { OpError } from '../base/errors.ts';
import { type ContentId, type Ino, type Name, NO_CONTENT } from '../base/ids.ts';
import { FILE_BYTES_MAX } from '../base/limits.ts';
import {
  isDirectory,
  isRegular,
  isSymlink,
  R_OK,
  S_IFMT,
  S_IFREG,
  W_OK,
  X_OK,
} from '../base/posix.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { unlistedMode } from './acl.ts';
import { followMode, isAcl } from './acl-change.ts';
import { clearSetId, makePrivate } from './bytes.ts';
import type { Caller } from './contract.ts';
import { attributesOf, type Core } from './core.ts';
import { link, mkdir, mknod, symlink } from './create.ts';
import { keepAside, keptBefore, upgradeHere } from './direct.ts';
import { isLeaving } from './elsewhere.ts';
import { ACL_ACCESS, ACL_DEFAULT } from './inodes.ts';
import type { Live } from './live.ts';
import { mountsInside } from './lookup.ts';
import { demand, isPermitted } from './permissions.ts';
import { rmdir, unlink } from './remove.ts';
import { clearCapability } from './xattr.ts';

/** Regular, writable, within limits. @throws OpError. */
function demandFile(core: Core, caller: Caller, ino: Ino, size: number, op: string): InodeRow {
  const row = core.inodes.get(ino);
  if (isDirectory(row.mode)) throw new OpError('is-directory', op);
  if (!isRegular(row.mode)) throw new OpError('unsupported', op);
  core.demandWritable(row, op);
  demand(caller, row, W_OK, op);
  if (size > FILE_BYTES_MAX) throw new OpError('file-too-large', op);
  core.mounts.demandRoom(row.superblock, 0, size - row.size, op);
  return row;
}

/** The whole content becomes `bytes`; the inode stays, and so do its open handles. */
export function replaceBytes(core: Core, caller: Caller, ino: Ino, bytes: Buffer): InodeRow {
  const row = demandFile(core, caller, ino, bytes.length, 'write');
  const live = core.live.find(ino);
  if (live !== undefined) return rewriteBytes(core, caller, live, bytes);
  return core.journal.commit((tx) => {
    const { content: old, size: oldSize } = row;
    const before = attributesOf(row);
    const place = core.superblockOf(row).volatile ? 'memory' : 'local';
    const next = bytes.length === 0 ? NO_CONTENT : core.content.create(place);
    if (next !== NO_CONTENT) {
      core.content.retain(next);
      core.content.write(next, bytes, 0);
    }
    if (old !== NO_CONTENT) core.content.release(old);
    row.content = next;
    setSize(core, tx, row, bytes.length);
    settle(core, tx, row);
    recordWrite(core, tx, caller, row, {
      oldSize,
      oldContent: old,
      before,
      position: 0,
      length: bytes.length,
    });
    return row;
  });
}

/**
 * The same of a file the kernel holds open: its backing file cannot be exchanged, so the bytes
 * before are copied aside and it is written over. Who reads meanwhile may see some of each.
 */
function rewriteBytes(core: Core, caller: Caller, live: Live, bytes: Buffer): InodeRow {
  prepareBytes(core, caller, live.ino);
  const row = core.inodes.get(live.ino);
  return core.journal.commit((tx) => {
    const { size: oldSize, content } = row;
    const before = attributesOf(row);
    const kept = keptBefore(live);
    const oldContent = kept === NO_CONTENT ? keepAside(core, tx, live) : kept;
    core.content.write(content, bytes, 0);
    core.content.truncate(content, bytes.length);
    core.live.hold(tx, live);
    setSize(core, tx, row, bytes.length);
    const range = { position: 0, length: bytes.length };
    recordWrite(core, tx, caller, row, { oldSize, oldContent, before, ...range });
    return row;
  });
}

/**
 * A file the kernel only reads may be changed by us from now on. To be called outside the group that
 * changes it: neither a kill nor a rollback may find bytes changed under a CID that is there again.
 * @throws OpError busy, no-space, io.
 */
export function prepareBytes(core: Core, caller: Caller, ino: Ino): void {
  const live = core.live.find(ino);
  if (live === undefined || live.isWritable) return;
  // Whoever may not write is told so by what comes next.
  const row = core.inodes.get(ino);
  if (isPermitted(caller, row, W_OK)) core.journal.commit((tx) => upgradeHere(core, tx, live));
}

/** Writes `bytes` at `position` ('end' = append) without touching the rest. */
export function patchBytes(
  core: Core,
  caller: Caller,
  ino: Ino,
  bytes: Buffer,
  position: number | 'end',
): InodeRow {
  const { row, at, size } = demandPatch(core, caller, ino, bytes.length, position);
  if (bytes.length === 0) return row;
  prepareBytes(core, caller, ino);
  const live = core.live.find(ino);
  return core.journal.commit((tx) => {
    const { size: oldSize } = row;
    const before = attributesOf(row);
    const oldContent = live === undefined ? makePrivate(core, tx, row) : keptBefore(live);
    core.content.write(row.content, bytes, at);
    core.live.restamp(ino);
    setSize(core, tx, row, size);
    settle(core, tx, row);
    const range = { position: at, length: bytes.length };
    recordWrite(core, tx, caller, row, { oldSize, oldContent, before, ...range });
    return row;
  });
}

/**
 * The checks and the record of `replaceBytes` and, with a `position`, of `patchBytes`, inside a
 * rehearsal: bytes written in place are not taken back, so none are written.
 */
export function rehearseWrite(
  core: Core,
  caller: Caller,
  ino: Ino,
  length: number,
  position: number | 'end' | undefined,
): InodeRow {
  if (position === undefined) return rehearseReplace(core, caller, ino, length);
  const { row, at, size } = demandPatch(core, caller, ino, length, position);
  if (length === 0) return row;
  return core.journal.commit((tx) => {
    const { size: oldSize } = row;
    const before = attributesOf(row);
    setSize(core, tx, row, size);
    const range = { position: at, length };
    recordWrite(core, tx, caller, row, { oldSize, oldContent: NO_CONTENT, before, ...range });
    return row;
  });
}

function rehearseReplace(core: Core, caller: Caller, ino: Ino, length: number): InodeRow {
  const row = demandFile(core, caller, ino, length, 'write');
  return core.journal.commit((tx) => {
    const { size: oldSize, content: oldContent } = row;
    const before = attributesOf(row);
    setSize(core, tx, row, length);
    recordWrite(core, tx, caller, row, { oldSize, oldContent, before, position: 0, length });
    return row;
  });
}

function demandPatch(
  core: Core,
  caller: Caller,
  ino: Ino,
  length: number,
  position: number | 'end',
): { readonly row: InodeRow; readonly at: number; readonly size: number } {
  const { size: oldSize } = core.inodes.get(ino);
  const at = position === 'end' ? oldSize : position;
  const size = Math.max(oldSize, at + length);
  return { row: demandFile(core, caller, ino, size, 'write'), at, size };
}

/** A new size, counted, with the times of a change of bytes. */
function setSize(core: Core, tx: Tx, row: InodeRow, size: number): void {
  const grown = size - row.size;
  core.mounts.charge(row.superblock, 0, grown);
  tx.onRollback(() => core.mounts.charge(row.superblock, 0, -grown));
  row.size = size;
  core.touchBytes(tx, row);
}

/** The bytes are at rest, unless a handle is in the middle of writing. */
function settle(core: Core, tx: Tx, row: InodeRow): void {
  if (core.live.find(row.ino) !== undefined) return;
  const open = core.handles.openInode(row.ino);
  const isWritten = open !== undefined && open.writers > 0;
  if (open !== undefined) {
    const was = open.isPrivate;
    open.isPrivate = isWritten && row.content !== NO_CONTENT;
    tx.onRollback(() => {
      open.isPrivate = was;
    });
  }
  if (!isWritten && row.content !== NO_CONTENT) core.content.freeze(row.content);
}

export interface Written {
  readonly oldSize: number;
  readonly oldContent: InodeRow['content'];
  readonly before: Record<string, unknown>;
  readonly position: number;
  readonly length: number;
}

function recordWrite(core: Core, tx: Tx, caller: Caller, row: InodeRow, written: Written): void {
  core.record(tx, caller, 'write', {
    ...written,
    ino: row.ino,
    size: row.size,
    content: row.content,
    oldContent: written.oldContent === NO_CONTENT ? undefined : written.oldContent,
  });
  clearCapability(core, tx, row, caller);
  if (caller.uid !== 0) clearSetId(core, tx, row, caller);
  core.announceInode(tx, caller, row.ino, true);
}

/** One entry of a tree, directories before what is in them. */
export interface Walked {
  readonly parent: Ino;
  readonly name: Name;
  readonly row: Readonly<InodeRow>;
  readonly depth: number;
}

/** Everything below a managed directory, names in bytewise order; mounts inside are not entered. */
export function* walk(core: Core, caller: Caller, ino: Ino, depth = 1): Generator<Walked> {
  const directory = core.directory(ino, 'walk');
  demand(caller, directory, R_OK | X_OK, 'walk');
  const covers = core.mounts.coversIn(ino);
  let after = '' as Name;
  for (;;) {
    const page = core.journal.dentries.namesAfter(ino, after, 256);
    for (const { name, ino: child } of page) {
      after = name;
      if (covers?.has(name) === true) continue;
      const row = core.inodes.get(child);
      core.journal.piece();
      yield { parent: ino, name, row, depth };
      if (isDirectory(row.mode)) yield* walk(core, caller, child, depth + 1);
    }
    if (page.length < 256) return;
  }
}

/** Removes a name and everything below it. @throws OpError busy, denied, not-found, … */
export function removeTree(core: Core, caller: Caller, parent: Ino, name: Name): void {
  const target = core.child(parent, name);
  if (target === undefined) throw new OpError('not-found', 'remove');
  if (!isDirectory(target.mode)) {
    unlink(core, caller, parent, name);
    return;
  }
  if (mountsInside(core, target.ino).length > 0) {
    throw new OpError('mount-busy', 'remove', { hint: 'unmount what is mounted inside first' });
  }
  const entries = [...walk(core, caller, target.ino)].reverse();
  core.journal.commitFreeing(() => {
    for (const entry of entries) {
      const remove = isDirectory(entry.row.mode) ? rmdir : unlink;
      remove(core, caller, entry.parent, entry.name);
      core.journal.piece();
    }
    rmdir(core, caller, parent, name);
  });
}

export interface Copied {
  readonly ino: Ino;
  files: number;
  directories: number;
  symlinks: number;
  /** Bytes of the files copied. */
  bytes: number;
  /** Those of them that did not move: source and copy share them. */
  linkedBytes: number;
  /** Files whose bytes must come here before the copy may be kept. */
  leaving: number;
  /** Special files are not copied. */
  readonly skipped: Name[];
}

/**
 * Copies a file or tree to a free name, sharing the bytes. Hard links inside the tree stay hard
 * links; owner, mode, times and xattrs come along when `preserve` and the caller may.
 * @throws OpError exists, invalid (into itself), cross-mount, denied, no-space.
 */
export function copyTree(
  core: Core,
  caller: Caller,
  source: Ino,
  to: { readonly parent: Ino; readonly name: Name },
  preserve: boolean,
): Copied {
  const top = core.inodes.get(source);
  const inside = isDirectory(top.mode) ? [...walk(core, caller, source)] : [];
  if (source === to.parent || inside.some(({ row }) => row.ino === to.parent)) {
    throw new OpError('invalid', 'copy', { hint: 'a directory cannot be copied into itself' });
  }
  return core.journal.commit((tx) => {
    const none = { files: 0, directories: 0, symlinks: 0, bytes: 0, linkedBytes: 0, leaving: 0 };
    const counts = { ...none, skipped: [] };
    const copies = new Map<Ino, Ino>();
    const copier = { core, tx, caller, preserve, counts: { ino: source, ...counts }, copies };
    const made = copyOne(copier, top, to.parent, to.name);
    for (const { parent, name, row } of inside) {
      const into = copies.get(parent);
      if (into !== undefined) copyOne(copier, row, into, name);
      core.journal.piece();
    }
    // Times of a directory change with every entry made in it, and only its owner's bits let the
    // caller make them: last.
    for (const [from, into] of copies) copyAttributes(copier, core.inodes.get(from), into);
    return { ...copier.counts, ino: made ?? source };
  });
}

interface Copier {
  readonly core: Core;
  readonly tx: Tx;
  readonly caller: Caller;
  readonly preserve: boolean;
  readonly counts: Copied;
  /** From a source inode to its copy. */
  readonly copies: Map<Ino, Ino>;
}

function copyOne(
  copier: Copier,
  row: Readonly<InodeRow>,
  parent: Ino,
  name: Name,
): Ino | undefined {
  const { core, caller, counts, copies } = copier;
  const known = copies.get(row.ino);
  if (known !== undefined) {
    link(core, caller, known, parent, name);
    return known;
  }
  const made = makeLike(copier, row, parent, name);
  if (made === undefined) {
    counts.skipped.push(core.pathnames.join(parent, name));
    return undefined;
  }
  copies.set(row.ino, made.ino);
  if (copier.preserve) copyXattrs(copier, row, made);
  return made.ino;
}

/** All but ACLs, which would decide already about what is still to be made. */
function copyXattrs({ core, caller }: Copier, from: Readonly<InodeRow>, made: InodeRow): void {
  for (const { name, value } of core.journal.xattrs.all(from.ino)) {
    // Capabilities and the like are root's to give.
    const isAllowed = caller.uid === 0 || name.startsWith('user.');
    if (!isAllowed || isAcl(name)) continue;
    core.journal.xattrs.set(made.ino, name, value);
    core.incapable.delete(made);
  }
}

/** The permission bits of a copy, whose ACL comes along or does not. */
const modeOf = ({ preserve }: Copier, row: Readonly<InodeRow>): number =>
  (preserve ? row.mode : unlistedMode(row)) & 0o7777;

function makeLike(
  copier: Copier,
  row: Readonly<InodeRow>,
  parent: Ino,
  name: Name,
): InodeRow | undefined {
  const { core, caller, counts } = copier;
  if (isDirectory(row.mode)) {
    counts.directories += 1;
    return mkdir(core, caller, parent, name, modeOf(copier, row) | 0o700);
  }
  if (isSymlink(row.mode)) {
    counts.symlinks += 1;
    const target = core.journal.symlinks.get(row.ino) ?? ('' as Name);
    return symlink(core, caller, parent, name, target);
  }
  if (!isRegular(row.mode)) return undefined;
  demand(caller, row, R_OK, 'copy');
  const made = mknod(core, caller, parent, name, S_IFREG | (modeOf(copier, row) & 0o777), 0);
  counts.files += 1;
  counts.bytes += row.size;
  shareBytes(copier, row, made);
  return made;
}

/** Shows the same content object where it is at rest; a private copy of it otherwise. */
function shareBytes(copier: Copier, row: Readonly<InodeRow>, made: InodeRow): void {
  const { core, tx, caller, counts } = copier;
  if (row.size === 0) return;
  if (isLeaving(core, row, made.superblock)) counts.leaving += 1;
  const sameKind = core.superblockOf(row).volatile === core.superblockOf(made).volatile;
  const isAtRest = core.content.row(row.content)?.state !== 'open';
  const isShared = row.content !== NO_CONTENT && isAtRest && sameKind;
  const isCopied = row.content !== NO_CONTENT && !isShared;
  if (isShared) counts.linkedBytes += row.size;
  const content = isCopied ? copyBytes(core, row, made) : row.content;
  showContent(core, tx, caller, made, content, row.size);
}

/**
 * Gives a file just made, without bytes, its content; recorded as the write it is.
 * @throws OpError no-space.
 */
export function showContent(
  core: Core,
  tx: Tx,
  caller: Caller,
  made: InodeRow,
  content: ContentId,
  size: number,
): void {
  core.mounts.demandRoom(made.superblock, 0, size, 'copy');
  const before = attributesOf(made);
  if (content !== NO_CONTENT) {
    core.content.retain(content);
    core.content.freeze(content);
  }
  made.content = content;
  setSize(core, tx, made, size);
  const range = { position: 0, length: size };
  recordWrite(core, tx, caller, made, { oldSize: 0, oldContent: NO_CONTENT, before, ...range });
}

function copyBytes(core: Core, row: Readonly<InodeRow>, made: InodeRow): InodeRow['content'] {
  const place = core.superblockOf(made).volatile ? 'memory' : 'local';
  const copy = core.content.create(place);
  const piece = Buffer.allocUnsafe(Math.min(row.size, 1024 * 1024));
  for (let at = 0; at < row.size; ) {
    const got = core.content.read(row.content, piece, 0, piece.length, at);
    if (got === 0) break;
    core.content.write(copy, piece.subarray(0, got), at);
    core.journal.piece();
    at += got;
  }
  return copy;
}

function copyAttributes(copier: Copier, from: Readonly<InodeRow>, into: Ino): void {
  const { core, tx, caller } = copier;
  const made = core.inodes.get(into);
  const oldMode = made.mode;
  if (isDirectory(from.mode) && (from.mode & 0o700) !== 0o700) {
    made.mode = (from.mode & S_IFMT) | modeOf(copier, from);
    followMode(core, tx, made);
    core.touchChange(tx, made);
    core.record(tx, caller, 'chmod', { ino: into, mode: made.mode, oldMode });
  }
  if (!copier.preserve) return;
  copyAcls(copier, from, made);
  if (caller.uid === 0) {
    made.uid = from.uid;
    made.gid = from.gid;
    made.mode = from.mode;
  }
  made.atimeS = from.atimeS;
  made.atimeNs = from.atimeNs;
  made.mtimeS = from.mtimeS;
  made.mtimeNs = from.mtimeNs;
  core.touchChange(tx, made);
}

/** The copy has the lists of the original, and none where it has none. */
function copyAcls({ core, tx }: Copier, from: Readonly<InodeRow>, made: InodeRow): void {
  const { inodes } = core;
  const lists = [
    [ACL_ACCESS, from.acl, made.acl],
    [ACL_DEFAULT, inodes.defaultAcl(from), inodes.defaultAcl(made)],
  ] as const;
  for (const [name, value, is] of lists) {
    if (value !== undefined || is !== undefined) inodes.setAcl(tx, made, name, value);
  }
  made.mode = (made.mode & ~0o777) | (from.mode & 0o777);
}
