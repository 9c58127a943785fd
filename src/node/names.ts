/**
 * The names of the embedded engine: each a key of its own, and the record that it last signed.
 * Nobody else is told: what is published here is published on this machine.
 *
 * Invariant: a record is written with a sequence greater than the one before, in the transaction
 * that tells of it.
 */
import type {
  CallOptions,
  NameFacet,
  NodeKey,
  Published,
  PublishOptions,
  Resolved,
  ResolveOptions,
} from '../backend/backend.ts';
import type { Clock, Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import type { Journal } from '../journal/journal.ts';
import { encodeRecord, type NameRecord, readRecord } from './ipns.ts';
import { type Key, type Keys, SELF } from './keys.ts';

/** Names followed in one resolution, as Kubo. */
const NAMES_FOLLOWED_MAX = 32;
const NS_PER_S = 1_000_000_000n;
const NS_PER_MS = 1_000_000n;

export interface NamesOptions {
  readonly journal: Journal;
  readonly keys: Keys;
  readonly clock: Clock;
}

export class EmbeddedNames implements NameFacet {
  readonly #journal: Journal;
  readonly #keys: Keys;
  readonly #clock: Clock;

  constructor({ journal, keys, clock }: NamesOptions) {
    this.#journal = journal;
    this.#keys = keys;
    this.#clock = clock;
  }

  keys(_options: CallOptions): Promise<readonly NodeKey[]> {
    return this.#keys.all();
  }

  generateKey(name: string, _options: CallOptions): Promise<NodeKey> {
    return this.#keys.generate(name);
  }

  /** Makes no record in the journal: that is for who knows why it is published. */
  async publish(path: string, options: PublishOptions): Promise<Published> {
    const write = await this.prepare(path, options);
    return this.#journal.commit(write);
  }

  /**
   * What writes the record, to be called inside a transaction.
   * @throws OpError as `publish`. That the path is there is for the caller to see to.
   */
  async prepare(path: string, options: PublishOptions): Promise<() => Published> {
    const op = `publish ${path}`;
    const { key: name = SELF, lifetimeS, ttlS, allowOffline = false } = options;
    if (ttlS > lifetimeS) {
      throw new OpError('invalid-argument', op, { hint: 'give a ttl of at most the lifetime' });
    }
    if (!allowOffline) {
      const hint = 'no network hears of it: say allow_offline to publish on this machine alone';
      throw new OpError('node-offline', op, { hint });
    }
    const key = name === SELF ? await this.#keys.self() : await this.#keys.find(name);
    if (key === undefined) {
      throw new OpError('not-found', `${op} under "${name}"`, {
        hint: 'make the key with create_key',
        details: { kind: 'key' },
      });
    }
    return () => this.#write(key, path, { lifetimeS, ttlS });
  }

  #write(
    key: Key,
    path: string,
    { lifetimeS, ttlS }: Pick<PublishOptions, 'lifetimeS' | 'ttlS'>,
  ): Published {
    const { s, ns } = this.#clock.now();
    const validUntil = { s: s + lifetimeS, ns };
    const sequence = (this.#recordOf(key)?.sequence ?? 0n) + 1n;
    const record = { path, sequence, validUntil, ttlNs: BigInt(ttlS) * NS_PER_S };
    const bytes = encodeRecord(record, (signed) => key.sign(signed));
    this.#journal.meta.set(placeOf(key), bytes.toString('base64'));
    return { name: key.id, path, validUntil, published: 'local', sequence: Number(sequence) };
  }

  async resolve(name: string, { recursive = true, signal }: ResolveOptions): Promise<Resolved> {
    let asked = name;
    let ttlMs = Number.POSITIVE_INFINITY;
    for (let step = 0; step < NAMES_FOLLOWED_MAX; step += 1) {
      signal.throwIfAborted();
      const { path, sequence, validUntil, ttlNs } = await this.#current(asked);
      ttlMs = Math.min(ttlMs, Number(ttlNs / NS_PER_MS));
      const [, next, rest] = /^\/ipns\/([^/]+)(\/.*)?$/s.exec(path) ?? [];
      const isEnd = next === undefined || !recursive || rest !== undefined;
      if (isEnd) return { path, from: 'local', sequence: Number(sequence), validUntil, ttlMs };
      asked = next;
    }
    throw new OpError('name-not-resolved', `resolve ${name}`, { hint: 'the names go in a circle' });
  }

  /** @throws OpError node-offline: no key of ours; name-not-resolved: nothing, or nothing valid. */
  async #current(name: string): Promise<NameRecord> {
    const op = `resolve ${name}`;
    const key = await this.#keyOf(name);
    if (key === undefined) {
      throw new OpError('node-offline', op, { hint: 'names of others need an online node' });
    }
    const record = this.#recordOf(key);
    if (record === undefined) throw new OpError('name-not-resolved', op);
    if (isBefore(this.#clock.now(), record.validUntil)) return record;
    throw new OpError('name-not-resolved', op, { hint: 'what was published is no longer valid' });
  }

  async #keyOf(name: string): Promise<Key | undefined> {
    const keys = await this.#keys.all();
    return keys.find((key) => key.name === name) ?? keys.find((key) => key.isNamed(name));
  }

  /** What is damaged is as if it was never published: it proves itself, or nothing does. */
  #recordOf(key: Key): NameRecord | undefined {
    const text = this.#journal.meta.get(placeOf(key));
    return text === undefined ? undefined : readRecord(key.ipnsName, Buffer.from(text, 'base64'));
  }
}

const placeOf = ({ id }: Key) => `ipns:${id}` as const;

const isBefore = (one: Instant, other: Instant): boolean =>
  one.s < other.s || (one.s === other.s && one.ns < other.ns);
