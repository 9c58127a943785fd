/** fsck finds each planted offence by the name of the rule it breaks. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { FINDINGS_MAX } from '../../src/base/limits.ts';
import { INVARIANTS } from '../../src/journal/invariants.ts';
import { checkDatabase, checkJournal, openForCheck } from '../../src/journal/journal.ts';
import { MENDS } from '../../src/journal/repair.ts';
import { plantCalls } from './calls.ts';
import { openScratch, plantTree } from './scratch.ts';

interface Offence {
  readonly rule: string;
  readonly sql: string;
  readonly at?: Readonly<Record<string, unknown>>;
}

/** A row of `/d`, where the tree is of kind `mfs`. */
const seenOfMfs = (columns: string) =>
  `UPDATE superblock SET kind = 'mfs'; INSERT INTO mfs_seen VALUES (2, ${columns})`;

/** Inodes of `plantTree`: 1 `/`, 2 `d`, 3 `sub`, 4 `f`, 5 `g`, 6 `empty`, 7 `s`, 8 unlinked. */
const OFFENCES: readonly Offence[] = [
  {
    rule: 'dentry-inode',
    sql: `INSERT INTO dentry VALUES (2, x'7a', 99, 900)`,
    at: { path: '/d/z', actual: 'no such inode' },
  },
  { rule: 'dentry-parent', sql: `INSERT INTO dentry VALUES (4, x'7a', 6, 900)` },
  { rule: 'dentry-parent', sql: `INSERT INTO dentry VALUES (77, x'7a', 6, 900)` },
  { rule: 'dentry-name', sql: `UPDATE dentry SET name = x'612f62' WHERE ino = 5` },
  { rule: 'dentry-name', sql: `UPDATE dentry SET name = x'6100' WHERE ino = 5` },
  { rule: 'dentry-name', sql: `UPDATE dentry SET name = x'2e2e' WHERE ino = 5` },
  { rule: 'dentry-name', sql: `UPDATE dentry SET name = x'' WHERE ino = 5` },
  { rule: 'dentry-name', sql: `UPDATE dentry SET name = zeroblob(256) WHERE ino = 5` },
  {
    rule: 'file-links',
    sql: 'UPDATE inode SET nlink = 3 WHERE ino = 4',
    at: { ino: 4, path: '/d/f', expected: 'nlink 2', actual: 'nlink 3' },
  },
  { rule: 'file-links', sql: 'DELETE FROM dentry WHERE ino = 5' },
  {
    rule: 'directory-links',
    sql: 'UPDATE inode SET nlink = 2 WHERE ino = 2',
    at: { ino: 2, path: '/d', expected: 'nlink 3' },
  },
  { rule: 'directory-name', sql: `INSERT INTO dentry VALUES (2, x'7a', 3, 900)` },
  { rule: 'directory-name', sql: 'UPDATE inode SET nlink = 0 WHERE ino = 3' },
  { rule: 'directory-removed', sql: 'UPDATE inode SET nlink = 0 WHERE ino = 3' },
  {
    rule: 'directory-parent',
    sql: 'UPDATE inode SET parent = 1 WHERE ino = 3',
    at: { ino: 3, expected: 'parent 2', actual: 'parent 1' },
  },
  { rule: 'parent-zero', sql: 'UPDATE inode SET parent = 2 WHERE ino = 4' },
  { rule: 'parent-zero', sql: 'UPDATE inode SET parent = 1 WHERE ino = 1' },
  {
    rule: 'reachable',
    sql: `UPDATE dentry SET parent = 3 WHERE ino = 2; UPDATE inode SET parent = 3 WHERE ino = 2;
      UPDATE inode SET nlink = 3 WHERE ino = 3; UPDATE inode SET nlink = 2 WHERE ino = 1`,
    at: { ino: 2, path: '(inode 2)/sub/d' },
  },
  { rule: 'superblock-root', sql: 'UPDATE superblock SET root = 4' },
  { rule: 'superblock-root', sql: 'UPDATE superblock SET root = 99' },
  { rule: 'inode-superblock', sql: 'UPDATE inode SET superblock = 5 WHERE ino = 4' },
  { rule: 'usage', sql: 'UPDATE usage SET inodes = inodes - 1' },
  { rule: 'usage', sql: 'UPDATE usage SET bytes = 0' },
  { rule: 'usage', sql: 'INSERT INTO usage VALUES (9, 1, 0)' },
  { rule: 'mount-superblock', sql: `INSERT INTO mount VALUES (x'2f78', 'm2', 5)` },
  { rule: 'symlink-target', sql: 'DELETE FROM symlink', at: { ino: 7, actual: 'none' } },
  { rule: 'symlink-target', sql: `INSERT INTO symlink VALUES (4, x'61')`, at: { ino: 4 } },
  { rule: 'symlink-target', sql: `INSERT INTO symlink VALUES (99, x'61')`, at: { ino: 99 } },
  { rule: 'xattr-inode', sql: `INSERT INTO xattr VALUES (99, x'61', x'')`, at: { ino: 99 } },
  { rule: 'session-inode', sql: 'UPDATE write_session SET ino = 99', at: { ino: 99 } },
  { rule: 'session-inode', sql: 'UPDATE write_session SET ino = 2', at: { ino: 2 } },
  { rule: 'counters', sql: `UPDATE meta SET value = 8 WHERE key = 'next_ino'` },
  { rule: 'counters', sql: `DELETE FROM meta WHERE key = 'next_cookie'` },
  { rule: 'counters', sql: `UPDATE meta SET value = 1 WHERE key = 'next_content'` },
  { rule: 'counters', sql: `UPDATE meta SET value = 1 WHERE key = 'next_write_session'` },
  { rule: 'counters', sql: 'UPDATE op SET content = 5000 WHERE seq = 2' },
  { rule: 'counters', sql: 'UPDATE op SET generation = 1000000 WHERE seq = 2' },
  { rule: 'inode-fields', sql: 'UPDATE inode SET mode = 420 WHERE ino = 4', at: { ino: 4 } },
  { rule: 'inode-fields', sql: 'UPDATE inode SET mtime_ns = -1 WHERE ino = 4' },
  { rule: 'inode-fields', sql: 'UPDATE inode SET uid = 4294967296 WHERE ino = 4' },
  { rule: 'inode-fields', sql: 'UPDATE inode SET generation = 2 WHERE ino = 4' },
  { rule: 'superblock-fields', sql: 'UPDATE superblock SET volatile = 2' },
  { rule: 'superblock-fields', sql: `UPDATE superblock SET options = '[]'` },
  { rule: 'superblock-fields', sql: 'UPDATE superblock SET id = 2' },
  { rule: 'dentry-superblock', sql: 'UPDATE inode SET superblock = 2 WHERE ino = 4' },
  { rule: 'directory-size', sql: 'UPDATE inode SET size = 0 WHERE ino = 2', at: { ino: 2 } },
  { rule: 'symlink-size', sql: 'UPDATE inode SET size = 3 WHERE ino = 7', at: { ino: 7 } },
  { rule: 'session-fields', sql: `UPDATE write_session SET before = 'no'` },
  { rule: 'session-fields', sql: 'UPDATE write_session SET before = NULL' },
  { rule: 'session-fields', sql: 'UPDATE write_session SET old_content = 99', at: { ino: 4 } },
  { rule: 'mount-point', sql: `INSERT INTO mount VALUES (CAST('/no/x' AS BLOB), 'm2', 1)` },
  { rule: 'mount-point', sql: `INSERT INTO mount VALUES (CAST('/d/f/x' AS BLOB), 'm2', 1)` },
  { rule: 'content-fields', sql: 'UPDATE content SET held = 2 WHERE id = 2', at: { content: 2 } },
  { rule: 'content-fields', sql: 'UPDATE content SET size = -1 WHERE id = 2' },
  {
    rule: 'content-owner',
    sql: `INSERT INTO content VALUES (3, 0, 'open', 'file', 0, 0, NULL, NULL, NULL, 0, NULL)`,
    at: { content: 3 },
  },
  { rule: 'block-root', sql: 'DELETE FROM block WHERE position = -1', at: { content: 2 } },
  {
    rule: 'content-lost',
    sql: 'UPDATE content SET cid = NULL, profile = NULL WHERE id = 2; DELETE FROM block',
    at: { ino: 5, content: 2, path: '/d/g' },
  },
  { rule: 'pin-block', sql: `INSERT INTO pin VALUES (x'01551220ff', 'direct', NULL, 0, 0)` },
  { rule: 'inode-content', sql: 'UPDATE inode SET content = 1 WHERE ino = 2', at: { ino: 2 } },
  { rule: 'inode-content', sql: 'UPDATE inode SET content = 0 WHERE ino = 4', at: { ino: 4 } },
  { rule: 'inode-content', sql: 'UPDATE inode SET content = 9 WHERE ino = 4', at: { content: 9 } },
  {
    rule: 'inode-size',
    sql: 'UPDATE inode SET size = 6 WHERE ino = 4',
    at: { ino: 4, content: 1 },
  },
  { rule: 'content-refs', sql: 'UPDATE content SET refs = 2 WHERE id = 1', at: { content: 1 } },
  {
    rule: 'content-refs',
    sql: `INSERT INTO content VALUES (3, 0, 'open', 'file', 1, 0, NULL, NULL, NULL, 0, NULL)`,
    at: { content: 3, expected: '0 references', actual: '1 references' },
  },
  { rule: 'content-sealed', sql: `UPDATE content SET cid = x'01', profile = 'p' WHERE id = 1` },
  { rule: 'content-sealed', sql: 'UPDATE content SET profile = NULL WHERE id = 2' },
  {
    rule: 'packed-bytes',
    sql: `UPDATE packed SET bytes = x'01' WHERE content = 1`,
    at: { content: 1, expected: '5 bytes', actual: '1 bytes' },
  },
  { rule: 'packed-bytes', sql: 'DELETE FROM packed WHERE content = 1', at: { actual: 'none' } },
  { rule: 'packed-bytes', sql: `INSERT INTO packed VALUES (9, x'01')`, at: { content: 9 } },
  {
    rule: 'content-remote',
    sql: `UPDATE content SET state = 'remote', cid = NULL, profile = NULL WHERE id = 2`,
    at: { content: 2 },
  },
  {
    rule: 'content-remote',
    sql: `UPDATE content SET state = 'remote', profile = NULL WHERE id = 2`,
  },
  { rule: 'content-slot', sql: 'UPDATE content SET slot = 7 WHERE id = 2', at: { content: 2 } },
  { rule: 'block-range', sql: 'UPDATE block SET size = 1001 WHERE position = 0' },
  { rule: 'block-range', sql: 'UPDATE block SET size = -1 WHERE position = 0' },
  { rule: 'block-range', sql: 'UPDATE block SET position = -2 WHERE position = -1' },
  { rule: 'block-range', sql: 'UPDATE block SET content = 9 WHERE position = 0' },
  { rule: 'record-actor', sql: 'UPDATE op SET actor = 77 WHERE seq = 2', at: { seq: 2 } },
  { rule: 'session-actor', sql: 'UPDATE write_session SET actor = 77', at: { ino: 4 } },
  { rule: 'counters', sql: 'UPDATE answer SET generation = 1000000' },
  { rule: 'answer-replies', sql: 'UPDATE answer SET generation = 0' },
  { rule: 'answer-replies', sql: 'UPDATE answer SET generation = 9223372036854775807' },
  // Without its last byte; with a few more; with a length that leads away.
  {
    rule: 'answer-replies',
    sql: 'UPDATE answer SET replies = substr(replies, 1, length(replies) - 1)',
  },
  { rule: 'answer-replies', sql: `UPDATE answer SET replies = CAST(replies || x'010203' AS BLOB)` },
  {
    rule: 'answer-replies',
    sql: `UPDATE answer
      SET replies = CAST(substr(replies, 1, 8) || x'ffffffff' || substr(replies, 13) AS BLOB)`,
  },
  { rule: 'call-fields', sql: `UPDATE tool_call SET principal = ''` },
  { rule: 'call-fields', sql: `UPDATE tool_call SET key = ''` },
  { rule: 'call-fields', sql: `UPDATE tool_call SET key = printf('%.65cé%.62c', 'a', 'a')` },
  { rule: 'call-fields', sql: `UPDATE tool_call SET digest = x'00'` },
  { rule: 'call-fields', sql: 'UPDATE tool_call SET id = -1' },
  { rule: 'call-answer', sql: `UPDATE tool_call SET answer = '{"request_id":"r","data":'` },
  { rule: 'call-answer', sql: `UPDATE tool_call SET answer = '[]'` },
  { rule: 'call-answer', sql: `UPDATE tool_call SET answer = json_remove(answer, '$.data')` },
  { rule: 'call-answer', sql: `UPDATE tool_call SET answer = '{"lost":false}'` },
  { rule: 'call-record', sql: `UPDATE tool_call SET answer = json_set(answer, '$.seq', 5)` },
  { rule: 'call-record', sql: `UPDATE tool_call SET answer = json_set(answer, '$.seq', '1')` },
  { rule: 'job-call', sql: `UPDATE tool_job SET call = 'no'` },
  { rule: 'job-call', sql: `UPDATE tool_job SET call = json_remove(call, '$.key')` },
  { rule: 'job-call', sql: `UPDATE tool_job SET call = json_remove(call, '$.session.ceiling')` },
  { rule: 'job-call', sql: `UPDATE tool_job SET call = json_set(call, '$.timeoutMs', 'long')` },
  { rule: 'job-call', sql: `UPDATE tool_job SET id = '' WHERE id = 'ended'` },
  { rule: 'job-result', sql: `UPDATE tool_job SET result = 'no' WHERE id = 'ended'` },
  { rule: 'job-result', sql: `UPDATE tool_job SET result = '{"status":"so"}' WHERE id = 'ended'` },
  { rule: 'job-fields', sql: 'UPDATE tool_job SET starts = 0' },
  { rule: 'job-fields', sql: `UPDATE tool_job SET ended_s = NULL WHERE id = 'ended'` },
  { rule: 'job-fields', sql: `UPDATE tool_job SET ended_s = 1 WHERE id = 'running'` },
  { rule: 'published-fields', sql: 'UPDATE published SET ino = 4', at: { ino: 4 } },
  { rule: 'published-fields', sql: 'UPDATE published SET ino = 99', at: { ino: 99 } },
  { rule: 'published-fields', sql: 'UPDATE published SET seq = 9', at: { ino: 2 } },
  { rule: 'published-fields', sql: `UPDATE published SET cid = x'01'` },
  { rule: 'published-fields', sql: `UPDATE published SET list = x'01'` },
  { rule: 'published-fields', sql: 'UPDATE published SET list = NULL' },
  { rule: 'published-fields', sql: 'UPDATE published SET directories = 0' },
  { rule: 'published-fields', sql: 'UPDATE published SET private = 2' },
  { rule: 'target-fields', sql: `UPDATE sync_target SET target = ''` },
  { rule: 'target-fields', sql: `UPDATE sync_target SET path = x'61'` },
  { rule: 'target-fields', sql: `UPDATE sync_target SET state = 'no'` },
  { rule: 'target-fields', sql: `UPDATE sync_target SET state = 'queued'` },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET pin = 2, attempts = -1' },
  { rule: 'target-fields', sql: `UPDATE sync_target SET sent = 'no'` },
  { rule: 'target-fields', sql: `UPDATE sync_target SET sent = '{}'` },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET held_tree = NULL' },
  { rule: 'target-fields', sql: `UPDATE sync_target SET held_tree = x'01'` },
  { rule: 'target-fields', sql: `UPDATE sync_target SET wanted_tree = x'01', held_tree = x'01'` },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET held_seq = NULL' },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET held_ino = NULL' },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET held_pin = NULL' },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET held_pin = 2' },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET held_seq = 1, wanted_seq = 0' },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET wanted_seq = 1000' },
  { rule: 'target-fields', sql: 'UPDATE sync_target SET wanted_ino = -1' },
  {
    rule: 'mfs-seen-fields',
    sql: `INSERT INTO mfs_seen VALUES (2, x'61', x'01', 4, 1, 0, NULL, 0, 0, '[]')`,
  },
  {
    rule: 'mfs-seen-fields',
    sql: `INSERT INTO mfs_seen VALUES (4, x'61', x'01', 4, 1, 0, NULL, 0, 0, '[]')`,
  },
  { rule: 'mfs-seen-fields', sql: seenOfMfs(`x'61', x'01', 4, 1, 3, NULL, 0, 0, '[]'`) },
  { rule: 'mfs-seen-fields', sql: seenOfMfs(`x'61', NULL, 0, 0, 0, NULL, 0, 0, '[]'`) },
  { rule: 'mfs-seen-fields', sql: seenOfMfs(`x'61', x'01', 4, -2, 0, NULL, 0, 0, '[]'`) },
  { rule: 'mfs-seen-fields', sql: seenOfMfs(`x'61', x'01', 4, 1, 0, NULL, 0, 0, 'no'`) },
  { rule: 'mfs-seen-fields', sql: seenOfMfs(`x'61', x'01', 4, 1, 0, NULL, 0, 0, '[null]'`) },
  { rule: 'mfs-seen-fields', sql: seenOfMfs(`x'', x'01', 4, 1, 0, NULL, 0, 0, '[]'`) },
  { rule: 'mfs-root', sql: `INSERT INTO meta VALUES ('mfs_root', '0155')` },
  { rule: 'mfs-root', sql: `INSERT INTO meta VALUES ('mfs_root', 'no')` },
];

