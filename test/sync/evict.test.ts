/** The laws of the quota: which bytes go, when, and that none is ever lost by it. */
import { closeSync, openSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Clock } from '../../src/base/clock.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { EVICTED_AT_ONCE_MAX, EVICTED_BYTES_MIN } from '../../src/base/limits.ts';
import { O_RDONLY, O_RDWR } from '../../src/base/posix.ts';
import { blockKey, type CID, cidOfBytes } from '../../src/content/content.ts';
import { checkJournal, PINNED_HERE } from '../../src/journal/journal.ts';
import { Evictor } from '../../src/sync/evict.ts';
import { Ladder } from '../../src/sync/ladder.ts';
import { upload } from '../../src/sync/upload.ts';
import { noise } from '../content/fixture.ts';
import { blockOf, FakeNode } from '../fakes/node.ts';
import { Fixture, ROOT } from './fixture.ts';

const MIB = 1024 * 1024;
const OWN = 'kitfs content test';
const TREE = nameOfText('/ipfs/t');
/** What a clock throws that lets nobody sleep. */
const ENOUGH = new Error('one look was enough');

let world: Fixture;
let fake: FakeNode;
let ladder: Ladder;
let said: string[];
let away: readonly Ino[];
let isDiskFull: boolean;
/** Files whose room changed. */
let told: Ino[];

beforeEach(() => {
  fake = new FakeNode();
  world = new Fixture({ blockGet: (cid, call) => fake.node.content.blockGet(cid, call) });
  ladder = new Ladder(world, { want: undefined, checkS: 3600 });
  said = [];
  away = [];
  isDiskFull = false;
  told = [];
  world.mkdir('/ipfs/t');
});
afterEach(() => world.close());

const clock: Clock = Object.assign(new SystemClock(), {
  sleep: () => Promise.reject(ENOUGH),
});
const note = (_: object, message: string) => void said.push(message);

function evictorOf(quotaBytes: number | undefined, node = fake.node): Evictor {
  const { journal, contents, dag, filling, vfs } = world;
  const { handles, live, pinnedHere } = vfs.core;
  const files = {
    isInUse: (ino: Ino) => handles.isOpen(ino) || live.find(ino) !== undefined,
    isPinned: (ino: Ino, known?: Map<Ino, boolean>) => pinnedHere.has(ino, known),
    pins: pinnedHere.isUsed ? pinnedHere.sets : undefined,
    changed: (ino: Ino) => void told.push(ino),
  };
  return new Evictor(
    {
      ...{ journal, contents, dag, ladder, clock, files },
      log: { info: note, warn: note, error: note },
      recent: () => filling.recent(),
      nodeOf: () => node,
      onAway: (inos) => {
        away = inos;
      },
      syncJournal: () => vfs.core.syncJournal(),
      isDiskFull: () => isDiskFull,
    },
    { quotaBytes, target: 'one', pinName: OWN },
  );
}

/** One look, as that of a daemon that has just started. */
async function look(quotaBytes: number | undefined, evictor = evictorOf(quotaBytes)) {
  await expect(evictor.run(world.signal)).rejects.toBe(ENOUGH);
  return evictor;
}

/** A file that was read last at that second. */
function file(path: string, bytes: Buffer, atimeS = 1000): Buffer {
  const ino = world.write(path, bytes);
  void world.vfs.setattr(ROOT, ino, { atime: { s: atimeS, ns: 0 } });
  return bytes;
}

/** Publishes the tree, and brings it to the node. */
async function store(pin = true): Promise<void> {
  await world.publish('/ipfs/t', { targets: ['one'], pin });
  const row = world.journal.targets.get(TREE, 'one');
  if (row === undefined) throw new Error('nothing is owed');
  const { journal, journalId, signal } = world;
  const ports = { journal, journalId, dag: world.filling.dag, clock: world.clock };
  await upload(ports, fake.node, row, { signal, progress: () => undefined });
}

const rowOf = (path: string) => world.contents.row(world.inode(path).content);
const isHere = (path: string) => rowOf(path)?.state !== 'remote';
const cidOf = (path: string): CID => cidOfBytes(rowOf(path)?.cid ?? Buffer.alloc(0));
const ownPins = () =>
  [...fake.pins.values()].filter(({ name }) => name === OWN).map(({ cid }) => cid.toString());
const pin = (path: string) =>
  world.vfs.setxattr(ROOT, world.ino(path), PINNED_HERE, Buffer.from('1'), 'any');
