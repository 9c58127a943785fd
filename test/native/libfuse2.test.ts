/** What stands before libfuse 2, as far as it shows without a mount. `test/integration` has the rest. */
import { describe, expect, test } from 'vitest';
import { loadLibfuse2 } from '../../src/base/native.ts';

const libfuse = loadLibfuse2();
const untyped = libfuse as unknown as Record<string, (...args: unknown[]) => unknown>;
const CALLS = ['describe', 'giveStat', 'giveName', 'giveEntry', 'giveDirect'] as const;

describe('a number of no operation that waits', () => {
  test.each(CALLS)('is refused by %s, whatever else is right', (call) => {
    const rest = { giveStat: [[]], giveName: ['a'], giveEntry: ['a', 1, 0] } as const;
    const others = call in rest ? rest[call as keyof typeof rest] : [];
    for (const number of [0, 1023]) {
      expect(() => untyped[call]?.(number, ...others)).toThrow(/a turn that waits/);
    }
  });

  test.each(CALLS)('is not looked up by %s when it cannot be one', (call) => {
    for (const number of [-1, 1024, 0.5, Number.NaN]) {
      expect(() => untyped[call]?.(number)).toThrow(RangeError);
    }
    for (const number of ['0', undefined, null, {}, 0n]) {
      expect(() => untyped[call]?.(number)).toThrow(TypeError);
    }
  });
});

test('the end is told to one function', () => {
  expect(() => untyped['watchEnd']?.('told')).toThrow(TypeError);
  libfuse.watchEnd(() => {});
  expect(() => libfuse.watchEnd(() => {})).toThrow(TypeError);
});
