/** Every tool that speaks to an IPFS node, on our own: see `both-engines.ts`. */
import { afterEach, beforeEach } from 'vitest';
import { lawsOfEngine } from './both-engines.ts';
import { Fixture } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const peerId = () => '12D3KooWF29mEEUdmT2V3kbM8PjUBFQDjk1yt5gA3FATCKYbBKVt';
lawsOfEngine({ kind: 'embedded', world: () => world, lost: () => world, peerId });
