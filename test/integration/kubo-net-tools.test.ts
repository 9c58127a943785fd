/** The laws of the tools of ipfs_net over two real Kubo nodes that know each other. */
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { openKubo } from '../../src/backend/backend.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { KuboNode } from '../services/kubo.ts';
import { type Facts, Fixture } from '../tools/fixture.ts';

let kubos: readonly [KuboNode, KuboNode];
let world: Fixture;
let other: Fixture;

const clock = new SystemClock();
const open = (api: string) =>
  new Fixture(
    TOOLS,
    openKubo({ api, requestsMax: 8, deadlineMs: 15_000, clock, random: new SystemRandom() }),
  );

beforeAll(async () => {
  const options = { pubsub: true };
  kubos = [await KuboNode.start(options), await KuboNode.start(options)];
  await kubos[0].connect(kubos[1]);
});
afterAll(async () => {
  for (const kubo of kubos ?? []) await kubo.close();
});
beforeEach(() => {
  [world, other] = [open(kubos[0].api), open(kubos[1].api)];
  return async () => {
    await world.close();
    await other.close();
  };
});

const header = async (at: Fixture, values: Facts) => {
  const { data, status } = await at.ask('ipfs_pubsub_read', values);
  expect(status).toBe('success');
  return data as Facts & { messages: Facts[]; next_seq: number };
};

/** Everything that is heard behind `since_seq`, until there are so many. */
async function heard(at: Fixture, subscription_id: unknown, count: number) {
  const texts: unknown[] = [];
  for (let since_seq = 0; texts.length < count; ) {
    const values = { subscription_id, since_seq, wait_ms: 20_000 };
    const { content } = await at.call('ipfs_pubsub_read', values);
    const [head, ...blocks] = content;
    const { kitfs } = JSON.parse(head?.type === 'text' ? head.text : '{}');
    if (kitfs.next_seq <= since_seq) throw new Error('nothing is heard');
    since_seq = kitfs.next_seq;
    for (const { block } of kitfs.messages) {
      const one = blocks[block - 1];
      texts.push(one?.type === 'text' ? one.text : one);
    }
  }
  return texts;
}

/** Resolves when each node knows that the other listens. */
async function listened(at: Fixture, topic: string): Promise<void> {
  const deadline = clock.monotonicMs() + 20_000;
  for (;;) {
    const { peers } = await at.done('ipfs_pubsub_peers', { topic });
    if ((peers as unknown[]).length > 0) return;
    if (clock.monotonicMs() > deadline) throw new Error(`nobody listens to ${topic}`);
    await clock.sleep(50, new AbortController().signal);
  }
}

describe('routing', () => {
  test('finds a peer, its neighbours, and nobody who is not there', async () => {
    const found = await world.ask('ipfs_dht_findpeer', { peer_id: kubos[1].id });
    expect(found).toMatchObject({ data: { peer_id: kubos[1].id }, context: { node: 'kubo' } });
    expect(JSON.stringify(found.data?.['addresses'])).toContain('/ip4/127.0.0.1/');
    const nobody = { peer_id: '12D3KooWF29mEEUdmT2V3kbM8PjUBFQDjk1yt5gA3FATCKYbBKVt' };
    const context = await world.refused('ipfs_dht_findpeer', nobody, 'NOT_FOUND');
    expect(context).toMatchObject({ kind: 'peer' });
    await world.refused('ipfs_dht_findpeer', { peer_id: 'nonsense' }, 'INVALID_ARGUMENT');
    const closest = await world.done('ipfs_dht_query', nobody);
    expect(closest).toMatchObject({ closest: [{ peer_id: kubos[1].id }], complete: true });
  });

  test('finds who has content, and says how the search ended', async () => {
    const { cid } = await other.done('ipfs_add', { content: 'only the other has it' });
    await kubos[1].rpc.lines(`routing/provide?arg=${cid}`);
    const found = await world.done('ipfs_dht_findprovs', { cid, limit: 1 });
    expect(found).toMatchObject({
      cid,
      providers: [{ peer_id: kubos[1].id }],
      complete: true,
      ended: 'limit',
    });
    const absent = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
    expect(await world.done('ipfs_dht_findprovs', { cid: absent })).toMatchObject({
      providers: [],
      complete: true,
      ended: 'exhausted',
    });
  });

  test('is asked of no other node than the one that is named', async () => {
    const peer = { peer_id: kubos[1].id, node: 'embedded' };
    for (const tool of ['ipfs_dht_findpeer', 'ipfs_dht_query']) {
      await world.refused(tool, peer, 'IPFS_NODE_OFFLINE');
    }
  });
});

