/** The nodes that tests run against keep what `test/services/kubo.ts` promises of them. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, test, vi } from 'vitest';
import { KuboNode } from '../services/kubo.ts';
import { Rpc } from '../services/rpc.ts';

interface Added {
  readonly Hash: string;
}

const WAIT = { timeout: 15_000, interval: 20 };
/** The node with 256 KiB leaves that the laws about broken bodies need. */
const LEAF_BYTES = 262_144;
const topic = `u${Buffer.from('news').toString('base64url')}`;

/** The local addresses and the remote ones of every socket of a process, but for Unix ones. */
async function socketsOf(pid: number): Promise<{ local: string; remote: string; state: string }[]> {
  const { stdout } = await promisify(execFile)('ss', ['-H', '-t', '-u', '-a', '-n', '-p']);
  return stdout
    .split('\n')
    .filter((line) => line.includes(`pid=${pid},`))
    .map((line) => line.trim().split(/\s+/))
    .map(([, state = '', , , local = '', remote = '']) => ({ local, remote, state }));
}

const isAlive = (pid: number) => existsSync(`/proc/${pid}`);

describe('two nodes that are connected', () => {
  test('give each other what was added on one', async () => {
    await using one = await KuboNode.start();
    await using other = await KuboNode.start();
    const bytes = Buffer.alloc(3 * LEAF_BYTES, 'content');
    const { Hash } = await one.rpc.json<Added>('add?cid-version=1', bytes);
    const absent = await other.rpc.send(`cat?arg=${Hash}&timeout=500ms`);
    expect(absent.status).toBe(500);

    await other.connect(one);
    expect((await other.rpc.bytes(`cat?arg=${Hash}&timeout=20s`)).equals(bytes)).toBe(true);
    const events = await other.rpc.lines<{ Type: number; Responses: { ID: string }[] | null }>(
      `routing/findprovs?arg=${Hash}&timeout=20s`,
    );
    const providers = events.filter(({ Type }) => Type === 4).flatMap((event) => event.Responses);
    expect(providers.map((peer) => peer?.ID)).toContain(one.id);
  });

  test('use no address of the machine but loopback', async () => {
    await using one = await KuboNode.start({ pubsub: true });
    await using other = await KuboNode.start({ pubsub: true });
    await one.connect(other);
    for (const node of [one, other]) {
      const sockets = await socketsOf(node.pid);
      const listening = sockets.filter(({ state }) => state === 'LISTEN');
      expect(listening.map(({ local }) => local)).toContain(node.api.replace('http://', ''));
      expect(listening).toHaveLength(3);
      const foreign = sockets.filter(({ local }) => !local.startsWith('127.0.0.1:'));
      expect(foreign).toEqual([]);
      const remote = sockets.filter(({ state }) => state === 'ESTAB').map((each) => each.remote);
      expect(remote.filter((address) => !address.startsWith('127.0.0.1:'))).toEqual([]);
      const { Peers } = await node.rpc.json<{ Peers: { Peer: string }[] }>('swarm/peers');
      expect(Peers.map(({ Peer }) => Peer)).toEqual([node === one ? other.id : one.id]);
    }
  });

  test('pass on messages, and end although somebody listens', async () => {
    await using one = await KuboNode.start({ pubsub: true, routing: 'none' });
    await using other = await KuboNode.start({ pubsub: true, routing: 'none' });
    await one.connect(other);
    // Not the node's own client, whose streams it closes itself.
    const stranger = new Rpc(other.api);
    const heard = await stranger.open(`pubsub/sub?arg=${topic}`);
    const lines = createInterface({ input: heard })[Symbol.asyncIterator]();
    heard.on('error', () => {});
    await vi.waitFor(async () => {
      const { Strings } = await one.rpc.json<{ Strings: string[] }>(`pubsub/peers?arg=${topic}`);
      expect(Strings).toEqual([other.id]);
    }, WAIT);
    await one.rpc.bytes(`pubsub/pub?arg=${topic}`, 'hello');
    const { value } = await lines.next();
    const { data, from } = JSON.parse(String(value)) as { data: string; from: string };
    expect(Buffer.from(data.slice(1), 'base64url').toString()).toBe('hello');
    expect(from).toBe(one.id);
    await other.stop();
    expect(other.isRunning).toBe(false);
    stranger.closeAll();
  });
});

