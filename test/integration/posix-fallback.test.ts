/**
 * The table of POSIX cases through the driver fuse-native, on a tree of each kind of a real mount, and the journal
 * after it. A case that the driver is said not to express must fail: who repairs it takes it off the list.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CallsProgram } from '../posix/calls.ts';
import { CASES, KERNEL_CASES } from '../posix/cases.ts';
import { INEXPRESSIBLE } from '../posix/inexpressible.ts';
import type { KernelCase } from '../posix/law.ts';
import { Processes } from '../posix/processes.ts';
import { TestDaemon } from './daemon.ts';

let daemon: TestDaemon;
let program: CallsProgram;
beforeAll(async () => {
  program = new CallsProgram();
  daemon = await TestDaemon.start({ args: ['--driver', 'fuse-native'] });
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
  const all: readonly KernelCase[] = [...CASES, ...KERNEL_CASES];
  const cases = all.filter(({ isLarge }) => tree === 'ipfs' || isLarge !== true);
  const isExpressible = ({ title }: KernelCase) => !INEXPRESSIBLE.has(title);

  test.each(cases.filter(isExpressible))('$title', async ({ run }) => {
    await run(kernel, await prepare());
  });

  test.each(cases.filter((one) => !isExpressible(one)))('cannot: $title', async ({ run }) => {
    const name = await prepare();
    await expect(run(kernel, name)).rejects.toThrow();
  });

  test('the journal has no fault after all of them', async () => {
    const { code, stdout, stderr } = await daemon.kitfs(['fsck', '--json']);
    expect(`${stdout}${stderr}`).not.toBe('');
    expect(code).toBe(0);
  });
});
