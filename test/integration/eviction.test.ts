/** The quota of a daemon with a real Kubo: what goes, what stays, and that every byte comes back. */
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import type { Status } from '../../src/daemon/status.ts';
import { FaultyProxy } from '../services/faulty-proxy.ts';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

const MIB = 1024 * 1024;
const HAPPENS_MS_MAX = 40_000;
const POLL_MS = 100;
/** A read that fails needs no deadline of anybody. */
const SOON_MS = 10_000;

const configured = (api: string, quotaMib: number) => ({
  configuration: `[ipfs.kubo]\napi = "${api}"\n[sync]\ndebounce_ms = 200\n[content]\nquota_mib = ${quotaMib}\n`,
});

const statusOf = (daemon: TestDaemon) => daemon.json<Status>(['status']);
const spaceOf = async (daemon: TestDaemon) => (await statusOf(daemon)).space;

async function until(daemon: TestDaemon, what: string, isSo: () => Promise<boolean>) {
  const deadline = performance.now() + HAPPENS_MS_MAX;
  while (!(await isSo())) {
    if (performance.now() > deadline) {
      const space = JSON.stringify(await spaceOf(daemon));
      throw new Error(`${what}: not so\n${space}\n${daemon.output}`);
    }
    await wait(POLL_MS);
  }
}

/** Bytes that files take here, as programs see it; what went takes none. */
const takenBytes = async (daemon: TestDaemon): Promise<number> => {
  const sectors = await daemon.shell("find ipfs -type f -printf '%b\\n'");
  return sectors.split('\n').reduce((sum, text) => sum + Number(text) * 512, 0);
};

/** Room is taken in blocks of the disk. */
const SLACK_BYTES = 100_000;

const isWithin = (daemon: TestDaemon, mib: number) => async () => {
  const isCounted = ((await spaceOf(daemon))?.cached_bytes ?? Infinity) <= mib * MIB;
  return isCounted && (await takenBytes(daemon)) <= mib * MIB + SLACK_BYTES;
};

/** Bytes on the disk below the directory of content. */
const diskBytes = async (daemon: TestDaemon): Promise<number> =>
  Number((await daemon.shell(`du -s --block-size=1 '${daemon.state}/content' | cut -f1`)).trim());

const FILL = `
  mkdir ipfs/t ipfs/kept
  setfattr -n user.kitfs.pin -v 1 ipfs/kept
  for i in 1 2 3 4 5 6 7 8 9 10; do head -c 1500000 /dev/urandom > ipfs/t/f$i; done
  for i in 1 2 3 4 5 6 7 8 9 10; do head -c 20000 /dev/urandom > ipfs/t/small$i; done
  head -c 2000000 /dev/urandom > ipfs/kept/large
  head -c 30000 /dev/urandom > ipfs/kept/small
`;
/** Of every file, as the mount shows them. */
const sums = (daemon: TestDaemon) =>
  daemon.shell('find ipfs -type f | sort | xargs sha256sum', { timeoutMs: HAPPENS_MS_MAX });

async function filled(daemon: TestDaemon): Promise<string> {
  await daemon.shell(FILL);
  const wanted = await sums(daemon);
  expect(wanted.split('\n')).toHaveLength(23);
  await daemon.json(['wait', '--until', 'pinned', '/ipfs']);
  return wanted;
}

/** Paths of files that cannot be read, and how long the slowest read took. */
async function unreadable(daemon: TestDaemon): Promise<{ paths: string[]; slowestMs: number }> {
  const paths: string[] = [];
  let slowestMs = 0;
  for (const path of (await daemon.shell('find ipfs -type f | sort')).trim().split('\n')) {
    const began = performance.now();
    const { code, stderr } = await daemon.attempt('cat', [path]);
    slowestMs = Math.max(slowestMs, performance.now() - began);
    if (code === 0) continue;
    expect(stderr).toContain('Input/output error');
    paths.push(path);
  }
  return { paths, slowestMs };
}

