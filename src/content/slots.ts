/**
 * Slots: backing files made in advance, in a directory of their own, for bytes that the kernel
 * writes past this process. Making a file costs more than all else about a small one, so a slot is
 * emptied and used again once its bytes lie elsewhere.
 *
 * Invariants: a slot is emptied only when nobody can write to it, or sees it mapped, any more; a
 * file of an earlier process is never used again but for the content that lies in it; numbers are
 * not given to another file.
 */
import { closeSync, linkSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { asOpError, codeOf } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { SLOTS_FREE_MAX, SLOTS_USED_MAX } from '../base/limits.ts';
import type { NativeFiles, NativeXattrs } from '../base/native.ts';

/** The attribute of a file that says whose bytes it holds. */
const OWNER = Buffer.from('user.kitfs.content');

export type SlotNative = Pick<NativeFiles, 'empty'> &
  Pick<NativeXattrs, 'getXattr' | 'setXattr' | 'removeXattr'>;

export class Slots {
  readonly #directory: string;
  readonly #native: SlotNative;
  /** Empty ones. */
  readonly #free: number[] = [];
  /** Descriptors for reading: one that could write would keep a lease from being granted. */
  readonly #descriptors = new Map<number, number>();
  #onGone: (slot: number) => void = () => {};
  /** Of an earlier process, and of nobody. */
  readonly #strays: number[] = [];
  #isMade = false;
  #next = 1;
  #used = 0;

  constructor(directory: string, native: SlotNative) {
    this.#directory = directory;
    this.#native = native;
  }

  path(slot: number): string {
    return `${this.#directory}/${slot}`;
  }

  /** Makes empty ones until there are `count`. @throws OpError no-space, io. */
  prepare(count: number): void {
    while (this.#free.length < count) this.#free.push(this.#make());
  }

  /** One that is empty, for a trial. @throws OpError no-space, io. */
  get sample(): number {
    this.prepare(1);
    return this.#free.at(-1) ?? 0;
  }

  /** An empty slot; undefined when too many are in use. @throws OpError no-space, io. */
  take(): number | undefined {
    if (this.#used >= SLOTS_USED_MAX) return undefined;
    const slot = this.#free.pop() ?? this.#make();
    this.#used += 1;
    return slot;
  }

  /**
   * Writes on the file whose bytes are in it from now on. The disk has this before it has any of them, and after it
   * has let go of those before: so a loss of power never makes one file's bytes another's (`ownerOf`).
   */
  mark(slot: number, owner: ContentId): void {
    const fd = this.descriptor(slot);
    try {
      this.#native.setXattr(fd, OWNER, Buffer.from(String(owner)));
    } catch {
      // After a loss of power its bytes count as lost: so does whatever says nothing.
      this.#unmark(fd);
    }
  }

  /** It says nothing, rather than whose the bytes before were. */
  #unmark(fd: number): void {
    try {
      this.#native.removeXattr(fd, OWNER);
    } catch {
      // It never said anything, or the disk takes nothing at all.
    }
  }

  /** Whose bytes a file holds, as far as it says; undefined for one that never was a slot. */
  ownerOf(path: string): ContentId | undefined {
    try {
      return Number(this.#native.getXattr(Buffer.from(path), OWNER)) as ContentId;
    } catch {
      return undefined;
    }
  }

  /** Those of an earlier process that are nobody's any more, and whose they were. */
  *strays(): Generator<{ readonly slot: number; readonly owner: ContentId }> {
    for (const slot of this.#strays) {
      const owner = this.ownerOf(this.path(slot));
      if (owner !== undefined) yield { slot, owner };
    }
  }

  /** Tells of each slot whose file serves nobody any more, or goes on under another name. */
  whenGone(tell: (slot: number) => void): void {
    this.#onGone = tell;
  }

  /** Of a slot that is empty or in use, until it is given back or retired. */
  descriptor(slot: number): number {
    const known = this.#descriptors.get(slot);
    if (known !== undefined) return known;
    const fd = openSync(this.path(slot), 'r');
    this.#descriptors.set(slot, fd);
    return fd;
  }

  /** Its bytes lie elsewhere now, or are not wanted. */
  giveBack(slot: number): void {
    this.#used -= 1;
    try {
      if (this.#free.length < SLOTS_FREE_MAX) {
        this.#native.empty(this.path(slot));
        this.#free.push(slot);
        return;
      }
    } catch {
      // It only takes room: another one is made.
    }
    this.#remove(slot);
  }

  /**
   * Gives its file another name beside this one. What has that name is of nobody: a kill came
   * between the name and the commit that would have told of it. @throws OpError no-space, io.
   */
  linkTo(slot: number, path: string): void {
    try {
      try {
        linkSync(this.path(slot), path);
      } catch (error) {
        if (codeOf(error) !== 'EEXIST') throw error;
        rmSync(path);
        linkSync(this.path(slot), path);
      }
    } catch (error) {
      throw asOpError(error, `name the backing file ${path}`);
    }
  }

  /** The file of that name lies in a slot too from now on. @throws OpError no-space, io. */
  adopt(path: string): number {
    const slot = this.#next++;
    try {
      linkSync(path, this.path(slot));
      this.#used += 1;
      return slot;
    } catch (error) {
      throw asOpError(error, `give the backing file ${path} a slot`);
    }
  }

  /** Its file takes the place of the one of that name, in one step; the slot is to be retired. */
  moveTo(slot: number, path: string): void {
    try {
      renameSync(this.path(slot), path);
    } catch (error) {
      throw asOpError(error, `replace the backing file ${path}`);
    }
  }

  /** Its file goes on under another name. */
  retire(slot: number): void {
    this.#used -= 1;
    this.#remove(slot);
  }

  /**
   * Once, at the start: content lies in these; all other files here are nobody's, and go with
   * `removeStrays`.
   */
  recover(inUse: ReadonlySet<number>): void {
    this.#used = inUse.size;
    // Also of one whose file is lost.
    for (const slot of inUse) this.#next = Math.max(this.#next, slot + 1);
    let names: string[] = [];
    try {
      names = readdirSync(this.#directory);
    } catch {
      return; // It is made with the first slot.
    }
    this.#isMade = true;
    for (const name of names) {
      const slot = Number(name);
      if (String(slot) !== name) continue;
      this.#next = Math.max(this.#next, slot + 1);
      if (!inUse.has(slot)) this.#strays.push(slot);
    }
  }

  /** The disk has the rows that say whose the others are. */
  removeStrays(): void {
    for (const slot of this.#strays.splice(0)) removeFile(this.path(slot));
  }

  /** What is in use stays as it is. */
  close(): void {
    for (const slot of this.#free) rmSync(this.path(slot), { force: true });
    this.#free.length = 0;
    for (const fd of this.#descriptors.values()) closeFile(fd);
    this.#descriptors.clear();
  }

  #make(): number {
    const slot = this.#next++;
    try {
      if (!this.#isMade) mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      this.#isMade = true;
      closeSync(openSync(this.path(slot), 'wx', 0o600));
      this.descriptor(slot);
      return slot;
    } catch (error) {
      throw asOpError(error, `make slot ${slot}`);
    }
  }

  #remove(slot: number): void {
    const fd = this.#descriptors.get(slot);
    this.#descriptors.delete(slot);
    if (fd !== undefined) closeFile(fd);
    removeFile(this.path(slot));
    this.#onGone(slot);
  }
}

/**
 * Throws for a descriptor that is not open, and for nothing else: Linux has closed it whatever the
 * disk says then (close(2)), and of bytes that are not on it fsync(2) tells.
 */
export function closeFile(fd: number): void {
  try {
    closeSync(fd);
  } catch (error) {
    if (codeOf(error) === 'EBADF') throw error;
  }
}

/** Never throws: a file that stays only takes room, until the next start. */
export function removeFile(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // As said.
  }
}
