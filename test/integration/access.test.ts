/**
 * Who may use the sockets of root's daemon, asked of the kernel: real users and groups, real sockets. The daemon sees
 * a group table of its own, in a mount namespace that ends with it.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KITFS } from './daemon.ts';

const GROUP = 54_321;
const [LISTED, UNLISTED, STRANGER, LAST] = [12_345, 12_346, 12_347, 12_348];
const CLIENT_MS_MAX = 20_000;
/**
 * A client of another user may not write where coverage is collected; Node hands the variable on unless
 * it is named.
 */
const UNCOUNTED = { ...process.env, NODE_V8_COVERAGE: undefined };

/** Takes the rights of `[uid, gid, groups]`, says each line, and prints what comes until as many lines have. */
const CLIENT = `
  const [uid, gid, groups, path, count, ...lines] = JSON.parse(process.argv[1]);
  const socket = require('node:net');
  process.setgroups(groups); process.setgid(gid); process.setuid(uid);
  const client = socket.connect(path, () => client.write(lines.map((line) => JSON.stringify(line) + '\\n').join('')));
  let text = '';
  client.on('data', (bytes) => {
    text += bytes;
    if (text.split('\\n').length > count) client.destroy();
  });
  client.on('error', ({ code }) => { if (text === '') text = code; });
  client.on('close', () => console.log(text.trim()));
`;

interface Who {
  readonly uid: number;
  readonly groups?: readonly number[];
}

// Below /tmp, where anybody may make names, a run directory is closed to all others.
let directory = '';
let daemon: ChildProcess;
let output = '';

const socketAt = (name: string): string => join(directory, 'run', name);

function say({ uid, groups = [] }: Who, name: string, ...lines: readonly unknown[]): unknown[] {
  const words = [uid, uid, groups, socketAt(name), lines.length, ...lines];
  const { stdout, stderr, error } = spawnSync(
    process.execPath,
    ['-e', CLIENT, JSON.stringify(words)],
    { encoding: 'utf8', timeout: CLIENT_MS_MAX, env: UNCOUNTED },
  );
  if (error !== undefined || stderr !== '') throw new Error(`${error} ${stderr}`);
  return stdout
    .trim()
    .split('\n')
    .map((line) => (line.startsWith('{') ? JSON.parse(line) : line));
}

const initialize = {
  jsonrpc: '2.0',
  id: 0,
  method: 'initialize',
  params: {
    protocolVersion: '2025-06-18',
    capabilities: {},
    clientInfo: { name: 'test', version: '1' },
  },
};
const write = {
  jsonrpc: '2.0',
  id: 1,
  method: 'tools/call',
  params: { name: 'vfs_write', arguments: { path: '/mem/a', content: 'a' } },
};
const ping = { jsonrpc: '2.0', id: 1, method: 'ping' };

const member = { uid: LISTED, groups: [GROUP] };

beforeAll(async () => {
  directory = mkdtempSync('/var/tmp/kitfs-access-');
  chmodSync(directory, 0o755);
  // Of a daemon that ran before there was the group.
  mkdirSync(join(directory, 'run'));
  chmodSync(join(directory, 'run'), 0o750);
  const table = join(directory, 'group');
  writeFileSync(table, `${readFileSync('/etc/group', 'utf8')}kitfs:x:${GROUP}:\n`);
  writeFileSync(join(directory, 'config.toml'), `[access]\nusers = [${LISTED}]\n`);
  const script = 'mount --bind "$1" /etc/group && shift && exec "$@"';
  const places = ['--state', join(directory, 'state'), '--run', join(directory, 'run')];
  daemon = spawn(
    'unshare',
    [
      ...['--mount', '--propagation', 'private', 'sh', '-euc', script, 'sh', table],
      ...[process.execPath, KITFS, 'mount', join(directory, 'mnt')],
      ...[...places, '--config', join(directory, 'config.toml')],
    ],
    { stdio: ['ignore', 'pipe', 'pipe'] },
  );
  await new Promise<void>((resolve, reject) => {
    daemon.once('exit', () => reject(new Error(output)));
    for (const stream of [daemon.stdout, daemon.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        output += text;
        if (output.includes('"msg":"ready"')) resolve();
      });
    }
  });
});

