import { describe, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import { StalePages } from '../../src/vfs/stale-pages.ts';

const [A, B] = [5 as Ino, 6 as Ino];

describe('pages of the kernel', () => {
  test('are stale from the write past them to the open that drops them', () => {
    const pages = new StalePages();
    expect(pages.has(A)).toBe(false);
    pages.add(A);
    expect([pages.has(A), pages.has(B), pages.size]).toEqual([true, false, 1]);
    pages.delete(A);
    expect([pages.has(A), pages.size]).toEqual([false, 0]);
  });

  test('count as stale after a kill, each file until it is opened', () => {
    const pages = new StalePages();
    pages.distrust();
    expect([pages.has(A), pages.has(B)]).toEqual([true, true]);
    pages.delete(A);
    expect([pages.has(A), pages.has(B)]).toEqual([false, true]);
    pages.add(A);
    expect(pages.has(A)).toBe(true);
  });

  test('of an inode that is forgotten are not remembered', () => {
    const pages = new StalePages();
    pages.add(A);
    pages.forget(A);
    expect([pages.has(A), pages.size]).toEqual([false, 0]);
    pages.distrust();
    pages.delete(A);
    pages.forget(A);
    expect(pages.has(A)).toBe(true);
  });

  test('are gone with the kernel', () => {
    const pages = new StalePages();
    pages.distrust();
    pages.add(A);
    pages.clear();
    expect([pages.has(A), pages.has(B), pages.size]).toEqual([false, false, 0]);
  });
});
