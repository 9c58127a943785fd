/** As test/integration/faults.test.ts, at every passing of every point. */
import { expect, test } from 'vitest';
import {
  OPERATIONS,
  OPERATIONS_OF_ONE_REQUEST,
  OPERATIONS_ON_BYTES,
} from '../faults/operations.ts';
import { Trials } from '../faults/trials.ts';

const TEST_MS_MAX = 900_000;
const CACHED = '[mount]\npassthrough = false\n';

test.each([
  { way: 'kernel', configuration: '', operations: OPERATIONS },
  { way: 'daemon', configuration: CACHED, operations: OPERATIONS_ON_BYTES },
])(
  'a kill at any passing of any point shows nowhere, when the $way writes the bytes',
  async ({ configuration, operations }) => {
    await using trials = await Trials.start({ configuration });
    let kills = 0;
    for (const operation of operations) kills += await trials.killEverywhere(operation, true);
    console.log(`${kills} kills`);
    expect(kills).toBeGreaterThan(operations.length * 6);
    await trials.expectSameRecords();
  },
  TEST_MS_MAX,
);

test(
  'a kill without a keeper leaves all of an operation or nothing, at any point',
  async () => {
    await using trials = await Trials.start({ args: ['--no-keeper'] });
    let kills = 0;
    for (const operation of OPERATIONS_OF_ONE_REQUEST) {
      kills += await trials.killUnsure(operation);
    }
    console.log(`${kills} kills`);
    await trials.expectSameRecords();
  },
  TEST_MS_MAX,
);
