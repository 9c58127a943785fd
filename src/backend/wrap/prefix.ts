/** A part of a store as a store of its own: all keys that begin with a prefix, without it. */
import { OpError } from '../../base/errors.ts';
import { isKey } from '../keys.ts';
import type { Listed, ListingFacet, ListOptions, ObjectsFacet, Store } from '../store.ts';
import { around } from './around.ts';

/**
 * @param prefix Ends with `/`: so no key of the part can leave it, or be a beginning of it.
 * @throws OpError configuration.
 */
export function prefixed(inner: Store, prefix: string): Store {
  if (!prefix.endsWith('/') || !isKey(prefix.slice(0, -1), inner.limits)) {
    const hint = 'a prefix is a path without . and .. that ends with /';
    throw new OpError('configuration', `open ${inner.place}`, { hint });
  }
  const { limits, listing, copying, leftovers } = inner;
  const prefixOf = (options: { readonly prefix?: string | undefined }) =>
    `${prefix}${options.prefix ?? ''}`;
  return around(inner, {
    place: `${inner.place}/${prefix}`,
    limits: { ...limits, keyBytesMax: limits.keyBytesMax - Buffer.byteLength(prefix) },
    objects: objectsBelow(inner.objects, prefix),
    ...(listing === undefined ? {} : { listing: listingBelow(listing, prefix) }),
    ...(copying === undefined
      ? {}
      : {
          copying: {
            copy: (from, to, options) => copying.copy(prefix + from, prefix + to, options),
          },
        }),
    ...(leftovers === undefined
      ? {}
      : {
          leftovers: {
            sweep: (options) => leftovers.sweep({ ...options, prefix: prefixOf(options) }),
          },
        }),
    probe: (options) => inner.probe({ ...options, prefix: prefixOf(options) }),
  });
}

function objectsBelow(inner: ObjectsFacet, prefix: string): ObjectsFacet {
  return {
    async head(key, options) {
      const head = await inner.head(prefix + key, options);
      return head === undefined ? undefined : { ...head, key };
    },
    async get(key, options) {
      const { head, offset, length, bytes, ...rest } = await inner.get(prefix + key, options);
      return { ...rest, head: { ...head, key }, offset, length, bytes };
    },
    put: async (key, bytes, options) => ({
      ...(await inner.put(prefix + key, bytes, options)),
      key,
    }),
    remove: (key, options) => inner.remove(prefix + key, options),
  };
}

const listingBelow = (inner: ListingFacet, prefix: string): ListingFacet => ({
  async *list(options: ListOptions): AsyncGenerator<Listed, void, undefined> {
    const { after } = options;
    const below = {
      ...options,
      prefix: `${prefix}${options.prefix ?? ''}`,
      ...(after === undefined ? {} : { after: prefix + after }),
    };
    for await (const item of inner.list(below)) {
      const key = item.key.slice(prefix.length);
      // The directory itself, where others keep an object for it.
      if (key !== '') yield { ...item, key };
    }
  },
});
