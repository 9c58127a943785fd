/**
 * The table of POSIX cases on the machine's own disk. What passes there is a law, and not a habit of ours: this proves
 * the table, not the product.
 */
import { chmodSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, test } from 'vitest';
import { CallsProgram } from '../posix/calls.ts';
import { CASES, KERNEL_CASES } from '../posix/cases.ts';
import type { KernelCase } from '../posix/law.ts';
import { Processes } from '../posix/processes.ts';

let directory: string;
let program: CallsProgram;
let kernel: Processes;
let cases = 0;
beforeAll(() => {
  directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-posix-'));
  // The cases become other users, who must be able to enter.
  chmodSync(directory, 0o755);
  program = new CallsProgram();
  kernel = Processes.startIn(directory, program);
});
afterAll(async () => {
  await kernel[Symbol.asyncDispose]();
  program[Symbol.dispose]();
  rmSync(directory, { recursive: true, force: true });
});

test.each<KernelCase>([...CASES, ...KERNEL_CASES])('$title', async ({ run }) => {
  const name = `case-${cases++}`;
  await kernel.as(0, 0);
  await kernel.mkdir(name, 0o755);
  await run(kernel, name);
});
