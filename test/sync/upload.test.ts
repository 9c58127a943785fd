/** The laws of bringing a snapshot to a node, whatever fails on the way. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { NODE_TRANSFER_MS } from '../../src/base/limits.ts';
import { type CID, cidOfBytes, parseCid } from '../../src/content/content.ts';
import { checkJournal, type TargetRow } from '../../src/journal/journal.ts';
import { intended } from '../../src/sync/intend.ts';
import { lateAmong, sentCids } from '../../src/sync/sent.ts';
import { pinNameOf, placeOf, upload } from '../../src/sync/upload.ts';
import { blockOf, FakeNode } from '../fakes/node.ts';
import { Origin } from '../fakes/origin.ts';
import { Fixture, failureOf, ROOT } from './fixture.ts';

const PATH = nameOfText('/ipfs/t');

let world: Fixture;
let fake: FakeNode;
beforeEach(() => {
  world = new Fixture();
  fake = new FakeNode();
  for (const at of ['', '/a', '/a/b', '/y']) {
    world.mkdir(`/ipfs/t${at}`);
    world.write(`/ipfs/t${at}/f`, `bytes of ${at}`);
  }
});
afterEach(() => world.close());

const want = (change?: Partial<TargetRow>) => world.want('/ipfs/t', change);
const row = (): TargetRow => world.target('/ipfs/t');

/** One attempt, by a daemon that knows what is in the journal and nothing else. */
const attempt = (signal = world.signal) =>
  upload(world, fake.node, row(), { signal, progress: () => undefined });

/** The node has what it shall have, and nothing of ours besides. */
async function expectWhole(): Promise<void> {
  const { dag, signal } = world;
  const tree = fake.placed.get('/kitfs/ipfs%2Ft');
  expect(tree?.bytes).toEqual(Uint8Array.from(row().wanted.tree));
  await fake.collect();
  if (tree === undefined) throw new Error('it is placed');
  const keys = [];
  for await (const { cid } of dag.walk(tree, signal))
    keys.push(Buffer.from(cid.multihash.bytes).toString('hex'));
  expect((await fake.below(tree)).sort()).toEqual(keys.sort());
  const pins = [...fake.pins.values()].map(({ type, name }) => [type, name]);
  const name = pinNameOf(world.journalId, PATH);
  expect(pins.sort()).toEqual([
    ['recursive', name],
    ['recursive', name],
    ['recursive', name],
  ]);
  expect(row()).toMatchObject({ state: 'pinned', attempts: 0, held: row().wanted });
  // But for what an attempt that was cut off may do yet.
  expect(row().sent.filter((entry) => !/ \d+$/.test(entry))).toEqual([]);
  expect(checkJournal(world.journal)).toEqual([]);
}

test('a node gets the tree, its manifest and its record, pinned by name and placed in MFS', async () => {
  await want();
  await attempt();
  await expectWhole();
});

test.each([undefined, 'his'])(
  'bytes that are elsewhere are not sent: the node is told to pin, and finds them; a direct pin there: %s',
  async (name) => {
    const there = world;
    const { snapshot } = await there.publish('/ipfs/t');
    const origin = new Origin();
    for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
      const bytes = there.blocks.get(cid) ?? Buffer.alloc(0);
      origin.put(cid, bytes);
      fake.elsewhere.set(blockOf(cid), bytes);
    }
    try {
      world = new Fixture(origin);
      world.mkdir('/ipfs/t');
      await world.restore(snapshot, '/ipfs/t');
      world.write('/ipfs/t/mine', 'made here');
      await want();
      const root = cidOfBytes(row().wanted.tree);
      const direct = { cid: root, type: 'direct' } as const;
      if (name !== undefined) fake.pins.set(root.toString(), { ...direct, name });
      await attempt();
      expect(row()).toMatchObject({ state: 'pinned', attempts: 0, held: row().wanted });
      const own = pinNameOf(world.journalId, PATH);
      expect(fake.pins.get(root.toString())).toMatchObject({
        type: 'recursive',
        name: name ?? own,
      });
      const tree = fake.placed.get('/kitfs/ipfs%2Ft');
      await fake.collect();
      const mine = await world.dag.resolve(tree as CID, ['mine'], world.signal);
      expect(await fake.below(tree as CID)).toContain(blockOf(mine));
      // Directories, lists, the record and what was made here.
      expect(fake.imported).toBeLessThan(fake.blocks.size);
      const far = await world.dag.resolve(tree as CID, ['a', 'f'], world.signal);
      expect(world.blocks.has(far)).toBe(false);
    } finally {
      await there.close();
    }
  },
);

