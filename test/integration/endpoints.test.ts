/** Nothing of kitfs reaches a network, or is reached by one, unless it is configured. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { call, connectAgent } from './agent.ts';
import { TestDaemon } from './daemon.ts';

const folder = mkdtempSync(join(tmpdir(), 'kitfs-endpoints-'));
const launcher = join(folder, 'unix-only');
beforeAll(() => {
  const source = fileURLToPath(new URL('access/unix-only.c', import.meta.url));
  execFileSync('gcc', ['-O2', '-Wall', '-Wextra', '-o', launcher, source]);
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Numbers of all sockets a process has, by its descriptors; proc(5). */
const socketsOf = (pid: number): string[] =>
  readdirSync(`/proc/${pid}/fd`)
    .map((fd) => {
      try {
        return readlinkSync(`/proc/${pid}/fd/${fd}`);
      } catch {
        return ''; // Closed meanwhile.
      }
    })
    .flatMap((target) => /^socket:\[(\d+)\]$/.exec(target)?.[1] ?? []);

/** Numbers of the Unix sockets there are, with the paths of those that have one. */
const unixSockets = (): Map<string, string> =>
  new Map(
    readFileSync('/proc/net/unix', 'latin1')
      .split('\n')
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .map((words) => [words[6] ?? '', words[7] ?? '']),
  );

test('the check ends a program that makes another socket than a Unix socket', () => {
  const script = "require('node:net').connect(9, '127.0.0.1').on('error', () => {})";
  expect(spawnSync(launcher, [process.execPath, '-e', script])).toMatchObject({ signal: 'SIGSYS' });
  const unix = `require('node:net').createServer().listen('${folder}/s', () => process.exit(7))`;
  expect(spawnSync(launcher, [process.execPath, '-e', unix])).toMatchObject({ status: 7 });
});

test('a daemon and all it starts never make any other socket, whatever they are asked', async () => {
  await using daemon = await TestDaemon.start({ launcher: [launcher] });
  await daemon.shell('mkdir ipfs/d && echo one > ipfs/d/a && cat ipfs/d/a .kitfs/status.json');
  const client = await connectAgent(daemon.mcpSocket);
  await client.listTools();
  const { cid } = await call(client, 'ipfs_add', { content: 'hello', pin: true });
  await call(client, 'vfs_sync_to_ipfs', { path: '/ipfs' });
  await call(client, 'vfs_mount', { backend: 'ipfs', mount_point: '/other' });
  // Each of these would need a network, and says so.
  for (const [tool, values] of [
    ['ipfs_cat', { ipfs_path: '/ipns/example.com' }],
    ['ipfs_cat', { ipfs_path: 'bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy' }],
    ['ipfs_ls', { ipfs_path: `${cid}`, node: 'kubo' }],
    ['vfs_sync_to_ipfs', { path: '/ipfs', publish_key: 'self' }],
    ['vfs_mount', { backend: 'ipns', source: '/ipns/example.com', mount_point: '/name' }],
    ['system_health', {}],
  ] as const) {
    await client.callTool({ name: tool, arguments: { ...values } });
  }
  for (const command of ['status', 'tools', 'doctor', 'log']) await daemon.kitfs([command]);
  await daemon.kitfs(['sync', '/ipfs', '--wait']);
  const known = unixSockets();
  const sockets = socketsOf(daemon.pid);
  expect(sockets.length).toBeGreaterThan(0);
  expect(sockets.filter((number) => !known.has(number))).toEqual([]);
  await client.close();
  // Whoever made another one has been killed: the daemon goes on, and ends well.
  expect(daemon.isRunning).toBe(true);
  await daemon.stop();
});

test('a daemon listens at the three sockets of its run directory and nowhere else', async () => {
  await using daemon = await TestDaemon.start();
  const own = new Set(socketsOf(daemon.pid));
  const paths = [...unixSockets()].filter(([number]) => own.has(number)).map(([, path]) => path);
  // A socket is bound under another name and then renamed; Linux goes on telling the first.
  expect(
    paths.filter((path) => path !== '').every((path) => path.startsWith(daemon.runDirectory)),
  ).toBe(true);
  const names = readdirSync(daemon.runDirectory).filter((name) => name.endsWith('.sock'));
  expect(names.sort()).toEqual(['control.sock', 'mcp-ro.sock', 'mcp.sock']);
});
