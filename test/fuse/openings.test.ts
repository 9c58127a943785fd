import { expect, test } from 'vitest';
import type { Fh, Ino } from '../../src/base/ids.ts';
import { Openings } from '../../src/fuse/openings.ts';

const opening = (fh: number) => ({ fh: fh as Fh, ino: 5 as Ino, isDirectory: false });

test('what is open has a number of its own, never 0, until it is taken', () => {
  const openings = new Openings();
  const [a, b] = [openings.add(opening(2 ** 40)), openings.add(opening(2))];
  expect(new Set([0, a, b]).size).toBe(3);
  expect(openings.find(a)?.fh).toBe(2 ** 40);
  expect(openings.take(a)?.fh).toBe(2 ** 40);
  expect([openings.find(a), openings.take(a), openings.size]).toEqual([undefined, undefined, 1]);
  expect(openings.takeAll().map(({ fh }) => fh)).toEqual([2]);
  expect(openings.size).toBe(0);
});
