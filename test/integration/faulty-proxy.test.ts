/** Each fault that `test/services/faulty-proxy.ts` plants is seen by a plain client, and is told from no fault. */
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { FaultyProxy } from '../services/faulty-proxy.ts';
import { KuboNode } from '../services/kubo.ts';
import { Rpc } from '../services/rpc.ts';

const LEAF_BYTES = 262_144;
const WAIT = { timeout: 15_000, interval: 20 };
const BYTES = Buffer.alloc(3 * LEAF_BYTES);
for (let at = 0; at < BYTES.length; at += 4) BYTES.writeUInt32LE(at * 7, at);

let node: KuboNode;
/** A file, and one that lacks its second leaf. */
let whole = '';
let broken = '';
/** The next directory of MFS: whether it is there says whether the node was asked to make it. */
let made = 0;

beforeAll(async () => {
  node = await KuboNode.start({ pubsub: true });
  const add = async (bytes: Buffer) => {
    const path = `add?cid-version=1&chunker=size-${LEAF_BYTES}`;
    return (await node.rpc.json<{ Hash: string }>(path, bytes)).Hash;
  };
  whole = await add(BYTES);
  broken = await add(Buffer.concat([Buffer.from('other'), BYTES]));
  const leaves = await node.rpc.lines<{ Ref: string }>(`refs?arg=${broken}`);
  await node.rpc.bytes(`pin/rm?arg=${broken}`);
  await node.rpc.bytes(`block/rm?arg=${leaves[1]?.Ref}`);
});

afterAll(async () => {
  await node.close();
});

const cat = (client: Rpc, cid = whole) => client.send(`cat?arg=${cid}&offline=true`);

async function isMade(name: string): Promise<boolean> {
  return (await node.rpc.send(`files/stat?arg=/${name}`)).status === 200;
}

/** Makes a directory through the proxy. */
function make(client: Rpc, signal?: AbortSignal) {
  const name = `made-${made++}`;
  const options = signal === undefined ? {} : { signal };
  return { name, reply: client.send(`files/mkdir?arg=/${name}`, undefined, options) };
}

describe('a proxy without a fault for a call', () => {
  test('passes on bytes, headers, trailers and errors', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const client = new Rpc(proxy.api);
    for (const path of [`cat?arg=${whole}`, `cat?arg=${broken}&offline=true`, 'cat', 'nothing']) {
      const [direct, through] = [await node.rpc.send(path), await client.send(path)];
      expect(through.status).toBe(direct.status);
      expect(through.body.equals(direct.body)).toBe(true);
      expect(through.trailers).toEqual(direct.trailers);
      const { date: _, ...headers } = through.headers;
      const { date: __, ...expected } = direct.headers;
      expect(headers).toEqual(expected);
    }
    expect((await cat(client, broken)).trailers['x-stream-error']).toBeDefined();
    const added = await client.json<{ Hash: string }>(
      `add?cid-version=1&chunker=size-${LEAF_BYTES}`,
      BYTES,
    );
    expect(added.Hash).toBe(whole);
    expect([proxy.count('cat'), proxy.count(/^add\?/), proxy.count('ls')]).toEqual([4, 1, 0]);
  });

  test('stands before a Unix socket as well', async () => {
    await using local = await KuboNode.start({ api: 'unix', offline: true });
    await using proxy = await FaultyProxy.start(local.api);
    const { ID } = await new Rpc(proxy.api).json<{ ID: string }>('id');
    expect(ID).toBe(local.id);
  });

  test('tears the connection when the node dies, and ends the call when the client goes', async () => {
    await using mortal = await KuboNode.start({ pubsub: true, routing: 'none' });
    await using proxy = await FaultyProxy.start(mortal.api);
    const client = new Rpc(proxy.api);
    const topics = () => mortal.rpc.json<{ Strings: string[] | null }>('pubsub/ls');
    const first = await client.open('pubsub/sub?arg=ubmV3cw');
    expect((await topics()).Strings).toEqual(['ubmV3cw']);
    first.destroy();
    await vi.waitFor(async () => expect((await topics()).Strings).toBeNull(), WAIT);

    const second = await client.open('pubsub/sub?arg=ubmV3cw');
    const torn = once(second, 'error');
    await mortal.kill();
    await torn;
    expect(second.complete).toBe(false);
    await expect(client.send('id')).rejects.toThrow('socket hang up');
  });
});

describe('a body', () => {
  test('that is truncated cleanly looks whole and is short', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const fault = proxy.fault('cat', { kind: 'truncate', keepBytes: 300_000, end: 'clean' });
    const reply = await cat(new Rpc(proxy.api));
    expect(reply).toMatchObject({ status: 200, isComplete: true, trailers: {} });
    expect(reply.body.equals(BYTES.subarray(0, 300_000))).toBe(true);
    expect(fault.hits).toBe(1);
  });

  test('that is torn gives its first bytes and then an error', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const fault = proxy.fault('cat', { kind: 'truncate', keepBytes: 300_000, end: 'abort' });
    const reply = await cat(new Rpc(proxy.api));
    expect(reply).toMatchObject({ status: 200, isComplete: false });
    expect(reply.body.equals(BYTES.subarray(0, 300_000))).toBe(true);
    expect(fault.hits).toBe(1);
  });

  test('has one byte that differs', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const fault = proxy.fault('cat', { kind: 'flip', atByte: 500_001 });
    const { body, isComplete } = await cat(new Rpc(proxy.api));
    expect(isComplete).toBe(true);
    expect(body).toHaveLength(BYTES.length);
    const differing = [...body.keys()].filter((at) => body[at] !== BYTES[at]);
    expect(differing).toEqual([500_001]);
    expect(fault.hits).toBe(1);
  });

  test('comes without what the node says after it', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const fault = proxy.fault('cat', { kind: 'trailers' });
    const client = new Rpc(proxy.api);
    const reply = await cat(client, broken);
    expect(reply).toMatchObject({ status: 200, isComplete: true, trailers: {} });
    expect(reply.body).toHaveLength(LEAF_BYTES);
    expect(fault.hits).toBe(1);
    // One that had none to lose.
    await cat(client);
    expect(fault.hits).toBe(1);
  });

  test('is no JSON, though the node has done what it was asked', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const fault = proxy.fault('files/mkdir', { kind: 'garbage' });
    const { name, reply } = make(new Rpc(proxy.api));
    const { status, headers, body } = await reply;
    expect(status).toBe(200);
    expect(headers['content-type']).toBe('application/json');
    expect(() => JSON.parse(body.toString())).toThrow(SyntaxError);
    expect(await isMade(name)).toBe(true);
    expect(fault.hits).toBe(1);
  });
});