test('a node is asked for all its pins twice in an attempt: before anything is sent, and behind all', async () => {
  for (const bytes of ['one', 'two']) {
    world.write('/ipfs/t/f', bytes);
    await want();
    fake.calls.length = 0;
    await attempt();
    // Those of each type by themselves.
    expect(fake.calls.filter((name) => name === 'pins.ls')).toHaveLength(4);
  }
});

test('of a change only its blocks travel, and the pins of before go', async () => {
  await want();
  await attempt();
  const first = fake.imported;
  world.write('/ipfs/t/a/b/f', 'changed');
  await want();
  await attempt();
  // The file, three directories, three lists, the manifest and the record.
  expect(fake.imported - first).toBe(9);
  await expectWhole();
});

test('done again nothing travels, and nothing changes', async () => {
  await want();
  await attempt();
  const { imported } = fake;
  await attempt();
  expect(fake.imported).toBe(imported);
  await expectWhole();
});

describe('an attempt that fails', () => {
  for (const when of ['before', 'after'] as const) {
    test(`at any call, ${when} it is done, is made good by the next; also of a later snapshot`, async () => {
      await want();
      await attempt();
      const { calls } = fake;
      calls.length = 0;
      world.write('/ipfs/t/a/f', 'counted');
      await want();
      await attempt();
      const count = calls.length;
      expect(count).toBeGreaterThan(10);
      for (let at = 0; at < count; at += 1) {
        world.write('/ipfs/t/a/f', `at ${when} ${at}`);
        await want();
        const held = fake.placed.get(placeOf(PATH));
        fake.failAt(at, when);
        expect((await failureOf(attempt())).failure, `${at}`).toBe('not-running');
        fake.heal();
        // Whatever happened, one of the two is whole.
        await fake.collect();
        const placed = fake.placed.get(placeOf(PATH));
        if (placed === undefined || held === undefined) throw new Error('one is placed');
        await fake.below(placed);
        if (at % 2 === 1) {
          world.write('/ipfs/t/a/f', `behind ${when} ${at}`);
          await want();
        }
        await attempt();
        await expectWhole();
      }
    });
  }
});

test('what somebody else published under our name is left alone', async () => {
  await want();
  await attempt();
  const theirs = await world.publish('/ipfs/t/y');
  fake.placed.set(placeOf(PATH), theirs.root);
  world.write('/ipfs/t/f', 'ours');
  await want();
  const error = await failureOf(attempt());
  expect(error.failure).toBe('sync-conflict');
  expect(error.details).toEqual({ partial: { version: theirs.root.toString() } });
  expect(fake.placed.get(placeOf(PATH))?.toString()).toBe(theirs.root.toString());
  expect(row().held).toBeDefined();
});

test('what somebody else published goes once it was merged here, and not what came behind that', async () => {
  await want();
  await attempt();
  const theirs = (await world.publish('/ipfs/t/y')).root;
  const later = (await world.publish('/ipfs/t/a')).root;
  fake.placed.set(placeOf(PATH), theirs);
  world.write('/ipfs/t/mine', 'ours');
  await want();
  expect((await failureOf(attempt())).failure).toBe('sync-conflict');
  world.write('/ipfs/t/only', 'here');
  const conflicts = { how: 'merge', policy: 'keep_both' } as const;
  await world.restore(theirs, '/ipfs/t', { conflicts });
  // What was published before the merge has nothing of it.
  expect((await failureOf(attempt())).failure).toBe('sync-conflict');
  await want();
  expect(cidOfBytes(row().wanted.tree)).not.toEqual(theirs);
  fake.placed.set(placeOf(PATH), later);
  expect((await failureOf(attempt())).failure).toBe('sync-conflict');
  fake.placed.set(placeOf(PATH), theirs);
  await attempt();
  await expectWhole();
});

