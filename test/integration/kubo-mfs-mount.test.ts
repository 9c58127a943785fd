/** The laws of trees of MFS over a real Kubo: those of every engine, and its own. */
import { expect, test } from 'vitest';
import { lawsOfMfsMounts } from '../tools/mfs-mount-laws.ts';
import { worldsOverKubo } from './kubo-worlds.ts';

const SIGNAL = new AbortController().signal;

const { kubo, world } = worldsOverKubo();

lawsOfMfsMounts({ kind: 'kubo', world });

test('what is brought to Kubo is whole there, and stays whatever is collected', async () => {
  await world().done('ipfs_files_mkdir', { path: '/whole' });
  await world().done('vfs_mount', { backend: 'mfs', source: '/whole', mount_point: '/m' });
  const large = 'x'.repeat(3_000_000);
  await world().write('/m/large', large);
  await world().ports.ipfs.mfsTrees.settle(SIGNAL);
  await kubo().gc();
  const { data } = await world().ask('ipfs_files_stat', { path: '/whole/large', with_local: true });
  expect(data).toMatchObject({ size: large.length, local: { complete: true } });
  const bytes = await kubo().rpc.bytes('files/read?arg=/whole/large');
  expect(bytes.equals(Buffer.from(large))).toBe(true);
});
