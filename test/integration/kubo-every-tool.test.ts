/** Every tool that speaks to an IPFS node, on a real Kubo that knows another: see `both-engines.ts`. */
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { engineAt } from '../backend/engine.ts';
import { KuboNode } from '../services/kubo.ts';
import { lawsOfEngine } from '../tools/both-engines.ts';
import { Fixture } from '../tools/fixture.ts';

let kubo: KuboNode;
let peer: KuboNode;
let dead: KuboNode;
let world: Fixture;
let lost: Fixture;

beforeAll(async () => {
  const options = { pubsub: true };
  [kubo, peer, dead] = [
    await KuboNode.start(options),
    await KuboNode.start(options),
    await KuboNode.start({ offline: true }),
  ];
  await kubo.connect(peer);
  await dead.kill();
});
afterAll(async () => {
  for (const node of [kubo, peer, dead]) await node?.close();
});
beforeEach(() => {
  [world, lost] = [
    new Fixture(undefined, engineAt(kubo.api)),
    new Fixture(undefined, engineAt(dead.api)),
  ];
  return async () => {
    await world.close();
    await lost.close();
  };
});

lawsOfEngine({
  kind: 'kubo',
  world: () => world,
  lost: () => lost,
  peerId: () => peer.id,
});
