/** A store that is not believed: what is read whole, and what was put, is hashed here. */
import { createHash } from 'node:crypto';
import { OpError } from '../../base/errors.ts';
import type { ObjectReading, ObjectsFacet, PutOptions, Store, Stored } from '../store.ts';
import { around, reading } from './around.ts';

export interface Verifying {
  /** Reads all that was put once more; false when absent. */
  readonly readBack?: boolean | undefined;
}

/**
 * A reading of a whole object whose digest is noted ends with OpError integrity when it has another one: its
 * bytes are not to be used. Of parts nothing can be said.
 */
export function verified(inner: Store, { readBack = false }: Verifying = {}): Store {
  const { objects } = inner;
  return around(inner, {
    objects: {
      head: (key, options) => objects.head(key, options),
      remove: (key, options) => objects.remove(key, options),
      async get(key, options) {
        const got = await objects.get(key, options);
        const { sha256, size } = got.head;
        const isWhole = got.offset === 0 && got.length === size;
        if (sha256 === undefined || !isWhole) return got;
        return reading(got, hashed(got, sha256, `get ${key}`));
      },
      put: (key, bytes, options) => putVerified(objects, key, bytes, { ...options, readBack }),
    },
  });
}

async function* hashed(
  { bytes }: ObjectReading,
  sha256: string,
  op: string,
): AsyncGenerator<Uint8Array, void, undefined> {
  const hash = createHash('sha256');
  for await (const piece of bytes) {
    hash.update(piece);
    yield piece;
  }
  if (hash.digest('hex') !== sha256) throw mismatch(op);
}

async function putVerified(
  inner: ObjectsFacet,
  key: string,
  bytes: AsyncIterable<Uint8Array>,
  { readBack, ...options }: PutOptions & { readonly readBack: boolean },
): Promise<Stored> {
  const op = `put ${key}`;
  const hash = createHash('sha256');
  async function* through() {
    for await (const piece of bytes) {
      hash.update(piece);
      yield piece;
    }
  }
  const stored = await inner.put(key, through(), options);
  const sha256 = hash.digest('hex');
  const isRight = stored.sha256 === sha256 && (!readBack || (await isKept(inner, stored, options)));
  if (isRight) return stored;
  // Whoever has put another one since keeps it.
  const { version } = stored;
  await inner.remove(key, { signal: options.signal, version }).catch(() => {});
  throw mismatch(op);
}

async function isKept(
  inner: ObjectsFacet,
  { key, version, sha256 }: Stored,
  { signal, deadlineMs }: PutOptions,
): Promise<boolean> {
  const hash = createHash('sha256');
  await using held = await inner.get(key, { signal, deadlineMs, version });
  for await (const piece of held.bytes) hash.update(piece);
  return hash.digest('hex') === sha256;
}

const mismatch = (op: string): OpError =>
  new OpError('integrity', op, { hint: 'do not use the bytes; check the store' });
