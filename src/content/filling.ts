/**
 * Bringing remote content here: the blocks of the bytes that somebody reads, and some ahead of who
 * reads on; when all are here the content is hashed as a whole, and sealed where it lies.
 *
 * Invariants: bytes are verified before they are written; what is whole and does not hash to its
 * CID is not here, and is fetched again; who reads ahead keeps nobody waiting, and fails in silence.
 *
 * Objects are numbered in the order of the tree they came with: who reads small files one after the
 * other, as whoever copies a tree does, reads them in that order.
 */
import { LRUCache } from 'lru-cache';
import { before } from '../base/before.ts';
import { asOpError, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import {
  FILE_AHEAD_BYTES_MAX,
  GATHERED_BYTES_MAX,
  READ_AHEAD_BYTES,
  REMOTE_REMEMBERED_MAX,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { turn } from '../base/turn.ts';
import type { ContentRow } from '../journal/journal.ts';
import type { BlockStore, StoredBlock } from './blocks.ts';
import { type CID, cidOfBytes } from './cid.ts';
import type { ContentStore } from './content.ts';
import { type BlockSource, Dag, type DagPart } from './dag.ts';
import type { BlockFetcher } from './fetch.ts';
import type { Sealer } from './seal.ts';

export interface FillingOptions {
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly fetcher: BlockFetcher;
  readonly sealer: Pick<Sealer, 'sealRemote'>;
  readonly log: Log;
  /** Aborts when the daemon stops. */
  readonly signal: AbortSignal;
}

/** A reader that passes over so many files still reads one after the other. */
const FILES_APART_MAX = 8;

/** Parts of a file that are brought before other work gets its turn. */
const PARTS_AT_ONCE = 64;

/** What is asked for together. */
interface Window {
  /** Parts of it that came. */
  came: number;
}

/** Bytes of an object. */
export interface Extent {
  readonly from: number;
  readonly to: number;
}

export class Filling {
  /** DAGs of which a part may be elsewhere: it is fetched when it is looked at. */
  readonly dag: Dag;
  readonly #options: FillingOptions;
  /** Where the last reading of an object ended. */
  readonly #ends = new LRUCache<ContentId, number>({ max: REMOTE_REMEMBERED_MAX });
  readonly #ahead = new Map<ContentId, Promise<void>>();
  /** Small objects that were read lately, or are about to be. */
  readonly #small = new LRUCache<ContentId, true>({ max: REMOTE_REMEMBERED_MAX });
  readonly #sealing = new Map<ContentId, Promise<void>>();

  constructor(options: FillingOptions) {
    this.#options = options;
    const { blocks, fetcher } = options;
    const source: BlockSource = {
      get: (cid, signal) => this.#here(cid) ?? fetcher.fetch(cid, signal),
      sizeOf: (cid) => blocks.sizeOf(cid),
    };
    this.dag = new Dag(source);
  }

  /**
   * Resolves when those bytes can be read, or the object is not remote any more. Many of them come
   * piece by piece, with the next one ahead: no more is held, and each has a time of its own.
   * @throws OpError content-missing, integrity with details {cid}; no-space, io; the signal's reason.
   */
  async bring(id: ContentId, { from, to }: Extent, signal: AbortSignal): Promise<void> {
    const row = this.#options.contents.row(id);
    if (row?.state !== 'remote') return;
    const { size } = row;
    if (size <= FILE_AHEAD_BYTES_MAX) this.#readOn(id);
    const end = Math.min(to, size);
    for (let at = from; at < end; at += READ_AHEAD_BYTES) {
      const extent = { from: at, to: Math.min(at + READ_AHEAD_BYTES, end) };
      const isReadOn = (this.#ends.get(id) ?? 0) === at;
      this.#ends.set(id, extent.to);
      if (isReadOn && extent.to < size) this.#readAhead(id, extent.to);
      await this.#fill(id, extent, signal);
    }
    this.#sealWhole(id);
  }

  /** Objects that were read from elsewhere lately, the latest last. */
  recent(): readonly ContentId[] {
    return [...this.#ends.keys()].reverse();
  }

  /** Whether anybody can be asked for what is not here. */
  get isOffered(): boolean {
    return this.#options.fetcher.isOffered;
  }

  /** As `dag`, of which the block store keeps what is read: not for the bytes of files. */
  keeping(): Dag {
    return this.gathering({ bytesMax: 0 }).dag;
  }

  /**
   * The same, what is fetched kept many blocks at a time: at the latest when there are `bytesMax` of them, or by
   * `keep`. Alone, nobody is asked.
   */
  gathering({ bytesMax = GATHERED_BYTES_MAX, isAlone = false } = {}): {
    readonly dag: Dag;
    keep(): void;
  } {
    const { blocks, fetcher } = this.#options;
    const gathered = new Map<string, StoredBlock>();
    let size = 0;
    const keep = () => {
      blocks.putAll(gathered.values());
      gathered.clear();
      size = 0;
    };
    const get = async (cid: CID, signal: AbortSignal) => {
      const key = cid.toString();
      const fetched = gathered.get(key);
      if (fetched !== undefined) return fetched.bytes;
      const known = isAlone ? blocks.get(cid) : this.#here(cid);
      if (known !== undefined) {
        blocks.hold(cid);
        return known;
      }
      if (isAlone) return undefined;
      const bytes = await fetcher.fetch(cid, signal);
      if (!gathered.has(key)) size += bytes.length;
      gathered.set(key, { cid, bytes });
      if (size >= bytesMax) keep();
      return bytes;
    };
    return { dag: new Dag({ get, sizeOf: (cid) => blocks.sizeOf(cid) }), keep };
  }

  /** Aborts when the daemon stops: for who waits without end. */
  get signal(): AbortSignal {
    return this.#options.signal;
  }

  /**
   * Resolves when an object that is all here is sealed, or found not to be what it should be.
   * @throws OpError content-missing when it is not all here; integrity; io; the signal's reason.
   */
  async sealed(id: ContentId, signal: AbortSignal): Promise<void> {
    this.#sealWhole(id);
    const sealing = this.#sealing.get(id);
    if (sealing !== undefined) await before(sealing, signal);
    const row = this.#options.contents.row(id);
    if (row?.state === 'remote') this.#options.contents.remote.demandWhole(row);
  }

  /** Resolves when nothing that was begun here goes on. */
  async settled(): Promise<void> {
    while (this.#ahead.size + this.#sealing.size > 0) {
      await Promise.all([...this.#ahead.values(), ...this.#sealing.values()]);
    }
  }

  async #fill(id: ContentId, extent: Extent, signal: AbortSignal): Promise<void> {
    const { contents, blocks, fetcher } = this.#options;
    const row = contents.row(id);
    if (row?.state !== 'remote' || row.cid === null) return;
    const onNode = async (cid: CID) => {
      if (!blocks.has(cid)) contents.remote.putNode(id, cid, await fetcher.fetch(cid, signal));
    };
    const file = { size: row.size, range: extent, onNode };
    const failures: unknown[] = [];
    const note = (error: unknown) => void failures.push(error);
    const window = { came: 0 };
    const coming: Promise<void>[] = [];
    let looked = 0;
    try {
      for await (const part of this.dag.parts(cidOfBytes(row.cid), file, signal)) {
        const isHere = contents.remote.has(id, part.position, part.position + part.size);
        if (!isHere) coming.push(this.#bringPart(id, part, window, signal).catch(note));
        looked += 1;
        if (looked % PARTS_AT_ONCE !== 0) continue;
        // Whoever made the file may have cut it into single bytes.
        await Promise.all(coming.splice(0));
        if (failures.length > 0) break;
        await turn();
      }
    } catch (error) {
      note(error);
    }
    // Nothing goes on behind the back of who is told of a failure.
    await Promise.all(coming);
    if (failures.length > 0) throw failures[0];
  }

  async #bringPart(
    id: ContentId,
    part: DagPart,
    window: Window,
    signal: AbortSignal,
  ): Promise<void> {
    const { contents } = this.#options;
    const { cid, position, size } = part;
    const known = part.bytes ?? (cid === undefined ? undefined : this.#here(cid));
    const bytes = known ?? (cid === undefined ? undefined : await this.#fetch(cid, window, signal));
    if (bytes?.length !== size) {
      throw new OpError('integrity', `read ${cid}`, {
        hint: 'its sizes do not add up; the content was made so',
        details: { cid: String(cid) },
      });
    }
    contents.remote.put(id, { cid, position, bytes });
    window.came += 1;
  }

  /** A block that is here; one that is damaged is not, if there is somebody to ask. @throws OpError. */
  #here(cid: CID): Uint8Array | undefined {
    const { blocks, fetcher, log } = this.#options;
    try {
      return blocks.get(cid);
    } catch (error) {
      const isDamaged = error instanceof OpError && error.failure === 'integrity';
      if (!isDamaged || !fetcher.isOffered) throw error;
      log.error({ error, cid: cid.toString() }, 'a block is damaged here: a node is asked for it');
      return undefined;
    }
  }

  /** As long as others of the window come in a block's time, it is slow and not lost. */
  async #fetch(cid: CID, window: Window, signal: AbortSignal): Promise<Uint8Array> {
    for (;;) {
      const { came } = window;
      try {
        return await this.#options.fetcher.fetch(cid, signal);
      } catch (error) {
        const isLate = error instanceof OpError && error.details['reason'] === 'timeout';
        if (!isLate || window.came === came) throw error;
      }
    }
  }

  /** Brings the next small files when this one comes after others that were read. */
  #readOn(id: ContentId): void {
    const isNext = Array.from({ length: FILES_APART_MAX }, (_, at) => id - 1 - at).some((before) =>
      this.#small.has(before as ContentId),
    );
    this.#small.set(id, true);
    if (!isNext) return;
    for (const next of this.#options.contents.remote.smallAfter(id)) {
      this.#small.set(next, true);
      this.#readAhead(next, 0);
    }
  }

  /** One run of it for each object; nobody waits for it. */
  #readAhead(id: ContentId, from: number): void {
    if (this.#ahead.has(id)) return;
    const extent = { from, to: from + READ_AHEAD_BYTES };
    const run = this.#fill(id, extent, this.#options.signal)
      .catch(() => {}) // Who reads there is told.
      .finally(() => {
        this.#ahead.delete(id);
        this.#sealWhole(id);
      });
    this.#ahead.set(id, run);
  }

  /** An object that somebody reads may be all here since a daemon before this one. */
  noticed(id: ContentId): void {
    this.#sealWhole(id);
  }

  /** In its own time: what was asked for is here. */
  #sealWhole(id: ContentId): void {
    const { contents } = this.#options;
    const row = contents.row(id);
    if (row === undefined || this.#sealing.has(id) || !contents.remote.isWhole(row)) return;
    this.#sealing.set(
      id,
      this.#seal(row).finally(() => this.#sealing.delete(id)),
    );
  }

  async #seal({ id, cid }: Readonly<ContentRow>): Promise<void> {
    const { sealer, contents, log, signal } = this.#options;
    try {
      if (await sealer.sealRemote(id, signal)) return;
      contents.remote.forget(id);
      const error = new OpError('integrity', `seal content ${id}`, {
        hint: 'what was fetched is damaged on this disk: it is fetched again',
        details: { cid: cid === null ? null : cidOfBytes(cid).toString() },
      });
      log.error({ error, content: id }, 'fetched content is not what its CID says');
    } catch (error) {
      if (signal.aborted) return;
      log.warn({ error: asOpError(error, 'seal content') }, 'fetched content is not sealed yet');
    }
  }
}
