/** `/mfs` on the real mount: programs and other clients of one real Kubo at one tree. */
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Status } from '../../src/daemon/daemon.ts';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

/** How long one side may take to have what the other has. */
const STEP_MS_MAX = 15_000;
const POLL_MS = 20;

let kubo: KuboNode;
let daemon: TestDaemon;

beforeAll(async () => {
  kubo = await KuboNode.start();
  const configuration = `[mounts]\nmfs = true\n[ipfs.kubo]\napi = "${kubo.api}"\n`;
  daemon = await TestDaemon.start({ configuration });
});
afterAll(async () => {
  await daemon?.close();
  await kubo?.close();
});

/** What a file of MFS is; '' while it is not there, or nobody answers. */
const there = (path: string): Promise<string> =>
  kubo.rpc.bytes(`files/read?arg=${encodeURIComponent(path)}`).then(String, () => '');

const writeThere = (path: string, text: string) => {
  const query = `arg=${encodeURIComponent(path)}&create=true&truncate=true&parents=true`;
  return kubo.rpc.bytes(`files/write?${query}`, text);
};

/** What a program reads; '' while it is not there. */
const here = async (path: string) => (await daemon.attempt('cat', [`mfs${path}`])).stdout;

async function becomes(what: () => Promise<unknown>, wanted: unknown): Promise<void> {
  const deadline = performance.now() + STEP_MS_MAX;
  for (;;) {
    const is = JSON.stringify(await what());
    if (is === JSON.stringify(wanted)) return;
    if (performance.now() > deadline) {
      throw new Error(`it is ${is}, not ${JSON.stringify(wanted)}\n${daemon.output}`);
    }
    await wait(POLL_MS);
  }
}

const tree = async () => {
  const { mounts } = await daemon.json<Status>(['status']);
  const found = mounts[0]?.trees.find(({ path }) => path === '/mfs');
  if (found?.mfs === undefined) throw new Error('there is no /mfs');
  return found.mfs;
};

test('what a program writes to /mfs other clients of the node read', async () => {
  await daemon.shell(`cd mfs && echo first > a && mkdir -p d/e && printf second > d/e/b
    head -c 3000000 /dev/zero > large && ln -s a link`);
  await becomes(() => there('/a'), 'first\n');
  await becomes(() => there('/d/e/b'), 'second');
  await becomes(async () => (await there('/large')).length, 3_000_000);
  await daemon.shell('cd mfs && echo more >> a && mv d/e moved && rm -r d large');
  await becomes(() => there('/a'), 'first\nmore\n');
  await becomes(() => there('/moved/b'), 'second');
  await becomes(
    async () => (await kubo.cli(['files', 'ls', '/'])).trim().split('\n'),
    [...['a', 'link', 'moved']],
  );
});

test('what other clients change programs see', async () => {
  expect(await here('/a')).toBe('first\nmore\n');
  await writeThere('/a', 'theirs');
  await becomes(() => here('/a'), 'theirs');
  await writeThere('/new/deep/f', 'of others');
  await becomes(() => here('/new/deep/f'), 'of others');
  await kubo.cli(['files', 'rm', '-r', '/new']);
  await becomes(() => daemon.run('ls', ['mfs']), 'a\nlink\nmoved\n');
});

test('what MFS cannot hold programs are told', async () => {
  for (const [command, words] of [
    ['ln mfs/a mfs/second', 'Operation not permitted'],
    ['mkfifo mfs/fifo', 'Operation not permitted'],
    [`mkdir "mfs/$(printf '\\377')"`, 'Invalid or incomplete multibyte or wide character'],
  ] as const) {
    const { code, stderr } = await daemon.attempt('/bin/sh', ['-c', command]);
    expect([command, code === 0, stderr]).toEqual([command, false, expect.stringContaining(words)]);
  }
});

test('programs and other clients write at once, and both have all of it', async () => {
  const names = Array.from({ length: 30 }, (_, at) => String(at));
  const theirs = async () => {
    for (const at of names) await writeThere(`/both/t${at}`, `theirs ${at}`);
  };
  const script = `mkdir -p mfs/both && cd mfs/both && for at in $(seq 0 29)
    do echo mine $at > m$at; done`;
  await Promise.all([theirs(), daemon.shell(script)]);
  for (const at of names) {
    await becomes(() => there(`/both/m${at}`), `mine ${at}\n`);
    await becomes(() => here(`/both/t${at}`), `theirs ${at}`);
    expect(await there(`/both/t${at}`)).toBe(`theirs ${at}`);
  }
});