const findings = () => checkJournal(world.journal);

async function read(path: string): Promise<Buffer> {
  await world.vfs.bring(world.ino(path), { signal: world.signal });
  return world.bytes(path);
}

describe('what a store has', () => {
  test('goes beyond the quota, what was not read for long first, and comes back as it was', async () => {
    const [old, young] = [
      file('/ipfs/t/old', noise(2 * MIB, 1), 1000),
      file('/ipfs/t/young', noise(2 * MIB, 2), 2000),
    ];
    await store();
    await look(4 * MIB);
    expect([isHere('/ipfs/t/old'), isHere('/ipfs/t/young')]).toEqual([true, true]);
    await look(4 * MIB - 1);
    expect([isHere('/ipfs/t/old'), isHere('/ipfs/t/young')]).toEqual([false, true]);
    expect([told, findings()]).toEqual([[world.ino('/ipfs/t/old')], []]);
    await look(MIB);
    expect(isHere('/ipfs/t/young')).toBe(false);
    expect((await read('/ipfs/t/old')).equals(old)).toBe(true);
    expect((await read('/ipfs/t/young')).equals(young)).toBe(true);
    expect(findings()).toEqual([]);
  });

  test('of one age goes by size, the largest first, and no more than must', async () => {
    file('/ipfs/t/small', noise(MIB, 1));
    file('/ipfs/t/large', noise(3 * MIB, 2));
    file('/ipfs/t/packed', noise(20_000, 3));
    await store();
    await look(2 * MIB);
    expect(['small', 'large', 'packed'].map((name) => isHere(`/ipfs/t/${name}`))).toEqual([
      true,
      false,
      true,
    ]);
    await look(20_000);
    expect([isHere('/ipfs/t/small'), isHere('/ipfs/t/packed')]).toEqual([false, true]);
    await look(1);
    expect(isHere('/ipfs/t/packed')).toBe(false);
  });

  test('and came back a moment ago goes last, whatever its access time says', async () => {
    file('/ipfs/t/old', noise(2 * MIB, 1), 1000);
    file('/ipfs/t/young', noise(2 * MIB, 2), 2000);
    await store();
    await look(2 * MIB);
    await read('/ipfs/t/old');
    await look(2 * MIB);
    expect([isHere('/ipfs/t/old'), isHere('/ipfs/t/young')]).toEqual([true, false]);
  });

  test('and several files show goes for all of them, or stays', async () => {
    const bytes = file('/ipfs/t/one', noise(2 * MIB));
    const content = world.inode('/ipfs/t/one').content;
    world.journal.commit(() => {
      world.contents.retain(content);
      const node = { type: 'file', content, size: bytes.length, cid: undefined } as const;
      const making = { action: 'make', name: nameOfText('two'), replaces: undefined } as const;
      const child = { ...making, node, metadata: {}, children: [] };
      world.vfs.graft(ROOT, {
        root: world.ino('/ipfs/t'),
        linksFrom: [],
        metadata: {},
        children: [child],
      });
      world.contents.release(content);
    });
    await store();
    const { fh } = await world.vfs.open(ROOT, world.ino('/ipfs/t/two'), O_RDONLY, false);
    await look(1);
    expect(isHere('/ipfs/t/one')).toBe(true);
    world.vfs.release(fh);
    await look(1);
    expect([isHere('/ipfs/t/one'), isHere('/ipfs/t/two')]).toEqual([false, false]);
    expect((await read('/ipfs/t/two')).equals(bytes)).toBe(true);
  });

  test('and only placed, not pinned, goes as long as it is placed', async () => {
    file('/ipfs/t/f', noise(2 * MIB));
    await store(false);
    const [place, tree] = [...fake.placed][0] ?? [];
    if (place === undefined || tree === undefined) throw new Error('it was placed');
    fake.placed.delete(place);
    await look(1);
    expect(isHere('/ipfs/t/f')).toBe(true);
    fake.placed.set(place, tree);
    await look(1);
    expect(isHere('/ipfs/t/f')).toBe(false);
  });
});

