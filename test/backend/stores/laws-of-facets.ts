/** What a store may have besides: what it notes beside objects, copies of its own, and what a probe says of it. */
import { expect } from 'vitest';
import { calling, keys, noise, put, read, sha256, text } from './fixture.ts';
import { type Facets, failing, law, MIB, type Open } from './law.ts';

export function describeFacets(open: Open, facets: Facets): void {
  const holds = law(open);

  holds('a probe finds what the store does, and leaves nothing', async (store) => {
    await put(store, 'a', 'one');
    const found = await store.probe(calling());
    expect(found).toMatchObject({ list: true, write: true, range: true, putAbsent: true });
    expect(found.copy).toBe(facets.copying);
    expect([found.putOver, found.removeVersion]).toEqual([facets.putOver, facets.removeVersion]);
    await store.probe({ ...calling(), prefix: 'below/' });
    expect(await keys(store)).toEqual(['a']);
  });

  holds('a facet is there, or it is not', async (store) => {
    expect(store.copying !== undefined).toBe(facets.copying);
    expect(store.leftovers !== undefined).toBe(facets.leftovers);
    expect(store.limits.metadataBytesMax > 0).toBe(facets.metadata);
  });

  if (facets.metadata) {
    holds('metadata comes back as it was given', async (store) => {
      const metadata = {
        plain: 'text',
        'un-usual': 'grün 😀',
        spaces: '  kept  ',
        encoded: '=?UTF-8?B?eA==?=',
        empty: '',
      };
      for (const bytes of ['small', noise(9 * MIB)]) {
        await put(store, 'a', bytes, { metadata, contentType: 'text/plain' });
        const head = await store.objects.head('a', calling());
        expect(head?.metadata).toEqual(metadata);
        expect(head?.contentType).toBe('text/plain');
      }
      await using reading = await store.objects.get('a', calling());
      expect(reading.head.metadata).toEqual(metadata);
    });

    holds('metadata that cannot be noted is refused', async (store) => {
      const noted = (metadata: Record<string, string>) => put(store, 'a', 'x', { metadata });
      await expect(noted({ Upper: 'x' })).rejects.toEqual(failing('invalid-argument'));
      await expect(noted({ 'kitfs-sha256': 'x' })).rejects.toEqual(failing('invalid-argument'));
      const typed = put(store, 'a', 'x', { contentType: 'text/plain\r\nx-other: y' });
      await expect(typed).rejects.toEqual(failing('invalid-argument'));
      const large = 'x'.repeat(store.limits.metadataBytesMax);
      await expect(noted({ large })).rejects.toEqual(failing('payload-too-large'));
      await noted({ a: large.slice(1) });
      expect((await store.objects.head('a', calling()))?.metadata).toEqual({ a: large.slice(1) });
    });
  } else {
    holds('metadata is refused where none is kept', async (store) => {
      const noted = put(store, 'a', 'x', { metadata: { a: 'b' } });
      await expect(noted).rejects.toEqual(failing('unsupported'));
      const typed = put(store, 'a', 'x', { contentType: 'text/plain' });
      await expect(typed).rejects.toEqual(failing('unsupported'));
    });
  }

  if (facets.copying) {
    holds('a copy has the bytes, and what was noted beside them', async (store) => {
      const bytes = noise(9 * MIB);
      const digest = sha256(bytes);
      await put(store, 'from ä', bytes, { metadata: { a: 'b' }, sha256: digest });
      const copied = await store.copying?.copy('from ä', 'to/b', calling());
      expect((await read(store, 'to/b')).equals(bytes)).toBe(true);
      expect(await store.objects.head('to/b', calling())).toMatchObject({
        size: bytes.length,
        version: copied?.version,
        metadata: { a: 'b' },
        sha256: digest,
      });
    });

    holds('a copy keeps its conditions', async (store) => {
      const { version } = await put(store, 'from', 'one');
      await put(store, 'to', 'there');
      const copy = (to: string, options: object) =>
        store.copying?.copy('from', to, { ...calling(), ...options });
      await expect(copy('to', { over: 'absent' })).rejects.toEqual(failing('exists'));
      await put(store, 'from', 'two!');
      await expect(copy('to', { version })).rejects.toEqual(failing('version-conflict'));
      expect(await text(store, 'to')).toBe('there');
      await copy('new', { over: 'absent' });
      expect(await text(store, 'new')).toBe('two!');
      const none = store.copying?.copy('none', 'to', calling());
      await expect(none).rejects.toEqual(failing('not-found'));
    });
  }
}
