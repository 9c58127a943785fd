import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';
import { REFUSED } from '../../src/mcp/frames.ts';
import { AgentSocket } from '../../src/mcp/socket.ts';
import type { Peer } from '../../src/tools/tools.ts';
import { RememberedLog } from '../fakes/log.ts';
import { openHost, ourselves, ownerOnly, RawClient, scratch } from './host.ts';

let directory = '';
beforeEach(async () => {
  directory = await scratch();
});
afterEach(() => rm(directory, { recursive: true, force: true }));

const modeOf = async (path: string) => (await lstat(path)).mode & 0o777;

function socketAt(path: string, policy = ownerOnly): AgentSocket {
  return new AgentSocket({
    path,
    native: ourselves,
    policy,
    log: new RememberedLog(),
    refusal: ({ message }) => message,
    onPeer: (socket) => socket.destroy(),
  });
}

/** Leaves a socket on which nobody listens, as a killed daemon does. */
async function leaveStale(path: string): Promise<void> {
  const script =
    `require('node:net').createServer().listen(${JSON.stringify(path)}, ` +
    `() => process.kill(process.pid, 'SIGKILL'))`;
  await once(spawn(process.execPath, ['-e', script]), 'exit');
  expect((await lstat(path)).isSocket()).toBe(true);
}

test('the directory is made with mode 0700 and the socket with 0600, whatever the mask', async () => {
  const mask = process.umask(0);
  try {
    const path = join(directory, 'made', 'here', 'mcp.sock');
    const socket = socketAt(path);
    await socket.listen();
    expect(await modeOf(path)).toBe(0o600);
    expect(await modeOf(join(directory, 'made', 'here'))).toBe(0o700);
    expect(process.umask()).toBe(0);
    await socket.close();
    expect(await readdir(join(directory, 'made', 'here'))).toEqual([]);
  } finally {
    process.umask(mask);
  }
});

test.each([0o770, 0o777, 0o702])('a directory of mode %o is refused', async (mode) => {
  await chmod(directory, mode);
  const listening = socketAt(join(directory, 'mcp.sock')).listen();
  await expect(listening).rejects.toMatchObject({ failure: 'configuration' });
});

test('a link instead of the directory is refused', async () => {
  await mkdir(join(directory, 'real'), { mode: 0o700 });
  await symlink('real', join(directory, 'link'));
  const listening = socketAt(join(directory, 'link', 'mcp.sock')).listen();
  await expect(listening).rejects.toMatchObject({ failure: 'configuration' });
});

test('a path may have 107 bytes and no more', async () => {
  const name = 'x'.repeat(107 - Buffer.byteLength(directory) - 1);
  const longest = socketAt(join(directory, name));
  await longest.listen();
  await longest.close();
  const listening = socketAt(join(directory, `${name}x`)).listen();
  await expect(listening).rejects.toMatchObject({ failure: 'configuration' });
});

test('a socket that nobody answers on is replaced', async () => {
  const path = join(directory, 'mcp.sock');
  await leaveStale(path);
  await using host = await openHost({ path });
  await using client = new RawClient(host.path);
  expect(await client.ping('1')).toMatchObject({ result: {} });
});

test('a daemon killed between binding and showing its socket is no hindrance', async () => {
  await leaveStale(join(directory, '.cp.sock'));
  const socket = socketAt(join(directory, 'mcp.sock'));
  await socket.listen();
  await socket.close();
});

test('a socket that somebody answers on is left alone', async () => {
  await using host = await openHost({ path: join(directory, 'mcp.sock') });
  const listening = socketAt(host.path).listen();
  await expect(listening).rejects.toMatchObject({ failure: 'busy' });
  await using client = new RawClient(host.path);
  expect(await client.ping('1')).toMatchObject({ result: {} });
});

test('a file at the path is left alone', async () => {
  const path = join(directory, 'mcp.sock');
  await writeFile(path, 'precious');
  await expect(socketAt(path).listen()).rejects.toMatchObject({ failure: 'exists' });
});

test('what has come to lie at the path since is not removed', async () => {
  const path = join(directory, 'mcp.sock');
  const ours = socketAt(path);
  await ours.listen();
  await rename(path, join(directory, 'aside'));
  const theirs = createServer().listen(path);
  await once(theirs, 'listening');
  await ours.close();
  expect((await lstat(path)).isSocket()).toBe(true);
  theirs.close();
  await unlink(join(directory, 'aside'));
});

test('a foreign user is told that it may not, logged once, and root is served', async () => {
  const foreign = { pid: process.pid, uid: 12_345, gid: 7, groups: [] };
  await using host = await openHost({ native: { peerCredentials: () => foreign } });
  for (let time = 0; time < 3; time += 1) {
    await using client = new RawClient(host.path);
    client.send({ jsonrpc: '2.0', id: 1, method: 'tools/list' });
    await client.closed;
    expect(client.messages).toEqual([
      {
        jsonrpc: '2.0',
        id: null,
        error: { code: REFUSED, message: expect.stringContaining('as uid 12345: denied; ') },
      },
    ]);
  }
  expect(host.sample.log.lines).toMatchObject([{ level: 'warn', fields: { uid: 12_345, gid: 7 } }]);
  const root = { ...foreign, uid: 0, gid: 0 };
  await using other = await openHost({ native: { peerCredentials: () => root } });
  await using client = new RawClient(other.path);
  client.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
  expect(await client.next()).toMatchObject({ id: 1, result: {} });
});

