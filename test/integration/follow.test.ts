/** What one machine publishes under a name, on another: two daemons, each with a Kubo of its own. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { FollowStatus, Status } from '../../src/daemon/daemon.ts';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

const NEWS = 'brought a copy up to date';
const TROUBLE = 'a copy stays as it is';
const NEWS_MS_MAX = 60_000;
const SETTLED_MS_MAX = 30_000;

let nodes: readonly [KuboNode, KuboNode];
let publisher: TestDaemon;
let follower: TestDaemon;
let name: string;
const heard: string[] = [];
let onHeard: () => void = () => {};

const home = (kubo: KuboNode) => `[ipfs]\nhome = "kubo"\n[ipfs.kubo]\napi = "${kubo.api}"\n`;

beforeAll(async () => {
  nodes = [await KuboNode.start(), await KuboNode.start()];
  await nodes[1].connect(nodes[0]);
  publisher = await TestDaemon.start({ configuration: home(nodes[0]) });
  follower = await TestDaemon.start({
    configuration: home(nodes[1]),
    onLine: (line) => {
      heard.push(line);
      onHeard();
    },
  });
  await publisher.shell(`mkdir -p ipfs/docs/sub && cd ipfs/docs
    echo first > a && echo stays > sub/b && chmod 640 a && ln a sub/c && ln -s sub/b link
    setfattr -n user.k -v v a && touch -d 2001-02-03T04:05:06.789 sub/b`);
  name = await publish();
});
afterAll(async () => {
  await follower?.close();
  await publisher?.close();
  for (const node of nodes ?? []) await node.close();
});

interface Envelope {
  readonly data: Readonly<Record<string, string>>;
}

async function done(daemon: TestDaemon, tool: string, values: object) {
  return (await daemon.json<Envelope>(['call', tool, JSON.stringify(values)])).data;
}

/** The tree as it is now is what the name means; answers the name. */
async function publish(): Promise<string> {
  const sync = { path: '/ipfs/docs', wait_for: 'pinned', wait_ms: 25_000 };
  const { snapshot_cid: cid } = await done(publisher, 'vfs_sync_to_ipfs', sync);
  const values = { ipfs_path: cid, ttl_s: 1, lifetime_s: 3600 };
  const { ipns_name } = await done(publisher, 'ipfs_name_publish', values);
  return ipns_name ?? '';
}

/** Resolves when the daemon that follows says so, from now on. */
function told(words: string): Promise<void> {
  const from = heard.length;
  return new Promise((resolve, reject) => {
    const late = setTimeout(
      () => reject(new Error(`not said: ${words}\n${heard.slice(from).join('\n')}`)),
      NEWS_MS_MAX,
    );
    onHeard = () => {
      if (!heard.slice(from).some((line) => line.includes(words))) return;
      clearTimeout(late);
      onHeard = () => {};
      resolve();
    };
  });
}

async function copy(): Promise<FollowStatus | undefined> {
  const list = await follower.json<{ path: string; follows: FollowStatus }[]>(['follow', '--list']);
  return list.find(({ path }) => path === '/copy')?.follows;
}

/** What a program sees of a tree, bytes and times and all. */
const seen = (daemon: TestDaemon, path: string) =>
  daemon.shell(`cd ${path}
    find . -printf '%P %y %m %U:%G %n %s %T@ %l\n' | sort
    find . -type f | sort | xargs sha256sum
    find . -type f | sort | xargs getfattr -d -m user.k`);

test('a copy is the published tree in everything, and nobody changes it', async () => {
  const begun = await follower.kitfs(['follow', `/ipns/${name}`, '/copy', '--interval', '1']);
  expect(begun).toMatchObject({ code: 0, stdout: `${follower.path('copy')}\n` });
  expect(await seen(follower, 'copy')).toBe(await seen(publisher, 'ipfs/docs'));
  for (const change of [
    'echo x > copy/a',
    'touch copy/new',
    'rm copy/a',
    'chmod 600 copy/a',
    'mv copy/a copy/z',
    'mkdir copy/sub/d',
  ]) {
    const { code, stderr } = await follower.attempt('/bin/sh', ['-c', change]);
    expect([change, code === 0, stderr.includes('Read-only file system')]).toEqual([
      change,
      false,
      true,
    ]);
  }
});

test('it becomes what is published then', async () => {
  await publisher.shell('cd ipfs/docs && echo second > new && rm link && mv sub/b sub/moved');
  const news = told(NEWS);
  await publish();
  await news;
  expect(await seen(follower, 'copy')).toBe(await seen(publisher, 'ipfs/docs'));
});

