/** fsck --repair: each planted corruption is named, put in order, and costs nothing else its bytes. */
import { rmSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { fsck } from '../../src/daemon/fsck.ts';
import { Damaged, keptState, type Shown, shownBy } from './kept-state.ts';
import type { Corruption } from './planted.ts';
import { BYTES, DISK } from './planted-bytes.ts';
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

describe.each([...NAMES, ...BYTES, ...DISK])('$title', (corruption) => {
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