test('a node whose MFS went back to an earlier snapshot of ours gets the place right again', async () => {
  await want();
  await attempt();
  const first = fake.placed.get(placeOf(PATH));
  if (first === undefined) throw new Error('it is placed');
  for (const text of ['second', 'third']) {
    world.write('/ipfs/t/f', text);
    await want();
    await attempt();
  }
  for (const change of [false, true]) {
    // Kubo loses what was done in the third of a second before a kill; here more.
    fake.placed.set(placeOf(PATH), first);
    if (change) {
      world.write('/ipfs/t/f', 'fourth');
      await want();
    }
    await attempt();
    await expectWhole();
  }
});

test('a pin of another name stays, and keeps its name', async () => {
  await want();
  await attempt();
  const pinned = [...fake.pins.entries()].find(([key]) => key.startsWith('bafybei'));
  if (pinned === undefined) throw new Error('the tree is pinned');
  fake.pins.set(pinned[0], { ...pinned[1], name: 'mine' });
  world.write('/ipfs/t/f', 'changed');
  await want();
  await attempt();
  expect(fake.pins.get(pinned[0])?.name).toBe('mine');
});

test('a pin of somebody else stays, also without a name, and ours beside it goes', async () => {
  await want();
  const tree = cidOfBytes(row().wanted.tree);
  const theirs = [tree.toV0(), tree].map((cid) => ({ cid, type: 'recursive' as const }));
  for (const pin of theirs) fake.pins.set(pin.cid.toString(), pin);
  await attempt();
  const unnamed = () =>
    [...fake.pins.values()].filter(({ name }) => name === undefined).map(({ cid }) => String(cid));
  expect(unnamed().sort()).toEqual(theirs.map(({ cid }) => String(cid)).sort());
  fake.pins.delete(tree.toString());
  await attempt();
  // Now it is ours, beside theirs.
  expect(fake.pins.get(tree.toString())?.name).toBe(pinNameOf(world.journalId, PATH));
  world.write('/ipfs/t/f', 'changed');
  await want();
  await attempt();
  expect(unnamed()).toEqual([tree.toV0().toString()]);
  expect([...fake.pins.keys()]).not.toContain(tree.toString());
});

test('of a tree that is there under another manifest nothing is pinned again, and no pin loses its name', async () => {
  await want();
  await attempt();
  const tree = row().wanted.tree;
  await world.vfs.setattr(ROOT, world.ino('/ipfs/t/f'), { mode: 0o600 });
  await want();
  expect(row().wanted.tree.equals(tree)).toBe(true);
  const { calls } = fake;
  calls.length = 0;
  fake.failAt(7, 'before');
  const { node } = fake;
  const pinned = () => fake.pins.get(cidOfBytes(tree).toString())?.name;
  const watching = {
    ...node,
    content: {
      ...node.content,
      importCar: (...args: Parameters<typeof node.content.importCar>) =>
        node.content.importCar(...args).finally(() => {
          expect(pinned()).toBe(pinNameOf(world.journalId, PATH));
        }),
    },
  };
  const run = { signal: world.signal, progress: () => undefined };
  await failureOf(upload(world, watching, row(), run));
  expect(calls).toContain('importCar');
  expect(pinned()).toBe(pinNameOf(world.journalId, PATH));
  fake.heal();
  await attempt();
  await expectWhole();
});

