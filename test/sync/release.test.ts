/** The laws of letting old snapshots go: what goes, what stays, and that nothing that stays ever lacks a block. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { turn } from '../../src/base/turn.ts';
import { blockKey, CID, CONTENT_PROFILE, cidOfBytes, Dag } from '../../src/content/content.ts';
import { CHUNK_BYTES } from '../../src/content/hash.ts';
import { checkJournal, Retention } from '../../src/journal/journal.ts';
import { Releaser } from '../../src/sync/release.ts';
import { chainOf, readSnapshot } from '../../src/sync/snapshot.ts';
import { noise } from '../content/fixture.ts';
import { Fixture, failureOf } from './fixture.ts';

const SILENT = { info() {}, warn() {}, error() {} };

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  world.mkdir('/ipfs/t');
});
afterEach(() => world.close());

const releaser = (keep: number) => new Releaser({ ...world, log: SILENT }, keep);
const release = (keep: number) => releaser(keep).release(world.signal);

/** What retention does once old bytes have had their time. */
function retire(): void {
  const policy = { keepS: 1e9, recordsMax: 1e9, oldBytesMax: 0 };
  const { journal, contents } = world;
  const retention = new Retention({ journal, policy, discard: (id) => contents.discard(id) });
  while (retention.step());
}

/** Publishes `/ipfs/t` with `bytes` in the file `f`; its snapshot. */
async function version(bytes: Uint8Array | string, file = 'f'): Promise<CID> {
  world.write(`/ipfs/t/${file}`, bytes);
  return (await world.publish('/ipfs/t', { pin: false })).snapshot;
}

async function versions(count: number, size = 300_000): Promise<CID[]> {
  const made: CID[] = [];
  for (let at = 0; at < count; at += 1) made.push(await version(noise(size + at)));
  return made;
}

/** Whether every block of a DAG is here, undamaged. */
async function isWhole(root: CID): Promise<boolean> {
  for await (const { cid, size } of world.dag.walk(root, world.signal)) {
    if (size === undefined || world.blocks.get(cid) === undefined) return false;
  }
  return true;
}

async function isSnapshotWhole(cid: CID): Promise<boolean> {
  if (!world.blocks.has(cid)) return false;
  const { tree, manifest } = await readSnapshot(world.dag, cid, world.signal);
  return (await isWhole(tree)) && (await isWhole(manifest));
}

/** The snapshots of a path, newest first, as far as they are here. */
async function listed(path = '/ipfs/t'): Promise<string[]> {
  const found: string[] = [];
  const newest = world.journal.superblocks.synced(nameOfText(path))?.snapshotCid;
  if (newest === undefined || newest === null) return found;
  try {
    const chain = chainOf(world.dag, cidOfBytes(newest), world.signal);
    for await (const { cid } of chain) found.push(cid.toString());
  } catch (error) {
    expect(error).toMatchObject({ failure: 'content-missing' });
  }
  return found;
}

const texts = (cids: readonly CID[]): string[] => cids.map(String);

/** Backing files there are. */
const filesOnDisk = (): number =>
  readdirSync(join(world.directory, 'content'), { recursive: true, withFileTypes: true }).filter(
    (entry) => entry.isFile(),
  ).length;

const treeOf = async (snapshot: CID): Promise<CID> =>
  (await readSnapshot(world.dag, snapshot, world.signal)).tree;

/** The file `f` of a snapshot. */
const fileOf = async (snapshot: CID): Promise<CID> =>
  world.dag.resolve(await treeOf(snapshot), ['f'], world.signal);

/** Makes block bytes of a CID wrong, or takes them away. */
function damage(cid: CID, how: 'wrong' | 'lost'): void {
  const { journal, contents } = world;
  for (const { content } of journal.contents.blockPlaces(blockKey(cid))) {
    journal.commit(() => {
      if (how === 'lost') contents.discard(content);
      else journal.contents.setBytes(content, Buffer.alloc(contents.size(content), 7));
    });
  }
}

const heldNow = (): number =>
  world.journal.contents.page(0, 10_000).filter(({ held }) => held === 1).length;