describe('an offence is found against', () => {
  test.each(OFFENCES)('$rule: $sql', ({ rule, sql, at }) => {
    const { journal, path } = openScratch();
    plantTree(journal);
    plantCalls(journal);
    expect(checkJournal(journal)).toEqual([]);
    journal.connection.exec(sql);
    const db = openForCheck(path);
    const found = checkDatabase(db);
    db.close();
    expect(found).toContainEqual(expect.objectContaining({ rule, ...at }));
    expect(checkJournal(journal)).toEqual(found);
  });

  test('every rule there is', () => {
    const rules = INVARIANTS.map(({ name }) => name);
    expect([...new Set(OFFENCES.map(({ rule }) => rule))].sort()).toEqual(rules.sort());
  });
});

test('SCHEMA.md states every rule, with its severity, in the order of repair, and no other query', () => {
  const text = readFileSync(new URL('../../src/journal/SCHEMA.md', import.meta.url), 'utf8');
  const section = text.split('\n## Rules\n')[1]?.split('\n## ')[0] ?? '';
  const stated = [...section.matchAll(/^\| `([\w-]+)` +\| (\w+) +\|/gm)].map(([, ...row]) => row);
  const queries = INVARIANTS.map(({ name, severity }) => [name, severity]);
  const before = [
    ['integrity', 'major'],
    ['readable', 'loss'],
  ];
  const after = [
    ['chain', 'loss'],
    ['bytes-size', 'loss'],
    ['bytes-cid', 'loss'],
    ['bytes-block', 'loss'],
    ['stray-file', 'minor'],
  ];
  expect(stated).toEqual([...before, ...queries, ...after]);
});

