/**
 * Content that the kernel reads and writes past us (passthrough): its bytes lie in a backing file
 * that was registered with the kernel, and what its row says of them is true only at rest.
 *
 * Invariants: while an object is direct its backing file is never exchanged, and nothing but `sense`
 * knows its size; it comes to rest only when nobody can write to the file any more; small bytes are
 * packed then if nobody else sees the file either, for its mapping must go on to show them.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  constants as fsConstants,
  openSync,
  rmSync,
  statfsSync,
  truncateSync,
} from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { assert } from '../base/assert.ts';
import { asOpError, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { PACKED_BYTES_MAX, SLOTS_PREPARED } from '../base/limits.ts';
import type { ContentRow } from '../journal/journal.ts';
import type { Sensed } from './backing.ts';
import { readAt, writeAt } from './extents.ts';
import { attempt, cutShort } from './faults.ts';
import { type ContentObjects, written } from './objects.ts';
import { syncPath } from './synced.ts';

/** In place of a slot's number: the object lies in a file of its own. */
const OWN_FILE = 0;

/** What making a file takes of the disk besides its bytes, at most. */
const ROOM_BESIDE_BYTES = 64 * 1024;
/** Rows read at once. */
const OPEN_PAGE_ROWS = 1024;

/** What a sealed object was, to be that again if nothing changed. */
export interface Sealing {
  readonly cid: Buffer;
  readonly profile: string;
}

/** An object lies in another file from now on, with the same bytes; the one before may change. */
export type Exchanged = (id: ContentId) => void;

export class DirectContent {
  readonly #objects: ContentObjects;
  readonly #followers = new Set<Exchanged>();
  readonly #direct = new Set<ContentId>();
  /** Those whose becoming so is not committed yet: nothing of them may change on the disk. */
  readonly #entering = new Set<ContentId>();

  constructor(objects: ContentObjects) {
    this.#objects = objects;
  }

  /**
   * Makes what the first files need, before anybody waits for it.
   * @returns an empty slot, to try what can be done with it. @throws OpError no-space, io;
   *   unsupported when the disk does not say who has a file open: nothing would come to rest.
   */
  prepare(): { readonly slot: number; readonly fd: number } {
    const { files } = this.#objects;
    files.slots.prepare(SLOTS_PREPARED);
    const slot = files.slots.sample;
    if (!files.tellsOpeners(slot)) {
      const hint = 'leases do not work here: see fs.leases-enable, proc_sys_fs(5)';
      throw new OpError('unsupported', 'prepare slots', { hint });
    }
    return { slot, fd: files.slots.descriptor(slot) };
  }

  /** Whether the disk has space for a slot with so many bytes, as far as can be known before. */
  hasRoom(bytes: number): boolean {
    const { bavail, bsize } = statfsSync(this.#objects.files.directoryOf('file'));
    return bavail * bsize >= bytes + ROOM_BESIDE_BYTES;
  }

  /** Whether the object's bytes may change behind our back. */
  has(id: ContentId): boolean {
    return this.#direct.has(id);
  }

  /** An open object without bytes and references. @throws OpError no-space, io. */
  create(): ContentId {
    const { files, journal } = this.#objects;
    const slot = files.slots.take();
    if (slot === undefined) {
      const own = this.#objects.insert({ place: 'file', size: 0 });
      this.enter(own);
      return own;
    }
    const id = this.#objects.insert({ place: 'file', size: 0, slot });
    files.setSlot(id, slot);
    journal.commit((tx) => tx.onRollback(() => files.remove(id, 'file')));
    files.slots.mark(slot, id);
    this.#note(id);
    return id;
  }

  /** A private open copy of packed bytes, without references. @throws OpError no-space, io. */
  unpack(id: ContentId): ContentId {
    const { files, rows } = this.#objects;
    const bytes = this.#objects.packed(rows.get(id));
    const copy = this.create();
    this.#objects.copies.add(copy);
    const fd = files.descriptor(copy, 'file');
    attempt('unpack', rows.get(copy), () => writeAt({ fd, position: 0 }, bytes));
    rows.update(rows.get(copy), { size: bytes.length });
    return copy;
  }

  /** An open object becomes direct where it lies. */
  enter(id: ContentId): void {
    const { rows } = this.#objects;
    const row = rows.get(id);
    assert(row.place === 'file' && row.state === 'open', `content ${id} is open in a file`);
    rows.update(row, { slot: OWN_FILE, stable: written(row.stable) });
    this.#enter(id);
  }

  #enter(id: ContentId): void {
    this.#note(id);
    this.#entering.add(id);
    this.#objects.journal.commit((tx) => {
      tx.afterCommit(() => this.#entering.delete(id));
      tx.onRollback(() => this.#entering.delete(id));
    });
  }

