/**
 * What the operations share: the journal, the bytes, the caches, and the rules every mutation of a
 * managed tree keeps (who may, which times change, what is recorded, who is told). One object per
 * mounted tree; it has no policy of its own.
 */
import type { Clock, Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import {
  bytesOf,
  type ContentId,
  type Ino,
  type Name,
  NO_CONTENT,
  type Seq,
  type SuperblockId,
} from '../base/ids.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import { isDirectory, isRegular, S_ISGID } from '../base/posix.ts';
import type { ContentStore, Doubt, Filling } from '../content/content.ts';
import {
  History,
  type InodeRow,
  type Journal,
  type OpEntry,
  type OpKind,
  type Tx,
} from '../journal/journal.ts';
import type { Arriving } from './arriving.ts';
import type { Caller, Inode, Invalidator } from './contract.ts';
import type { Replicas } from './durability.ts';
import { HandleTable } from './handle-table.ts';
import { Handles } from './handles.ts';
import { InodeCache } from './inodes.ts';
import { LiveFiles } from './live.ts';
import { MountTable, type Superblock } from './mounts.ts';
import { Pathnames } from './pathnames.ts';
import { mayGiveTo } from './permissions.ts';
import { PinnedHere } from './pinned-here.ts';

export interface CoreOptions {
  readonly journal: Journal;
  readonly content: ContentStore;
  readonly clock: Clock;
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
  /** What the kernel holds; absent: nobody goes on with it after this process. */
  readonly table?: HandleTable | undefined;
  /** What a loss of power may have taken; absent: nothing. */
  readonly doubt?: Doubt | undefined;
  /** Brings content here that is elsewhere; absent: nobody can be asked. */
  readonly filling?: Filling | undefined;
}

/** Until a kernel is attached nobody has anything cached. */
const NOBODY: Invalidator = {
  entry() {},
  inode() {},
  uncounted: () => {},
  settled: () => Promise.resolve(),
  knows: () => false,
};

export class Core {
  readonly journal: Journal;
  readonly content: ContentStore;
  readonly clock: Clock;
  readonly syncJournal: () => Promise<void>;
  readonly doubt: Doubt | undefined;
  readonly filling: Filling | undefined;
  readonly history: History;
  readonly inodes: InodeCache;
  readonly live: LiveFiles;
  readonly table: HandleTable;
  readonly handles: Handles;
  readonly mounts: MountTable;
  readonly pathnames: Pathnames;
  readonly pinnedHere: PinnedHere;
  /** Inodes without a name that somebody still holds, and some that have one again or are gone. */
  readonly orphans = new Set<Ino>();
  invalidator: Invalidator = NOBODY;
  /** Until stores are attached none has anything. */
  replicas: Replicas = { want: undefined, of: () => [] };
  /** A tree that is not there yet. */
  arriving: Arriving | undefined;
  /** Rows known to carry no file capabilities (see `clearCapability`). */
  readonly incapable = new WeakSet<InodeRow>();
  /** Records up to this number are on stable storage; those of an earlier daemon are not counted. */
  syncedSeq = 0;

  constructor(options: CoreOptions) {
    const { journal, content, clock, table = HandleTable.make() } = options;
    this.table = table;
    this.handles = new Handles(table);
    this.syncJournal = async () => {
      const { seq } = journal.head;
      await options.syncJournal();
      this.syncedSeq = Math.max(this.syncedSeq, seq);
    };
    this.journal = journal;
    this.content = content;
    this.clock = clock;
    this.doubt = options.doubt;
    this.filling = options.filling;
    this.history = new History(journal);
    this.mounts = new MountTable();
    this.pinnedHere = new PinnedHere(journal);
    this.live = new LiveFiles({
      ...{ content, clock, table },
      charge: ({ superblock }, bytes) => this.mounts.charge(superblock, 0, bytes),
    });
    this.inodes = new InodeCache(journal, this.live);
    this.pathnames = new Pathnames(journal, this.inodes, this.mounts);
  }

  /** What the faces are told of an inode. */
  shown<T extends Inode | undefined>(inode: T): T {
    return this.arriving === undefined ? inode : this.arriving.shown(inode);
  }

  superblockOf(inode: Inode): Superblock {
    return this.mounts.superblock(inode.superblock);
  }

  /** @throws OpError read-only. */
  demandWritable(inode: Inode, op: string): Superblock {
    const superblock = this.superblockOf(inode);
    if (superblock.readOnly) {
      throw new OpError('read-only', op, { hint: 'this tree is read-only' });
    }
    return superblock;
  }

  directory(ino: Ino, op: string): InodeRow {
    const row = this.inodes.get(ino);
    if (!isDirectory(row.mode)) throw new OpError('not-directory', op);
    return row;
  }

  /** Length and characters of a new name. @throws OpError name-too-long, invalid, exists. */
  demandName(name: Name, op: string): void {
    if (name.length > NAME_BYTES_MAX) throw new OpError('name-too-long', op);
    if (name === '.' || name === '..') throw new OpError('exists', op);
    if (name.length === 0 || name.includes('/') || name.includes('\0')) {
      throw new OpError('invalid', op);
    }
  }

  /** The child of that name in the managed tree, mounts not seen. */
  child(parent: Ino, name: Name): InodeRow | undefined {
    const ino = this.journal.dentries.find(parent, name);
    return ino === undefined ? undefined : this.inodes.get(ino);
  }

  /** Appends a record; path and actor are found here. */
  record(
    tx: Tx,
    caller: Caller,
    kind: OpKind,
    fields: Partial<OpEntry> & { readonly ino: Ino | 0 },
  ): Seq {
    const actor = this.journal.actors.intern(caller.actor());
    const { ino, parent = 0, name = EMPTY_NAME, group = caller.group } = fields;
    const path = fields.path ?? this.pathnames.ofInode(ino as Ino);
    return tx.record({
      kind,
      actor,
      ino,
      parent,
      name,
      path,
      oldPath: fields.oldPath,
      size: fields.size,
      oldSize: fields.oldSize,
      content: fields.content,
      oldContent: fields.oldContent,
      mode: fields.mode,
      oldMode: fields.oldMode,
      position: fields.position,
      length: fields.length,
      cid: fields.cid,
      oldCid: fields.oldCid,
      group,
      before: fields.before,
      after: fields.after,
    });
  }

  /** A child was added to or removed from `directory`, or one renamed. */
  touchDirectory(tx: Tx, directory: InodeRow): void {
    directory.mtimeS = tx.now.s;
    directory.mtimeNs = tx.now.ns;
    directory.version += 1;
    this.touchChange(tx, directory);
  }

  /** ctime of anything that changed. */
  touchChange(tx: Tx, row: InodeRow): void {
    row.ctimeS = tx.now.s;
    row.ctimeNs = tx.now.ns;
    this.inodes.change(tx, row);
  }

  /** The bytes of a file changed. */
  touchBytes(tx: Tx, row: InodeRow): void {
    row.mtimeS = tx.now.s;
    row.mtimeNs = tx.now.ns;
    row.version += 1;
    this.touchChange(tx, row);
  }

  /** Tells the kernel of a name, unless the change came from it. */
  announceEntry(tx: Tx, caller: Caller, parent: Ino, name: Name): void {
    if (caller.checked) return;
    tx.afterCommit(() => {
      this.invalidator.entry(parent, name);
      this.invalidator.inode(parent, true);
    });
  }

  /** Tells the kernel of an inode, unless the change came from it. */
  announceInode(tx: Tx, caller: Caller, ino: Ino, bytes: boolean): void {
    if (caller.checked) return;
    tx.afterCommit(() => this.invalidator.inode(ino, bytes));
  }

  /** As that of the content store. What is written from now on is in no doubt until another boot. */
  reopen(id: ContentId): void {
    this.content.reopen(id);
    this.doubt?.settle(id);
  }

  /** A row for a new inode in `parent`'s superblock; group and set-gid as inode(7) has it. */
  newRow(tx: Tx, caller: Caller, parent: InodeRow, mode: number, rdev: number): InodeRow {
    const directory = isDirectory(mode);
    const inherits = (parent.mode & S_ISGID) !== 0;
    // As mode_strip_sgid() in fs/inode.c: a stranger makes no program that runs as this group.
    const isStranger = inherits && !caller.checked && !mayGiveTo(caller, parent.gid);
    const strips = isStranger && !directory && (mode & 0o010) !== 0;
    const bits = strips ? mode & ~S_ISGID : mode;
    return blankRow({
      ino: this.journal.inodes.nextIno(),
      superblock: parent.superblock,
      mode: inherits && directory ? mode | S_ISGID : bits,
      uid: caller.uid,
      gid: inherits ? parent.gid : caller.gid,
      nlink: directory ? 2 : 1,
      size: directory ? DIRECTORY_SIZE : 0,
      rdev,
      parent: directory ? parent.ino : (0 as Ino),
      now: tx.now,
    });
  }

  /**
   * The inode lost its last name, handle or kernel reference: if it has none of them left, its row
   * goes, and its bytes stay only as history. `isForgotten`: the kernel has said so.
   */
  reapIfUnused(tx: Tx, row: InodeRow, isForgotten = false): void {
    if (row.nlink > 0) return;
    // Somebody may have it mapped: it is reaped when it comes to rest.
    if (this.live.find(row.ino) !== undefined) return;
    const isKnown = !isForgotten && this.invalidator.knows(row.ino);
    if (isKnown || this.handles.isOpen(row.ino)) this.orphans.add(row.ino);
    else this.reap(tx, row);
  }

  reap(tx: Tx, row: InodeRow): void {
    if (row.content !== NO_CONTENT) this.content.release(row.content);
    if (!isRegular(row.mode)) this.journal.symlinks.remove(row.ino);
    this.journal.xattrs.clear(row.ino);
    this.mounts.charge(row.superblock, -1, -sizeCharged(row));
    tx.onRollback(() => this.mounts.charge(row.superblock, 1, sizeCharged(row)));
    this.inodes.remove(tx, row);
    tx.afterCommit(() => this.orphans.delete(row.ino));
  }

  /** Counts a change of usage against the limits of a superblock. @throws OpError no-space. */
  charge(tx: Tx, id: SuperblockId, inodes: number, bytes: number, op: string): void {
    this.mounts.demandRoom(id, inodes, bytes, op);
    this.mounts.charge(id, inodes, bytes);
    tx.onRollback(() => this.mounts.charge(id, -inodes, -bytes));
  }
}

/** st_size of every directory. */
export const DIRECTORY_SIZE = 4096;

const sizeCharged = (row: Inode): number => (isRegular(row.mode) ? row.size : 0);

export interface RowSeed {
  readonly ino: Ino;
  readonly superblock: SuperblockId;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly rdev: number;
  readonly parent: Ino;
  readonly now: Instant;
}

export function blankRow(seed: RowSeed): InodeRow {
  const { ino, superblock, mode, uid, gid, nlink, size, rdev, parent, now } = seed;
  // In the order of a row from the table, so that the engine takes both for one shape.
  return {
    ino,
    generation: 1,
    superblock,
    mode,
    uid,
    gid,
    nlink,
    size,
    rdev,
    atimeS: now.s,
    atimeNs: now.ns,
    mtimeS: now.s,
    mtimeNs: now.ns,
    ctimeS: now.s,
    ctimeNs: now.ns,
    btimeS: now.s,
    btimeNs: now.ns,
    content: NO_CONTENT,
    parent,
    version: 1,
  };
}

/** The facts of an inode as undo wants them, for a record's `before`. */
export function attributesOf(row: Inode): Record<string, unknown> {
  const { atimeS, atimeNs, mtimeS, mtimeNs, btimeS, btimeNs } = row;
  return {
    mode: row.mode,
    uid: row.uid,
    gid: row.gid,
    rdev: row.rdev,
    size: row.size,
    version: row.version,
    times: [atimeS, atimeNs, mtimeS, mtimeNs, btimeS, btimeNs],
  };
}

/** Bytes as JSON holds them. */
export const base64Of = (name: Name): string => bytesOf(name).toString('base64');

export const EMPTY_NAME = '' as Name;
