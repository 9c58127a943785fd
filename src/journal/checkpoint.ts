/**
 * Keeps the WAL bounded. A thread with a connection of its own folds the WAL into the journal's
 * file while the writer goes on; SQLite begins the WAL anew only when a writer finds all of it
 * folded, which never happens while commits keep coming. So when the thread has nearly caught up,
 * the writer's thread folds the small rest itself, between two transactions: no lock is waited for,
 * and the wait is that of two small fsyncs.
 *
 * A second connection in this process is safe only because it belongs to the same SQLite library:
 * POSIX drops all locks a process has on a file when any descriptor of that file is closed
 * (fcntl(2), "Advisory record locking"), and SQLite keeps one list of descriptors per process to
 * prevent that. Workers share the loaded library, and so the list. Nothing else in this process
 * may open the journal's file or its `-shm` file.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import type { Clock } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import {
  CHECKPOINT_INTERVAL_MS,
  CHECKPOINT_MS_MAX,
  CHECKPOINT_PASSES_MAX,
  WAL_BYTES_MAX,
  WAL_FOLDED_BYTES_MIN,
  WAL_REST_BYTES_MAX,
  WAL_RESTARTED_BYTES_MIN,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { type Database, openCheckpointing } from './sqlite.ts';

export interface WalState {
  /** What the WAL holds since it was begun; its file may be longer. */
  readonly usedBytes: number;
  /** The part of it that is not in the journal's file yet. */
  readonly unfoldedBytes: number;
}

/** What the thread answers to each message. */
export type FoldAnswer = WalState | { readonly error: string };

/** The writer's side, on its own thread: the journal. */
export interface WalOwner {
  readonly path: string;
  readonly wal: WalState;
  /** After a failure nothing is folded any more: what the WAL reads as may not be what it is. */
  readonly failure?: unknown;
  foldWal(): void;
}

interface PragmaRow {
  /** Frames in the WAL, and those of them that are in the file. */
  log: number;
  checkpointed: number;
}

/** Bytes of a frame of the WAL beyond its page. */
const FRAME_HEADER_BYTES = 24;

/** Looks at the WAL (NOOP), or folds what readers allow without making anybody wait (PASSIVE). */
export function walState(db: Database, mode: 'NOOP' | 'PASSIVE'): WalState {
  const [row] = db.pragma(`wal_checkpoint(${mode})`) as PragmaRow[];
  if (row === undefined) throw new OpError('journal-unavailable', 'look at the WAL');
  const frameBytes = Number(db.pragma('page_size', { simple: true })) + FRAME_HEADER_BYTES;
  return {
    usedBytes: row.log * frameBytes,
    unfoldedBytes: (row.log - row.checkpointed) * frameBytes,
  };
}

/**
 * Folds until little has come in meanwhile: each pass is shorter than the one before unless the
 * writer is as fast as the disk. The work of the thread.
 */
export function foldWhileWritten(db: Database): WalState {
  let state = walState(db, 'NOOP');
  for (let pass = 0; pass < CHECKPOINT_PASSES_MAX; pass++) {
    if (state.unfoldedBytes <= WAL_REST_BYTES_MAX) break;
    walState(db, 'PASSIVE');
    state = walState(db, 'NOOP');
  }
  return state;
}

/** Whether it is worth waking the thread. */
export const isFoldDue = ({ usedBytes, unfoldedBytes }: WalState): boolean =>
  unfoldedBytes >= WAL_FOLDED_BYTES_MIN ||
  (unfoldedBytes > 0 && usedBytes >= WAL_RESTARTED_BYTES_MIN);

/** Whether the writer's thread shall fold the rest, so that the WAL begins anew. */
export const isRestDue = ({ usedBytes, unfoldedBytes }: WalState): boolean =>
  usedBytes >= WAL_BYTES_MAX ||
  (usedBytes >= WAL_RESTARTED_BYTES_MIN && unfoldedBytes <= WAL_REST_BYTES_MAX);

/** The connection of the thread. */
export const openForFolding = (path: string): Database => openCheckpointing(path);

/**
 * The compiled worker: Node 20 cannot start a thread from TypeScript, so sources that are run as
 * they are use the build beside them.
 */
export function compiledWorkerUrl(moduleUrl: string): URL {
  const folder = moduleUrl.endsWith('.ts') ? '../../dist/src/journal/' : './';
  return new URL(`${folder}checkpoint.worker.js`, moduleUrl);
}

export interface CheckpointerOptions {
  readonly journal: WalOwner;
  readonly clock: Clock;
  readonly log: Log;
  readonly workerUrl?: URL | undefined;
}

export class Checkpointer {
  readonly #journal: WalOwner;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #workerUrl: URL;
  #worker: Worker | undefined;

  constructor({ journal, clock, log, workerUrl }: CheckpointerOptions) {
    this.#journal = journal;
    this.#clock = clock;
    this.#log = log;
    this.#workerUrl = workerUrl ?? compiledWorkerUrl(import.meta.url);
  }

  /**
   * Checkpoints until the signal aborts, then once more, so that closing the journal has little
   * left to do; close it only when this has resolved.
   */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.tick();
      await this.#clock.sleep(CHECKPOINT_INTERVAL_MS, signal).catch(() => undefined);
    }
    if (this.#journal.failure === undefined) await this.#fold();
    await this.#end();
  }

  /** One look at the WAL, and what it asks for. Never rejects: what fails is tried at the next. */
  async tick(): Promise<void> {
    if (this.#journal.failure !== undefined || !isFoldDue(this.#journal.wal)) return;
    await this.#fold();
    const state = this.#journal.wal;
    if (isRestDue(state)) this.#journal.foldWal();
    const { unfoldedBytes } = this.#journal.wal;
    if (unfoldedBytes < WAL_BYTES_MAX) return;
    this.#log.warn({ unfoldedBytes }, 'the WAL grows: a reader keeps it from being folded');
  }

  /** A thread that fails is replaced at the next tick; until then the writer's thread does it. */
  async #fold(): Promise<void> {
    try {
      await this.#ask();
    } catch (error) {
      this.#log.error({ error: asOpError(error, 'checkpoint').message }, 'checkpoint failed');
      await this.#end();
    }
  }

  async #ask(): Promise<WalState> {
    this.#worker ??= this.#start();
    const worker = this.#worker;
    worker.postMessage('fold');
    const timeout = AbortSignal.timeout(CHECKPOINT_MS_MAX);
    // `once` rejects when the thread emits `error` instead.
    const [answer] = (await once(worker, 'message', { signal: timeout })) as [FoldAnswer];
    if ('error' in answer) throw new OpError('journal-unavailable', answer.error);
    return answer;
  }

  #start(): Worker {
    const worker = new Worker(this.#workerUrl, { workerData: { path: this.#journal.path } });
    // Without a listener an error between two messages would end the process.
    worker.on('error', () => {
      if (this.#worker === worker) this.#worker = undefined;
    });
    return worker;
  }

  async #end(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    await worker?.terminate();
  }
}
