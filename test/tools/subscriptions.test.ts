/** The laws of the topics that agents listen to. */
import { beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { SUBSCRIPTIONS_PER_CONNECTION_MAX } from '../../src/base/limits.ts';
import { Subscriptions } from '../../src/tools/subscriptions.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { FakePubsub } from '../fakes/pubsub.ts';

let clock: TurnedClock;
let pubsub: FakePubsub;
let subscriptions: Subscriptions;
let hangUp: AbortController;
const never = new AbortController().signal;

beforeEach(() => {
  clock = new TurnedClock();
  pubsub = new FakePubsub();
  subscriptions = new Subscriptions(clock);
  hangUp = new AbortController();
});

const owner = (id = 'one') => ({ id, closed: hangUp.signal });
const open = (id: string, more: object = {}) =>
  subscriptions.open({
    ...{ id, owner: owner(), pubsub, topic: 't', buffer: 10, signal: never },
    ...more,
  });
const page = (id: string, since = 0) => {
  const bounds = { countMax: 100, bytesMax: 1_000_000 };
  const { messages, ...rest } = subscriptions.get(id, owner()).messages.page(since, bounds);
  return { texts: messages.map(({ data }) => Buffer.from(data).toString()), ...rest };
};
const unknown = expect.objectContaining({ failure: 'handle-unknown' });

test('what is said after it was opened is heard, by each subscription for itself', async () => {
  await open('a');
  pubsub.say('first');
  await open('b');
  pubsub.say('second');
  await settle();
  expect(page('a').texts).toEqual(['first', 'second']);
  expect(page('b').texts).toEqual(['second']);
});

describe('a wait', () => {
  test('ends with the first message, or when it is over', async () => {
    await open('a');
    const heard = subscriptions.get('a', owner()).news(1000, never);
    await settle();
    pubsub.say('x');
    await heard;
    expect(page('a').texts).toEqual(['x']);
    const late = subscriptions.get('a', owner()).news(1000, never);
    await clock.turn(1000);
    await late;
  });

  test('ends with the call, as that ends, and with the subscription', async () => {
    await open('a');
    const call = new AbortController();
    const cut = subscriptions.get('a', owner()).news(1000, call.signal);
    const failing = expect(cut).rejects.toEqual(expect.objectContaining({ failure: 'cancelled' }));
    call.abort(new OpError('cancelled', 'call'));
    await failing;
    const ended = subscriptions.get('a', owner()).news(1000, never);
    subscriptions.end('a', owner());
    await ended;
  });
});

test('a line that breaks is a gap, and is tried again, ever more slowly, until it holds', async () => {
  await open('a');
  pubsub.say('before');
  await settle();
  pubsub.refusal = new OpError('not-running', 'subscribe');
  pubsub.cut();
  await settle();
  expect(subscriptions.get('a', owner()).trouble).toBe('not-running');
  expect(page('a', 1)).toMatchObject({ texts: [], gap: { from: 2, to: 2 }, nextSeq: 2 });
  await clock.turn(10_000);
  const slow = pubsub.asked;
  await clock.turn(10_000);
  expect(pubsub.asked - slow).toBeLessThan(slow - 1);
  pubsub.refusal = undefined;
  await clock.turn(40_000);
  expect(subscriptions.get('a', owner()).trouble).toBeUndefined();
  pubsub.say('after');
  await settle();
  // However often it was tried, nobody knows how much was missed: that is one gap.
  expect(page('a', 1)).toMatchObject({ texts: ['after'], gap: { from: 2, to: 2 }, nextSeq: 3 });
});

test('it belongs to its connection, and ends with it', async () => {
  await open('a');
  for (const take of ['get', 'end'] as const) {
    expect(() => subscriptions[take]('a', owner('other'))).toThrow(unknown);
    expect(() => subscriptions[take]('none', owner())).toThrow(unknown);
  }
  hangUp.abort();
  await settle();
  expect(() => subscriptions.get('a', owner())).toThrow(unknown);
  expect(clock.sleeping).toBe(0);
  await expect(open('late')).rejects.toThrow();
});

test('what cannot be opened leaves nothing, and a call that is cancelled opens nothing', async () => {
  pubsub.refusal = new OpError('pubsub-disabled', 'subscribe');
  await expect(open('a')).rejects.toEqual(pubsub.refusal);
  expect(() => subscriptions.get('a', owner())).toThrow(unknown);
  pubsub.refusal = undefined;
  const signal = AbortSignal.abort(new OpError('cancelled', 'call'));
  await expect(open('b', { signal })).rejects.toEqual(signal.reason);
  expect(() => subscriptions.get('b', owner())).toThrow(unknown);
});

test('a connection has so many and no more; one that is ended makes room', async () => {
  for (let count = 0; count < SUBSCRIPTIONS_PER_CONNECTION_MAX; count += 1) await open(`s${count}`);
  await expect(open('more')).rejects.toMatchObject({ failure: 'rate-limited' });
  await open('other', { owner: owner('other') });
  subscriptions.end('s0', owner());
  await open('more');
});
