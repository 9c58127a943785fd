/** What the command line is told about snapshots, and who is. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { blockKey, type CID, parseCid } from '../../src/content/content.ts';
import type { ControlCall } from '../../src/daemon/control.ts';
import { controlMethods } from '../../src/daemon/control-methods.ts';
import { Fixture } from '../sync/fixture.ts';

const OWNER = 1000;

let world: Fixture;
let parts: unknown[];
beforeEach(() => {
  world = new Fixture();
  parts = [];
  world.mkdir('/ipfs/t');
});
afterEach(() => world.close());

const none = () => {
  throw new Error('nobody asks for this');
};

const methods = () =>
  controlMethods({
    parts: () => ({ core: { dag: world.dag, journal: world.journal }, tools: {} }) as never,
    status: none,
    stop: none,
    owner: OWNER,
    isTokenRequired: false,
  });

const callOf = (uid: number): ControlCall => ({
  peer: { uid, gid: uid, groups: [], pid: 1 },
  session: 'a',
  signal: world.signal,
  part: async (part) => {
    parts.push(part);
  },
});

const list = (limit = 10, uid = OWNER) =>
  methods().snapshot_list({ path: '/ipfs/t', limit }, callOf(uid));

async function published(message: string): Promise<CID> {
  world.write(`/ipfs/t/${message}`, message);
  return (await world.publish('/ipfs/t', { message })).snapshot;
}

/** The block goes, as after a publication elsewhere of which only a part was brought here. */
function lose(cid: CID): void {
  const place = world.journal.contents.block(blockKey(cid));
  if (place === undefined) throw new Error(`${cid} is not here`);
  world.journal.commit(() => world.journal.contents.deleteBlocks(place.content));
}

test('the snapshots of a path come newest first, each with the one before it', async () => {
  const made = [await published('one'), await published('two'), await published('three')];
  const [one, two, three] = made.map(String);
  expect(await list()).toMatchObject({
    path: '/ipfs/t',
    snapshots: [
      { snapshot_cid: three, previous_cid: two, message: 'three' },
      { snapshot_cid: two, previous_cid: one },
      { snapshot_cid: one, message: 'one', cid_profile: 'unixfs-v1-2025' },
    ],
  });
  expect(await list(1)).toMatchObject({ snapshots: [{ snapshot_cid: three }] });
});

test('a chain that ends because a record is not here says which one', async () => {
  const one = await published('one');
  const two = await published('two');
  lose(one);
  const found = await list();
  expect(found).toMatchObject({ snapshots: [{ snapshot_cid: two.toString() }] });
  expect(found).toHaveProperty('incomplete', one.toString());
});

test('a path that was never published is not found', async () => {
  await expect(list()).rejects.toMatchObject({
    failure: 'not-found',
    details: { path: '/ipfs/t' },
  });
});

test('what a snapshot holds is counted by type, whether it is named by path or CID', async () => {
  world.symlink('/ipfs/t/link', 'one');
  const cid = await published('one');
  const shown = await methods().snapshot_show({ at: cid.toString() }, callOf(OWNER));
  expect(shown).toMatchObject({ counts: { file: 1, directory: 1, symlink: 1, fifo: 0 } });
  expect(await methods().snapshot_show({ at: '/ipfs/t' }, callOf(OWNER))).toEqual(shown);
});

test('a comparison is with the one before when no other is named, and counts what it lists', async () => {
  const one = await published('one');
  const two = await published('two');
  const diff = (params: object) => methods().snapshot_diff({ ...params }, callOf(OWNER));
  const counts = { created: 1, changed: 0, deleted: 0 };
  const told = { from: one.toString(), to: two.toString(), counts };
  expect(await diff({ to: '/ipfs/t' })).toEqual(told);
  expect(parts).toEqual([[{ change: 'created', path: 'two', type: 'file' }]]);
  expect(await diff({ from: two.toString(), to: one.toString() })).toMatchObject({
    counts: { created: 0, deleted: 1 },
  });
  await expect(diff({ to: one.toString() })).rejects.toMatchObject({ failure: 'not-found' });
});

test('others than the owner and root may name a CID, and no path', async () => {
  const cid = (await published('one')).toString();
  const refused = { failure: 'not-permitted' };
  await expect(list(10, 7)).rejects.toMatchObject(refused);
  await expect(methods().snapshot_show({ at: '/ipfs/t' }, callOf(7))).rejects.toMatchObject(
    refused,
  );
  const paths = { from: cid, to: '/ipfs/t' };
  await expect(methods().snapshot_diff(paths, callOf(7))).rejects.toMatchObject(refused);
  expect(await methods().snapshot_show({ at: cid }, callOf(7))).toMatchObject({
    snapshot_cid: parseCid(cid).toString(),
  });
  expect(await list(10, 0)).toMatchObject({ snapshots: [{ snapshot_cid: cid }] });
});
