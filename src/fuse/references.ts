/**
 * What the kernel holds of us: references to inodes (`nlookup`, one for each time an entry was
 * handed out) and open handles. It gives both back; when the mount ends all are given back at once.
 *
 * Handles are in the handle table too, for a daemon after this one. References are not: what the
 * kernel has of inodes from before a take-over is not known, so it counts as knowing all that there
 * were then, each until it gives the inode back.
 */
import { assert } from '../base/assert.ts';
import { type Fh, type Ino, ROOT_INO } from '../base/ids.ts';
import { CID_INO_FROM, HandleTable, type HeldHandle, type TablePlace } from '../vfs/vfs.ts';
import type { OpenedHandle, Reply } from './encode.ts';
import { LookupCounts } from './lookup-counts.ts';

interface Held {
  readonly handle: OpenedHandle;
  /** Where the table has it; undefined until the kernel is about to be told. */
  place: TablePlace | undefined;
}

export class KernelReferences {
  readonly #table: HandleTable;
  readonly #lookups = new LookupCounts();
  readonly #opened = new Map<Fh, Held>();
  /** Handles of a daemon before this one whose answer may not have reached the kernel, by request. */
  readonly #unclaimed = new Map<number, HeldHandle>();
  /** Inodes below this number may be known from before. */
  #inheritedBelow = 0;

  constructor(table = HandleTable.make()) {
    this.#table = table;
  }

  /** Whether the kernel may still ask about the inode. It holds the root as long as the mount. */
  knows(ino: Ino): boolean {
    return ino === ROOT_INO || this.isInherited(ino) || this.#lookups.get(ino) > 0;
  }

  /** Whether this daemon handed it out, and the kernel has not given it back. */
  isCounted(ino: Ino): boolean {
    return this.#lookups.get(ino) > 0;
  }

  /** Whether it is not known, because the kernel may have it from before. */
  isInherited(ino: Ino): boolean {
    // Numbers of content by CID are in no order.
    return ino < this.#inheritedBelow || (this.#inheritedBelow > 0 && ino >= CID_INO_FROM);
  }

  /** An entry of the inode is handed out. */
  lookedUp(ino: Ino): void {
    this.#lookups.add(ino);
  }

  /**
   * `count` references are given back; true when none is left of an inode that had some, as far as
   * is known.
   */
  forget(ino: Ino, count: number): boolean {
    if (ino === ROOT_INO) return false;
    const wasCounted = this.#lookups.subtract(ino, count);
    if (!wasCounted) return this.isInherited(ino);
    return this.#lookups.get(ino) === 0;
  }

  opened(handle: OpenedHandle): void {
    const known = this.#opened.get(handle.fh);
    assert(
      known === undefined || known.handle === handle,
      `handle ${handle.fh} was handed out twice`,
    );
    if (known === undefined) this.#opened.set(handle.fh, { handle, place: undefined });
  }

  /** The answer that hands a handle out is about to leave. @throws OpError busy, no-space. */
  keep({ opened, unique, uid, gid, pid }: Reply): void {
    const held = opened === undefined ? undefined : this.#opened.get(opened.fh);
    if (opened === undefined || held === undefined || held.place !== undefined) return;
    held.place = this.#table.addHandle({ ...opened, unique, uid, gid, pid });
  }

  /** The kernel took that answer. */
  told(fh: Fh): void {
    const place = this.#opened.get(fh)?.place;
    if (place !== undefined) this.#table.told(place);
  }

  closed(fh: Fh): void {
    const place = this.#opened.get(fh)?.place;
    this.#opened.delete(fh);
    if (place !== undefined) this.#table.remove(place);
  }

  /** What the kernel has of a daemon before this one; its inodes have numbers below `inosBelow`. */
  inherit(handles: readonly (HeldHandle & { readonly place: TablePlace })[], inosBelow: Ino): void {
    this.#inheritedBelow = inosBelow;
    for (const held of handles) {
      this.#opened.set(held.fh, { handle: held, place: held.place });
      if (!held.isTold) this.#unclaimed.set(held.unique, held);
    }
  }

  /** The handle that a request, which is sent again, was answered with; once. */
  claim(unique: number): HeldHandle | undefined {
    const held = this.#unclaimed.get(unique);
    this.#unclaimed.delete(unique);
    return held !== undefined && this.#opened.has(held.fh) ? held : undefined;
  }

  get inodeCount(): number {
    return this.#lookups.size;
  }

  get handleCount(): number {
    return this.#opened.size;
  }

  /** Takes all back: what was open, and which inodes were known. */
  takeAll(): { readonly handles: OpenedHandle[]; readonly inos: Ino[] } {
    const all = {
      handles: [...this.#opened.values()].map(({ handle }) => handle),
      inos: [...this.#lookups.inos()],
    };
    for (const { fh } of all.handles) this.closed(fh);
    this.#lookups.clear();
    this.#inheritedBelow = 0;
    return all;
  }
}
