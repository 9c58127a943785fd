/**
 * The witness: a file beside the content that says how far the journal was that told of it. When the
 * journal is found behind it, an older one was put in its place, and files without a row are not what
 * a kill left: they are newer than the journal, and nothing else knows of them.
 *
 * Invariants: what it says is on the disk before it says so, so no loss of power brings the journal
 * behind it; once it was found behind it stays so, whatever is recorded, until `settled`.
 */
import {
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { open, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, codeOf } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { WITNESS_INTERVAL_MS } from '../base/limits.ts';
import { shardOf } from '../content/backing.ts';
import type { Journal } from '../journal/journal.ts';
import type { JournalSync } from './stable.ts';

const NAME = 'journal-was';
/** No journal comes so far: it is behind until it is settled. */
const FOR_EVER = Number.MAX_SAFE_INTEGER;

/** How far a journal is. */
interface Extent {
  /** Its last record. */
  readonly seq: number;
  /** Numbers of content below this one may have been given out. */
  readonly content: number;
}

export class Witness {
  readonly #journal: Journal;
  readonly #directory: string;
  #noted: Extent | undefined;

  /** @param directory that of the backing files. */
  constructor(journal: Journal, directory: string) {
    this.#journal = journal;
    this.#directory = directory;
    this.#noted = read(this.#path);
  }

  /**
   * Before anything is made or removed there: whether the journal is older than the content. Then no
   * file that is there is written over either, for its number is not given out again.
   * @throws OpError no-space, denied, io.
   */
  examine(): boolean {
    const { seq, content } = this.#extent();
    const { isBehind, greatest } = this.#look(seq, content);
    if (!isBehind) return false;
    passNumbers(this.#journal, greatest ?? greatestIn(this.#directory));
    this.#write({ seq: FOR_EVER, content: FOR_EVER });
    return true;
  }

  /** Without a witness, a number that the journal did not give out says the same. */
  #look(seq: number, content: number): { readonly isBehind: boolean; readonly greatest?: number } {
    const noted = this.#noted;
    if (noted !== undefined) return { isBehind: seq < noted.seq || content < noted.content };
    const greatest = greatestIn(this.#directory);
    return { isBehind: greatest >= content, greatest };
  }

  /** Says how far the journal is, once that is on the disk. @throws OpError io, denied. */
  async note(journalSync: Pick<JournalSync, 'sync'>): Promise<void> {
    const extent = this.#extent();
    const noted = this.#noted;
    if (noted?.seq === FOR_EVER) return;
    if (noted?.seq === extent.seq && noted.content === extent.content) return;
    await journalSync.sync();
    try {
      await this.#replace(extent);
    } catch (error) {
      // What it says stays true.
      if (asOpError(error, 'note').failure !== 'no-space') throw error;
    }
  }

  /** No file without a row is left, and the disk has the journal. @throws OpError no-space, io. */
  settled(): void {
    this.#write(this.#extent());
  }

  #extent(): Extent {
    const { head, counters } = this.#journal;
    assert(!this.#journal.inTransaction, 'what is not committed is not noted');
    return { seq: head.seq, content: counters.reserved('content') };
  }

  get #path(): string {
    return join(this.#directory, NAME);
  }

  #write(extent: Extent): void {
    const whole = `${this.#path}.new`;
    try {
      writeFileSync(whole, textOf(extent), { mode: 0o600 });
      const fd = openSync(whole, 'r');
      try {
        fsyncSync(fd);
      } finally {
        closeSync(fd);
      }
      renameSync(whole, this.#path);
    } catch (error) {
      throw asOpError(error, `write ${this.#path}`);
    }
    this.#noted = extent;
  }

  /** The same while others are served. */
  async #replace(extent: Extent): Promise<void> {
    const whole = `${this.#path}.new`;
    try {
      const file = await open(whole, 'w', 0o600);
      try {
        await file.writeFile(textOf(extent));
        await file.sync();
      } finally {
        await file.close();
      }
      await rename(whole, this.#path);
    } catch (error) {
      throw asOpError(error, `write ${this.#path}`);
    }
    this.#noted = extent;
  }
}

const textOf = (extent: Extent): string => `${JSON.stringify(extent)}\n`;

/** Notes how far the journal is when it is called, every so often until the signal aborts, and then. */
export async function witness(
  {
    witness: noted,
    journalSync,
    clock,
  }: {
    readonly witness: Witness;
    readonly journalSync: Pick<JournalSync, 'sync'>;
    readonly clock: Clock;
  },
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    const isLast = signal.aborted;
    await noted.note(journalSync);
    if (isLast) return;
    await clock.sleep(WITNESS_INTERVAL_MS, signal).catch(() => {}); // The end.
  }
}

/** Content gets none of the numbers up to this one. */
export function passNumbers(journal: Journal, greatest: number): void {
  journal.commit(() => journal.counters.pass('content', greatest));
}

/** The greatest number of a backing file; 0: there is none. @throws OpError io, denied. */
export function greatestIn(directory: string): number {
  let greatest = 0;
  try {
    for (const shard of namesIn(directory)) {
      if (!/^[0-9a-f]{2}$/.test(shard)) continue;
      for (const name of namesIn(join(directory, shard))) {
        const number = Number(name);
        const isOurs = String(number) === name && shardOf(number as ContentId) === shard;
        if (isOurs && Number.isSafeInteger(number)) greatest = Math.max(greatest, number);
      }
    }
    return greatest;
  } catch (error) {
    throw asOpError(error, `look at ${directory}`);
  }
}

/** What is no directory is somebody else's. */
function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}

/** Undefined: there is none, or it says nothing that makes sense. */
function read(path: string): Extent | undefined {
  try {
    const value = JSON.parse(readFileSync(path, 'utf8')) as Partial<Extent> | null;
    const { seq, content } = value ?? {};
    if (!Number.isSafeInteger(seq) || !Number.isSafeInteger(content)) return undefined;
    return { seq: Number(seq), content: Number(content) };
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || error instanceof SyntaxError) return undefined;
    throw asOpError(error, `read ${path}`);
  }
}
