/**
 * What changed behind a record, kept up with: `Dirty` that goes on, and tells files apart.
 *
 * Invariants: whatever may have changed counts as changed; memory is bounded, and beyond that bound
 * everything counts as changed.
 */
import type { Ino } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import type { Change, Journal } from '../journal/journal.ts';
import { Dirty } from './dirty.ts';

/** Inodes remembered: some tens of megabytes. */
const CHANGED_MAX = 500_000;
/** Pages read at once for who asks: some milliseconds of work. */
const PAGES_MAX = 16;

export class Since extends Dirty {
  readonly #changed = new Set<Ino>();

  /** Reads what came meanwhile; whether that is all now, and all of it is known. */
  catchUp(): boolean {
    for (let pages = 0; pages < PAGES_MAX; pages += 1) {
      if (!this.readPage()) return this.isKnown;
    }
    return false;
  }

  /** Whether a file, or a directory with all that is in it, is below `root` what it was then. */
  isSame(ino: Ino, root: Ino | 0): boolean {
    if (this.has(ino) || this.#changed.has(ino)) return false;
    // Of several names one is enough: the bytes are the same.
    return waysUp(this.journal, ino, root).some((way) => !way.some((one) => this.hasMoved(one)));
  }

  protected override take(change: Change): void {
    super.take(change);
    for (const ino of change.inos) this.#changed.add(ino);
    if (this.#changed.size > CHANGED_MAX) this.forget();
  }
}

/** From an inode up to the directory `root`, which is not named: a way for each of its names that leads there. */
export function waysUp(journal: Journal, ino: Ino, root: Ino | 0): readonly (readonly Ino[])[] {
  const row = journal.inodes.get(ino);
  if (ino === root) return [[]];
  if (row === undefined) return [];
  const parents = isDirectory(row.mode)
    ? [row.parent]
    : new Set(journal.dentries.namesOf(ino).map(({ parent }) => parent));
  return [...parents].flatMap((parent) => {
    const way = wayUp(journal, parent, root);
    return way === undefined ? [] : [[ino, ...way]];
  });
}

/** undefined: the directory is not below `root`. */
function wayUp(journal: Journal, directory: Ino, root: Ino | 0): readonly Ino[] | undefined {
  const way: Ino[] = [];
  for (let ino = directory; ino !== root; ) {
    const above = journal.inodes.get(ino)?.parent;
    if (above === undefined || (above as number) === 0 || above === ino) return undefined;
    way.push(ino);
    ino = above;
  }
  return way;
}
