/**
 * Old snapshots go while others publish, restore, pin and write, and while the daemon is killed: whatever the
 * order, all that stays is whole at the end.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { turn } from '../../src/base/turn.ts';
import { blockKey, type CID, cidOfBytes } from '../../src/content/content.ts';
import { checkJournal, Retention } from '../../src/journal/journal.ts';
import { Releaser } from '../../src/sync/release.ts';
import { chainOf, readSnapshot } from '../../src/sync/snapshot.ts';
import { Fixture } from './fixture.ts';

const SILENT = { info() {}, warn() {}, error() {} };

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  world.mkdir('/ipfs/t');
});
afterEach(() => world.close());

/** One that stands still, for as long as `onAwait` says, wherever it waits for a block. */
function releaser(keep: number, onAwait: () => Promise<void>): Releaser {
  const { dag } = world;
  const slow = Object.assign(Object.create(dag) as typeof dag, {
    links: async (...asked: Parameters<typeof dag.links>) => {
      await onAwait();
      return dag.links(...asked);
    },
    block: async (...asked: Parameters<typeof dag.block>) => {
      await onAwait();
      return dag.block(...asked);
    },
  });
  return new Releaser({ ...world, dag: slow, log: SILENT }, keep);
}

function retire(): void {
  const policy = { keepS: 1e9, recordsMax: 1e9, oldBytesMax: 0 };
  const { journal, contents } = world;
  const retention = new Retention({ journal, policy, discard: (id) => contents.discard(id) });
  while (retention.step());
}

/** Publishes a tree that is one of a few: sooner or later it is again what it was. */
async function publish(path: string, which: number): Promise<CID> {
  for (let file = 0; file < 3; file += 1) {
    world.write(`${path}/f${file}`, `${file} of ${which} `.repeat(10));
  }
  return (await world.publish(path, { pin: false })).snapshot;
}

async function lacking(root: CID): Promise<string[]> {
  const missing: string[] = [];
  for await (const { cid, size } of world.dag.walk(root, world.signal)) {
    if (size === undefined || world.blocks.get(cid) === undefined) missing.push(cid.toString());
  }
  return missing;
}

/** Blocks that are not here of the newest snapshots of a path; its records are, as many as are wanted. */
async function lackingOf(path: string, keep: number): Promise<string[]> {
  const newest = world.journal.superblocks.synced(nameOfText(path))?.snapshotCid;
  if (newest === undefined || newest === null) return [];
  const missing: string[] = [];
  let count = 0;
  for await (const { record } of chainOf(world.dag, cidOfBytes(newest), world.signal)) {
    missing.push(...(await lacking(record.tree)), ...(await lacking(record.manifest)));
    count += 1;
    if (count === keep) break;
  }
  return missing;
}

describe('a publication of what an old snapshot had', () => {
  /** How often a round waits when nobody disturbs it. */
  async function waits(): Promise<number> {
    let count = 0;
    const counted = releaser(1, async () => {
      count += 1;
    });
    await counted.release(world.signal);
    return count;
  }

  const POINTS = Array.from({ length: 20 }, (_, at) => at);

  test.for(POINTS)('loses nothing when it is made at wait %i', async (point) => {
    for (const which of [1, 2, 3]) await publish('/ipfs/t', which);
    let count = 0;
    const disturbed = releaser(1, async () => {
      if (count++ === point) await publish('/ipfs/t', 1);
    });
    await disturbed.release(world.signal);
    retire();
    expect(await lackingOf('/ipfs/t', 1)).toEqual([]);
    expect(world.bytes('/ipfs/t/f1').toString()).toContain(count > point ? '1 of 1' : '1 of 3');
  });

  test.for(POINTS)('loses nothing when it is begun at wait %i', async (point) => {
    for (const which of [1, 2, 3]) await publish('/ipfs/t', which);
    let count = 0;
    let publishing: Promise<unknown> = Promise.resolve();
    const disturbed = releaser(1, async () => {
      if (count++ === point) publishing = publish('/ipfs/t', 1);
    });
    await disturbed.release(world.signal);
    await publishing;
    retire();
    expect(await lackingOf('/ipfs/t', 1)).toEqual([]);
  });

  test('all waits of a round were among these', async () => {
    for (const which of [1, 2, 3]) await publish('/ipfs/t', which);
    const count = await waits();
    expect(count).toBeGreaterThan(5);
    expect(count).toBeLessThanOrEqual(POINTS.length);
  });
});

