/**
 * What must not grow with the tree, compared between one of 20,000 files and one of 100,000, a fifth of each in one
 * directory. What work costs is told by the time its thread ran, which others on the machine do not change.
 */
import { once } from 'node:events';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { BACKING_FILES_OPEN_MAX, SLOTS_USED_MAX } from '../../src/base/limits.ts';
import { ManyFiles } from '../bench/many.ts';

const SMALL = 20_000;
const LARGE = 100_000;
/** One file of so many lies in the large directory. */
const IN_BIG = 5;
const GROWTH = LARGE / SMALL;
/** Of a descriptor table: sockets, the journal, the mount, what the runtime opens. */
const DESCRIPTORS_BESIDES = 100;
const MIB = 1024 * 1024;

interface Status {
  readonly kernel: { readonly inodes: number; readonly requests: number };
}

let small: ManyFiles;
let large: ManyFiles;
beforeAll(async () => {
  small = await ManyFiles.start();
  large = await ManyFiles.start();
  await small.plant(SMALL);
  await large.plant(LARGE);
}, 120_000);
afterAll(async () => {
  await small.daemon.close();
  await large.daemon.close();
});

const kernelOf = async ({ daemon }: ManyFiles): Promise<Status['kernel']> =>
  (await daemon.json<Status>(['status'])).kernel;

test('a start reads as much of a large tree as of a small one', async () => {
  const read = async (tree: ManyFiles) => {
    await tree.restart();
    return tree.bytesRead();
  };
  expect((await read(large)) - (await read(small))).toBeLessThan(MIB);
});

test('a name that is not cached costs the same in a large tree', async () => {
  const [samples, rounds] = [500, 4];
  const cost = { small: 0, large: 0 };
  for (let round = 0; round < rounds; round++) {
    for (const [name, tree, count] of [
      ['small', small, SMALL],
      ['large', large, LARGE],
    ] as const) {
      const before = tree.busyNs();
      await tree.lookup(count, samples, round);
      cost[name] += tree.busyNs() - before;
    }
  }
  expect(cost.large / cost.small).toBeLessThan(2);
});

test('find and du cost the same for each entry, in work and in requests', async () => {
  const walk = async (tree: ManyFiles) => {
    await tree.restart();
    const [busy, { requests }] = [tree.busyNs(), await kernelOf(tree)];
    await tree.find();
    await tree.du();
    return { busy: tree.busyNs() - busy, requests: (await kernelOf(tree)).requests - requests };
  };
  const [few, many] = [await walk(small), await walk(large)];
  expect(many.requests / few.requests).toBeLessThan(1.5 * GROWTH);
  expect(many.busy / few.busy).toBeLessThan(1.5 * GROWTH);
});

test('what the kernel knows takes little memory, and what it forgets none', async () => {
  await large.restart();
  await large.find();
  expect((await kernelOf(large)).inodes).toBeGreaterThan(LARGE);
  expect(large.memory().peakMib).toBeLessThan(400);
  await small.restart();
  await small.find();
  const known = (await kernelOf(small)).inodes;
  await small.daemon.shell('rm -r big', { in: 'ipfs', timeoutMs: 120_000 });
  expect((await kernelOf(small)).inodes).toBeLessThan(known - SMALL / IN_BIG + 100);
});

const HELD = 5000;
const HOLD = `
import os, sys
os.mkdir('held')
files = [open(f'held/{i}', 'w+b') for i in range(int(sys.argv[1]))]
for file in files: file.write(bytes(70000)); file.flush(); file.seek(0); assert len(file.read()) == 70000
print('held', flush=True); sys.stdin.read()`;

test('descriptors are bounded, however many files are open or were read', async () => {
  const bound = BACKING_FILES_OPEN_MAX + SLOTS_USED_MAX + DESCRIPTORS_BESIDES;
  await using tree = await ManyFiles.start();
  await tree.make(0, HELD);
  await tree.read(HELD);
  expect(tree.descriptors()).toBeLessThan(bound);
  const open = await tree.holding(HELD, async () => tree.descriptors());
  expect(open).toBeLessThan(bound);
  // In files of their own, unlike those above, and more than are kept open.
  const count = String(3 * BACKING_FILES_OPEN_MAX);
  const program = tree.daemon.spawn('python3', ['-c', HOLD, count], { in: 'ipfs' });
  if (program.stdout === null) throw new Error('the program has no output');
  await once(program.stdout, 'data');
  expect(tree.descriptors()).toBeLessThan(bound);
  program.stdin?.end();
  await once(program, 'exit');
});
