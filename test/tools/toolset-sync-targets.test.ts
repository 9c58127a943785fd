/** The laws of vfs_sync_to_ipfs where the home node is a Kubo. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { KuboNode } from '../../src/backend/backend.ts';
import { UNLIMITED } from '../../src/tools/ceiling.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import type { Progress } from '../../src/tools/tool.ts';
import { calling } from '../backend/engine.ts';
import { FakeNode } from '../fakes/node.ts';
import { Fixture, sessionOf } from './fixture.ts';

let fake: FakeNode;
let world: Fixture;
beforeEach(async () => {
  fake = new FakeNode();
  world = new Fixture(TOOLS, fake.node as KuboNode);
  await world.done('vfs_mkdir', { path: '/ipfs/d' });
  await world.done('vfs_write', { path: '/ipfs/d/f', content: 'one' });
});
afterEach(() => world.close());

const publish = (values: Record<string, unknown> = {}) =>
  world.ask('vfs_sync_to_ipfs', { path: '/ipfs/d', ...values });

test('the home node gets the tree, and the answer says what it said', async () => {
  const { data } = await publish();
  const replica = { backend: 'ipfs', state: 'pinned', identifier: data?.['root_cid'] };
  expect(data?.['durability']).toMatchObject({ state: 'pinned', have: 1, want: 1 });
  expect(data?.['durability']).toMatchObject({ replicas: [replica] });
  expect([...fake.placed.values()].map(String)).toEqual([data?.['root_cid']]);
});

test('with no targets it stays here', async () => {
  const { data } = await publish({ targets: [] });
  expect(data?.['durability']).toMatchObject({ state: 'local', have: 0, want: 0, replicas: [] });
  expect(fake.calls).toEqual([]);
});

test('without a pin it is stored, and no more', async () => {
  const { data } = await publish({ pin: false });
  expect(data?.['durability']).toMatchObject({ state: 'stored', have: 1 });
});

test('a node that does not answer is the error, and is owed the tree still', async () => {
  fake.failAt(0, 'before');
  const answer = await publish();
  expect(answer).toMatchObject({ status: 'error', error_code: 'IPFS_DAEMON_NOT_RUNNING' });
  expect(world.journal.targets.all()).toMatchObject([{ state: 'failed', attempts: 1 }]);
  // What was made here is told all the same.
  const { error, context } = answer as unknown as {
    readonly error: string;
    readonly context: { readonly partial: Readonly<Record<string, string>> };
  };
  expect(error).toMatch(
    /^sync \/ipfs\/d to ipfs: not running; it is published here, and goes there/,
  );
  fake.heal();
  const { data } = await publish();
  const { root_cid, snapshot_cid } = data ?? {};
  expect(context.partial).toEqual({ root_cid, snapshot_cid });
  expect(data).toMatchObject({ changed: false, durability: { state: 'pinned' } });
});

test('a rung that cannot be reached is refused before anything is sent', async () => {
  for (const values of [{ wait_for: 'pinned', pin: false }, { wait_for: 'replicated' }]) {
    await world.refused('vfs_sync_to_ipfs', { path: '/ipfs/d', ...values }, 'INVALID_ARGUMENT');
  }
  expect(fake.calls).toEqual([]);
});

test('who waits for nothing is told that it is owed', async () => {
  fake.failAt(0, 'before');
  const { data } = await publish({ wait_for: 'local' });
  const { durability } = data as { durability: { replicas: { state: string }[] } };
  expect(durability).toMatchObject({ state: 'local', have: 0, want: 1 });
  expect(['queued', 'uploading', 'failed']).toContain(durability.replicas[0]?.state);
});

test('what somebody else published under our name is a conflict', async () => {
  const { data } = await publish();
  const [place] = fake.placed.keys();
  const [, theirs] = fake.pins.values();
  if (place === undefined || theirs === undefined) throw new Error('it is placed');
  fake.placed.set(place, theirs.cid);
  await world.done('vfs_write', { path: '/ipfs/d/f', content: 'two' });
  const answer = await publish();
  expect(answer).toMatchObject({ status: 'error', error_code: 'SYNC_CONFLICT' });
  expect(answer).toMatchObject({ context: { partial: { version: String(theirs.cid) } } });
  expect(answer).toMatchObject({ error: expect.stringContaining('somebody else published') });
  expect(data?.['root_cid']).toBeDefined();
});

test('a file is as safe as the node says, until it is changed', async () => {
  const durability = async (path: string) => (await world.done('vfs_stat', { path }))['durability'];
  expect(await durability('/ipfs/d/f')).toMatchObject({ have: 0, want: 0, replicas: [] });
  await publish();
  const { cid } = await world.done('vfs_stat', { path: '/ipfs/d/f' });
  expect(await durability('/ipfs/d/f')).toMatchObject({
    ...{ state: 'pinned', have: 1, want: 1 },
    replicas: [{ backend: 'ipfs', state: 'pinned', identifier: cid }],
  });
  expect(await durability('/ipfs/d')).toMatchObject({ state: 'pinned', have: 1 });
  const written = await world.done('vfs_write', { path: '/ipfs/d/f', content: 'two' });
  expect(written['durability']).toMatchObject({ state: 'journaled', have: 0, want: 1 });
  expect(await durability('/ipfs/d')).toMatchObject({ have: 0, want: 1 });
  await publish({ pin: false });
  expect(await durability('/ipfs/d/f')).toMatchObject({ state: 'stored', have: 1 });
});

test('the progress of a publication goes on with what is sent', async () => {
  const reports: Progress[] = [];
  const tool = world.registry.get('vfs_sync_to_ipfs');
  if (tool === undefined) throw new Error('there is one');
  const session = sessionOf({}, { id: 'session-1', ceiling: UNLIMITED, closed: calling().signal });
  const progress = (report: Progress) => void reports.push(report);
  await world.registry.call(tool, { path: '/ipfs/d' }, session, { ...calling(), progress });
  const last = reports.at(-1);
  expect(last).toMatchObject({ unit: 'items', done: last?.total });
  expect(last?.message).toMatch(/^(\d+) of \1 bytes sent to ipfs$/);
});
