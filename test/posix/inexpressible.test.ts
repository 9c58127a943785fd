/** What a driver cannot keep is said in one place for programs and in one for people, and they say the same. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { CASES, KERNEL_CASES } from './cases.ts';
import { INEXPRESSIBLE } from './inexpressible.ts';

const SEMANTICS = fileURLToPath(new URL('../../src/vfs/SEMANTICS.md', import.meta.url));
const INTRODUCTION = 'It cannot keep these laws of the table of POSIX cases:';

test('SEMANTICS.md lists what the driver fuse-native cannot keep, as the table does', () => {
  const [, after = ''] = readFileSync(SEMANTICS, 'utf8').split(INTRODUCTION);
  const [list = ''] = after.trimStart().split('\n\n');
  const expected = [...INEXPRESSIBLE].map(([title, reason]) => `- ${title}: ${reason}.`);
  expect(list.trimEnd().split('\n')).toEqual(expected);
});

test('every law that cannot be kept is one of the table', () => {
  const titles = new Set([...CASES, ...KERNEL_CASES].map(({ title }) => title));
  expect([...INEXPRESSIBLE.keys()].filter((title) => !titles.has(title))).toEqual([]);
});
