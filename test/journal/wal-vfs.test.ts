/**
 * The VFS that gathers the writes of a commit (native/wal_vfs.cc): what it is for, and that nobody
 * can tell it from SQLite's own by what is in the file.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import {
  copyFileSync,
  cpSync,
  mkdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setImmediate } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import BetterSqlite3 from 'better-sqlite3';
import fc from 'fast-check';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Database, openCheckpointing, openWriter } from '../../src/journal/sqlite.ts';
import { scratch } from './scratch.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const CHILD = fileURLToPath(new URL('wal-child.mjs', import.meta.url));
/** Children run what is built. */
const BUILT = join(ROOT, 'dist/src/journal/sqlite.js');

const PAGE_BYTES = 2048;
/** What the VFS holds back at most. */
const PENDING_BYTES_MAX = 124 * 1024;
/** Of the rows that the child knows. */
const ROWS = 40;
const SCHEMA = `CREATE TABLE past (number INTEGER PRIMARY KEY);
  CREATE TABLE row (id INTEGER PRIMARY KEY, number INTEGER, bytes BLOB);`;

function open(path = join(scratch(), 'journal.db')): Database {
  const db = openWriter(path, () => undefined);
  onTestFinished(() => {
    db.close();
  });
  return db;
}

/**
 * Write calls that this thread makes meanwhile. Now and then one is the engine's, which wakes its
 * own loop: take the least of several rounds.
 */
function writesOf(work: () => unknown): number {
  const sofar = () =>
    Number(/^syscw: (\d+)$/m.exec(readFileSync('/proc/thread-self/io', 'latin1'))?.[1]);
  const before = sofar();
  work();
  return sofar() - before;
}

const walBytes = (db: Database) => statSync(`${db.name}-wal`).size;
const integrity = (db: Database) => db.pragma('integrity_check', { simple: true });
const one = <T>(db: Database, sql: string) => db.prepare(sql).pluck().get() as T;

/** Updates every row in one transaction, as the child does. */
function commitAll(db: Database, bytes: (id: number) => Buffer): number {
  const row = db.prepare('INSERT OR REPLACE INTO row VALUES (?, ?, ?)');
  return db.transaction(() => {
    const number = Number(db.prepare('INSERT INTO past DEFAULT VALUES').run().lastInsertRowid);
    for (let id = 0; id < ROWS; id++) row.run(id, number, bytes(id));
    return number;
  })();
}

