/** The table of POSIX cases through the kernel, on a tree of each kind of a real mount, and the journal after it. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CASES } from '../posix/cases.ts';
import { CALLER, Kernel } from '../posix/kernel.ts';
import { TestDaemon } from './daemon.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await TestDaemon.start();
});
afterAll(() => daemon.close());

describe.each(['ipfs', 'mem'])('/%s', (tree) => {
  let kernel: Kernel;
  let count = 0;
  beforeAll(() => {
    const [program, ...args] = CALLER;
    // The child is not what is measured, and its counts would only cost time.
    kernel = new Kernel(daemon.spawn(program, args, { in: tree, env: { NODE_V8_COVERAGE: '' } }));
  });
  afterAll(() => kernel[Symbol.asyncDispose]());

  // The tree in memory has a limit, and counts holes as bytes.
  const cases = CASES.filter(({ isLarge }) => tree === 'ipfs' || isLarge !== true);
  test.each(cases)('$title', async ({ run }) => {
    const name = `case-${count++}`;
    await kernel.as(0, 0);
    await kernel.mkdir(name, 0o755);
    await run(kernel, name);
  });

  test('the journal has no fault after all of them', async () => {
    const { code, stdout, stderr } = await daemon.kitfs(['fsck', '--json']);
    expect(`${stdout}${stderr}`).not.toBe('');
    expect(code).toBe(0);
  });
});
