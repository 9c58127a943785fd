/** Rows of `superblock`, `mount` and `synced`: what is mounted where, and what was published. */
import { bytesOf, type Ino, type Name, nameOf, type SuperblockId } from '../base/ids.ts';
import { S_IFMT, S_IFREG } from '../base/posix.ts';
import type { Dentries } from './dentries.ts';
import type { Database, Statement } from './sqlite.ts';

export interface SuperblockRow {
  readonly id: SuperblockId;
  /** ipfs, memory, root, … */
  readonly kind: string;
  readonly backend: string;
  readonly source: string;
  readonly root: Ino;
  /** Its inodes and bytes are dropped when the daemon stops. */
  readonly volatile: boolean;
  readonly readOnly: boolean;
  readonly sizeBytesMax: number | undefined;
  readonly inodesMax: number | undefined;
  /** What vfs_mount was given, as JSON. */
  readonly options: Readonly<Record<string, unknown>>;
}

export interface MountRow {
  /** Absolute path in the tree, as bytes: `/ipfs`. */
  readonly mountPoint: Name;
  readonly mountId: string;
  readonly superblock: SuperblockId;
}

export interface SyncedRow {
  readonly path: Name;
  readonly rootCid: Buffer;
  readonly snapshotCid: Buffer | null;
  readonly seq: number;
  readonly timeS: number;
  readonly timeNs: number;
}

interface RawSuperblock {
  id: SuperblockId;
  kind: string;
  backend: string;
  source: string;
  root: Ino;
  volatile: number;
  read_only: number;
  size_bytes_max: number | null;
  inodes_max: number | null;
  options: string;
}

interface RawSynced {
  path: Buffer;
  root_cid: Buffer;
  snapshot_cid: Buffer | null;
  seq: number;
  time_s: number;
  time_ns: number;
}

/** By way of the tree, since no index of `inode` knows superblocks. */
const INOS = `WITH RECURSIVE below (ino) AS (
    SELECT root FROM superblock WHERE id = @id
    UNION SELECT d.ino FROM below b JOIN dentry d ON d.parent = b.ino)
  SELECT ino FROM below UNION SELECT ino FROM inode WHERE nlink = 0 AND superblock = @id`;

export class Superblocks {
  readonly #all: Statement;
  readonly #insert: Statement;
  readonly #update: Statement;
  readonly #delete: Statement;
  readonly #mounts: Statement;
  readonly #insertMount: Statement;
  readonly #deleteMount: Statement;
  readonly #synced: Statement;
  readonly #allSynced: Statement;
  readonly #setSynced: Statement;
  readonly #inos: Statement;
  readonly #files: Statement;
  readonly #dropSessions: Statement;
  readonly #dropInode: readonly Statement[];
  readonly #dropUsage: Statement;
  readonly #dentries: Dentries;

