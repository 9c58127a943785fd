/** A journal that is older than the content beside it: a backup that was put back. */
import { copyFileSync, existsSync, linkSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { loadNative } from '../../src/base/native.ts';
import { ContentStore } from '../../src/content/content.ts';
import { removeLeftovers } from '../../src/daemon/background.ts';
import { fsck } from '../../src/daemon/fsck.ts';
import { JournalSync } from '../../src/daemon/stable.ts';
import { Witness } from '../../src/daemon/witness.ts';
import { Journal } from '../../src/journal/journal.ts';
import { noise } from '../content/fixture.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Damaged, keptState, shownBy } from './kept-state.ts';

const signal = new AbortController().signal;

let kept: string;
beforeAll(async () => {
  kept = await keptState();
});
afterAll(() => rmSync(kept, { recursive: true, force: true }));

interface Life {
  readonly contents: ContentStore;
  readonly journal: Journal;
  readonly isJournalBehind: boolean;
  /** A large file's content, which only its row tells of. */
  make(seed: number): string;
}

/** What a daemon does with content from its start to its end; a kill leaves no word at the end. */
async function live(
  { directory }: Damaged,
  body: (life: Life) => void,
  end: 'stopped' | 'killed' = 'stopped',
): Promise<boolean> {
  const clock = new SystemClock();
  const native = loadNative();
  const journal = new Journal({ path: join(directory, 'journal.db'), clock });
  const content = join(directory, 'content');
  const witness = new Witness(journal, content);
  const isJournalBehind = witness.examine();
  const memoryDirectory = join(directory, 'memory');
  const contents = new ContentStore({
    ...{ journal, native, clock, memoryDirectory },
    directory: content,
  });
  const journalSync = new JournalSync({ journal, native });
  try {
    contents.recoverOpen();
    const log = new RememberedLog();
    await removeLeftovers({ contents, journalSync, isJournalBehind, log }, signal);
    const make = (seed: number) => {
      const known = { cid: null, profile: null };
      const id = journal.commit(() => contents.add(noise(90_000, seed), known));
      return contents.backingPath(id) ?? '';
    };
    body({ contents, journal, isJournalBehind, make });
    if (end === 'stopped') await witness.note(journalSync);
    return isJournalBehind;
  } finally {
    contents.close();
    journal.close();
  }
}

/** Keeps the journal as it is, and answers what puts it back. */
function backup({ journal }: Damaged): () => void {
  copyFileSync(journal, `${journal}.old`);
  return () => {
    for (const name of ['-wal', '-shm']) rmSync(`${journal}${name}`, { force: true });
    copyFileSync(`${journal}.old`, journal);
  };
}

const nothing = (): void => {};

test('files that an older journal does not tell of survive starts, and a repair finds them', async () => {
  using state = new Damaged(kept);
  await live(state, nothing);
  const restore = backup(state);
  const paths: string[] = [];
  await live(state, ({ make }) => {
    for (let seed = 1; seed <= 3; seed++) paths.push(make(seed));
  });
  restore();
  // Also a second one, and one behind which the journal is longer than the lost one was.
  const made: string[] = [];
  for (let start = 0; start < 3; start++) {
    const isBehind = await live(state, ({ make }) => {
      for (let seed = 11; seed < 16; seed++) made.push(make(seed));
    });
    expect(isBehind).toBe(true);
  }
  expect(paths.filter((path) => made.includes(path))).toEqual([]);
  expect(paths.map((path) => readFileSync(path))).toEqual([1, 2, 3].map((n) => noise(90_000, n)));
  const report = await fsck({ state: state.directory, repair: true, signal });
  expect(report.findings.map(({ check, outcome }) => [check, outcome])).toEqual(
    paths.map(() => ['stray-file', 'quarantined']),
  );
  const found = Object.keys(shownBy(state.directory)).filter((path) =>
    path.includes('lost+found/'),
  );
  expect(found).toHaveLength(paths.length);
  expect(await live(state, nothing)).toBe(false);
});

test('a journal that is gone costs no content either, whether or not there is a witness', async () => {
  for (const isNoted of [true, false]) {
    using state = new Damaged(kept);
    if (isNoted) await live(state, nothing);
    const path = state.backing('/ipfs/docs/large');
    for (const name of ['', '-wal', '-shm']) rmSync(`${state.journal}${name}`, { force: true });
    expect(await live(state, nothing)).toBe(true);
    expect(existsSync(path)).toBe(true);
  }
});

test('what a kill leaves behind is removed, and nothing is kept for a repair', async () => {
  using state = new Damaged(kept);
  let [gone, uncommitted] = ['', ''];
  await live(
    state,
    ({ make, contents, journal }) => {
      gone = make(1);
      const id = Number(gone.split('/').at(-1)) as never;
      // A kill comes between the commit and the unlink, and between a file and its row.
      copyFileSync(gone, `${gone}.kept`);
      journal.commit(() => contents.discard(id));
      copyFileSync(`${gone}.kept`, gone);
      rmSync(`${gone}.kept`);
      uncommitted = state.backingOf(Number(id) + 1);
      mkdirSync(dirname(uncommitted), { recursive: true });
      copyFileSync(gone, uncommitted);
    },
    'killed',
  );
  expect(await live(state, nothing)).toBe(false);
  expect([gone, uncommitted].filter((path) => existsSync(path))).toEqual([]);
});

test('a file with two names, neither of which a row knows, is found as one', async () => {
  using state = new Damaged(kept);
  const slots = join(state.directory, 'content', 'slots');
  mkdirSync(slots, { recursive: true });
  const named = state.backingOf(910);
  mkdirSync(dirname(named), { recursive: true });
  copyFileSync(state.backing('/ipfs/docs/large'), named);
  linkSync(named, join(slots, '44'));
  const report = await fsck({ state: state.directory, repair: true, signal });
  expect(report.findings).toMatchObject([{ check: 'stray-file', outcome: 'quarantined' }]);
  expect([named, join(slots, '44')].filter((path) => existsSync(path))).toEqual([]);
});
