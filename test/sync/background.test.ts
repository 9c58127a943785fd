/** The laws of publishing by itself: which trees, when, and what a kill or a failure leaves. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { Background, type BackgroundPolicy } from '../../src/sync/background.ts';
import type { PublishRequest } from '../../src/sync/publish.ts';
import { dueAtMs } from '../../src/sync/rest.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { mountTree } from '../vfs/mount-tree.ts';
import { Fixture, failureOf, ROOT } from './fixture.ts';

const QUIET_MS = 5000;
const INTERVAL_MS = 60_000;
/** Longer than the pause between two looks. */
const LOOK_MS = 1000;

let world: Fixture;
let clock: TurnedClock;
let log: RememberedLog;
let stop: AbortController;
let background: Background;
let running: Promise<void>;
/** Publications under way. */
let active = 0;
/** What each one was asked for. */
let requests: PublishRequest[];
let fault: OpError | undefined;
/** Publications end only when they are told to. */
let isHanging = false;

const POLICY: BackgroundPolicy = { targets: ['one'], quietMs: QUIET_MS, intervalMs: INTERVAL_MS };

function start(policy: Partial<BackgroundPolicy> = {}): void {
  stop = new AbortController();
  const { journal } = world;
  const publisher: Pick<Fixture['publisher'], 'publish'> = {
    publish: async (request, run) => {
      requests.push(request);
      active += 1;
      try {
        if (fault !== undefined) throw fault;
        if (isHanging) await aborted(run.signal);
        return await world.publisher.publish(request, run);
      } finally {
        active -= 1;
      }
    },
  };
  const actor = () => ({ surface: 'daemon', uid: 0, gid: 0 }) as const;
  background = new Background({ journal, clock, log, publisher, actor }, { ...POLICY, ...policy });
  running = background.run(stop.signal);
  running.catch(() => undefined);
}

