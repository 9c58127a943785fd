/** A small run of what test/stress/power.full.ts does at full size. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { SEED } from '../model/seed.ts';
import { losePower } from './run.ts';

let scratch: string;
beforeEach(() => {
  scratch = mkdtempSync(join(tmpdir(), 'kitfs-power-'));
});
afterEach(() => rmSync(scratch, { recursive: true, force: true }));

test('a loss of power at any moment breaks no promise', {
  timeout: 120_000,
}, async () => {
  const result = await losePower(scratch, { seed: SEED, operations: 250, cuts: 60 });
  expect(result.broken).toEqual([]);
  expect(result.cuts).toBe(60);
});
