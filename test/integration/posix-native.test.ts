/**
 * The table of POSIX cases on the machine's own disk. What passes there is a law, and not a habit of ours: this proves
 * the table, not the product.
 */
import { chmodSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import { CASES } from '../posix/cases.ts';
import { Kernel } from '../posix/kernel.ts';

let directory: string;
let kernel: Kernel;
let cases = 0;
beforeAll(() => {
  directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-posix-'));
  // The cases become other users, who must be able to enter.
  chmodSync(directory, 0o755);
  kernel = Kernel.in(directory);
});
afterAll(async () => {
  await kernel[Symbol.asyncDispose]();
  rmSync(directory, { recursive: true, force: true });
});

test.each(CASES)('$title', async ({ run }) => {
  const name = `case-${cases++}`;
  await kernel.as(0, 0);
  await kernel.mkdir(name, 0o755);
  await run(kernel, name);
});
