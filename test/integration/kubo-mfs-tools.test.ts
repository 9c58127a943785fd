/** The laws of the tools of toolset mfs over a real Kubo: those of every engine, and its own. */
import { expect, test } from 'vitest';
import { KuboNode } from '../services/kubo.ts';
import { lawsOfMfs } from '../tools/mfs-laws.ts';
import { worldAt, worldsOverKubo } from './kubo-worlds.ts';

const { kubo, world } = worldsOverKubo();

lawsOfMfs({ kind: 'kubo', world });

test('the trees of the two engines are two', async () => {
  await world().done('ipfs_files_write', { path: '/there', content: 'there' });
  await world().refused('ipfs_files_stat', { path: '/there', node: 'embedded' }, 'NOT_FOUND');
  await world().done('ipfs_files_write', { path: '/here', content: 'here', node: 'embedded' });
  await world().refused('ipfs_files_stat', { path: '/here' }, 'NOT_FOUND');
});

test('what is in the tree of Kubo is kept from its garbage collection', async () => {
  await world().done('ipfs_files_write', { path: '/kept', content: 'kept' });
  await kubo().gc();
  const { data } = await world().ask('ipfs_files_read', { path: '/kept' });
  expect(data).toMatchObject({ size: 4, uri: 'kitfs://mfs/kept' });
});

test('a change that Kubo does not answer is an error, told in its record', async () => {
  await using dead = await KuboNode.start();
  const at = worldAt(dead.api);
  try {
    await dead.kill();
    for (const [tool, values] of [
      ['ipfs_files_ls', {}],
      ['ipfs_files_write', { path: '/f', content: 'x' }],
      ['ipfs_files_mkdir', { path: '/d' }],
      ['ipfs_files_flush', {}],
    ] as const) {
      await at.refused(tool, values, 'IPFS_DAEMON_NOT_RUNNING');
    }
    await at.done('ipfs_files_mkdir', { path: '/d', node: 'embedded' });
  } finally {
    await at.close();
  }
});
