/** fsck --repair: each planted corruption is named, put in order, and costs nothing else its bytes. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  linkSync,
  mkdirSync,
  renameSync,
  rmdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { keeperProgram, loadNative } from '../../src/base/native.ts';
import { fsck } from '../../src/daemon/fsck.ts';
import { recordKeeper } from '../../src/daemon/keeper-process.ts';
import { Journal } from '../../src/journal/journal.ts';
import { JournaledJobs } from '../../src/tools/kept-jobs.ts';
import { JournaledCalls } from '../../src/tools/repeats.ts';
import { noise } from '../content/fixture.ts';
import { CALL } from '../journal/calls.ts';
import { System } from '../power/system.ts';
import { Damaged, keptState, LARGE, type Shown, shownBy } from './kept-state.ts';
import type { Corruption } from './planted.ts';
import { BYTES, DISK } from './planted-bytes.ts';
import { CALLS } from './planted-calls.ts';
import { NAMES } from './planted-names.ts';

const signal = new AbortController().signal;
const LOST_FOUND = '/ipfs/lost+found';

let kept: string;
let whole: Record<string, Shown>;
beforeAll(async () => {
  kept = await keptState();
  using copy = new Damaged(kept);
  whole = shownBy(copy.directory);
});
afterAll(() => rmSync(kept, { recursive: true, force: true }));

const look = ({ directory: state }: Damaged, repair = false) => fsck({ state, repair, signal });
const checksOf = (findings: readonly { check: string }[]) =>
  [...new Set(findings.map(({ check }) => check))].sort();

/** Without what a repair elsewhere may change: the links of a directory that lost or won one. */
const bytesAlone = ({ ino, mode, bytes, xattrs }: Shown) => ({ ino, mode, bytes, xattrs });

test('the kept state is in order, and a repair of it changes nothing', async () => {
  using state = new Damaged(kept);
  expect((await look(state)).findings).toEqual([]);
  expect(await look(state, true)).toMatchObject({ clean: true, findings: [] });
  expect(shownBy(state.directory)).toEqual(whole);
});

test('what a keeper is about to start a daemon for is not repaired', async () => {
  using state = new Damaged(kept);
  const socket = join(state.directory, 'keeper.sock');
  const keeper = spawn(keeperProgram(), ['--listen', socket], { stdio: 'ignore' });
  try {
    await once(keeper, 'spawn');
    recordKeeper(join(state.directory, 'keeper.json'), keeper.pid ?? 0, '/srv/tree');
    await expect(look(state, true)).rejects.toMatchObject({ failure: 'busy' });
    // A check alone disturbs nobody.
    expect((await look(state)).findings).toEqual([]);
  } finally {
    keeper.kill('SIGKILL');
    await once(keeper, 'exit');
  }
  expect(await look(state, true)).toMatchObject({ clean: true });
});

test('bytes that a loss of power may have taken are left to the next start', async () => {
  using state = new Damaged(kept);
  truncateSync(state.backing(LARGE), 1000);
  state.sql(`INSERT OR REPLACE INTO meta VALUES ('boot_id', 'of before')`);
  const { findings } = await look(state, true);
  expect(findings).toMatchObject([{ check: 'bytes-size', outcome: 'left' }]);
  expect(findings[0]?.action).toContain('start kitfs');
  expect(shownBy(state.directory)).not.toHaveProperty([LOST_FOUND]);
});

test('what a repair found stays there when the power is lost next', async () => {
  using state = new Damaged(kept);
  const slots = join(state.directory, 'content', 'slots');
  mkdirSync(slots, { recursive: true });
  // As a daemon leaves it that was killed while somebody wrote content 900.
  writeFileSync(join(slots, '44'), noise(70_000, 4));
  loadNative().setXattr(join(slots, '44'), 'user.kitfs.content', Buffer.from('900'));
  truncateSync(state.backing(LARGE), 100_000);
  await look(state, true);
  state.sql(`INSERT OR REPLACE INTO meta VALUES ('boot_id', 'the boot of the repair')`);
  const system = new System(state.directory, 'the next boot');
  await system.settleDoubt();
  await system.close();
  expect(system.log.told).toEqual([]);
  const shown = shownBy(state.directory);
  const sizes = namesFound(shown).map((name) => shown[`${LOST_FOUND}/${name}`]?.size);
  expect(sizes.sort()).toEqual([100_000, 70_000]);
  expect((await look(state)).counts.left).toBe(1);
});

test('a repair of a state whose content is elsewhere changes nothing, and says so', async () => {
  using state = new Damaged(kept);
  const content = join(state.directory, 'content');
  const away = join(state.directory, 'away');
  renameSync(content, away);
  const refused = { failure: 'not-found', hint: expect.stringContaining('is its disk mounted') };
  await expect(look(state, true)).rejects.toMatchObject(refused);
  // As a disk that is not mounted looks.
  mkdirSync(join(content, 'lost+found'), { recursive: true });
  await expect(look(state, true)).rejects.toMatchObject(refused);
  rmdirSync(join(content, 'lost+found'));
  rmdirSync(content);
  renameSync(away, content);
  expect((await look(state)).findings).toEqual([]);
  expect(shownBy(state.directory)).toEqual(whole);
});

