/** Snapshots of a tree that changes all the time, with a real Kubo: what goes, and what stays. */
import { setTimeout as wait } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { SnapshotList } from '../../src/daemon/snapshots.ts';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

const MIB = 1024 * 1024;
const HAPPENS_MS_MAX = 60_000;
const POLL_MS = 200;
const CHANGES = 8;

const configured = (api: string) => ({
  configuration:
    `[ipfs.kubo]\napi = "${api}"\n[sync]\ndebounce_ms = 100\nkeep_snapshots = 2\n` +
    '[history]\nold_bytes_max_mib = 1\n',
});

const listed = async (daemon: TestDaemon): Promise<readonly string[]> =>
  (await daemon.json<SnapshotList>(['snapshot', 'list', '/ipfs'])).snapshots.map(
    ({ snapshot_cid: cid }) => cid,
  );

async function until(daemon: TestDaemon, what: string, isSo: () => Promise<boolean>) {
  const deadline = performance.now() + HAPPENS_MS_MAX;
  while (!(await isSo())) {
    if (performance.now() > deadline) throw new Error(`${what}: not so\n${daemon.output}`);
    await wait(POLL_MS);
  }
}

const sumOf = async (daemon: TestDaemon): Promise<string> =>
  (await daemon.run('sha256sum', ['ipfs/f'])).slice(0, 64);

/** Bytes on the disk below the directory of content. */
const diskBytes = async (daemon: TestDaemon): Promise<number> =>
  Number((await daemon.shell(`du -s --block-size=1 '${daemon.state}/content' | cut -f1`)).trim());

test('a tree that changes again and again takes the room of the snapshots that are kept', async () => {
  await using kubo = await KuboNode.start();
  await using daemon = await TestDaemon.start(configured(kubo.api));
  await daemon.shell('head -c 2000000 /dev/urandom > ipfs/same');
  const sums = new Map<string, string>();
  for (let change = 0; change < CHANGES; change += 1) {
    await daemon.shell('head -c 3000000 /dev/urandom > ipfs/f');
    await daemon.json(['wait', '--until', 'pinned', '/ipfs']);
    const [newest = ''] = await listed(daemon);
    sums.set(newest, await sumOf(daemon));
    if (change === CHANGES / 2) await daemon.crash();
  }
  await until(daemon, 'two snapshots are left', async () => (await listed(daemon)).length === 2);
  expect(await daemon.shell('cat ipfs/same | wc -c')).toBe('2000000\n');
  // What is let go is gone when retention looks next, as a start does.
  await daemon.crash();
  await until(daemon, 'the disk has room', async () => (await diskBytes(daemon)) < 10 * MIB);
  const [newest = '', older = ''] = await listed(daemon);
  expect(sums.get(newest)).toBe(await sumOf(daemon));
  await daemon.run('test', ['-e', 'ipfs/same']);
  await daemon.json(['snapshot', 'restore', '/ipfs', older]);
  expect(await sumOf(daemon)).toBe(sums.get(older));
  await daemon.stop();
  expect(await daemon.json(['fsck'])).toMatchObject({ findings: [] });
});