describe('a node', () => {
  test('that was killed has its content, its name and its addresses again', async () => {
    await using node = await KuboNode.start();
    const before = await node.rpc.json<{ ID: string; Addresses: string[] }>('id');
    const { Hash } = await node.rpc.json<Added>('add?cid-version=1', 'kept');
    const { pid } = node;
    await node.kill();
    expect(isAlive(pid)).toBe(false);
    await expect(node.rpc.send('version')).rejects.toThrow('ECONNREFUSED');

    await node.restart();
    expect(await node.rpc.json('id')).toMatchObject(before);
    expect((await node.rpc.bytes(`cat?arg=${Hash}&offline=true`)).toString()).toBe('kept');
    const gateway = await fetch(`${node.gateway}/ipfs/${Hash}`);
    expect(await gateway.text()).toBe('kept');
  });

  test('loses as garbage what is not pinned, and nothing else', async () => {
    await using node = await KuboNode.start({ offline: true });
    const kept = await node.rpc.json<Added>('add?cid-version=1&pin=true', 'kept');
    const lost = await node.rpc.json<Added>('add?cid-version=1&pin=false', 'lost');
    const removed = await node.gc();
    expect(removed).toContain(lost.Hash);
    expect(removed).not.toContain(kept.Hash);
    expect((await node.rpc.bytes(`cat?arg=${kept.Hash}`)).toString()).toBe('kept');
    await expect(node.rpc.bytes(`cat?arg=${lost.Hash}`)).rejects.toThrow('not found locally');
  });

  test('can be called through a Unix socket alone', async () => {
    await using node = await KuboNode.start({ api: 'unix', offline: true });
    expect(node.api).toMatch(/^unix:\//);
    const { Hash } = await node.rpc.json<Added>('add?cid-version=1', 'hello');
    expect(await node.cli(['cat', Hash])).toBe('hello');
    const listening = (await socketsOf(node.pid)).map(({ local }) => local);
    expect(listening).toEqual([node.gateway.replace('http://', '')]);
    await node.kill();
    await node.restart();
    expect(await node.cli(['cat', Hash])).toBe('hello');
  });

  test('answers only those who may call it, and only what they may', async () => {
    const reader = { secret: 'bearer:read-only', paths: ['/api/v0/cat'] };
    const writer = { secret: 'basic:writer:of things' };
    await using node = await KuboNode.start({ offline: true, authorizations: { reader, writer } });
    const add = (secret: string) => node.rpc.send('add?cid-version=1', 'hello', { secret });
    expect((await add('bearer:wrong')).status).toBe(403);
    expect((await add(reader.secret)).status).toBe(403);
    const added = await add(writer.secret);
    expect(added.status).toBe(200);
    const { Hash } = JSON.parse(added.body.toString()) as Added;
    const read = await node.rpc.send(`cat?arg=${Hash}`, undefined, reader);
    expect(read.body.toString()).toBe('hello');
    expect((await new Rpc(node.api).send('version')).status).toBe(403);
    expect(await node.cli(['cat', Hash])).toBe('hello');
  });

  test('takes further settings', async () => {
    const settings = { 'Datastore.StorageMax': '7GB', 'Gateway.NoFetch': true };
    await using node = await KuboNode.start({ offline: true, settings });
    expect(await node.cli(['config', 'Datastore.StorageMax'])).toBe('7GB\n');
    expect(await node.cli(['config', 'Gateway.NoFetch'])).toBe('true\n');
  });

  test('is the command’s repository, whether it runs or not', async () => {
    await using node = await KuboNode.start({ routing: 'dhtserver' });
    const tree = join(node.directory, 'tree');
    mkdirSync(tree);
    writeFileSync(join(tree, 'a'), 'hello');
    const root = (await node.cli(['add', '-r', '-H', '-Q', '--cid-version=1', tree])).trim();
    expect((await node.rpc.bytes(`cat?arg=${root}/a`)).toString()).toBe('hello');
    await node.stop();
    expect(await node.cli(['cat', `${root}/a`])).toBe('hello');
    const piped = await node.cli(['add', '-Q', '--cid-version=1'], { input: 'from a pipe' });
    expect(await node.cli(['cat', piped.trim()])).toBe('from a pipe');
    await expect(node.cli(['cat', `${root}/b`])).rejects.toThrow('no link named');
  });

  test('tells its plain client in a trailer that a body is not whole', async () => {
    await using node = await KuboNode.start({ offline: true });
    const bytes = Buffer.alloc(4 * LEAF_BYTES);
    for (let at = 0; at < bytes.length; at += 4) bytes.writeUInt32LE(at, at);
    const { Hash } = await node.rpc.json<Added>(
      `add?cid-version=1&chunker=size-${LEAF_BYTES}`,
      bytes,
    );
    const leaves = await node.rpc.lines<{ Ref: string }>(`refs?arg=${Hash}`);
    await node.rpc.bytes(`pin/rm?arg=${Hash}`);
    await node.rpc.bytes(`block/rm?arg=${leaves[2]?.Ref}`);
    const reply = await node.rpc.send(`cat?arg=${Hash}`);
    expect(reply).toMatchObject({ status: 200, isComplete: true });
    expect(reply.body.equals(bytes.subarray(0, 2 * LEAF_BYTES))).toBe(true);
    expect(reply.trailers['x-stream-error']).toBe('failed to fetch all nodes');
    await expect(node.rpc.bytes(`cat?arg=${Hash}`)).rejects.toThrow('failed to fetch all nodes');
  });
});

describe('nothing is left', () => {
  test('of a node that was closed', async () => {
    const node = await KuboNode.start({ offline: true });
    const { pid, directory } = node;
    await node.close();
    expect(isAlive(pid)).toBe(false);
    expect(existsSync(directory)).toBe(false);
  });

  test('of a node that cannot start, which says why', async () => {
    const scratch = mkdtempSync(join(tmpdir(), 'kitfs-scratch-'));
    vi.stubEnv('TMPDIR', scratch);
    const taken = createServer().listen({ host: '127.0.0.1', port: 0 });
    await once(taken, 'listening');
    const address = taken.address();
    const port = address !== null && typeof address === 'object' ? address.port : 0;
    try {
      const settings = { 'Addresses.API': `/ip4/127.0.0.1/tcp/${port}` };
      await expect(KuboNode.start({ settings })).rejects.toThrow('address already in use');
      expect(readdirSync(scratch)).toEqual([]);
    } finally {
      taken.close();
      vi.unstubAllEnvs();
      rmSync(scratch, { recursive: true, force: true });
    }
  });

  test('of a node whose test was killed', async () => {
    const built = fileURLToPath(new URL('../../dist/test/services/kubo.js', import.meta.url));
    const scratch = mkdtempSync(join(tmpdir(), 'kitfs-scratch-'));
    const script = `
      const { KuboNode } = await import(${JSON.stringify(built)});
      const node = await KuboNode.start({ offline: true });
      console.log(node.pid);
      setInterval(() => {}, 1000);`;
    const starter = spawn(process.execPath, ['--input-type=module', '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, TMPDIR: scratch },
    });
    let pid = 0;
    try {
      const [line] = (await once(createInterface({ input: starter.stdout }), 'line')) as [string];
      pid = Number(line);
      expect(isAlive(pid)).toBe(true);
      starter.kill('SIGKILL');
      await vi.waitFor(() => expect(isAlive(pid)).toBe(false), WAIT);
    } finally {
      starter.kill('SIGKILL');
      if (pid > 0 && isAlive(pid)) process.kill(pid, 'SIGKILL');
      rmSync(scratch, { recursive: true, force: true });
    }
  });
});
