/**
 * A daemon killed at each stage of each operation, one by one, as named in test/faults/points.c. At every
 * passing of each, and at all operations without a keeper: test/stress/faults.test.ts.
 */
import { describe, expect, test } from 'vitest';
import {
  OPERATIONS,
  OPERATIONS_OF_ONE_REQUEST,
  OPERATIONS_ON_BYTES,
  toolOperations,
} from '../faults/operations.ts';
import { Trials } from '../faults/trials.ts';

const TEST_MS_MAX = 480_000;
const CACHED = '[mount]\npassthrough = false\n';
const WAYS = [
  { way: 'with files that the kernel writes itself', configuration: '', operations: OPERATIONS },
  {
    way: 'with files that the daemon writes',
    configuration: CACHED,
    operations: OPERATIONS_ON_BYTES,
  },
];
/** Each in a daemon's life of its own at each point. */
const ALONE = ['rename over a file', 'mkdir', 'chmod', 'unlink'];

describe('an operation in which the daemon is killed', () => {
  test.each(WAYS)(
    'is done once, without an error, at whichever point: $way',
    async ({ configuration, operations }) => {
      await using trials = await Trials.start({ configuration });
      let kills = 0;
      for (const operation of operations) kills += await trials.killEverywhere(operation);
      expect(kills).toBeGreaterThan(operations.length * 3);
      await trials.expectSameRecords();
    },
    TEST_MS_MAX,
  );

  test(
    'is done or not at all, and done if it was acknowledged, without a keeper',
    async () => {
      await using trials = await Trials.start({ args: ['--no-keeper'] });
      const operations = OPERATIONS_OF_ONE_REQUEST.filter(({ name }) => ALONE.includes(name));
      expect(operations).toHaveLength(ALONE.length);
      for (const operation of operations) {
        expect(await trials.killUnsure(operation)).toBeGreaterThan(3);
      }
      await trials.expectSameRecords();
    },
    TEST_MS_MAX,
  );

  test(
    'is done once if a tool acknowledged it, and otherwise once or not at all',
    async () => {
      await using trials = await Trials.start();
      const { daemon } = trials;
      const call = async (tool: string, input: object) => {
        await daemon.json(['call', tool, JSON.stringify(input)]);
      };
      for (const operation of toolOperations(call)) {
        expect(await trials.killUnsure(operation)).toBeGreaterThan(3);
      }
      await trials.expectSameRecords();
    },
    TEST_MS_MAX,
  );
});
