/** What the laws of stores are written with. */
import { createHash } from 'node:crypto';
import type {
  Listed,
  ObjectReading,
  ObjectVersion,
  PutOptions,
  Store,
  Stored,
} from '../../../src/backend/store.ts';
import { SystemClock } from '../../../src/base/clock.ts';
import { SystemRandom } from '../../../src/base/random.ts';

export const timing = () => ({ clock: new SystemClock(), random: new SystemRandom() });

/** Options of a call that nobody tells to end. */
export const calling = () => ({ signal: new AbortController().signal });

export const sha256 = (bytes: Uint8Array | string): string =>
  createHash('sha256').update(bytes).digest('hex');

/** Bytes that no compression and no shift leaves as they are; the same for the same seed. */
export function noise(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = seed;
  for (let at = 0; at < length; at++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    bytes[at] = state >>> 24;
  }
  return bytes;
}

/** In pieces of such a size. */
export async function* pieces(
  bytes: Uint8Array | string,
  size = 65_536,
): AsyncGenerator<Uint8Array, void, undefined> {
  const all = Buffer.from(bytes);
  for (let at = 0; at < all.length; at += size) yield all.subarray(at, at + size);
}

export const put = (
  store: Store,
  key: string,
  bytes: Uint8Array | string,
  options: Partial<PutOptions> = {},
): Promise<Stored> => store.objects.put(key, pieces(bytes), { ...calling(), ...options });

export async function bytesOf(reading: ObjectReading): Promise<Buffer> {
  await using held = reading;
  const got: Uint8Array[] = [];
  for await (const piece of held.bytes) got.push(piece);
  return Buffer.concat(got);
}

export const read = async (
  store: Store,
  key: string,
  options: { offset?: number; length?: number; version?: ObjectVersion } = {},
): Promise<Buffer> => bytesOf(await store.objects.get(key, { ...calling(), ...options }));

export const text = async (store: Store, key: string): Promise<string> =>
  (await read(store, key)).toString('utf8');

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

export function list(
  store: Store,
  options: { prefix?: string; after?: string; oneLevel?: boolean } = {},
): AsyncIterable<Listed> {
  if (store.listing === undefined) throw new Error('the store cannot list');
  return store.listing.list({ ...calling(), ...options });
}

export const keys = async (store: Store, options: Parameters<typeof list>[1] = {}) =>
  (await all(list(store, options))).map(({ key }) => key);
