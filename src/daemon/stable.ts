/**
 * Stable storage: the one place that syncs the journal's WAL, and the walk that brings everything
 * there is to the disk.
 *
 * Invariants: who asks is answered by a sync that began after the question; at most one runs at a
 * time, and all who ask while it runs share the next one.
 */
import { asOpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { NativeFiles } from '../base/native.ts';
import { turn } from '../base/turn.ts';
import type { ContentStore } from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';

export class JournalSync {
  readonly #journal: Journal;
  readonly #native: Pick<NativeFiles, 'fdatasyncMany'>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  /** To be done after a sync that has not begun yet. */
  #waiting: (() => void)[] = [];

  constructor(options: {
    readonly journal: Journal;
    readonly native: Pick<NativeFiles, 'fdatasyncMany'>;
  }) {
    this.#journal = options.journal;
    this.#native = options.native;
  }

  /** Resolves when everything committed before the call is on the disk. @throws OpError io. */
  sync(): Promise<void> {
    if (this.#running === undefined) return this.#begin();
    this.#next ??= this.#running
      .catch(() => {}) // It failed for those who asked for it.
      .then(() => {
        this.#next = undefined;
        return this.#begin();
      });
    return this.#next;
  }

  /**
   * Runs `action`, which must not throw, when everything committed before the call is on the disk:
   * with the next sync that somebody asks for, or when many wait. Never, when that sync fails.
   */
  afterwards(action: () => void): void {
    this.#waiting.push(action);
    if (this.#waiting.length < WAITING_MAX) return;
    void this.sync().catch(() => {}); // They stay undone.
  }

  #begin(): Promise<void> {
    const { failure } = this.#journal;
    if (failure !== undefined) return Promise.reject(failure);
    const waiting = this.#waiting;
    this.#waiting = [];
    const synced = this.#native.fdatasyncMany([this.#journal.walFd]).catch((error: unknown) => {
      // The next one would succeed, whatever became of the bytes (see `Journal.fail`).
      throw this.#journal.fail(asOpError(error, 'sync the journal'));
    });
    const running = synced.then(() => {
      for (const action of waiting) action();
    });
    this.#running = running.finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }
}

/** Actions that wait for a sync of somebody else's; each may keep a slot. */
const WAITING_MAX = 32;

/** Rows looked at before others have their turn. */
const ROWS_PER_TURN = 1024;

/**
 * Brings all content and the journal to stable storage; how many backing files were synced.
 * @throws OpError io, no-space; the signal's reason.
 */
export async function syncEverything(
  {
    journal,
    contents,
    journalSync,
  }: {
    readonly journal: Journal;
    readonly contents: ContentStore;
    readonly journalSync: JournalSync;
  },
  signal: AbortSignal,
): Promise<number> {
  let after = 0 as ContentId | 0;
  let files = 0;
  for (;;) {
    const page = journal.contents.page(after, ROWS_PER_TURN);
    const fresh = page.filter(
      ({ place, state, stable }) => place === 'file' && state !== 'remote' && stable !== 1,
    );
    if (fresh.length > 0) await contents.fsync(fresh.map(({ id }) => id));
    files += fresh.length;
    const last = page.at(-1);
    if (last === undefined || page.length < ROWS_PER_TURN) break;
    after = last.id;
    await turn();
    signal.throwIfAborted();
  }
  await journalSync.sync();
  return files;
}

/** Files of one step at the end; between two it may be enough. */
const FILES_PER_STEP = 64;

/**
 * At the end: brings content to stable storage as long as the signal lets it, so that the next boot
 * of the machine finds little to look at. What the disk does not take is left to that. Never rejects.
 */
export async function syncAtEnd(
  {
    journal,
    contents,
    journalSync,
    log,
  }: {
    readonly journal: Journal;
    readonly contents: ContentStore;
    readonly journalSync: JournalSync;
    readonly log: Log;
  },
  signal: AbortSignal,
): Promise<void> {
  for (let after = 0 as ContentId | 0; !signal.aborted && journal.failure === undefined; ) {
    const ids = journal.contents.unstable(after, FILES_PER_STEP);
    const last = ids.at(-1);
    if (last === undefined) break;
    after = last;
    await contents.fsync(ids).catch((error: unknown) => {
      log.warn({ err: error }, 'not all content was brought to the disk');
    });
  }
  await journalSync.sync().catch((error: unknown) => {
    log.warn({ err: error }, 'the journal was not brought to the disk');
  });
}