describe('what stays, whatever the quota', () => {
  const stays = async (why: string, change: () => unknown) => {
    const bytes = file('/ipfs/t/f', noise(2 * MIB));
    await store();
    await change();
    await look(1);
    expect(isHere('/ipfs/t/f'), why).toBe(true);
    expect(world.bytes('/ipfs/t/f').equals(bytes)).toBe(true);
    expect(ownPins()).toEqual([]);
  };
  const TREE_GONE = 'bytes of files stay: the store holds their tree no more';
  const BLOCKS_GONE = 'bytes of files stay: the store lacks blocks of them';

  test('a file that no store has', async () => {
    file('/ipfs/t/f', noise(2 * MIB));
    await world.publish('/ipfs/t', { targets: ['one'] });
    await look(1);
    expect([isHere('/ipfs/t/f'), fake.calls]).toEqual([true, ['pins.ls']]);
  });

  test('a file that was changed since', async () => {
    file('/ipfs/t/f', noise(2 * MIB));
    await store();
    world.write('/ipfs/t/f', noise(2 * MIB, 9));
    await world.sealer.seal(world.inode('/ipfs/t/f').content, world.signal);
    await look(1);
    expect(isHere('/ipfs/t/f')).toBe(true);
  });

  test('a file that somebody has open', () =>
    stays('open', () => world.vfs.open(ROOT, world.ino('/ipfs/t/f'), O_RDONLY, false)));

  test('a file whose bytes somebody has open past the daemon, as a mapping has', async () => {
    file('/ipfs/t/f', noise(2 * MIB));
    await store();
    const fd = openSync(world.contents.backingPath(world.inode('/ipfs/t/f').content) ?? '', 'r');
    await look(1);
    expect(isHere('/ipfs/t/f')).toBe(true);
    closeSync(fd);
    await look(1);
    expect(isHere('/ipfs/t/f')).toBe(false);
  });

  test('a file that is pinned here, or below what is', async () => {
    await stays('pinned', () => pin('/ipfs/t'));
    expect((await look(1)).space).toMatchObject({ pinnedBytes: 2 * MIB, evictableBytes: 0 });
  });

  test('a file whose tree was unpinned at the store behind our back', async () => {
    await stays('unpinned', () => fake.pins.clear());
    expect(said).toContain(TREE_GONE);
  });

  test('a file of which the store lost a block, though it is pinned there', async () => {
    await stays('lost', () => {
      const [leaf] = world.journal.contents.blocksOf(world.inode('/ipfs/t/f').content).slice(-1);
      if (leaf !== undefined) fake.blocks.delete(blockOf(cidOfBytes(leaf.cid)));
    });
    expect(said).toContain(BLOCKS_GONE);
  });

  test('a file of which the store has other bytes', async () => {
    await stays('damaged', () => {
      const [leaf] = world.journal.contents.blocksOf(world.inode('/ipfs/t/f').content).slice(-1);
      const key = leaf === undefined ? '' : blockOf(cidOfBytes(leaf.cid));
      fake.blocks.set(key, noise(MIB, 77));
    });
    expect(said).toContain(BLOCKS_GONE);
  });

  test('a file that somebody else pinned at the store: it is not ours to keep there', () =>
    stays('foreign', () => {
      const cid = cidOf('/ipfs/t/f');
      fake.pins.set(cid.toString(), { cid, type: 'recursive', name: 'mine' });
    }));

  test.each(['recursive', 'direct'] as const)('content of a %s pin of the embedded node', (type) =>
    stays('pinned', () => {
      const row = { cid: blockKey(cidOf('/ipfs/t/f')), type, name: null, time_s: 0, time_ns: 0 };
      world.journal.commit(() => world.journal.contents.setPin(row));
    }),
  );

  test('content in the mutable tree of the embedded node', async () => {
    await stays('in MFS', async () => {
      const entry = { name: 'f', cid: cidOf('/ipfs/t/f'), cumulativeSize: 2 * MIB };
      const how = { profile: 'unixfs-v1-2025', dryRun: false } as const;
      const { cid } = await world.builder.buildDirectory([entry], how, world.signal);
      const { meta } = world.journal;
      world.journal.commit(() => meta.set('mfs_root', blockKey(cid).toString('hex')));
    });
    expect((await look(1)).space).toMatchObject({ cachedBytes: 2 * MIB, evictableBytes: 0 });
  });

  test('a file of few bytes', async () => {
    file('/ipfs/t/f', noise(4095));
    await store();
    await look(1);
    expect(isHere('/ipfs/t/f')).toBe(true);
  });

  test('everything while the store is away, which is told, and not more than once', async () => {
    file('/ipfs/t/f', noise(2 * MIB));
    await store();
    const evictor = evictorOf(1);
    fake.failAt(0, 'before');
    await look(1, evictor);
    expect([isHere('/ipfs/t/f'), evictor.space?.error?.failure]).toEqual([true, 'not-running']);
    expect(said.filter((text) => text.includes('could not be asked'))).toHaveLength(1);
  });
});

