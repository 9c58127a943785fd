/**
 * A store in memory, gone with its process, bounded. It is also the plainest reading of the contract:
 * where another store differs, that one has to say why.
 */
import { createHash } from 'node:crypto';
import type { Clock, Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import {
  MEMORY_STORE_BYTES_MAX,
  NAME_BYTES_MAX,
  STORE_KEY_BYTES_MAX,
  STORE_PIECE_BYTES,
} from '../base/limits.ts';
import type { CallOptions } from './call.ts';
import { Calls } from './calls.ts';
import type { Deadline } from './deadline.ts';
import { Incoming } from './incoming.ts';
import { compareKeys, demandKey, nameAtLevel } from './keys.ts';
import { demandNotes } from './metadata.ts';
import { sliceOf } from './slice.ts';
import type {
  Capabilities,
  Copied,
  CopyingFacet,
  CopyOptions,
  GetOptions,
  Listed,
  ListingFacet,
  ListOptions,
  ObjectHead,
  ObjectReading,
  ObjectsFacet,
  ObjectVersion,
  Over,
  ProbeOptions,
  PutOptions,
  Removed,
  RemoveOptions,
  Store,
  Stored,
  StoreLimits,
} from './store.ts';

export interface MemoryOptions {
  /** What it holds in all, bytes of objects; MEMORY_STORE_BYTES_MAX when absent. */
  readonly bytesMax?: number | undefined;
  readonly clock: Clock;
}

/** What an object costs besides its bytes: its row, so that empty ones are bounded too. */
const OBJECT_OVERHEAD_BYTES = 1024;

interface Held {
  readonly head: ObjectHead;
  readonly bytes: Buffer;
  readonly modified: Instant;
}

export const openMemory = (options: MemoryOptions): Store => new MemoryStore(options);

class MemoryStore implements Store, ObjectsFacet, ListingFacet, CopyingFacet {
  readonly kind = 'memory';
  readonly place = 'memory';
  readonly limits: StoreLimits;
  readonly objects = this;
  readonly listing = this;
  readonly copying = this;
  readonly #clock: Clock;
  readonly #calls: Calls;
  readonly #held = new Map<string, Held>();
  readonly #bytesMax: number;
  #bytesHeld = 0;
  #versions = 0;

  constructor({ bytesMax = MEMORY_STORE_BYTES_MAX, clock }: MemoryOptions) {
    this.#clock = clock;
    this.#bytesMax = bytesMax;
    this.limits = {
      keyBytesMax: STORE_KEY_BYTES_MAX,
      partBytesMax: NAME_BYTES_MAX,
      objectBytesMax: bytesMax,
      metadataBytesMax: 2048,
      keysPerRequestMax: Number.MAX_SAFE_INTEGER,
    };
    this.#calls = new Calls(clock, this.limits);
  }

  async head(key: string, options: CallOptions): Promise<ObjectHead | undefined> {
    using _ = this.#calls.ask(`head ${key}`, options, key);
    return this.#held.get(key)?.head;
  }

  async get(key: string, options: GetOptions): Promise<ObjectReading> {
    const op = `get ${key}`;
    const deadline = this.#calls.move(op, options, key);
    try {
      const { head, bytes } = this.#demand(key, options.version, op);
      const slice = sliceOf(head.size, options, op);
      return {
        head,
        ...slice,
        bytes: piecesOf(bytes.subarray(slice.offset, slice.offset + slice.length), deadline),
        [Symbol.asyncDispose]: async () => deadline[Symbol.dispose](),
      };
    } catch (error) {
      deadline[Symbol.dispose]();
      throw error;
    }
  }

  async put(key: string, bytes: AsyncIterable<Uint8Array>, options: PutOptions): Promise<Stored> {
    const op = `put ${key}`;
    const { over = 'any', contentType, metadata = {} } = options;
    demandNotes(options, this.limits, op);
    using deadline = this.#calls.move(op, options, key);
    this.#demandOver(key, over, op);
    // What waits in memory to be stored counts as well, and is let go of whatever becomes of it.
    const incoming = new Incoming(bytes, options, { bytesMax: this.#bytesMax, deadline });
    const pieces: Buffer[] = [];
    let waiting = 0;
    try {
      for await (const piece of incoming.pieces()) {
        this.#demandRoom(piece.length, op);
        this.#bytesHeld += piece.length;
        waiting += piece.length;
        pieces.push(Buffer.from(piece));
      }
      deadline.signal.throwIfAborted();
      const { size, sha256 } = incoming.measured();
      // Looked at again now: from here on nothing suspends.
      this.#demandOver(key, over, op);
      this.#bytesHeld -= waiting;
      waiting = 0;
      const version = this.#hold(key, Buffer.concat(pieces, size), op, {
        sha256,
        metadata,
        ...(contentType === undefined ? {} : { contentType }),
      });
      return { key, size, version, sha256, isAtomic: true };
    } finally {
      this.#bytesHeld -= waiting;
      await incoming.end();
    }
  }

  async remove(key: string, options: RemoveOptions): Promise<Removed> {
    const op = `remove ${key}`;
    using _ = this.#calls.ask(op, options, key);
    const held = this.#held.get(key);
    if (held === undefined) return { outcome: 'absent', isAtomic: true };
    if (options.version !== undefined && options.version !== held.head.version) {
      throw new OpError('version-conflict', op);
    }
    this.#held.delete(key);
    this.#bytesHeld -= costOf(held);
    return { outcome: 'removed', isAtomic: true };
  }

  async *list(options: ListOptions): AsyncGenerator<Listed, void, undefined> {
    const { prefix = '', after, oneLevel = false } = options;
    using deadline = this.#calls.move(`list ${prefix}`, options);
    const keys = [...this.#held.keys()].filter((key) => key.startsWith(prefix)).sort(compareKeys);
    let last = after;
    for (const key of keys) {
      deadline.signal.throwIfAborted();
      const name = oneLevel ? nameAtLevel(key, prefix) : key;
      const held = this.#held.get(key);
      if (held === undefined || (last !== undefined && compareKeys(name, last) <= 0)) continue;
      last = name;
      if (name !== key) yield { kind: 'prefix', key: name };
      else yield { kind: 'object', ...listedOf(held.head) };
    }
  }

  async copy(from: string, to: string, options: CopyOptions): Promise<Copied> {
    const op = `copy ${from} to ${to}`;
    using _ = this.#calls.ask(op, options, from);
    demandKey(to, this.limits, op);
    const source = this.#demand(from, options.version, op);
    this.#demandOver(to, options.over ?? 'any', op);
    const version = this.#hold(to, source.bytes, op, source.head);
    return { version, isAtomic: true };
  }

  async probe(options: ProbeOptions): Promise<Capabilities> {
    using _ = this.#calls.ask('probe memory', options);
    // What this file does is in this file: nothing to be found out.
    return {
      list: true,
      write: true,
      range: true,
      checksum: true,
      putAbsent: true,
      putOver: true,
      removeVersion: true,
      copy: true,
      copyAbsent: true,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#calls.close(this.place);
    this.#held.clear();
    this.#bytesHeld = 0;
  }

  /** In place of what was there. */
  #hold(
    key: string,
    bytes: Buffer,
    op: string,
    noted: Pick<ObjectHead, 'sha256' | 'contentType' | 'metadata'>,
  ): ObjectVersion {
    const before = this.#held.get(key);
    const free = before === undefined ? 0 : costOf(before);
    this.#demandRoom(bytes.length + OBJECT_OVERHEAD_BYTES - free, op);
    this.#versions += 1;
    const version = String(this.#versions) as ObjectVersion;
    const modified = this.#clock.now();
    const { contentType, metadata } = noted;
    const sha256 = noted.sha256 ?? createHash('sha256').update(bytes).digest('hex');
    const head = {
      key,
      size: bytes.length,
      version,
      modified,
      sha256,
      metadata: { ...metadata },
      ...(contentType === undefined ? {} : { contentType }),
    };
    const held = { head, bytes, modified };
    this.#held.set(key, held);
    this.#bytesHeld += costOf(held) - free;
    return version;
  }

  #demand(key: string, version: ObjectVersion | undefined, op: string): Held {
    const held = this.#held.get(key);
    if (held === undefined) throw new OpError('not-found', op, { details: { kind: 'object' } });
    if (version !== undefined && version !== held.head.version) {
      throw new OpError('version-conflict', op);
    }
    return held;
  }

  #demandOver(key: string, over: Over, op: string): void {
    if (over === 'any') return;
    const found = this.#held.get(key)?.head.version;
    if (over === 'absent') {
      if (found === undefined) return;
      throw new OpError('exists', op, { details: { kind: 'object' } });
    }
    if (found !== over) throw new OpError('version-conflict', op);
  }

  #demandRoom(bytes: number, op: string): void {
    if (this.#bytesHeld + bytes <= this.#bytesMax) return;
    const hint = `the store holds at most ${this.#bytesMax} bytes: remove something`;
    throw new OpError('quota-exceeded', op, { hint });
  }
}

const costOf = ({ bytes }: Held): number => bytes.length + OBJECT_OVERHEAD_BYTES;

const listedOf = ({ key, size, version, modified }: ObjectHead) => ({
  key,
  size,
  version,
  ...(modified === undefined ? {} : { modified }),
});

async function* piecesOf(
  bytes: Buffer,
  deadline: Deadline,
): AsyncGenerator<Uint8Array, void, undefined> {
  for (let at = 0; at < bytes.length; at += STORE_PIECE_BYTES) {
    deadline.signal.throwIfAborted();
    deadline.moved();
    // A copy: what the reader does to it is not done to the store.
    yield Buffer.from(bytes.subarray(at, at + STORE_PIECE_BYTES));
  }
  deadline.signal.throwIfAborted();
}
