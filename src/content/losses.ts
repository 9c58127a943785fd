/** What becomes of content when the disk does not have the bytes its row tells of. */
import type { ContentId } from '../base/ids.ts';
import type { ContentRow } from '../journal/journal.ts';
import type { ContentObjects } from './objects.ts';

export class Losses {
  readonly #objects: ContentObjects;
  readonly #onFrozen: (id: ContentId) => void;

  /** `onFrozen` is told of an object that is to be hashed again. */
  constructor(objects: ContentObjects, onFrozen: (id: ContentId) => void) {
    this.#objects = objects;
    this.#onFrozen = onFrozen;
  }

  /** As that of `BackingFiles`. @throws OpError io. */
  sizeOnDisk(id: ContentId, isStable: boolean): number | undefined {
    return this.#objects.files.sizeOnDisk(id, isStable);
  }

  /** Brings what there is of a file to stable storage, with its name. @throws OpError io, no-space. */
  async sync(id: ContentId): Promise<void> {
    await this.#objects.files.sync([id]);
  }

  /** The object begins with bytes that may have been fsynced in another one. */
  noteCopy(id: ContentId): void {
    this.#objects.copies.add(id);
  }

  /** Whether nobody would look after a loss of power whether the bytes still are those of its CID. */
  isTrusted({ state, place, stable }: Readonly<ContentRow>): boolean {
    return state === 'sealed' && place === 'file' && stable === 1;
  }

  /** Somebody would from now on, once the disk has the journal as it is then. */
  distrust(id: ContentId): void {
    const row = this.#objects.rows.get(id);
    if (this.isTrusted(row)) this.#objects.rows.update(row, { stable: 2 });
  }

  /** There is none: the disk has what the row tells of. */
  deny(id: ContentId): void {
    const { rows } = this.#objects;
    rows.update(rows.get(id), { stable: 1 });
  }

  /** Of an open object at whose end bytes are missing: it is as long as its file is. */
  shorten(id: ContentId, size: number): void {
    const { rows } = this.#objects;
    rows.update(rows.get(id), { size });
  }

  /** What the disk has is all there is, `size` bytes: they are no version that anybody named. */
  accept(id: ContentId, size: number): void {
    const { rows, journal } = this.#objects;
    const row = rows.get(id);
    journal.contents.deleteBlocks(id);
    journal.contents.deleteBytes(id);
    const unnamed = { state: 'frozen', held: 0, cid: null, profile: null } as const;
    rows.update(row, { size, stable: 1, ...unnamed });
    this.#onFrozen(id);
  }
}
