/** The engine Kubo on two real nodes that know each other: names, routing, pubsub, and what they say of it. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { IpfsNode } from '../../src/backend/backend.ts';
import { all, calling, engineAt, rawBlock, secretOf, text } from '../backend/engine.ts';
import { KuboNode } from '../services/kubo.ts';

const failing = (failure: string) => expect.objectContaining({ failure });
const LIFETIME = { lifetimeS: 3600, ttlS: 60 };
/** Well-formed, and nobody's. */
const NOBODY = '12D3KooWF29mEEUdmT2V3kbM8PjUBFQDjk1yt5gA3FATCKYbBKVt';

/** What a node has that has a network. */
const facets = (node: IpfsNode) => {
  const { routing, pubsub, stats } = node;
  const { network } = stats;
  if (routing === undefined || pubsub === undefined || network === undefined) {
    throw new Error('Kubo has them all');
  }
  return { routing, pubsub, stats, network };
};

describe('two nodes that know each other', () => {
  let kubos: readonly [KuboNode, KuboNode];
  let one: IpfsNode;
  let two: IpfsNode;

  beforeAll(async () => {
    const options = { pubsub: true };
    kubos = [await KuboNode.start(options), await KuboNode.start({ ...options, api: 'unix' })];
    await kubos[0].connect(kubos[1]);
    [one, two] = [engineAt(kubos[0].api), engineAt(kubos[1].api)];
  });

  afterAll(async () => {
    for (const node of [one, two]) await node?.[Symbol.asyncDispose]();
    for (const kubo of kubos ?? []) await kubo.close();
  });

  test('fetch blocks from each other', async () => {
    const { cid, bytes } = rawBlock('from one to two');
    await one.content.blockPut(cid, bytes, calling());
    expect(Buffer.from(await two.content.blockGet(cid, calling()))).toEqual(Buffer.from(bytes));
  });

  test('find who has a block, each peer once, and nobody where nobody has it', async () => {
    const { cid, bytes } = rawBlock('only one has it');
    await one.content.blockPut(cid, bytes, calling());
    await kubos[0].rpc.lines(`routing/provide?arg=${cid}`);
    const { routing } = facets(two);
    const providers = await all(routing.findProviders(cid, { ...calling(), limit: 5 }));
    expect(providers.map(({ peerId }) => peerId)).toEqual([kubos[0].id]);
    const { cid: nowhere } = rawBlock('nobody has it at all');
    expect(await all(routing.findProviders(nowhere, { ...calling(), limit: 5 }))).toEqual([]);
  });

  test('find each other by their ids, and nobody else', async () => {
    const { routing } = facets(one);
    const found = await routing.findPeer(kubos[1].id, calling());
    expect(found.peerId).toBe(kubos[1].id);
    expect(found.addresses.join()).toContain('/ip4/127.0.0.1/');
    await expect(routing.findPeer(NOBODY, calling())).rejects.toMatchObject({
      failure: 'not-found',
      details: { kind: 'peer' },
    });
    await expect(routing.findPeer('nonsense', calling())).rejects.toEqual(
      failing('invalid-argument'),
    );
  });

  test('tell who is closest to a key', async () => {
    const { routing } = facets(one);
    const closest = await all(routing.query(NOBODY, calling()));
    expect(closest.map(({ peerId }) => peerId)).toEqual([kubos[1].id]);
    const { cid } = rawBlock('no peer');
    await expect(all(routing.query(cid.toString(), calling()))).rejects.toEqual(
      failing('invalid-argument'),
    );
  });

  test('publish names that the other resolves', async () => {
    const { cid, bytes } = rawBlock('named');
    await one.content.blockPut(cid, bytes, calling());
    const path = `/ipfs/${cid}`;
    const published = await one.names.publish(path, { ...calling(), ...LIFETIME });
    expect(published).toMatchObject({ path, published: 'network' });
    const ask = { ...calling(), noCache: true };
    expect(await two.names.resolve(published.name, ask)).toEqual({ path, from: 'network' });
    expect(await one.names.resolve('self', ask)).toEqual({ path, from: 'local' });
    const key = await one.names.generateKey('second', calling());
    expect(await one.names.keys(calling())).toContainEqual(key);
    const named = { ...calling(), ...LIFETIME, key: 'second' };
    expect((await one.names.publish(path, named)).name).toBe(key.id);
    expect(await one.names.resolve('second', ask)).toEqual({ path, from: 'local' });
  });

  test('say why a name is not to be had', async () => {
    const again = one.names.generateKey('third', calling()).then(() => {
      return one.names.generateKey('third', calling());
    });
    await expect(again).rejects.toEqual(failing('exists'));
    const { cid } = rawBlock('named');
    const publish = (more: object) =>
      one.names.publish(`/ipfs/${cid}`, { ...calling(), ...LIFETIME, ...more });
    await expect(publish({ key: 'none' })).rejects.toMatchObject({
      failure: 'not-found',
      details: { kind: 'key' },
    });
    await expect(publish({ ttlS: 7200 })).rejects.toEqual(failing('invalid-argument'));
    const { id: never } = await two.names.generateKey('never', calling());
    const ask = { ...calling(), deadlineMs: 8000 };
    await expect(one.names.resolve(never, ask)).rejects.toEqual(failing('name-not-resolved'));
  });

  test('hear what the other says on a topic, until they listen no more', async () => {
    const topic = 'kitfs/ä';
    const { pubsub } = facets(one);
    const heard: [string, string, readonly string[]][] = [];
    {
      await using subscription = await facets(two).pubsub.subscribe(topic, calling());
      expect(await facets(two).pubsub.topics(calling())).toEqual([topic]);
      await expect
        .poll(() => pubsub.peers(topic, calling()), { timeout: 10_000 })
        .toEqual([kubos[1].id]);
      for (const words of ['first', 'second']) await pubsub.publish(topic, text(words), calling());
      for await (const { from, data, topics } of subscription) {
        heard.push([from, Buffer.from(data).toString(), topics]);
        if (heard.length === 2) break;
      }
    }
    expect(heard.sort()).toEqual([
      [kubos[0].id, 'first', [topic]],
      [kubos[0].id, 'second', [topic]],
    ]);
    await expect.poll(() => facets(two).pubsub.topics(calling()), { timeout: 10_000 }).toEqual([]);
    expect(await pubsub.peers('nobody listens', calling())).toEqual([]);
  });

  test('publish nothing that would be dropped', async () => {
    const large = facets(one).pubsub.publish('t', new Uint8Array(1_000_001), calling());
    await expect(large).rejects.toEqual(failing('payload-too-large'));
  });

  test('say who they are and what they do', async () => {
    const { stats, network } = facets(one);
    const own = await stats.id(undefined, calling());
    expect(own).toMatchObject({ peerId: kubos[0].id, online: true });
    const other = await stats.id(kubos[1].id, calling());
    expect(other).toMatchObject({
      peerId: kubos[1].id,
      agentVersion: expect.stringMatching(/^kubo/),
    });
    await expect(stats.id('nonsense', calling())).rejects.toEqual(failing('invalid-argument'));
    await expect(stats.id(NOBODY, calling())).rejects.toEqual(failing('not-found'));
    expect(await stats.version(calling())).toMatchObject({ version: '0.43.1', compatible: true });
    const repo = await stats.repo({ ...calling(), countObjects: true });
    expect(repo.objects).toBeGreaterThan(0);
    expect(repo.version).toMatch(/^fs-repo@/);
    expect((await stats.repo(calling())).objects).toBeUndefined();
    // Kubo adds up once a second.
    await expect
      .poll(async () => (await network.bandwidth(calling())).totalIn, { timeout: 10_000 })
      .toBeGreaterThan(0);
    expect((await network.dht(calling())).map(({ name }) => name).sort()).toEqual(['lan', 'wan']);
    expect(await network.bitswap(calling())).toMatchObject({ wantlist: [], blocksSent: 1 });
    expect(Object.keys(await network.provide(calling()))).not.toEqual([]);
    const options = { ...calling(), latency: true, streams: true, identify: true };
    const [peer] = await network.peers(options);
    expect(peer).toMatchObject({ peerId: kubos[1].id, direction: 'outbound' });
    expect(peer?.latencyMs).toBeGreaterThan(0);
    expect(peer?.streams?.length).toBeGreaterThan(0);
    expect(peer?.agentVersion).toMatch(/^kubo/);
  });
});

