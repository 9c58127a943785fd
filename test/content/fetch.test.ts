/** The laws of fetching blocks. */
import { beforeEach, describe, expect, test } from 'vitest';
import {
  FETCH_MS_MAX,
  FETCHES_AT_ONCE_MAX,
  SILENCE_ASKED_MS_MAX,
  SILENCE_KEPT_MS,
} from '../../src/base/limits.ts';
import { BlockFetcher, type BlockOrigin, rawCid } from '../../src/content/content.ts';
import { settle } from '../fakes/clock.ts';
import { type Manner, Origin } from '../fakes/origin.ts';
import { failureOf, noise, TurnedClock } from './fixture.ts';

let clock: TurnedClock;
let origin: Origin;
let fetcher: BlockFetcher;
beforeEach(() => {
  clock = new TurnedClock();
  origin = new Origin();
  fetcher = new BlockFetcher({ origin: () => origin, clock });
});

/** A block that the node has. */
function made(seed: number, size = 1000) {
  const bytes = noise(size, seed);
  const cid = rawCid(bytes);
  origin.put(cid, bytes);
  return { cid, bytes };
}

const never = new AbortController().signal;
test('a block is asked for once, however many wait for it', async () => {
  const { cid, bytes } = made(1);
  origin.hold();
  const readers = Array.from({ length: 50 }, () => fetcher.fetch(cid, never));
  await origin.hasAsked(1);
  origin.release();
  for (const got of await Promise.all(readers))
    expect(Buffer.from(got)).toEqual(Buffer.from(bytes));
  await fetcher.fetch(cid, never);
  expect(origin.asked).toHaveLength(1);
});

test.each(['lie', 'truncate'] as const)(
  'a node that would %s gives nobody a byte, and is asked again by the next',
  async (manner) => {
    const { cid, bytes } = made(1);
    origin.manner = manner;
    expect((await failureOf(fetcher.fetch(cid, never))).failure).toBe('integrity');
    origin.manner = 'give';
    expect(Buffer.from(await fetcher.fetch(cid, never))).toEqual(Buffer.from(bytes));
  },
);

test.each<[Manner, string]>([
  ['lack', 'content-missing'],
  ['offline', 'not-running'],
])('a block that cannot be had is missing, and says why: %s', async (manner, reason) => {
  const { cid } = made(1);
  origin.manner = manner;
  const { failure, details } = await failureOf(fetcher.fetch(cid, never));
  expect([failure, details]).toEqual(['content-missing', { cid: cid.toString(), reason }]);
  // At once: no time has passed on this clock.
  expect(clock.sleepers).toBe(0);
});

test('without a node nothing is asked, and nobody waits', async () => {
  const alone = new BlockFetcher({ origin: () => undefined, clock });
  const { cid } = made(1);
  const { failure, details } = await failureOf(alone.fetch(cid, never));
  expect([failure, details['reason']]).toEqual(['content-missing', 'not-configured']);
  expect(alone.isOffered).toBe(false);
});

test('a block has its time from when it is asked for, as long as the node answers others', async () => {
  const blocks = Array.from({ length: FETCHES_AT_ONCE_MAX + 1 }, (_, seed) => made(seed, 40));
  origin.hold();
  origin.onAsked = () => {
    if (origin.asked.length > FETCHES_AT_ONCE_MAX) origin.hold();
  };
  const reads = blocks.map(({ cid }) => fetcher.fetch(cid, never));
  await origin.hasAsked(FETCHES_AT_ONCE_MAX);
  clock.turn(FETCH_MS_MAX - 1);
  origin.release();
  await origin.hasAsked(FETCHES_AT_ONCE_MAX + 1);
  clock.turn(FETCH_MS_MAX - 1);
  origin.release();
  const got = await Promise.all(reads);
  expect(got.map((bytes) => Buffer.from(bytes))).toEqual(blocks.map(({ bytes }) => bytes));
});

