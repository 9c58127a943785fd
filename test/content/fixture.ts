/** Content over a real journal, real files, real threads, in directories that go with the test. */
import { createCipheriv } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock, Instant } from '../../src/base/clock.ts';
import { SystemClock } from '../../src/base/clock.ts';
import type { OpError } from '../../src/base/errors.ts';
import type { ContentId } from '../../src/base/ids.ts';
import type { Log } from '../../src/base/log.ts';
import { loadNative } from '../../src/base/native.ts';
import {
  BlockStore,
  Builder,
  ContentStore,
  Dag,
  HashPool,
  Sealer,
} from '../../src/content/content.ts';
import { Journal } from '../../src/journal/journal.ts';

/** A log that remembers its messages. */
class Logbook implements Log {
  readonly messages: string[] = [];
  info(_fields: object, message: string): void {
    this.messages.push(message);
  }
  warn(_fields: object, message: string): void {
    this.messages.push(message);
  }
  error(_fields: object, message: string): void {
    this.messages.push(message);
  }
}

/** A clock that a test turns by hand. */
export class TurnedClock implements Clock {
  #ms = 1_000_000;
  readonly #sleepers = new Set<{ readonly untilMs: number; wake(): void }>();

  /** How many wait now. */
  get sleepers(): number {
    return this.#sleepers.size;
  }

  now(): Instant {
    return { s: Math.floor(this.#ms / 1000), ns: (this.#ms % 1000) * 1e6 };
  }

  monotonicMs(): number {
    return this.#ms;
  }

  turn(ms: number): void {
    this.#ms += ms;
    for (const sleeper of this.#sleepers) if (sleeper.untilMs <= this.#ms) sleeper.wake();
  }

  sleep(delayMs: number, signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (end: () => void) => () => {
        this.#sleepers.delete(sleeper);
        end();
      };
      const sleeper = { untilMs: this.#ms + delayMs, wake: settle(resolve) };
      this.#sleepers.add(sleeper);
      signal.addEventListener(
        'abort',
        settle(() => reject(signal.reason)),
        { once: true },
      );
    });
  }
}

export class Fixture {
  readonly directory = mkdtempSync(join(tmpdir(), 'kitfs-content-'));
  /** tmpfs, as the product has it. */
  readonly memoryDirectory = mkdtempSync('/dev/shm/kitfs-content-');
  readonly native = loadNative();
  readonly clock: Clock;
  readonly log = new Logbook();
  readonly hasher = new HashPool();
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly sealer: Sealer;
  readonly dag: Dag;
  readonly builder: Builder;
  readonly #stop = new AbortController();

  constructor(clock: Clock = new SystemClock(), afterSync?: (action: () => void) => void) {
    this.clock = clock;
    this.journal = new Journal({ path: join(this.directory, 'journal.db'), clock });
    const { journal, native, directory, memoryDirectory } = this;
    const contents = new ContentStore({
      journal,
      native,
      directory: join(directory, 'content'),
      memoryDirectory,
      clock,
      afterSync,
    });
    this.contents = contents;
    this.blocks = new BlockStore({ journal, contents });
    this.sealer = new Sealer({ journal, contents, hasher: this.hasher, clock, log: this.log });
    this.dag = new Dag(this.blocks);
    this.builder = new Builder({ journal, contents, blocks: this.blocks, sealer: this.sealer });
  }

  /** Aborts at `close`. */
  get signal(): AbortSignal {
    return this.#stop.signal;
  }

  async close(): Promise<void> {
    this.#stop.abort(new Error('the test is over'));
    await this.hasher.close();
    this.contents.close();
    this.journal.close();
    rmSync(this.directory, { recursive: true, force: true });
    rmSync(this.memoryDirectory, { recursive: true, force: true });
  }

  /** An open object with these bytes. */
  make(bytes: Uint8Array, place: 'local' | 'memory' = 'local'): ContentId {
    return this.journal.commit(() => {
      const id = this.contents.create(place);
      this.contents.write(id, Buffer.from(bytes), 0);
      return id;
    });
  }

  /** A file of the tree with these bytes that nobody writes. */
  makeFrozen(bytes: Uint8Array, place: 'local' | 'memory' = 'local'): ContentId {
    const id = this.make(bytes, place);
    this.journal.commit(() => {
      this.contents.retain(id);
      this.contents.freeze(id);
    });
    return id;
  }

  bytesOf(id: ContentId): Buffer {
    const bytes = Buffer.alloc(this.contents.size(id));
    const count = this.contents.read(id, bytes, 0, bytes.length, 0);
    return bytes.subarray(0, count);
  }

  /** Turns one byte over where the object lies. */
  flip(id: ContentId, position: number): void {
    const path = this.contents.backingPath(id);
    const bytes = path === undefined ? this.journal.contents.bytes(id) : readFileSync(path);
    if (bytes === undefined) throw new Error(`content ${id} has no bytes`);
    bytes[position] = (bytes[position] ?? 0) ^ 1;
    if (path !== undefined) writeFileSync(path, bytes);
    else this.journal.commit(() => this.journal.contents.setBytes(id, bytes));
  }
}

/** Bytes that do not repeat, the same for the same seed: a key stream of ChaCha20. */
export function noise(length: number, seed = 1): Buffer {
  const key = Buffer.alloc(32, seed);
  return createCipheriv('chacha20', key, Buffer.alloc(16, seed)).update(Buffer.alloc(length));
}

/** What a promise fails with. */
export async function failureOf(work: Promise<unknown>): Promise<OpError> {
  return (await work.then(
    () => new Error('it succeeded'),
    (error: unknown) => error,
  )) as OpError;
}
