/** The laws of the loop that settles what is owed: who is tried, when, and what is told. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { IpfsNode } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, nameOfText } from '../../src/base/ids.ts';
import { SYNC_RETRY_S_MAX } from '../../src/base/limits.ts';
import { Pace } from '../../src/base/pace.ts';
import { turn } from '../../src/base/turn.ts';
import type { Journal, TargetRow } from '../../src/journal/journal.ts';
import { dueAt, failed, intended } from '../../src/sync/intend.ts';
import { placeOf } from '../../src/sync/upload.ts';
import { Uploads } from '../../src/sync/uploads.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { FakeNode } from '../fakes/node.ts';
import { Fixture, failureOf } from './fixture.ts';

const PATH = nameOfText('/ipfs/t');
const CHECK_S = 3600;
const SILENT = { info() {}, warn() {}, error() {} };

let world: Fixture;
let clock: TurnedClock;
let fakes: Map<string, FakeNode>;
let uploads: Uploads;
let stop: AbortController;
let running: Promise<void>;

const start = (nodeOf: (target: string) => IpfsNode | undefined, atOnce = 4, own?: Journal) => {
  const { journalId, dag } = world;
  const journal = own ?? world.journal;
  const ports = { journal, journalId, dag, clock, log: SILENT, nodeOf };
  uploads = new Uploads(ports, { atOnce, checkS: CHECK_S });
  running = uploads.run(stop.signal);
};

beforeEach(() => {
  world = new Fixture();
  clock = new TurnedClock();
  stop = new AbortController();
  fakes = new Map(['one', 'two'].map((name) => [name, new FakeNode()]));
  world.mkdir('/ipfs/t');
  world.write('/ipfs/t/f', 'one');
});
afterEach(async () => {
  stop.abort(new Error('the test is over'));
  await running;
  await world.close();
});

async function want(...targets: string[]) {
  const { root, snapshot } = await world.publish('/ipfs/t');
  const at = { ino: world.ino('/ipfs/t'), seq: world.journal.head.seq };
  const wanted = { tree: Buffer.from(root.bytes), snapshot: Buffer.from(snapshot.bytes), ...at };
  const nowS = clock.now().s;
  world.journal.commit(() => {
    for (const target of targets) {
      const known = world.journal.targets.get(PATH, target);
      const row = intended(known, { path: PATH, target, wanted, pin: true, nowS });
      if (row !== undefined) world.journal.targets.put(row);
    }
  });
  uploads?.notify();
  return wanted;
}

const row = (target = 'one'): TargetRow => {
  const found = world.journal.targets.get(PATH, target);
  if (found === undefined) throw new Error('nothing is owed');
  return found;
};

const nodeOf = (target: string) => fakes.get(target)?.node;
const ending = (wanted: TargetRow['wanted'], target = 'one') =>
  uploads.outcome({ path: PATH, target, wanted }, stop.signal);

test('what is owed is settled, also what a daemon before left', async () => {
  const wanted = await want('one');
  start(nodeOf);
  expect((await ending(wanted)).error).toBeUndefined();
  expect(row()).toMatchObject({ state: 'pinned', dueS: undefined });
  world.write('/ipfs/t/f', 'two');
  const next = await want('one', 'two');
  const ends = await Promise.all([ending(next), ending(next, 'two')]);
  expect(ends.map(({ error }) => error)).toEqual([undefined, undefined]);
  expect(uploads.underWay).toEqual([]);
});

test('a store that does not answer is tried again, later each time, and keeps no other waiting', async () => {
  fakes.get('one')?.failAt(0, 'before');
  start(nodeOf);
  const wanted = await want('one', 'two');
  const { error } = await ending(wanted);
  expect(error?.failure).toBe('not-running');
  expect((await ending(wanted, 'two')).error).toBeUndefined();
  expect(row()).toMatchObject({ state: 'failed', attempts: 1, failure: 'not-running' });
  const again = ending(wanted);
  await clock.turn(1000);
  expect((await again).error).toBeUndefined();
  expect(row()).toMatchObject({ state: 'pinned', attempts: 0, failure: undefined });
});

test('who waits for a snapshot that a later one replaced is told how that one ends', async () => {
  fakes.get('one')?.failAt(0, 'before');
  start(nodeOf);
  const first = await want('one');
  expect((await ending(first)).error?.failure).toBe('not-running');
  const waiting = ending(first);
  world.write('/ipfs/t/f', 'two');
  const second = await want('one');
  expect(await waiting).toMatchObject({ row: { wanted: second, held: second }, error: undefined });
  // Also who comes when it has.
  expect(await ending(first)).toMatchObject({ row: { held: second }, error: undefined });
});

test('a conflict waits for somebody who asks again', async () => {
  start(nodeOf);
  await ending(await want('one'));
  const fake = fakes.get('one');
  const theirs = (await world.publish('/ipfs/t')).snapshot;
  fake?.placed.set(placeOf(PATH), theirs);
  world.write('/ipfs/t/f', 'two');
  const wanted = await want('one');
  expect((await ending(wanted)).error?.failure).toBe('sync-conflict');
  expect(row()).toMatchObject({ state: 'failed', dueS: undefined });
  const calls = fake?.calls.length;
  await clock.turn(SYNC_RETRY_S_MAX * 1000);
  expect(fake?.calls.length).toBe(calls);
  fake?.placed.clear();
  await want('one');
  expect((await ending(wanted)).error).toBeUndefined();
});

/** The journal on a disk that is full for so many transactions. */
function fullFor(transactions: number): Journal {
  let left = transactions;
  return new Proxy(world.journal, {
    get: (journal, key) => {
      const value: unknown = Reflect.get(journal, key, journal);
      if (key !== 'commit') return typeof value === 'function' ? value.bind(journal) : value;
      return (body: Parameters<Journal['commit']>[0]) => {
        left -= 1;
        if (left >= 0) throw new OpError('no-space', 'commit');
        return journal.commit(body);
      };
    },
  });
}

