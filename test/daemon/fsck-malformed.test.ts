/** fsck of a journal whose file itself is damaged, of one in use, and of a state an earlier version left. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import BetterSqlite3 from 'better-sqlite3';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { loadNative } from '../../src/base/native.ts';
import { fsck } from '../../src/daemon/fsck.ts';
import { openState } from '../../src/daemon/state.ts';
import { Journal } from '../../src/journal/journal.ts';
import { noise } from '../content/fixture.ts';
import { failureOf } from '../sync/fixture.ts';
import { Damaged, keptState, LARGE, type Shown, shownBy } from './kept-state.ts';
import { BYTES, DISK } from './planted-bytes.ts';
import { NAMES } from './planted-names.ts';

const signal = new AbortController().signal;
let kept: string;
let whole: Record<string, Shown>;
beforeAll(async () => {
  kept = await keptState();
  using copy = new Damaged(kept);
  fold(copy);
  whole = shownBy(copy.directory);
});
afterAll(() => rmSync(kept, { recursive: true, force: true }));

const look = ({ directory: state }: Damaged, repair = false) => fsck({ state, repair, signal });

/** All pages lie in the file itself afterwards. */
function fold(state: Damaged): void {
  state.sql('PRAGMA wal_checkpoint(TRUNCATE)');
}

const PAGE_BYTES = 2048;

/** Writes over bytes of a page of a table or index. */
function damage(state: Damaged, name: string, position: number, bytes: Buffer): void {
  fold(state);
  const page = state.number('SELECT rootpage FROM sqlite_schema WHERE name = ?', name);
  const fd = openSync(state.journal, 'r+');
  try {
    writeSync(fd, bytes, 0, bytes.length, (page - 1) * PAGE_BYTES + position);
  } finally {
    closeSync(fd);
  }
}

describe('a journal that SQLite finds malformed', () => {
  test('has its indexes made anew when that is all, and a copy aside', async () => {
    using state = new Damaged(kept);
    damage(state, 'op_path', 8, Buffer.alloc(200));
    const before = readFileSync(state.journal);
    const first = await look(state);
    expect(first.findings.map(({ check }) => check)).toContain('integrity');
    const { findings, aside = '' } = await look(state, true);
    expect(findings[0]).toMatchObject({ check: 'integrity', outcome: 'repaired' });
    expect(findings[0]?.action).toContain('its indexes were made anew');
    expect(readFileSync(aside)).toEqual(before);
    expect((await look(state)).findings).toEqual([]);
    expect(shownBy(state.directory)).toEqual(whole);
  });

  test('is copied row by row when a table is damaged, and what is lost is said', async () => {
    using state = new Damaged(kept);
    damage(state, 'xattr', 0, Buffer.alloc(PAGE_BYTES, 0xff));
    const before = readFileSync(state.journal);
    expect((await look(state)).findings.map(({ check }) => check)).toContain('integrity');
    const { findings, aside = '' } = await look(state, true);
    expect(findings[0]).toMatchObject({
      check: 'integrity',
      severity: 'loss',
      outcome: 'repaired',
    });
    expect(findings[0]?.action).toContain('not all rows of xattr could be read');
    expect(readFileSync(aside)).toEqual(before);
    expect((await look(state)).findings).toEqual([]);
    const shown = shownBy(state.directory);
    for (const [path, { bytes, ino }] of Object.entries(whole)) {
      expect({ path, ...shown[path] }).toMatchObject({ path, bytes, ino });
    }
  });

  test('is left as it is when no row can be read, with its copy', async () => {
    using state = new Damaged(kept);
    fold(state);
    writeFileSync(state.journal, noise(100_000));
    const before = readFileSync(state.journal);
    const refused = await failureOf(look(state));
    expect(refused).toMatchObject({ failure: 'journal-corrupt' });
    expect(refused.hint).toContain('--repair');
    const { findings, counts, aside = '' } = await look(state, true);
    expect(findings).toMatchObject([{ check: 'integrity', severity: 'loss', outcome: 'left' }]);
    expect(counts.left).toBe(1);
    for (const file of [aside, state.journal]) expect(readFileSync(file)).toEqual(before);
  });

  test('keeps every copy that was put aside', async () => {
    using state = new Damaged(kept);
    for (const n of [1, 2]) {
      damage(state, 'op_path', 8, Buffer.alloc(200));
      expect((await look(state, true)).aside).toBe(`${state.journal}.damaged-${n}`);
    }
    expect(existsSync(`${state.journal}.rebuilt`)).toBe(false);
  });
});