  /** Whether its bytes may change now, whatever becomes of the transaction. */
  isWritten(id: ContentId): boolean {
    return this.#direct.has(id) && !this.#entering.has(id);
  }

  /** As `recoverOpen` of the store. */
  recover(): ContentRow[] {
    const { journal, files } = this.#objects;
    const found: ContentRow[] = [];
    for (let after: ContentId | 0 = 0; ; ) {
      const page = journal.contents.open(after, OPEN_PAGE_ROWS);
      found.push(...page);
      const last = page.at(-1);
      if (last === undefined) break;
      if (last.id <= after) throw new OpError('journal-corrupt', 'find open content');
      after = last.id;
    }
    const slots = new Set<number>();
    for (const row of found) {
      const { id, slot } = row;
      this.#adopt(row);
      if (slot === null || slot === OWN_FILE) continue;
      slots.add(slot);
      files.setSlot(id, slot);
    }
    files.slots.recover(slots);
    files.reclaim((id) => {
      const row = this.#objects.rows.find(id);
      return row?.place === 'file' && (row.slot ?? OWN_FILE) === OWN_FILE;
    });
    return found;
  }

  /** After a start: it was being written when the daemon before was killed, and may go on being. */
  #adopt({ id, place, slot, stable }: Readonly<ContentRow>): void {
    if (slot !== null) this.#direct.add(id);
    // Of packed bytes no row says whether they were fsynced.
    if (stable !== 0 || place === 'packed') this.#objects.promised.add(id);
  }

  /** After a start: its file says whose it is, though a kill came between a commit and that. */
  claim(id: ContentId): void {
    const lent = this.slotOf(id);
    if (lent !== undefined) this.#objects.files.slots.mark(lent.slot, id);
  }

  /** Slots of nobody go. The rows that say so are on the disk, for they must outlive them. */
  removeStraySlots(): void {
    this.#objects.files.slots.removeStrays();
  }

  /** It is at rest again without having changed. */
  leave(id: ContentId): void {
    this.#direct.delete(id);
    this.#objects.journal.commit((tx) => {
      tx.onRollback(() => this.#direct.add(id));
      tx.afterCommit(() => this.#objects.promised.delete(id));
    });
  }

  /** Hands an open backing file to `use`, which keeps it open itself if it wants it longer. */
  lend<T>(id: ContentId, use: (fd: number) => T): T {
    const fd = openSync(this.#path(id), 'r');
    try {
      return use(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** The slot's number and descriptor for reading, which stays ours; undefined when in none. */
  slotOf(id: ContentId): { readonly slot: number; readonly fd: number } | undefined {
    const { slot } = this.#objects.rows.get(id);
    if (slot === null || slot === OWN_FILE) return undefined;
    return { slot, fd: this.#objects.files.slots.descriptor(slot) };
  }

  /** Tells of each slot that serves no content any more: its file is gone, or has a name. */
  whenSlotGone(tell: (slot: number) => void): void {
    this.#objects.files.slots.whenGone(tell);
  }

  /** Asks the disk; the object's size is that from now on. @throws OpError io, integrity. */
  sense(id: ContentId): Sensed {
    const row = this.#objects.rows.get(id);
    const sensed = this.#objects.files.sense(id);
    // In memory only: it is written with the next change of the row, at the latest at rest.
    row.size = sensed.size;
    return sensed;
  }

  /** The next read will be sensed, however soon it comes. @throws OpError io, integrity. */
  unread(id: ContentId): void {
    this.#objects.files.unread(id);
  }

  /**
   * The same of an object that was at rest, whose size is that of its row: the kernel must not see
   * what a rollback or a kill left beyond the end, nor take for the end where the disk lost the rest.
   * @throws OpError io, integrity.
   */
  senseAtRest(id: ContentId): Sensed {
    const row = this.#objects.rows.get(id);
    const { size } = row;
    const sensed = this.#objects.files.sense(id);
    if (sensed.size === size) return sensed;
    if (sensed.size < size) throw cutShort(row);
    attempt('trim', row, () => {
      // As `secure` of an object that is written.
      if (row.stable === 0) syncPath(this.#path(id));
      truncateSync(this.#path(id), size);
    });
    return this.sense(id);
  }

  /** Whether the disk has the backing file. */
  isThere(id: ContentId): boolean {
    return existsSync(this.#path(id));
  }

  /** Its backing file is lost: it is at rest, with so many bytes that nobody can read. */
  abandon(id: ContentId, size: number): void {
    const { rows, files, journal } = this.#objects;
    const row = rows.get(id);
    const { slot } = row;
    rows.update(row, { size, slot: null, stable: 0 });
    journal.commit((tx) => {
      this.#direct.delete(id);
      tx.onRollback(() => this.#direct.add(id));
      tx.afterCommit(() => {
        files.clearSlot(id);
        if (slot !== null && slot !== OWN_FILE) files.slots.retire(slot);
      });
    });
  }

  /** Who else has the backing file open, or mapped. */
  openers(id: ContentId): 'none' | 'readers' | 'writers' {
    return this.#objects.files.otherOpeners(id, 'file');
  }

  /**
   * Copies the bytes of an object aside, the first half of `setAside`.
   * @returns where they are. @throws OpError no-space, io.
   */
  copyAside(id: ContentId): number | undefined {
    const [slot, to] = this.#aside();
    if (slot === undefined) return undefined;
    try {
      copyFileSync(this.#path(id), to, fsConstants.COPYFILE_FICLONE);
      return slot;
    } catch (error) {
      this.dropAside(slot);
      throw asOpError(error, `copy content ${id}`);
    }
  }

  /** The same in a thread of the pool. */
  async copyAsideLater(id: ContentId): Promise<number | undefined> {
    const [slot, to] = this.#aside();
    if (slot === undefined) return undefined;
    try {
      await copyFile(this.#path(id), to, fsConstants.COPYFILE_FICLONE);
      return slot;
    } catch (error) {
      this.dropAside(slot);
      throw asOpError(error, `copy content ${id}`);
    }
  }

  dropAside(slot: number): void {
    this.#objects.files.slots.giveBack(slot);
  }

  /**
   * An object at rest that holds the bytes copied by `copyAside`, with the CID and the blocks of the
   * original, which may be opened again then. Nobody wants it but history, from `releasedS` on.
   * When that is rolled back the copy is the caller's again, to be dropped.
   */
  setAside(id: ContentId, slot: number, releasedS: number): ContentId {
    const { rows, files, journal } = this.#objects;
    const { size, state, cid, profile } = rows.get(id);
    const rest = state === 'sealed' ? state : 'frozen';
    const given = {
      place: 'file',
      size,
      state: rest,
      cid,
      profile,
      released_s: releasedS,
    } as const;
    const copy = this.#objects.insert(given, 'made');
    files.slots.mark(slot, copy);
    const path = files.name(copy, slot);
    journal.contents.copyBlocks(id, copy);
    journal.commit((tx) => {
      tx.onRollback(() => rmSync(path, { force: true }));
      tx.afterCommit(() => files.slots.retire(slot));
    });
    return copy;
  }

  /**
   * Bytes that somebody reads where they lie are to be written there, and the object is wanted as it
   * is: its file goes on as that of a new open object without references, which this answers, and
   * the object itself lies in the copy made by `copyAside`, which was in `slot`.
   *
   * Until this is committed both files hold the same bytes, so a kill may come between any two steps.
   * First the file gets a second name, in a slot that no row knows: the next start removes such. Then
   * the copy takes the object's name, in one step. Then the commit tells of the slot.
   * @throws OpError no-space, io.
   */
  part(id: ContentId, slot: number): ContentId {
    const { rows, files, journal } = this.#objects;
    const row = rows.get(id);
    assert(row.place === 'file' && row.slot === null, `content ${id} is at rest in a file`);
    files.slots.mark(slot, id);
    const lent = files.part(id, slot, row.stable !== 0);
    journal.commit((tx) => {
      tx.onRollback(() => files.rejoin(id, lent));
      tx.afterCommit(() => files.slots.retire(slot));
    });
    const given = { place: 'file', size: row.size, slot: lent } as const;
    const made = this.#objects.insert({ ...given, stable: written(row.stable) });
    files.setSlot(made, lent);
    journal.commit((tx) => {
      tx.onRollback(() => files.clearSlot(made));
      // Not before: by its name it is the other object's until then.
      tx.afterCommit(() => files.slots.mark(lent, made));
    });
    this.#enter(made);
    // Its file may hold what was fsynced until the disk has the commit that takes its place.
    if (row.stable !== 0) this.#objects.promised.add(made);
    journal.commit((tx) => tx.onRollback(() => this.#objects.promised.delete(made)));
    for (const exchanged of this.#followers) exchanged(id);
    return made;
  }

  /** Calls `exchanged` for each object that is parted from its file, until disposed. */
  follow(exchanged: Exchanged): Disposable {
    this.#followers.add(exchanged);
    return { [Symbol.dispose]: () => this.#followers.delete(exchanged) };
  }

  /**
   * What was written is taken over into the row, and small bytes are packed. The caller knows that
   * nobody can write any more, and freezes the object; with `isAlone` nobody
   * sees the file either.
   * @throws OpError no-space, io.
   */
  settle(id: ContentId, isAlone: boolean): void {
    const { rows } = this.#objects;
    const row = rows.get(id);
    const { size } = this.sense(id);
    // The disk has them already where they are: without room they stay there, and get a name.
    const hasRoom = !this.#objects.journal.isShortOfRoom;
    const isPacked = size <= PACKED_BYTES_MAX && isAlone && hasRoom;
    const lent = this.slotOf(id);
    if (isPacked) this.#pack(row, size);
    else if (lent !== undefined) this.#name(row, lent.slot, size);
    else rows.update(row, { size, slot: null, stable: written(row.stable) });
    this.#objects.journal.commit((tx) => {
      this.#direct.delete(id);
      tx.onRollback(() => this.#direct.add(id));
    });
  }

  #pack(row: ContentRow, size: number): void {
    const { rows, files, journal } = this.#objects;
    const { id } = row;
    const bytes = Buffer.allocUnsafe(size);
    const fd = this.slotOf(id)?.fd ?? files.descriptor(id, 'file');
    const got = attempt('pack', row, () => readAt({ fd, position: 0 }, bytes, 0, size));
    if (got < size) throw cutShort(row);
    journal.contents.setBytes(id, bytes);
    this.#objects.afterCommit(row, () => {
      this.#objects.copies.delete(id);
      files.vacate(id);
    });
    rows.update(row, { size, place: 'packed', slot: null, stable: 1 });
  }

  #name(row: ContentRow, slot: number, size: number): void {
    const { rows, files, journal } = this.#objects;
    const { id } = row;
    files.name(id, slot);
    rows.update(row, { size, slot: null, stable: written(row.stable) });
    journal.commit((tx) => {
      tx.onRollback(() => files.takeNameBack(id));
      tx.afterCommit(() => files.clearSlot(id));
    });
    this.#objects.afterCommit(row, (isPromised) => {
      if (isPromised) void files.retireNamed(id, slot);
      else files.slots.retire(slot);
    });
  }

  #path(id: ContentId): string {
    return this.#objects.files.path(id, 'file');
  }

  #note(id: ContentId): void {
    this.#direct.add(id);
    this.#objects.journal.commit((tx) => tx.onRollback(() => this.#direct.delete(id)));
  }

  #aside(): [slot: number | undefined, path: string] {
    const { slots } = this.#objects.files;
    const slot = slots.take();
    return [slot, slot === undefined ? '' : slots.path(slot)];
  }
}
