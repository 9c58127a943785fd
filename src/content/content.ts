/**
 * Content objects: the bytes of files, each version of them in one object. Small ones lie packed in
 * the journal's own file; larger ones, and all of a tree in memory, in a backing file. All that has
 * to do with CIDs (`BlockStore`, `Sealer`, `Dag`, `Builder`) is an index over them.
 *
 * Invariants:
 * - open → frozen → sealed, and back to open only by `reopen`; only open objects are written.
 *   What is elsewhere is `remote`, until all of it is here and was hashed.
 * - A backing file is at least as long as its row says; bytes beyond that are no part of it.
 * - What is packed is rolled back with its transaction. Bytes of a backing file are not: who must
 *   be able to go back keeps the old object and writes to a `fork` of it.
 * - Everything here is synchronous but `fsync`, and every change happens inside a transaction.
 *
 * Calls that fail do so before they touch the journal, so that a full disk breaks no commit group
 * unless the caller makes the call inside a `commit` of its own.
 */
import { fdatasyncSync, ftruncateSync } from 'node:fs';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { CONTENTS_CACHED_MAX, COPY_BYTES_PER_CALL_MAX, PACKED_BYTES_MAX } from '../base/limits.ts';
import type { NativeFiles } from '../base/native.ts';
import { Recent } from '../base/recent.ts';
import type { ContentRow, Journal } from '../journal/journal.ts';
import {
  BackingFiles,
  type BackingOptions,
  type BackingPlace,
  SYNCED_AT_ONCE_MAX,
} from './backing.ts';
import { DirectContent, type Sealing } from './direct.ts';
import { type AllocateMode, allocateAt, copyAt, readAt, writeAt } from './extents.ts';
import { attempt, checkSize, cutShort } from './faults.ts';
import { Forks } from './forks.ts';
import { Holding } from './holding.ts';
import { Losses } from './losses.ts';
import { ContentObjects } from './objects.ts';
import { isProof, overwritten, resized, zeroed } from './packed.ts';
import { RemoteContent } from './remote.ts';
import { BEFORE_OUR_TIME, type Stamp } from './stamp.ts';

export { type Sensed, sectorsAt } from './backing.ts';
export { BlockStore, type StoredBlock } from './blocks.ts';
export { Builder, type Built, type TreeEntry } from './build.ts';
export { carOf, exportCar } from './car.ts';
export { blockKey, blockName, CID, cidOfBytes, parseCid, RAW_CODEC } from './cid.ts';
export type { CodecName } from './codecs.ts';
export { CODEC_NAMES, codecCode, codecName, decodeValue, encodeValue, linksIn } from './codecs.ts';
export { removeStrays } from './collect.ts';
export { type CompletePart, type Keep, takeComplete } from './complete.ts';
export { type BlockSource, Dag, type DagChild, type DagEntry, type DagLink } from './dag.ts';
export type { Sealing } from './direct.ts';
export { Doubt, type Verdict } from './doubt.ts';
export { filledRuns } from './extents.ts';
export { BlockFetcher, type BlockOrigin } from './fetch.ts';
export { Filling } from './filling.ts';
export { CONTENT_PROFILE, type Profile, rawCid } from './hash.ts';
export { HashPool } from './hasher.ts';
export type { Holding } from './holding.ts';
export { Sealer } from './seal.ts';

export interface ContentStoreOptions {
  readonly journal: Journal;
  readonly native: BackingOptions['native'] &
    Pick<NativeFiles, 'fallocate' | 'seek' | 'copyFileRange' | 'reflink'>;
  /** Where backing files lie; made when absent. */
  readonly directory: string;
  /** The same for objects of place `memory`: on tmpfs. */
  readonly memoryDirectory: string;
  readonly clock: Clock;
  /** Told of every freezing, perhaps of one that is rolled back: there may be work to seal. */
  readonly onFrozen?: (() => void) | undefined;
  /**
   * Runs an action once the disk has the journal as it is now; absent: at once. What is on stable
   * storage may be taken from its place only when the place it has instead is there too.
   */
  readonly afterSync?: ((action: () => void) => void) | undefined;
}

