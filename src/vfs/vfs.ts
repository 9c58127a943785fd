/**
 * The file system: one method per operation, by inode number. Three kinds of trees live in it:
 * managed ones (SQLite), content by CID below `/ipfs` (immutable), and the control files. Which one
 * an inode belongs to is in its number.
 */
import { OpError } from '../base/errors.ts';
import type { TreePlan } from '../base/graft.ts';
import { type Fh, type Ino, type Name, nameOfText, ROOT_INO } from '../base/ids.ts';
import { SECTOR_BYTES } from '../base/limits.ts';
import { isDirectory, isSymlink, O_NOATIME, O_RDONLY, R_OK, W_OK, writes } from '../base/posix.ts';
import { markRead } from './access-times.ts';
import { sectors, setattr } from './attributes.ts';
import { allocate, copyRange, seek, write, writePages } from './bytes.ts';
import { CID_INO_FROM, CidTree } from './cidtree.ts';
import type {
  AllocateFlags,
  Asking,
  AttributeChange,
  Awaitable,
  Caller,
  DirectoryEntry,
  FileSystem,
  Handle,
  Inode,
  Opened,
  RenameFlags,
  Statfs,
} from './contract.ts';
import {
  CONTROL_INO,
  CONTROL_INO_FROM,
  CONTROL_NAME,
  ControlTree,
  demandManaged,
  type KeptBytes,
  readText,
} from './control.ts';
import { Core } from './core.ts';
import { create, link, mkdir, mknod, symlink, tmpfile } from './create.ts';
import { bring, isHere, readWhenHere } from './elsewhere.ts';
import { graft } from './graft.ts';
import type { OpenFile } from './handles.ts';
import { isIpnsName, lookup } from './lookup.ts';
import { fsync, open, openNow, release } from './open.ts';
import type { VfsOptions } from './options.ts';
import { demand } from './permissions.ts';
import { readdir } from './readdir.ts';
import { rmdir, unlink } from './remove.ts';
import { type Place, rename } from './rename.ts';
import { endSession } from './sessions.ts';
import { statfs } from './statfs.ts';
import { fixedPathOf } from './take-over.ts';
import { getxattr, listxattr, removexattr, setxattr } from './xattr.ts';

export { narrowMode } from './acl.ts';
export { announceSince } from './announce.ts';
export { Arriving, subdirectoriesIn } from './arriving.ts';
export type { ContentNode, ContentReader, NameReader, NodeLog } from './cidtree.ts';
export type {
  AllocateFlags,
  Asking,
  AttributeChange,
  Awaitable,
  Caller,
  DirectoryEntry,
  FileSystem,
  Handle,
  Inode,
  Invalidator,
  Opened,
  RenameFlags,
  Statfs,
  TimeChange,
} from './contract.ts';
export type { ControlFile, KeptBytes } from './control.ts';
export { Core } from './core.ts';
export { isHeldByKernel, restLingering } from './direct.ts';
export { climbed, durabilityOf, type Replica } from './durability.ts';
export { isLeaving } from './elsewhere.ts';
export { bringUpToDate, type Following, fillCopy, followings } from './following.ts';
export { HandleTable, type TablePlace } from './handle-table.ts';
export type { Passthrough } from './live.ts';
export { mountsInside } from './lookup.ts';
export { bringFromMfs, isWrittenTo, mfsMounts } from './mfs-trees.ts';
export type { MountRequest, UnmountResult } from './mounting.ts';
export { dropVolatile, mount, recover, unmount } from './mounting.ts';
export type { Mounted } from './mounts.ts';
export { releaseAgain } from './open.ts';
export { isPermitted } from './permissions.ts';
export { type Resolved, resolve } from './resolve.ts';
export { plant, plantInside, type Staged, stage, unstage } from './staging.ts';
export type { HeldHandle, TableMemory } from './table-records.ts';
export type { Inherited } from './take-over.ts';
export {
  type Copied,
  copyTree,
  patchBytes,
  prepareBytes,
  rehearseWrite,
  removeTree,
  replaceBytes,
  walk,
} from './trees.ts';
export { ascertain } from './unclean.ts';
export { cidOf, versionOf } from './xattr.ts';
export { CID_INO_FROM, CONTROL_INO_FROM };

