/** The tamper tests: whatever is changed in the records shows, and nothing else does. */
import { createHash } from 'node:crypto';
import BetterSqlite3 from 'better-sqlite3';
import { describe, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import {
  checkDatabase,
  checkJournal,
  type Finding,
  History,
  type Journal,
  openForCheck,
} from '../../src/journal/journal.ts';
import { groupHash, type OpRow, SQL_COLUMNS } from '../../src/journal/ops.ts';
import { entry, name, openScratch, plantTree, root } from './scratch.ts';

const COLUMNS = SQL_COLUMNS.split(',').map((column) => column.trim());

/** As `kitfs fsck` does it, on a connection of its own. */
function check(path: string): Finding[] {
  const db = openForCheck(path);
  try {
    return checkDatabase(db);
  } finally {
    db.close();
  }
}

const chainFaults = (path: string) => check(path).filter(({ rule }) => rule === 'chain');

/** Changes one value as little as its type allows. */
function tampered(value: unknown): unknown {
  if (typeof value === 'number') return value + 1;
  if (typeof value === 'string') return `${value.slice(0, -1)}~`;
  const bytes = Buffer.from(value as Buffer);
  bytes.writeUInt8(bytes.readUInt8(bytes.length - 1) ^ 1, bytes.length - 1);
  return bytes;
}

function plant(journal: Journal): void {
  plantTree(journal);
  const actor = root(journal);
  for (const path of ['/x', '/y']) {
    journal.commit((tx) => {
      tx.record(entry(actor, path));
      tx.record(entry(actor, `${path}2`));
    });
  }
}

test('an untouched journal is clean, in the process that writes it and in another connection', () => {
  const { journal, path } = openScratch();
  expect(checkJournal(journal)).toEqual([]);
  plant(journal);
  expect(checkJournal(journal)).toEqual([]);
  expect(check(path)).toEqual([]);
});

test('every value of every hashed column of every record is covered by the chain', () => {
  const { journal, path } = openScratch();
  plant(journal);
  const db = journal.connection;
  const seen = new Set<string>();
  for (const row of db.prepare(`SELECT ${SQL_COLUMNS} FROM op`).all() as Record<
    string,
    unknown
  >[]) {
    for (const column of COLUMNS) {
      const value = row[column];
      if (value === null || (value instanceof Buffer && value.length === 0)) continue;
      const change = db.prepare(`UPDATE op SET ${column} = ? WHERE seq = ?`);
      const to = column === 'seq' ? Number(value) + 1000 : tampered(value);
      change.run(to, row['seq']);
      expect(chainFaults(path), `${column} of record ${row['seq']}`).not.toEqual([]);
      change.run(value, column === 'seq' ? to : row['seq']);
      seen.add(column);
    }
  }
  expect(check(path)).toEqual([]);
  // `error` has no value yet in any record this version writes.
  expect(COLUMNS.filter((column) => !seen.has(column))).toEqual(['error']);
});

test('a value put where there was none is seen', () => {
  const { journal, path } = openScratch();
  plant(journal);
  journal.connection.exec(`UPDATE op SET error = 'io' WHERE seq = 2`);
  expect(chainFaults(path)).not.toEqual([]);
});

describe('it is seen when', () => {
  const cases: Readonly<Record<string, { readonly sql: string; readonly seq: number }>> = {
    'a record in the middle of a group is deleted': { sql: 'DELETE FROM op WHERE seq = 5', seq: 5 },
    'a group in the middle is deleted': { sql: 'DELETE FROM op WHERE seq = 3', seq: 3 },
    'the first record is deleted': { sql: 'DELETE FROM op WHERE seq = 1', seq: 1 },
    'the last record is deleted': { sql: 'DELETE FROM op WHERE seq = 8', seq: 7 },
    'a group’s hash is changed': { sql: `UPDATE op SET hash = x'00' WHERE seq = 6`, seq: 6 },
    'a group’s hash is taken away': { sql: 'UPDATE op SET hash = NULL WHERE seq = 6', seq: 8 },
    'a group is cut in two': {
      sql: 'UPDATE op SET hash = (SELECT hash FROM op WHERE seq = 6) WHERE seq = 5',
      seq: 5,
    },
    'a record is added at the end': {
      sql: `INSERT INTO op SELECT 9, ${COLUMNS.slice(1)}, generation, request, reply, NULL
        FROM op WHERE seq = 8`,
      seq: 9,
    },
  };
  test.each(Object.entries(cases))('%s', (_, { sql, seq }) => {
    const { journal, path } = openScratch();
    plant(journal);
    journal.connection.exec(sql);
    expect(chainFaults(path)[0]).toMatchObject({ scope: 'chain', seq });
  });
});

describe('the last group, deleted whole,', () => {
  const DELETION = 'DELETE FROM op WHERE seq >= 7';

  test('is missed by the process that wrote it, and by any other', () => {
    const { journal, path } = openScratch();
    plant(journal);
    journal.connection.exec(DELETION);
    expect(checkJournal(journal)).toMatchObject([{ rule: 'chain', seq: 8 }]);
    expect(check(path)).toMatchObject([{ rule: 'chain', seq: 8 }]);
    journal.connection.exec(`DELETE FROM meta WHERE key = 'head'`);
    expect(checkJournal(journal).at(-1)).toMatchObject({ rule: 'chain', seq: 8 });
  });

  test('is missed after a restart, and its numbers are not used again', () => {
    const scratched = openScratch();
    plant(scratched.journal);
    scratched.close();
    const db = new BetterSqlite3(scratched.path);
    db.exec(DELETION);
    db.close();
    expect(chainFaults(scratched.path)).toMatchObject([
      { seq: 8, expected: expect.stringMatching(/record 8,/), actual: expect.stringMatching(/6,/) },
    ]);
    const again = openScratch(scratched.path).journal;
    again.commit((tx) => expect(tx.record(entry(root(again), '/new'))).toBe(9));
    expect(chainFaults(scratched.path)).toMatchObject([{ seq: 7, actual: 'record 9' }]);
  });

  test('is missed though it is written again with a chain of its own', () => {
    const scratched = openScratch();
    plant(scratched.journal);
    scratched.close();
    const db = new BetterSqlite3(scratched.path);
    db.exec('UPDATE op SET ino = 0 WHERE seq = 8');
    const before = db.prepare('SELECT hash FROM op WHERE seq = 6').pluck().get() as Buffer;
    const rows = db.prepare(`SELECT ${SQL_COLUMNS} FROM op WHERE seq > 6`).all() as OpRow[];
    db.prepare('UPDATE op SET hash = ? WHERE seq = 8').run(groupHash(before, rows));
    db.close();
    expect(chainFaults(scratched.path)).toMatchObject([{ seq: 8 }]);
  });
});

test('the chain can be verified with what SCHEMA.md says alone', () => {
  const { journal } = openScratch();
  plant(journal);
  const rows = journal.connection
    .prepare(`SELECT ${SQL_COLUMNS}, hash FROM op ORDER BY seq`)
    .raw()
    .all() as unknown[][];
  let previous = '0'.repeat(64);
  let lines: string[] = [];
  let groups = 0;
  for (const row of rows) {
    const hash = row.pop();
    lines.push(JSON.stringify(row.map((v) => (v instanceof Buffer ? v.toString('hex') : v))));
    if (hash === null) continue;
    const text = [previous, ...lines].map((line) => `${line}\n`).join('');
    previous = createHash('sha256').update(text, 'utf8').digest('hex');
    expect((hash as Buffer).toString('hex')).toBe(previous);
    lines = [];
    groups += 1;
  }
  expect(lines).toEqual([]);
  expect(groups).toBe(5);
  expect(journal.head.hash.toString('hex')).toBe(previous);
});

describe('records that are asked for', () => {
  const filter = {
    path: name('/'),
    recursive: true,
    follow: false,
    order: 'asc',
    limit: 100,
  } as const;

  test('are verified against their groups', () => {
    const { journal } = openScratch();
    plant(journal);
    const history = new History(journal);
    history.verify(history.query(filter).records);
    journal.connection.exec('UPDATE op SET size = 999 WHERE seq = 3');
    const { records } = history.query(filter);
    expect(() => history.verify(records)).toThrow(
      expect.objectContaining({
        failure: 'journal-corrupt',
        details: expect.objectContaining({ seq: 3 }),
      }),
    );
    history.verify(records.filter(({ row }) => row.seq !== 3 && row.seq !== 4));
  });

  test('are refused when the newest of them is not the one that was committed', () => {
    const { journal } = openScratch();
    plant(journal);
    const history = new History(journal);
    const { records } = history.query(filter);
    journal.connection.exec(`UPDATE op SET hash = zeroblob(32) WHERE seq = 8`);
    expect(() => history.verify(records)).toThrow('journal-corrupt');
    expect(() => history.verify(history.query(filter).records)).toThrow('journal-corrupt');
  });

  test('cannot be given without their actor or the end of their group', () => {
    const { journal } = openScratch();
    plant(journal);
    const history = new History(journal);
    journal.connection.exec('UPDATE op SET hash = NULL WHERE seq = 8');
    expect(() => history.last(7 as Ino)).toThrow('journal-corrupt');
    journal.connection.exec('DELETE FROM actor');
    expect(() => history.last(2 as Ino)).toThrow('journal-corrupt');
  });
});
