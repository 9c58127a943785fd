/**
 * Sealing: frozen content gets its CID, and its blocks get their places in it. In the background
 * for all that has been left alone for a moment; at once when somebody asks for a CID.
 *
 * Invariants: an object is sealed only if nobody opened it since its bytes were read (its stamp is
 * the same); work that fails stays frozen, is logged, and is tried again; no hashing here.
 */

import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import type { Clock } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import {
  BUSY_SAMPLE_MS,
  SEAL_BATCH_BYTES_MAX,
  SEAL_BATCH_OBJECTS_MAX,
  SEAL_BUSY_MS_MAX,
  SEAL_DELAY_MS,
  SEAL_OBJECTS_PER_COMMIT,
  SEAL_PAGE_OBJECTS_MAX,
  SEAL_RETRY_MS_MAX,
  SEAL_RETRY_MS_MIN,
  SEAL_ROWS_PER_COMMIT_MAX,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { turn } from '../base/turn.ts';
import type { ContentRow, Journal } from '../journal/journal.ts';
import { blockKey, type CID, cidOfBytes } from './cid.ts';
import type { ContentStore } from './content.ts';
import { CONTENT_PROFILE, type Hashed } from './hash.ts';
import type { HashItem, HashOutcome, HashPool } from './hasher.ts';
import type { Stamp } from './stamp.ts';

/** Objects whose failures are remembered; a forgotten one is only tried again earlier. */
const FAILURES_REMEMBERED_MAX = 4096;

export interface SealerOptions {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly hasher: Pick<HashPool, 'hash' | 'width'>;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether somebody else needs the machine more; absent: nobody ever does. */
  readonly isBusy?: (() => boolean) | undefined;
}

interface Work {
  readonly id: ContentId;
  readonly stamp: Stamp;
  readonly size: number;
}

interface Done extends Work {
  readonly hashed: Hashed;
}

interface Failed {
  readonly retryAtMs: number;
  readonly delayMs: number;
}

export class Sealer {
  readonly #journal: Journal;
  readonly #contents: ContentStore;
  readonly #hasher: SealerOptions['hasher'];
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #isBusy: () => boolean;
  readonly #failed = new LRUCache<ContentId, Failed>({ max: FAILURES_REMEMBERED_MAX });
  #isNotified = false;
  #wake: (() => void) | undefined;

  constructor(options: SealerOptions) {
    const { journal, contents, hasher, clock, log, isBusy = () => false } = options;
    this.#isBusy = isBusy;
    this.#journal = journal;
    this.#contents = contents;
    this.#hasher = hasher;
    this.#clock = clock;
    this.#log = log;
  }

  /** Something was frozen. */
  notify(): void {
    this.#isNotified = true;
    this.#wake?.();
  }

  /** Seals what is frozen, until the signal aborts; then resolves. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let waitMs: number | undefined = SEAL_RETRY_MS_MIN;
      try {
        waitMs = await this.#pass(signal);
      } catch (error) {
        if (signal.aborted) return;
        this.#log.error({ error: asOpError(error, 'seal content') }, 'sealing stopped for a while');
      }
      await this.#pause(waitMs, signal);
    }
  }

  /**
   * The CID of an object's bytes as they are now. A frozen object is sealed by it; of an open one
   * the caller must know that nobody wrote meanwhile.
   * @throws OpError content-missing, integrity, io; the signal's reason.
   */
  async seal(id: ContentId, signal: AbortSignal): Promise<CID> {
    const row = this.#contents.row(id);
    if (row === undefined) throw new OpError('content-missing', `seal content ${id}`);
    const isKnown = row.state === 'sealed' || row.state === 'remote';
    if (isKnown && row.cid !== null) return cidOfBytes(row.cid);
    const stamp = this.#contents.stampOf(id);
    const hashed = await this.#hash(row, signal);
    if (stamp !== undefined) await this.#store([{ id, stamp, size: row.size, hashed }], signal);
    return cidOfBytes(hashed.cid);
  }

  /**
   * Seals what is frozen of some objects, with few transactions and few calls of the threads. One that
   * could not be is left as it is: `seal` says why.
   * @throws the signal's reason.
   */
  async sealTogether(ids: readonly ContentId[], signal: AbortSignal): Promise<void> {
    const works = ids.flatMap((id): Work[] => {
      const row = this.#contents.row(id);
      const stamp = this.#contents.stampOf(id);
      if (row?.state !== 'frozen' || stamp === undefined) return [];
      return [{ id, stamp, size: row.size }];
    });
    const limit = pLimit(this.#hasher.width);
    await Promise.all(batchesOf(works).map((batch) => limit(() => this.#sealBatch(batch, signal))));
  }

  /**
   * Hashes remote content that is all here, and seals it if it is what its CID says; content that
   * somebody cut in a way of his own has another CID from then on, that of the same bytes. The disk
   * has them first: from then on nobody fetches them again.
   * @returns false: it is not. @throws OpError integrity, io, no-space; the signal's reason.
   */
  async sealRemote(id: ContentId, signal: AbortSignal): Promise<boolean> {
    const row = this.#contents.row(id);
    if (row === undefined || !this.#contents.remote.isWhole(row)) return true;
    const { cid, profile } = row;
    const hashed = await this.#hash(row, signal);
    if (profile === CONTENT_PROFILE && cid?.equals(hashed.cid) !== true) return false;
    if (row.place === 'file') await this.#contents.losses.sync(id);
    const isStill = this.#contents.row(id) === row && this.#contents.remote.isWhole(row);
    if (!isStill) return true;
    this.#journal.commit(() => {
      this.#contents.remote.freeze(id);
      this.#storeRest({ id, hashed }, 0);
    });
    return true;
  }

  /**
   * Reads a sealed object again: whether its bytes still are those of its CID.
   * @throws OpError io; the signal's reason.
   */
  async verify(id: ContentId, signal: AbortSignal): Promise<boolean> {
    const row = this.#contents.row(id);
    if (row === undefined || row.profile !== CONTENT_PROFILE) return true;
    const { cid } = row;
    try {
      const hashed = await this.#hash(row, signal);
      return cid?.equals(hashed.cid) ?? true;
    } catch (error) {
      if (error instanceof OpError && error.failure === 'integrity') return false;
      throw error;
    }
  }

  async #hash(row: Readonly<ContentRow>, signal: AbortSignal): Promise<Hashed> {
    for (;;) {
      const exchanged = new Set<ContentId>();
      using _ = this.#contents.direct.follow((id) => exchanged.add(id));
      const [outcome] = await this.#hasher.hash([this.#itemOf(row)], signal);
      // The file that was read may have changed: the bytes lie in another one.
      if (exchanged.has(row.id)) continue;
      if (outcome === undefined) throw new OpError('io', `hash content ${row.id}`);
      if (outcome instanceof OpError) throw outcome;
      return outcome;
    }
  }

  /** One look at all that is frozen. Returns in how many milliseconds to look again, if at all. */
  async #pass(signal: AbortSignal): Promise<number | undefined> {
    const limit = pLimit(this.#hasher.width);
    let againMs: number | undefined;
    let after: ContentId | 0 = 0;
    while (!signal.aborted) {
      await this.#giveWay(signal);
      const rows = this.#journal.contents.frozen(after, SEAL_PAGE_OBJECTS_MAX);
      const last = rows.at(-1);
      // In a damaged file a page may lead back to itself.
      if (last === undefined || last.id <= after) break;
      after = last.id;
      const due: Work[] = [];
      for (const { id, size } of rows) {
        const stamp = this.#contents.stampOf(id);
        if (stamp === undefined) continue;
        const waitMs = this.#dueMs(id, stamp) - this.#clock.monotonicMs();
        if (waitMs <= 0) due.push({ id, stamp, size });
        else againMs = Math.min(againMs ?? waitMs, waitMs);
      }
      const batches = batchesOf(due).map((batch) => limit(() => this.#sealBatch(batch, signal)));
      const failures = (await Promise.all(batches)).reduce((sum, count) => sum + count, 0);
      if (failures > 0) againMs = Math.min(againMs ?? SEAL_RETRY_MS_MIN, SEAL_RETRY_MS_MIN);
    }
    return againMs;
  }

  /** Waits while others are busy, for a while. */
  async #giveWay(signal: AbortSignal): Promise<void> {
    const endMs = this.#clock.monotonicMs() + SEAL_BUSY_MS_MAX;
    while (this.#isBusy() && this.#clock.monotonicMs() < endMs) {
      await this.#clock.sleep(BUSY_SAMPLE_MS, signal);
    }
  }

  #dueMs(id: ContentId, stamp: Stamp): number {
    const frozenMs = stamp.atMs === 0 ? 0 : stamp.atMs + SEAL_DELAY_MS;
    return Math.max(frozenMs, this.#failed.get(id)?.retryAtMs ?? 0);
  }

  /** Returns how many objects could not be sealed. */
  async #sealBatch(batch: readonly Work[], signal: AbortSignal): Promise<number> {
    // The one before has just been stored.
    await turn();
    const works = batch.filter((work) => this.#isStill(work));
    const exchanged = new Set<ContentId>();
    using _ = this.#contents.direct.follow((id) => exchanged.add(id));
    const outcomes = await this.#outcomes(works, signal);
    const failed = new Map<Work, unknown>();
    const done: Done[] = [];
    // What lies in another file since is read again.
    let failures = 0;
    for (const [index, work] of works.entries()) {
      if (exchanged.has(work.id)) {
        failures += 1;
        continue;
      }
      const outcome = outcomes[index] ?? lost();
      if (outcome instanceof OpError) failed.set(work, outcome);
      else done.push({ ...work, hashed: outcome });
    }
    try {
      await this.#store(done, signal);
      for (const { id } of done) this.#failed.delete(id);
    } catch (error) {
      signal.throwIfAborted();
      for (const work of done) failed.set(work, error);
    }
    for (const [{ id }, error] of failed) {
      // Gone or opened again while it was read: there is nothing to be sealed any more.
      if (this.#contents.stampOf(id) === undefined) continue;
      failures += 1;
      this.#retryLater(id, error);
    }
    return failures;
  }

  /** As the hasher's, but a failure of the whole batch is one of each. */
  async #outcomes(works: readonly Work[], signal: AbortSignal): Promise<HashOutcome[]> {
    const failures = new Map<number, OpError>();
    const items: HashItem[] = [];
    for (const [index, { id }] of works.entries()) {
      const row = this.#contents.row(id);
      if (row === undefined) continue;
      try {
        items.push(this.#itemOf(row));
      } catch (error) {
        failures.set(index, asOpError(error, `read content ${id}`));
      }
    }
    if (items.length === 0) return works.map((_, index) => failures.get(index) ?? lost());
    const outcomes = await this.#hasher.hash(items, signal).catch((error: unknown) => {
      signal.throwIfAborted();
      return items.map(() => asOpError(error, 'hash content'));
    });
    let next = 0;
    return works.map((_, index) => failures.get(index) ?? outcomes[next++] ?? lost());
  }

  #itemOf({ id, size }: Readonly<ContentRow>): HashItem {
    const path = this.#contents.backingPath(id);
    if (path !== undefined) return { path, size };
    const bytes = Buffer.alloc(size);
    this.#contents.read(id, bytes, 0, size, 0);
    return { bytes };
  }

  /**
   * Stores blocks, then CIDs, of those that nobody opened since, some together: each row dirties a page of
   * its own, and programs wait while a transaction writes its pages.
   */
  async #store(done: readonly Done[], signal: AbortSignal): Promise<void> {
    for (let at = 0; at < done.length; at += SEAL_OBJECTS_PER_COMMIT) {
      if (at > 0) await turn();
      const some = done.slice(at, at + SEAL_OBJECTS_PER_COMMIT);
      for (const one of some) await this.#storeAhead(one, signal);
      this.#journal.commit(() => {
        for (const one of some) if (this.#isStill(one)) this.#storeRest(one);
      });
    }
  }

  /**
   * Most of the blocks of a huge file, a slice at a time. Places in an object that is not sealed
   * yet are true already; `reopen` takes them away.
   */
  async #storeAhead(done: Done, signal: AbortSignal): Promise<void> {
    const { id, hashed } = done;
    const end = behindAhead(hashed);
    for (let from = 0; from < end; from += SEAL_ROWS_PER_COMMIT_MAX) {
      if (!this.#isStill(done)) return;
      const slice = hashed.leaves.slice(from, from + SEAL_ROWS_PER_COMMIT_MAX);
      this.#journal.commit(() => insertLeaves(this.#journal, id, slice));
      await turn();
      signal.throwIfAborted();
    }
  }

  #storeRest({ id, hashed }: Pick<Done, 'id' | 'hashed'>, from = behindAhead(hashed)): void {
    const { contents } = this.#journal;
    const { leaves, nodes } = hashed;
    insertLeaves(this.#journal, id, leaves.slice(from));
    let position = -1;
    for (const { cid, bytes } of nodes) {
      const key = blockKey(cidOfBytes(cid));
      contents.insertBlock({ cid: key, content: id, position, size: bytes.length });
      position -= bytes.length;
    }
    if (nodes.length > 0) contents.setBytes(id, Buffer.concat(nodes.map(({ bytes }) => bytes)));
    this.#contents.seal(id, Buffer.from(hashed.cid), CONTENT_PROFILE);
  }

  #isStill({ id, stamp }: Work): boolean {
    return this.#contents.stampOf(id) === stamp;
  }

  #retryLater(id: ContentId, error: unknown): void {
    const before = this.#failed.get(id)?.delayMs ?? SEAL_RETRY_MS_MIN / 2;
    const delayMs = Math.min(before * 2, SEAL_RETRY_MS_MAX);
    this.#failed.set(id, { delayMs, retryAtMs: this.#clock.monotonicMs() + delayMs });
    const fields = { content: id, retryMs: delayMs, error: asOpError(error, 'seal content') };
    this.#log.warn(fields, 'content could not be sealed yet');
  }

  /** Until something is frozen and has had its time, or `waitMs` have passed, or the end. */
  async #pause(waitMs: number | undefined, signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const either = AbortSignal.any([signal, ended.signal]);
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
      either.addEventListener('abort', () => resolve(), { once: true });
      if (this.#isNotified) resolve();
    });
    const slept = waitMs === undefined ? woken : this.#clock.sleep(waitMs, either);
    try {
      await Promise.race([woken, slept.catch(() => undefined)]);
      // Whoever wakes us has just frozen something; more of the same is likely to follow.
      if (this.#isNotified) await this.#clock.sleep(SEAL_DELAY_MS, signal).catch(() => undefined);
    } finally {
      this.#wake = undefined;
      this.#isNotified = false;
      ended.abort();
    }
  }
}

function insertLeaves(journal: Journal, id: ContentId, leaves: Hashed['leaves']): void {
  for (const { cid, position, size } of leaves) {
    const key = blockKey(cidOfBytes(cid));
    journal.contents.insertBlock({ cid: key, content: id, position, size });
  }
}

/** How many leaves are stored before the last transaction, in whole slices. */
const behindAhead = ({ leaves }: Hashed): number =>
  Math.floor(Math.max(0, leaves.length - 1) / SEAL_ROWS_PER_COMMIT_MAX) * SEAL_ROWS_PER_COMMIT_MAX;

const lost = () => new OpError('io', 'hash content', { hint: 'the hashing thread gave no answer' });

/** In the order given: small ones together, a large one alone. */
function batchesOf(works: readonly Work[]): Work[][] {
  const batches: Work[][] = [];
  let bytes = 0;
  for (const work of works) {
    const last = batches.at(-1);
    bytes += work.size;
    const isFull = last?.length === SEAL_BATCH_OBJECTS_MAX || bytes > SEAL_BATCH_BYTES_MAX;
    if (last === undefined || isFull) {
      batches.push([work]);
      bytes = work.size;
    } else {
      last.push(work);
    }
  }
  return batches;
}