test('one file changed on both sides is there twice, in both', async () => {
  await daemon.shell('mkdir mfs/twice && echo base > mfs/twice/f.txt');
  await becomes(() => there('/twice/f.txt'), 'base\n');
  // While it is open the program's side cannot leave, and the other one cannot come.
  await daemon.shell(`exec 3>>mfs/twice/f.txt; echo mine >&3
    curl -sf -X POST -F file=theirs "${kubo.api}/api/v0/files/write?arg=/twice/f.txt&truncate=true"
    exec 3>&-`);
  const texts = async (list: () => Promise<string>, read: (path: string) => Promise<string>) => {
    const names = (await list()).trim().split('\n');
    return (await Promise.all(names.map((name) => read(`/twice/${name}`)))).sort();
  };
  const both = ['base\nmine\n', 'theirs'];
  await becomes(() => texts(() => kubo.cli(['files', 'ls', '/twice']), there), both);
  await becomes(() => texts(() => daemon.run('ls', ['mfs/twice']), here), both);
});

test('what was acknowledged comes to MFS though the daemon was killed at once', async () => {
  for (let round = 0; round < 5; round += 1) {
    await daemon.shell(
      `for at in 1 2 3 4 5; do echo ${round} $at > mfs/k$at; done; rm -f mfs/gone`,
    );
    await daemon.crash();
    for (const at of [1, 2, 3, 4, 5]) await becomes(() => there(`/k${at}`), `${round} ${at}\n`);
  }
  const { stdout } = await daemon.attempt('ls', ['mfs']);
  expect(stdout).not.toContain('conflict');
});

test('while the node is away everything goes on here, and comes to it later', async () => {
  await becomes(async () => (await tree()).waiting.files, 0);
  await kubo.kill();
  await daemon.shell('cd mfs && cat a && echo waits > w && echo more >> w && mkdir later && rm k1');
  await becomes(async () => {
    const { waiting, error } = await tree();
    return [waiting.files, error?.error_code];
  }, [3, 'IPFS_DAEMON_NOT_RUNNING']);
  const { stdout } = await daemon.kitfs(['status']);
  expect(stdout).toContain('/mfs: mfs, shows / of MFS');
  expect(stdout).toContain('3 names with');
  await kubo.restart();
  await becomes(() => there('/w'), 'waits\nmore\n');
  await becomes(() => there('/k1'), '');
  await becomes(async () => (await tree()).error, undefined);
});

test('what Kubo acknowledged and lost by a kill is brought to it again', async () => {
  for (let round = 0; round < 4; round += 1) {
    await daemon.shell(`echo ${round} > mfs/lost; rm -f mfs/old; mv mfs/lost mfs/old`);
    await becomes(() => there('/old'), `${round}\n`);
    await kubo.kill();
    await kubo.restart();
    await becomes(() => there('/old'), `${round}\n`);
    expect(await here('/old')).toBe(`${round}\n`);
  }
  expect(await daemon.run('ls', ['mfs'])).not.toContain('conflict');
});

test('an unmount brings all of it, and what cannot leave keeps it mounted', async () => {
  const unmount = (force: boolean) =>
    daemon.kitfs(['call', 'vfs_unmount', JSON.stringify({ mount_point: '/mfs', force })]);
  await kubo.kill();
  await daemon.shell('echo last > mfs/last');
  const refused = await unmount(false);
  expect(refused.stdout + refused.stderr).toContain('what is not in MFS yet stays here');
  expect(await here('/last')).toBe('last\n');
  await kubo.restart();
  expect(await unmount(false)).toMatchObject({ code: 0 });
  expect(await there('/last')).toBe('last\n');
  const again = { backend: 'mfs', mount_point: '/mfs' };
  await daemon.json(['call', 'vfs_mount', JSON.stringify(again)]);
  expect(await here('/last')).toBe('last\n');
});
