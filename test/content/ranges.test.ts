import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Ranges } from '../../src/content/ranges.ts';

const SIZE = 64;
const range = fc.tuple(fc.nat(SIZE), fc.nat(SIZE));

test('ranges cover what a list of bytes says, whatever is added in whatever order', () => {
  fc.assert(
    fc.property(fc.array(range, { maxLength: 30 }), range, (added, [from, to]) => {
      const ranges = new Ranges();
      const bytes = new Array<boolean>(SIZE).fill(false);
      for (const [start, end] of added) {
        ranges.add(start, end);
        bytes.fill(true, start, Math.max(start, end));
      }
      expect(ranges.total).toBe(bytes.filter(Boolean).length);
      expect(ranges.covers(from, to)).toBe(bytes.slice(from, to).every(Boolean));
    }),
    { seed: 7, numRuns: 2000 },
  );
});
