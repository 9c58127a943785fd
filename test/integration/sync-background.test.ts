/** Trees that come to a real Kubo by themselves, over stops and kills of the daemon. */
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import type { Status } from '../../src/daemon/status.ts';
import { Server } from '../backend/server.ts';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

const ARRIVES_MS_MAX = 20_000;
const POLL_MS = 50;

let kubo: KuboNode;
beforeAll(async () => {
  kubo = await KuboNode.start();
});
afterAll(() => kubo.close());
// What one daemon published is for the next one somebody else's, which it never replaces.
afterEach(() => kubo.cli(['files', 'rm', '--force', '--recursive', '/kitfs']));

const configured = (sync: string, api = kubo.api) => ({
  configuration: `[ipfs.kubo]\napi = "${api}"\n[sync]\n${sync}\n`,
});

const statusOf = (daemon: TestDaemon) => daemon.json<Status>(['status']);

/** What a file of the tree is at the node; '' while it is not there. */
const there = (path: string) => kubo.cli(['files', 'read', `/kitfs/${path}`]).catch(() => '');

async function arrives(path: string, text: string, daemon: TestDaemon): Promise<void> {
  const deadline = performance.now() + ARRIVES_MS_MAX;
  while ((await there(path)) !== text) {
    if (performance.now() > deadline) throw new Error(`it did not arrive:\n${daemon.output}`);
    await wait(POLL_MS);
  }
}

describe('a tree', () => {
  test('comes to the node when it rests, and after a kill what was not there yet', async () => {
    await using daemon = await TestDaemon.start(configured('debounce_ms = 300'));
    await daemon.shell('mkdir ipfs/d; echo one > ipfs/d/f');
    await arrives('ipfs/d/f', 'one\n', daemon);
    await daemon.shell('echo two > ipfs/d/f');
    await daemon.crash();
    await arrives('ipfs/d/f', 'two\n', daemon);
    await daemon.shell('echo three > ipfs/d/g');
    await daemon.kill();
    await daemon.restart();
    await arrives('ipfs/d/g', 'three\n', daemon);
    const { uploads, health } = await statusOf(daemon);
    expect(uploads).toMatchObject([{ path: '/ipfs', target: 'ipfs', attempts: 0 }]);
    expect(health.state).toBe('ok');
    await kubo.gc();
    expect(await there('ipfs/d/f')).toBe('two\n');
  });

  test('is there when the daemon has stopped, though nothing rested before', async () => {
    await using daemon = await TestDaemon.start(configured('debounce_ms = 3600000'));
    await daemon.shell('echo last > ipfs/last');
    expect((await statusOf(daemon)).uploads).toEqual([]);
    await daemon.stop();
    expect(await there('ipfs/last')).toBe('last\n');
  });

  test('waits with its changes while the node is away, and says so', async () => {
    await using other = await KuboNode.start();
    await using daemon = await TestDaemon.start(configured('debounce_ms = 100', other.api));
    await other.kill();
    await daemon.shell('echo one > ipfs/f');
    let status = await statusOf(daemon);
    const deadline = performance.now() + ARRIVES_MS_MAX;
    while (status.uploads[0]?.error_code === undefined && performance.now() < deadline) {
      await wait(POLL_MS);
      status = await statusOf(daemon);
    }
    const code = 'IPFS_DAEMON_NOT_RUNNING';
    expect(status.uploads).toMatchObject([{ state: 'failed', error_code: code }]);
    expect(status.uploads[0]?.held).toBeUndefined();
    expect(status.health).toMatchObject({ state: 'degraded', because: [{ error_code: code }] });
    await other.restart();
    while (status.uploads[0]?.state !== 'pinned' && performance.now() < deadline) {
      await wait(POLL_MS);
      status = await statusOf(daemon);
    }
    expect(status.uploads).toMatchObject([{ state: 'pinned', attempts: 0 }]);
    expect(status.health.state).toBe('ok');
    const shown = JSON.parse(await daemon.run('cat', ['.kitfs/status.json'])) as Status;
    expect(shown.uploads[0]).toEqual({ ...status.uploads[0], wanted: undefined, held: undefined });
  });
});

