/**
 * Losses of power at full size: `npm run test:stress -- power`. Thirty runs, each cut at 300 moments of it;
 * KITFS_TEST_SEED sets the first one's seed, and each failure names its own.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SEED } from '../model/seed.ts';
import { losePower } from '../power/run.ts';

const RUNS = 30;
const RUN_MS_MAX = 15 * 60_000;

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'kitfs-power-'));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

for (let run = 0; run < RUNS; run++) {
  const seed = SEED + run;
  test(`a loss of power at any moment breaks no promise (seed ${seed})`, {
    timeout: RUN_MS_MAX,
  }, async () => {
    const result = await losePower(scratch, { seed, operations: 250, cuts: 300 });
    expect(result.broken).toEqual([]);
    expect(result.cuts).toBe(300);
  });
}