describe('silence', () => {
  test.each(['before', 'after'] as const)('%s the node has acted lasts', async (when) => {
    await using proxy = await FaultyProxy.start(node.api);
    const fault = proxy.fault('files/mkdir', { kind: 'hang', when });
    const patience = new AbortController();
    const { name, reply } = make(new Rpc(proxy.api), patience.signal);
    const ending = expect(reply).rejects.toThrow('given up');
    await vi.waitFor(() => expect(fault.hits).toBe(1), WAIT);
    patience.abort(new Error('given up'));
    await ending;
    expect(await isMade(name)).toBe(when === 'after');
  });

  test('in the middle of a body lasts until the client’s deadline', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const keepBytes = 300_000;
    const fault = proxy.fault('cat', { kind: 'hang', when: 'during', keepBytes });
    const client = new Rpc(proxy.api);
    const answer = await client.open(`cat?arg=${whole}`);
    let gotBytes = 0;
    answer.on('data', (chunk: Buffer) => (gotBytes += chunk.length));
    answer.on('error', () => {});
    await vi.waitFor(() => expect([fault.hits, gotBytes]).toEqual([1, keepBytes]), WAIT);
    client.closeAll();
    const late = client.send(`cat?arg=${whole}`, undefined, { deadlineMs: 700 });
    await expect(late).rejects.toThrow('TimeoutError');
    expect(fault.hits).toBe(2);
  });
});

describe('instead of an answer', () => {
  test.each(['before', 'after'] as const)(
    'the connection is torn %s the node has acted',
    async (when) => {
      await using proxy = await FaultyProxy.start(node.api);
      const fault = proxy.fault('files/mkdir', { kind: 'reset', when });
      const { name, reply } = make(new Rpc(proxy.api));
      await expect(reply).rejects.toThrow('socket hang up');
      expect(await isMade(name)).toBe(when === 'after');
      expect(fault.hits).toBe(1);
    },
  );

  test.each([429, 500, 503] as const)('%i comes, and the node hears nothing', async (status) => {
    await using proxy = await FaultyProxy.start(node.api);
    const fault = proxy.fault('files/mkdir', { kind: 'status', status, body: 'no' });
    const { name, reply } = make(new Rpc(proxy.api));
    expect(await reply).toMatchObject({ status, body: Buffer.from('no') });
    expect(await isMade(name)).toBe(false);
    expect(fault.hits).toBe(1);
  });
});

describe('a fault', () => {
  test('that delays lets the answer through, later', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const fault = proxy.fault('id', { kind: 'delay', ms: 600 });
    const start = performance.now();
    const { ID } = await new Rpc(proxy.api).json<{ ID: string }>('id');
    expect(performance.now() - start).toBeGreaterThanOrEqual(599);
    expect(ID).toBe(node.id);
    expect(fault.hits).toBe(1);
  });

  test('is for the calls it was planted for, and for as many', async () => {
    await using proxy = await FaultyProxy.start(node.api);
    const client = new Rpc(proxy.api);
    const answer = { kind: 'status', status: 503 } as const;
    const fault = proxy.fault(/^version/, answer, { skip: 1, times: 2 });
    const statuses: number[] = [];
    for (let call = 0; call < 5; call++) statuses.push((await client.send('version')).status);
    expect(statuses).toEqual([200, 503, 503, 200, 200]);
    expect(fault.hits).toBe(2);
    const lifted = proxy.fault('version', answer);
    expect((await client.send('id')).status).toBe(200);
    expect((await client.send('version')).status).toBe(503);
    lifted.lift();
    expect((await client.send('version')).status).toBe(200);
    expect(proxy.count('version')).toBe(7);
  });

  test('that never had its effect fails the test', async () => {
    const unasked = await FaultyProxy.start(node.api);
    unasked.fault('ls', { kind: 'reset', when: 'before' });
    await expect(unasked.close()).rejects.toThrow('never hit: ls');

    const short = await FaultyProxy.start(node.api);
    const keepBytes = BYTES.length;
    const faults = [
      short.fault('cat', { kind: 'truncate', keepBytes, end: 'abort' }, { times: 1 }),
      short.fault('cat', { kind: 'flip', atByte: keepBytes }, { times: 1 }),
      short.fault('cat', { kind: 'hang', when: 'during', keepBytes }, { times: 1 }),
      short.fault('cat', { kind: 'trailers' }, { times: 1 }),
    ];
    for (const fault of faults) {
      expect((await cat(new Rpc(short.api))).body.equals(BYTES)).toBe(true);
      expect(fault.hits).toBe(0);
    }
    await expect(short.close()).rejects.toThrow('never hit');
  });
});
