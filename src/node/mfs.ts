/**
 * The mutable tree of the embedded engine: a root that the journal knows, over blocks that never change.
 * Nobody else's: what Kubo has is Kubo's.
 *
 * Invariants: changes are one at a time; the root is replaced in the transaction that tells of the
 * change, when all that it leads to is stored and held; a reader goes on with the root it began with.
 */
import type { CallOptions, MfsFacet, MfsLook } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { NODE_CALLS_WAITING_MAX } from '../base/limits.ts';
import { Turns } from '../base/turns.ts';
import {
  type BlockStore,
  type Builder,
  blockKey,
  type CID,
  type ContentStore,
  cidOfBytes,
  Dag,
  type StoredBlock,
} from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import { directoryOf, PLAIN_FORM } from './forms.ts';
import { MfsDraft } from './mfs-draft.ts';
import { MfsReader } from './mfs-reader.ts';

export interface MfsParts {
  readonly journal: Journal;
  readonly contents: Pick<ContentStore, 'fsync' | 'row'>;
  readonly blocks: BlockStore;
  readonly builder: Builder;
  readonly clock: Clock;
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
}

/** The tree before anybody wrote to it: it needs no block in the store. */
const EMPTY: StoredBlock = (() => {
  const made: StoredBlock[] = [];
  const sink = { put: (cid: CID, bytes: Uint8Array) => void made.push({ cid, bytes }) };
  const { cid } = directoryOf([], {}, PLAIN_FORM, sink);
  return { cid, bytes: made[0]?.bytes ?? new Uint8Array() };
})();

export class EmbeddedMfs implements MfsLook, Pick<MfsFacet, 'flush'> {
  readonly #parts: MfsParts;
  readonly #turns = new Turns({ atOnce: 1, waitingMax: NODE_CALLS_WAITING_MAX });
  readonly #dag: Dag;

  constructor(parts: MfsParts) {
    this.#parts = parts;
    const { blocks } = parts;
    const isEmpty = (cid: CID) => cid.equals(EMPTY.cid);
    this.#dag = new Dag({
      get: (cid) => (isEmpty(cid) ? EMPTY.bytes : blocks.get(cid)),
      sizeOf: (cid) => (isEmpty(cid) ? EMPTY.bytes.length : blocks.sizeOf(cid)),
    });
  }

  /** @throws OpError journal-corrupt: what the journal has is no CID. */
  get root(): CID {
    const text = this.#parts.journal.meta.get('mfs_root');
    return text === undefined ? EMPTY.cid : cidOfBytes(Buffer.from(text, 'hex'));
  }

  stat: MfsLook['stat'] = (path, options) => this.#reader.stat(path, options);
  ls: MfsLook['ls'] = (path, options) => this.#reader.ls(path, options);

  get #reader(): MfsReader {
    return new MfsReader(this.#dag, this.root);
  }

  /** Everything, whatever `path` is: all of it is one journal. @throws OpError not-found. */
  async flush(path: string, options: CallOptions): Promise<CID> {
    const { signal } = options;
    const there = await this.stat(path, options);
    if (there === undefined) throw new OpError('not-found', `flush ${path}`, { details: { path } });
    const { blocks, syncJournal } = this.#parts;
    if (there.cid.equals(EMPTY.cid)) blocks.put(EMPTY.cid, EMPTY.bytes);
    const below: CID[] = [];
    for await (const { cid, size } of this.#dag.walk(there.cid, signal)) {
      if (size !== undefined) below.push(cid);
    }
    await this.#sync(below);
    await syncJournal();
    return there.cid;
  }

  /**
   * One change at a time. `body` changes the draft, and writes it with `Draft.commit` in a transaction of
   * its own, or not at all.
   */
  async edit<T>(op: string, signal: AbortSignal, body: (draft: Draft) => Promise<T>): Promise<T> {
    return await this.#turns.run(op, signal, () =>
      body(new Draft(this.root, this.#parts, (cids) => this.#sync(cids))),
    );
  }

  /** Bytes of blocks to stable storage; what is packed goes with the journal. */
  async #sync(cids: readonly CID[]): Promise<void> {
    const { journal, contents } = this.#parts;
    const places = cids.map((cid) => journal.contents.lastingBlock(blockKey(cid))?.content);
    const ids = new Set(places.filter((id) => id !== undefined));
    await contents.fsync([...ids].filter((id) => contents.row(id)?.stable === 0));
  }
}

/** A change that may be written. */
class Draft extends MfsDraft {
  readonly #journal: Journal;
  readonly #sync: (cids: readonly CID[]) => Promise<void>;

  constructor(
    root: CID,
    { journal, ...parts }: MfsParts,
    sync: (cids: readonly CID[]) => Promise<void>,
  ) {
    super(root, parts, EMPTY);
    this.#journal = journal;
    this.#sync = sync;
  }

  /** Brings everything that the new root leads to into the store; with `flush` to the disk. */
  async prepare({ flush, signal }: { flush: boolean; signal: AbortSignal }): Promise<void> {
    const cids = await this.store(signal);
    if (flush) await this.#sync(cids);
  }

  /** Inside a transaction, after `prepare`. */
  commit(): void {
    const { root } = this;
    this.#journal.commit(() => this.#journal.meta.set('mfs_root', blockKey(root).toString('hex')));
  }
}
