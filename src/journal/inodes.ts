/**
 * Rows of `inode`: one per file or directory of a managed tree. Numbers are handed out upwards and
 * never again, so a number means one file for ever and `generation` stays 1. Also of `usage`, which
 * counts them: what a group changes is summed up, and written once, before the group commits.
 */
import { assert } from '../base/assert.ts';
import type { ContentId, Ino, SuperblockId } from '../base/ids.ts';
import { S_IFMT, S_IFREG } from '../base/posix.ts';
import type { Counters } from './counters.ts';
import type { Database, Statement } from './sqlite.ts';

/** A row, mutable: the vfs keeps it in its cache and writes it back with `update`. */
export interface InodeRow {
  readonly ino: Ino;
  readonly generation: number;
  readonly superblock: SuperblockId;
  /** Type and permission bits, as st_mode. */
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  /** Bytes; 4096 for a directory. */
  size: number;
  /** Device number as makedev(3) packs it into 32 bits. */
  rdev: number;
  atimeS: number;
  atimeNs: number;
  mtimeS: number;
  mtimeNs: number;
  ctimeS: number;
  ctimeNs: number;
  btimeS: number;
  btimeNs: number;
  content: ContentId;
  /** The directory above, for directories; 0 for everything else and for roots. */
  parent: Ino;
  /** Rises with every change of content. */
  version: number;
  /**
   * The access control list, if there is one, as in the attribute `system.posix_acl_access`, which is
   * where it is stored: the vfs puts it beside the row when it reads it.
   */
  acl?: Buffer | undefined;
  /** Bytes that `usage` counts for the row as it lies in the table; of this file alone. */
  counted?: number;
}

/** What a superblock holds. */
export interface Usage {
  readonly inodes: number;
  /** Of regular files. */
  readonly bytes: number;
}

/** Everything of `InodeRow`. */
export const COLUMNS = `ino, generation, superblock, mode, uid, gid, nlink, size, rdev,
  atime_s AS atimeS, atime_ns AS atimeNs, mtime_s AS mtimeS, mtime_ns AS mtimeNs,
  ctime_s AS ctimeS, ctime_ns AS ctimeNs, btime_s AS btimeS, btime_ns AS btimeNs,
  content, parent, version, iif(mode & ${S_IFMT} = ${S_IFREG}, size, 0) AS counted`;

const bytesCounted = ({ mode, size }: InodeRow): number => ((mode & S_IFMT) === S_IFREG ? size : 0);

export class Inodes {
  readonly #counters: Counters;
  readonly #get: Statement;
  readonly #mode: Statement;
  readonly #insert: Statement;
  readonly #update: Statement;
  readonly #delete: Statement;
  readonly #orphans: Statement;
  readonly #ofContent: Statement;
  readonly #showing: Statement;
  readonly #usage: Statement;
  readonly #addUsage: Statement;
  readonly #ofSuperblock: Statement;
  /** Not written yet. */
  readonly #changes = new Map<SuperblockId, { inodes: number; bytes: number }>();