describe('a topic', () => {
  test('carries bytes from one node to the other, each message once and in a record', async () => {
    const topic = 'kitfs/ä';
    const { data } = await other.ask('ipfs_pubsub_subscribe', { topic });
    expect(data).toMatchObject({ topic, buffer: 1000, next_seq: 0 });
    const { subscription_id } = data ?? {};
    expect(data).toMatchObject({ uri: `kitfs://pubsub/${subscription_id}` });
    await listened(world, topic);
    const { seq } = world.journal.head;
    const sent = await world.ask('ipfs_pubsub_publish', { topic, content: 'hello' });
    expect(sent).toMatchObject({ data: { topic, size: 5, peers: 1 }, context: { node: 'kubo' } });
    const records = world.journal.ops.page(seq, 9).map(({ kind, state }) => [kind, state]);
    expect(records).toEqual([
      ['pubsub_publish', 'pending'],
      ['pubsub_publish', 'done'],
    ]);
    const bytes = { topic, content: '/w==', encoding: 'base64' };
    await world.done('ipfs_pubsub_publish', bytes);
    await world.done('ipfs_pubsub_publish', { topic, content: '' });
    const [one, two, three] = await heard(other, subscription_id, 3);
    expect(one).toBe('hello');
    expect(two).toMatchObject({ type: 'resource', resource: { blob: '/w==' } });
    expect(three).toBe('');
    const again = await header(other, { subscription_id, limit: 1 });
    expect(again).toMatchObject({
      subscription_id,
      topic,
      messages: [{ seq: 1, from: kubos[0].id, size: 5, encoding: 'utf-8', block: 1 }],
      next_seq: 1,
      head_seq: 3,
    });
    const values = { subscription_id, encoding: 'utf-8' };
    await other.refused('ipfs_pubsub_read', values, 'ENCODING_INVALID');
    expect(await other.done('ipfs_pubsub_unsubscribe', { subscription_id })).toEqual({
      subscription_id,
      topic,
      closed: true,
      dropped_unread: 0,
    });
    await other.refused('ipfs_pubsub_read', { subscription_id }, 'HANDLE_NOT_FOUND');
  });

  test('gets a message once that is sent again under its key', async () => {
    const topic = 'once';
    const { subscription_id } = await other.done('ipfs_pubsub_subscribe', { topic });
    await listened(world, topic);
    for (const content of ['one', 'one', 'two']) {
      const { structuredContent } = await world.call(
        'ipfs_pubsub_publish',
        { topic, content },
        {},
        `key of ${content}`,
      );
      expect(structuredContent).toMatchObject({ status: 'success', data: { size: 3, peers: 1 } });
    }
    expect((await heard(other, subscription_id, 2)).sort()).toEqual(['one', 'two']);
  });

  test('that nobody listens to is told so; what is too large is not sent', async () => {
    const { context } = await world.ask('ipfs_pubsub_publish', { topic: 'alone', content: 'x' });
    expect(context).toMatchObject({ warnings: [expect.stringContaining('nobody')] });
    const large = { topic: 'alone', content: 'x'.repeat(1_000_001) };
    await world.refused('ipfs_pubsub_publish', large, 'PAYLOAD_TOO_LARGE');
    expect(await world.done('ipfs_pubsub_peers', { topic: 'alone' })).toMatchObject({ peers: [] });
  });

  test('is heard on the connection that subscribed, and ends with it', async () => {
    const topic = 'own';
    const { subscription_id } = await world.done('ipfs_pubsub_subscribe', { topic });
    world.connection = 'session-2';
    for (const tool of ['ipfs_pubsub_read', 'ipfs_pubsub_unsubscribe']) {
      await world.refused(tool, { subscription_id }, 'HANDLE_NOT_FOUND');
    }
    world.connection = 'session-1';
    const waiting = header(world, { subscription_id, wait_ms: 50_000 });
    world.hangUp('session-1');
    expect(await waiting).toMatchObject({ messages: [] });
    world.connection = 'session-3';
    await vi.waitFor(
      async () => expect(await kubos[0].rpc.json('pubsub/ls')).toEqual({ Strings: null }),
      { timeout: 20_000 },
    );
  });

  test('may be one of so many on a connection, and no more', async () => {
    for (let count = 0; count < 32; count += 1) {
      await world.done('ipfs_pubsub_subscribe', { topic: `t${count}` });
    }
    await world.refused('ipfs_pubsub_subscribe', { topic: 'more' }, 'RATE_LIMITED');
    world.connection = 'session-2';
    await world.done('ipfs_pubsub_subscribe', { topic: 'more' });
  });
});

