/**
 * Which journal it is. What the kernel holds of a mount are numbers of one journal, and mean other
 * files in any other, so that a daemon that goes on with a mount sees that it has the same.
 */
import { existsSync } from 'node:fs';
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import { Journal, type JournalOptions } from '../journal/journal.ts';

export interface IdentityOptions extends JournalOptions {
  readonly random: Random;
  /** Of the journal that is gone on with; undefined: whichever is there, or a new one. */
  readonly journalId: string | undefined;
}

/** @throws OpError configuration: it is another one, or none; what opening the journal throws. */
export function openIdentified({ random, journalId, ...options }: IdentityOptions): Journal {
  const { path } = options;
  if (journalId !== undefined && !existsSync(path)) throw another(path, 'it is gone');
  const journal = new Journal(options);
  try {
    const found = journal.meta.get('id');
    if (journalId !== undefined && found !== journalId) {
      throw another(path, 'another one lies there');
    }
    if (found === undefined) {
      journal.commitFreeing(() => journal.meta.set('id', random.token()));
    }
    return journal;
  } catch (error) {
    journal.close();
    throw error;
  }
}

/** Of one that was opened so. */
export function journalIdOf(journal: Journal): string {
  const id = journal.meta.get('id');
  assert(id !== undefined, 'a journal that was opened has its number');
  return id;
}

const another = (path: string, why: string): OpError =>
  new OpError('configuration', `go on with the mount of the journal ${path}`, {
    hint: `${why}: put the right one back, or end this with kitfs unmount`,
  });
