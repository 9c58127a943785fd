/**
 * Backing files: content too large to be packed, one file per object, at
 * `<directory>/<id % 256 in hex>/<id>`, so that no directory grows without bound; or, while it is
 * written by others, in a slot.
 *
 * Invariants: at most BACKING_FILES_OPEN_MAX idle descriptors stay open; one that an asynchronous
 * call uses is not closed before it ends. Names are never reused for another object
 * that is committed, so a leftover of a rolled back transaction may be truncated.
 */
import { closeSync, existsSync, mkdirSync, openSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { assert } from '../base/assert.ts';
import { asOpError, codeOf, type OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { BACKING_FILES_OPEN_MAX } from '../base/limits.ts';
import type { NativeFiles } from '../base/native.ts';
import { together } from '../base/together.ts';
import { removed } from './faults.ts';
import { Names } from './names.ts';
import { closeFile, removeFile, type SlotNative, Slots } from './slots.ts';
import { makeRoot, syncPath } from './synced.ts';
import { Unsynced } from './unsynced.ts';

const SHARDS = 256;
/** In the place of a shard: the directory above them. */
const ROOT = '';
/** The directory of slots, beside the shards. */
export const SLOTS = 'slots';
/** Files of one call of `sync`, held open together. */
export const SYNCED_AT_ONCE_MAX = 64;

export type BackingPlace = 'file' | 'memory';

/** What the disk says of a backing file. Times: seconds since 1970, and nanoseconds of the second. */
export interface Sensed {
  readonly size: number;
  readonly mtimeS: number;
  readonly mtimeNs: number;
  readonly atimeS: number;
  readonly atimeNs: number;
}

interface OpenFile {
  readonly fd: number;
  /** Asynchronous calls that use the descriptor. */
  users: number;
  /** Counts changes, so that one during an fsync is noticed. */
  changes: number;
  /** Removed from the pool while in use: the last user closes it. */
  isDoomed: boolean;
}

export interface BackingOptions {
  readonly directory: string;
  readonly memoryDirectory: string;
  readonly native: SlotNative &
    Pick<NativeFiles, 'fdatasyncMany' | 'otherOpeners' | 'sense' | 'unread'>;
}

/**
 * Room a backing file takes, in units of 512 bytes: its holes take none. 0 when it is gone. By path,
 * because a listing must not drive descriptors that are in use out of their pool.
 */
export const sectorsAt = (path: string): number =>
  statSync(path, { throwIfNoEntry: false })?.blocks ?? 0;

/** The directory of an object's file. */
export const shardOf = (id: ContentId): string => (id % SHARDS).toString(16).padStart(2, '0');

export class BackingFiles {
  readonly #directories: Readonly<Record<BackingPlace, string>>;
  readonly #native: BackingOptions['native'];
  readonly slots: Slots;
  readonly #sensed = new Float64Array(5);
  /** Content that lies in a slot. */
  readonly #slotOf = new Map<ContentId, number>();
  readonly #unsynced = new Unsynced();
  /** In order of use, the least recent first. */
  readonly #open = new Map<ContentId, OpenFile>();
  /** Open files in use by asynchronous calls: they do not count against the pool's bound. */
  #busy = 0;
  /** Names made in a directory so far, and how many of them are known to be on stable storage. */
  readonly #names: Names;

  /** Makes the directories. @throws OpError no-space, denied, io. */
  constructor({ directory, memoryDirectory, native }: BackingOptions) {
    this.#directories = { file: directory, memory: memoryDirectory };
    this.#native = native;
    this.slots = new Slots(join(directory, SLOTS), native);
    this.#names = new Names(directory);
    for (const root of [directory, memoryDirectory]) makeRoot(root);
  }

  path(id: ContentId, place: BackingPlace): string {
    const slot = this.#slotOf.get(id);
    if (slot !== undefined && place === 'file') return this.slots.path(slot);
    return join(this.#directories[place], shardOf(id), String(id));
  }

  /** Asks the disk about a file of place `file`. @throws OpError io, integrity. */
  sense(id: ContentId): Sensed {
    const into = this.#sensed;
    try {
      this.#native.sense(this.#fileOf(id), into);
    } catch (error) {
      throw unasked(id, error);
    }
    const [size = 0, mtimeS = 0, mtimeNs = 0, atimeS = 0, atimeNs = 0] = into;
    return { size, mtimeS, mtimeNs, atimeS, atimeNs };
  }

  /** From now on the disk tells the next read from those before. @throws OpError io, integrity. */
  unread(id: ContentId): void {
    try {
      this.#native.unread(this.#fileOf(id));
    } catch (error) {
      throw unasked(id, error);
    }
  }

  /** The descriptor of a slot, the path of any other file. */
  #fileOf(id: ContentId): number | string {
    const slot = this.#slotOf.get(id);
    return slot === undefined ? this.path(id, 'file') : this.slots.descriptor(slot);
  }

  /** The directory of backing files, for a walk over all of them. */
  directoryOf(place: BackingPlace): string {
    return this.#directories[place];
  }

  /** An empty file, open for reading and writing; the descriptor stays ours. */
  create(id: ContentId, place: BackingPlace): number {
    this.#forget(id);
    try {
      const file = this.#keep(id, this.#openNew(id, place));
      if (place === 'file') this.#names.made(shardOf(id));
      return file.fd;
    } catch (error) {
      throw asOpError(error, `create backing file of content ${id}`);
    }
  }

  /** From now on the content lies in that slot. */
  setSlot(id: ContentId, slot: number): void {
    this.#slotOf.set(id, slot);
    this.#names.made(SLOTS);
  }

  /** The content left its slot; whose that is now is the caller's business. */
  clearSlot(id: ContentId): void {
    this.#forget(id);
    this.#slotOf.delete(id);
  }

  /** Gives the file in the content's slot the name it keeps. @throws OpError no-space, io. */
  name(id: ContentId, slot: number): string {
    const path = this.#ownPath(id);
    if (!existsSync(dirname(path))) this.#makeShard(path);
    this.slots.linkTo(slot, path);
    this.#names.made(shardOf(id));
    return path;
  }

  /** Takes `name` back. */
  takeNameBack(id: ContentId): void {
    removeFile(this.#ownPath(id));
  }

  /**
   * Retires the slot of a file that has its name, once the disk has that too; until then `reclaim` finds the bytes in
   * the slot. Never rejects: what cannot be done now the next start does.
   */
  async retireNamed(id: ContentId, slot: number): Promise<void> {
    try {
      await this.#syncAll(new Set([shardOf(id)]));
    } catch {
      return;
    }
    this.slots.retire(slot);
  }

  /**
   * Whether the disk has bytes of the object where its row says: a loss of power may have taken a name, or left in a
   * slot what was there before. @throws OpError io.
   */
  sizeOnDisk(id: ContentId, isStable: boolean): number | undefined {
    const path = this.path(id, 'file');
    const size = statSync(path, { throwIfNoEntry: false })?.size;
    // Of what was fsynced nobody else was given the slot before the disk knew.
    if (size === undefined || isStable) return size;
    const owner = this.slots.ownerOf(path);
    return owner === id || (owner === undefined && !this.#slotOf.has(id)) ? size : undefined;
  }

  /**
   * After a start: a file in a slot of nobody's may have lost the name that its row goes by. It gets that again, on
   * stable storage, if `isWanted`. @throws OpError io, no-space.
   */
  reclaim(isWanted: (id: ContentId) => boolean): void {
    for (const { slot, owner } of this.slots.strays()) {
      const path = this.#ownPath(owner);
      if (!isWanted(owner) || existsSync(path)) continue;
      this.name(owner, slot);
      for (const at of [path, dirname(path), this.#directories.file]) syncPath(at);
    }
  }

  /** Brings an object's file to stable storage, with its name, while everybody waits. */
  syncNow(id: ContentId): void {
    const path = this.path(id, 'file');
    for (const at of [path, dirname(path), this.#directories.file]) syncPath(at);
  }

  #ownPath(id: ContentId): string {
    return join(this.#directories.file, shardOf(id), String(id));
  }

  /**
   * The content's file goes on in a slot, where somebody may write it, and the content lies in its
   * `copy` from now on, under its own name; of what was fsynced, on stable storage.
   * @returns that slot. @throws OpError no-space, io.
   */
  part(id: ContentId, copy: number, isStable: boolean): number {
    assert(!this.#slotOf.has(id), `content ${id} lies under its name`);
    const path = this.path(id, 'file');
    // Also when an fsync of ours is under way, which will tell of the other file.
    const isPromised = isStable || (this.#open.get(id)?.users ?? 0) > 0;
    if (isPromised) syncPath(this.slots.path(copy));
    const slot = this.slots.adopt(path);
    try {
      if (isPromised) syncPath(dirname(this.slots.path(slot)));
      this.slots.moveTo(copy, path);
      this.#exchanged(id);
      if (isPromised) syncPath(dirname(path));
      return slot;
    } catch (error) {
      this.rejoin(id, slot);
      throw error;
    }
  }

  /** Takes `part` back while nobody has written. Never throws: both files hold the same bytes. */
  rejoin(id: ContentId, slot: number): void {
    try {
      this.slots.moveTo(slot, this.path(id, 'file'));
    } catch {
      // As said.
    }
    this.slots.retire(slot);
    this.#exchanged(id);
  }

  /** Who has the other file open uses and syncs that one, not the content's. */
  #exchanged(id: ContentId): void {
    this.changed(id);
    this.#forget(id);
    this.#names.made(shardOf(id));
  }

  /** Who else has the file open or mapped; 'writers' also while an fsync of ours is under way. */
  otherOpeners(id: ContentId, place: BackingPlace): 'none' | 'readers' | 'writers' {
    const file = this.#open.get(id);
    if (file !== undefined && file.users > 0) return 'writers';
    this.#forget(id);
    const slot = this.#slotOf.get(id);
    if (slot !== undefined) return this.#native.otherOpeners(this.slots.descriptor(slot));
    const fd = openSync(this.path(id, place), 'r');
    try {
      return this.#native.otherOpeners(fd);
    } finally {
      closeSync(fd);
    }
  }

  /** Whether it is found that nobody has an empty slot open. */
  tellsOpeners(slot: number): boolean {
    try {
      return this.#native.otherOpeners(this.slots.descriptor(slot)) === 'none';
    } catch {
      return false;
    }
  }

  #isUnseen(id: ContentId, place: BackingPlace): boolean {
    try {
      return this.otherOpeners(id, place) === 'none';
    } catch {
      return false;
    }
  }

  /** A descriptor for reading and writing, valid until the next call here. */
  descriptor(id: ContentId, place: BackingPlace): number {
    return this.#file(id, place).fd;
  }

  /** To be called for each change of the file's bytes or size. */
  changed(id: ContentId): void {
    const file = this.#open.get(id);
    if (file !== undefined) file.changes += 1;
  }

  /** The bytes lie elsewhere now, and nobody else has the file open. */
  vacate(id: ContentId): void {
    const slot = this.#slotOf.get(id);
    if (slot === undefined) {
      this.remove(id, 'file');
      return;
    }
    this.clearSlot(id);
    this.slots.giveBack(slot);
  }

  /**
   * Closes and unlinks, or gives the slot back. Never throws, for the row is gone already: what stays
   * only takes room, until the next start.
   */
  remove(id: ContentId, place: BackingPlace): void {
    this.#unsynced.delete(id);
    const slot = this.#slotOf.get(id);
    // Somebody who has it mapped keeps the file itself.
    const isAlone = slot !== undefined && this.#isUnseen(id, place);
    this.clearSlot(id);
    if (slot === undefined) removeFile(this.path(id, place));
    else if (isAlone) this.slots.giveBack(slot);
    else this.slots.retire(slot);
  }

  /**
   * Brings files of place `file` to stable storage, their names included; at most
   * `SYNCED_AT_ONCE_MAX`, all of which are there.
   * @returns those that nobody changed meanwhile.
   * @throws OpError io, no-space, integrity.
   */
  async sync(ids: readonly ContentId[]): Promise<ContentId[]> {
    const files: { id: ContentId; file: OpenFile; changes: number }[] = [];
    try {
      for (const id of ids) files.push(this.#use(id));
      const shards = new Set(ids.map((id) => (this.#slotOf.has(id) ? SLOTS : shardOf(id))));
      await together([this.#unsynced.sync(this.#native, files), this.#syncAll(shards)]);
    } catch (error) {
      throw asOpError(error, 'fsync content');
    } finally {
      for (const { file } of files) this.#leave(file);
      this.#shrink();
    }
    return files.filter(({ file, changes }) => file.changes === changes).map(({ id }) => id);
  }

  close(): void {
    for (const [id, file] of this.#open) {
      assert(file.users === 0, `backing file of content ${id} closed while in use`);
      closeFile(file.fd);
    }
    this.#open.clear();
    this.slots.close();
  }

  #use(id: ContentId): { id: ContentId; file: OpenFile; changes: number } {
    const file = this.#file(id, 'file');
    if (file.users === 0) this.#busy += 1;
    file.users += 1;
    return { id, file, changes: file.changes };
  }

  /** Makes the directory with its first file: most of them are never needed by a small tree. */
  #openNew(id: ContentId, place: BackingPlace): number {
    const path = this.path(id, place);
    try {
      return openSync(path, 'w+', 0o600);
    } catch (error) {
      if (codeOf(error) !== 'ENOENT') throw error;
    }
    if (place === 'file') this.#makeShard(path);
    else mkdirSync(dirname(path), { mode: 0o700 });
    return openSync(path, 'w+', 0o600);
  }

  #makeShard(path: string): void {
    mkdirSync(dirname(path), { mode: 0o700 });
    this.#names.made(ROOT);
  }

  /** The root beside them, and they one after another: others wait for the same few threads. */
  async #syncAll(shards: ReadonlySet<string>): Promise<void> {
    if (shards.size === 0) return;
    const inTurn = async () => {
      for (const shard of shards) await this.#names.sync(shard);
    };
    await together([this.#names.sync(ROOT), inTurn()]);
  }

  #file(id: ContentId, place: BackingPlace): OpenFile {
    const known = this.#open.get(id);
    if (known !== undefined) {
      this.#open.delete(id);
      this.#open.set(id, known);
      return known;
    }
    try {
      return this.#keep(id, openSync(this.path(id, place), 'r+'));
    } catch (error) {
      const op = `open backing file of content ${id}`;
      throw codeOf(error) === 'ENOENT' ? removed(op, id, error) : asOpError(error, op);
    }
  }

  #keep(id: ContentId, fd: number): OpenFile {
    const file: OpenFile = { fd, users: 0, changes: 0, isDoomed: false };
    this.#open.set(id, file);
    this.#shrink();
    return file;
  }

  /** Closes what was used least recently; the newest few idle ones always stay. */
  #shrink(): void {
    let excess = this.#open.size - this.#busy - BACKING_FILES_OPEN_MAX;
    for (const [id, file] of this.#open) {
      if (excess <= 0) return;
      if (file.users > 0) continue;
      this.#open.delete(id);
      closeFile(file.fd);
      excess -= 1;
    }
  }

  #forget(id: ContentId): void {
    const file = this.#open.get(id);
    if (file === undefined) return;
    this.#open.delete(id);
    if (file.users > 0) file.isDoomed = true;
    else closeFile(file.fd);
  }

  #leave(file: OpenFile): void {
    file.users -= 1;
    if (file.users > 0) return;
    this.#busy -= 1;
    if (file.isDoomed) closeFile(file.fd);
  }
}

function unasked(id: ContentId, error: unknown): OpError {
  const op = `stat content ${id}`;
  return codeOf(error) === 'ENOENT' ? removed(op, id, error) : asOpError(error, op);
}
