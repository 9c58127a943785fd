/**
 * The table of POSIX cases through the driver fuse-native, on a tree of each kind of a real mount, and the journal
 * after it. A case that the driver is said not to express must fail: who repairs it takes it off the list.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CASES } from '../posix/cases.ts';
import { INEXPRESSIBLE } from '../posix/inexpressible.ts';
import { CALLER, Kernel } from '../posix/kernel.ts';
import { TestDaemon } from './daemon.ts';

let daemon: TestDaemon;
beforeAll(async () => {
  daemon = await TestDaemon.start({ args: ['--driver', 'fuse-native'] });
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

  const prepare = async () => {
    const name = `case-${count++}`;
    await kernel.as(0, 0);
    await kernel.mkdir(name, 0o755);
    return name;
  };

  // The tree in memory has a limit, and counts holes as bytes.
  const cases = CASES.filter(({ isLarge }) => tree === 'ipfs' || isLarge !== true);
  const isExpressible = ({ title }: (typeof CASES)[number]) => !INEXPRESSIBLE.has(title);

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
