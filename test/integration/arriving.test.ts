/**
 * A mount that begins with a snapshot, while its tree is on its way from a node: what programs see and what they wait
 * for, and what becomes of it when daemon or node end in the middle.
 */
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { FaultyProxy, type PlantedFault } from '../services/faulty-proxy.ts';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

const DIRECTORIES = 40;
const FILES = 10;
/** The record, the root of the tree and of the manifest, and the list of the names at the root. */
const BLOCKS_OF_NAMES = 4;
const RSYNC = ['-aHAXn', '--checksum', '--delete', '--itemize-changes'];

const PLANT = `
for d in $(seq ${DIRECTORIES}); do
  mkdir d$d; for f in $(seq ${FILES}); do echo "$d $f" > d$d/f$f; done; mkdir d$d/inner
done
echo top > file; ln -s file link; ln d7/f3 second; mkfifo pipe; mknod null c 1 3
chmod 751 . d5; setfattr -n user.color -v blue .; touch -d '2001-02-03 04:05:06.123456789' .`;

/** What a directory says of its names, and what they are. */
const LISTED = `
import os, sys
print(sorted((e.name, e.inode(), e.is_dir(follow_symlinks=False)) for e in os.scandir(sys.argv[1])))`;
const SEEN = `
import os, stat, sys
os.chdir(sys.argv[1])
seen = [(name, os.lstat(name)) for name in os.listdir('.')]
print(sorted((name, s.st_ino, stat.S_ISDIR(s.st_mode)) for name, s in seen))`;

const configuration = (api: string) => `[ipfs]\nhome = "kubo"\n[ipfs.kubo]\napi = "${api}"\n`;

let kubo: KuboNode;
let there: TestDaemon;
let snapshot: string;
let proxy: FaultyProxy;
let here: TestDaemon;
/** Of `here`: empty until it has been there once, so that a test can hold it while it starts. */
let args: string[];
let release: () => void;
let held: PlantedFault;

beforeAll(async () => {
  kubo = await KuboNode.start();
  there = await TestDaemon.start({ configuration: configuration(kubo.api) });
  await there.shell(PLANT, { in: 'ipfs' });
  const values = JSON.stringify({ path: '/ipfs', targets: ['ipfs'], wait_for: 'pinned' });
  const { stdout, stderr } = await there.kitfs(['call', 'vfs_sync_to_ipfs', values]);
  snapshot = /"snapshot_cid":\s*"(\w+)"/.exec(stdout)?.[1] ?? stderr;
});
afterAll(async () => {
  await there?.close();
  await kubo?.close();
});

beforeEach(async () => {
  proxy = await FaultyProxy.start(kubo.api);
  args = [];
  here = await TestDaemon.start({ configuration: configuration(proxy.api), args });
  await here.stop();
  args.push('--from', snapshot);
});
afterEach(async () => {
  release?.();
  await here?.close();
  await proxy?.close();
});

/** From now on the node gives no more than the names at the root. */
function hold(skip = BLOCKS_OF_NAMES): void {
  const until = new Promise<void>((resolve) => {
    release = () => {
      held.lift();
      resolve();
    };
  });
  held = proxy.fault('block/get', { kind: 'hold', when: 'before', until }, { skip });
}

const ls = () => here.attempt('ls', ['-a', here.path('ipfs')], { in: here.directory });
const named = () => expect.poll(async () => (await ls()).stdout.split('\n').length, POLL);
const POLL = { timeout: 15_000, interval: 20 };
/** `.`, `..` and what is behind the last line. */
const NAMES = DIRECTORIES + 5 + 3;

/** From elsewhere: python looks for its modules where it is started. */
const python = (script: string) =>
  here.run('python3', ['-c', script, here.path('ipfs')], { in: here.directory });

async function demandSame(): Promise<void> {
  const words = [...RSYNC, `${there.path('ipfs')}/`, './'];
  expect(await here.run('rsync', words, { in: 'ipfs' })).toBe('');
  const { findings } = await here.json<{ findings: unknown[] }>(['fsck']);
  expect(findings).toEqual([]);
}