describe('on a disk that is full', () => {
  const rejections: unknown[] = [];
  const note = (error: unknown) => rejections.push(error);
  beforeEach(() => {
    rejections.length = 0;
    process.on('unhandledRejection', note);
  });
  afterEach(async () => {
    await settle();
    process.off('unhandledRejection', note);
    expect(rejections).toEqual([]);
  });

  test('a failure that nobody can note is told, and is tried again later each time', async () => {
    const tried: number[] = [];
    const lost = () => {
      tried.push(clock.monotonicMs());
      return undefined;
    };
    const wanted = await want('one');
    start(lost, 4, fullFor(3));
    expect((await ending(wanted)).error?.failure).toBe('no-space');
    expect(row()).toMatchObject({ state: 'queued', attempts: 0 });
    await clock.turn(2999);
    expect(tried).toEqual([0, 1000]);
    await clock.turn(60_000);
    expect(tried).toEqual([0, 1000, 3000, 7000]);
    // Now there is room for it, and time does not mend it.
    expect(row()).toMatchObject({ state: 'failed', failure: 'not-configured', attempts: 1 });
  });

  test('who settles is told, and waits for nothing any more', async () => {
    await want('one');
    start(() => undefined, 4, fullFor(1));
    const patience = new AbortController();
    const failure = await failureOf(uploads.settle(PATH, patience.signal));
    expect(failure.failure).toBe('no-space');
    patience.abort(new Error('gone'));
  });
});

test('who asks for a pin while the tree is placed without one is told when it is pinned', async () => {
  const fake = fakes.get('one');
  if (fake === undefined) throw new Error('it is there');
  const { mfs } = fake.node;
  let pinning: ReturnType<typeof ending> | undefined;
  const place: typeof mfs.place = async (...call) => {
    if (pinning === undefined) {
      await want('one');
      pinning = ending(row().wanted);
    }
    return mfs.place(...call);
  };
  await want('one');
  world.journal.commit(() => world.journal.targets.put({ ...row(), pin: false }));
  start(() => ({ ...fake.node, mfs: { ...mfs, place } }));
  while (pinning === undefined) await turn();
  expect((await pinning).row).toMatchObject({ pin: true, state: 'pinned', held: { pin: true } });
});

test('a store that is not configured is told so, and is not tried', async () => {
  start(() => undefined);
  const wanted = await want('one');
  expect((await ending(wanted)).error?.failure).toBe('not-configured');
  expect(row()).toMatchObject({ state: 'failed', dueS: undefined });
});

test('what is held is asked for again, is lowered when it is gone, and brought anew', async () => {
  start(nodeOf);
  const wanted = await want('one');
  await ending(wanted);
  const fake = fakes.get('one');
  fake?.pins.clear();
  fake?.blocks.clear();
  fake?.failAt(4, 'before');
  await clock.turn(CHECK_S * 1000);
  while (row().state === 'pinned') await clock.turn(0);
  expect(row().held).toBeUndefined();
  fake?.heal();
  const again = ending(wanted);
  await clock.turn(SYNC_RETRY_S_MAX * 1000);
  expect((await again).error).toBeUndefined();
  expect(row().state).toBe('pinned');
});

test('a store that is down when it is asked is not believed until it says again that it has it', async () => {
  start(nodeOf);
  const wanted = await want('one');
  await ending(wanted);
  const fake = fakes.get('one');
  fake?.failAt(0, 'before');
  await clock.turn(CHECK_S * 1000);
  while (row().attempts === 0) await clock.turn(0);
  expect(row()).toMatchObject({ state: 'failed', failure: 'not-running', held: wanted });
  const imported = fake?.imported;
  const again = ending(wanted);
  await clock.turn(1000);
  expect((await again).error).toBeUndefined();
  expect(row()).toMatchObject({ state: 'pinned', attempts: 0, checkedS: clock.now().s });
  expect(fake?.imported).toBe(imported);
});

