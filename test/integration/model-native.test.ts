/** The model against the machine's own disk: this proves the model, not the product. */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Command, command, PRELUDE, perform } from '../model/commands.ts';
import { Comparison, outcomeOf } from '../model/compare.ts';
import { Reference } from '../model/reference.ts';
import { SEED } from '../model/seed.ts';
import { Kernel } from '../posix/kernel.ts';

const RUNS = 30;
const STEPS_MAX = 80;

async function run(steps: readonly Command[]): Promise<void> {
  const directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-model-'));
  try {
    await using real = Kernel.in(directory);
    const model = new Reference();
    const open = { model: new Map<number, number>(), real: new Map<number, number>() };
    for (const [index, made] of [...PRELUDE, ...steps].entries()) {
      const expected = await outcomeOf(perform(model, open.model, made));
      const actual = await outcomeOf(perform(real, open.real, made));
      // One comparison each: this disk gives a number again when its inode is gone.
      new Comparison().same(expected, actual, `${index}: ${JSON.stringify(made)}`);
    }
    await new Comparison().sameBelow(model, real, [...model.root.names.keys()]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

test('the model does what the disk does', async () => {
  const steps = fc.noBias(fc.array(command, { maxLength: STEPS_MAX, size: 'max' }));
  await fc.assert(fc.asyncProperty(steps, run), { seed: SEED, numRuns: RUNS });
  expect.hasAssertions();
});
