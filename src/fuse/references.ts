/**
 * What the kernel holds of us: references to inodes (`nlookup`, one for each time an entry was
 * handed out) and open handles. It gives both back; when the mount ends all are given back at once.
 */
import { assert } from '../base/assert.ts';
import { type Fh, type Ino, ROOT_INO } from '../base/ids.ts';
import type { OpenedHandle } from './encode.ts';
import { LookupCounts } from './lookup-counts.ts';

export class KernelReferences {
  readonly #lookups = new LookupCounts();
  readonly #opened = new Map<Fh, OpenedHandle>();

  /** Whether the kernel may still ask about the inode. It holds the root as long as the mount. */
  knows(ino: Ino): boolean {
    return ino === ROOT_INO || this.#lookups.get(ino) > 0;
  }

  /** An entry of the inode is handed out. */
  lookedUp(ino: Ino): void {
    this.#lookups.add(ino);
  }

  /**
   * `count` references are given back; true when none is left of an inode that had some. More than
   * there are may come from a kernel that had them of a daemon before this one.
   */
  forget(ino: Ino, count: number): boolean {
    if (ino === ROOT_INO || !this.#lookups.subtract(ino, count)) return false;
    return this.#lookups.get(ino) === 0;
  }

  opened(handle: OpenedHandle): void {
    assert(!this.#opened.has(handle.fh), `handle ${handle.fh} was handed out twice`);
    this.#opened.set(handle.fh, handle);
  }

  closed(fh: Fh): void {
    this.#opened.delete(fh);
  }

  get inodeCount(): number {
    return this.#lookups.size;
  }

  get handleCount(): number {
    return this.#opened.size;
  }

  /** Takes all back: what was open, and which inodes were known. */
  takeAll(): { readonly handles: OpenedHandle[]; readonly inos: Ino[] } {
    const all = { handles: [...this.#opened.values()], inos: [...this.#lookups.inos()] };
    this.#opened.clear();
    this.#lookups.clear();
    return all;
  }
}