test('what a node pins behind the attempt that was cut off goes with the next tree', async () => {
  await want();
  fake.failAt(5, 'before');
  await failureOf(attempt());
  const [late = ''] = row().sent;
  world.write('/ipfs/t/f', 'changed');
  await want();
  fake.heal();
  await attempt();
  expect(row().sent).toHaveLength(3);
  for (const text of ['more', 'and more']) {
    // It had the whole CAR of the first, and goes on with it only now.
    fake.pins.set(late, { cid: parseCid(late), type: 'recursive' });
    world.write('/ipfs/t/f', text);
    await want();
    await attempt();
    expect([...fake.pins.keys()]).not.toContain(late);
  }
  await expectWhole();
});

test('what may still be pinned late is looked for until the node has given it up', () => {
  expect(lateAmong([], 100)).toEqual([]);
  const [entry = ''] = lateAmong(['a'], 100);
  expect(sentCids([entry, 'b'])).toEqual(['a', 'b']);
  const until = Number(entry.split(' ')[1]);
  expect(until - 100).toBeGreaterThan(NODE_TRANSFER_MS / 1000);
  expect(lateAmong([entry], until - 1)).toEqual([entry]);
  expect(lateAmong([entry], until)).toEqual([]);
});

test('a node that lost what it held gets all of it', async () => {
  await want();
  await attempt();
  fake.blocks.clear();
  fake.pins.clear();
  world.write('/ipfs/t/f', 'changed');
  await want();
  await attempt();
  await expectWhole();
});

test('without a pin the tree is placed, and nothing pins it once its place was seen again', async () => {
  await want({ pin: false });
  await attempt();
  expect(row()).toMatchObject({ state: 'stored', sent: [] });
  const tree = fake.placed.get(placeOf(PATH))?.toString();
  expect([...fake.pins.keys()]).toContain(tree);
  // A kill of the node: what it placed just now is not there any more.
  fake.placed.clear();
  await attempt();
  expect(fake.placed.get(placeOf(PATH))?.toString()).toBe(tree);
  expect([...fake.pins.keys()]).toContain(tree);
  await attempt();
  const keys = [...fake.pins.keys()];
  expect(keys).not.toContain(tree);
  expect(keys.length).toBe(2);
});

test('a node that says it took what it did not is not believed', async () => {
  await want();
  const { node } = fake;
  const lying = { ...node, mfs: { ...node.mfs, place: async () => ({}) } };
  const run = { signal: world.signal, progress: () => undefined };
  expect((await failureOf(upload(world, lying, row(), run))).failure).toBe('response-invalid');
  expect(row().state).toBe('uploading');
});

test('a pin that is asked for while the tree is placed without one stays owed, and is made', async () => {
  await want({ pin: false });
  const { node } = fake;
  const asked: typeof node.mfs.place = (...call) => {
    const { path, target, wanted } = row();
    const next = intended(row(), { path, target, wanted, pin: true, nowS: 7 });
    if (next !== undefined) world.journal.commit(() => world.journal.targets.put(next));
    return node.mfs.place(...call);
  };
  const asking = { ...node, mfs: { ...node.mfs, place: asked } };
  await upload(world, asking, row(), { signal: world.signal, progress: () => undefined });
  expect(row()).toMatchObject({ pin: true, state: 'queued', dueS: 7, held: { pin: false } });
  await attempt();
  await expectWhole();
});

test('a pin that somebody named keeps its name, though a CAR of ours brought its root', async () => {
  await want();
  const { node } = fake;
  const { calls } = fake;
  const add = () => Promise.reject(new OpError('not-running', 'pin'));
  const run = { signal: world.signal, progress: () => undefined };
  await failureOf(upload(world, { ...node, pins: { ...node.pins, add } }, row(), run));
  expect(calls).toContain('importCar');
  const tree = cidOfBytes(row().wanted.tree);
  expect(row().sent).toContain(tree.toString());
  fake.pins.set(tree.toString(), { cid: tree, type: 'recursive', name: 'mine' });
  await attempt();
  expect(row().state).toBe('pinned');
  expect(fake.pins.get(tree.toString())?.name).toBe('mine');
});