describe('a node that is offline', () => {
  let kubo: KuboNode;
  let node: IpfsNode;

  beforeAll(async () => {
    kubo = await KuboNode.start({ offline: true });
    node = engineAt(kubo.api);
  });

  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
    await kubo?.close();
  });

  test('says so to every question of the network', async () => {
    const { cid } = rawBlock('offline');
    const { routing, pubsub, stats, network } = facets(node);
    const asked: Record<string, () => Promise<unknown>> = {
      findPeer: () => routing.findPeer(NOBODY, calling()),
      findProviders: () => all(routing.findProviders(cid, { ...calling(), limit: 1 })),
      bandwidth: () => network.bandwidth(calling()),
      dht: () => network.dht(calling()),
      bitswap: () => network.bitswap(calling()),
      provide: () => network.provide(calling()),
      peers: () => network.peers(calling()),
      id: () => stats.id(NOBODY, calling()),
      publish: () =>
        node.names.publish(`/ipfs/${cid}`, { ...calling(), ...LIFETIME, resolve: false }),
    };
    for (const [name, ask] of Object.entries(asked)) {
      await expect(ask(), name).rejects.toEqual(failing('node-offline'));
    }
    await expect(all(routing.query(NOBODY, calling()))).rejects.toEqual(
      failing('routing-unavailable'),
    );
    await expect(pubsub.topics(calling())).rejects.toEqual(failing('pubsub-disabled'));
    expect(await stats.id(undefined, calling())).toMatchObject({ addresses: [], online: false });
    await expect(node.content.blockGet(cid, calling())).rejects.toEqual(failing('content-missing'));
  });

  test('publishes where that is enough, and says that it is local', async () => {
    const { cid } = rawBlock('offline');
    const options = { ...calling(), ...LIFETIME, resolve: false, allowOffline: true };
    const published = await node.names.publish(`/ipfs/${cid}`, options);
    expect(published.published).toBe('local');
    const path = `/ipfs/${cid}`;
    expect(await node.names.resolve('self', calling())).toEqual({ path, from: 'local' });
  });
});

