/** Stores around stores: each keeps the laws of all stores, and adds its own. */
import { describe, expect, test } from 'vitest';
import { openMemory } from '../../../src/backend/memory.ts';
import { type Measure, metered } from '../../../src/backend/wrap/meter.ts';
import { prefixed } from '../../../src/backend/wrap/prefix.ts';
import { retrying } from '../../../src/backend/wrap/retry.ts';
import { throttled } from '../../../src/backend/wrap/throttle.ts';
import { verified } from '../../../src/backend/wrap/verify.ts';
import { TurnedClock } from '../../fakes/clock.ts';
import { describeStore } from './conformance.ts';
import { breaksAfter, endsAfter, FaultyStore, fails, flips, hangs, losesAnswer } from './faulty.ts';
import {
  all,
  calling,
  keys,
  list,
  noise,
  pieces,
  put,
  read,
  sha256,
  text,
  timing,
} from './fixture.ts';

const ALL = {
  copying: true,
  leftovers: false,
  metadata: true,
  nested: true,
  digest: true,
  putOver: true,
  removeVersion: true,
};
const memory = () => openMemory(timing());
const clock = () => timing().clock;

describeStore('with a prefix', async () => prefixed(memory(), 'some/where/'), ALL);
describeStore(
  'with a limit of bandwidth',
  async () => {
    const rates = { upBytesPerS: 1e9, downBytesPerS: 1e9 };
    return throttled(memory(), rates, clock());
  },
  ALL,
);
describeStore('that is counted', async () => metered(memory(), () => {}, clock()), ALL);
describeStore('that is tried again', async () => retrying(memory(), timing()), ALL);
describeStore('that is verified', async () => verified(memory(), { readBack: true }), ALL);
describeStore(
  'with everything around it',
  async () => {
    const inner = verified(
      retrying(
        metered(memory(), () => {}, clock()),
        timing(),
      ),
    );
    return prefixed(throttled(inner, { upBytesPerS: 1e9 }, clock()), 'p/');
  },
  ALL,
);

describe('a prefix', () => {
  test('keeps what is outside of it from being seen and changed', async () => {
    const inner = memory();
    const store = prefixed(inner, 'in/');
    for (const key of ['in', 'in-side', 'in/a', 'in/b/c', 'out', 'in/\u{10ffff}']) {
      await put(inner, key, key);
    }
    expect(await keys(store)).toEqual(['a', 'b/c', '\u{10ffff}']);
    expect(await keys(store, { oneLevel: true, after: 'a' })).toEqual(['b/', '\u{10ffff}']);
    await expect(read(store, '../out')).rejects.toMatchObject({ failure: 'invalid-path' });
    await store.objects.remove('a', calling());
    expect(await store.objects.head('b/c', calling())).toMatchObject({ key: 'b/c' });
    expect(await keys(inner)).toEqual(['in', 'in-side', 'in/b/c', 'in/\u{10ffff}', 'out']);
  });

  test('takes of the limit of keys what it has itself, and is a path', () => {
    const inner = memory();
    const { keyBytesMax } = prefixed(inner, 'ä/').limits;
    expect(keyBytesMax).toBe(inner.limits.keyBytesMax - 3);
    for (const wrong of ['', 'a', '/', '../', 'a//', 'a/../']) {
      expect(() => prefixed(inner, wrong)).toThrow(
        expect.objectContaining({ failure: 'configuration' }),
      );
    }
  });
});

describe('a limit of bandwidth', () => {
  test('holds all puts together to it, and all readings', async () => {
    const turned = new TurnedClock();
    const inner = openMemory({ clock: turned });
    const store = throttled(inner, { upBytesPerS: 1000, downBytesPerS: 500 }, turned);
    const source = () => pieces(noise(1000), 100);
    let stored = 0;
    const puts = ['a', 'b'].map((key) =>
      store.objects.put(key, source(), calling()).then(() => {
        stored += 1;
      }),
    );
    await turned.turn(1500);
    expect(stored).toBe(0);
    await turned.turn(500);
    await Promise.all(puts);
    let isRead = false;
    const reading = read(store, 'a')
      .then(() => read(store, 'b'))
      .then(() => {
        isRead = true;
      });
    await turned.turn(1000);
    expect(isRead).toBe(false);
    await turned.turn(3000);
    await reading;
  });
});

