/** Calls that end before they are done: nothing is half there, and nobody waits. */
import { expect, test } from 'vitest';
import { OpError } from '../../../src/base/errors.ts';
import { calling, keys, noise, pieces, put, text } from './fixture.ts';
import { type Facets, failing, law, MIB, type Open, sweep } from './law.ts';

export function describeEnds(open: Open, facets: Facets): void {
  const holds = law(open);

  holds('a source that fails stores nothing, and its failure is told', async (store) => {
    const broken = new Error('the source broke');
    for (const size of [3, 9 * MIB]) {
      async function* breaking() {
        yield noise(size);
        throw broken;
      }
      await expect(store.objects.put('a', breaking(), calling())).rejects.toBe(broken);
    }
    expect(await keys(store)).toEqual([]);
    if (facets.leftovers) expect(await sweep(store)).toBe(0);
  });

  holds('a put that is told to end stores nothing and lets go of its source', async (store) => {
    for (const size of [3, 9 * MIB]) {
      const controller = new AbortController();
      let isReleased = false;
      async function* endless() {
        try {
          yield noise(size);
          controller.abort();
          for (let times = 0; times < 200; times++) {
            await new Promise((resolve) => setTimeout(resolve, 5));
            yield noise(100);
          }
        } finally {
          isReleased = true;
        }
      }
      const ended = store.objects.put('a', endless(), { signal: controller.signal });
      await expect(ended).rejects.toEqual(failing('cancelled'));
      await expect.poll(() => isReleased).toBe(true);
    }
    expect(await keys(store)).toEqual([]);
    if (facets.leftovers) expect(await sweep(store)).toBe(0);
  });

  holds('a source that never gives anything ends with the deadline', async (store) => {
    const silent = { [Symbol.asyncIterator]: () => ({ next: () => new Promise<never>(() => {}) }) };
    const ended = store.objects.put('a', silent, { ...calling(), deadlineMs: 100 });
    await expect(ended).rejects.toEqual(failing('timeout'));
    expect(await keys(store)).toEqual([]);
  });

  holds('every call is refused whose signal has aborted, with its reason', async (store) => {
    await put(store, 'a', 'one');
    const reason = new OpError('interrupted', 'test');
    const signal = AbortSignal.abort(reason);
    await expect(store.objects.head('a', { signal })).rejects.toBe(reason);
    await expect(store.objects.get('a', { signal })).rejects.toBe(reason);
    await expect(store.objects.put('a', pieces('x'), { signal })).rejects.toBe(reason);
    await expect(store.objects.remove('a', { signal })).rejects.toBe(reason);
    await expect(store.probe({ signal })).rejects.toBe(reason);
    expect(await text(store, 'a')).toBe('one');
  });

  holds('a reading ends with its signal', async (store) => {
    await put(store, 'large', noise(8 * MIB));
    const controller = new AbortController();
    await using reading = await store.objects.get('large', { signal: controller.signal });
    const drained = (async () => {
      for await (const _ of reading.bytes) controller.abort();
    })();
    await expect(drained).rejects.toEqual(failing('cancelled'));
  });

  test('a store that was closed answers nothing any more', async () => {
    const store = await open();
    await put(store, 'a', 'x');
    await store[Symbol.asyncDispose]();
    await expect(store.objects.head('a', calling())).rejects.toEqual(failing('not-ready'));
    await expect(put(store, 'a', 'x')).rejects.toEqual(failing('not-ready'));
  });
}