describe('of the snapshots of a path', () => {
  test('the newest stay whole and are restored byte for byte; of the others nothing is left', async () => {
    const made = await versions(6);
    const gone = await fileOf(made[0] as CID);
    const files = filesOnDisk();
    const { snapshots, bytes } = await release(3);
    expect(snapshots).toBe(3);
    expect(bytes).toBeGreaterThan(3 * 300_000);
    expect(await listed()).toEqual(texts(made.slice(3).reverse()));
    retire();
    expect(world.blocks.has(gone)).toBe(false);
    expect(filesOnDisk()).toBe(files - 3);
    for (const [at, cid] of made.entries()) expect(await isSnapshotWhole(cid)).toBe(at >= 3);
    for (const at of [3, 4, 5]) {
      world.mkdir(`/ipfs/r${at}`);
      await world.restore(made[at] as CID, `/ipfs/r${at}`);
      expect(world.bytes(`/ipfs/r${at}/f`).equals(noise(300_000 + at))).toBe(true);
    }
    const lost = await failureOf(world.restore(made[0] as CID, '/ipfs/t'));
    expect(lost.failure).toBe('content-missing');
    expect(checkJournal(world.journal)).toEqual([]);
  });

  test('as many as there are stay when there are no more', async () => {
    await versions(3);
    const held = heldNow();
    expect(await release(3)).toEqual({ snapshots: 0, objects: 0, bytes: 0 });
    expect(heldNow()).toBe(held);
  });

  test('what a newer one shares with an older one stays', async () => {
    world.write('/ipfs/t/same', noise(400_000));
    const made = await versions(3);
    await release(1);
    retire();
    expect(await isSnapshotWhole(made[2] as CID)).toBe(true);
    expect(world.bytes('/ipfs/t/same').equals(noise(400_000))).toBe(true);
  });

  test('a file that grows leaves nothing of before, though most of its blocks are in the new one', async () => {
    const bytes = noise(5_000_000);
    const made: CID[] = [];
    for (let at = 1; at <= 4; at += 1) made.push(await version(bytes.subarray(0, at * 1_200_000)));
    await release(1);
    retire();
    expect(filesOnDisk()).toBe(1);
    expect(await isSnapshotWhole(made[3] as CID)).toBe(true);
  });

  test('a file that is written again as it was takes its room once', async () => {
    const bytes = noise(300_000);
    for (let at = 0; at < 4; at += 1) {
      world.write('/ipfs/t/f', noise(10));
      world.write('/ipfs/t/other', String(at));
      await version(bytes);
    }
    const newest = await version(bytes);
    await release(1);
    retire();
    expect(filesOnDisk()).toBe(1);
    expect(await isSnapshotWhole(newest)).toBe(true);
  });

  test('a file that is again what it was in one that goes stays', async () => {
    const first = noise(300_000);
    await version(first);
    const between = await fileOf(await version(noise(300_001)));
    const newest = await version(first);
    await release(1);
    retire();
    expect(world.blocks.has(between)).toBe(false);
    expect(await isSnapshotWhole(newest)).toBe(true);
    expect(world.bytes('/ipfs/t/f').equals(first)).toBe(true);
  });

  test('files keep their bytes, whatever goes', async () => {
    world.mkdir('/ipfs/u');
    const made = await versions(3);
    // A copy shares the object of a snapshot that goes.
    await world.restore(made[0] as CID, '/ipfs/u');
    await world.publish('/ipfs/t', { pin: false });
    world.write('/ipfs/u/g', 'x');
    await world.publish('/ipfs/u', { pin: false });
    await release(1);
    retire();
    expect(world.bytes('/ipfs/u/f').equals(noise(300_000))).toBe(true);
  });

  test('those of one path do not count for another', async () => {
    world.mkdir('/ipfs/u');
    world.write('/ipfs/u/f', noise(200_000));
    const { snapshot } = await world.publish('/ipfs/u', { pin: false });
    await versions(5);
    await release(2);
    retire();
    expect(await listed()).toHaveLength(2);
    expect(await isSnapshotWhole(snapshot)).toBe(true);
  });

  test('what one that stays shares with one that goes stays, though the newest has it no more', async () => {
    world.mkdir('/ipfs/t/d');
    world.write('/ipfs/t/d/x', noise(400_000));
    await version('one');
    const second = await version('two');
    world.unlink('/ipfs/t/d/x');
    const third = await version('three');
    await release(2);
    retire();
    expect(await listed()).toEqual(texts([third, second]));
    expect(await isSnapshotWhole(second)).toBe(true);
  });

  test('what was stored without a pin, and is in none that goes, stays', async () => {
    // The first of its blocks is all of a file that goes.
    world.write('/ipfs/t/chunk', noise(3_000_000).subarray(0, CHUNK_BYTES));
    await version('x');
    world.unlink('/ipfs/t/chunk');
    const large = await world.builder.addBytes(
      noise(3_000_000),
      { profile: CONTENT_PROFILE },
      world.signal,
    );
    const added = await world.builder.addBytes(
      noise(700_000),
      { profile: CONTENT_PROFILE },
      world.signal,
    );
    await versions(3);
    await release(1);
    retire();
    expect(await isWhole(added.cid)).toBe(true);
    expect(await isWhole(large.cid)).toBe(true);
  });
});