test('what is wanted meanwhile stays wanted', async () => {
  await want();
  const { node } = fake;
  let isDone = false;
  const slow = {
    ...node,
    mfs: {
      ...node.mfs,
      place: async (...call: Parameters<typeof node.mfs.place>) => {
        if (!isDone) {
          isDone = true;
          world.write('/ipfs/t/f', 'later');
          await want();
        }
        return node.mfs.place(...call);
      },
    },
  };
  const before = row().wanted;
  await upload(world, slow, row(), { signal: world.signal, progress: () => undefined });
  expect(row()).toMatchObject({ state: 'queued', held: before });
  await attempt();
  await expectWhole();
});

test("what an earlier version pinned goes by what we held, and nobody else's of that name does", async () => {
  await want();
  await attempt();
  const old = [...fake.pins.keys()];
  for (const pin of fake.pins.values()) {
    fake.pins.set(pin.cid.toString(), { ...pin, name: 'kitfs /ipfs/t' });
  }
  const theirs = (await world.publish('/ipfs/t/y')).root;
  const pin = { cid: theirs, type: 'recursive', name: 'kitfs /ipfs/t' } as const;
  fake.pins.set(theirs.toString(), pin);
  world.write('/ipfs/t/f', 'changed');
  await want();
  const { node } = fake;
  // Cut off between the row that says what is held and the first pin that goes.
  const rm = () => Promise.reject(new OpError('not-running', 'unpin'));
  const run = { signal: world.signal, progress: () => undefined };
  const cut = upload(world, { ...node, pins: { ...node.pins, rm } }, row(), run);
  expect((await failureOf(cut)).failure).toBe('not-running');
  expect(row().held).toEqual({ ...row().wanted, pin: true });
  world.write('/ipfs/t/f', 'changed again');
  await want();
  await attempt();
  for (const key of old) expect([...fake.pins.keys()]).not.toContain(key);
  expect(fake.pins.get(theirs.toString())).toEqual(pin);
  fake.pins.delete(theirs.toString());
  await expectWhole();
});

test('another journal that publishes the same path keeps its pins', async () => {
  await want();
  await attempt();
  const before = new Map(fake.pins);
  const first = world;
  try {
    world = new Fixture();
    world.mkdir('/ipfs/t');
    world.write('/ipfs/t/f', 'of another');
    await want();
    expect((await failureOf(attempt())).failure).toBe('sync-conflict');
    // The user does what the hint says.
    fake.placed.clear();
    const { journal, dag, clock, signal } = world;
    const ports = { journal, journalId: 'another', dag, clock };
    await upload(ports, fake.node, row(), { signal, progress: () => undefined });
    for (const [key, pin] of before) expect(fake.pins.get(key)).toEqual(pin);
    expect(fake.pins.size).toBe(before.size + 3);
  } finally {
    await first.close();
  }
});

test('what somebody else published there while we sent is left alone', async () => {
  await want();
  const theirs = (await world.publish('/ipfs/t/y')).root;
  const { node } = fake;
  const content: typeof node.content = {
    ...node.content,
    importCar: (...args) =>
      node.content.importCar(...args).finally(() => fake.placed.set(placeOf(PATH), theirs)),
  };
  const run = { signal: world.signal, progress: () => undefined };
  const error = await failureOf(upload(world, { ...node, content }, row(), run));
  expect(error.failure).toBe('sync-conflict');
  expect(fake.placed.get(placeOf(PATH))?.toString()).toBe(theirs.toString());
});

test('places and pin names tell any two paths apart', () => {
  const paths = ['/ipfs', '/ipfs/t', '/ipfs-t', '/ipfs%2Ft', '/ipfs/ü', '/ipfs/\xff'].map(
    nameOfText,
  );
  expect(new Set(paths.map(placeOf)).size).toBe(paths.length);
  for (const path of paths) expect(placeOf(path)).toMatch(/^\/kitfs\/[\w.%-]+$/);
});
