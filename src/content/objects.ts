/**
 * What all calls on content share: an object's row and the place of its bytes, kept in step. No
 * policy: states and references are `ContentStore`'s.
 */
import { ftruncateSync } from 'node:fs';
import { assert } from '../base/assert.ts';
import type { ContentId } from '../base/ids.ts';
import type { ContentRow, Journal } from '../journal/journal.ts';
import type { BackingFiles, BackingPlace } from './backing.ts';
import { Copies } from './copies.ts';
import { writeAt } from './extents.ts';
import { attempt, cutShort } from './faults.ts';
import { proven } from './packed.ts';
import { ContentRows } from './rows.ts';

const EMPTY = Buffer.alloc(0);

/** The mark of bytes that are written on: what was fsynced of them is, and the rest is not. */
export const written = (stable: number): number => (stable === 0 ? 0 : 2);

export type GivenRow = Pick<ContentRow, 'place' | 'size'> & Partial<ContentRow>;

export class ContentObjects {
  readonly journal: Journal;
  readonly rows: ContentRows;
  readonly files: BackingFiles;
  /** Those the kernel may write whose bytes were fsynced, whatever their rows say. */
  readonly promised = new Set<ContentId>();
  readonly #afterSync: (action: () => void) => void;
  readonly copies = new Copies();

  constructor(
    journal: Journal,
    files: BackingFiles,
    afterSync: (action: () => void) => void = (action) => action(),
  ) {
    this.#afterSync = afterSync;
    this.journal = journal;
    this.rows = new ContentRows(journal);
    this.files = files;
  }

  /** With an empty backing file, unless that is in a slot or `made` already. */
  insert(given: GivenRow, file: 'new' | 'made' = 'new'): ContentId {
    assert(this.journal.inTransaction, 'content is made inside a transaction');
    const id = this.journal.commit(() => this.journal.contents.nextId());
    this.copies.noteMade(id);
    const { place, slot = null, size } = given;
    if (place !== 'packed' && slot === null && file === 'new') this.makeFile(id, place);
    this.rows.insert({
      id,
      size,
      state: given.state ?? 'open',
      place,
      refs: given.refs ?? 0,
      held: given.held ?? 0,
      cid: given.cid ?? null,
      profile: given.profile ?? null,
      released_s: given.released_s ?? null,
      // Packed bytes are as stable as the row itself.
      stable: given.stable ?? (place === 'packed' ? 1 : 0),
      slot,
    });
    return id;
  }

  makeFile(id: ContentId, place: BackingPlace): number {
    const fd = this.files.create(id, place);
    this.journal.commit((tx) => tx.onRollback(() => this.files.remove(id, place)));
    return fd;
  }

  writable(id: ContentId): ContentRow {
    assert(this.journal.inTransaction, 'content is written inside a transaction');
    const row = this.rows.get(id);
    assert(row.state === 'open', `content ${id} is open when written`);
    return row;
  }

  packed(row: ContentRow): Buffer {
    if (row.size === 0) return EMPTY;
    const bytes = this.journal.contents.bytes(row.id);
    if (bytes === undefined || bytes.length !== row.size) throw cutShort(row);
    return proven(row, bytes);
  }

  setPacked(row: ContentRow, bytes: Buffer): void {
    this.journal.commit(() => this.journal.contents.setBytes(row.id, bytes));
    if (bytes.length !== row.size) this.rows.update(row, { size: bytes.length });
  }

  /** The descriptor of the backing file, into which packed bytes move when there is none yet. */
  backing(row: ContentRow): number {
    if (row.place !== 'packed') return this.files.descriptor(row.id, row.place);
    const bytes = this.packed(row);
    const fd = this.makeFile(row.id, 'file');
    // What was fsynced leaves the journal only for a place that is as safe.
    const isPromised = this.promised.has(row.id);
    attempt('unpack', row, () => {
      writeAt({ fd, position: 0 }, bytes);
      if (isPromised) this.files.syncNow(row.id);
    });
    this.rows.update(row, { place: 'file', stable: isPromised ? 2 : 0 });
    this.journal.commit(() => this.journal.contents.deleteBytes(row.id));
    return fd;
  }

  /** The same, for bytes of another object. */
  insertCopy(given: GivenRow): ContentId {
    const id = this.insert(given);
    this.copies.add(id);
    return id;
  }

  /** The disk has the bytes, or had what was written on since. */
  setStable(row: ContentRow, stable: number): void {
    this.rows.update(row, { stable });
    this.copies.delete(row.id);
  }

  /**
   * Before the size of its file is set: ext4 brings the new size to the disk at once, whatever it has of the bytes
   * below (ext4_setattr, ext4_ext_truncate), and after a loss of power zeros in place of a copy would look whole. So
   * a copy that nobody fsynced is brought to the disk first, once; also by an fallocate(2) within the end, of which
   * the disk may not have heard. @throws OpError io, no-space.
   */
  secure(row: ContentRow): void {
    const { id, place, stable, size } = row;
    if (place !== 'file' || stable !== 0 || size === 0 || !this.copies.has(id)) return;
    this.files.syncNow(id);
    this.setStable(row, 2);
  }

  /** Cuts off what lies beyond the end, before the object becomes longer. @throws OpError io, no-space. */
  cutBeyond(row: ContentRow, fd: number): void {
    this.secure(row);
    ftruncateSync(fd, row.size);
  }

  /** Gives back to the disk what lies beyond the end, and is no part of the object. */
  trim(id: ContentId): void {
    const row = this.rows.find(id);
    if (row === undefined || row.place === 'packed') return;
    try {
      ftruncateSync(this.files.descriptor(id, row.place), row.size);
    } catch {
      // It only takes room; whoever lengthens the object cuts it off first.
    }
  }

  /** The backing file was written: its row follows only where it must. */
  changed(row: ContentRow, size: number): void {
    this.files.changed(row.id);
    const stable = written(row.stable);
    if (size !== row.size || row.stable !== stable) this.rows.update(row, { size, stable });
  }

  /** Removes the object and its blocks now, and its backing file once that is committed. */
  discard(id: ContentId): void {
    const row = this.rows.get(id);
    const { place } = row;
    this.rows.delete(id);
    this.copies.delete(id);
    if (place !== 'packed') this.afterCommit(row, () => this.files.remove(id, place));
  }

  /**
   * Takes bytes from where they lie once their row, which says so, is committed; when the bytes were fsynced
   * (`isPromised`), once the disk has it: a loss of power brings back the row from before.
   */
  afterCommit({ id, stable }: Readonly<ContentRow>, action: (isPromised: boolean) => void): void {
    const isPromised = stable !== 0 || this.promised.has(id);
    this.journal.commit((tx) =>
      tx.afterCommit(() => {
        this.promised.delete(id);
        if (isPromised) this.#afterSync(() => action(true));
        else action(false);
      }),
    );
  }

  /** The same of bytes whose place the row gives up: whatever the disk was promised, it has had time to take them. */
  afterSync(action: () => void): void {
    this.journal.commit((tx) => tx.afterCommit(() => this.#afterSync(action)));
  }
}