describe('a meter', () => {
  test('tells each call once: its bytes, its time, its failure', async () => {
    const told: Measure[] = [];
    const turned = new TurnedClock();
    const faulty = new FaultyStore(openMemory({ clock: turned }));
    const store = metered(faulty.store, (measure) => told.push(measure), turned);
    await put(store, 'a', noise(1000));
    await read(store, 'a', { length: 300 });
    await all(list(store));
    faulty.next('head', fails('unavailable'));
    await expect(store.objects.head('a', calling())).rejects.toThrow();
    faulty.next('get', breaksAfter(0));
    await expect(read(store, 'a')).rejects.toThrow();
    const ok = { failure: undefined, durationMs: 0 };
    expect(told).toEqual([
      { call: 'put', ...ok, bytesIn: 0, bytesOut: 1000 },
      { call: 'get', ...ok, bytesIn: 300, bytesOut: 0 },
      { call: 'list', ...ok, bytesIn: 0, bytesOut: 0 },
      { call: 'head', ...ok, failure: 'unavailable', bytesIn: 0, bytesOut: 0 },
      { call: 'get', ...ok, failure: 'unavailable', bytesIn: 0, bytesOut: 0 },
    ]);
  });

  test('counts the time of a reading to its end', async () => {
    const told: Measure[] = [];
    const turned = new TurnedClock();
    const store = metered(openMemory({ clock: turned }), (measure) => told.push(measure), turned);
    await put(store, 'a', 'x');
    const reading = await store.objects.get('a', calling());
    await turned.turn(250);
    await reading[Symbol.asyncDispose]();
    expect(told.at(-1)).toMatchObject({ call: 'get', durationMs: 250, bytesIn: 0 });
  });
});

