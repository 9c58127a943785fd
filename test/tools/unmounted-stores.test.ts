/** The laws of vfs_unmount about what is to be in a store. */
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import type { KuboNode } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { FakeNode } from '../fakes/node.ts';
import { Fixture } from './fixture.ts';

let fake: FakeNode;
let world: Fixture;
/** Whether the node answers nobody. */
let isAway = false;

const away = <T extends object>(facet: T): T =>
  new Proxy(facet, {
    get: (target, key) => {
      const call: unknown = Reflect.get(target, key);
      if (!isAway || typeof call !== 'function') return call;
      return () => Promise.reject(new OpError('not-running', String(key)));
    },
  });

/** A tree does not rest long enough to be published before somebody unmounts it. */
const REST = 'debounce_ms = 86_400_000';

const open = async (sync = REST): Promise<void> => {
  isAway = false;
  fake = new FakeNode();
  const { content, pins, mfs, ...node } = fake.node;
  const facets = { content: away(content), pins: away(pins), mfs: away(mfs) };
  world = new Fixture(TOOLS, { ...node, ...facets } as KuboNode, sync);
  const options = { sync_ms: 86_400_000 };
  await world.done('vfs_mount', { backend: 'ipfs', mount_point: '/t', options });
  await world.write('/t/a', 'abc');
};

beforeEach(() => open());
afterEach(() => world.close());

const unmount = { mount_point: '/t' };
const points = () => [...world.vfs.core.mounts.mounts()].map(({ mountPoint }) => mountPoint);
const states = () => world.journal.targets.all().map(({ state }) => state);

test('what changed is published, and with its store, when the answer comes', async () => {
  expect(await world.done('vfs_unmount', unmount)).toMatchObject({
    pending: { files: 0, bytes: 0 },
  });
  expect(states()).toEqual(['pinned']);
  expect(fake.placed.size).toBe(1);
});

test('what cannot leave keeps the tree mounted, as it was', async () => {
  isAway = true;
  const { error_code: code, context } = await world.ask('vfs_unmount', unmount);
  expect(code).toBe('BACKEND_UNAVAILABLE');
  expect(context).toMatchObject({ backend: 'ipfs', partial: { files: 1, bytes: 3 } });
  expect(points()).toContain('/t');
  expect(await world.text('/t/a')).toBe('abc');
  isAway = false;
  expect(await world.done('vfs_unmount', unmount)).toMatchObject({
    pending: { files: 0, bytes: 0 },
  });
  expect(states()).toEqual(['pinned']);
});

test('what was owed before it was unmounted counts too', async () => {
  isAway = true;
  await world.ask('vfs_sync_to_ipfs', { path: '/t', wait_for: 'local' });
  await vi.waitFor(() => expect(states()).toEqual(['failed']));
  await world.refused('vfs_unmount', unmount, 'BACKEND_UNAVAILABLE');
});

test('by force what cannot leave is told as pending, and goes there later', async () => {
  isAway = true;
  const forced = await world.done('vfs_unmount', { ...unmount, force: true });
  expect(forced).toMatchObject({ unmounted: true, pending: { files: 1, bytes: 3 } });
  expect(points()).not.toContain('/t');
  isAway = false;
  await vi.waitFor(() => expect(states()).toEqual(['pinned']), { timeout: 20_000 });
});

test('what is not to be published at an unmount is told as pending', async () => {
  await world.close();
  await open(`${REST}\nat_unmount = false`);
  expect(await world.done('vfs_unmount', unmount)).toMatchObject({
    pending: { files: 1, bytes: 3 },
  });
  expect(states()).toEqual([]);
});

test('what is published on request only owes nothing', async () => {
  const options = { sync_ms: 0 };
  await world.done('vfs_mount', { backend: 'ipfs', mount_point: '/own', options });
  await world.write('/own/a', 'abc');
  isAway = true;
  const answer = await world.done('vfs_unmount', { mount_point: '/own' });
  expect(answer).toMatchObject({ pending: { files: 0, bytes: 0 } });
});
