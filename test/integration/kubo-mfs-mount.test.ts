/** The laws of trees of MFS over a real Kubo: those of every engine, and its own. */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { openKubo } from '../../src/backend/backend.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { KuboNode } from '../services/kubo.ts';
import { Fixture } from '../tools/fixture.ts';
import { lawsOfMfsMounts } from '../tools/mfs-mount-laws.ts';

const SIGNAL = new AbortController().signal;

let kubo: KuboNode;
let world: Fixture;

const open = (api: string) => {
  const [clock, random] = [new SystemClock(), new SystemRandom()];
  return new Fixture(TOOLS, openKubo({ api, requestsMax: 8, deadlineMs: 15_000, clock, random }));
};

beforeAll(async () => {
  kubo = await KuboNode.start();
});
afterAll(() => kubo[Symbol.asyncDispose]());
beforeEach(() => {
  world = open(kubo.api);
  return () => world.close();
});

lawsOfMfsMounts({ kind: 'kubo', world: () => world });

test('what is brought to Kubo is whole there, and stays whatever is collected', async () => {
  await world.done('ipfs_files_mkdir', { path: '/whole' });
  await world.done('vfs_mount', { backend: 'mfs', source: '/whole', mount_point: '/m' });
  const large = 'x'.repeat(3_000_000);
  await world.write('/m/large', large);
  await world.ports.ipfs.mfsTrees.settle(SIGNAL);
  await kubo.gc();
  const { data } = await world.ask('ipfs_files_stat', { path: '/whole/large', with_local: true });
  expect(data).toMatchObject({ size: large.length, local: { complete: true } });
  const bytes = await kubo.rpc.bytes('files/read?arg=/whole/large');
  expect(bytes.equals(Buffer.from(large))).toBe(true);
});
