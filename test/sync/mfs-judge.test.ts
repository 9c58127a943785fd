/** Which side changed a name of a tree of MFS, by what both had last. */
import { describe, expect, test } from 'vitest';
import type { Ino, Name } from '../../src/base/ids.ts';
import { S_IFDIR, S_IFREG } from '../../src/base/posix.ts';
import type { SeenRow, SeenState } from '../../src/journal/journal.ts';
import { isState, judge, lastOf, rowToward, settledRow } from '../../src/sync/mfs-judge.ts';

const NAME = { parent: 2 as Ino, name: 'f' as Name };
const key = (text: string) => Buffer.from(text);
/** Version n of inode 9, whose bytes are called vn. */
const state = (version: number): SeenState => ({
  ...{ cid: key(`v${version}`), ino: 9 as Ino, version },
});
const file = (version: number) => ({ ino: 9 as Ino, version, mode: S_IFREG | 0o644 });

const none = undefined;
const settled = (version: number) => settledRow(NAME, state(version));
/** What was agreed as version 1, and brought since; the last of them perhaps. */
const brought = (versions: readonly (number | undefined)[], isDone = true): SeenRow =>
  versions.reduce<SeenRow>(
    (row, version, at) =>
      rowToward(NAME, row, {
        isDone: isDone || at < versions.length - 1,
        to: version === undefined ? undefined : state(version),
      }),
    settled(1),
  );

describe.each([
  ['known to nobody', none, none, none, 'none'],
  ['made here', none, 1, none, 'here'],
  ['made there', none, none, 'v1', 'there'],
  ['made on both sides', none, 1, 'v1', 'both'],
  ['as it was', settled(1), 1, 'v1', 'none'],
  ['changed here', settled(1), 2, 'v1', 'here'],
  ['changed there', settled(1), 1, 'x', 'there'],
  ['changed on both sides', settled(1), 2, 'x', 'both'],
  ['removed here', settled(1), none, 'v1', 'here'],
  ['removed there', settled(1), 1, none, 'there'],
  ['removed on both sides', settled(1), none, none, 'both'],
  ['brought', brought([2]), 2, 'v2', 'none'],
  ['brought, and changed here since', brought([2]), 3, 'v2', 'here'],
  ['brought, and changed there since', brought([2]), 2, 'x', 'there'],
  ['brought, and lost by the node', brought([2]), 2, 'v1', 'here'],
  ['brought twice, and lost once', brought([2, 3]), 3, 'v2', 'here'],
  ['brought twice, and lost twice', brought([2, 3]), 3, 'v1', 'here'],
  ['removed there by us, and back', brought([none]), none, 'v1', 'here'],
  ['removed by us and made again, and the old one is back', brought([none, 2]), 2, 'v1', 'here'],
  ['removed by us and made again, and only that is lost', brought([none, 2]), 2, none, 'here'],
  ['perhaps brought, and it is there', brought([2], false), 2, 'v2', 'none'],
  ['perhaps brought, and it is not', brought([2], false), 2, 'v1', 'here'],
  ['perhaps brought, and changed by somebody', brought([2], false), 2, 'x', 'both'],
  ['perhaps brought, there, and changed here since', brought([2], false), 3, 'v2', 'here'],
] as const)('a name that is %s', (_title, row, version, there, changed) => {
  const here = version === undefined ? undefined : file(version);
  test(`was changed: ${changed}`, () => {
    const judged = judge(row, here, there === undefined ? undefined : key(there));
    expect([judged.isChangedHere, judged.isChangedThere]).toEqual([
      changed === 'here' || changed === 'both',
      changed === 'there' || changed === 'both',
    ]);
  });
});

test('the node is asked for what it said last', () => {
  expect(lastOf(brought([2, 3]))).toEqual(state(3));
  expect(lastOf(brought([2, 3], false))).toEqual(state(1));
});

test('a directory is the same as long as it is that directory', () => {
  const directory = { ino: 9 as Ino, version: 77, mode: S_IFDIR | 0o755 };
  expect(isState(state(0), directory)).toBe(true);
  expect(isState(state(0), { ...directory, ino: 10 as Ino })).toBe(false);
});
