/**
 * The background loop that settles what is owed to stores outside: each at its time, one writer for
 * each store, a few stores at once.
 *
 * Invariants: the rows are the only memory of what is owed, so a kill loses nothing; a store that
 * fails keeps no other one waiting; what is held is asked for again from time to time, which is the
 * same attempt once more; while the journal takes no note of a failure, nothing is tried at once again.
 */
import type { IpfsNode } from '../backend/backend.ts';
import { asOpError, OpError } from '../base/errors.ts';
import type { Name } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { Pace } from '../base/pace.ts';
import type { TargetRow } from '../journal/journal.ts';
import { dueAt, failed, isHeld, isSameRoot, type RootKeys, retryDelayS } from './intend.ts';
import { type Sent, type UploadPorts, upload } from './upload.ts';

export interface UploadsPorts extends UploadPorts {
  readonly log: Log;
  /** undefined: it is not configured (any more). */
  nodeOf(target: string): IpfsNode | undefined;
}

export interface UploadLimits {
  /** Stores that are written to at once. */
  readonly atOnce: number;
  readonly pace?: Pace | undefined;
  /** How long a store is believed to have what it said it has, in seconds. */
  readonly checkS: number;
}

/** What is under way. */
export interface UnderWay {
  readonly path: Name;
  readonly target: string;
  readonly sent: Sent;
}

/** The end of an attempt. */
export interface Outcome {
  readonly row: TargetRow;
  /** undefined: it is held. */
  readonly error: OpError | undefined;
}

interface Watcher {
  readonly path: Name;
  readonly target: string;
  readonly wanted: RootKeys;
  tell(outcome: Outcome): void;
  /** What was sent so far. */
  progress?: ((sent: Sent) => void) | undefined;
}

const MS_PER_S = 1000;

export class Uploads {
  readonly #ports: UploadsPorts;
  readonly #limits: UploadLimits;
  readonly #active = new Map<string, UnderWay>();
  readonly #watchers = new Set<Watcher>();
  /** Ends the pause of the loop; a notification between two pauses ends the next one. */
  #wake: () => void = () => undefined;
  #isNotified = false;
  /** Failures in a row that the journal took no note of, and the time before which nothing is tried then. */
  #unnoted = 0;
  #notBeforeMs = 0;

  constructor(ports: UploadsPorts, limits: UploadLimits) {
    this.#ports = ports;
    this.#limits = limits;
  }

  get underWay(): readonly UnderWay[] {
    return [...this.#active.values()];
  }

  /** Something is owed. */
  notify(): void {
    this.#isNotified = true;
    this.#wake();
  }

  /** Settles what is due until the signal aborts; resolves when nothing is under way any more. */
  async run(signal: AbortSignal): Promise<void> {
    const works = new Set<Promise<void>>();
    while (!signal.aborted) {
      this.#isNotified = false;
      const { s: nowS } = this.#ports.clock.now();
      const restMs = Math.max(0, this.#notBeforeMs - this.#ports.clock.monotonicMs());
      let nextS: number | undefined;
      for (const row of this.#ports.journal.targets.all()) {
        const ownS = dueAt(row, this.#limits.checkS);
        if (ownS === undefined || this.#active.has(row.target)) continue;
        const dueS = Math.max(ownS, nowS + Math.ceil(restMs / MS_PER_S));
        if (dueS > nowS) nextS = Math.min(nextS ?? dueS, dueS);
        else if (this.#active.size < this.#limits.atOnce) {
          const work = this.#attempt(row, signal).finally(() => {
            works.delete(work);
            this.notify();
          });
          works.add(work);
        }
      }
      await this.#pause(nextS === undefined ? undefined : (nextS - nowS) * MS_PER_S, signal);
    }
    await Promise.all(works);
  }

  /**
   * How the next attempt to bring this snapshot to a store ends, or one that took its place; at once
   * when that is held.
   * @throws the signal's reason: the attempt goes on without its watcher.
   */
  async outcome(
    { path, target, wanted, progress }: Omit<Watcher, 'tell'>,
    signal: AbortSignal,
  ): Promise<Outcome> {
    signal.throwIfAborted();
    const row = this.#ports.journal.targets.get(path, target);
    if (row !== undefined && row.dueS === undefined && row.held !== undefined) {
      const isDone = isSameRoot(row.held, wanted) || isSameRoot(row.held, row.wanted);
      if (isDone) return { row, error: undefined };
    }
    let end = (): void => undefined;
    const ending = new Promise<Outcome>((resolve, reject) => {
      const watcher = { path, target, wanted, progress, tell: resolve };
      const stop = () => reject(signal.reason);
      signal.addEventListener('abort', stop, { once: true });
      this.#watchers.add(watcher);
      end = () => {
        this.#watchers.delete(watcher);
        signal.removeEventListener('abort', stop);
      };
    });
    return ending.finally(() => end());
  }

  /** What is owed of the trees at a path and below it, to stores that are configured. */
  owedBelow(path: Name): readonly TargetRow[] {
    return this.#ports.journal.targets.all().filter((row) => {
      const isBelow = row.path === path || row.path.startsWith(`${path}/`);
      const isOwed = row.dueS !== undefined || !isHeld(row);
      return isBelow && isOwed && this.#ports.nodeOf(row.target) !== undefined;
    });
  }