function start(role: string, directory: string, pagesMax = '1000'): ChildProcess {
  const child = spawn(process.execPath, [CHILD, role, BUILT, directory, pagesMax], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  onTestFinished(() => {
    child.kill('SIGKILL');
  });
  return child;
}

describe('a commit', () => {
  test.each([1, 5, 40])('that fits what is held back is one write to the WAL: %i rows', (rows) => {
    const db = open();
    db.exec('CREATE TABLE t (id INTEGER PRIMARY KEY, bytes BLOB)');
    const insert = db.prepare('INSERT INTO t (bytes) VALUES (?)');
    const insertAll = db.transaction(() => {
      for (let row = 0; row < rows; row++) insert.run(Buffer.alloc(PAGE_BYTES / 2, row));
    });
    const rounds = Array.from({ length: 10 }, () => {
      const sizeBefore = walBytes(db);
      const count = writesOf(insertAll);
      expect(walBytes(db) - sizeBefore).toBeGreaterThan((rows * PAGE_BYTES) / 2);
      return count;
    });
    expect(Math.min(...rounds)).toBe(1);
  });

  test('that is longer takes a write for each filling', () => {
    const db = open();
    db.exec('CREATE TABLE t (bytes BLOB)');
    const insert = db.prepare('INSERT INTO t VALUES (?)');
    const bytes = Buffer.alloc(1024 * 1024, 1);
    const rounds = Array.from({ length: 5 }, () => {
      const sizeBefore = walBytes(db);
      const count = writesOf(() => insert.run(bytes));
      return count - Math.ceil((walBytes(db) - sizeBefore) / PENDING_BYTES_MAX);
    });
    // Only whole frames are held back, so that the last filling may be a little more.
    expect(Math.min(...rounds)).toBeLessThanOrEqual(1);
    expect(one(db, 'SELECT sum(length(bytes)) FROM t')).toBe(5 * bytes.length);
  });

  test('leaves no bytes behind in the process: another one reads it at once', () => {
    const db = open();
    db.exec(SCHEMA);
    const stock = `const D = require('better-sqlite3');
      const db = new D(process.argv[1], { readonly: true });
      process.stdout.write(String(db.prepare('SELECT max(number) FROM row').pluck().get()));`;
    for (let round = 0; round < 3; round++) {
      const number = commitAll(db, (id) => Buffer.alloc(id * 50, id));
      const seen = spawnSync(process.execPath, ['-e', stock, db.name], { cwd: ROOT });
      expect(seen.stdout.toString()).toBe(String(number));
    }
  });

  test('is seen whole or not at all by a process that reads meanwhile', async () => {
    const db = open();
    db.exec(SCHEMA);
    commitAll(db, (id) => Buffer.alloc(id));
    const folding = openCheckpointing(db.name);
    onTestFinished(() => {
      folding.close();
    });
    const reader = start('read', join(db.name, '..'));
    let answer: unknown;
    createInterface({ input: reader.stdout ?? process.stdin }).on('line', (line) => {
      answer = JSON.parse(line);
    });
    // Enough for the slowest reader, and few enough to end.
    for (let round = 0; answer === undefined && round < 20_000; round++) {
      commitAll(db, (id) => Buffer.alloc((id * 104_729 + round * 7919) % 3000, id));
      if (round % 50 === 49) folding.pragma('wal_checkpoint(PASSIVE)');
      if (round % 5 === 4) await setImmediate();
    }
    expect(answer).toEqual({ seen: expect.any(Number) });
    expect(integrity(db)).toBe('ok');
  });

  test('that was acknowledged is there after kill -9', { timeout: 60_000 }, async () => {
    const directory = scratch();
    const first = openWriter(join(directory, 'journal.db'), () => undefined);
    first.exec(SCHEMA);
    commitAll(first, (id) => Buffer.alloc(id));
    first.close();
    for (let life = 0; life < 20; life++) {
      // In every other life the pages do not fit the cache, and go to the WAL before the commit.
      const writer = start('write', directory, life % 2 === 0 ? '1000' : '10');
      // Not the same moment each time, and never before the first answer.
      const answersMax = 1 + ((life * 37) % 23);
      let acknowledged = 0;
      let answers = 0;
      createInterface({ input: writer.stdout ?? process.stdin }).on('line', (line) => {
        acknowledged = Number(line);
        if (++answers === answersMax) writer.kill('SIGKILL');
      });
      await once(writer, 'close');
      expect(answers).toBeGreaterThanOrEqual(answersMax);
      const db = new BetterSqlite3(join(directory, 'journal.db'), { readonly: true });
      const past = one<number>(db, 'SELECT count(*) FROM past');
      expect(past).toBeGreaterThanOrEqual(acknowledged);
      expect(db.prepare('SELECT DISTINCT number FROM row').pluck().all()).toEqual([past]);
      expect(one(db, 'SELECT count(*) FROM row')).toBe(ROWS);
      expect(integrity(db)).toBe('ok');
      db.close();
    }
  });
});

describe('a full disk', () => {
  test.each([
    ['at the commit', '1000'],
    ['while the transaction goes on', '10'],
  ])('met %s fails that commit alone, and room mends it', (_, pagesMax) => {
    // In a mount namespace of its own, so that nothing is left whatever becomes of it.
    const isRoot = process.getuid?.() === 0;
    const child = spawnSync(
      'unshare',
      [
        ...(isRoot ? ['--mount'] : ['--map-root-user', '--mount']),
        ...[process.execPath, CHILD, 'fill', BUILT, scratch(), pagesMax],
      ],
      { encoding: 'utf8', timeout: 15_000 },
    );
    expect(child.stderr).toBe('');
    expect(JSON.parse(child.stdout)).toEqual({
      early: ['done', 'done'],
      tooLarge: ['SQLITE_FULL', 'SQLITE_FULL'],
      kept: [8, false, 'ok'],
      small: ['done', 9],
      withRoom: ['done', 49, 'ok'],
      reopened: [49],
    });
  });
});

describe('pages that do not fit the cache', () => {
  test('are not written after a rollback, where another writer’s may be', () => {
    const db = open();
    db.exec(SCHEMA);
    const other = open(db.name);
    db.pragma('cache_size = 10');
    const insert = db.prepare('INSERT INTO row VALUES (NULL, 0, ?)');
    for (let round = 0; round < 10; round++) {
      db.exec('BEGIN IMMEDIATE');
      for (let row = 0; row <= round * 5 + 20; row++) insert.run(Buffer.alloc(PAGE_BYTES, 1));
      db.exec('ROLLBACK');
      commitAll(other, (id) => Buffer.alloc((id * 331) % 3000, 2));
      commitAll(other, (id) => Buffer.alloc((id * 97) % 3000, 3));
      // Asks the WAL for its pages, and for its size.
      expect(integrity(db)).toBe('ok');
      db.pragma('wal_checkpoint(PASSIVE)');
      expect(integrity(other)).toBe('ok');
      expect(one(db, 'SELECT count(*) FROM row')).toBe(ROWS);
    }
  });

  type Step = readonly [kind: string, id: number, bytesMax: number];

  /**
   * Rows below 60, most of them more than once. The generator is a poor one on purpose: by a good one
   * SQLite almost never comes to write over a frame that is held back still.
   */
  const putMany = (db: Database, seed: number, bytesMax: number, count: number) => {
    const put = db.prepare('INSERT OR REPLACE INTO row VALUES (?, ?, ?)');
    let mixed = seed + 1;
    const next = (below: number) => {
      mixed = (mixed * 1_103_515_245 + 12_345) & 0x7fffffff;
      return mixed % below;
    };
    for (let turn = 0; turn < count; turn++) {
      put.run(next(60), seed, Buffer.alloc(next(bytesMax), turn));
    }
  };
  const apply = (db: Database, [kind, id, bytesMax]: Step) => {
    if (kind === 'begin' && !db.inTransaction) db.exec('BEGIN IMMEDIATE');
    if (kind === 'commit' && db.inTransaction) db.exec('COMMIT');
    if (kind === 'roll back' && db.inTransaction) db.exec('ROLLBACK');
    if (kind === 'save' && db.inTransaction) db.exec(`SAVEPOINT s${id % 2}`);
    if (kind === 'back to') {
      try {
        db.exec(`ROLLBACK TO s${id % 2}`);
      } catch {
        // There is no such savepoint; in the other database neither.
      }
    }
    if (kind === 'put') putMany(db, id, bytesMax, 50);
    if (kind === 'delete') db.prepare('DELETE FROM row WHERE id >= ? AND id < ?').run(id, id + 20);
    if (kind === 'fold' && !db.inTransaction) db.pragma('wal_checkpoint(PASSIVE)');
    if (kind === 'begin anew' && !db.inTransaction) db.pragma('wal_checkpoint(RESTART)');
  };
  /** A hash, because comparing the bytes themselves takes a hundred times as long. */
  const content = (db: Database): string => {
    const hash = createHash('sha256');
    const rows = db.prepare('SELECT id, number, bytes FROM row ORDER BY id').raw();
    for (const [id, number, bytes] of rows.iterate() as Iterable<[number, number, Buffer]>) {
      hash.update(`${id} ${number} ${bytes.length} `).update(bytes);
    }
    return hash.digest('hex');
  };

  test('and change once more before they are read again have their last bytes', () => {
    const db = open();
    const model = new BetterSqlite3(':memory:');
    const other = new BetterSqlite3(db.name, { readonly: true });
    for (const each of [db, model]) each.exec(SCHEMA);
    db.pragma('cache_size = 40');
    for (let seed = 0; seed < 40; seed++) {
      for (const each of [db, model]) each.transaction(() => putMany(each, seed, 5000, 300))();
      expect(content(other)).toBe(content(model));
    }
    for (const each of [model, other]) each.close();
  });

  test('read back as from a database in memory, whatever is done', { timeout: 60_000 }, () => {
    const kind = fc.oneof(
      { weight: 5, arbitrary: fc.constant('put') },
      { weight: 6, arbitrary: fc.constantFrom('begin', 'commit', 'roll back', 'save', 'back to') },
      { weight: 3, arbitrary: fc.constantFrom('delete', 'look', 'fold', 'begin anew') },
    );
    const step = fc.tuple(kind, fc.nat(60), fc.constantFrom(100, 1000, 5000));
    const steps = fc.array(step, { minLength: 10, maxLength: 60, size: 'max' });
    const directory = scratch();
    let run = 0;
    fc.assert(
      fc.property(fc.constantFrom(10, 40), steps, (pagesMax, all) => {
        const path = join(directory, `${run++}.db`);
        const real = openWriter(path, () => undefined);
        const other = new BetterSqlite3(path, { readonly: true });
        const model = new BetterSqlite3(':memory:');
        try {
          for (const db of [real, model]) db.exec(SCHEMA);
          real.pragma(`cache_size = ${pagesMax}`);
          for (const taken of all) {
            for (const db of [real, model]) apply(db, taken);
            expect(real.inTransaction).toBe(model.inTransaction);
            // Not always: reading has the WAL written.
            if (taken[0] === 'look') expect(content(real)).toBe(content(model));
            if (taken[0] === 'commit') expect(content(other)).toBe(content(model));
          }
          for (const db of [real, model]) apply(db, ['commit', 0, 0]);
          // What the death of the process would leave: without the wal-index it is read anew.
          for (const end of ['', '-wal']) copyFileSync(path + end, `${path}-left${end}`);
          const left = new BetterSqlite3(`${path}-left`);
          expect(content(left)).toBe(content(model));
          expect(integrity(left)).toBe('ok');
          left.close();
        } finally {
          for (const db of [other, real, model]) db.close();
        }
      }),
      { numRuns: 40 },
    );
  });
});

test('without the built extension, opening says what to run', () => {
  const copy = scratch();
  cpSync(join(ROOT, 'dist/src'), join(copy, 'dist/src'), { recursive: true });
  mkdirSync(join(copy, 'native'));
  symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
  writeFileSync(join(copy, 'package.json'), '{"type":"module"}');
  const script = `import { openWriter } from './dist/src/journal/sqlite.js';
    try { openWriter('journal.db', () => undefined); } catch (error) { console.log(error.message); }`;
  const child = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    cwd: copy,
    encoding: 'utf8',
    timeout: 15_000,
  });
  expect(child.stdout).toMatch(/dependency-missing; run `npm run build`/);
});
