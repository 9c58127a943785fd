import { expect, test } from 'vitest';
import { Recent } from '../../src/base/recent.ts';

test('the least recently used one goes when one too many comes', () => {
  let forgotten = 0;
  const recent = new Recent<number, string>(2, () => {
    forgotten += 1;
  });
  recent.set(1, 'a');
  recent.set(2, 'b');
  expect(recent.get(1)).toBe('a');
  expect(forgotten).toBe(0);
  recent.set(3, 'c');
  expect(forgotten).toBe(1);
  expect([recent.get(1), recent.get(2), recent.get(3)]).toEqual(['a', undefined, 'c']);
});

test('what is set again is the newest, and what is deleted is gone', () => {
  const recent = new Recent<number, string>(2);
  recent.set(1, 'a');
  recent.set(2, 'b');
  recent.set(1, 'A');
  recent.set(3, 'c');
  recent.delete(3);
  expect([recent.get(1), recent.get(2), recent.get(3)]).toEqual(['A', undefined, undefined]);
});