describe('a node that hangs', () => {
  test('keeps nobody longer than the deadline, turns included', async () => {
    origin.manner = 'hang';
    const blocks = Array.from({ length: FETCHES_AT_ONCE_MAX + 5 }, (_, seed) => made(seed, 40));
    const reads = blocks.map(({ cid }) => failureOf(fetcher.fetch(cid, never)));
    await origin.hasAsked(FETCHES_AT_ONCE_MAX);
    clock.turn(FETCH_MS_MAX);
    for (const { failure, details } of await Promise.all(reads)) {
      expect([failure, details['reason']]).toEqual(['content-missing', 'timeout']);
    }
  });

  test('keeps no other block from its turn afterwards', async () => {
    origin.manner = 'hang';
    const blocks = Array.from({ length: FETCHES_AT_ONCE_MAX }, (_, seed) => made(seed, 40));
    const reads = blocks.map(({ cid }) => failureOf(fetcher.fetch(cid, never)));
    await origin.hasAsked(FETCHES_AT_ONCE_MAX);
    clock.turn(FETCH_MS_MAX);
    await Promise.all(reads);
    origin.manner = 'give';
    const { cid, bytes } = made(99);
    expect(Buffer.from(await fetcher.fetch(cid, never))).toEqual(Buffer.from(bytes));
  });

  describe('and does not say a word', () => {
    let pings: number;
    let isDeaf: boolean;
    let asking: BlockFetcher;
    beforeEach(() => {
      pings = 0;
      isDeaf = true;
      const ping = () => {
        pings += 1;
        return isDeaf ? new Promise(() => {}) : Promise.resolve();
      };
      const pinged: BlockOrigin = { blockGet: (cid, how) => origin.blockGet(cid, how), ping };
      asking = new BlockFetcher({ origin: () => pinged, clock });
    });
    const late = { failure: 'content-missing', details: { reason: 'timeout' } };

    /** One reader has waited in vain, and it is known why. */
    async function silence(): Promise<void> {
      origin.manner = 'hang';
      const first = failureOf(asking.fetch(made(1).cid, never));
      await origin.hasAsked(1);
      clock.turn(FETCH_MS_MAX);
      expect(await first).toMatchObject(late);
      clock.turn(SILENCE_ASKED_MS_MAX);
      await settle();
    }

    test('keeps nobody waiting but the first, and is asked for nothing', async () => {
      await silence();
      expect(await failureOf(asking.fetch(made(2).cid, never))).toMatchObject(late);
      expect([origin.asked.length, pings]).toEqual([1, 1]);
      expect(clock.sleepers).toBe(0);
    });

    test('is asked again after a while, once for all who read, and serves them when it is back', async () => {
      await silence();
      clock.turn(SILENCE_KEPT_MS);
      const again = [made(2), made(3)].map(({ cid }) => failureOf(asking.fetch(cid, never)));
      await settle();
      clock.turn(SILENCE_ASKED_MS_MAX);
      expect(await Promise.all(again)).toMatchObject([late, late]);
      expect([origin.asked.length, pings]).toEqual([1, 2]);
      clock.turn(SILENCE_KEPT_MS);
      isDeaf = false;
      origin.manner = 'give';
      const { cid, bytes } = made(4);
      expect(Buffer.from(await asking.fetch(cid, never))).toEqual(bytes);
      expect(Buffer.from(await asking.fetch(made(5).cid, never))).toEqual(made(5).bytes);
      expect(pings).toBe(3);
    });

    test('lets those go who asked before it was known', async () => {
      origin.manner = 'hang';
      const first = failureOf(asking.fetch(made(1).cid, never));
      await origin.hasAsked(1);
      clock.turn(FETCH_MS_MAX - 1);
      const second = failureOf(asking.fetch(made(2).cid, never));
      await origin.hasAsked(2);
      clock.turn(1);
      await first;
      clock.turn(SILENCE_ASKED_MS_MAX);
      expect(await second).toMatchObject(late);
    });

    test('is told from one that only has not found a block', async () => {
      isDeaf = false;
      await silence();
      origin.manner = 'give';
      const { cid, bytes } = made(2);
      expect(Buffer.from(await asking.fetch(cid, never))).toEqual(bytes);
    });
  });

  test('is let go when nobody waits any more, and not before', async () => {
    origin.manner = 'hang';
    const { cid } = made(1);
    const [one, other] = [new AbortController(), new AbortController()];
    const reads = [one, other].map(({ signal }) => failureOf(fetcher.fetch(cid, signal)));
    await origin.hasAsked(1);
    const gone = new Error('interrupted');
    one.abort(gone);
    expect(await reads[0]).toBe(gone);
    expect(origin.ended).toBe(0);
    other.abort(gone);
    expect(await reads[1]).toBe(gone);
    expect(origin.ended).toBe(1);
  });

  test('is asked anew by who comes after those who gave up', async () => {
    const { cid, bytes } = made(1);
    origin.let(cid, 'hang');
    const first = new AbortController();
    const given = failureOf(fetcher.fetch(cid, first.signal));
    await origin.hasAsked(1);
    first.abort(new Error('interrupted'));
    await given;
    origin.let(cid, 'give');
    expect(Buffer.from(await fetcher.fetch(cid, never))).toEqual(Buffer.from(bytes));
    expect(origin.asked).toHaveLength(2);
  });
});
