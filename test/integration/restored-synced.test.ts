/** A machine that began with the tree of another one keeps it at its own node, though it has read none of its bytes. */
import { afterAll, beforeAll, expect, test } from 'vitest';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

interface Synced {
  readonly data: {
    readonly root_cid: string;
    readonly snapshot_cid: string;
    readonly durability: { readonly state: string };
  };
}

let nodes: readonly [KuboNode, KuboNode];
let there: TestDaemon;

const configuration = (kubo: KuboNode) =>
  `[ipfs]\nhome = "kubo"\n[ipfs.kubo]\napi = "${kubo.api}"\n`;

async function synced(daemon: TestDaemon): Promise<Synced['data']> {
  const values = { path: '/ipfs', targets: ['ipfs'], wait_for: 'pinned', wait_ms: 25_000 };
  return (await daemon.json<Synced>(['call', 'vfs_sync_to_ipfs', JSON.stringify(values)])).data;
}

beforeAll(async () => {
  nodes = [await KuboNode.start(), await KuboNode.start()];
  await nodes[1].connect(nodes[0]);
  there = await TestDaemon.start({ configuration: configuration(nodes[0]) });
  await there.shell(
    'mkdir d && for n in $(seq 100); do echo $n > d/f$n; done; head -c 5000000 /dev/urandom > large',
    { in: 'ipfs' },
  );
});
afterAll(async () => {
  await there?.close();
  for (const node of nodes ?? []) await node.close();
});

test('what it made itself is pinned with the rest, which its node gets from the other one', async () => {
  const { snapshot_cid: from, root_cid: root } = await synced(there);
  await using here = await TestDaemon.start({
    configuration: configuration(nodes[1]),
    args: ['--from', from],
  });
  await here.shell('echo mine > mine', { in: 'ipfs' });
  const { root_cid: own, durability } = await synced(here);
  expect([durability.state, own === root]).toEqual(['pinned', false]);
  await nodes[0].stop();
  expect(await nodes[1].cli(['cat', '--offline', `/ipfs/${own}/mine`])).toBe('mine\n');
  expect(await nodes[1].cli(['cat', '--offline', `/ipfs/${own}/d/f77`])).toBe('77\n');
  const large = await there.run('sha256sum', ['large'], { in: 'ipfs' });
  // And from there it comes here, though the machine that made it is gone.
  expect(await here.run('sha256sum', ['large'], { in: 'ipfs' })).toBe(large);
});