  constructor(db: Database, dentries: Dentries) {
    this.#dentries = dentries;
    this.#all = db.prepare('SELECT * FROM superblock ORDER BY id');
    this.#insert = db.prepare('INSERT INTO superblock VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#update = db.prepare('UPDATE superblock SET read_only = ?, options = ? WHERE id = ?');
    this.#delete = db.prepare('DELETE FROM superblock WHERE id = ?');
    this.#mounts = db.prepare('SELECT * FROM mount ORDER BY mount_point');
    this.#insertMount = db.prepare('INSERT INTO mount VALUES (?, ?, ?)');
    this.#deleteMount = db.prepare('DELETE FROM mount WHERE mount_point = ?');
    this.#synced = db.prepare('SELECT * FROM synced WHERE path = ?');
    this.#allSynced = db.prepare('SELECT * FROM synced ORDER BY path');
    this.#setSynced = db.prepare('INSERT OR REPLACE INTO synced VALUES (?, ?, ?, ?, ?, ?)');
    this.#inos = db.prepare(INOS).pluck();
    this.#files = db.prepare(
      `SELECT count(*) AS files, coalesce(sum(size), 0) AS bytes FROM inode
        WHERE ino IN (${INOS}) AND mode & ${S_IFMT} = ${S_IFREG}`,
    );
    this.#dropSessions = db.prepare(`DELETE FROM write_session WHERE ino IN (
      SELECT w.ino FROM write_session w JOIN inode i ON i.ino = w.ino WHERE i.superblock = ?)`);
    this.#dropInode = [
      'DELETE FROM symlink WHERE ino = ?',
      'DELETE FROM xattr WHERE ino = ?',
      'DELETE FROM inode WHERE ino = ?',
    ].map((text) => db.prepare(text));
    this.#dropUsage = db.prepare('DELETE FROM usage WHERE superblock = ?');
  }

  all(): SuperblockRow[] {
    return (this.#all.all() as RawSuperblock[]).map((raw) => ({
      id: raw.id,
      kind: raw.kind,
      backend: raw.backend,
      source: raw.source,
      root: raw.root,
      volatile: raw.volatile === 1,
      readOnly: raw.read_only === 1,
      sizeBytesMax: raw.size_bytes_max ?? undefined,
      inodesMax: raw.inodes_max ?? undefined,
      options: JSON.parse(raw.options) as Record<string, unknown>,
    }));
  }

  /** Inside a transaction, as every method here that changes something. */
  insert(row: SuperblockRow): void {
    this.#insert.run(
      row.id,
      row.kind,
      row.backend,
      row.source,
      row.root,
      Number(row.volatile),
      Number(row.readOnly),
      row.sizeBytesMax ?? null,
      row.inodesMax ?? null,
      JSON.stringify(row.options),
    );
  }

  /** Only what may change while the tree stays the same. */
  update({ id, readOnly, options }: Pick<SuperblockRow, 'id' | 'readOnly' | 'options'>): void {
    this.#update.run(Number(readOnly), JSON.stringify(options), id);
  }

  delete(id: SuperblockId): void {
    this.#delete.run(id);
  }

  /**
   * Every inode of a superblock: what lies below its root, and what was removed while open. Reads
   * those alone, whatever else the table holds.
   */
  inosOf(id: SuperblockId): Ino[] {
    return this.#inos.all({ id }) as Ino[];
  }

  /** Regular files among those, and their bytes. */
  filesOf(id: SuperblockId): { readonly files: number; readonly bytes: number } {
    return this.#files.get({ id }) as { files: number; bytes: number };
  }

  /** Removes every inode and name of a superblock; contents are released by the caller. */
  dropInodes(id: SuperblockId): void {
    const inos = this.inosOf(id);
    this.#dropSessions.run(id);
    for (const ino of inos) {
      this.#dentries.removeAll(ino);
      for (const statement of this.#dropInode) statement.run(ino);
    }
    this.#dropUsage.run(id);
  }

  mounts(): MountRow[] {
    const rows = this.#mounts.all() as {
      mount_point: Buffer;
      mount_id: string;
      superblock: SuperblockId;
    }[];
    return rows.map((raw) => ({
      mountPoint: nameOf(raw.mount_point),
      mountId: raw.mount_id,
      superblock: raw.superblock,
    }));
  }

  insertMount(row: MountRow): void {
    this.#insertMount.run(bytesOf(row.mountPoint), row.mountId, row.superblock);
  }

  deleteMount(mountPoint: Name): void {
    this.#deleteMount.run(bytesOf(mountPoint));
  }

  synced(path: Name): SyncedRow | undefined {
    const raw = this.#synced.get(bytesOf(path)) as RawSynced | undefined;
    return raw === undefined ? undefined : syncedOf(raw);
  }

  /** Of every path that was ever published, or restored. */
  allSynced(): SyncedRow[] {
    return (this.#allSynced.all() as RawSynced[]).map(syncedOf);
  }

  setSynced(row: SyncedRow): void {
    const { path, rootCid, snapshotCid, seq, timeS, timeNs } = row;
    this.#setSynced.run(bytesOf(path), rootCid, snapshotCid, seq, timeS, timeNs);
  }
}

const syncedOf = (raw: RawSynced): SyncedRow => ({
  path: nameOf(raw.path),
  rootCid: raw.root_cid,
  snapshotCid: raw.snapshot_cid,
  seq: raw.seq,
  timeS: raw.time_s,
  timeNs: raw.time_ns,
});
