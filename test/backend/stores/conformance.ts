/**
 * The laws of a store of objects. Each store runs them all in a file of its own; those of a facet it does not have
 * are not there, and `facets` says so in that file, where a reader sees it.
 */
import { describe, expect, test } from 'vitest';
import type { ObjectVersion } from '../../../src/backend/store.ts';
import { bytesOf, calling, keys, noise, put, read, sha256, text } from './fixture.ts';
import { type Facets, failing, law, MIB, type Open } from './law.ts';
import { describeEnds } from './laws-of-ends.ts';
import { describeFacets } from './laws-of-facets.ts';
import { describeListing } from './laws-of-listing.ts';

const KEYS = [
  'a',
  'a-b',
  'a b/+%&=?#"<>\'c',
  'ä/ö',
  'a\u0308/o\u0308',
  'Case',
  'case',
  'deep/er/and/deeper',
  'emoji/😀',
  'emoji/\ufb01',
  `${'x'.repeat(255)}/${'y'.repeat(255)}`,
];
const WRONG_KEYS = [
  '',
  '/',
  'a/',
  '/a',
  'a//b',
  '.',
  '..',
  './a',
  'a/../b',
  'a/.',
  'a\0b',
  'a\u0001b',
  'half \ud800',
];

export function describeStore(name: string, open: Open, facets: Facets): void {
  describe(`the store ${name}`, () => {
    describeObjects(open, facets);
    describeConditions(open, facets);
    describeEnds(open, facets);
    describeListing(open);
    describeFacets(open, facets);
  });
}

