/** What is told of publishing: rows of the journal and what the loops know, as one. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { nameOfText } from '../../src/base/ids.ts';
import {
  syncStatusOf,
  syncTroublesOf,
  uploadsOwed,
  withoutRoots,
} from '../../src/daemon/status-sync.ts';
import type { TargetRow } from '../../src/journal/journal.ts';
import { Fixture } from '../sync/fixture.ts';

const PATH = nameOfText('/ipfs/t');
const IDLE = { underWay: [], unpublished: [], mfs: [] };

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  world.mkdir('/ipfs/t');
});
afterEach(() => world.close());

/** A tree that is owed to a store, with what is said of it. */
async function owe(change: Partial<TargetRow>) {
  const { root, snapshot } = await world.publish('/ipfs/t', { targets: ['one'] });
  const row = world.journal.targets.get(PATH, 'one');
  if (row === undefined) throw new Error('it is owed');
  world.journal.commit(() => world.journal.targets.put({ ...row, ...change }));
  return { root_cid: root.toString(), snapshot_cid: snapshot.toString() };
}

test('what is owed is told with how far it is, and is counted', async () => {
  const wanted = await owe({ state: 'uploading', dueS: 60 });
  const sent = { blocks: 1, bytes: 10, total: { blocks: 3, bytes: 30 } };
  const underWay = [{ path: PATH, target: 'one', sent }];
  const { uploads } = syncStatusOf(world.journal, { ...IDLE, underWay });
  const progress = { blocks: 1, bytes: 10, blocks_total: 3, bytes_total: 30 };
  const upload = { path: '/ipfs/t', target: 'one', state: 'uploading', attempts: 0 };
  const due = '1970-01-01T00:01:00.000000000Z';
  expect(uploads).toEqual([{ ...upload, wanted, progress, due }]);
  expect(uploadsOwed(world.journal)).toBe(1);
  expect(withoutRoots({ uploads, unpublished: [], mounts: [] }).uploads).toEqual([
    { ...upload, progress, due },
  ]);
});

test('what everybody is told names no CID of what is in MFS', () => {
  const tree = { path: '/m', kind: 'mfs', backend: 'mfs', read_only: false, volatile: false };
  const mfs = { source: '/', waiting: { files: 0, bytes: 0 } };
  const trees = [{ ...tree, mfs: { ...mfs, shown: 'bafyroot' } }];
  const told = withoutRoots({ uploads: [], unpublished: [], mounts: [{ trees }] });
  expect(told.mounts).toEqual([{ trees: [{ ...tree, mfs }] }]);
});

test('what a store holds is told with when it said so, and is no trouble', async () => {
  await owe({});
  const known = world.journal.targets.get(PATH, 'one');
  if (known === undefined) throw new Error('it is owed');
  const held = { ...known.wanted, pin: true };
  const root = await owe({ state: 'pinned', held, checkedS: 60, dueS: undefined });
  const { uploads } = syncStatusOf(world.journal, IDLE);
  expect(uploads).toMatchObject([{ held: root, checked: '1970-01-01T00:01:00.000000000Z' }]);
  expect(uploads[0]).not.toHaveProperty('due');
  expect([uploadsOwed(world.journal), syncTroublesOf(world.journal, IDLE)]).toEqual([0, []]);
});

test('a store that fails is a trouble, one that was taken out of the configuration is not', async () => {
  await owe({ state: 'failed', failure: 'timeout', attempts: 1 });
  const told = [{ error_code: 'TIMEOUT', text: '/ipfs/t could not be brought to one, tried once' }];
  expect(syncTroublesOf(world.journal, IDLE)).toEqual(told);
  await owe({ state: 'pinned', failure: 'timeout', attempts: 3 });
  expect(syncTroublesOf(world.journal, IDLE)[0]?.text).toMatch(/tried 3 times$/);
  await owe({ state: 'failed', failure: 'not-configured', attempts: 1 });
  expect(syncTroublesOf(world.journal, IDLE)).toEqual([]);
});

test('a tree that waits to be published is told, and is a trouble only when it could not be', () => {
  const error = new OpError('no-space', 'publish');
  const unpublished = [
    { path: PATH, dueS: 60, error: undefined },
    { path: nameOfText('/other'), dueS: 61, error },
  ];
  const due = '1970-01-01T00:01:00.000000000Z';
  expect(syncStatusOf(world.journal, { ...IDLE, unpublished }).unpublished).toEqual([
    { path: '/ipfs/t', due },
    { path: '/other', due: due.replace(':00.', ':01.'), error_code: 'NO_SPACE' },
  ]);
  expect(syncTroublesOf(world.journal, { ...IDLE, unpublished })).toEqual([
    { error_code: 'NO_SPACE', text: '/other could not be published, and is tried again' },
  ]);
});