test('a tree is published under a name when it is with the node, and the other finds it there', async () => {
  await world.write('/ipfs/site/a', 'first');
  const values = { path: '/ipfs/site', publish_key: 'self' };
  await world.refused('vfs_sync_to_ipfs', { ...values, publish_key: 'none' }, 'NOT_FOUND');
  const made = await world.ask('vfs_sync_to_ipfs', values);
  const { root_cid: root, ipns_name: name } = made.data ?? {};
  expect(made.context['seq']).toBe(world.journal.head.seq);
  const found = await other.done('ipfs_name_resolve', { ipns_name: name, no_cache: true });
  expect(found).toMatchObject({ cid: root });
  const { data } = await other.ask('ipfs_cat', { ipfs_path: `/ipns/${name}/a` });
  expect(data).toMatchObject({ size: 5 });
});

test('a node without what is asked says which', async () => {
  await using plain = await KuboNode.start({ routing: 'none' });
  const at = open(plain.api);
  try {
    const peer = { peer_id: kubos[0].id };
    await at.refused('ipfs_dht_query', peer, 'ROUTING_UNAVAILABLE');
    await at.refused('ipfs_pubsub_publish', { topic: 't', content: 'x' }, 'PUBSUB_DISABLED');
    await at.refused('ipfs_pubsub_subscribe', { topic: 't' }, 'PUBSUB_DISABLED');
    await at.refused('ipfs_pubsub_peers', {}, 'PUBSUB_DISABLED');
  } finally {
    await at.close();
  }
});

test('a node that dies leaves a gap, and is listened to again when it is back', async () => {
  await using lone = await KuboNode.start({ pubsub: true });
  const at = open(lone.api);
  try {
    const topic = 'news';
    const { subscription_id } = await at.done('ipfs_pubsub_subscribe', { topic });
    await at.done('ipfs_pubsub_publish', { topic, content: 'before' });
    expect(await heard(at, subscription_id, 1)).toEqual(['before']);
    await lone.kill();
    const lost = await at.ask('ipfs_pubsub_read', {
      ...{ subscription_id, since_seq: 1, wait_ms: 20_000 },
    });
    expect(lost.data).toMatchObject({ messages: [], gap: { from: 2, to: 2 }, next_seq: 2 });
    expect(lost.context).toMatchObject({ warnings: [expect.stringContaining('not-running')] });
    await lone.restart();
    const deadline = clock.monotonicMs() + 60_000;
    const isListened = async () => {
      const { Strings } = await lone.rpc.json<{ Strings: string[] | null }>('pubsub/ls');
      return Strings !== null && Strings.length > 0;
    };
    while (!(await isListened())) {
      if (clock.monotonicMs() > deadline) throw new Error('it is not listened to again');
      await clock.sleep(50, new AbortController().signal);
    }
    await at.done('ipfs_pubsub_publish', { topic, content: 'after' });
    expect((await heard(at, subscription_id, 2)).at(-1)).toBe('after');
  } finally {
    await at.close();
  }
});