/** What a pin of `root` does, of which all `blocks` are here. */
const pin = (root: CID, blocks: readonly CID[]) =>
  world.contents.holding.during(async () => {
    for (const cid of blocks) world.blocks.hold(cid);
    const row = { cid: blockKey(root), name: null, time_s: 0, time_ns: 0 };
    world.journal.commit(() => world.journal.contents.setPin({ ...row, type: 'recursive' }));
  });

async function blocksOf(root: CID): Promise<CID[]> {
  const found: CID[] = [];
  for await (const { cid } of world.dag.walk(root, world.signal)) found.push(cid);
  return found;
}

describe('a pin of what goes', () => {
  test('that is made between two transactions keeps all of it', async () => {
    const many = (which: number) => {
      for (let file = 0; file < 400; file += 1) world.write(`/ipfs/t/m${file}`, `${file} ${which}`);
      return publish('/ipfs/t', which);
    };
    const first = await many(1);
    await many(2);
    const { tree } = await readSnapshot(world.dag, first, world.signal);
    const blocks = await blocksOf(tree);
    const { contents } = world;
    const unhold = contents.unhold.bind(contents);
    let pinning: Promise<void> | undefined;
    contents.unhold = (id) => {
      unhold(id);
      pinning ??= turn().then(() => pin(tree, blocks));
    };
    await releaser(1, async () => undefined).release(world.signal);
    await pinning;
    retire();
    expect(pinning).toBeDefined();
    expect(await lacking(tree)).toEqual([]);
  });

  test.for([0, 3, 6, 9])(
    'by the newest record keeps all before, made at wait %i',
    async (point) => {
      const first = await publish('/ipfs/t', 1);
      const newest = await publish('/ipfs/t', 2);
      const blocks = await blocksOf(newest);
      let count = 0;
      const disturbed = releaser(1, async () => {
        if (count++ === point) await pin(newest, blocks);
      });
      await disturbed.release(world.signal);
      retire();
      expect(count).toBeGreaterThan(point);
      expect(await lacking(first)).toEqual([]);
    },
  );
});

describe('a round that is cut off', () => {
  test('is done again, and what was restored meanwhile stays whole', async () => {
    for (let file = 0; file < 600; file += 1) world.write(`/ipfs/t/m${file}`, `${file} of first`);
    const first = await publish('/ipfs/t', 1);
    for (let file = 0; file < 600; file += 1) world.write(`/ipfs/t/m${file}`, `${file} later`);
    for (const which of [2, 3]) await publish('/ipfs/t', which);
    const { contents } = world;
    const stop = new AbortController();
    const unhold = contents.unhold.bind(contents);
    let count = 0;
    contents.unhold = (id) => {
      unhold(id);
      if (++count === 256) stop.abort(new Error('killed'));
    };
    const cut = releaser(1, async () => undefined).release(stop.signal);
    await expect(cut).rejects.toThrow('killed');
    expect(count).toBeGreaterThanOrEqual(256);
    contents.unhold = unhold;
    // The record is still there, and so is all that it leads to.
    const { snapshot } = await world.publish('/ipfs/t', { pin: false });
    expect(await lacking(first)).toEqual([]);
    await world.restore(first, '/ipfs/t', { conflicts: { how: 'restore', policy: 'keep_remote' } });
    for (let file = 0; file < 600; file += 1) world.write(`/ipfs/t/m${file}`, 'changed');
    await releaser(1, async () => undefined).release(world.signal);
    retire();
    expect(await lackingOf('/ipfs/t', 1)).toEqual([]);
    expect(world.blocks.has(snapshot)).toBe(true);
    expect(checkJournal(world.journal)).toEqual([]);
  });

  test('leaves nothing behind when it is done again', async () => {
    const first = await publish('/ipfs/t', 1);
    const { tree } = await readSnapshot(world.dag, first, world.signal);
    for (const which of [2, 3]) await publish('/ipfs/t', which);
    const { journal } = world;
    const set = journal.meta.set.bind(journal.meta);
    let isCut = false;
    journal.meta.set = (key, value) => {
      if (key === 'releasing' && value === '' && !isCut) {
        isCut = true;
        throw new Error('killed');
      }
      set(key, value);
    };
    await expect(releaser(1, turn).release(world.signal)).rejects.toThrow();
    expect(world.blocks.has(first)).toBe(true);
    await releaser(1, turn).release(world.signal);
    retire();
    expect([first, tree].map((cid) => world.blocks.has(cid))).toEqual([false, false]);
    expect(await lackingOf('/ipfs/t', 1)).toEqual([]);
  });
});