function describeObjects(open: Open, facets: Facets): void {
  const holds = law(open);

  holds('what was put is what is read, byte by byte, of any size', async (store) => {
    for (const size of [0, 1, 4095, MIB + 1]) {
      const bytes = noise(size, size + 1);
      const stored = await put(store, `size-${size}`, bytes);
      expect(stored).toMatchObject({ size, sha256: sha256(bytes), isAtomic: true });
      expect((await read(store, `size-${size}`)).equals(bytes)).toBe(true);
      const head = await store.objects.head(`size-${size}`, calling());
      expect(head).toMatchObject({ key: `size-${size}`, size, version: stored.version });
      expect(head?.sha256).toBe(facets.digest ? sha256(bytes) : undefined);
    }
  });

  holds('large objects arrive whole, of known and of unknown size', async (store) => {
    const bytes = noise(17 * MIB + 12_345);
    const known = { size: bytes.length, sha256: sha256(bytes) };
    for (const announced of [known, {}]) {
      const stored = await put(store, 'large', bytes, announced);
      expect(stored).toMatchObject(known);
      expect((await read(store, 'large')).equals(bytes)).toBe(true);
      const part = await read(store, 'large', { offset: 8 * MIB - 3, length: 7 });
      expect(part).toEqual(bytes.subarray(8 * MIB - 3, 8 * MIB + 4));
    }
  });

  holds('a key means itself, whatever is in it', async (store) => {
    for (const key of KEYS) await put(store, key, `bytes of ${key}`);
    for (const key of KEYS) expect(await text(store, key)).toBe(`bytes of ${key}`);
    const inOrder = [...KEYS].sort((one, other) =>
      Buffer.compare(Buffer.from(one), Buffer.from(other)),
    );
    expect(await keys(store)).toEqual(inOrder);
  });

  test.each(WRONG_KEYS)('the key %j is refused before anybody is asked', async (key) => {
    await using store = await open();
    const refused = failing('invalid-path');
    await expect(store.objects.head(key, calling())).rejects.toEqual(refused);
    await expect(store.objects.get(key, calling())).rejects.toEqual(refused);
    await expect(put(store, key, 'x')).rejects.toEqual(refused);
    await expect(store.objects.remove(key, calling())).rejects.toEqual(refused);
    expect(await keys(store)).toEqual([]);
  });

  holds('a key of as many bytes as the limits say is taken, and none of more', async (store) => {
    const { keyBytesMax, partBytesMax } = store.limits;
    const parts = `${'ü'.repeat(100)}/`.repeat(Math.floor(keyBytesMax / 201));
    const long = parts + 'x'.repeat(keyBytesMax - Buffer.byteLength(parts));
    await put(store, long, 'long');
    expect(await text(store, long)).toBe('long');
    for (const key of [`${long}x`, 'x'.repeat(partBytesMax + 1), 'ü'.repeat(128)]) {
      await expect(put(store, key, 'x')).rejects.toEqual(failing('name-too-long'));
    }
  });

  holds('a part is what was asked for, cut at the end', async (store) => {
    const { version } = await put(store, 'ten', '0123456789');
    const part = async (offset: number, length?: number) =>
      (
        await read(store, 'ten', { offset, ...(length === undefined ? {} : { length }), version })
      ).toString();
    expect(await part(2, 3)).toBe('234');
    expect(await part(7)).toBe('789');
    expect(await part(8, 99)).toBe('89');
    expect(await part(0, 1)).toBe('0');
    expect(await part(4, 0)).toBe('');
    expect(await part(10)).toBe('');
    await expect(part(11)).rejects.toEqual(failing('offset-past-end'));
    const reading = await store.objects.get('ten', { ...calling(), offset: 3, length: 4 });
    expect(reading).toMatchObject({ offset: 3, length: 4, head: { size: 10, version } });
    expect((await bytesOf(reading)).toString()).toBe('3456');
  });

  holds('of an empty object every part is empty', async (store) => {
    await put(store, 'empty', '');
    expect(await read(store, 'empty', { offset: 0, length: 5 })).toEqual(Buffer.alloc(0));
    await expect(read(store, 'empty', { offset: 1 })).rejects.toEqual(failing('offset-past-end'));
  });

  holds('what is not there is undefined, not found, and absent', async (store) => {
    expect(await store.objects.head('none', calling())).toBeUndefined();
    await expect(read(store, 'none')).rejects.toEqual(failing('not-found'));
    await expect(read(store, 'none/at/all', { length: 0 })).rejects.toEqual(failing('not-found'));
    expect(await store.objects.remove('none', calling())).toMatchObject({ outcome: 'absent' });
  });

  holds('what was removed is gone, and can be put again', async (store) => {
    await put(store, 'dir/a', 'one');
    expect(await store.objects.remove('dir/a', calling())).toMatchObject({ outcome: 'removed' });
    expect(await store.objects.head('dir/a', calling())).toBeUndefined();
    expect(await keys(store)).toEqual([]);
    await put(store, 'dir/a', 'two', { over: 'absent' });
    expect(await text(store, 'dir/a')).toBe('two');
  });

  holds('a reading that nobody reads holds nothing back', async (store) => {
    await put(store, 'large', noise(2 * MIB));
    for (let times = 0; times < 50; times++) {
      await using reading = await store.objects.get('large', calling());
      if (times % 2 === 0) for await (const _ of reading.bytes) break;
    }
    await put(store, 'other', 'x');
    expect(await text(store, 'other')).toBe('x');
  });

  if (facets.nested) {
    holds('a key beside one that it begins', async (store) => {
      await put(store, 'a', 'file');
      await put(store, 'a/b', 'below');
      expect([await text(store, 'a'), await text(store, 'a/b')]).toEqual(['file', 'below']);
    });
  } else {
    holds(
      'a key below an object, or where keys begin, is refused, and nothing changes',
      async (store) => {
        await put(store, 'a', 'file');
        await put(store, 'd/b', 'below');
        await expect(put(store, 'a/b', 'x')).rejects.toEqual(failing('not-directory'));
        await expect(put(store, 'd', 'x')).rejects.toEqual(failing('is-directory'));
        expect([await text(store, 'a'), await text(store, 'd/b')]).toEqual(['file', 'below']);
        expect(await keys(store)).toEqual(['a', 'd/b']);
      },
    );
  }
}

