/** The laws of ipfs_id, ipfs_version, ipfs_stats and ipfs_swarm_peers on the embedded engine. */
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Keys } from '../../src/node/keys.ts';
import { Fixture } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

describe('ipfs_id', () => {
  test('is an identity of its own, which a file of the owner alone keeps', async () => {
    const { data, context } = await world.ask('ipfs_id', {});
    expect(data).toMatchObject({
      peer_id: expect.stringMatching(/^12D3KooW/),
      addresses: [],
      protocols: [],
      agent_version: 'kitfs/9.8.7',
      keys: [{ name: 'self', id: expect.stringMatching(/^k51/) }],
      online: false,
    });
    expect(context).toMatchObject({ node: 'embedded' });
    expect(await world.done('ipfs_id', {})).toEqual(data);
    const directory = join(world.directory, 'keys');
    expect(readdirSync(directory)).toEqual(['self.pem']);
    expect(statSync(join(directory, 'self.pem')).mode & 0o777).toBe(0o600);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    // Whoever starts next is the same.
    expect((await new Keys(directory).self()).peerId).toBe(data?.['peer_id']);
  });

  test('knows itself by every way to write it, and nobody else', async () => {
    const { peer_id, keys } = await world.done('ipfs_id', {});
    const [{ id }] = keys as [{ id: string }];
    for (const name of [peer_id, id]) {
      const again = await world.done('ipfs_id', { peer_id: name });
      expect(again).toMatchObject({ peer_id });
      expect(again).not.toHaveProperty('keys');
    }
    const other = (await new Keys(join(world.directory, 'other')).self()).peerId;
    await world.refused('ipfs_id', { peer_id: other }, 'IPFS_NODE_OFFLINE');
    const context = await world.refused('ipfs_id', { peer_id: 'nobody' }, 'INVALID_ARGUMENT');
    expect(context['issues']).toMatchObject([{ argument: 'peer_id' }]);
    await world.refused('ipfs_id', { node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
  });
});

test('ipfs_version tells what is there, and that it will do', async () => {
  expect(await world.done('ipfs_version', {})).toMatchObject({
    kitfs: { version: '9.8.7' },
    node: { kind: 'embedded', version: '9.8.7' },
    compatible: true,
  });
  await world.refused('ipfs_version', { node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
});

describe('ipfs_stats', () => {
  test('counts each block once, wherever it lies', async () => {
    const repo = async (values = {}) => (await world.done('ipfs_stats', values))['repo'];
    expect(await repo()).toEqual({
      repo_size: 0,
      storage_max: 2 ** 40,
      version: expect.any(String),
    });
    await world.done('ipfs_add', { content: 'hello world' });
    await world.done('ipfs_add', { content: 'hello world' });
    expect(await repo({ size_only: false })).toMatchObject({ repo_size: 11, num_objects: 1 });
  });

  test.each(['bw', 'dht', 'bitswap', 'provide'])('has no %s without a network', async (stat) => {
    await world.refused('ipfs_stats', { stat }, 'IPFS_NODE_OFFLINE');
    await world.refused('ipfs_stats', { stat, node: 'embedded' }, 'IPFS_NODE_OFFLINE');
    await world.refused('ipfs_stats', { stat, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
  });
});

test('an engine without a network has no peers, and says so', async () => {
  await world.refused('ipfs_swarm_peers', {}, 'IPFS_NODE_OFFLINE');
  await world.refused('ipfs_swarm_peers', { node: 'embedded' }, 'IPFS_NODE_OFFLINE');
  await world.refused('ipfs_swarm_peers', { node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
});
