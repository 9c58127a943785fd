/** The few lines that know how a connection to the journal's file is made. */
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import BetterSqlite3 from 'better-sqlite3';
import { OpError } from '../base/errors.ts';
import { WAL_RESTARTED_BYTES_MIN } from '../base/limits.ts';

export type Database = BetterSqlite3.Database;
export type Statement = BetterSqlite3.Statement<unknown[]>;

/** Looks whether a file is ours before anything in it is changed; throws when it is not. */
export type Admit = (db: Database) => void;

/** Milliseconds a statement waits for a checkpoint that holds the lock. */
const BUSY_MS_MAX = 10_000;

/**
 * A commit writes whole pages into the WAL, about nine for one operation: with half of SQLite's
 * usual page it is a fifth faster, and the WAL half as long. Fixed when the file is made.
 */
const PAGE_BYTES = 2048;

/** From `src/journal` and from `dist/src/journal`. */
const WAL_VFS_PLACES: readonly string[] = [
  '../../native/build/Release/wal_vfs.so',
  '../../../native/build/Release/wal_vfs.so',
];

/** Loads SQLite itself, which the first connection would. */
export const loadEngine = (): void => void new BetterSqlite3(':memory:').close();

/**
 * The writer's connection: WAL; durable on `fsync` only; checkpoints belong to a worker.
 * @throws what `admit` throws; OpError `unsupported` on a file system without shared memory,
 * `dependency-missing` when the native parts are not built.
 */
export function openWriter(path: string, admit: Admit): Database {
  const vfs = loadWalVfs();
  return admitted(new BetterSqlite3(path, { timeout: BUSY_MS_MAX }), (db) => {
    admit(db);
    // Its functions: see room.ts.
    db.loadExtension(vfs);
    db.pragma(`page_size = ${PAGE_BYTES}`);
    if (db.pragma('journal_mode = WAL', { simple: true }) !== 'wal') {
      throw new OpError('unsupported', `open ${path}`, {
        hint: 'choose a state directory on a local disk',
      });
    }
    db.pragma('synchronous = NORMAL');
    db.pragma('wal_autocheckpoint = 0');
    // A WAL that a long reader made grow is cut to this when it begins anew.
    db.pragma(`journal_size_limit = ${WAL_RESTARTED_BYTES_MIN}`);
    db.pragma('temp_store = MEMORY');
    db.pragma('cache_size = -65536');
    db.pragma('trusted_schema = OFF');
  });
}

/** A connection that can only read. @throws what `admit` throws. */
export function openReader(path: string, admit: Admit): Database {
  return admitted(new BetterSqlite3(path, { readonly: true, timeout: BUSY_MS_MAX }), (db) => {
    db.pragma('query_only = ON');
    db.pragma('trusted_schema = OFF');
    admit(db);
  });
}

/** The checkpointing thread's connection to a journal that is open already. */
export function openCheckpointing(path: string): Database {
  const db = new BetterSqlite3(path, { fileMustExist: true, timeout: BUSY_MS_MAX });
  // Also decides that a checkpoint syncs the WAL first and the file after.
  db.pragma('synchronous = NORMAL');
  return db;
}

/**
 * From here on SQLite writes a commit to the WAL by one call instead of two for each page: see
 * native/wal_vfs.cc. The VFS belongs to the process, so that threads need not ask for it, and to ask
 * again changes nothing.
 * @returns where it is, for a connection that wants its functions.
 * @throws OpError dependency-missing, with the reason as its cause.
 */
export function loadWalVfs(): string {
  const op = 'load the VFS of the WAL';
  const hint = 'run `npm run build`';
  const path = WAL_VFS_PLACES.map((place) => fileURLToPath(new URL(place, import.meta.url))).find(
    (place) => existsSync(place),
  );
  if (path === undefined) throw new OpError('dependency-missing', op, { hint });
  // Only a connection can load it, and only those that are opened later have it.
  const db = new BetterSqlite3(':memory:');
  try {
    db.loadExtension(path);
  } catch (error) {
    throw new OpError('dependency-missing', op, { hint, cause: error });
  } finally {
    db.close();
  }
  return path;
}

function admitted(db: Database, prepare: Admit): Database {
  try {
    prepare(db);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}
