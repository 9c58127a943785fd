/** The store in memory: the laws of all stores, and its bound. */
import { describe, expect, test } from 'vitest';
import { openMemory } from '../../../src/backend/memory.ts';
import { describeStore } from './conformance.ts';
import { calling, keys, noise, pieces, put, timing } from './fixture.ts';

describeStore('in memory', async () => openMemory(timing()), {
  copying: true,
  leftovers: false,
  metadata: true,
  nested: true,
  digest: true,
  putOver: true,
  removeVersion: true,
});

describe('a store in memory that is full', () => {
  test('refuses more, keeps what it has, and takes as much as was removed', async () => {
    await using store = openMemory({ ...timing(), bytesMax: 100_000 });
    await put(store, 'a', noise(60_000));
    await expect(put(store, 'b', noise(60_000))).rejects.toMatchObject({
      failure: 'quota-exceeded',
    });
    await put(store, 'c', noise(30_000));
    expect(await keys(store)).toEqual(['a', 'c']);
    await store.objects.remove('a', calling());
    for (let times = 0; times < 10; times++) await put(store, 'b', noise(30_000, times));
    expect(await keys(store)).toEqual(['b', 'c']);
  });

  test('is full of empty objects, too, and of what is on its way', async () => {
    await using store = openMemory({ ...timing(), bytesMax: 10_000 });
    const filled = (async () => {
      for (let at = 0; at < 100; at++) await put(store, `k${at}`, '');
    })();
    await expect(filled).rejects.toMatchObject({ failure: 'quota-exceeded' });
    const source = pieces(noise(1_000_000), 4096);
    await expect(store.objects.put('x', source, calling())).rejects.toMatchObject({
      failure: /quota-exceeded|file-too-large/,
    });
  });
});
