import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import { LookupCounts } from '../../src/fuse/lookup-counts.ts';

const HIGH = 2 ** 52;
/** Few slots' worth of numbers, so that they meet; some that are multiples of the table's size apart. */
const number = fc.oneof(
  fc.integer({ min: 1, max: 3000 }),
  fc.integer({ min: 1, max: 5 }).map((n) => n * 1024),
  fc.integer({ min: 0, max: 3000 }).map((n) => HIGH + n),
);
const change = fc.record({ ino: number, count: fc.integer({ min: -3, max: 2 }) });

function apply(counts: LookupCounts, model: Map<number, number>, ino: number, count: number): void {
  const held = model.get(ino) ?? 0;
  if (count >= 0) {
    for (let i = 0; i <= count; i++) counts.add(ino as Ino);
    model.set(ino, held + count + 1);
    return;
  }
  expect(counts.subtract(ino as Ino, -count)).toBe(held > 0);
  if (held + count > 0) model.set(ino, held + count);
  else model.delete(ino);
}

describe('counts of lookups', () => {
  test('are those of a Map, whatever comes and goes', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 3000 }), (changes) => {
        const [counts, model] = [new LookupCounts(), new Map<number, number>()];
        for (const { ino, count } of changes) {
          apply(counts, model, ino, count);
          expect(counts.get(ino as Ino)).toBe(model.get(ino) ?? 0);
        }
        expect(counts.size).toBe(model.size);
        expect([...counts.inos()].sort((a, b) => a - b)).toEqual(
          [...model.keys()].sort((a, b) => a - b),
        );
        for (const [ino, count] of model) expect(counts.get(ino as Ino)).toBe(count);
      }),
      { numRuns: 50 },
    );
  });

  test('of inodes that share the last slot go on in the first, and are found there', () => {
    const SLOTS = 1024;
    const slotOf = (ino: number) =>
      Math.floor(((Math.imul(ino, 0x9e3779b1) >>> 0) * SLOTS) / 2 ** 32);
    const last = Array.from({ length: 10_000 }, (_, index) => (index + 1) as Ino)
      .filter((ino) => slotOf(ino) === SLOTS - 1)
      .slice(0, 4);
    expect(last).toHaveLength(4);
    for (const gone of last) {
      const counts = new LookupCounts();
      for (const ino of last) counts.add(ino);
      expect([...counts.inos()]).toEqual([...last.slice(1), last[0]]);
      expect(counts.subtract(gone, 1)).toBe(true);
      expect(last.map((ino) => counts.get(ino))).toEqual(last.map((ino) => +(ino !== gone)));
      counts.add(gone);
      expect(last.map((ino) => counts.get(ino))).toEqual([1, 1, 1, 1]);
      expect(counts.size).toBe(4);
    }
  });

  test('of very many inodes are all there, and go one by one', () => {
    const counts = new LookupCounts();
    const many = 100_000;
    for (let ino = 1; ino <= many; ino++) counts.add(ino as Ino);
    for (let ino = 1; ino <= many; ino++) counts.add(ino as Ino);
    expect(counts.size).toBe(many);
    const odd = Array.from({ length: many / 2 }, (_, i) => (2 * i + 1) as Ino);
    expect(odd.every((ino) => counts.subtract(ino, 2))).toBe(true);
    expect(counts.size).toBe(many / 2);
    for (let ino = 1; ino <= many; ino++)
      expect(counts.get(ino as Ino)).toBe(ino % 2 === 0 ? 2 : 0);
    expect(odd.every((ino) => counts.subtract((ino + 1) as Ino, 3))).toBe(true);
    expect([...counts.inos()]).toEqual([]);
    expect(counts.subtract(2 as Ino, 1)).toBe(false);
  });
});
