/**
 * Names of backing files on stable storage: fsync(2) of the directory that they are in.
 *
 * Invariants: a name counts once a sync that began behind it has succeeded; a directory has one sync
 * under way at most, and whoever comes while it runs shares the next one with all who do.
 */
import { join } from 'node:path';
import { syncNames } from './synced.ts';

/** A directory: counts of the names made there. */
interface Named {
  made: number;
  /** So many of them are on stable storage. */
  synced: number;
  running?: Running | undefined;
}

/** Brings the first so many names to stable storage. */
interface Running {
  readonly made: number;
  readonly done: Promise<void>;
}

export class Names {
  readonly #root: string;
  readonly #sync: (path: string) => Promise<void>;
  readonly #named = new Map<string, Named>();

  /** @param root where the directories are. */
  constructor(root: string, sync: (path: string) => Promise<void> = syncNames) {
    this.#root = root;
    this.#sync = sync;
  }

  /** A name was made in the directory. */
  made(directory: string): void {
    this.#of(directory).made += 1;
  }

  /**
   * Resolves when all names made until now in the directory are on stable storage. One made before
   * this process began counts as not there: nobody knows. Rejects with what the disk says.
   */
  async sync(directory: string): Promise<void> {
    const named = this.#of(directory);
    const { made } = named;
    while (named.synced < made) {
      const running = named.running ?? this.#begin(directory, named);
      if (running.made >= made) await running.done;
      else await running.done.catch(() => {}); // Told to those whose names it was for.
    }
  }

  #begin(directory: string, named: Named): Running {
    const { made } = named;
    const sync = async () => {
      try {
        await this.#sync(join(this.#root, directory));
        named.synced = made;
      } finally {
        named.running = undefined;
      }
    };
    named.running = { made, done: sync() };
    return named.running;
  }

  #of(directory: string): Named {
    let named = this.#named.get(directory);
    if (named === undefined) {
      named = { made: 0, synced: -1 };
      this.#named.set(directory, named);
    }
    return named;
  }
}