  /**
   * Resolves when nothing of the trees at a path and below it is owed; each is tried now, and once.
   * @throws OpError what one of them failed with; the signal's reason.
   */
  async settle(path: Name, signal: AbortSignal): Promise<void> {
    const { journal, clock } = this.#ports;
    const owed = this.owedBelow(path);
    const tried = owed.filter(({ dueS }) => dueS !== undefined);
    // It may fail: nobody waits for anything yet.
    journal.commit(() => {
      const nowS = clock.now().s;
      for (const row of tried)
        if ((row.dueS ?? 0) > nowS) journal.targets.put({ ...row, dueS: nowS });
    });
    this.#notBeforeMs = 0;
    const ends = Promise.all(tried.map((row) => this.outcome(row, signal)));
    this.notify();
    const errors = (await ends).map(({ error }) => error);
    for (const { dueS, target, failure } of owed) {
      // Time does not mend it, and nobody tries it.
      if (dueS === undefined && failure !== undefined) {
        errors.push(new OpError(failure, `sync to ${target}`));
      }
    }
    const error = errors.find((one) => one !== undefined);
    if (error !== undefined) throw error;
  }

  /** Never rejects. */
  async #attempt(row: TargetRow, signal: AbortSignal): Promise<void> {
    const { path, target } = row;
    const op = `sync to ${target}`;
    try {
      await this.#carry(row, signal).catch((error: unknown) => {
        // Stopped, not failed: the next daemon goes on with it.
        if (!signal.aborted) this.#fail(row, asOpError(error, op));
      });
      this.#unnoted = 0;
    } catch (thrown) {
      // A full disk, perhaps: the row says that it is due still.
      const { clock, log } = this.#ports;
      const error = asOpError(thrown, op);
      this.#unnoted += 1;
      this.#notBeforeMs = clock.monotonicMs() + retryDelayS(this.#unnoted) * MS_PER_S;
      log.error({ path, target, err: error }, 'the journal took no note of an attempt that failed');
      for (const watcher of this.#watchersOf(row)) watcher.tell({ row, error });
    } finally {
      this.#active.delete(target);
    }
  }

  /** @throws OpError as `upload` does; not-configured. */
  async #carry(row: TargetRow, signal: AbortSignal): Promise<void> {
    const { path, target } = row;
    const { pace } = this.#limits;
    const tell = (sent: Sent) => {
      this.#active.set(target, { path, target, sent });
      for (const watcher of this.#watchersOf(row)) watcher.progress?.(sent);
    };
    tell({ blocks: 0, bytes: 0 });
    const node = this.#ports.nodeOf(target);
    if (node === undefined) throw notConfigured(target);
    const through = pace === undefined ? undefined : pace.through(signal);
    const done = await upload(this.#ports, node, row, { signal, progress: tell, through });
    this.#tell({ row: done, error: undefined });
  }

  /** @throws OpError no-space, io: the journal did not take it. */
  #fail({ path, target, wanted }: TargetRow, error: OpError): void {
    const { journal, clock, log } = this.#ports;
    const row = journal.commit(() => {
      const now = journal.targets.get(path, target);
      if (now === undefined || !isSameRoot(now.wanted, wanted)) return now;
      const next = failed(now, error.failure, { nowS: clock.now().s, checkS: this.#limits.checkS });
      journal.targets.put(next);
      return next;
    });
    if (row === undefined) return;
    log.warn(
      { path, target, error, attempts: row.attempts },
      'a tree could not be brought to a store',
    );
    this.#tell({ row: { ...row, wanted }, error });
  }

  #tell(outcome: Outcome): void {
    const { row, error } = outcome;
    const { path, target, wanted, pin } = row;
    const now = this.#ports.journal.targets.get(path, target);
    const isCurrent = now !== undefined && isSameRoot(now.wanted, wanted);
    // Meanwhile a pin was asked for, or none: the next attempt tells.
    if (isCurrent && error === undefined && now.pin !== pin) return;
    for (const watcher of [...this.#watchers]) {
      if (watcher.path !== path || watcher.target !== target) continue;
      // What is wanted now took the place of all that was wanted before.
      if (isCurrent || isSameRoot(watcher.wanted, wanted)) watcher.tell(outcome);
    }
  }

  #watchersOf({ path, target, wanted }: TargetRow): readonly Watcher[] {
    return [...this.#watchers].filter(
      (watcher) =>
        watcher.path === path && watcher.target === target && isSameRoot(watcher.wanted, wanted),
    );
  }

  /** Until somebody notifies, or the time is up, or the end. */
  async #pause(delayMs: number | undefined, signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const either = AbortSignal.any([signal, ended.signal]);
    const woken = new Promise<void>((resolve) => {
      this.#wake = resolve;
      either.addEventListener('abort', () => resolve(), { once: true });
      if (this.#isNotified || either.aborted) resolve();
    });
    const waits = [woken];
    if (delayMs !== undefined) {
      waits.push(this.#ports.clock.sleep(delayMs, either).catch(() => undefined));
    }
    await Promise.race(waits);
    ended.abort();
  }
}

const notConfigured = (target: string): OpError =>
  new OpError('not-configured', `sync to ${target}`, {
    hint: 'configure the store again, or leave it out',
    details: { service: target },
  });
