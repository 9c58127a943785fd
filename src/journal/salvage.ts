/**
 * A journal whose file SQLite itself finds malformed: its indexes are made anew, or its rows, as many
 * as can be read, are copied to a new file. Before anything else a copy of what there was is put
 * aside, and it stays there.
 *
 * Invariant: at every moment there is a whole file by the journal's name, or one put aside.
 */
import {
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { asOpError, codeOf } from '../base/errors.ts';
import { soundness } from './check.ts';
import { admit, migrate } from './migrations.ts';
import { type Database, openReader, openWriter, type Statement } from './sqlite.ts';

export interface Salvage {
  /** The file that was put aside; one of the same name and `-wal` may lie beside it. */
  readonly aside: string;
  /** indexes: they were made anew. rows: those that could be read lie in a new file. none: no row. */
  readonly saved: 'indexes' | 'rows' | 'none';
  /** Tables of which not every row could be read. */
  readonly incomplete: readonly string[];
}

/** Complaints of SQLite about the file; none when it is sound. @throws OpError: it is not ours. */
export function complaintsOf(path: string): string[] {
  try {
    const db = openReader(path, (opened) => admit(opened, path));
    try {
      return [...soundness(db)].map(({ actual }) => actual);
    } finally {
      db.close();
    }
  } catch (error) {
    if (codeOf(error)?.startsWith('SQLITE_') !== true) throw error;
    return [error instanceof Error ? error.message : String(error)];
  }
}

/** @throws OpError no-space, io: nothing was changed then but for the copy. */
export function salvage(path: string): Salvage {
  try {
    const aside = putAside(path);
    if (areIndexesMade(path)) return { aside, saved: 'indexes', incomplete: [] };
    const incomplete = copied(path);
    if (incomplete === undefined) return { aside, saved: 'none', incomplete: [] };
    return { aside, saved: 'rows', incomplete };
  } catch (error) {
    throw asOpError(error, `rebuild ${path}`);
  }
}

function putAside(path: string): string {
  for (let n = 1; ; n++) {
    const aside = `${path}.damaged-${n}`;
    if (existsSync(aside)) continue;
    copyFileSync(path, aside, constants.COPYFILE_EXCL | constants.COPYFILE_FICLONE);
    if (existsSync(`${path}-wal`)) copyFileSync(`${path}-wal`, `${aside}-wal`);
    for (const file of [aside, `${aside}-wal`]) if (existsSync(file)) sync(file);
    sync(dirname(path));
    return aside;
  }
}

function sync(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

function areIndexesMade(path: string): boolean {
  try {
    const db = openWriter(path, (opened) => admit(opened, path));
    try {
      db.exec('REINDEX');
      return [...soundness(db)].length === 0;
    } finally {
      db.close();
    }
  } catch (error) {
    demandDamage(error);
    return false;
  }
}

/** @throws what is no complaint about the file. */
function demandDamage(error: unknown): void {
  const code = codeOf(error) ?? '';
  if (!code.startsWith('SQLITE_') || code.startsWith('SQLITE_FULL')) throw error;
}

/** Copies rows to a new file, which takes the old one's place; the tables that lost some. */
function copied(path: string): string[] | undefined {
  const made = `${path}.rebuilt`;
  for (const ending of ['', '-wal', '-shm']) rmSync(`${made}${ending}`, { force: true });
  const to = openWriter(made, () => {});
  let incomplete: string[] | undefined;
  try {
    migrate(to, made);
    incomplete = copyTables(path, to);
    // What they tell of may be among the rows that were lost.
    to.exec('DELETE FROM published');
    to.pragma('wal_checkpoint(TRUNCATE)');
  } finally {
    to.close();
  }
  if (incomplete === undefined) {
    rmSync(made, { force: true });
    return undefined;
  }
  sync(made);
  // The old file's WAL must not be taken for the new one's; all of it was put aside.
  for (const ending of ['-wal', '-shm']) rmSync(`${path}${ending}`, { force: true });
  renameSync(made, path);
  sync(dirname(path));
  return incomplete;
}

function copyTables(path: string, to: Database): string[] | undefined {
  let from: Database;
  try {
    from = openReader(path, (opened) => admit(opened, path));
  } catch (error) {
    demandDamage(error);
    return undefined;
  }
  try {
    const tables = to
      .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
      .pluck()
      .all() as string[];
    return tables.filter((table) => !isCopied(from, to, table));
  } finally {
    from.close();
  }
}

/** Whether every row of the table was read. */
function isCopied(from: Database, to: Database, table: string): boolean {
  const columnsIn = (db: Database) =>
    db.prepare('SELECT name FROM pragma_table_info(?)').pluck().all(table) as string[];
  let columns: string[];
  try {
    const there = columnsIn(from);
    columns = columnsIn(to).filter((column) => there.includes(column));
    if (columns.length === 0) return false;
  } catch (error) {
    demandDamage(error);
    return false;
  }
  const marks = columns.map(() => '?').join(', ');
  const insert = to.prepare(
    `INSERT OR IGNORE INTO ${table} (${columns.join(', ')}) VALUES (${marks})`,
  );
  // What lies behind a damaged page is read from the other end.
  const ways = ['ASC', 'DESC'].map((way) => () => {
    const key = keyOf(to, table).map((column) => `${column} ${way}`);
    const sql = `SELECT ${columns.join(', ')} FROM ${table} NOT INDEXED ORDER BY ${key.join(', ')}`;
    return copyRows(
      from.prepare(sql).raw().safeIntegers().iterate() as Iterable<unknown[]>,
      insert,
      to,
    );
  });
  return ways.some((copy) => isDone(copy));
}

const keyOf = (db: Database, table: string): string[] =>
  db
    .prepare('SELECT name FROM pragma_table_info(?) WHERE pk > 0 ORDER BY pk')
    .pluck()
    .all(table) as string[];

function isDone(copy: () => boolean): boolean {
  try {
    return copy();
  } catch (error) {
    demandDamage(error);
    return false;
  }
}

/** Rows that do not fit their columns are left out. */
function copyRows(rows: Iterable<unknown[]>, insert: Statement, to: Database): boolean {
  let areAll = true;
  to.exec('BEGIN');
  try {
    for (const row of rows) {
      try {
        insert.run(...row);
      } catch (error) {
        if (codeOf(error)?.startsWith('SQLITE_CONSTRAINT') !== true) throw error;
        areAll = false;
      }
    }
    return areAll;
  } finally {
    // Those before a damaged page are kept.
    to.exec('COMMIT');
  }
}
