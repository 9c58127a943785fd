/** A store around a store: what is not said to be otherwise is as it was. */
import type { ObjectReading, Store } from '../store.ts';

export function around(inner: Store, changed: Partial<Omit<Store, 'kind'>>): Store {
  const { kind, place, limits, objects, listing, copying, leftovers } = inner;
  return {
    kind,
    place,
    limits,
    objects,
    ...(listing === undefined ? {} : { listing }),
    ...(copying === undefined ? {} : { copying }),
    ...(leftovers === undefined ? {} : { leftovers }),
    probe: (options) => inner.probe(options),
    [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
    ...changed,
  };
}

/** The reading with other bytes in place of its own. */
export const reading = (inner: ObjectReading, bytes: AsyncIterable<Uint8Array>): ObjectReading => ({
  head: inner.head,
  offset: inner.offset,
  length: inner.length,
  bytes,
  [Symbol.asyncDispose]: () => inner[Symbol.asyncDispose](),
});