describe('a store that is tried again', () => {
  const open = () => {
    const faulty = new FaultyStore(memory());
    return { faulty, store: retrying(faulty.store, timing()) };
  };
  const passing = () => [fails('unavailable'), fails('rate-limited'), fails('response-invalid')];

  test('answers when the failure has passed', async () => {
    const { faulty, store } = open();
    await put(store, 'a', 'one');
    faulty.next('head', ...passing());
    expect(await store.objects.head('a', calling())).toMatchObject({ size: 3 });
    faulty.next('get', ...passing());
    expect(await text(store, 'a')).toBe('one');
    faulty.next('list', ...passing());
    expect(await keys(store)).toEqual(['a']);
    faulty.next('copy', ...passing());
    await store.copying?.copy('a', 'b', calling());
    faulty.next('remove', ...passing());
    expect(await store.objects.remove('a', calling())).toMatchObject({ outcome: 'removed' });
    expect(faulty.left).toBe(0);
  });

  test('gives up after a while, and at once where waiting does not help', async () => {
    const { faulty, store } = open();
    faulty.next('head', ...passing(), fails('unavailable'));
    await expect(store.objects.head('a', calling())).rejects.toMatchObject({
      failure: 'unavailable',
    });
    for (const failure of ['credentials-invalid', 'denied', 'integrity', 'timeout'] as const) {
      const before = faulty.count('head');
      faulty.next('head', fails(failure));
      await expect(store.objects.head('a', calling())).rejects.toMatchObject({ failure });
      expect(faulty.count('head')).toBe(before + 1);
    }
  });

  test('waits as long as the store asks for, but not for ever', async () => {
    const turned = new TurnedClock();
    const faulty = new FaultyStore(openMemory({ clock: turned }));
    const store = retrying(faulty.store, { ...timing(), clock: turned });
    faulty.next('head', fails('rate-limited', { retry_after_ms: 5000 }));
    let isAnswered = false;
    const answered = store.objects.head('a', calling()).then(() => {
      isAnswered = true;
    });
    await turned.turn(4999);
    expect(isAnswered).toBe(false);
    await turned.turn(1);
    await answered;
    faulty.next('head', fails('rate-limited', { retry_after_ms: 3_600_000 }));
    await expect(store.objects.head('a', calling())).rejects.toMatchObject({
      failure: 'rate-limited',
    });
  });

  test('has one deadline for a call and its repeats', async () => {
    const turned = new TurnedClock();
    const faulty = new FaultyStore(openMemory({ clock: turned }));
    const store = retrying(faulty.store, { ...timing(), clock: turned });
    faulty.next('head', fails('rate-limited', { retry_after_ms: 600 }), hangs());
    const late = store.objects.head('a', { ...calling(), deadlineMs: 500 });
    await expect(late).rejects.toMatchObject({ failure: 'rate-limited' });
    expect([faulty.count('head'), turned.sleeping]).toEqual([1, 0]);
  });

  test('goes on to read and to list where it broke off', async () => {
    const { faulty, store } = open();
    const bytes = noise(3_000_000);
    await put(store, 'a', bytes);
    for (let at = 0; at < 20; at++) await put(store, `k${at}`, 'x');
    faulty.next('get', breaksAfter(2), breaksAfter(0), breaksAfter(5));
    expect((await read(store, 'a')).equals(bytes)).toBe(true);
    const whole = await keys(store);
    faulty.next('list', breaksAfter(3), breaksAfter(0), breaksAfter(9));
    expect(await keys(store)).toEqual(whole);
    expect(faulty.left).toBe(0);
  });

  test('never puts two versions together', async () => {
    const { faulty, store } = open();
    await put(store, 'a', noise(1_000_000));
    faulty.next('get', breaksAfter(1));
    const reading = await store.objects.get('a', calling());
    await put(store, 'a', noise(1_000_000, 2));
    const drained = (async () => {
      for await (const _ of reading.bytes) void 0;
    })();
    await expect(drained).rejects.toMatchObject({ failure: 'version-conflict' });
  });

  test('does not put again, and removes once however often it asks', async () => {
    const { faulty, store } = open();
    faulty.next('put', fails('unavailable'));
    await expect(put(store, 'a', 'one')).rejects.toMatchObject({ failure: 'unavailable' });
    expect(faulty.count('put')).toBe(1);
    await put(store, 'a', 'one');
    faulty.next('remove', losesAnswer());
    expect(await store.objects.remove('a', calling())).toMatchObject({ outcome: 'removed' });
    faulty.next('copy', losesAnswer());
    await put(store, 'a', 'one');
    const copied = store.copying?.copy('a', 'b', { ...calling(), over: 'absent' });
    await expect(copied).rejects.toMatchObject({ failure: 'unavailable' });
    expect(faulty.count('copy')).toBe(1);
  });

  test('ends with its signal while it waits', async () => {
    const { faulty, store } = open();
    const controller = new AbortController();
    faulty.next('head', hangs());
    const head = store.objects.head('a', { signal: controller.signal });
    controller.abort(new Error('enough'));
    await expect(head).rejects.toThrow('enough');
    faulty.next('head', fails('rate-limited', { retry_after_ms: 10_000 }));
    const other = new AbortController();
    const waiting = store.objects.head('a', { signal: other.signal });
    setTimeout(() => other.abort(new Error('enough')), 20);
    await expect(waiting).rejects.toThrow('enough');
  });
});

describe('a store that is verified', () => {
  const open = (options = {}) => {
    const faulty = new FaultyStore(memory());
    return { faulty, store: verified(faulty.store, options) };
  };

  test('tells other bytes than were noted, and fewer, when all have come', async () => {
    const { faulty, store } = open();
    const bytes = noise(1_000_000);
    await put(store, 'a', bytes);
    for (const fault of [flips(), endsAfter(2)]) {
      faulty.next('get', fault);
      await expect(read(store, 'a')).rejects.toMatchObject({ failure: 'integrity' });
    }
    expect((await read(store, 'a')).equals(bytes)).toBe(true);
    expect(await read(store, 'a', { offset: 5, length: 5 })).toEqual(bytes.subarray(5, 10));
  });

  test('tells that other bytes were stored, and removes them', async () => {
    const { faulty, store } = open();
    for (const fault of [flips(), endsAfter(1)]) {
      faulty.next('put', fault);
      await expect(put(store, 'a', noise(200_000))).rejects.toMatchObject({ failure: 'integrity' });
      expect(await keys(store)).toEqual([]);
    }
  });

  test('reads back, where it shall, what a store may have lost since', async () => {
    const { faulty, store } = open({ readBack: true });
    faulty.next('get', flips());
    await expect(put(store, 'a', 'one')).rejects.toMatchObject({ failure: 'integrity' });
    expect(await keys(store)).toEqual([]);
    expect(await put(store, 'a', 'one')).toMatchObject({ sha256: sha256('one') });
  });
});
