/**
 * What changed since a directory was published, out of the journal's records: nothing is noted for it
 * when a file changes.
 *
 * Invariants: whatever may have changed counts as changed; what is below a directory that was moved
 * was perhaps not below the root when that was published, so its rows are not believed.
 */
import type { Ino } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import { turn } from '../base/turn.ts';
import type { Change, Journal } from '../journal/journal.ts';

/** Records read before other work gets its turn. */
const CHANGES_PER_TURN = 32;

export class Dirty {
  protected readonly journal: Journal;
  /** Directories that are not what they were, at whatever depth; undefined: perhaps none is. */
  #directories: Set<Ino> | undefined;
  readonly #moved = new Set<Ino>();
  /** The file marked last: its records mostly follow each other. */
  #file: Ino | undefined;
  /** The newest change that was looked at. */
  #seq: number;

  /** `since`: the newest record that the rows include; undefined when there are none. */
  constructor(journal: Journal, since: number | undefined) {
    this.journal = journal;
    this.#seq = since ?? 0;
    this.#directories = since === undefined ? undefined : new Set();
  }

  /** Looks at most of the records, in pieces; what comes meanwhile is for `finish`. */
  async readAhead(signal: AbortSignal): Promise<void> {
    while (this.readPage()) {
      await turn();
      signal.throwIfAborted();
    }
  }

  /** Looks at the rest. With nothing in between, the tree is read. */
  finish(): void {
    while (this.readPage());
    for (const { ino } of this.journal.sessions.all()) this.#mark(ino);
  }

  /** Whether the directory is not what it was, or something below it. */
  has(ino: Ino): boolean {
    return this.#directories?.has(ino) !== false;
  }

  /** Whether anything is known; else everything counts as changed. */
  get isKnown(): boolean {
    return this.#directories !== undefined;
  }

  /** From now on nothing is known. */
  protected forget(): void {
    this.#directories = undefined;
  }

  /** Whether it came from elsewhere, perhaps. */
  hasMoved(ino: Ino): boolean {
    return this.#moved.has(ino);
  }

  /** Whether there may be more. */
  protected readPage(): boolean {
    // Retention may have been at the records that were not read yet.
    if (!this.journal.changes.reaches(this.#seq)) this.#directories = undefined;
    if (this.#directories === undefined) return false;
    const page = this.journal.changes.page(this.#seq, CHANGES_PER_TURN);
    for (const change of page) this.take(change);
    return page.length === CHANGES_PER_TURN;
  }

  protected take({ seq, kind, inos, directories }: Change): void {
    this.#seq = seq;
    // What a repair put in order it tells of, but not all that it did for that.
    if (kind === 'repair') this.#directories = undefined;
    for (const ino of inos) {
      if (kind === 'rename') this.#moved.add(ino);
      this.#mark(ino);
    }
    for (const ino of directories) this.#markUp(ino);
  }

  /** A directory by itself, anything else by the directories of its names. */
  #mark(ino: Ino): void {
    // A name that came since has a record, which tells of its directory.
    if (ino === this.#file) return;
    const mode = this.journal.inodes.modeOf(ino);
    if (mode === undefined) return;
    if (isDirectory(mode)) {
      this.#markUp(ino);
      return;
    }
    this.#file = ino;
    for (const parent of this.journal.dentries.parentsOf(ino)) this.#markUp(parent);
  }

  #markUp(from: Ino): void {
    const marked = this.#directories;
    for (let ino = from; marked !== undefined && ino !== 0 && !marked.has(ino); ) {
      marked.add(ino);
      ino = this.journal.inodes.get(ino)?.parent ?? (0 as Ino);
    }
  }
}