test('it is followed on by the daemon after a crash, and by one that is started anew', async () => {
  await follower.crash();
  await publisher.shell('echo third > ipfs/docs/third');
  let news = told(NEWS);
  await publish();
  await news;
  expect(await follower.run('cat', ['copy/third'])).toBe('third\n');
  await follower.stop();
  await publisher.shell('echo fourth > ipfs/docs/fourth');
  await publish();
  news = told(NEWS);
  await follower.restart();
  await news;
  expect(await follower.run('cat', ['copy/fourth', 'copy/third'])).toBe('fourth\nthird\n');
});

test('while the name cannot be asked it stays as it is, and the status says why', async () => {
  const before = await seen(follower, 'copy');
  const trouble = told(TROUBLE);
  await nodes[1].kill();
  await trouble;
  expect(await seen(follower, 'copy')).toBe(before);
  expect((await copy())?.error).toMatchObject({ error_code: 'IPFS_DAEMON_NOT_RUNNING' });
  const { stdout } = await follower.kitfs(['status']);
  expect(stdout).toContain(`/copy: ipns, read-only, follows /ipns/${name}, as of `);
  expect(stdout).toContain('not-running');
  await nodes[1].restart();
  await nodes[1].connect(nodes[0]);
  await publisher.shell('echo fifth > ipfs/docs/fifth');
  const news = told(NEWS);
  await publish();
  await news;
  expect(await follower.run('cat', ['copy/fifth'])).toBe('fifth\n');
  expect((await copy())?.error).toBeUndefined();
});

test('a name on the mount leads to what it means now, and to that only as long as it may', async () => {
  const root = await done(publisher, 'vfs_sync_to_ipfs', {
    path: '/ipfs/docs/sub',
    targets: ['ipfs'],
  });
  const values = { key: 'files', create_key: true, ttl_s: 1, ipfs_path: root['root_cid'] };
  const { ipns_name: files } = await done(publisher, 'ipfs_name_publish', values);
  const at = `ipns/${files}`;
  expect(await follower.run('readlink', [at])).toBe(`../ipfs/${root['root_cid']}\n`);
  expect(await follower.run('cat', [`${at}/moved`])).toBe('stays\n');
  expect(await follower.run('ls', [`${at}/`])).toBe('c\nmoved\n');
  await follower.crash();
  expect(await follower.run('cat', [`${at}/moved`])).toBe('stays\n');
  await publisher.shell('echo later > ipfs/docs/sub/later');
  const next = await done(publisher, 'vfs_sync_to_ipfs', {
    path: '/ipfs/docs/sub',
    targets: ['ipfs'],
  });
  await done(publisher, 'ipfs_name_publish', { ...values, ipfs_path: next['root_cid'] });
  const deadline = performance.now() + SETTLED_MS_MAX;
  // The record of before may be kept for its second, here and at the node.
  while ((await follower.run('readlink', [at])) !== `../ipfs/${next['root_cid']}\n`) {
    if (performance.now() > deadline) throw new Error('it leads where it led for ever');
  }
  expect(await follower.run('cat', [`${at}/later`])).toBe('later\n');
  const nowhere = await follower.attempt('cat', ['ipns/no-name-at-all/x']);
  expect(nowhere.stderr).toContain('No such file or directory');
  const made = await follower.attempt('mkdir', ['ipns/mine-and-mine']);
  expect(made.code).not.toBe(0);
});

test('an empty state directory begins with what a name means', async () => {
  const news = told(NEWS);
  await publish();
  await news;
  await using third = await TestDaemon.start({
    configuration: home(nodes[1]),
    args: ['--from', `/ipns/${name}`],
  });
  expect(await seen(third, 'ipfs')).toBe(await seen(publisher, 'ipfs/docs'));
  await third.shell('echo mine > ipfs/mine');
  await publish();
  await third.stop();
  await third.restart();
  expect(await third.run('cat', ['ipfs/mine'])).toBe('mine\n');
});

test('a copy that is ended is gone, and is followed no more', async () => {
  expect(await follower.kitfs(['follow', '--end', '/copy'])).toMatchObject({ code: 0 });
  expect(await copy()).toBeUndefined();
  const { mounts } = await follower.json<Status>(['status']);
  expect(mounts[0]?.trees.map(({ path }) => path)).not.toContain('/copy');
  const { code } = await follower.attempt('ls', ['copy']);
  expect(code).not.toBe(0);
  expect(await follower.kitfs(['follow', '--end', '/copy'])).toMatchObject({ code: 1 });
});
