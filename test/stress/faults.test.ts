/**
 * A daemon killed at each stage that an operation can have, as named in test/faults/points.c, once at each, one by
 * one. At every passing of each, and at all operations: `faults.full.ts`.
 */
import { describe, expect, test } from 'vitest';
import { OPERATIONS, OPERATIONS_ON_BYTES, toolOperations } from '../faults/operations.ts';
import { Trials } from '../faults/trials.ts';

const CACHED = '[mount]\npassthrough = false\n';
const WAYS = [
  { way: 'the kernel', configuration: '', operations: OPERATIONS, least: 70 },
  { way: 'the daemon', configuration: CACHED, operations: OPERATIONS_ON_BYTES, least: 34 },
];

describe('an operation in which the daemon is killed', () => {
  test.each(WAYS)(
    'is done once, without an error, at whichever point, when $way writes the bytes',
    async ({ configuration, operations, least }) => {
      await using trials = await Trials.start({ configuration });
      for (const operation of operations) await trials.killAtNew(operation);
      console.log(`killed at ${trials.killedAtCount} points`);
      expect(trials.killedAtCount).toBeGreaterThan(least);
      await trials.expectSameRecords();
    },
  );

  test('is done once if a tool acknowledged it, and otherwise once or not at all', async () => {
    await using trials = await Trials.start();
    const { daemon } = trials;
    const call = async (tool: string, input: object) => {
      await daemon.json(['call', tool, JSON.stringify(input)]);
    };
    for (const operation of toolOperations(call)) await trials.killUnsure(operation, true);
    expect(trials.killedAtCount).toBeGreaterThan(3);
    await trials.expectSameRecords();
  });
});