afterAll(async () => {
  if (daemon.exitCode === null && daemon.signalCode === null) {
    const ended = once(daemon, 'exit');
    daemon.kill('SIGINT');
    await ended;
  }
  rmSync(directory, { recursive: true, force: true });
});

test('the sockets are those of root and the group, in a directory that only they enter', () => {
  const facts = (path: string) => {
    const { mode, uid, gid } = lstatSync(path);
    return { mode: mode & 0o7777, uid, gid };
  };
  const run = join(directory, 'run');
  expect(facts(run)).toEqual({ mode: 0o750, uid: 0, gid: GROUP });
  for (const name of ['mcp.sock', 'mcp-ro.sock', 'control.sock']) {
    expect(facts(socketAt(name))).toEqual({ mode: 0o660, uid: 0, gid: GROUP });
  }
  expect(facts(join(run, 'memory')).mode).toBe(0o700);
  expect(facts(join(directory, 'state'))).toMatchObject({ mode: 0o700, uid: 0 });
});

test('a member that the configuration names acts with its own rights', () => {
  const [, wrote] = say(member, 'mcp.sock', initialize, write);
  expect(wrote).toMatchObject({ result: { structuredContent: { status: 'success' } } });
  const stat = {
    ...write,
    params: { name: 'vfs_stat', arguments: { path: '/mem/a' } },
  };
  const [, told] = say({ uid: 0 }, 'mcp.sock', initialize, stat);
  expect(told).toMatchObject({ result: { structuredContent: { data: { uid: LISTED } } } });
});

test('on the read-only socket it changes nothing', () => {
  const [, refused] = say(member, 'mcp-ro.sock', initialize, write);
  expect(refused).toMatchObject({
    result: { isError: true, structuredContent: { error_code: 'TOOL_NOT_ALLOWED' } },
  });
});

test('it asks the daemon for its status, and does not stop it', () => {
  const status = { id: 1, method: 'status', params: {} };
  const stop = { id: 2, method: 'stop', params: { force: true } };
  const [told, refused] = say(member, 'control.sock', status, stop);
  expect(told).toMatchObject({ id: 1, result: { keeper: daemon.pid } });
  expect(refused).toMatchObject({ id: 2, error: { failure: 'not-permitted' } });
  expect(daemon.exitCode).toBeNull();
});

test('a member that the configuration does not name is told so, and logged once a socket', async () => {
  const other = { uid: UNLISTED, groups: [GROUP] };
  for (const name of ['mcp.sock', 'mcp.sock', 'mcp-ro.sock']) {
    expect(say(other, name, ping)).toMatchObject([
      { id: null, error: { message: expect.stringContaining('access.users') } },
    ]);
  }
  const [told] = say(other, 'control.sock', { id: 1, method: 'status', params: {} });
  expect(told).toMatchObject({ error: { failure: 'denied' } });
  // The log is read in the order it was written: after this one nothing of the other is to come.
  say({ uid: LAST, groups: [GROUP] }, 'control.sock', { id: 1, method: 'status', params: {} });
  while (!output.includes(`"uid":${LAST}`)) await once(daemon.stderr as Readable, 'data');
  const lines = output.split('\n').filter((line) => line.includes(`"uid":${UNLISTED}`));
  expect(lines).toHaveLength(3);
});

test('who is no member is kept out by the kernel', () => {
  for (const name of ['mcp.sock', 'mcp-ro.sock', 'control.sock']) {
    expect(say({ uid: STRANGER }, name, ping)).toEqual(['EACCES']);
  }
});
