/** Private copies of content: by reflink where the disk can, else byte by byte up to a size. */
import type { ContentId } from '../base/ids.ts';
import { HISTORY_COPY_BYTES_MAX } from '../base/limits.ts';
import type { NativeFiles } from '../base/native.ts';
import { copyWhole } from './extents.ts';
import { attempt } from './faults.ts';
import type { ContentObjects } from './objects.ts';

export class Forks {
  readonly #objects: ContentObjects;
  readonly #native: Pick<NativeFiles, 'reflink' | 'copyFileRange' | 'seek'>;
  #canReflink = true;

  constructor(
    objects: ContentObjects,
    native: Pick<NativeFiles, 'reflink' | 'copyFileRange' | 'seek'>,
  ) {
    this.#objects = objects;
    this.#native = native;
  }

  /** As `ContentStore.fork`. */
  fork(id: ContentId): ContentId | undefined {
    const { size, place } = this.#objects.rows.get(id);
    if (place === 'packed') {
      const copy = this.#objects.insertCopy({ place, size });
      this.#objects.journal.commit(() => this.#objects.journal.contents.copyBytes(id, copy));
      return copy;
    }
    const canCopy = size <= HISTORY_COPY_BYTES_MAX;
    if (place === 'memory' && !canCopy) return undefined;
    const copy = this.#objects.insertCopy({ place, size });
    const [from, to] = [
      this.#objects.files.descriptor(id, place),
      this.#objects.files.descriptor(copy, place),
    ];
    let isDone = false;
    try {
      isDone = attempt('fork', this.#objects.rows.get(id), () => {
        if (place === 'file') this.#canReflink &&= this.#native.reflink(from, to);
        if (place === 'file' && this.#canReflink) return true;
        if (canCopy) copyWhole(this.#native, from, to, size);
        return canCopy;
      });
    } finally {
      if (!isDone) this.#objects.discard(copy);
    }
    return isDone ? copy : undefined;
  }

  /** Whether `fork` is likely to give a copy; what it finds about the disk is remembered. */
  canFork(id: ContentId): boolean {
    const { size, place, state } = this.#objects.rows.get(id);
    // It is to be brought here first, and `fork` says so.
    if (state === 'remote') return true;
    return size <= HISTORY_COPY_BYTES_MAX || (place === 'file' && this.#canReflink);
  }
}