describe('while the store is asked', () => {
  /** Runs when the store is asked for a block. */
  const meanwhile = (act: () => unknown) => {
    const { content, ...rest } = fake.node;
    const blockGet: typeof content.blockGet = async (cid, call) => {
      const bytes = await content.blockGet(cid, call);
      await act();
      return bytes;
    };
    return { ...rest, content: { ...content, blockGet } };
  };

  test.each([
    ['opened', () => world.vfs.open(ROOT, world.ino('/ipfs/t/f'), O_RDWR, false)],
    ['pinned', () => pin('/ipfs/t/f')],
    ['written', () => world.write('/ipfs/t/f', 'other bytes')],
    [
      'needed by a pin',
      () => {
        const cid = blockKey(cidOf('/ipfs/t/f'));
        const row = { cid, type: 'direct', name: null, time_s: 0, time_ns: 0 } as const;
        world.journal.commit(() => world.journal.contents.setPin(row));
      },
    ],
  ])('a file that is %s stays', async (_, act) => {
    file('/ipfs/t/f', noise(2 * MIB));
    await store();
    let isDone = false;
    const node = meanwhile(() => {
      if (!isDone) act();
      isDone = true;
    });
    await look(1, evictorOf(1, node));
    expect([isDone, isHere('/ipfs/t/f')]).toEqual([true, true]);
  });
});

describe('the store keeps what is not here', () => {
  test('by a pin of our own, whatever becomes of the tree and of garbage there', async () => {
    const bytes = file('/ipfs/t/f', noise(2 * MIB));
    await store();
    const { snapshot } = await world.publish('/ipfs/t');
    await look(1);
    expect(ownPins()).toEqual([cidOf('/ipfs/t/f').toString()]);
    world.unlink('/ipfs/t/f');
    world.write('/ipfs/t/other', 'x');
    await store();
    await fake.collect();
    world.mkdir('/ipfs/again');
    await world.restore(snapshot, '/ipfs/again');
    expect((await read('/ipfs/again/f')).equals(bytes)).toBe(true);
  });

  test('until it is here again, and no longer', async () => {
    file('/ipfs/t/f', noise(2 * MIB));
    file('/ipfs/t/g', noise(2 * MIB, 2));
    await store();
    await look(1);
    expect(ownPins()).toHaveLength(2);
    await read('/ipfs/t/f');
    await look(undefined);
    expect(ownPins()).toEqual([cidOf('/ipfs/t/g').toString()]);
  });

  test('and pins of others there are left alone', async () => {
    const cid = cidOfBytes(blockKey((await world.publish('/ipfs/t')).root));
    const other = { cid, type: 'recursive', name: `${OWN} of somebody else` } as const;
    fake.pins.set(cid.toString(), other);
    await look(undefined);
    expect([...fake.pins.values()]).toEqual([other]);
  });

  test('when the file moved to another tree since', async () => {
    const bytes = file('/ipfs/t/f', noise(2 * MIB));
    await store();
    await look(1);
    const from = { parent: world.ino('/ipfs/t'), name: nameOfText('f') };
    const to = { parent: world.ino('/ipfs'), name: nameOfText('g') };
    world.vfs.rename(ROOT, from, to, { noReplace: false, exchange: false });
    await store();
    await fake.collect();
    expect((await read('/ipfs/g')).equals(bytes)).toBe(true);
  });

  test('and a file that moved within its tree is published at its new place, and not fetched for it', async () => {
    const bytes = file('/ipfs/t/f', noise(2 * MIB));
    world.mkdir('/ipfs/t/d');
    await store();
    await look(1);
    const at = (parent: string) => ({ parent: world.ino(parent), name: nameOfText('f') });
    world.vfs.rename(ROOT, at('/ipfs/t'), at('/ipfs/t/d'), { noReplace: false, exchange: false });
    fake.calls.length = 0;
    await store();
    await fake.collect();
    expect([isHere('/ipfs/t/d/f'), fake.calls.includes('blockGet')]).toEqual([false, false]);
    expect((await read('/ipfs/t/d/f')).equals(bytes)).toBe(true);
  });
});