function describeConditions(open: Open, facets: Facets): void {
  const holds = law(open);
  const other = 'another version' as ObjectVersion;

  holds('a put over nothing does not replace', async (store) => {
    await put(store, 'a', 'one', { over: 'absent' });
    await expect(put(store, 'a', 'two', { over: 'absent' })).rejects.toEqual(failing('exists'));
    expect(await text(store, 'a')).toBe('one');
  });

  holds('of many puts over nothing at once exactly one is made', async (store) => {
    await store.probe(calling());
    const outcomes = await Promise.allSettled(
      Array.from({ length: 16 }, (_, at) => put(store, 'race', `by ${at}`, { over: 'absent' })),
    );
    const made = outcomes.flatMap((outcome, at) => (outcome.status === 'fulfilled' ? [at] : []));
    expect(made).toHaveLength(1);
    expect(await text(store, 'race')).toBe(`by ${made[0]}`);
    for (const outcome of outcomes) {
      if (outcome.status === 'rejected') expect(outcome.reason).toEqual(failing('exists'));
    }
  });

  holds('a put over a version replaces that version only', async (store) => {
    const { version } = await put(store, 'a', 'one');
    const second = await put(store, 'a', 'two', { over: version });
    expect(second.version).not.toBe(version);
    expect(second.isAtomic).toBe(facets.putOver);
    const stale = put(store, 'a', 'three', { over: version });
    await expect(stale).rejects.toEqual(failing('version-conflict'));
    const gone = put(store, 'none', 'x', { over: version });
    await expect(gone).rejects.toEqual(failing('version-conflict'));
    expect(await text(store, 'a')).toBe('two');
    expect(await keys(store)).toEqual(['a']);
  });

  holds('a large put over nothing, or over a version, keeps its condition', async (store) => {
    const bytes = noise(9 * MIB);
    const { version } = await put(store, 'a', bytes, { over: 'absent' });
    await expect(put(store, 'a', bytes, { over: 'absent' })).rejects.toEqual(failing('exists'));
    await put(store, 'a', 'small', { over: version });
    await expect(put(store, 'a', bytes, { over: version })).rejects.toEqual(
      failing('version-conflict'),
    );
    expect(await text(store, 'a')).toBe('small');
  });

  holds('only the version asked for is read and removed', async (store) => {
    const { version } = await put(store, 'a', 'one');
    expect((await read(store, 'a', { version })).toString()).toBe('one');
    await put(store, 'a', 'two!');
    await expect(read(store, 'a', { version })).rejects.toEqual(failing('version-conflict'));
    await expect(read(store, 'a', { version: other, length: 0 })).rejects.toEqual(
      failing('version-conflict'),
    );
    const stale = store.objects.remove('a', { ...calling(), version });
    await expect(stale).rejects.toEqual(failing('version-conflict'));
    expect(await text(store, 'a')).toBe('two!');
    const now = await store.objects.head('a', calling());
    const removed = await store.objects.remove('a', {
      ...calling(),
      ...(now === undefined ? {} : { version: now.version }),
    });
    expect(removed).toEqual({ outcome: 'removed', isAtomic: facets.removeVersion });
  });

  holds('bytes that are not what was announced are not stored', async (store) => {
    await put(store, 'a', 'before');
    for (const large of [false, true]) {
      const bytes = large ? noise(9 * MIB) : Buffer.from('x');
      const size = bytes.length;
      for (const announced of [
        { size: size + 1 },
        { size: size - 1 },
        { sha256: sha256('other') },
      ]) {
        await expect(put(store, 'a', bytes, announced)).rejects.toEqual(failing('integrity'));
        await expect(put(store, 'b', bytes, announced)).rejects.toEqual(failing('integrity'));
      }
    }
    expect(await text(store, 'a')).toBe('before');
    expect(await keys(store)).toEqual(['a']);
  });
}