/** Numbers that only look random: a seed says all of them. */
function* numbers(seed: number): Generator<number, never> {
  for (let state = seed >>> 0 || 1; ; ) {
    state ^= state << 13;
    state >>>= 0;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    yield state;
  }
}

const SEEDS = Array.from({ length: 8 }, (_, at) => 7919 * (at + 1));

test.for(SEEDS)('in any order (seed %i)', async (seed) => {
  const KEEP = 2;
  const paths = ['/ipfs/t', '/ipfs/u'];
  world.mkdir('/ipfs/u');
  const from = numbers(seed);
  const below = (limit: number) => from.next().value % limit;
  const pause = async () => {
    for (let turns = below(4); turns > 0; turns -= 1) await turn();
  };
  const known: CID[] = [];
  const pinned = new Map<string, CID>();
  const { contents, journal, blocks, dag } = world;
  const pinWhole = (root: CID) =>
    contents.holding.during(async () => {
      const found: CID[] = [];
      for await (const { cid, size } of dag.walk(root, world.signal)) {
        if (size === undefined) return;
        found.push(cid);
      }
      for (const cid of found) {
        if (!blocks.hold(cid)) return;
        await pause();
      }
      const row = { cid: blockKey(root), name: null, time_s: 0, time_ns: 0 };
      journal.commit(() => journal.contents.setPin({ ...row, type: 'recursive' }));
      pinned.set(String(root), root);
    });
  const act = async (path: string): Promise<void> => {
    const snapshot = known[below(known.length + 1)];
    switch (below(6)) {
      case 0:
        if (snapshot !== undefined) {
          const conflicts = { how: 'restore', policy: 'keep_remote' } as const;
          await world.restore(snapshot, path, { conflicts });
        }
        return;
      case 1:
        if (snapshot !== undefined) {
          const { tree } = await readSnapshot(dag, snapshot, world.signal);
          await pinWhole(tree);
        }
        return;
      case 2: {
        const [root] = pinned.values();
        if (root === undefined) return;
        pinned.delete(String(root));
        journal.commit(() => journal.contents.deletePin(blockKey(root)));
        return;
      }
      default:
        known.push(await publish(path, below(4)));
    }
  };
  const actor = async (path: string) => {
    for (let count = 0; count < 25; count += 1) {
      try {
        await act(path);
      } catch (error) {
        // What went may be asked for; what is done stays right.
        const isGone =
          error instanceof OpError &&
          ['content-missing', 'version-conflict'].includes(error.failure);
        if (!isGone) throw error;
      }
      await pause();
    }
  };
  let isOver = false;
  const releasing = (async () => {
    while (!isOver) {
      await releaser(KEEP, pause).release(world.signal);
      await pause();
      if (below(3) === 0) retire();
    }
  })();
  await Promise.all(paths.map(actor));
  isOver = true;
  await releasing;
  await releaser(KEEP, pause).release(world.signal);
  retire();
  for (const path of paths) expect(await lackingOf(path, KEEP)).toEqual([]);
  for (const root of pinned.values()) expect(await lacking(root)).toEqual([]);
  expect(checkJournal(journal)).toEqual([]);
});
