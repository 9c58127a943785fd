/** What becomes of content when the disk does not have the bytes its row tells of. */
import { existsSync, mkdirSync, renameSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { asOpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import type { ContentObjects } from './objects.ts';
import { syncPath } from './synced.ts';

/** The directory of files that are not what their rows tell of, beside the shards. */
const DAMAGED = 'damaged';

export class Losses {
  readonly #objects: ContentObjects;
  readonly #onFrozen: (id: ContentId) => void;

  /** `onFrozen` is told of an object that is to be hashed again. */
  constructor(objects: ContentObjects, onFrozen: (id: ContentId) => void) {
    this.#objects = objects;
    this.#onFrozen = onFrozen;
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

  /**
   * The bytes are not those of the row. Their file, if there is one, is put where it stays for a
   * person to look at, so that reading them fails from now on, and the row says so as one does that
   * a repair found lost; an object that no inode shows goes.
   * @throws OpError io, no-space.
   */
  concede(id: ContentId): void {
    const { rows, journal } = this.#objects;
    const row = rows.get(id);
    // First: a kill in between finds no file, which is as bad.
    this.#putAside(id);
    if (row.refs === 0) {
      rows.delete(id);
      return;
    }
    journal.contents.deleteBlocks(id);
    journal.contents.deleteBytes(id);
    rows.update(row, { state: 'sealed', held: 0, cid: null, profile: null, stable: 1 });
  }

  #putAside(id: ContentId): void {
    const { files } = this.#objects;
    const path = files.path(id, 'file');
    if (!existsSync(path)) return;
    const root = files.directoryOf('file');
    const directory = join(root, DAMAGED);
    files.clearSlot(id);
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      renameSync(path, join(directory, String(id)));
    } catch (error) {
      throw asOpError(error, `put damaged content ${id} aside`);
    }
    // The row will say that nothing is in doubt.
    for (const at of [dirname(path), directory, root]) syncPath(at);
  }
}
