/** A daemon that dies, with its keeper and without one. */
import { existsSync, readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { TestDaemon } from './daemon.ts';

const mountLines = (directory: string) =>
  readFileSync('/proc/self/mountinfo', 'utf8')
    .split('\n')
    .filter((line) => line.includes(` ${directory}/`));

interface Status {
  readonly pid: number;
  readonly keeper: number | null;
}

test('a daemon that was killed is followed by another one, which has what was acknowledged', async () => {
  await using daemon = await TestDaemon.start();
  const before = await daemon.json<Status>(['status']);
  expect(before).toMatchObject({ pid: daemon.pid, keeper: daemon.startedPid });
  for (const text of ['one', 'two', 'three']) {
    await daemon.shell(`echo ${text} > ipfs/a`);
    await daemon.crash();
    expect(await daemon.shell('cat ipfs/a')).toBe(`${text}\n`);
  }
  const after = await daemon.json<Status>(['status']);
  expect(after).toMatchObject({ pid: daemon.pid, keeper: before.keeper });
  expect(after.pid).not.toBe(before.pid);
  expect(mountLines(daemon.directory)).toHaveLength(1);
  // Whoever started it is told how to use it once.
  expect(daemon.output.match(/is mounted at/g)).toHaveLength(1);
  await daemon.stop();
});

test('a daemon whose keeper is killed goes on, and says so', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.shell('echo kept > ipfs/a');
  process.kill(daemon.startedPid, 'SIGKILL');
  const keeper = async () => (await daemon.json<Status>(['status'])).keeper;
  await expect.poll(keeper, { timeout: 20_000 }).toBe(null);
  expect(daemon.output.match(/the keeper is gone/g)).toHaveLength(1);
  expect(await daemon.shell('cat ipfs/a')).toBe('kept\n');
  await daemon.json(['unmount']);
  expect(mountLines(daemon.directory)).toEqual([]);
});

test('a daemon without a keeper dies with its mount', async () => {
  await using daemon = await TestDaemon.start({ args: ['--no-keeper'] });
  expect(await daemon.json(['status'])).toMatchObject({ pid: daemon.startedPid, keeper: null });
  await daemon.kill();
  expect(mountLines(daemon.directory)).toHaveLength(1);
  expect((await daemon.kitfs(['status'])).code).toBe(3);
});

test('a keeper in the background ends with its daemon', async () => {
  await using daemon = await TestDaemon.start();
  await daemon.stop();
  for (const args of [[], ['--no-keeper']]) {
    await daemon.json(['mount', '--background', ...args]);
    const { pid, keeper } = await daemon.json<Status>(['status']);
    expect(keeper === null).toBe(args.length > 0);
    await daemon.json(['unmount']);
    const left = () => [pid, keeper ?? pid].filter((each) => existsSync(`/proc/${each}/exe`));
    await expect.poll(left).toEqual([]);
  }
  expect(mountLines(daemon.directory)).toEqual([]);
});