const aborted = (signal: AbortSignal) =>
  new Promise<never>((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

async function end(): Promise<void> {
  stop.abort(new OpError('cancelled', 'the test'));
  expect(await running.catch((error: unknown) => error)).toSatisfy(
    (reason) => reason === undefined || reason === stop.signal.reason,
  );
}

/** Turns the clock, and lets what begins by that come to its end. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= LOOK_MS) {
    await clock.turn(Math.min(left, LOOK_MS));
    // Until the loop sleeps again.
    do await clock.turn(0);
    while (active > 0 || clock.sleeping === 0);
  }
}

const paths = () => requests.map(({ path }) => path);
const owed = (path = '/ipfs') => world.journal.targets.get(nameOfText(path), 'one');

beforeEach(() => {
  world = new Fixture();
  clock = new TurnedClock();
  log = new RememberedLog();
  requests = [];
  fault = undefined;
  isHanging = false;
});
afterEach(async () => {
  await end();
  await world.close();
});

test('a tree that somebody published meanwhile, and owed to the store with a pin, is at rest', async () => {
  start();
  await pass(LOOK_MS);
  world.write('/ipfs/f', 'one');
  await pass(LOOK_MS);
  expect(background.unpublished).toHaveLength(1);
  await world.publish('/ipfs', { pin: true, targets: [] });
  expect(background.unpublished).toHaveLength(1);
  await world.publish('/ipfs', { pin: true, targets: ['one'] });
  expect(background.unpublished).toEqual([]);
  await pass(QUIET_MS * 2);
  expect(requests).toEqual([]);
  world.write('/ipfs/f', 'two');
  await pass(QUIET_MS * 2);
  expect(paths()).toEqual(['/ipfs']);
});

test('a tree is published once it rests, and owed to the store', async () => {
  start();
  await pass(QUIET_MS * 2);
  expect(paths()).toEqual([]);
  world.write('/ipfs/f', 'one');
  await pass(LOOK_MS);
  expect(background.unpublished).toMatchObject([{ path: '/ipfs', error: undefined }]);
  await pass(3000);
  expect(paths()).toEqual([]);
  world.write('/ipfs/f', 'two');
  await pass(3000);
  expect(paths()).toEqual([]);
  await pass(3000);
  expect(paths()).toEqual(['/ipfs']);
  expect(requests[0]).toMatchObject({ pin: true, targets: ['one'], unixfsMetadata: false });
  expect(owed()).toMatchObject({ state: 'queued' });
  expect(background.unpublished).toEqual([]);
  await pass(INTERVAL_MS * 2);
  expect(paths()).toEqual(['/ipfs']);
});

test('a tree that never rests is published each interval', async () => {
  start();
  for (let passed = 0; passed < INTERVAL_MS * 2.5; passed += 2000) {
    world.write('/ipfs/f', `${passed}`);
    await pass(2000);
  }
  expect(paths()).toEqual(['/ipfs', '/ipfs']);
});

test('a tree in which somebody writes does not rest until the file is closed', async () => {
  start();
  const { fh } = world.openForWriting('/ipfs/f');
  world.vfs.write(ROOT, fh, Buffer.from('half'), 0, false);
  await pass(QUIET_MS * 3);
  expect(paths()).toEqual([]);
  world.vfs.release(fh);
  await pass(QUIET_MS + LOOK_MS);
  expect(paths()).toEqual(['/ipfs']);
});

test('a large file that is being written is not copied for that', async () => {
  start();
  const { fh, ino } = world.openForWriting('/ipfs/f');
  world.vfs.write(ROOT, fh, Buffer.from('x'), 0, false);
  void world.vfs.setattr(ROOT, ino, { size: 65 * 1024 * 1024 });
  await pass(INTERVAL_MS + LOOK_MS);
  // As it was before, which takes no copy.
  expect(paths()).toEqual(['/ipfs']);
  requests = [];
  await world.vfs.fsync(fh, false);
  world.vfs.write(ROOT, fh, Buffer.from('x'), 0, false);
  await pass(INTERVAL_MS * 2);
  await background.finish(stop.signal);
  expect(paths()).toEqual([]);
  expect(background.unpublished).toMatchObject([{ error: { failure: 'locked' } }]);
  world.vfs.release(fh);
  await pass(QUIET_MS + LOOK_MS);
  expect(paths()).toEqual(['/ipfs']);
  expect(background.unpublished).toEqual([]);
});

test('what changed before a kill is published by the next daemon, and nothing twice', async () => {
  start();
  world.write('/ipfs/f', 'one');
  await pass(QUIET_MS * 2);
  expect(paths()).toEqual(['/ipfs']);
  await end();
  start();
  await pass(QUIET_MS * 2);
  expect(paths()).toEqual(['/ipfs']);
  await end();
  world.write('/mem/f', 'not of this tree');
  world.write('/ipfs/f', 'two');
  start();
  await pass(QUIET_MS * 2);
  expect(paths()).toEqual(['/ipfs', '/ipfs']);
});

test('a tree that was published before there was a store is brought to it', async () => {
  world.write('/ipfs/f', 'one');
  await world.publish('/ipfs');
  start();
  await pass(QUIET_MS * 2);
  expect(owed()).toMatchObject({ state: 'queued' });
});

test('with no store nothing is published', async () => {
  start({ targets: [] });
  await running;
  world.write('/ipfs/f', 'one');
  await background.finish(stop.signal);
  expect(paths()).toEqual([]);
});

test('what a mount says wins; trees in memory and those that only are asked for are left alone', async () => {
  const tree = (point: string, options: Record<string, unknown>) =>
    mountTree(world.vfs, ROOT, { point, mode: 0o755, options });
  tree('/slow', { sync_ms: 20_000 });
  tree('/asked', { sync_ms: 0 });
  mountTree(world.vfs, ROOT, { point: '/scratch', mode: 0o755, kind: 'memory' });
  start();
  for (const path of ['/slow/f', '/asked/f', '/scratch/f', '/ipfs/f']) world.write(path, 'x');
  await pass(QUIET_MS + LOOK_MS);
  expect(paths()).toEqual(['/ipfs']);
  await pass(20_000);
  expect(paths()).toEqual(['/ipfs', '/slow']);
  await pass(INTERVAL_MS * 2);
  await background.finish(stop.signal);
  expect(paths()).toEqual(['/ipfs', '/slow']);
});

test('where nothing leaves by itself a mount cannot say otherwise', async () => {
  const options = { sync_ms: 1 };
  mountTree(world.vfs, ROOT, { point: '/quick', mode: 0o755, options });
  start({ quietMs: 0 });
  world.write('/quick/f', 'x');
  await pass(INTERVAL_MS * 2);
  await background.finish(stop.signal);
  expect(paths()).toEqual([]);
});

test('a tree that cannot be published is tried again, later each time, and shows why', async () => {
  start();
  world.write('/ipfs/f', 'one');
  fault = new OpError('no-space', 'publish');
  await pass(QUIET_MS + LOOK_MS);
  expect(background.unpublished).toMatchObject([{ path: '/ipfs', error: { failure: 'no-space' } }]);
  expect(log.lines.filter(({ level }) => level === 'warn')).toHaveLength(requests.length);
  await pass(30_000);
  const tried = requests.length;
  expect(tried).toBeGreaterThan(2);
  expect(tried).toBeLessThan(8);
  fault = undefined;
  await pass(60_000);
  expect(requests).toHaveLength(tried + 1);
  expect(background.unpublished).toEqual([]);
});

describe('finishing', () => {
  test('publishes what changed without waiting for rest, of one tree when it is named', async () => {
    mountTree(world.vfs, ROOT, { point: '/other', mode: 0o755 });
    start();
    world.write('/ipfs/f', 'one');
    world.write('/other/f', 'one');
    await background.finish(stop.signal, nameOfText('/other'));
    expect(paths()).toEqual(['/other']);
    await background.finish(stop.signal);
    expect(paths()).toEqual(['/other', '/ipfs']);
    await background.finish(stop.signal);
    expect(paths()).toHaveLength(2);
  });

  test('of one tree ends with the patience of who waits, whatever is under way', async () => {
    start();
    world.write('/ipfs/f', 'one');
    isHanging = true;
    while (active === 0) await clock.turn(LOOK_MS);
    const patience = new AbortController();
    const finishing = failureOf(background.finish(patience.signal, nameOfText('/ipfs')));
    patience.abort(new OpError('timeout', 'unmount'));
    expect((await finishing).failure).toBe('timeout');
    expect([active, requests.length]).toEqual([1, 1]);
  });

  test('ends with the patience of who waits, and takes the publication under way along', async () => {
    start();
    world.write('/ipfs/f', 'one');
    isHanging = true;
    while (active === 0) await clock.turn(LOOK_MS);
    const patience = new AbortController();
    const finishing = background.finish(patience.signal);
    patience.abort(new OpError('timeout', 'stop'));
    expect((await failureOf(finishing)).failure).toBe('timeout');
    await running;
    expect(active).toBe(0);
  });
});

test.each([
  { firstMs: 0, lastMs: 0, atMs: 5 },
  { firstMs: 0, lastMs: 3, atMs: 8 },
  { firstMs: 0, lastMs: 59, atMs: 60 },
  { firstMs: 10, lastMs: 60, atMs: 65 },
])('a tree that changed from $firstMs to $lastMs is due at $atMs', ({ firstMs, lastMs, atMs }) => {
  expect(dueAtMs({ firstMs, lastMs }, { quietMs: 5, intervalMs: 60 })).toBe(atMs);
});

test('who wants more quiet than the interval gets it', () => {
  expect(dueAtMs({ firstMs: 0, lastMs: 50 }, { quietMs: 100, intervalMs: 60 })).toBe(100);
});
