/**
 * The table of POSIX cases through the kernel, on a tree of each kind of a real mount, and the journal after it. What a
 * driver is said not to express must fail there: who repairs it takes it off the list.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CallsProgram } from '../posix/calls.ts';
import { CASES, KERNEL_CASES } from '../posix/cases.ts';
import type { KernelCase } from '../posix/law.ts';
import { Processes } from '../posix/processes.ts';
import { type DaemonOptions, TestDaemon } from './daemon.ts';

/** Title → reason. */
export type Inexpressible = ReadonlyMap<string, string>;

const ALL: readonly KernelCase[] = [...CASES, ...KERNEL_CASES];

export function posixTable(options: DaemonOptions, inexpressible: Inexpressible = new Map()): void {
  let daemon: TestDaemon;
  let program: CallsProgram;
  beforeAll(async () => {
    program = new CallsProgram();
    daemon = await TestDaemon.start(options);
  });
  afterAll(async () => {
    await daemon.close();
    program[Symbol.dispose]();
  });

  describe.each(['ipfs', 'mem'])('/%s', (tree) => {
    let kernel: Processes;
    let count = 0;
    beforeAll(() => {
      // The child is not what is measured, and its counts would only cost time.
      const where = { in: tree, env: { NODE_V8_COVERAGE: '' } };
      kernel = Processes.start(program, (command, args) => daemon.spawn(command, args, where));
    });
    afterAll(() => kernel[Symbol.asyncDispose]());

    const prepare = async () => {
      const name = `case-${count++}`;
      await kernel.as(0, 0);
      await kernel.mkdir(name, 0o755);
      return name;
    };

    // The tree in memory has a limit, and counts holes as bytes.
    const fitting = ALL.filter(({ isLarge }) => tree === 'ipfs' || isLarge !== true);
    const kept = fitting.filter(({ title }) => !inexpressible.has(title));
    test.each(kept)('$title', async ({ run }) => {
      await run(kernel, await prepare());
    });

    const broken = fitting.filter(({ title }) => inexpressible.has(title));
    for (const { title, run } of broken) {
      test(`cannot: ${title}`, async () => {
        const name = await prepare();
        await expect(run(kernel, name)).rejects.toThrow();
      });
    }

    test('the journal has no fault after all of them', async () => {
      const { code, stdout, stderr } = await daemon.kitfs(['fsck', '--json']);
      expect(`${stdout}${stderr}`).not.toBe('');
      expect(code).toBe(0);
    });
  });
}
