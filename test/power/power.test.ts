/**
 * Two small runs of what test/stress/power.full.ts does at full size and with new seeds: with those that
 * found the most when the promises were first tried.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { losePower } from './run.ts';

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'kitfs-power-'));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

test('a loss of power at any moment breaks no promise', {
  timeout: 120_000,
}, async () => {
  for (const seed of [33, 37]) {
    const result = await losePower(mkdtempSync(join(scratch, 'run-')), {
      seed,
      operations: 250,
      cuts: 30,
    });
    expect(result.broken).toEqual([]);
    expect(result.cuts).toBe(30);
  }
});