test('a node without routing publishes no name, whatever it answers', async () => {
  await using kubo = await KuboNode.start({ routing: 'none' });
  await using node = engineAt(kubo.api);
  const { cid } = rawBlock('no routing');
  const options = { ...calling(), ...LIFETIME, resolve: false };
  await expect(node.names.publish(`/ipfs/${cid}`, options)).rejects.toEqual(
    failing('routing-unavailable'),
  );
});

test('a node is asked with the secret it wants, and told when it is a wrong one', async () => {
  const authorizations = { agent: { secret: 'basic:ann:s3cret:word' } };
  await using kubo = await KuboNode.start({ authorizations });
  const version = async (value: string | undefined) => {
    const secret = value === undefined ? undefined : () => secretOf(value);
    await using node = engineAt(kubo.api, { secret });
    return await node.stats.id(undefined, calling());
  };
  expect((await version('basic:ann:s3cret:word')).peerId).toBe(kubo.id);
  expect((await version('bearer:kitfs-test')).peerId).toBe(kubo.id);
  await expect(version('bearer:wrong')).rejects.toEqual(failing('credentials-invalid'));
  await expect(version(undefined)).rejects.toEqual(failing('credentials-invalid'));
});

test('a node is found by its repository, also after a kill and when the file is a dead one’s', async () => {
  await using kubo = await KuboNode.start();
  await using node = engineAt(kubo.repo);
  expect((await node.stats.id(undefined, calling())).peerId).toBe(kubo.id);
  await kubo.kill();
  await expect(node.stats.id(undefined, calling())).rejects.toEqual(failing('not-running'));
  await kubo.restart();
  expect((await node.stats.id(undefined, calling())).peerId).toBe(kubo.id);
  await kubo.stop();
  await expect(node.stats.id(undefined, calling())).rejects.toEqual(failing('not-running'));
  writeFileSync(join(kubo.repo, 'api'), 'nonsense');
  await expect(node.stats.id(undefined, calling())).rejects.toEqual(failing('configuration'));
});

test('a subscription ends with an error when its node is killed, and a call in between too', async () => {
  await using kubo = await KuboNode.start({ pubsub: true });
  await using node = engineAt(kubo.api);
  const heard = all(await facets(node).pubsub.subscribe('t', calling()));
  heard.catch(() => {});
  const waiting = node.content.blockGet(rawBlock('never there').cid, calling());
  waiting.catch(() => {});
  await node.stats.version(calling());
  await kubo.kill();
  await expect(heard).rejects.toEqual(failing('not-running'));
  await expect(waiting).rejects.toEqual(failing('not-running'));
});
