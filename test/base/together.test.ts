/** The laws of work that is done side by side. */
import { expect, test } from 'vitest';
import { inTurns, together } from '../../src/base/together.ts';

test('a failure is told when nothing goes on any more', async () => {
  let isOver = false;
  const slow = new Promise<void>((resolve) => setImmediate(resolve)).then(() => {
    isOver = true;
  });
  await expect(together([Promise.reject(new Error('first')), slow])).rejects.toThrow('first');
  expect(isOver).toBe(true);
});

test('so many are under way at a time, and the answers are in their order', async () => {
  let [now, most] = [0, 0];
  const work = async (item: number) => {
    now += 1;
    most = Math.max(most, now);
    for (let at = 0; at < 10 - item; at += 1) await Promise.resolve();
    now -= 1;
    return item * 2;
  };
  expect(await inTurns([0, 1, 2, 3, 4, 5, 6, 7], 3, work)).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
  expect(most).toBe(3);
  expect(await inTurns([], 3, work)).toEqual([]);
});

test('after a failure none is begun, and those under way have ended', async () => {
  const begun: number[] = [];
  let ended = 0;
  const work = async (item: number) => {
    begun.push(item);
    await new Promise((resolve) => setImmediate(resolve));
    ended += 1;
    if (item === 1) throw new Error('the second');
  };
  await expect(inTurns([0, 1, 2, 3, 4, 5], 2, work)).rejects.toThrow('the second');
  expect(begun.length).toBeLessThanOrEqual(3);
  expect(ended).toBe(begun.length);
});
