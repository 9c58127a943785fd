/** Rows of `superblock`, `mount` and `synced`: what is mounted where, and what was published. */
import { bytesOf, type Ino, type Name, nameOf, type SuperblockId } from '../base/ids.ts';
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

export class Superblocks {
  readonly #all: Statement;
  readonly #insert: Statement;
  readonly #update: Statement;
  readonly #delete: Statement;
  readonly #mounts: Statement;
  readonly #insertMount: Statement;
  readonly #deleteMount: Statement;
  readonly #synced: Statement;
  readonly #setSynced: Statement;
  readonly #dropInodes: readonly Statement[];

  constructor(db: Database) {
    this.#all = db.prepare('SELECT * FROM superblock ORDER BY id');
    this.#insert = db.prepare('INSERT INTO superblock VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#update = db.prepare('UPDATE superblock SET read_only = ?, options = ? WHERE id = ?');
    this.#delete = db.prepare('DELETE FROM superblock WHERE id = ?');
    this.#mounts = db.prepare('SELECT * FROM mount ORDER BY mount_point');
    this.#insertMount = db.prepare('INSERT INTO mount VALUES (?, ?, ?)');
    this.#deleteMount = db.prepare('DELETE FROM mount WHERE mount_point = ?');
    this.#synced = db.prepare('SELECT * FROM synced WHERE path = ?');
    this.#setSynced = db.prepare('INSERT OR REPLACE INTO synced VALUES (?, ?, ?, ?, ?, ?)');
    this.#dropInodes = [
      'DELETE FROM dentry WHERE parent IN (SELECT ino FROM inode WHERE superblock = ?)',
      'DELETE FROM symlink WHERE ino IN (SELECT ino FROM inode WHERE superblock = ?)',
      'DELETE FROM xattr WHERE ino IN (SELECT ino FROM inode WHERE superblock = ?)',
      'DELETE FROM write_session WHERE ino IN (SELECT ino FROM inode WHERE superblock = ?)',
      'DELETE FROM inode WHERE superblock = ?',
    ].map((text) => db.prepare(text));
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

  /** Removes every inode and name of a superblock; contents are released by the caller. */
  dropInodes(id: SuperblockId): void {
    for (const statement of this.#dropInodes) statement.run(id);
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
    if (raw === undefined) return undefined;
    return {
      path: nameOf(raw.path),
      rootCid: raw.root_cid,
      snapshotCid: raw.snapshot_cid,
      seq: raw.seq,
      timeS: raw.time_s,
      timeNs: raw.time_ns,
    };
  }

  setSynced(row: SyncedRow): void {
    const { path, rootCid, snapshotCid, seq, timeS, timeNs } = row;
    this.#setSynced.run(bytesOf(path), rootCid, snapshotCid, seq, timeS, timeNs);
  }
}