test('a store that fails a later step of what it said it has is believed for the interval', async () => {
  const fake = fakes.get('one');
  start(nodeOf);
  await ending(await want('one'));
  world.write('/ipfs/t/f', 'two');
  const calls = fake?.calls.length ?? 0;
  await ending(await want('one'));
  const last = (fake?.calls.length ?? 0) - calls - 1;
  world.write('/ipfs/t/f', 'three');
  fake?.failAt(last, 'before');
  const wanted = await want('one');
  expect((await ending(wanted)).error?.failure).toBe('not-running');
  expect(row()).toMatchObject({ state: 'pinned', held: wanted, failure: 'not-running' });
});

test('who stops waiting does not stop the work, and the end of the loop leaves it owed', async () => {
  start(nodeOf);
  const fake = fakes.get('one');
  if (fake === undefined) throw new Error('it is there');
  let reached = (): void => undefined;
  const isReached = new Promise<void>((resolve) => {
    reached = resolve;
  });
  stop.abort(new Error('first loop'));
  await running;
  stop = new AbortController();
  const { signal } = stop;
  const hanging = {
    ...fake.node,
    mfs: {
      ...fake.node.mfs,
      place: () =>
        new Promise<never>((_, reject) => {
          signal.addEventListener('abort', () => reject(new OpError('cancelled', 'place')));
          reached();
        }),
    },
  };
  start(() => hanging);
  const wanted = await want('one');
  const patience = new AbortController();
  const waited = uploads.outcome({ path: PATH, target: 'one', wanted }, patience.signal);
  await isReached;
  expect(uploads.underWay).toMatchObject([{ target: 'one', sent: { blocks: 5 } }]);
  patience.abort(new OpError('cancelled', 'wait'));
  expect((await failureOf(waited)).failure).toBe('cancelled');
  stop.abort(new Error('stopped'));
  await running;
  expect(row()).toMatchObject({ state: 'uploading', attempts: 0 });
  stop = new AbortController();
  start(nodeOf);
  expect((await ending(wanted)).error).toBeUndefined();
});

describe('a row', () => {
  const at = { ino: 7 as Ino, seq: 9 };
  const root = { tree: Buffer.from('t'), snapshot: Buffer.from('s'), ...at };
  const held: TargetRow = {
    ...{ path: PATH, target: 'one', wanted: root, pin: true, state: 'pinned', attempts: 0 },
    ...{ dueS: undefined, failure: undefined, held: { ...root, pin: true }, sent: [] },
    checkedS: 100,
  };
  const intention = { path: PATH, target: 'one', wanted: root, pin: true, nowS: 7 };

  test('that is held owes nothing, and is seen to again after a while', () => {
    expect(intended(held, intention)).toBeUndefined();
    expect(dueAt(held, CHECK_S)).toBe(100 + CHECK_S);
  });

  test('that is held has the records too with which nothing changed', () => {
    const later = { ...root, seq: 12 };
    const same = intended({ ...held, pin: true }, { ...intention, wanted: later });
    expect(same).toMatchObject({ state: 'pinned', wanted: later, held: { ...later, pin: true } });
    expect(same?.dueS).toBeUndefined();
  });

  test('that failed is owed anew by who asks; another root is, with what is known kept', () => {
    const conflict = { ...held, state: 'failed', dueS: undefined } as const;
    expect(intended(conflict, intention)).toMatchObject({ state: 'queued', dueS: 7, held: root });
    const other = { ...root, tree: Buffer.from('u') };
    const next = intended({ ...held, sent: ['a'] }, { ...intention, wanted: other });
    expect(next).toMatchObject({ wanted: other, state: 'queued', held: root, sent: ['a'] });
    expect(intended(undefined, intention)).toMatchObject({ held: undefined, sent: [] });
  });

  test('is tried later after each failure, up to a bound', () => {
    let tried: TargetRow = { ...held, state: 'queued', held: undefined };
    const delays = Array.from({ length: 12 }, () => {
      tried = failed(tried, 'timeout', { nowS: 0, checkS: CHECK_S });
      return tried.dueS;
    });
    expect(delays).toEqual([1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
    expect(tried).toMatchObject({ state: 'failed', attempts: 12, failure: 'timeout' });
  });
});

test('bytes go as fast as they may, those of all uploads taken together', async () => {
  const pace = new Pace(1000, clock);
  running = Promise.resolve();
  const taken: number[] = [];
  const read = async () => {
    const source = (async function* () {
      for (let n = 0; n < 5; n += 1) yield Buffer.alloc(500);
    })();
    for await (const piece of pace.through(stop.signal)(source)) {
      taken.push(clock.monotonicMs());
      expect(piece.length).toBe(500);
    }
  };
  const reading = Promise.all([read(), read()]);
  await clock.turn(10_000);
  await reading;
  expect(taken.length).toBe(10);
  // The first goes at once.
  expect(Math.max(...taken)).toBe(4500);
});
