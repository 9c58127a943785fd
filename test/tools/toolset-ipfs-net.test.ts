/** The laws of the tools of the network where there is none: nothing is made up. */
import { afterEach, beforeEach, test } from 'vitest';
import { type Facts, Fixture } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const CID = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
const PEER = '12D3KooWF29mEEUdmT2V3kbM8PjUBFQDjk1yt5gA3FATCKYbBKVt';
const CALLS: readonly (readonly [string, Facts])[] = [
  ['ipfs_dht_findpeer', { peer_id: PEER }],
  ['ipfs_dht_findprovs', { cid: CID }],
  ['ipfs_dht_query', { peer_id: PEER }],
  ['ipfs_pubsub_publish', { topic: 't', content: 'x' }],
  ['ipfs_pubsub_subscribe', { topic: 't' }],
  ['ipfs_pubsub_peers', {}],
];

test.each(CALLS)('%s says that the node is offline, and writes nothing', async (tool, values) => {
  await world.refused(tool, values, 'IPFS_NODE_OFFLINE');
  await world.refused(tool, { ...values, node: 'embedded' }, 'IPFS_NODE_OFFLINE');
  await world.refused(tool, { ...values, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
});

test('a subscription that nobody has is found by nobody', async () => {
  for (const tool of ['ipfs_pubsub_read', 'ipfs_pubsub_unsubscribe']) {
    await world.refused(tool, { subscription_id: 'x'.repeat(22) }, 'HANDLE_NOT_FOUND');
  }
});

test('a topic is text, and a bare CID is one', async () => {
  const broken = { topic: '\ud800', content: 'x' };
  await world.refused('ipfs_pubsub_publish', broken, 'INVALID_ARGUMENT');
  await world.refused('ipfs_dht_findprovs', { cid: `${CID}/a` }, 'INVALID_CID');
});
