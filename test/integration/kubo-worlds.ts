/** Worlds of tools over a real Kubo: one node for all tests of a file, and for each test a new world. */
import { afterAll, beforeAll, beforeEach } from 'vitest';
import { openKubo } from '../../src/backend/backend.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { KuboNode } from '../services/kubo.ts';
import { Fixture } from '../tools/fixture.ts';

export function worldAt(api: string): Fixture {
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  return new Fixture(TOOLS, openKubo({ api, requestsMax: 8, deadlineMs: 15_000, clock, random }));
}

/** For all tests of the file that calls this, which ask for them once they run. */
export function worldsOverKubo() {
  let kubo: KuboNode;
  let world: Fixture;
  beforeAll(async () => {
    kubo = await KuboNode.start();
  });
  afterAll(() => kubo?.close());
  beforeEach(() => {
    world = worldAt(kubo.api);
    return () => world.close();
  });
  return { kubo: () => kubo, world: () => world };
}