describe('a file', () => {
  const rungOf = (daemon: TestDaemon, path: string) =>
    daemon.run('getfattr', ['--only-values', '-n', 'user.kitfs.durability', path]);

  test('climbs to pinned by itself, and comes down with a change', async () => {
    await using daemon = await TestDaemon.start(configured('debounce_ms = 300'));
    await daemon.shell('mkdir ipfs/d; echo one > ipfs/d/f; : > ipfs/d/empty');
    const waited = await daemon.json(['wait', '--until', 'pinned', '/ipfs/d/f']);
    expect(waited).toMatchObject({
      path: '/ipfs/d/f',
      durability: { state: 'pinned', have: 1, want: 1, replicas: [{ backend: 'ipfs' }] },
    });
    expect(await there('ipfs/d/f')).toBe('one\n');
    await daemon.json(['wait', '--until', 'pinned', '/ipfs']);
    expect(await rungOf(daemon, 'ipfs/d/empty')).toBe('pinned');
    await daemon.shell('echo two > ipfs/d/f');
    const rungs = await daemon.shell(
      'echo three > ipfs/d/f; getfattr --only-values -n user.kitfs.durability ipfs/d/f',
    );
    expect(['journaled', 'fsynced', 'local']).toContain(rungs);
    await daemon.json(['wait', '--until', 'pinned', '/ipfs/d/f']);
    expect(await there('ipfs/d/f')).toBe('three\n');
    await daemon.kill();
    await daemon.restart();
    await daemon.json(['wait', '--until', 'pinned', '/ipfs/d/f']);
  });

  test('whose node lost it is brought there anew', async () => {
    await using other = await KuboNode.start();
    const configuration = configured('debounce_ms = 300\ncheck_s = 1\nwant = 1', other.api);
    await using daemon = await TestDaemon.start(configuration);
    await daemon.shell('echo one > ipfs/f');
    await daemon.json(['wait', '--until', 'replicated', '/ipfs/f']);
    /** Those that are ours. */
    const pins = async () => {
      const lines = (await other.cli(['pin', 'ls', '--type=recursive', '--names'])).split('\n');
      const ours = lines.filter((line) => / kitfs \S+ \/ipfs$/.test(line));
      return ours.map((line) => line.split(' ')[0] ?? '').sort();
    };
    const before = await pins();
    expect(before).toHaveLength(3);
    for (const cid of before) await other.cli(['pin', 'rm', cid]);
    await other.cli(['files', 'rm', '-r', '/kitfs']);
    await other.gc();
    const deadline = performance.now() + ARRIVES_MS_MAX;
    while ((await pins()).length < 3 && performance.now() < deadline) await wait(POLL_MS);
    expect(await pins()).toEqual(before);
    expect(await other.cli(['files', 'read', '/kitfs/ipfs/f'])).toBe('one\n');
  });
});

describe('a node', () => {
  const rungOf = (daemon: TestDaemon) =>
    daemon.run('getfattr', ['--only-values', '-n', 'user.kitfs.durability', 'ipfs/f']);

  test('that is away is believed no more: its files come down, and climb when it is back', async () => {
    await using other = await KuboNode.start();
    await using daemon = await TestDaemon.start(
      configured('debounce_ms = 300\ncheck_s = 1', other.api),
    );
    await daemon.shell('echo one > ipfs/f');
    await daemon.json(['wait', '--until', 'pinned', '/ipfs/f']);
    await other.kill();
    const deadline = performance.now() + ARRIVES_MS_MAX;
    while ((await rungOf(daemon)) === 'pinned' && performance.now() < deadline) await wait(POLL_MS);
    expect(await rungOf(daemon)).toBe('local');
    await other.restart();
    await daemon.json(['wait', '--until', 'pinned', '/ipfs/f']);
  });

  test('whose MFS went back to an earlier tree of ours shows the newest again', async () => {
    await using other = await KuboNode.start();
    const sync = 'debounce_ms = 300\ncheck_s = 1\nat_unmount = false';
    await using daemon = await TestDaemon.start(configured(sync, other.api));
    await daemon.shell('echo one > ipfs/f');
    await daemon.json(['wait', '--until', 'pinned', '/ipfs/f']);
    const first = (await other.cli(['files', 'stat', '--hash', '/kitfs/ipfs'])).trim();
    await daemon.shell('echo two > ipfs/f');
    await daemon.json(['wait', '--until', 'pinned', '/ipfs/f']);
    await daemon.stop();
    await other.cli(['files', 'rm', '-r', '/kitfs/ipfs']);
    await other.cli(['files', 'cp', `/ipfs/${first}`, '/kitfs/ipfs']);
    await daemon.restart();
    // Between the old tree and the new one there is none.
    const newest = () => other.cli(['files', 'read', '/kitfs/ipfs/f']).catch(() => '');
    const deadline = performance.now() + ARRIVES_MS_MAX;
    while ((await newest()) !== 'two\n' && performance.now() < deadline) await wait(POLL_MS);
    expect(await newest()).toBe('two\n');
    const settled = async () => (await statusOf(daemon)).uploads;
    await expect.poll(settled, { timeout: 5000 }).toMatchObject([{ state: 'pinned' }]);
  });
});

test('an upload that is under way at a stop was stopped, and did not fail', async () => {
  await using server = await Server.start();
  // It never answers.
  server.on('files/stat', () => undefined);
  const configuration = configured('debounce_ms = 100\nat_unmount = false', server.api);
  await using daemon = await TestDaemon.start(configuration);
  await daemon.shell('echo one > ipfs/f');
  await server.called('files/stat');
  await daemon.stop();
  expect(daemon.output).not.toContain('could not be brought to a store');
  await daemon.restart();
  expect((await statusOf(daemon)).uploads).toMatchObject([{ state: 'queued', attempts: 0 }]);
});
