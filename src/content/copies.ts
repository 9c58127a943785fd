/**
 * Which objects began as copies of bytes that may have been fsynced elsewhere, and are not known to be on stable
 * storage themselves. Of those made before this process, or before too many copies, nobody knows: they count as such.
 */
import type { ContentId } from '../base/ids.ts';

/** Most copies are packed, synced or discarded soon. */
const COPIES_KNOWN_MAX = 65_536;

export class Copies {
  readonly #ids = new Set<ContentId>();
  /** All below may be copies. */
  #below = Infinity;

  /** The object is new. */
  noteMade(id: ContentId): void {
    if (this.#below === Infinity) this.#below = id;
  }

  /** It begins as a copy. */
  add(id: ContentId): void {
    this.#ids.add(id);
    if (this.#ids.size <= COPIES_KNOWN_MAX) return;
    this.#ids.clear();
    this.#below = id + 1;
  }

  has(id: ContentId): boolean {
    return id < this.#below || this.#ids.has(id);
  }

  /** Its bytes are as safe as those it began with, or wanted no more. */
  delete(id: ContentId): void {
    this.#ids.delete(id);
  }
}
