/**
 * `user.kitfs.pin`: the bytes of a file, or of all files below a directory, stay on this machine, and
 * come here when they are elsewhere.
 *
 * Invariant: what cannot be told to be free counts as pinned.
 */
import { OpError } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import { DIRECTORY_LEVELS_MAX } from '../base/limits.ts';
import { isDirectory } from '../base/posix.ts';
import { type Journal, PINNED_HERE, type Tx } from '../journal/journal.ts';
import type { Core } from './core.ts';

const VALUE = '1';
/** The fact of `meta` that says whether anything ever was pinned. */
const NOTED = 'pinned_here';

/** @throws OpError invalid: a pin has no other value. */
export function demandPin(value: Buffer): void {
  if (value.toString('latin1') === VALUE) return;
  throw new OpError('invalid', 'setxattr', {
    hint: `set it to ${VALUE}, or remove the attribute`,
  });
}

/** Something is pinned: from now on it is looked for. */
export function notePin({ journal, pinnedHere }: Core, tx: Tx): void {
  if (journal.meta.get(NOTED) === undefined) journal.meta.set(NOTED, '1');
  tx.afterCommit(() => {
    pinnedHere.sets += 1;
  });
}

/** What of a tree stays here. */
export class PinnedHere {
  /** Pins that were set by this process. */
  sets = 0;
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** Whether anything ever was pinned. */
  get isUsed(): boolean {
    return this.#journal.meta.get(NOTED) !== undefined;
  }

  /**
   * Whether the file is pinned, or anything above one of its names. `known` remembers directories for
   * whoever asks for many files at one moment.
   */
  has(ino: Ino, known: Map<Ino, boolean> = new Map()): boolean {
    if (!this.isUsed) return false;
    const row = this.#journal.inodes.get(ino);
    if (row === undefined) return true;
    if (isDirectory(row.mode)) return this.#isBelow(ino, known);
    if (this.#isMarked(ino)) return true;
    return this.#journal.dentries.namesOf(ino).some(({ parent }) => this.#isBelow(parent, known));
  }

  /** Whether a directory is pinned, or one above it. */
  #isBelow(directory: Ino, known: Map<Ino, boolean>): boolean {
    const way: Ino[] = [];
    let found: boolean | undefined;
    for (let ino = directory; found === undefined; ) {
      found = known.get(ino);
      if (found !== undefined) break;
      way.push(ino);
      const row = this.#journal.inodes.get(ino);
      const isLost = row === undefined || way.length > DIRECTORY_LEVELS_MAX;
      if (isLost || this.#isMarked(ino)) found = true;
      else if ((row.parent as number) === 0) found = false;
      else ino = row.parent;
    }
    for (const ino of way) known.set(ino, found ?? true);
    return found ?? true;
  }

  #isMarked(ino: Ino): boolean {
    return this.#journal.xattrs.get(ino, PINNED_HERE) !== undefined;
  }
}