/** Entries of the managed tree under which content by CID is seen. */
const CID_ROOT_KIND = 'ipfs';

export class Vfs implements FileSystem {
  /** For this module's functions over the managed trees, and the mount table. */
  readonly core: Core;
  readonly #cids: CidTree;
  readonly #control: ControlTree;
  readonly #stateDirectory: string;
  /** What open control files show. */
  readonly #rendered: KeptBytes;

  constructor(options: VfsOptions) {
    this.core = new Core(options);
    this.#rendered = options.rendered ?? new Map<Fh, Buffer>();
    const { contentReader, signal, nodes, nameReader } = options;
    this.#cids = new CidTree(contentReader, signal, nodes, nameReader);
    this.#control = new ControlTree(options.controlFiles, options.clock.now(), options.owner);
    this.#stateDirectory = options.stateDirectory;
    this.core.mounts.cover(ROOT_INO, CONTROL_NAME, CONTROL_INO);
  }

  lookup(caller: Caller, parent: Ino, name: Name, asking?: Asking): Awaitable<Inode | undefined> {
    if (parent >= CID_INO_FROM) return this.#lookupCid(caller, parent, name, asking);
    if (parent >= CONTROL_INO_FROM) {
      return name === '..' ? this.core.inodes.get(ROOT_INO) : this.#control.child(parent, name);
    }
    if (parent === ROOT_INO && name === CONTROL_NAME) return this.#control.find(CONTROL_INO);
    if (this.#isCidName(parent, name)) return this.#cids.root(parent, name, caller.checked, asking);
    if (isIpnsName(this.core, parent, name))
      return this.#cids.named(parent, name, caller.checked, asking);
    return this.core.shown(lookup(this.core, caller, parent, name));
  }

  forget(ino: Ino): void {
    if (ino >= CID_INO_FROM) this.#cids.forget(ino);
    if (ino >= CONTROL_INO_FROM) return;
    const { core } = this;
    // With the inode the kernel forgot its pages.
    core.live.stalePages.forget(ino);
    // Of a million inodes that come back at once, the rows of the few that may go are read.
    if (!core.orphans.has(ino)) return;
    const row = core.inodes.find(ino);
    if (row === undefined || row.nlink > 0) core.orphans.delete(ino);
    else core.journal.commitFreeing((tx) => core.reapIfUnused(tx, row, true));
  }

  unnamed(): readonly Ino[] {
    return [...this.core.orphans];
  }

  getattr(_caller: Caller, ino: Ino): Inode {
    return this.core.shown(this.#inode(ino));
  }

  #inode(ino: Ino): Inode {
    if (ino >= CID_INO_FROM) return this.#cids.find(ino);
    if (ino >= CONTROL_INO_FROM) return this.#control.find(ino);
    return this.core.inodes.get(ino);
  }

  sectors(inode: Inode): number {
    const isManaged = inode.ino < CONTROL_INO_FROM;
    return isManaged ? sectors(this.core, inode) : Math.ceil(inode.size / SECTOR_BYTES);
  }

  setattr(
    caller: Caller,
    ino: Ino,
    change: AttributeChange,
    fh?: Fh,
    asking?: Asking,
  ): Awaitable<Inode> {
    demandManaged(ino, 'setattr');
    return setattr(this.core, caller, ino, change, fh, asking);
  }

  isHere(ino: Ino): boolean {
    if (ino >= CONTROL_INO_FROM) return ino < CID_INO_FROM;
    const row = this.core.inodes.find(ino);
    return row === undefined || isHere(this.core, row);
  }

  bring(ino: Ino, asking?: Asking): Promise<void> {
    return bring(this.core, ino, asking?.signal);
  }

  readlink(_caller: Caller, ino: Ino): Name {
    if (ino >= CID_INO_FROM) return this.#cids.readlink(ino);
    const target = this.core.journal.symlinks.get(ino);
    const row = this.core.inodes.get(ino);
    if (target === undefined || !isSymlink(row.mode)) throw new OpError('invalid', 'readlink');
    markRead(this.core, row);
    return target;
  }

  newMode(parent: Ino, mode: number, umask: number): number {
    const row = this.core.inodes.find(parent);
    const isListed = row !== undefined && this.core.inodes.defaultAcl(row) !== undefined;
    return isListed ? mode : mode & ~umask;
  }

  mknod(caller: Caller, parent: Ino, name: Name, mode: number, rdev: number): Inode {
    this.demandNewName(parent, name, 'mknod');
    return mknod(this.core, caller, parent, name, mode, rdev);
  }

  mkdir(caller: Caller, parent: Ino, name: Name, mode: number): Inode {
    this.demandNewName(parent, name, 'mkdir');
    return mkdir(this.core, caller, parent, name, mode);
  }

  symlink(caller: Caller, parent: Ino, name: Name, target: Name): Inode {
    this.demandNewName(parent, name, 'symlink');
    return symlink(this.core, caller, parent, name, target);
  }

  link(caller: Caller, ino: Ino, parent: Ino, name: Name): Inode {
    if (ino >= CONTROL_INO_FROM) throw new OpError('cross-mount', 'link');
    this.demandNewName(parent, name, 'link');
    return link(this.core, caller, ino, parent, name);
  }

  unlink(caller: Caller, parent: Ino, name: Name): void {
    this.demandNewName(parent, name, 'unlink');
    unlink(this.core, caller, parent, name);
  }

  rmdir(caller: Caller, parent: Ino, name: Name): void {
    this.demandNewName(parent, name, 'rmdir');
    rmdir(this.core, caller, parent, name);
  }

  rename(caller: Caller, from: Place, to: Place, flags: RenameFlags): void {
    this.demandNewName(from.parent, from.name, 'rename');
    this.demandNewName(to.parent, to.name, 'rename');
    rename(this.core, caller, from, to, flags);
  }

  open(
    caller: Caller,
    ino: Ino,
    flags: number,
    killSetId: boolean,
    asking?: Asking,
  ): Awaitable<Handle> {
    if (ino < CONTROL_INO_FROM) return open(this.core, caller, ino, flags, killSetId, asking);
    return this.#openFixed(caller, ino, flags);
  }

  /** As `open`, for who can bear that a large file is copied first. */
  openNow(caller: Caller, ino: Ino, flags: number, killSetId: boolean): Handle {
    if (ino < CONTROL_INO_FROM) return openNow(this.core, caller, ino, { flags, killSetId });
    return this.#openFixed(caller, ino, flags);
  }

  /** Control files and content by CID, which never change. */
  #openFixed(caller: Caller, ino: Ino, flags: number): Handle {
    if (ino < CID_INO_FROM) {
      const bytes = this.#control.open(ino, flags);
      const handle = this.core.handles.add(ino, flags, '/.kitfs' as Name, caller);
      this.#rendered.set(handle.fh, bytes);
      return handle;
    }
    if (writes(flags)) throw new OpError('read-only', 'open');
    if (isDirectory(this.#cids.find(ino).mode)) throw new OpError('is-directory', 'open');
    return this.core.handles.add(ino, flags, '/ipfs' as Name, caller);
  }

  create(caller: Caller, parent: Ino, name: Name, mode: number, flags: number): Opened {
    this.demandNewName(parent, name, 'create');
    return create(this.core, caller, parent, name, mode, flags);
  }

  tmpfile(caller: Caller, parent: Ino, mode: number, flags: number): Opened {
    demandManaged(parent, 'tmpfile');
    return tmpfile(this.core, caller, parent, mode, flags);
  }

  read(
    fh: Fh,
    into: Buffer,
    offset: number,
    length: number,
    position: number,
    asking?: Asking,
  ): Awaitable<number> {
    const file = this.core.handles.get(fh);
    const wanted = { into, offset, length, position };
    if (file.ino < CONTROL_INO_FROM) return readWhenHere(this.core, file, wanted, asking);
    if (file.ino >= CID_INO_FROM) return this.#cids.read(file.ino, wanted, asking);
    return readText(this.#rendered.get(fh), into, offset, length, position);
  }

  write(
    caller: Caller,
    fh: Fh,
    bytes: Buffer,
    position: number,
    killSetId: boolean,
    appends?: boolean,
  ): void {
    const file = this.#managedFile(fh, 'write');
    write(this.core, caller, file, bytes, position, killSetId, appends);
  }

  writePages(caller: Caller, fh: Fh, bytes: Buffer, position: number): void {
    writePages(this.core, caller, this.#managedFile(fh, 'write'), bytes, position);
  }

  async fsync(fh: Fh, _dataOnly: boolean): Promise<void> {
    const file = this.core.handles.get(fh);
    if (file.ino < CONTROL_INO_FROM) await fsync(this.core, file);
  }

  fsyncDirectory(): Promise<void> {
    return this.core.syncJournal();
  }

  release(fh: Fh): void {
    const file = this.core.handles.find(fh);
    if (file !== undefined && file.ino < CONTROL_INO_FROM) {
      release(this.core, file);
    } else {
      // Of what never changes; or it was revoked, and now nobody asks by it any more.
      this.#rendered.delete(fh);
      this.core.handles.remove(fh);
    }
  }

  /** Takes an open file of a managed tree from who holds it: its operations fail from now on. */
  revoke(fh: Fh): void {
    const file = this.core.handles.get(fh);
    this.core.journal.commitFreeing((tx) => {
      endSession(this.core, file, true);
      tx.afterCommit(() => this.core.handles.revoke(fh));
    });
  }

  opendir(caller: Caller, ino: Ino, flags = O_RDONLY): Handle {
    const inode = this.getattr(caller, ino);
    if (!isDirectory(inode.mode)) throw new OpError('not-directory', 'opendir');
    demand(caller, inode, R_OK, 'opendir');
    const path = ino < CONTROL_INO_FROM ? this.core.pathnames.ofDirectory(ino) : fixedPathOf(ino);
    return this.core.handles.add(ino, flags, path, caller);
  }

  readdir(
    fh: Fh,
    cookie: number,
    withInodes: boolean,
    take: (entry: DirectoryEntry) => boolean,
    asking?: Asking,
  ): Awaitable<void> {
    const { ino, flags } = this.core.handles.get(fh);
    return this.list(ino, cookie, withInodes, take, asking, flags);
  }

  list(
    ino: Ino,
    cookie: number,
    withInodes: boolean,
    take: (entry: DirectoryEntry) => boolean,
    asking?: Asking,
    flags = O_RDONLY,
  ): Awaitable<void> {
    if (ino >= CID_INO_FROM) return this.#cids.readdir(ino, cookie, take, asking);
    if (ino >= CONTROL_INO_FROM) return this.#control.readdir(cookie, take);
    if ((flags & O_NOATIME) === 0) markRead(this.core, this.core.inodes.get(ino));
    readdir(this.core, ino, cookie, withInodes, (entry) => {
      if (entry.ino !== CONTROL_INO) return take(entry);
      return take({ ...entry, inode: this.#control.find(CONTROL_INO) });
    });
  }

  releasedir(fh: Fh): void {
    this.release(fh);
  }

  statfs(ino: Ino): Statfs {
    return statfs(this.core, this.#stateDirectory, ino < CONTROL_INO_FROM ? ino : undefined);
  }

  getxattr(caller: Caller, ino: Ino, name: Name): Buffer | undefined {
    if (ino >= CID_INO_FROM && (name as string) === 'user.ipfs.cid')
      return Buffer.from(this.#cids.cidOf(ino));
    if (ino >= CONTROL_INO_FROM) return undefined;
    return getxattr(this.core, caller, ino, name);
  }

  setxattr(
    caller: Caller,
    ino: Ino,
    name: Name,
    value: Buffer,
    mode: 'any' | 'create' | 'replace',
    killSetGid = false,
  ): void {
    demandManaged(ino, 'setxattr');
    setxattr(this.core, caller, ino, name, value, mode, killSetGid);
  }

  listxattr(caller: Caller, ino: Ino): readonly Name[] {
    return ino >= CONTROL_INO_FROM ? [] : listxattr(this.core, caller, ino);
  }

  removexattr(caller: Caller, ino: Ino, name: Name): void {
    demandManaged(ino, 'removexattr');
    removexattr(this.core, caller, ino, name);
  }

  access(caller: Caller, ino: Ino, mask: number): void {
    if (ino >= CID_INO_FROM) {
      this.#cids.access(ino, mask);
      return;
    }
    const inode = this.getattr(caller, ino);
    if ((mask & W_OK) !== 0) demandManaged(ino, 'access');
    demand({ ...caller, actor: () => caller.actor(), checked: false }, inode, mask, 'access');
  }

  fallocate(caller: Caller, fh: Fh, flags: AllocateFlags, position: number, length: number): void {
    allocate(this.core, caller, this.#managedFile(fh, 'fallocate'), flags, position, length);
  }

  lseek(fh: Fh, position: number, whence: 'data' | 'hole'): number {
    const { ino } = this.core.handles.get(fh);
    if (ino < CONTROL_INO_FROM) return seek(this.core, ino, position, whence);
    const { size } = this.#inode(ino);
    if (position >= size) throw new OpError('no-such-extent', 'lseek');
    return whence === 'data' ? position : size;
  }

  copyFileRange(
    caller: Caller,
    from: { readonly fh: Fh; readonly position: number },
    to: { readonly fh: Fh; readonly position: number },
    length: number,
  ): number {
    const source = { ...from, file: this.core.handles.get(from.fh) };
    // The kernel copies by read and write when it is told so (EXDEV).
    if (source.file.ino >= CONTROL_INO_FROM) throw new OpError('cross-mount', 'copy_file_range');
    const target = { ...to, file: this.#managedFile(to.fh, 'copy_file_range') };
    return copyRange(this.core, caller, source, target, length);
  }

  /**
   * The root of content by CID, wherever trees are mounted.
   * @throws OpError not-found, whose cause may be content-missing.
   */
  content(cid: string): Promise<Inode> {
    return this.#cids.root(ROOT_INO, nameOfText(cid), false);
  }

  /** Carries out a planned change of a managed tree. @throws OpError as `graft` does. */
  graft(caller: Caller, plan: TreePlan): void {
    demandManaged(plan.root, 'restore');
    for (const { name } of plan.children) this.demandNewName(plan.root, name, 'restore');
    graft(this.core, caller, plan);
  }

  async #lookupCid(caller: Caller, parent: Ino, name: Name, asking?: Asking): Promise<Inode> {
    if (name === '..') return this.getattr(caller, this.#cids.parentOf(parent));
    return this.#cids.child(parent, name, caller.checked, asking);
  }

  /** A first-level name below an ipfs tree that is a CID is that content. */
  #isCidName(parent: Ino, name: Name): boolean {
    if (name.length < 8) return false;
    const row = this.core.inodes.find(parent);
    const superblock = row && this.core.superblockOf(row);
    if (superblock?.root !== parent || superblock.kind !== CID_ROOT_KIND) return false;
    return this.#cids.isCid(name);
  }

  /**
   * A name that may be made or removed: in a managed tree, and not a CID's.
   * @throws OpError read-only, busy.
   */
  demandNewName(parent: Ino, name: Name, op: string): void {
    demandManaged(parent, op);
    if (this.#isCidName(parent, name)) {
      throw new OpError('read-only', op, { hint: 'this name means content by CID' });
    }
    if (parent === ROOT_INO && name === CONTROL_NAME) throw new OpError('busy', op);
  }

  #managedFile(fh: Fh, op: string): OpenFile {
    const file = this.core.handles.get(fh);
    demandManaged(file.ino, op);
    return file;
  }
}