test('there is room for the owner, however many connections others have', async () => {
  const path = join(directory, 'mcp.sock');
  const peers: number[] = [];
  const clients: Socket[] = [];
  const served: number[] = [];
  const agents = new AgentSocket({
    path,
    native: { peerCredentials: () => ({ uid: peers.shift() ?? 0, gid: 1, groups: [], pid: 1 }) },
    policy: { mode: 0o600, gid: undefined, refusalOf: () => undefined },
    log: new RememberedLog(),
    refusal: ({ hint }) => hint ?? '',
    onPeer: (socket, { uid }) => {
      served.push(uid);
      socket.once('end', () => socket.destroy());
      socket.resume().write('served');
    },
  });
  const ask = async (uid: number): Promise<string> => {
    peers.push(uid);
    const client = connect(path);
    clients.push(client);
    const [told] = (await once(client, 'data')) as [Buffer];
    return told.toString();
  };
  await agents.listen();
  try {
    for (const uid of [1001, 1002, 1003]) {
      for (let count = 0; count < 64; count += 1) expect(await ask(uid)).toBe('served');
      expect(await ask(uid)).toBe('too many connections of yours are open');
    }
    expect(await ask(1004)).toBe('too many connections are open');
    expect(await ask(0)).toBe('served');
    // Who hangs up makes room.
    const [first] = clients;
    first?.destroy();
    await expect.poll(() => ask(1001)).toBe('served');
    expect(served).toHaveLength(3 * 64 + 2);
  } finally {
    for (const client of clients) client.destroy();
    await agents.close();
  }
});

test('a socket for a group is seen with that group and mode and never with another', async () => {
  const gid = process.getgroups?.().at(-1) ?? 0;
  const path = join(directory, 'mcp.sock');
  const socket = socketAt(path, { ...ownerOnly, mode: 0o660, gid });
  await socket.listen();
  expect(await lstat(path)).toMatchObject({ gid });
  expect(await modeOf(path)).toBe(0o660);
  await socket.close();
});

test('a connection whose peer cannot be told is closed', async () => {
  const native = {
    peerCredentials: () => {
      throw new Error('no such call');
    },
  };
  await using host = await openHost({ native });
  await using client = new RawClient(host.path);
  await client.closed;
  expect(host.sample.log.lines).toMatchObject([{ level: 'warn' }]);
});

test('a socket whose name begins with a dot is served under that name, and nothing is left', async () => {
  const path = join(directory, '.sock');
  const socket = socketAt(path);
  await socket.listen();
  expect(await readdir(directory)).toEqual(['.sock']);
  expect(await modeOf(path)).toBe(0o600);
  await socket.close();
  expect(await readdir(directory)).toEqual([]);
});

test('a directory in the way of the socket that is bound is not removed', async () => {
  await mkdir(join(directory, '.cp.sock', 'precious'), { recursive: true });
  const listening = socketAt(join(directory, 'mcp.sock')).listen();
  await expect(listening).rejects.toMatchObject({ op: 'look at the socket' });
  expect(await readdir(join(directory, '.cp.sock'))).toEqual(['precious']);
});

test('a socket whose daemon is too busy to take another connection is left alone', async () => {
  const path = join(directory, 'mcp.sock');
  const script =
    `require('node:net').createServer().listen({ path: ${JSON.stringify(path)}, backlog: 1 }, ` +
    `() => process.kill(process.pid, 'SIGSTOP'))`;
  const stopped = spawn(process.execPath, ['-e', script]);
  const clients: Socket[] = [];
  try {
    for (let refused: unknown; refused === undefined; ) {
      const client = connect(path);
      refused = await new Promise((resolve) => {
        client.once('connect', () => resolve(undefined));
        client.once('error', ({ code }: NodeJS.ErrnoException) =>
          resolve(code === 'EAGAIN' ? code : undefined),
        );
      });
      clients.push(client);
    }
    await expect(socketAt(path).listen()).rejects.toMatchObject({ failure: 'busy' });
    expect((await lstat(path)).isSocket()).toBe(true);
  } finally {
    for (const client of clients) client.destroy();
    stopped.kill('SIGKILL');
    await once(stopped, 'exit');
  }
});

test('a peer is who it was when it connected, with the groups it had then', async () => {
  const path = join(directory, 'mcp.sock');
  const peers: Peer[] = [];
  const socket = new AgentSocket({
    path,
    native: loadNative(),
    policy: ownerOnly,
    log: new RememberedLog(),
    refusal: ({ message }) => message,
    onPeer: (connection, peer) => {
      peers.push(peer);
      connection.destroy();
    },
  });
  await socket.listen();
  await using client = new RawClient(path);
  await client.closed;
  await socket.close();
  const groups = /^Groups:[ \t]*(.*?) *$/m.exec(await readFile('/proc/self/status', 'latin1'))?.[1];
  expect(peers).toEqual([
    {
      pid: process.pid,
      uid: process.getuid?.(),
      gid: process.getgid?.(),
      groups: expect.any(Array),
    },
  ]);
  expect(peers[0]?.groups.join(' ')).toBe(groups);
});