test('a state that a daemon uses is not repaired, nor are its files of nobody looked for', async () => {
  using state = new Damaged(kept);
  using _ = openState(state.directory, loadNative());
  expect(await failureOf(look(state, true))).toMatchObject({ failure: 'busy' });
  writeFileSync(`${state.backing(LARGE)}7`, '');
  const stray = DISK.find(({ title }) => title === 'a file of nobody');
  stray?.plant(state);
  expect(await look(state)).toMatchObject({ clean: true, findings: [] });
});

test('a repair that is given up ends with the reason, and lets the state go', async () => {
  using state = new Damaged(kept);
  const given = AbortSignal.abort(new Error('enough'));
  const error = await failureOf(fsck({ state: state.directory, repair: true, signal: given }));
  expect(error.message).toContain('enough');
  expect((await look(state, true)).clean).toBe(true);
});

test('what a repair changes is in the log: who, what, and that it was one run', async () => {
  using state = new Damaged(kept);
  state.sql(`UPDATE inode SET nlink = 7 WHERE ino = ${state.ino(LARGE)};
    DELETE FROM dentry WHERE ino = ${state.ino('/ipfs/other')}`);
  await look(state, true);
  const db = new BetterSqlite3(state.journal, { readonly: true });
  const records = db
    .prepare(`SELECT kind, CAST(path AS TEXT) AS path, surface, tool, before, after, call_group
      FROM op JOIN actor ON actor.id = op.actor WHERE tool = 'fsck' ORDER BY seq`)
    .all() as Record<string, string>[];
  db.close();
  const by = { surface: 'cli', tool: 'fsck' };
  expect(records).toMatchObject([
    { ...by, kind: 'repair', path: LARGE, before: '{"nlink":7}' },
    { ...by, kind: 'mkdir', path: '/ipfs/lost+found' },
    { ...by, kind: 'repair', path: expect.stringMatching(/^\/ipfs\/lost\+found\/#\d+-other$/) },
  ]);
  expect(JSON.parse(records[0]?.['after'] ?? '')).toEqual({ check: 'file-links', nlink: 1 });
  expect(new Set(records.map(({ call_group: group }) => group)).size).toBe(1);
});

test('many corruptions at once are put in order together', async () => {
  using state = new Damaged(kept);
  const titles = [
    'a counter below a number in use',
    'a directory without a name',
    'an entry that names nothing',
    'attributes of nobody',
    'a wrong sum of what a tree holds',
    'a bit of a large file that turned',
    'a slot of nobody',
    'content of nobody',
  ];
  for (const { title, plant } of [...NAMES, ...BYTES, ...DISK]) {
    if (titles.includes(title)) plant(state);
  }
  const { findings, counts } = await look(state, true);
  expect(findings.length).toBeGreaterThanOrEqual(titles.length);
  expect(counts.quarantined).toBeGreaterThanOrEqual(5);
  expect((await look(state)).findings.map(({ check }) => check)).toEqual(['content-lost']);
  expect(shownBy(state.directory)[LARGE]?.bytes).toBe('EIO');
});

describe('the state that the foundation left when it was killed', () => {
  const archive = fileURLToPath(new URL('../states/foundation.tar.gz', import.meta.url));

  function unpacked(): string {
    const directory = mkdtempSync(join(tmpdir(), 'kitfs-foundation-'));
    execFileSync('tar', ['xzf', archive, '-C', directory, '--no-same-owner']);
    return directory;
  }

  test('is in order, and a repair leaves all its bytes', async () => {
    const [state, other] = [unpacked(), unpacked()];
    try {
      const { findings } = await fsck({ state, repair: true, signal });
      expect(findings).toEqual([]);
      expect(shownBy(state)).toEqual(shownBy(other));
      expect((await fsck({ state, signal })).findings).toEqual([]);
    } finally {
      for (const one of [state, other]) rmSync(one, { recursive: true });
    }
  });

  test('once damaged, is put in order, and nothing else changes', async () => {
    const [state, other] = [unpacked(), unpacked()];
    try {
      const then = shownBy(other);
      new Journal({ path: join(state, 'journal.db'), clock: new SystemClock() }).close();
      const db = new BetterSqlite3(join(state, 'journal.db'));
      db.exec(`UPDATE inode SET nlink = nlink + 5 WHERE nlink > 0; UPDATE content SET refs = refs + 1;
        DELETE FROM usage; DELETE FROM meta WHERE key LIKE 'next_%'`);
      db.close();
      const { counts } = await fsck({ state, repair: true, signal });
      expect(counts.repaired).toBeGreaterThan(100);
      expect(counts.left).toBe(0);
      expect((await fsck({ state, signal })).findings).toEqual([]);
      const now = shownBy(state);
      for (const [path, shown] of Object.entries(then)) {
        expect({ path, ...now[path] }).toEqual({ path, ...shown });
      }
    } finally {
      for (const one of [state, other]) rmSync(one, { recursive: true });
    }
  });
});