export class ContentStore {
  /** For content that the kernel writes past us. */
  readonly direct: DirectContent;
  /** For content of which the disk does not have what its row tells of. */
  readonly losses: Losses;
  /** For content that is elsewhere. */
  readonly remote: RemoteContent;
  /** Who stores blocks, and so keeps others from letting any go. */
  readonly holding = new Holding();
  readonly #objects: ContentObjects;
  readonly #native: ContentStoreOptions['native'];
  readonly #clock: Clock;
  readonly #onFrozen: () => void;
  readonly #forks: Forks;
  /** Forgotten ones count as frozen by somebody else: sealing is then tried again. */
  readonly #stamps = new Recent<ContentId, Stamp>(CONTENTS_CACHED_MAX, () => {
    this.#unknown = { ...BEFORE_OUR_TIME };
  });
  /** Of those that have none: another one when one was forgotten, which may be any of them. */
  #unknown = BEFORE_OUR_TIME;

  /** @throws OpError denied, no-space, io when the directories cannot be made. */
  constructor(options: ContentStoreOptions) {
    const { journal, native, directory, memoryDirectory, clock, onFrozen = () => {} } = options;
    this.#onFrozen = onFrozen;
    this.#native = native;
    this.#clock = clock;
    const files = new BackingFiles({ directory, memoryDirectory, native });
    this.#objects = new ContentObjects(journal, files, options.afterSync);
    this.direct = new DirectContent(this.#objects);
    this.losses = new Losses(this.#objects, (id) => this.#frozen(id));
    this.remote = new RemoteContent(this.#objects, (id) => this.freeze(id));
    this.#forks = new Forks(this.#objects, native);
  }

  /** An open object without bytes and references; `local` ones begin packed. */
  create(place: 'local' | 'memory'): ContentId {
    return this.#objects.insert({ place: place === 'local' ? 'packed' : 'memory', size: 0 });
  }

  /**
   * A sealed object of these bytes, held. `cid` is that of a file with these bytes, or null for a
   * block that is no file by itself.
   * @throws OpError no-space, io.
   */
  add(bytes: Buffer, known: Pick<ContentRow, 'cid' | 'profile'>): ContentId {
    const isPacked = bytes.length <= PACKED_BYTES_MAX;
    const { journal, files } = this.#objects;
    const row = { size: bytes.length, state: 'sealed', held: 1, ...known } as const;
    const id = this.#objects.insert({ place: isPacked ? 'packed' : 'file', ...row });
    if (isPacked) journal.commit(() => journal.contents.setBytes(id, bytes));
    else writeAt({ fd: files.descriptor(id, 'file'), position: 0 }, bytes);
    return id;
  }

  /** The live row, to be read only; undefined when there is no such object (any more). */
  row(id: ContentId): Readonly<ContentRow> | undefined {
    return this.#objects.rows.find(id);
  }

  size(id: ContentId): number {
    return this.#objects.rows.get(id).size;
  }

  /** The path of the backing file; undefined while the object is packed. */
  backingPath(id: ContentId): string | undefined {
    const { place } = this.#objects.rows.get(id);
    return place === 'packed' ? undefined : this.#objects.files.path(id, place);
  }

  /**
   * Bytes read into `into` from `offset`: fewer than `length` only at the end.
   * @throws OpError content-missing when they are elsewhere; integrity when the backing file is gone
   *   or too short; io.
   */
  read(id: ContentId, into: Buffer, offset: number, length: number, position: number): number {
    const row = this.#objects.rows.get(id);
    const count = Math.min(length, row.size - position);
    if (count <= 0) return 0;
    this.remote.demand(row, position, position + count);
    if (row.place === 'packed') {
      const bytes = this.#objects.packed(row);
      return bytes.copy(into, offset, position, position + count);
    }
    const fd = this.#objects.files.descriptor(id, row.place);
    const done = attempt('read', row, () => readAt({ fd, position }, into, offset, count));
    if (done < count) throw cutShort(row);
    return done;
  }

  /**
   * All bytes of a packed object whose CID has this multihash, hashed against it just now; undefined: `read` them,
   * and hash them.
   * @throws OpError integrity.
   */
  proven(id: ContentId, multihash: Uint8Array): Buffer | undefined {
    const row = this.#objects.rows.get(id);
    const isKnown = row.place === 'packed' && row.state === 'sealed' && isProof(row, multihash);
    return isKnown ? this.#objects.packed(row) : undefined;
  }

  /**
   * Writes all of `bytes` to an open object; a gap before them reads as zeros.
   * @throws OpError no-space, file-too-large, io; the size is then as before.
   */
  write(id: ContentId, bytes: Buffer, position: number): void {
    const row = this.#objects.writable(id);
    if (bytes.length === 0) return;
    const end = position + bytes.length;
    checkSize(row, end);
    if (row.place === 'packed' && end <= PACKED_BYTES_MAX) {
      const isWhole = position === 0 && end >= row.size;
      const next = isWhole ? bytes : overwritten(this.#objects.packed(row), bytes, position);
      this.#objects.setPacked(row, next);
      return;
    }
    const fd = this.#objects.backing(row);
    try {
      // A write that was rolled back, or that a kill cut off, may have left bytes beyond the end.
      if (position > row.size) this.#objects.cutBeyond(row, fd);
      writeAt({ fd, position }, bytes);
    } catch (error) {
      if (end > row.size) ftruncateSync(fd, row.size);
      throw asOpError(error, `write content ${id}`);
    }
    this.#objects.changed(row, Math.max(row.size, end));
  }

  /** Cuts, or lengthens with zeros. @throws OpError no-space, file-too-large, io. */
  truncate(id: ContentId, size: number): void {
    const row = this.#objects.writable(id);
    checkSize(row, size);
    if (size === row.size) return;
    if (row.place === 'packed' && size <= PACKED_BYTES_MAX) {
      this.#objects.setPacked(row, resized(this.#objects.packed(row), size));
      return;
    }
    const fd = this.#objects.backing(row);
    if (size > 0) this.#objects.secure(row);
    if (size < row.size && this.direct.isWritten(id)) {
      attempt('empty', row, () => ftruncateSync(fd, size));
    } else if (size < row.size) {
      // A kill or a rollback before the commit must not find the file shorter than its row.
      this.#objects.journal.commit((tx) => tx.afterCommit(() => this.#objects.trim(id)));
    } else {
      attempt('empty', row, () => {
        ftruncateSync(fd, row.size);
        ftruncateSync(fd, size);
      });
    }
    this.#objects.changed(row, size);
  }

  /** As fallocate(2). @throws OpError no-space, file-too-large, unsupported, io. */
  allocate(id: ContentId, mode: AllocateMode, position: number, length: number): void {
    const row = this.#objects.writable(id);
    const end = position + length;
    const isSizeKept = mode.keepSize || mode.punchHole;
    const size = isSizeKept ? row.size : Math.max(row.size, end);
    checkSize(row, end);
    const isZeroing = mode.punchHole || mode.zeroRange;
    if (row.place === 'packed' && size <= PACKED_BYTES_MAX) {
      // Space beyond the end needs no preparation here: there is none to be kept free.
      if (!isZeroing && size === row.size) return;
      const old = this.#objects.packed(row);
      this.#objects.setPacked(row, resized(isZeroing ? zeroed(old, position, end) : old, size));
      return;
    }
    const fd = this.#objects.backing(row);
    attempt('allocate', row, () => {
      if (!isSizeKept) this.#objects.secure(row);
      if (size > row.size) ftruncateSync(fd, row.size);
      allocateAt(this.#native, { fd, position }, length, { ...mode, keepSize: isSizeKept });
      if (size > row.size) ftruncateSync(fd, size);
    });
    this.#objects.changed(row, size);
  }

  /** SEEK_DATA or SEEK_HOLE; undefined when there is none at or behind `position`. */
  seek(id: ContentId, position: number, whence: 'data' | 'hole'): number | undefined {
    const row = this.#objects.rows.get(id);
    if (position >= row.size) return undefined;
    if (row.place === 'packed' || row.state === 'remote')
      return whence === 'data' ? position : row.size;
    const fd = this.#objects.files.descriptor(id, row.place);
    const found = attempt('seek', row, () => this.#native.seek(fd, position, whence));
    if (whence === 'hole') return Math.min(found ?? row.size, row.size);
    return found === undefined || found >= row.size ? undefined : found;
  }

  /**
   * Copies a range; the two must not overlap.
   * @returns bytes copied: fewer than `length` at the end of `from`, or when it was a lot.
   * @throws OpError invalid when they overlap; no-space, file-too-large, io.
   */
  copy(
    from: ContentId,
    fromPosition: number,
    to: ContentId,
    toPosition: number,
    length: number,
  ): number {
    const source = this.#objects.rows.get(from);
    this.remote.demandWhole(source);
    const target = this.#objects.writable(to);
    const count = Math.min(length, source.size - fromPosition, COPY_BYTES_PER_CALL_MAX);
    if (count <= 0) return 0;
    const end = toPosition + count;
    if (from === to && fromPosition < end && toPosition < fromPosition + count) {
      throw new OpError('invalid', `copy content ${from}`, { hint: 'the ranges overlap' });
    }
    checkSize(target, end);
    const staysPacked = target.place === 'packed' && end <= PACKED_BYTES_MAX;
    if (source.place === 'packed' || staysPacked) {
      const bytes = Buffer.allocUnsafe(count);
      this.read(from, bytes, 0, count, fromPosition);
      this.write(to, bytes, toPosition);
      return count;
    }
    const out = this.#objects.backing(target);
    const fd = this.#objects.files.descriptor(from, source.place);
    const done = attempt('copy', target, () => {
      if (toPosition > target.size) this.#objects.cutBeyond(target, out);
      const range = { fd: out, position: toPosition };
      return copyAt(this.#native, { fd, position: fromPosition }, range, count);
    });
    this.#objects.changed(target, Math.max(target.size, toPosition + done));
    if (done < count) throw cutShort(source);
    return done;
  }

  /**
   * A private open copy without references: by reflink where the disk can, else byte by byte.
   * @returns undefined when there is too much to copy; `reopen` is then the way to write.
   * @throws OpError content-missing, no-space, io.
   */
  fork(id: ContentId): ContentId | undefined {
    this.remote.demandWhole(this.#objects.rows.get(id));
    return this.#forks.fork(id);
  }

  /** Whether `fork` is likely to give a copy. */
  canFork(id: ContentId): boolean {
    return this.#forks.canFork(id);
  }

  /**
   * Makes an object that nobody else shows or holds writable again; its CID is forgotten. Committed
   * before the first byte changes, or a kill in between leaves a CID that is not true.
   */
  reopen(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    if (row.state === 'open') return;
    assert(row.state !== 'remote', `content ${id} is here when it is reopened`);
    assert(row.refs <= 1 && row.held === 0, `content ${id} is reopened by its only user`);
    this.#stamps.delete(id);
    if (this.losses.isTrusted(row)) {
      // The few who could not wait for `distrust`.
      const { walFd } = this.#objects.journal;
      this.#objects.journal.commit((tx) => tx.afterCommit(() => fdatasyncSync(walFd)));
    }
    // Its blocks go when it comes to rest, and are no places of them until then.
    this.#objects.rows.update(row, { state: 'open', cid: null, profile: null });
  }

  /** One inode more shows these bytes. */
  retain(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    this.#objects.rows.update(row, { refs: row.refs + 1 });
  }

  /**
   * One inode less, whose history wants the bytes; from the last one on nobody else does, until
   * `discard`. An object without bytes has nothing to go back to and goes at once; so does one in
   * memory, for room.
   */
  release(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    assert(row.refs > 0, `content ${id} is released as often as retained`);
    const refs = row.refs - 1;
    const isWorthless = row.size === 0 || row.place === 'memory';
    if (refs === 0 && isWorthless && row.held === 0) this.discard(id);
    else if (row.place === 'memory') this.#objects.rows.update(row, { refs });
    else this.#objects.rows.update(row, { refs, released_s: this.#clock.now().s });
  }

  /** The last writer is gone: the bytes may be hashed. */
  freeze(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    if (row.state !== 'open') return;
    const { contents } = this.#objects.journal;
    // Those of the bytes before, and the inner nodes of their DAG.
    contents.deleteBlocks(id);
    if (row.place !== 'packed') contents.deleteBytes(id);
    this.#objects.journal.commit((tx) =>
      tx.afterCommit(() => {
        if (row.place === 'packed') this.#objects.copies.delete(id);
        // What the kernel wrote may leave its slot in this transaction, which asks for this.
        if (!this.direct.has(id)) this.#objects.promised.delete(id);
      }),
    );
    this.#objects.rows.update(row, { state: 'frozen' });
    this.#frozen(id);
  }

  #frozen(id: ContentId): void {
    this.#stamps.set(id, { atMs: this.#clock.monotonicMs() });
    this.#onFrozen();
  }

  /** The block store keeps the bytes, whatever inodes do. */
  hold(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    if (row.held === 0) this.#objects.rows.update(row, { held: 1 });
  }

  unhold(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    if (row.held === 0) return;
    const released_s = row.refs === 0 ? this.#clock.now().s : row.released_s;
    this.#objects.rows.update(row, { held: 0, released_s });
  }

  /** Removes the object and its blocks now, and its backing file once that is committed. */
  discard(id: ContentId): void {
    this.#stamps.delete(id);
    this.#objects.discard(id);
  }

  /**
   * Brings backing files to stable storage, their names included, and marks those stable that
   * nobody wrote meanwhile. What is packed becomes stable with the WAL, which is the caller's.
   * @throws OpError io, no-space.
   */
  async fsync(ids: readonly ContentId[]): Promise<void> {
    for (let from = 0; from < ids.length; from += SYNCED_AT_ONCE_MAX) {
      await this.#fsyncSome(ids.slice(from, from + SYNCED_AT_ONCE_MAX));
    }
  }

  /** Some may have been packed or discarded while others were synced. */
  async #fsyncSome(ids: readonly ContentId[]): Promise<void> {
    const files = ids.filter((id) => {
      const row = this.#objects.rows.find(id);
      return row?.place === 'file' && row.state !== 'remote';
    });
    const settled = await this.#objects.files.sync(files);
    const rows = files.flatMap((id) => this.#objects.rows.find(id) ?? []);
    // More may be written to these; of what the kernel writes nobody knows that nothing was.
    for (const { id, state } of rows) if (state === 'open') this.#objects.promised.add(id);
    const isMarked = ({ id, slot }: ContentRow) => slot === null && settled.includes(id);
    const fresh = rows.flatMap((row) => {
      const stable = isMarked(row) ? 1 : row.state === 'open' ? 2 : row.stable;
      return row.place !== 'file' || row.stable === stable ? [] : [{ row, stable }];
    });
    if (fresh.length === 0) return;
    this.#objects.journal.commit(() => {
      for (const { row, stable } of fresh) this.#objects.setStable(row, stable);
    });
  }

  /**
   * A direct object at whose bytes nobody looked from the outside since it was sealed is that again.
   * @throws OpError io.
   */
  resume(id: ContentId, { cid, profile }: Sealing): void {
    const row = this.#objects.rows.get(id);
    assert(row.state === 'open', `content ${id} is sealed again from open`);
    const stable = this.#objects.promised.has(id) ? 1 : row.stable;
    this.#objects.rows.update(row, { state: 'sealed', cid, profile, slot: null, stable });
    this.direct.leave(id);
  }

  /** A direct object whose bytes nobody wants, not even to go back to. */
  drop(id: ContentId): void {
    this.direct.leave(id);
    this.discard(id);
  }

  /** After a start: the objects that were being written, which lie where their rows say. */
  recoverOpen(): ContentRow[] {
    return this.direct.recover();
  }

  /** Closes all descriptors; nothing may be under way. */
  close(): void {
    this.#objects.files.close();
  }

  /** When a frozen object was frozen; undefined when it is not frozen (any more). */
  stampOf(id: ContentId): Stamp | undefined {
    if (this.#objects.rows.find(id)?.state !== 'frozen') return undefined;
    return this.#stamps.get(id) ?? this.#unknown;
  }

  /** Gives a frozen object its CID. The caller has checked its stamp and stored its blocks. */
  seal(id: ContentId, cid: Buffer, profile: string): void {
    const row = this.#objects.rows.get(id);
    assert(row.state === 'frozen', `content ${id} is sealed from frozen`);
    this.#objects.rows.update(row, { state: 'sealed', cid, profile });
    this.#stamps.delete(id);
  }

  /** Where backing files lie, for the removal of strays. */
  directoryOf(place: BackingPlace): string {
    return this.#objects.files.directoryOf(place);
  }

  /** Removes the file of that name unless a row says that bytes lie in it; whether it did. */
  removeStray(id: ContentId, place: BackingPlace): boolean {
    // Between transactions rows and files agree, so nothing may suspend between look and removal.
    assert(!this.#objects.journal.inTransaction, 'strays are removed outside transactions');
    const row = this.#objects.rows.find(id);
    if (row?.place === place && !this.remote.isAway(row)) return false;
    this.#objects.files.remove(id, place);
    return true;
  }
}