describe('a tree beyond the quota', () => {
  test('is within it: without the node what went fails fast, with it every byte is back', async () => {
    await using kubo = await KuboNode.start();
    await using daemon = await TestDaemon.start(configured(kubo.api, 5));
    const wanted = await filled(daemon);
    await until(daemon, 'the tree is within its quota', isWithin(daemon, 5));
    const space = await spaceOf(daemon);
    expect(space).toMatchObject({ quota_bytes: 5 * MIB, pinned_bytes: 2_030_000 });
    // What was let go is gone from the disk, and not only from the books.
    expect(await diskBytes(daemon)).toBeLessThan(7 * MIB);
    await kubo.gc();
    await kubo.kill();
    const { paths, slowestMs } = await unreadable(daemon);
    expect(paths.length).toBeGreaterThan(6);
    expect(paths.filter((path) => path.includes('kept'))).toEqual([]);
    expect(slowestMs).toBeLessThan(SOON_MS);
    const errors = await daemon.run('cat', ['.kitfs/errors.ndjson']);
    expect(errors).toContain('CONTENT_NOT_AVAILABLE');
    expect(errors).toContain('not-running');
    await kubo.restart();
    expect(await sums(daemon)).toBe(wanted);
    await until(daemon, 'the tree is within its quota again', isWithin(daemon, 5));
    await daemon.crash();
    expect(await sums(daemon)).toBe(wanted);
    await daemon.stop();
    expect(await daemon.json(['fsck'])).toMatchObject({ findings: [] });
  });

  test('loses nothing by kills while it is brought within it', async () => {
    await using kubo = await KuboNode.start();
    await using daemon = await TestDaemon.start(configured(kubo.api, 1));
    const wanted = await filled(daemon);
    for (let kill = 0; kill < 4; kill += 1) {
      await wait(kill * 150);
      await daemon.crash();
    }
    await until(daemon, 'nothing is left to go', async () => {
      const { cached_bytes: here = Infinity, pinned_bytes: pinned = 0 } =
        (await spaceOf(daemon)) ?? {};
      return pinned > 0 && here <= pinned;
    });
    await kubo.gc();
    expect(await sums(daemon)).toBe(wanted);
    await daemon.stop();
    expect(await daemon.json(['fsck'])).toMatchObject({ findings: [] });
  });
});

test('a file whose pins were removed from the node behind our back stays', async () => {
  await using kubo = await KuboNode.start();
  await using daemon = await TestDaemon.start(configured(kubo.api, 1));
  const holder = daemon.spawn('/bin/sh', ['-c', ': > ipfs/f && exec 3< ipfs/f; echo open; read x']);
  await once(holder.stdout ?? holder, 'data');
  await daemon.shell('head -c 3000000 /dev/urandom > ipfs/f');
  const wanted = await sums(daemon);
  await daemon.json(['wait', '--until', 'pinned', '/ipfs/f']);
  const names = await kubo.cli(['pin', 'ls', '--type=recursive', '--names']);
  const pins = names.split('\n').filter((line) => line.includes('kitfs'));
  expect(pins.length).toBeGreaterThan(0);
  for (const pin of pins) await kubo.cli(['pin', 'rm', pin.split(' ')[0] ?? '']);
  holder.stdin?.end('\n');
  await once(holder, 'exit');
  // Something changed: files are looked through again.
  await daemon.shell('mkdir mem/d');
  await until(daemon, 'the store was asked', async () =>
    daemon.output.includes('bytes of files stay: the store holds their tree no more'),
  );
  await kubo.kill();
  expect(await sums(daemon)).toBe(wanted);
});

test('however many read a block that went, the node is asked for it once', async () => {
  await using kubo = await KuboNode.start();
  await using proxy = await FaultyProxy.start(kubo.api);
  await using daemon = await TestDaemon.start(configured(proxy.api, 1));
  await daemon.shell('head -c 6000000 /dev/urandom > ipfs/f');
  const wanted = await sums(daemon);
  await daemon.json(['wait', '--until', 'pinned', '/ipfs/f']);
  await until(daemon, 'it went', isWithin(daemon, 1));
  const before = proxy.passed.length;
  const readers = Array.from({ length: 8 }, () => daemon.run('sha256sum', ['ipfs/f']));
  for (const sum of await Promise.all(readers)) expect(wanted).toContain(sum.slice(0, 64));
  const asked = proxy.passed
    .slice(before)
    // What the evictor reads back it asks of the node alone.
    .filter(({ path }) => path.startsWith('block/get') && !path.includes('offline=true'))
    .map(({ path }) => new URLSearchParams(path.split('?')[1]).get('arg'));
  expect(asked.length).toBe(6);
  expect(new Set(asked).size).toBe(6);
});

test('a file that is pinned here comes here by itself, and stays when the node goes', async () => {
  await using kubo = await KuboNode.start();
  await using daemon = await TestDaemon.start(configured(kubo.api, 1));
  await daemon.shell('mkdir ipfs/d; head -c 3000000 /dev/urandom > ipfs/d/f');
  const wanted = await sums(daemon);
  await daemon.json(['wait', '--until', 'pinned', '/ipfs/d/f']);
  await until(daemon, 'it went', isWithin(daemon, 1));
  await daemon.shell('setfattr -n user.kitfs.pin -v 1 ipfs/d');
  expect(await daemon.run('getfattr', ['--only-values', '-n', 'user.kitfs.pin', 'ipfs/d'])).toBe(
    '1',
  );
  expect(await daemon.run('getfattr', ['-d', 'ipfs/d'])).toBe('');
  await until(daemon, 'it came', async () => (await spaceOf(daemon))?.pinned_bytes === 3_000_000);
  const ownPins = async () =>
    (await kubo.cli(['pin', 'ls', '--type=recursive', '--names'])).match(/kitfs content/g) ?? [];
  expect(await ownPins()).toHaveLength(1);
  await daemon.crash();
  await until(daemon, 'the pin is ended that kept it', async () => (await ownPins()).length === 0);
  await kubo.kill();
  expect(await sums(daemon)).toBe(wanted);
});
