/** Laws of letting go. */
import { describe, expect, test } from 'vitest';
import { type ContentId, type Fh, type Ino, NO_CONTENT } from '../../src/base/ids.ts';
import {
  checkJournal,
  History,
  type Journal,
  Retention,
  type RetentionPolicy,
} from '../../src/journal/journal.ts';
import { content, entry, name, openScratch, root } from './scratch.ts';

const KEEP_ALL: RetentionPolicy = {
  keepS: Number.MAX_SAFE_INTEGER,
  recordsMax: Number.MAX_SAFE_INTEGER,
  oldBytesMax: Number.MAX_SAFE_INTEGER,
};

/** Groups of three records. */
function plant(journal: Journal, groups: number): void {
  const actor = root(journal);
  // Records speak of inodes, whose numbers were given out.
  journal.commit(() => journal.counters.next('ino'));
  for (let group = 0; group < groups; group++) {
    journal.commit((tx) => {
      for (let index = 0; index < 3; index++) tx.record(entry(actor, '/a'));
    });
  }
}

/** All steps; the ids discarded, in order, and the number of steps. */
function retain(journal: Journal, policy: Partial<RetentionPolicy>) {
  const discarded: number[] = [];
  const discard = (id: ContentId) => {
    discarded.push(id);
    journal.contents.delete(id);
  };
  const retention = new Retention({ journal, policy: { ...KEEP_ALL, ...policy }, discard });
  let steps = 1;
  while (retention.step()) steps += 1;
  return { discarded, steps };
}

const seqs = (journal: Journal) => journal.ops.page(0, 10_000).map(({ seq }) => seq);

describe('records', () => {
  test('are all kept when nothing is old or too many', () => {
    const { journal } = openScratch();
    plant(journal, 4);
    expect(retain(journal, {}).steps).toBe(1);
    expect(seqs(journal)).toHaveLength(12);
  });

  test('older than the limit go in whole groups, and the rest stays verifiable', async () => {
    const scratched = openScratch();
    plant(scratched.journal, 2);
    await scratched.clock.turn(100_000);
    plant(scratched.journal, 2);
    retain(scratched.journal, { keepS: 50 });
    expect(seqs(scratched.journal)).toEqual([7, 8, 9, 10, 11, 12]);
    const again = scratched.reopen();
    expect(checkJournal(again)).toEqual([]);
    plant(again, 1);
    expect(checkJournal(again)).toEqual([]);
    const history = new History(again);
    const filter = { path: name('/a'), recursive: false, follow: false, limit: 99 } as const;
    const { records, oldestSeq } = history.query({ ...filter, order: 'asc' });
    expect(oldestSeq).toBe(7);
    history.verify(records);
  });

  test('beyond the number go, but never a part of a group', () => {
    const { journal } = openScratch();
    plant(journal, 4);
    retain(journal, { recordsMax: 7 });
    expect(seqs(journal)).toEqual([7, 8, 9, 10, 11, 12]);
    retain(journal, { recordsMax: 6 });
    expect(seqs(journal)).toHaveLength(6);
  });

  test('of the newest group stay, whatever the limits', async () => {
    const scratched = openScratch();
    plant(scratched.journal, 3);
    const { head } = scratched.journal;
    await scratched.clock.turn(1_000_000);
    retain(scratched.journal, { keepS: 1, recordsMax: 0 });
    expect(seqs(scratched.journal)).toEqual([7, 8, 9]);
    expect(scratched.reopen().head).toEqual(head);
    expect(checkJournal(scratched.journal)).toEqual([]);
  });

  test('go in bounded steps', () => {
    const { journal } = openScratch();
    plant(journal, 1001);
    expect(retain(journal, { recordsMax: 3 }).steps).toBe(3);
    expect(seqs(journal)).toHaveLength(3);
    expect(checkJournal(journal)).toEqual([]);
  });

  test('that are gone are missed when the cut is moved', () => {
    const { journal } = openScratch();
    plant(journal, 4);
    retain(journal, { recordsMax: 6 });
    journal.connection.exec(`DELETE FROM meta WHERE key = 'retained_from'`);
    expect(checkJournal(journal)[0]).toMatchObject({ rule: 'chain', seq: 1 });
  });
});

