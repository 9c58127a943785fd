/** Listing a store: order, prefixes, levels, and going on. */
import { expect } from 'vitest';
import { compareKeys } from '../../../src/backend/keys.ts';
import type { Store } from '../../../src/backend/store.ts';
import { calling, keys, list, put } from './fixture.ts';
import { law, type Open } from './law.ts';

export function describeListing(open: Open): void {
  const holds = law(open);
  const NAMES = [
    'a',
    'a-b',
    'a.b',
    'b/c',
    'b/d/e',
    'b/d/f',
    'b-',
    'b0',
    'c/x',
    'z/é',
    'z/😀',
    'z/\ufb01',
  ];
  const SORTED = [...NAMES].sort((one, two) => Buffer.compare(Buffer.from(one), Buffer.from(two)));
  const filled = async (store: Store) => {
    for (const key of NAMES) await put(store, key, key);
  };

  holds(
    'keys are listed once, byte by byte in order, with their sizes and versions',
    async (store) => {
      await filled(store);
      expect(await keys(store)).toEqual(SORTED);
      for await (const item of list(store)) {
        const head = await store.objects.head(item.key, calling());
        expect(item).toMatchObject({ kind: 'object', size: head?.size, version: head?.version });
      }
    },
  );

  holds('a prefix is bytes, not a directory', async (store) => {
    await filled(store);
    expect(await keys(store, { prefix: 'b' })).toEqual(SORTED.filter((key) => key.startsWith('b')));
    expect(await keys(store, { prefix: 'b/' })).toEqual(['b/c', 'b/d/e', 'b/d/f']);
    expect(await keys(store, { prefix: 'b/d/f' })).toEqual(['b/d/f']);
    expect(await keys(store, { prefix: 'none' })).toEqual([]);
    expect(await keys(store, { prefix: 'b/c/' })).toEqual([]);
  });

  holds('one level shows what is below it as one name', async (store) => {
    await filled(store);
    const level = async (prefix: string) =>
      (await keys(store, { prefix, oneLevel: true })).join(' ');
    expect(await level('')).toBe('a a-b a.b b- b/ b0 c/ z/');
    expect(await level('b/')).toBe('b/c b/d/');
    expect(await level('b')).toBe('b- b/ b0');
    expect(await level('b/d/')).toBe('b/d/e b/d/f');
  });

  holds('a listing goes on behind any name it gave', async (store) => {
    await filled(store);
    for (const oneLevel of [false, true]) {
      const names = await keys(store, { oneLevel });
      for (const [at, after] of names.entries()) {
        expect(await keys(store, { oneLevel, after })).toEqual(names.slice(at + 1));
      }
    }
    expect(await keys(store, { prefix: 'b/', after: 'b/c' })).toEqual(['b/d/e', 'b/d/f']);
    expect(await keys(store, { prefix: 'b/', after: 'a' })).toEqual(['b/c', 'b/d/e', 'b/d/f']);
    expect(await keys(store, { prefix: 'b/', after: 'c' })).toEqual([]);
    // Behind names that are not there, too.
    expect(await keys(store, { after: 'b/d/ee' })).toEqual(SORTED.slice(SORTED.indexOf('b/d/f')));
    expect(await keys(store, { after: 'b/' })).toEqual(SORTED.slice(SORTED.indexOf('b/c')));
  });

  holds('what stays comes exactly once, whatever comes and goes meanwhile', async (store) => {
    const staying = Array.from({ length: 40 }, (_, at) => `k${String(at * 2).padStart(3, '0')}`);
    for (const key of staying) await put(store, key, 'x');
    const came: string[] = [];
    let turn = 0;
    for await (const { key } of list(store)) {
      came.push(key);
      turn += 1;
      await put(store, `k${String((turn * 7) % 80).padStart(3, '0')}-new`, 'x');
      await store.objects.remove(
        `k${String(((turn - 3) * 7) % 80).padStart(3, '0')}-new`,
        calling(),
      );
    }
    expect(came.filter((key) => !key.endsWith('-new'))).toEqual(staying);
    expect([...came].sort(compareKeys)).toEqual(came);
    expect(new Set(came).size).toBe(came.length);
  });

  holds('a listing that nobody reads to its end holds nothing back', async (store) => {
    await filled(store);
    for (let times = 0; times < 40; times++) for await (const _ of list(store)) break;
    expect(await keys(store)).toEqual(SORTED);
  });
}