test('every rule has a repair', () => {
  expect(Object.keys(MENDS).sort()).toEqual(INVARIANTS.map(({ name }) => name).sort());
});

test('names that are not UTF-8, and trees that hang in the air, have a path to show', () => {
  const { journal } = openScratch();
  plantTree(journal);
  journal.connection.exec(`UPDATE dentry SET name = x'ff' WHERE ino = 2;
    UPDATE dentry SET parent = 50 WHERE ino = 2; UPDATE inode SET nlink = 9 WHERE ino = 4`);
  const found = checkJournal(journal).find(({ rule }) => rule === 'file-links');
  expect(found?.path).toMatch(/^\(inode 50\)\/�\//);
});

test('what hangs below a mount point is shown below it', () => {
  const { journal } = openScratch();
  plantTree(journal);
  journal.connection.exec(`INSERT INTO superblock VALUES (2, 'memory', 'm', '', 6, 1, 0, 0, 0, '{}');
    INSERT INTO mount VALUES (x'2f6d656d', 'm2', 2)`);
  const found = checkJournal(journal).find(({ rule }) => rule === 'superblock-root');
  expect(found).toMatchObject({ ino: 6, path: '/d/empty' });
  journal.connection.exec('DELETE FROM dentry WHERE ino = 6');
  const again = checkJournal(journal).find(({ rule }) => rule === 'superblock-root');
  expect(again).toMatchObject({ ino: 6, path: '/mem' });
});

test('a damaged page is a finding, not an end', () => {
  const { journal } = openScratch();
  plantTree(journal);
  const db = journal.connection;
  db.unsafeMode();
  db.pragma('writable_schema = ON');
  db.exec(`UPDATE sqlite_schema SET rootpage = 9999 WHERE name = 'xattr'`);
  db.pragma('writable_schema = RESET');
  const scopes = checkJournal(journal).map(({ scope }) => scope);
  expect(scopes).toContain('database');
});

test('what is as it should be is no offence: mounts below mounts, pins that say their bytes, orphans', () => {
  const { journal } = openScratch();
  plantTree(journal);
  const nothing = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';
  journal.connection.exec(`INSERT INTO superblock VALUES (2, 'memory', 'm', '', 90, 1, 0, 0, 0, '{}');
    INSERT INTO inode SELECT 90, 1, 2, mode, 0, 0, 2, 4096, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1
      FROM inode WHERE ino = 1;
    INSERT INTO usage VALUES (2, 1, 0);
    INSERT INTO mount VALUES (CAST('/d/m' AS BLOB), 'm2', 2), (CAST('/d/m/n' AS BLOB), 'm3', 2);
    INSERT INTO pin VALUES (x'01550003616263', 'direct', NULL, 0, 0),
      (x'01551220${nothing}', 'direct', NULL, 0, 0)`);
  expect(checkJournal(journal)).toEqual([]);
});

test('a list of findings has an end', () => {
  const { journal } = openScratch();
  journal.connection.exec(`WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)
    INSERT INTO symlink SELECT i + 1000, x'61' FROM n`);
  expect(checkJournal(journal)).toHaveLength(FINDINGS_MAX);
});

test('a check sees one moment of a journal that is being written', () => {
  const { journal, path } = openScratch();
  plantTree(journal);
  const db = openForCheck(path);
  db.exec('BEGIN');
  db.prepare('SELECT count(*) FROM op').get();
  journal.connection.exec('DELETE FROM op');
  expect(db.prepare('SELECT count(*) FROM op').pluck().get()).toBe(4);
  db.exec('COMMIT');
  expect(checkDatabase(db)).not.toEqual([]);
  db.close();
});

test('a check ends when it is told to', () => {
  const { journal } = openScratch();
  plantTree(journal);
  const signal = AbortSignal.abort(new Error('enough'));
  expect(() => checkJournal(journal, { signal })).toThrow('enough');
  expect(checkJournal(journal)).toEqual([]);
});
