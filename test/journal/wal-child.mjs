/**
 * The other process of wal-vfs.test.ts: `node wal-child.mjs <role> <sqlite.js> <directory> [<pages>]`.
 *
 * - `read` reads with SQLite as it comes, without our VFS, and tells what it has seen: a line of JSON.
 * - `write` commits until it is killed, and writes the number of each commit when COMMIT has returned.
 * - `fill` mounts a small file system over the directory, fills it, makes room, and tells how it went.
 */
import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';

const [role, module, directory, pagesMax = '1000'] = process.argv.slice(2);
const path = join(directory, 'journal.db');
const ROWS = 40;
const ROW_BYTES_MAX = 3000;
const SEEN_ENOUGH = 100;
const MIB = 1024 * 1024;

const tell = (answer) => writeSync(1, `${JSON.stringify(answer)}\n`);

async function openWriter() {
  const sqlite = await import(module);
  return sqlite.openWriter(path, () => undefined);
}

/** Every row carries the number of the commit that wrote it last, and every commit writes them all. */
const WHOLE = `SELECT (SELECT count(*) FROM past) AS past, (SELECT count(*) FROM row) AS rows,
  (SELECT min(number) FROM row) AS low, (SELECT max(number) FROM row) AS high`;

function read() {
  const db = new BetterSqlite3(path, { readonly: true });
  const statement = db.prepare(WHOLE);
  let last = 0;
  let seen = 0;
  const look = () => {
    for (let turn = 0; turn < 20; turn++) {
      const { past, rows, low, high } = statement.get();
      const isWhole = past === low && low === high && rows === ROWS && high >= last;
      if (!isWhole) return tell({ torn: { past, rows, low, high, last } });
      if (high > last) seen++;
      last = high;
    }
    if (seen >= SEEN_ENOUGH) return tell({ seen });
    setImmediate(look);
  };
  look();
}

async function write() {
  const db = await openWriter();
  db.pragma(`cache_size = ${pagesMax}`);
  const next = db.prepare('INSERT INTO past DEFAULT VALUES');
  const row = db.prepare('INSERT OR REPLACE INTO row VALUES (?, ?, ?)');
  for (;;) {
    db.exec('BEGIN IMMEDIATE');
    const number = Number(next.run().lastInsertRowid);
    // Twice, so that a page which did not fit the cache is written again over its own frame.
    for (let turn = 0; turn < 2 * ROWS; turn++) {
      const bytes = Buffer.alloc((number * 7919 + turn * 104_729) % ROW_BYTES_MAX, turn);
      row.run(turn % ROWS, number, bytes);
    }
    db.exec('COMMIT');
    writeSync(1, `${number}\n`);
  }
}

function attempt(work) {
  try {
    work();
    return 'done';
  } catch (error) {
    return error.code;
  }
}

async function fill() {
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1536k', 'tmpfs', directory]);
  writeFileSync(join(directory, 'ballast'), Buffer.alloc(MIB));
  const db = await openWriter();
  db.pragma(`cache_size = ${pagesMax}`);
  db.exec('CREATE TABLE row (id INTEGER PRIMARY KEY, bytes BLOB)');
  const insert = db.prepare('INSERT INTO row (bytes) VALUES (?)');
  const commit = (count) =>
    attempt(() =>
      db.transaction(() => {
        for (let row = 0; row < count; row++) insert.run(Buffer.alloc(10_000, row));
      })(),
    );
  const rows = () => db.prepare('SELECT count(*) FROM row').pluck().get();
  const answer = { early: [commit(5), commit(5)] };
  // Leaves free pages: what is too large takes all there is of the disk into the WAL.
  db.exec('DELETE FROM row WHERE id > 8');
  answer.tooLarge = [commit(60), commit(60)];
  answer.kept = [rows(), db.inTransaction, db.pragma('integrity_check', { simple: true })];
  answer.small = [commit(1), rows()];
  rmSync(join(directory, 'ballast'));
  answer.withRoom = [commit(40), rows(), db.pragma('integrity_check', { simple: true })];
  db.close();
  const again = new BetterSqlite3(path, { readonly: true });
  answer.reopened = [again.prepare('SELECT count(*) FROM row').pluck().get()];
  again.close();
  tell(answer);
}

await { read, write, fill }[role]();
