/** A daemon killed at each stage of each operation, one by one, as named in test/faults/points.c. */
import { describe, expect, test } from 'vitest';
import { OPERATIONS, OPERATIONS_ON_BYTES } from '../faults/operations.ts';
import { Trials } from '../faults/trials.ts';

const TEST_MS_MAX = 240_000;
const WAYS = [
  { way: 'that the kernel writes itself', configuration: '', operations: OPERATIONS },
  {
    way: 'whose bytes the daemon writes',
    configuration: '[mount]\npassthrough = false\n',
    operations: OPERATIONS_ON_BYTES,
  },
];

describe('an operation in which the daemon is killed', () => {
  test.each(WAYS)(
    'is done once, without an error, at whichever point: on files $way',
    async ({ configuration, operations }) => {
      await using trials = await Trials.start(configuration);
      let kills = 0;
      for (const operation of operations) kills += await trials.killEverywhere(operation);
      expect(kills).toBeGreaterThan(operations.length * 4);
      await trials.expectSameRecords();
    },
    TEST_MS_MAX,
  );
});
