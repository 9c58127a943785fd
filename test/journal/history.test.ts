/** Laws of asking what was done. */
import { describe, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import { History, type HistoryFilter, type Journal } from '../../src/journal/journal.ts';
import { entry, name, openScratch, root } from './scratch.ts';

const FILTER: HistoryFilter = {
  path: name('/'),
  recursive: true,
  follow: false,
  order: 'asc',
  limit: 1000,
};

/** One group each; records get numbers from 1 in this order. */
const PATHS = ['/a', '/a/x', '/a/x/y', '/ab', '/a0', '/b'] as const;

function plant(journal: Journal): void {
  const actor = root(journal);
  PATHS.forEach((path, index) => {
    journal.commit((tx) => tx.record(entry(actor, path, { ino: (10 + index) as Ino })));
  });
  journal.commit((tx) => {
    const oldPath = name('/a/x/y');
    tx.record(entry(actor, '/c', { kind: 'rename', ino: 12 as Ino, oldPath }));
  });
  journal.commit((tx) => tx.record(entry(actor, '/c', { kind: 'chmod', ino: 12 as Ino })));
}

const seqs = (journal: Journal, filter: Partial<HistoryFilter>): number[] =>
  new History(journal).query({ ...FILTER, ...filter }).records.map(({ row }) => row.seq);

/** All records, page by page. */
function paged(journal: Journal, filter: Partial<HistoryFilter>): number[] {
  const history = new History(journal);
  const found: number[] = [];
  for (let afterSeq: number | undefined; ; ) {
    const page = history.query({ ...FILTER, ...filter, afterSeq });
    found.push(...page.records.map(({ row }) => row.seq));
    if (page.nextAfterSeq === undefined) return found;
    afterSeq = page.nextAfterSeq;
  }
}

describe('the history of a path', () => {
  const cases: readonly [string, Partial<HistoryFilter>, readonly number[]][] = [
    ['is all of it at the root', {}, [1, 2, 3, 4, 5, 6, 7, 8]],
    ['is its own records alone', { path: name('/a'), recursive: false }, [1]],
    ['ends at a slash, not at a prefix', { path: name('/a') }, [1, 2, 3, 7]],
    ['holds records that came from it', { path: name('/a/x/y'), recursive: false }, [3, 7]],
    ['holds records that came from below it', { path: name('/a/x') }, [2, 3, 7]],
    [
      'follows its inode back',
      { path: name('/c'), recursive: false, ino: 12 as Ino, follow: true },
      [3, 7, 8],
    ],
    [
      'is not that of its inode unless asked',
      { path: name('/c'), recursive: false, ino: 12 as Ino },
      [7, 8],
    ],
    ['is empty where nothing ever was', { path: name('/none') }, []],
    ['is that of the kinds asked for', { operations: ['rename', 'chmod'] }, [7, 8]],
    ['is that of the numbers asked for', { sinceSeq: 2, untilSeq: 4 }, [2, 3, 4]],
    ['is newest first when asked', { order: 'desc', path: name('/a') }, [7, 3, 2, 1]],
    ['of the root alone is not everything', { recursive: false }, []],
  ];
  test.each(cases)('%s', (_, filter, expected) => {
    const { journal } = openScratch();
    plant(journal);
    expect(seqs(journal, filter)).toEqual(expected);
  });
});

test('records are found by who did them', () => {
  const { journal } = openScratch();
  const agent = journal.commit(() =>
    journal.actors.intern({
      surface: 'mcp',
      uid: 1,
      gid: 1,
      session: 's1',
      tool: 'vfs_write',
      client: 'c',
    }),
  );
  const program = root(journal);
  for (const actor of [agent, program]) {
    journal.commit((tx) => tx.record(entry(actor, '/a')));
  }
  expect(seqs(journal, { surface: 'mcp' })).toEqual([1]);
  expect(seqs(journal, { sessionId: 's1' })).toEqual([1]);
  expect(seqs(journal, { sessionId: 's2' })).toEqual([]);
  expect(seqs(journal, { pid: 1 })).toEqual([2]);
  expect(seqs(journal, { pid: 1, surface: 'mcp' })).toEqual([]);
  const [record] = new History(journal).query(FILTER).records;
  expect(record?.actor).toMatchObject({ surface: 'mcp', tool: 'vfs_write', client: 'c' });
});

test('records are found by when they were made, bounds included', async () => {
  const { journal, clock } = openScratch();
  const actor = root(journal);
  const times = [];
  for (let index = 0; index < 3; index++) {
    times.push(clock.now());
    journal.commit((tx) => tx.record(entry(actor, '/a')));
    await clock.turn(500);
  }
  expect(seqs(journal, { since: times[1] })).toEqual([2, 3]);
  expect(seqs(journal, { until: times[1] })).toEqual([1, 2]);
  expect(seqs(journal, { since: times[1], until: times[1] })).toEqual([2]);
});

test('a record carries the hash before its group and the group’s own', () => {
  const { journal } = openScratch();
  const actor = root(journal);
  const heads = [journal.head.hash];
  for (const path of ['/a', '/b']) {
    journal.commit((tx) => {
      tx.record(entry(actor, path));
      tx.record(entry(actor, path));
    });
    heads.push(journal.head.hash);
  }
  const { records, head, oldestSeq } = new History(journal).query(FILTER);
  const [before, first, second] = heads;
  expect(records.map(({ prevHash }) => prevHash)).toEqual([before, before, first, first]);
  expect(records.map(({ hash }) => hash)).toEqual([first, first, second, second]);
  expect(head).toEqual({ seq: 4, hash: second });
  expect(oldestSeq).toBe(1);
});

test('the newest record of an inode is the last one with its number', () => {
  const { journal } = openScratch();
  plant(journal);
  const history = new History(journal);
  expect(history.last(12 as Ino)?.row).toMatchObject({ seq: 8, kind: 'chmod' });
  expect(history.last(99 as Ino)).toBeUndefined();
});

describe('pages', () => {
  test.each(['asc', 'desc'] as const)('hold each record once, %s', (order) => {
    const { journal } = openScratch();
    plant(journal);
    const all = [1, 2, 3, 4, 5, 6, 7, 8];
    const expected = order === 'asc' ? all : all.reverse();
    for (const limit of [1, 3, 7, 8]) {
      expect(paged(journal, { order, limit })).toEqual(expected);
      expect(paged(journal, { order, limit, path: name('/a') })).toEqual(
        expected.filter((seq) => [1, 2, 3, 7].includes(seq)),
      );
    }
  });

  test('hold each record once while others are written', () => {
    const { journal } = openScratch();
    plant(journal);
    const history = new History(journal);
    const first = history.query({ ...FILTER, order: 'desc', limit: 4 });
    plant(journal);
    const rest = history.query({
      ...FILTER,
      order: 'desc',
      limit: 99,
      afterSeq: first.nextAfterSeq,
    });
    expect(rest.records.map(({ row }) => row.seq)).toEqual([4, 3, 2, 1]);
  });

  test.each(['asc', 'desc'] as const)('of a long history look at a part at a time, %s', (order) => {
    const { journal } = openScratch();
    const actor = root(journal);
    const total = 50_000;
    const rare = [1, 20_001, 49_999];
    journal.commit((tx) => {
      for (let seq = 1; seq <= total; seq++) {
        const kind = rare.includes(seq) ? 'chmod' : 'create';
        tx.record(entry(actor, '/many/a', { kind, ino: 5 as Ino }));
      }
    });
    const expected = order === 'asc' ? rare : [...rare].reverse();
    const asked = { order, operations: ['chmod'], limit: 2 } as const;
    expect(paged(journal, asked)).toEqual(expected);
    // The same through a place whose index holds more than is sorted for one page.
    const many = { ...asked, path: name('/many'), ino: 5 as Ino, follow: true };
    expect(paged(journal, many)).toEqual(expected);
    const [page] = [new History(journal).query({ ...FILTER, ...asked })];
    expect(page?.nextAfterSeq).toBe(order === 'asc' ? 20_000 : 30_001);
  });

  test('of an empty journal are empty', () => {
    const { journal } = openScratch();
    const page = new History(journal).query(FILTER);
    expect(page).toMatchObject({ records: [], nextAfterSeq: undefined, oldestSeq: 0 });
  });
});