  constructor(db: Database, counters: Counters) {
    this.#counters = counters;
    this.#get = db.prepare(`SELECT ${COLUMNS} FROM inode WHERE ino = ?`);
    this.#mode = db.prepare('SELECT mode FROM inode WHERE ino = ?').pluck();
    this.#insert = db.prepare(`INSERT INTO inode VALUES (${'?,'.repeat(19)}?)`);
    this.#update = db.prepare(`UPDATE inode SET mode = ?, uid = ?, gid = ?, nlink = ?, size = ?,
      atime_s = ?, atime_ns = ?, mtime_s = ?, mtime_ns = ?, ctime_s = ?, ctime_ns = ?,
      content = ?, parent = ?, version = ?, rdev = ? WHERE ino = ?`);
    this.#delete = db.prepare('DELETE FROM inode WHERE ino = ?');
    this.#orphans = db.prepare(`SELECT ${COLUMNS} FROM inode WHERE nlink = 0 LIMIT ?`);
    this.#ofContent = db.prepare('SELECT ino FROM inode WHERE content = ? LIMIT 1').pluck();
    this.#showing = db.prepare('SELECT ino FROM inode WHERE content = ?').pluck();
    this.#usage = db.prepare('SELECT inodes, bytes FROM usage WHERE superblock = ?');
    this.#addUsage = db.prepare(`INSERT INTO usage VALUES (?, ?, ?)
      ON CONFLICT DO UPDATE SET inodes = inodes + excluded.inodes, bytes = bytes + excluded.bytes`);
    this.#ofSuperblock = db.prepare(
      `SELECT ${COLUMNS} FROM inode WHERE superblock = ? AND ino > ? ORDER BY ino LIMIT ?`,
    );
  }

  get(ino: Ino): InodeRow | undefined {
    return this.#get.get(ino) as InodeRow | undefined;
  }

  /** Of `get`, for a fifth of the time. */
  modeOf(ino: Ino): number | undefined {
    return this.#mode.get(ino) as number | undefined;
  }

  /** The next number, never handed out before. Inside a transaction. */
  nextIno(): Ino {
    return this.#counters.next('ino') as Ino;
  }

  insert(row: InodeRow): void {
    const r = row;
    this.#insert.run(
      r.ino,
      r.generation,
      r.superblock,
      r.mode,
      r.uid,
      r.gid,
      r.nlink,
      r.size,
      r.rdev,
      r.atimeS,
      r.atimeNs,
      r.mtimeS,
      r.mtimeNs,
      r.ctimeS,
      r.ctimeNs,
      r.btimeS,
      r.btimeNs,
      r.content,
      r.parent,
      r.version,
    );
    r.counted = bytesCounted(r);
    this.#count(r.superblock, 1, r.counted);
  }

  /** Of a row that came from here. */
  update(row: InodeRow): void {
    const r = row;
    this.#update.run(
      r.mode,
      r.uid,
      r.gid,
      r.nlink,
      r.size,
      r.atimeS,
      r.atimeNs,
      r.mtimeS,
      r.mtimeNs,
      r.ctimeS,
      r.ctimeNs,
      r.content,
      r.parent,
      r.version,
      r.rdev,
      r.ino,
    );
    const { counted } = r;
    assert(counted !== undefined, `inode ${r.ino} was inserted`);
    r.counted = bytesCounted(r);
    if (r.counted !== counted) this.#count(r.superblock, 0, r.counted - counted);
  }

  /** Of a row that came from here. */
  delete({ ino, superblock, counted }: InodeRow): void {
    assert(counted !== undefined, `inode ${ino} was inserted`);
    this.#delete.run(ino);
    this.#count(superblock, -1, -counted);
  }

  /** One that shows the content. Reads every row. */
  ofContent(id: ContentId): Ino | undefined {
    return this.#ofContent.get(id) as Ino | undefined;
  }

  /** All that show it, which are few. Reads every row. */
  showing(id: ContentId): Ino[] {
    return this.#showing.all(id) as Ino[];
  }

  /** At most `limit` inodes without a name. */
  orphans(limit: number): InodeRow[] {
    return this.#orphans.all(limit) as InodeRow[];
  }

  usage(superblock: SuperblockId): Usage {
    const written = this.#usage.get(superblock) as Usage | undefined;
    const { inodes, bytes } = this.#changes.get(superblock) ?? { inodes: 0, bytes: 0 };
    return { inodes: (written?.inodes ?? 0) + inodes, bytes: (written?.bytes ?? 0) + bytes };
  }

  /** Writes what was counted in the transaction; the last thing before it commits. */
  writeUsage(): void {
    for (const [superblock, { inodes, bytes }] of this.#changes) {
      if (inodes !== 0 || bytes !== 0) this.#addUsage.run(superblock, inodes, bytes);
    }
    this.#changes.clear();
  }

  /** The transaction was rolled back. */
  forget(): void {
    this.#changes.clear();
  }

  #count(superblock: SuperblockId, inodes: number, bytes: number): void {
    const change = this.#changes.get(superblock);
    if (change === undefined) {
      this.#changes.set(superblock, { inodes, bytes });
      return;
    }
    change.inodes += inodes;
    change.bytes += bytes;
  }

  /** A page of a superblock's inodes in ascending number. */
  ofSuperblock(superblock: SuperblockId, after: Ino | 0, limit: number): InodeRow[] {
    return this.#ofSuperblock.all(superblock, after, limit) as InodeRow[];
  }
}