test('a repair that is cut off behind its commit is ended by the next one', async () => {
  using state = new Damaged(kept);
  const backing = state.backing(LARGE);
  truncateSync(backing, 100_000);
  await look(state, true);
  const [found = ''] = namesFound(shownBy(state.directory));
  // As it is left when the old name is not taken away any more.
  linkSync(state.backing(`${LOST_FOUND}/${found}`), backing);
  expect((await look(state, true)).counts.left).toBe(1);
  const shown = shownBy(state.directory);
  expect(shown[LARGE]).toEqual({ ...whole[LARGE], bytes: 'EIO' });
  expect(shown[`${LOST_FOUND}/${found}`]).toMatchObject({ size: 100_000 });
});

test('a file whose owner a repair makes up does not run as that one', async () => {
  for (const change of ['uid = -1', 'gid = 4294967296']) {
    using state = new Damaged(kept);
    // S_IFREG with both bits of set-id.
    state.sql(`UPDATE inode SET mode = 36333, ${change} WHERE ino = ${state.ino(LARGE)}`);
    await look(state, true);
    expect(shownBy(state.directory)[LARGE]).toMatchObject({ mode: '100755' });
  }
  using state = new Damaged(kept);
  state.sql(`UPDATE inode SET mode = 36333, mtime_ns = -1 WHERE ino = ${state.ino(LARGE)}`);
  await look(state, true);
  expect(shownBy(state.directory)[LARGE]).toMatchObject({ mode: '106755' });
});

describe.each([...NAMES, ...BYTES, ...DISK, ...CALLS])('$title', (corruption) => {
  test('is found, is put in order, and the rest is as it was', () => repairOf(corruption));
});

async function repairOf(corruption: Corruption): Promise<void> {
  const { check, plant, outcome, touched = [], lost = [], found = [], left = [] } = corruption;
  using state = new Damaged(kept);
  plant(state);
  const first = await look(state);
  expect(checksOf(first.findings)).toContain(check);
  expect(first.counts.left).toBe(first.findings.length);
  const mended = await look(state, true);
  const outcomes = mended.findings.filter((one) => one.check === check).map((one) => one.outcome);
  expect(outcomes, JSON.stringify(mended.findings, undefined, 1)).toContain(outcome);
  expect(checksOf((await look(state)).findings)).toEqual(left);
  const shown = shownBy(state.directory);
  for (const path of Object.keys(whole)) {
    if (touched.includes(path)) continue;
    const [now, then] = [shown[path], whole[path]];
    if (now === undefined || then === undefined) throw new Error(`${path} is gone`);
    if (lost.includes(path)) expect(now).toEqual({ ...then, bytes: 'EIO' });
    else expect({ path, ...bytesAlone(now) }).toEqual({ path, ...bytesAlone(then) });
  }
  const digests = new Set(Object.values(shown).map(({ bytes }) => bytes));
  for (const path of touched) {
    // Of a link whose target was lost nothing else is left.
    if (whole[path]?.bytes !== 'packed') expect(digests).toContain(whole[path]?.bytes);
  }
  expect(namesFound(shown)).toEqual(found.map(() => expect.any(String)));
  for (const [index, name] of found.entries()) {
    const pattern = name
      .replace('+', '\\+')
      .replace('INO', '\\d+')
      .replace(/CONTENT|\*/, '\\d+');
    expect(namesFound(shown)[index]).toMatch(new RegExp(`^${pattern}$`));
  }
  if (found.length > 0) expect(shown[LOST_FOUND]).toMatchObject({ mode: '40700' });
}

const namesFound = (shown: Record<string, Shown>): string[] =>
  Object.keys(shown)
    .filter((path) => path.startsWith(`${LOST_FOUND}/`))
    .map((path) => path.slice(LOST_FOUND.length + 1))
    .filter((name) => !name.includes('/'));

test('a call whose answer is lost was done: whoever sends it again is told so, and it is not run twice', async () => {
  using state = new Damaged(kept);
  state.sql(`UPDATE tool_call SET answer = '{'`);
  await look(state, true);
  const journal = new Journal({ path: state.journal, clock: new SystemClock() });
  try {
    const { principal } = CALL.session;
    const find = () => new JournaledCalls(journal).find(principal, CALL.key);
    expect(find).toThrow(expect.objectContaining({ failure: 'journal-corrupt' }));
  } finally {
    journal.close();
  }
  const [name = ''] = namesFound(shownBy(state.directory));
  expect(shownBy(state.directory)[`${LOST_FOUND}/${name}`]).toMatchObject({ size: 1 });
});

test('a job whose result is lost goes on, and one whose call is lost does not', async () => {
  using state = new Damaged(kept);
  state.sql(`UPDATE tool_job SET result = '{' WHERE id = 'ended';
    UPDATE tool_job SET call = '{' WHERE id = 'running'`);
  await look(state, true);
  const journal = new Journal({ path: state.journal, clock: new SystemClock() });
  try {
    const known = new JournaledJobs(journal).all(() => {});
    expect(known).toEqual([{ id: 'ended', call: CALL, starts: 1, end: undefined }]);
  } finally {
    journal.close();
  }
});
