/**
 * Files of which the kernel may keep pages that are not true any more: it wrote them past its own
 * pages, and the next open tells it to forget these. What an earlier daemon knew of that is lost
 * with it, so every file that was not opened since counts as one of them.
 */
import type { Ino } from '../base/ids.ts';

export class StalePages {
  readonly #stale = new Set<Ino>();
  /** Opened since; undefined: nothing is left of an earlier daemon. */
  #fresh: Set<Ino> | undefined;

  get size(): number {
    return this.#stale.size;
  }

  has(ino: Ino): boolean {
    return this.#stale.has(ino) || this.#fresh?.has(ino) === false;
  }

  add(ino: Ino): void {
    this.#stale.add(ino);
    this.#fresh?.delete(ino);
  }

  /** The kernel was told to forget the pages. */
  delete(ino: Ino): void {
    this.#stale.delete(ino);
    this.#fresh?.add(ino);
  }

  /** The kernel forgot the inode, with its pages. */
  forget(ino: Ino): void {
    this.#stale.delete(ino);
    this.#fresh?.delete(ino);
  }

  /** There is no kernel any more that keeps any. */
  clear(): void {
    this.#stale.clear();
    this.#fresh = undefined;
  }

  /** A connection is taken over: nothing is known. */
  distrust(): void {
    this.#fresh = new Set();
  }
}
