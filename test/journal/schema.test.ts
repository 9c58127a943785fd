/** SCHEMA.md and the file agree. */
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { OP_KINDS } from '../../src/journal/journal.ts';
import { APPLICATION_ID, SCHEMA_VERSION } from '../../src/journal/migrations.ts';
import { openScratch } from './scratch.ts';

const SCHEMA = readFileSync(new URL('../../src/journal/SCHEMA.md', import.meta.url), 'utf8');

/** Table → columns, as the section `Tables` lists them. */
function documented(): Record<string, string[]> {
  const section = SCHEMA.split('\n## Tables\n')[1]?.split('\n## ')[0] ?? '';
  const tables = section.split('\n### ').slice(1);
  const columnsOf = (text: string) =>
    [...text.matchAll(/^\| (\w+) +\|/gm)].map(([, column = '']) => column).slice(1);
  return Object.fromEntries(tables.map((text) => [text.split('\n', 1)[0], columnsOf(text)]));
}

test('every table and column is in SCHEMA.md, in the order of the file, and nothing else is', () => {
  const db = openScratch().journal.connection;
  const tables = db
    .prepare(`SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'`)
    .pluck()
    .all() as string[];
  const actual = tables.map((table) => [
    table,
    db.prepare('SELECT name FROM pragma_table_info(?)').pluck().all(table),
  ]);
  expect(documented()).toEqual(Object.fromEntries(actual));
});

test('SCHEMA.md names the version, the kinds of records and the mark of the file', () => {
  expect(SCHEMA).toContain(`schema's version, now ${SCHEMA_VERSION}`);
  expect(SCHEMA).toMatch(new RegExp(`^\\| ${SCHEMA_VERSION} +\\|`, 'm'));
  expect(SCHEMA).toContain(OP_KINDS.join(' '));
  expect(SCHEMA).toContain(`0x${APPLICATION_ID.toString(16)}`);
});

test('the file is as SCHEMA.md says', () => {
  const db = openScratch().journal.connection;
  const pragma = (name: string) => db.pragma(name, { simple: true });
  expect(pragma('application_id')).toBe(APPLICATION_ID);
  expect(pragma('user_version')).toBe(SCHEMA_VERSION);
  expect(pragma('journal_mode')).toBe('wal');
  expect(pragma('page_size')).toBe(2048);
  expect(pragma('synchronous')).toBe(1);
  const loose = db
    .prepare(`SELECT name FROM pragma_table_list WHERE schema = 'main' AND NOT strict
      AND name NOT LIKE 'sqlite_%'`)
    .pluck()
    .all();
  expect(loose).toEqual([]);
});