describe('of a snapshot that goes', () => {
  let first: CID;
  let tree: CID;
  let file: CID;
  beforeEach(async () => {
    first = await version(noise(1_500_000));
    tree = await treeOf(first);
    file = await fileOf(first);
  });

  const pin = (cid: CID, type: 'recursive' | 'direct') => {
    const row = { cid: blockKey(cid), type, name: null, time_s: 0, time_ns: 0 };
    world.journal.commit(() => world.journal.contents.setPin(row));
  };
  const target = async (change: 'wanted' | 'held') => {
    const old = { tree: blockKey(tree), snapshot: blockKey(first), ino: 0, seq: 0 } as const;
    const newest = cidOfBytes(
      world.journal.superblocks.synced(nameOfText('/ipfs/t'))?.snapshotCid as Buffer,
    );
    const now = { ...old, tree: blockKey(await treeOf(newest)), snapshot: blockKey(newest) };
    world.journal.commit(() =>
      world.journal.targets.put({
        ...{ path: nameOfText('/ipfs/t'), target: 'ipfs', pin: true, state: 'failed' },
        wanted: change === 'wanted' ? old : now,
        held: change === 'held' ? { ...old, pin: true } : undefined,
        ...{ attempts: 1, dueS: 0, failure: 'io', sent: [], checkedS: undefined },
      }),
    );
  };
  const seen = (cid: Buffer) => {
    const state = { cid, ino: world.ino('/ipfs/t'), version: 0 };
    const row = {
      parent: world.ino('/ipfs/t'),
      name: nameOfText('m'),
      former: [],
      next: undefined,
    };
    world.journal.commit(() => world.journal.mfsSeen.put({ ...row, agreed: state }));
  };

  const PROTECTORS: Readonly<Record<string, () => unknown>> = {
    'a recursive pin of its tree': () => pin(tree, 'recursive'),
    'a recursive pin of its record': () => pin(first, 'recursive'),
    'what a store is to have': () => target('wanted'),
    'what a store has': () => target('held'),
    'what a tree and a node agreed on': () => seen(blockKey(tree)),
    'the mutable tree': () =>
      world.journal.commit(() =>
        world.journal.meta.set('mfs_root', blockKey(tree).toString('hex')),
      ),
    'what was published of a directory': () => {
      const row = world.journal.published.get(world.ino('/ipfs/t'), false);
      if (row === undefined) throw new Error('it was published');
      world.journal.commit(() =>
        world.journal.published.put({ ...row, hasMetadata: true, cid: blockKey(tree) }),
      );
    },
    'another path': async () => {
      world.mkdir('/ipfs/u');
      await world.restore(first, '/ipfs/u');
    },
  };

  test.for(Object.keys(PROTECTORS))('its tree stays because of %s', async (name) => {
    await versions(2);
    await PROTECTORS[name]?.();
    await release(1);
    retire();
    expect(await isWhole(tree)).toBe(true);
    const range = { position: 0, length: 2_000_000 };
    const bytes = await world.dag.readRange(file, range, world.signal);
    expect(bytes.equals(noise(1_500_000))).toBe(true);
  });

  test('a direct pin keeps its block, and no other', async () => {
    await versions(2);
    pin(tree, 'direct');
    await release(1);
    retire();
    expect(world.blocks.get(tree)).toBeDefined();
    expect(world.blocks.has(file)).toBe(false);
  });

  test('a pin of a record keeps what went before, though it is the newest of those that stay', async () => {
    const [, newest] = await versions(2);
    pin(newest as CID, 'recursive');
    await release(1);
    retire();
    expect(await isSnapshotWhole(first)).toBe(true);
    world.journal.commit(() => world.journal.contents.deletePin(blockKey(newest as CID)));
    await release(1);
    retire();
    expect(await isSnapshotWhole(first)).toBe(false);
    expect(await isSnapshotWhole(newest as CID)).toBe(true);
  });

  test('what a store had goes when it has another one', async () => {
    await versions(3);
    await target('held');
    await release(2);
    retire();
    expect(await isSnapshotWhole(first)).toBe(true);
    world.journal.commit(() => world.journal.targets.delete(nameOfText('/ipfs/t'), 'ipfs'));
    expect((await release(2)).snapshots).toBe(1);
    retire();
    expect(world.blocks.has(file)).toBe(false);
    expect(world.blocks.has(first)).toBe(false);
  });
});

