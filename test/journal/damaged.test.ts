/** Journals that something else has written into, each found by the storms of `test/fuzz`. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { fsck } from '../../src/daemon/fsck.ts';
import { checkDatabase, Journal, openForCheck } from '../../src/journal/journal.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { World } from '../fuzz/world.ts';

let directory = '';
let path = '';
beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kitfs-damaged-'));
  path = join(directory, 'journal.db');
  await new World(directory).stop();
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function edit(sql: string): void {
  const db = new BetterSqlite3(path);
  db.exec(sql);
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
}

const findings = (): readonly { rule: string }[] => {
  const db = openForCheck(path);
  try {
    return checkDatabase(db);
  } finally {
    db.close();
  }
};
const corrupt = expect.objectContaining({ failure: 'journal-corrupt' });

test('tables that are not those of a journal are damage, and the file is left alone', () => {
  for (const sql of ['ALTER TABLE usage ADD COLUMN other TEXT', 'DROP TABLE dentry']) {
    edit(sql);
    const before = readFileSync(path);
    expect(() => new Journal({ path, clock: new TurnedClock() })).toThrow(corrupt);
    expect(readFileSync(path).equals(before)).toBe(true);
  }
});

test('a mount of what is in no table is damage when the tree is opened', () => {
  edit('UPDATE mount SET superblock = 4711');
  expect(() => new World(directory)).toThrow(corrupt);
});

test('an end of the chain that is none is found, and numbers go on', () => {
  edit("UPDATE meta SET value = 4711 WHERE key = 'head'");
  expect(findings().map(({ rule }) => rule)).toContain('chain');
  const journal = new Journal({ path, clock: new TurnedClock() });
  expect(Number.isSafeInteger(journal.head.seq)).toBe(true);
  journal.close();
});

test('tables that cannot be read are a finding of fsck', async () => {
  edit('DROP TABLE content');
  const { clean, findings: found } = await fsck({
    state: directory,
    signal: new AbortController().signal,
  });
  expect(clean).toBe(false);
  expect(found.map(({ check }) => check)).toContain('readable');
});

test('a start over an index that leads back to itself ends', () => {
  const db = new BetterSqlite3(path);
  const rootOf = db.prepare('SELECT rootpage FROM sqlite_schema WHERE name = ?').pluck();
  const bytes = db.pragma('page_size', { simple: true }) as number;
  // Content that is sealed is found where that is looked for which is open.
  db.exec(`INSERT INTO content (state, size, place, refs, held, stable, cid)
    VALUES ('sealed', 0, 'packed', 1, 0, 1, x'01'), ('sealed', 0, 'packed', 1, 0, 1, x'02')`);
  const [one, other] = ['content_open', 'content_cid'].map((name) => {
    return ((rootOf.get(name) as number) - 1) * bytes;
  });
  db.pragma('wal_checkpoint(TRUNCATE)');
  db.close();
  const file = readFileSync(path);
  const kept = Buffer.from(file.subarray(one, (one ?? 0) + bytes));
  file.copy(file, one, other, (other ?? 0) + bytes);
  kept.copy(file, other);
  writeFileSync(path, file);
  expect(() => new World(directory)).toThrow(corrupt);
});

test('a record without its columns breaks the chain', () => {
  edit('CREATE TABLE other AS SELECT * FROM op; DROP TABLE op; ALTER TABLE other RENAME TO op');
  edit('UPDATE op SET name = NULL, path = NULL WHERE seq = (SELECT max(seq) FROM op)');
  expect(findings().map(({ rule }) => rule)).toContain('chain');
});
