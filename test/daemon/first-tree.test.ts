/** What a new state directory begins with. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CID } from '../../src/content/content.ts';
import { FirstTree } from '../../src/daemon/first-tree.ts';
import { readSnapshot } from '../../src/sync/sync.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Names } from '../fakes/names.ts';
import { Origin } from '../fakes/origin.ts';
import { Fixture, failureOf } from '../sync/fixture.ts';

let there: Fixture;
let here: Fixture;
let origin: Origin;
let snapshot: CID;
beforeEach(async () => {
  there = new Fixture();
  origin = new Origin();
  here = new Fixture(origin);
  there.mkdir('/ipfs/docs', 0o700);
  there.write('/ipfs/docs/a', 'the bytes of a');
  ({ snapshot } = await there.publish('/ipfs'));
  for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
    origin.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
  }
});
afterEach(async () => {
  await here.close();
  await there.close();
});

async function begin(from: string, signal = here.signal) {
  const { vfs, journal, contents, dag, sealer, filling, names } = here;
  const core = { vfs, journal, contents, dag, sealer, filling, names };
  const first = FirstTree.of({
    core,
    from,
    uid: 0,
    isTakenOver: false,
    log: new RememberedLog(),
    signal,
  });
  await first?.foresee();
  await first?.arrive();
}

test.each(['', '/ipfs/'])('is the tree of a snapshot, named as %s<cid>', async (prefix) => {
  await begin(`${prefix}${snapshot}`);
  expect(here.inode('/ipfs/docs/a')).toMatchObject({ size: 14 });
  await here.vfs.bring(here.ino('/ipfs/docs/a'));
  expect(here.tree('/ipfs')).toEqual(there.tree('/ipfs'));
});

test('is that tree once: a start after it changes nothing, and needs nobody', async () => {
  await begin(snapshot.toString());
  const { seq } = here.journal.head;
  origin.manner = 'offline';
  await begin(snapshot.toString());
  expect(here.journal.head.seq).toBe(seq);
});

test('is never put over what is there', async () => {
  here.write('/ipfs/mine', 'mine');
  expect((await failureOf(begin(snapshot.toString()))).failure).toBe('not-empty');
  expect(here.bytes('/ipfs/mine').toString()).toBe('mine');
});

test('is nothing at all when it cannot be had whole', async () => {
  origin.manner = 'offline';
  expect((await failureOf(begin(snapshot.toString()))).failure).toBe('content-missing');
  expect(here.journal.dentries.isEmpty(here.ino('/ipfs'))).toBe(true);
  origin.manner = 'give';
  await begin(snapshot.toString());
  expect(here.inode('/ipfs/docs/a').size).toBe(14);
});

test('ends with the daemon, whatever the node does', async () => {
  origin.manner = 'hang';
  const stopping = new AbortController();
  const beginning = failureOf(begin(snapshot.toString(), stopping.signal));
  await origin.hasAsked(1);
  const reason = new Error('it stops');
  stopping.abort(reason);
  expect(await beginning).toBe(reason);
});

test('is nothing that is no CID', async () => {
  expect((await failureOf(begin('no-cid'))).failure).toBe('invalid-cid');
});

describe('of a name', () => {
  let names: Names;
  beforeEach(() => {
    names = new Names();
    here.names.attach(() => names);
  });

  test('is what it means when it is asked first, and stays that', async () => {
    names.point('site', `/ipfs/${snapshot}`);
    await begin('/ipns/site');
    await here.vfs.bring(here.ino('/ipfs/docs/a'));
    const tree = here.tree('/ipfs');
    there.write('/ipfs/docs/b', 'published later');
    names.point('site', `/ipfs/${(await there.publish('/ipfs')).snapshot}`);
    await begin('/ipns/site');
    expect(here.tree('/ipfs')).toEqual(tree);
    expect(names.asked).toEqual(['site!']);
  });

  test('is what lies behind it when that is named', async () => {
    const { tree } = await readSnapshot(there.dag, snapshot, there.signal);
    names.point('site', `/ipfs/${tree}`);
    await begin('/ipns/site/docs');
    expect(here.inode('/ipfs/a')).toMatchObject({ size: 14 });
  });

  test('is nothing at all when nobody knows the name', async () => {
    expect((await failureOf(begin('/ipns/site'))).failure).toBe('name-not-resolved');
    expect(here.journal.dentries.isEmpty(here.ino('/ipfs'))).toBe(true);
    names.point('site', `/ipfs/${snapshot}`);
    await begin('/ipns/site');
    expect(here.inode('/ipfs/docs/a').size).toBe(14);
  });

  test('is never put over what is there', async () => {
    here.write('/ipfs/mine', 'mine');
    names.point('site', `/ipfs/${snapshot}`);
    expect((await failureOf(begin('/ipns/site'))).failure).toBe('not-empty');
  });
});