test('a file whose bytes are elsewhere is still known to be there, as long as its snapshot stays', async () => {
  const { journal, contents } = world;
  // One of a block, and one of several; and one that is in all.
  world.write('/ipfs/t/same', noise(5100));
  const made: CID[] = [];
  const ids = [];
  for (let at = 0; at < 3; at += 1) {
    world.write('/ipfs/t/small', noise(5000 + at));
    made.push(await version(noise(2_500_000 + at)));
    const { tree } = await readSnapshot(world.dag, made[at] as CID, world.signal);
    for (const name of ['f', 'small']) {
      const cid = await world.dag.resolve(tree, [name], world.signal);
      const row = journal.contents.byCid(blockKey(cid));
      if (row === undefined) throw new Error(`${name} is sealed`);
      ids.push({ id: row.id, at });
    }
  }
  ids.push({ id: world.inode('/ipfs/t/same').content, at: 2 });
  for (const { id } of ids) journal.commit(() => contents.remote.evict(id));
  await release(2);
  const held = ids.map(({ id }) => contents.row(id)?.held);
  expect(held).toEqual(ids.map(({ at }) => Number(at > 0)));
  retire();
  expect(ids.map(({ id }) => contents.row(id)?.state)).toEqual(ids.map(() => 'remote'));
});

describe('nothing goes', () => {
  test.for(['wrong', 'lost'] as const)('while a block of what stays is %s', async (how) => {
    world.mkdir('/ipfs/t/d');
    world.write('/ipfs/t/d/x', noise(100));
    const made = await versions(4);
    const below = await world.dag.resolve(await treeOf(made[3] as CID), ['d'], world.signal);
    damage(below, how);
    // It was read before.
    const dag = new Dag(world.blocks);
    const held = heldNow();
    const releasing = new Releaser({ ...world, dag, log: SILENT }, 2).release(world.signal);
    const { failure } = await failureOf(releasing);
    expect(failure).toBe(how === 'wrong' ? 'integrity' : 'content-missing');
    expect(heldNow()).toBe(held);
  });

  test('while a pin keeps a block of a codec whose links nobody knows', async () => {
    await versions(4);
    const { multihash } = await fileOf((await versions(1))[0] as CID);
    const unknown = CID.createV1(0x300000, multihash);
    world.journal.commit(() => {
      const { contents } = world.journal;
      const [place] = contents.blockPlaces(blockKey(CID.createV1(0x70, multihash)));
      const id =
        place?.content ?? world.contents.add(Buffer.from('x'), { cid: null, profile: null });
      contents.insertBlock({ cid: blockKey(unknown), content: id, position: 0, size: 1 });
      const row = { type: 'recursive', name: null, time_s: 0, time_ns: 0 } as const;
      contents.setPin({ cid: blockKey(unknown), ...row });
    });
    const { failure } = await failureOf(release(1));
    expect(failure).toBe('unsupported');
  });

  test('while somebody stores blocks', async () => {
    await versions(3);
    const held = heldNow();
    const end = new AbortController();
    const ended = new Promise((resolve) => end.signal.addEventListener('abort', resolve));
    const storing = world.contents.holding.during(() => ended);
    const releasing = release(1);
    for (let turns = 0; turns < 200; turns += 1) await turn();
    expect(heldNow()).toBe(held);
    end.abort();
    await storing;
    expect((await releasing).snapshots).toBe(2);
    expect(heldNow()).toBeLessThan(held);
  });
});