describe('history that is gone', () => {
  const filter = {
    path: name('/'),
    recursive: true,
    follow: false,
    order: 'asc',
    limit: 10,
  } as const;

  test('is an error only when what was asked lies before the oldest record kept', async () => {
    const { journal, clock } = openScratch();
    const start = clock.now();
    plant(journal, 2);
    await clock.turn(10_000);
    plant(journal, 1);
    const end = clock.now();
    const history = new History(journal);
    const gone = expect.objectContaining({
      failure: 'history-not-retained',
      details: { oldest_seq: 7 },
    });
    expect(history.query({ ...filter, until: { s: 0, ns: 0 } }).records).toEqual([]);
    retain(journal, { recordsMax: 3 });
    expect(() => history.query({ ...filter, untilSeq: 6 })).toThrow(gone);
    expect(() => history.query({ ...filter, until: start })).toThrow(gone);
    expect(() => history.query({ ...filter, sinceSeq: 6 })).toThrow(gone);
    for (const bounds of [{}, { sinceSeq: 0 }, { untilSeq: 7 }, { until: end }, { since: start }]) {
      expect(history.query({ ...filter, ...bounds }).oldestSeq).toBe(7);
    }
    expect(history.query({ ...filter, sinceSeq: 7, untilSeq: 8 }).records).toHaveLength(2);
  });
});

describe('old bytes', () => {
  /** Ids from 1, released in this order, a second apart. */
  async function plantContents(count: number) {
    const scratched = openScratch();
    const { journal, clock } = scratched;
    for (let index = 0; index < count; index++) {
      const { s } = clock.now();
      journal.commit(() => {
        const id = journal.contents.nextId();
        journal.contents.insert(content(id, 10, { released_s: s, place: 'file' }));
      });
      await clock.turn(1000);
    }
    return scratched;
  }

  test('go when they were released too long ago', async () => {
    const { journal } = await plantContents(5);
    expect(retain(journal, { keepS: 3 }).discarded).toEqual([1, 2]);
    expect(retain(journal, { keepS: 3 }).discarded).toEqual([]);
  });

  test('go, oldest first, when they are too many', async () => {
    const { journal } = await plantContents(5);
    expect(retain(journal, { oldBytesMax: 25 }).discarded).toEqual([1, 2, 3]);
    expect(journal.contents.releasedBytes()).toBe(20);
  });

  test('go in bounded steps', async () => {
    const { journal } = await plantContents(250);
    const { discarded, steps } = retain(journal, { oldBytesMax: 0 });
    expect(discarded).toHaveLength(250);
    expect(steps).toBe(3);
  });

  test('stay while anything but history wants them', async () => {
    const { journal, clock } = await plantContents(1);
    const actor = root(journal);
    journal.commit(() => {
      const { s } = clock.now();
      const row = (id: number, more: object) =>
        journal.contents.insert(content(id as ContentId, 10, { place: 'file', ...more }));
      row(101, { refs: 1 });
      row(102, { held: 1 });
      row(103, {});
      row(104, { released_s: s });
      const session = {
        ...{ ino: 1 as Ino, actor, path: name('/a'), begunS: s, begunNs: 0, before: {} },
        fh: 1 as Fh,
      };
      journal.sessions.insert({ ...session, oldContent: 104 as ContentId, oldSize: 10 });
      journal.sessions.insert({ ...session, oldContent: NO_CONTENT, oldSize: 0 });
    });
    await clock.turn(1_000_000);
    expect(retain(journal, { keepS: 1, oldBytesMax: 0 }).discarded).toEqual([1]);
    for (const { id } of journal.sessions.all()) journal.commit(() => journal.sessions.delete(id));
    expect(retain(journal, { keepS: 1, oldBytesMax: 0 }).discarded).toEqual([104]);
  });

  test('of what is elsewhere free nothing here, and go by age alone', async () => {
    const { journal, clock } = openScratch();
    const planted = (id: number, more: object) => {
      const { s } = clock.now();
      const row = content(id as ContentId, 10, { released_s: s, place: 'file', ...more });
      journal.commit(() => journal.contents.insert(row));
    };
    const remote = { state: 'remote', cid: Buffer.from('cid'), profile: 'foreign' };
    planted(1, remote);
    await clock.turn(1000);
    for (const id of [2, 3]) planted(id, {});
    expect(retain(journal, { oldBytesMax: 15 }).discarded).toEqual([2]);
    const gone: number[] = [];
    const discard = (id: ContentId) => {
      gone.push(id);
      journal.contents.delete(id);
    };
    const retention = new Retention({ journal, policy: KEEP_ALL, discard });
    expect(retention.giveWay()).toBe(true);
    expect(retention.giveWay()).toBe(false);
    expect(gone).toEqual([3]);
    await clock.turn(10_000);
    expect(retain(journal, { keepS: 5 }).discarded).toEqual([1]);
  });

  test('stay when discarding them fails, and so do the records', async () => {
    const { journal } = await plantContents(1);
    plant(journal, 3);
    const discard = () => {
      throw new Error('disk');
    };
    const policy = { ...KEEP_ALL, recordsMax: 0, oldBytesMax: 0 };
    expect(() => new Retention({ journal, policy, discard }).step()).toThrow();
    expect(seqs(journal)).toHaveLength(9);
    expect(journal.contents.get(1 as ContentId)).toBeDefined();
  });
});
