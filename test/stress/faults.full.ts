/** `npm run test:stress -- faults`: as `faults.test.ts`, each operation at every passing of every point. */
import { expect, test } from 'vitest';
import {
  OPERATIONS,
  OPERATIONS_OF_ONE_REQUEST,
  OPERATIONS_ON_BYTES,
  toolOperations,
} from '../faults/operations.ts';
import { FaultPoints } from '../faults/points.ts';
import { Trials } from '../faults/trials.ts';
import { TestDaemon } from '../integration/daemon.ts';

const TEST_MS_MAX = 60 * 60_000;
const CACHED = '[mount]\npassthrough = false\n';
/** `makes`: passings of a large file that is the first of its directory, which is made when the file cannot be. */
const WAYS = [
  { way: 'kernel', configuration: '', operations: OPERATIONS, makes: [1] },
  { way: 'daemon', configuration: CACHED, operations: OPERATIONS_ON_BYTES, makes: [1, 2, 3] },
];

test.each(WAYS)(
  'a kill at any passing of any point shows nowhere, when the $way writes the bytes',
  async ({ configuration, operations }) => {
    await using trials = await Trials.start({ configuration });
    let kills = 0;
    for (const operation of operations) kills += await trials.killEverywhere(operation);
    console.log(`${kills} kills`);
    expect(kills).toBeGreaterThan(operations.length * 6);
    await trials.expectSameRecords();
  },
  TEST_MS_MAX,
);

/** Nothing has been made below content/ before: the first large file of all makes its directory. */
test.each(WAYS)(
  'a kill where the directory of a large file is made shows nowhere, when the $way writes the bytes',
  async ({ configuration, makes }) => {
    const bytes = 'large'.repeat(40_000);
    for (const point of ['backing-make', 'backing-made']) {
      for (const passing of makes) {
        using points = new FaultPoints();
        await using daemon = await TestDaemon.start({ configuration, env: points.env });
        points.arm({ point, passing });
        const script = `require('fs').writeFileSync('a', 'large'.repeat(40000))`;
        await daemon.run(process.execPath, ['-e', script], { in: 'ipfs' });
        await expect.poll(() => points.died, { timeout: 15_000, interval: 2 }).toBe(1);
        expect(await daemon.run('cat', ['a'], { in: 'ipfs' })).toBe(bytes);
        const { findings } = await daemon.json<{ findings: unknown[] }>(['fsck']);
        expect(findings).toEqual([]);
      }
    }
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
    expect(kills).toBeGreaterThan(OPERATIONS_OF_ONE_REQUEST.length * 3);
    await trials.expectSameRecords();
  },
  TEST_MS_MAX,
);

test(
  'a kill in a tool call leaves it done once if it was acknowledged, and otherwise once or not at all',
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