test('files that must stay keep none from going, however many of them are older', async () => {
  const names = Array.from({ length: EVICTED_AT_ONCE_MAX }, (_, at) => `/ipfs/t/old-${at}`);
  for (const [at, path] of names.entries()) file(path, noise(EVICTED_BYTES_MIN, at + 1), 1000);
  file('/ipfs/t/young', noise(MIB, EVICTED_AT_ONCE_MAX + 1), 2000);
  await store();
  for (const path of names) {
    const cid = cidOf(path);
    fake.pins.set(cid.toString(), { cid, type: 'recursive', name: 'mine' });
  }
  const evictor = await look(MIB);
  expect(isHere('/ipfs/t/young')).toBe(true);
  await look(MIB, evictor);
  expect(isHere('/ipfs/t/young')).toBe(false);
});

test('a daemon that dies at any of its calls loses nothing, and the next one goes on', async () => {
  const bytes = file('/ipfs/t/f', noise(2 * MIB));
  await store();
  for (const when of ['before', 'after'] as const) {
    for (let left = 0; ; left += 1) {
      const calls = fake.calls.length;
      fake.failAt(left, when);
      await look(1).catch(() => undefined);
      fake.heal();
      expect(findings()).toEqual([]);
      if (isHere('/ipfs/t/f')) expect(world.bytes('/ipfs/t/f').equals(bytes)).toBe(true);
      if (fake.calls.length - calls <= left) break;
    }
    await look(1);
    expect([isHere('/ipfs/t/f'), ownPins()]).toEqual([false, [cidOf('/ipfs/t/f').toString()]]);
    expect((await read('/ipfs/t/f')).equals(bytes)).toBe(true);
    await look(undefined);
    expect(ownPins()).toEqual([]);
  }
});

test('what was read in part of a file that had gone counts, and goes', async () => {
  file('/ipfs/t/f', noise(3 * MIB));
  await store();
  await look(1);
  const { content } = world.inode('/ipfs/t/f');
  await world.filling.bring(content, { from: MIB, to: MIB + 1 }, world.signal);
  expect((await look(MIB)).space).toMatchObject({ cachedBytes: MIB, evictableBytes: MIB });
  expect((await look(1)).space).toMatchObject({ cachedBytes: 0, evictableBytes: 0 });
  expect(world.contents.remote.has(content, MIB, MIB + 1)).toBe(false);
});

test('pinned files that are elsewhere are found, with or without a quota', async () => {
  file('/ipfs/t/f', noise(2 * MIB));
  await store();
  await look(1);
  expect(away).toEqual([]);
  pin('/ipfs/t');
  await look(undefined);
  expect(away).toEqual([world.ino('/ipfs/t/f')]);
});

test('on a full disk what a store has goes without a quota, a part at a time, and nothing else', async () => {
  file('/ipfs/t/old', noise(17 * MIB, 1), 1000);
  file('/ipfs/t/young', noise(2 * MIB, 2), 2000);
  await store();
  file('/ipfs/t/new', noise(2 * MIB, 3), 500);
  await world.sealer.seal(world.inode('/ipfs/t/new').content, world.signal);
  isDiskFull = true;
  await look(undefined);
  const here = () => ['old', 'young', 'new'].filter((name) => isHere(`/ipfs/t/${name}`));
  expect(here()).toEqual(['young', 'new']);
  await look(undefined);
  expect(here()).toEqual(['new']);
});

test('without a quota and without pins nobody looks', async () => {
  file('/ipfs/t/f', noise(2 * MIB));
  await store();
  expect([(await look(undefined)).space, isHere('/ipfs/t/f')]).toEqual([undefined, true]);
});

test('what the journal refuses is no fault of the store, and no byte goes', async () => {
  const bytes = file('/ipfs/t/f', noise(2 * MIB));
  await store();
  const [broken, { journal }] = [new OpError('no-space', 'commit'), world];
  const commitFreeing = journal.commitFreeing.bind(journal);
  journal.commitFreeing = () => {
    throw broken;
  };
  const evictor = evictorOf(1);
  await expect(evictor.run(world.signal)).rejects.toBe(broken);
  journal.commitFreeing = commitFreeing;
  expect([isHere('/ipfs/t/f'), evictor.space?.error]).toEqual([true, undefined]);
  expect(world.bytes('/ipfs/t/f').equals(bytes)).toBe(true);
});
