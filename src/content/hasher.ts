/**
 * A few threads that hash, so that the thread that answers the kernel never does. Started when
 * first needed; one that dies fails what it was doing, and a new one takes the next work.
 *
 * A thread needs a compiled file, because Node 20 runs no TypeScript: sources that are run as they
 * are, by the unit tests, use `seal.worker.js` of the build beside them.
 */
import { Worker } from 'node:worker_threads';
import { asOpError, OpError } from '../base/errors.ts';
import { HASH_WORKERS_MAX } from '../base/limits.ts';
import type { Hashed } from './hash.ts';

/** Bytes to hash: themselves, at most one chunk of them, or the first `size` of a file. */
export type HashItem =
  | { readonly bytes: Uint8Array }
  | { readonly path: string; readonly size: number };

/** In the order of the items; one that failed fails alone. */
export type HashOutcome = Hashed | OpError;

export interface HashRequest {
  readonly job: number;
  /** Absent: stop working on that job. */
  readonly items?: readonly HashItem[];
}

export interface HashFailure {
  readonly message: string;
  /** Of a system call, or `SHORT` when the file ended before `size`. */
  readonly code: string | undefined;
}

export interface HashReply {
  readonly job: number;
  readonly results: readonly (Hashed | HashFailure)[];
}

interface Job {
  resolve(outcomes: HashOutcome[]): void;
  reject(error: unknown): void;
}

interface Thread {
  readonly worker: Worker;
  readonly jobs: Map<number, Job>;
}

export interface HashPoolOptions {
  readonly threadsMax?: number;
  /** The compiled worker; by default the one that belongs to this file. */
  readonly script?: URL;
}

export class HashPool {
  readonly #threadsMax: number;
  readonly #script: URL;
  readonly #threads = new Set<Thread>();
  #jobs = 0;
  #isClosed = false;

  constructor(options: HashPoolOptions = {}) {
    this.#threadsMax = options.threadsMax ?? HASH_WORKERS_MAX;
    this.#script = options.script ?? compiledWorker(import.meta.url);
  }

  /** How many batches make sense at a time. */
  get width(): number {
    return this.#threadsMax;
  }

  /**
   * Hashes in one of the threads.
   * @throws OpError io when the thread died, not-running after `close`; the signal's reason.
   */
  hash(items: readonly HashItem[], signal: AbortSignal): Promise<HashOutcome[]> {
    if (signal.aborted) return Promise.reject(signal.reason);
    if (this.#isClosed) return Promise.reject(new OpError('not-running', 'hash content'));
    const thread = this.#leastBusy();
    this.#jobs += 1;
    const job = this.#jobs;
    return new Promise<HashOutcome[]>((resolve, reject) => {
      const onAbort = () => {
        thread.jobs.delete(job);
        thread.worker.postMessage({ job } satisfies HashRequest);
        reject(signal.reason);
      };
      const settled = () => signal.removeEventListener('abort', onAbort);
      thread.jobs.set(job, {
        resolve: (outcomes) => {
          settled();
          resolve(outcomes);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
      });
      signal.addEventListener('abort', onAbort, { once: true });
      thread.worker.postMessage({ job, items } satisfies HashRequest);
    });
  }

  /** Ends the threads; what they were doing fails. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await Promise.all([...this.#threads].map(({ worker }) => worker.terminate()));
  }

  #leastBusy(): Thread {
    const idle = [...this.#threads].sort((a, b) => a.jobs.size - b.jobs.size)[0];
    if (idle?.jobs.size === 0) return idle;
    if (idle !== undefined && this.#threads.size >= this.#threadsMax) return idle;
    return this.#start();
  }

  #start(): Thread {
    const worker = new Worker(this.#script, { name: 'kitfs-hash' });
    const thread: Thread = { worker, jobs: new Map() };
    this.#threads.add(thread);
    // The daemon may end while a thread idles.
    worker.unref();
    const end = (cause: unknown) => {
      this.#threads.delete(thread);
      for (const { reject } of thread.jobs.values()) {
        reject(new OpError('io', 'hash content', { cause, hint: 'the hashing thread ended' }));
      }
      thread.jobs.clear();
    };
    worker.on('error', end);
    worker.on('exit', (code) => end(new Error(`exit code ${code}`)));
    worker.on('message', ({ job, results }: HashReply) => {
      const waiting = thread.jobs.get(job);
      thread.jobs.delete(job);
      waiting?.resolve(results.map(outcomeOf));
    });
    return thread;
  }
}

function compiledWorker(moduleUrl: string): URL {
  const folder = moduleUrl.endsWith('.ts') ? '../../dist/src/content/' : './';
  return new URL(`${folder}seal.worker.js`, moduleUrl);
}

function outcomeOf(result: Hashed | HashFailure): HashOutcome {
  if ('cid' in result) return result;
  const cause = Object.assign(new Error(result.message), { code: result.code });
  // The rows say how long a backing file is and that it exists; anything less is damage.
  if (result.code !== 'SHORT' && result.code !== 'ENOENT') return asOpError(cause, 'hash content');
  return new OpError('integrity', 'hash content', { cause });
}