test('names are there at once, all else when it has come, and others are served meanwhile', async () => {
  hold();
  const starting = here.restart();
  await named().toBe(NAMES);
  const facts = (daemon: TestDaemon) =>
    daemon.run('stat', ['-c', '%a %h %u %g %y', daemon.path('ipfs')], { in: daemon.directory });
  expect(await facts(here)).toBe(await facts(there));
  const sorted = 'ls -U | sort | sha256sum';
  expect(await here.shell(sorted, { in: 'ipfs' })).toBe(await there.shell(sorted, { in: 'ipfs' }));
  const numbers = await python(LISTED);
  // A program that waits ends with its signal, and so does one that is interrupted.
  const late = await here.attempt('timeout', ['-s', 'KILL', '1', 'stat', 'ipfs/d1']);
  expect(late.code ?? late.signal).not.toBe(0);
  const waiting = here.spawn('cat', ['ipfs/d3/f4'], { in: here.mountPoint });
  const told = once(waiting.stdout as NonNullable<typeof waiting.stdout>, 'data');
  const status = await here.json<{ arriving: unknown; health: { state: string } }>(['status']);
  expect(status).toMatchObject({
    arriving: { path: '/ipfs', from: snapshot, names_total: DIRECTORIES * (FILES + 2) + 6 },
    health: { state: 'recovering' },
  });
  expect((await here.kitfs(['status'])).stdout).toMatch(/arriving +\/ipfs: \d+ of \d+ names read/);
  // Tools are opened afterwards.
  const socket = await here.attempt('test', ['-S', here.mcpSocket], { in: here.directory });
  expect(socket.code).toBe(1);
  expect(await here.run('cat', ['.kitfs/status.json'])).toContain('"arriving"');
  release();
  expect(String(await told)).toBe('3 4\n');
  await starting;
  expect(await python(LISTED)).toBe(numbers);
  expect(await python(SEEN)).toBe(numbers);
  await demandSame();
});

test('what is made there meanwhile is made when the tree is there', async () => {
  hold();
  const starting = here.restart();
  await named().toBe(NAMES);
  const made = here.shell('mkdir mine && echo x > mine/x && ls mine d1 | wc -l', { in: 'ipfs' });
  await expect.poll(() => held.hits, POLL).toBeGreaterThan(0);
  release();
  expect(await made).toBe(`${FILES + 5}\n`);
  await starting;
});

test('a daemon that is killed on the way is followed by one that goes on', async () => {
  hold();
  const starting = here.restart();
  await named().toBe(NAMES);
  const waiting = here.attempt('cat', ['ipfs/d3/f4'], { in: here.mountPoint });
  await held.struck;
  const [before, hits] = [here.pid, held.hits];
  process.kill(before, 'SIGKILL');
  await expect.poll(() => here.pid, POLL).not.toBe(before);
  await expect.poll(() => held.hits, POLL).toBeGreaterThan(hits);
  release();
  expect((await waiting).stdout).toBe('3 4\n');
  await starting;
  await demandSame();
});

test('what was shown before keeper and daemon were killed is there after the next start', async () => {
  hold();
  const starting = here.restart().catch(() => {});
  await named().toBe(NAMES);
  await held.struck;
  await here.kill();
  await starting;
  release();
  args.length = 0;
  await here.restart();
  await demandSame();
});

test('a part that cannot be had is an error, and nothing is there; the next start goes on', async () => {
  const gone = proxy.fault('block/get', { kind: 'status', status: 500 }, { skip: 30 });
  await expect(here.restart()).rejects.toThrow(/fetch block \w+: content missing/);
  gone.lift();
  await here.restart();
  await demandSame();
});

test('who waits for what cannot be had gets EIO', async () => {
  hold();
  const starting = here.restart().then(
    () => 'ready',
    () => 'failed',
  );
  await named().toBe(NAMES);
  const waiting = here.attempt('cat', ['ipfs/d3/f4'], { in: here.mountPoint });
  const gone = proxy.fault('block/get', { kind: 'status', status: 500 });
  await expect.poll(() => held.hits, POLL).toBeGreaterThan(0);
  release();
  expect((await waiting).stderr).toMatch(/Input\/output error/);
  expect(await starting).toBe('failed');
  gone.lift();
});

test('killed again and again, at each step further, it is there in the end', {
  timeout: 120_000,
}, async () => {
  for (let skip = 2; skip < 2 * DIRECTORIES; skip += 12) {
    hold(skip);
    const starting = here.restart().catch(() => {});
    await Promise.race([held.struck, starting]);
    if (here.isRunning && held.hits > 0) await here.kill();
    release();
    await starting;
    if (here.isRunning) break;
  }
  if (!here.isRunning) await here.restart();
  await demandSame();
});

test('a driver that is asked by path shows the tree when all of it is there', async () => {
  args.push('--driver', 'fuse-native');
  await here.restart();
  expect(await here.shell('find . | wc -l', { in: 'ipfs' })).toBe(
    `${DIRECTORIES * (FILES + 2) + 6}\n`,
  );
});
