/**
 * Keeps copies of published trees current: asks what their names mean now, and brings what has
 * changed since.
 *
 * Invariants: a copy changes at one moment, from one published tree to another, or not at all; when
 * the name cannot be asked, or what it means cannot be had, the copy stays as it is, and its state
 * says why. Which copies there are is not kept here: they are mounted, or they are not followed.
 */
import { assert } from '../base/assert.ts';
import type { Clock, Instant } from '../base/clock.ts';
import { asOpError, type OpError } from '../base/errors.ts';
import type { TreePlan } from '../base/graft.ts';
import { type Ino, type Name, ROOT_INO, textOf } from '../base/ids.ts';
import { FOLLOW_INTERVAL_S, FOLLOWED_AT_ONCE_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { CID } from '../content/content.ts';
import type { Actor } from '../journal/journal.ts';
import { OPEN_GATE } from './freeze.ts';
import type { Restored, Restorer } from './restore.ts';

/** A copy that is mounted. */
export interface Copy {
  readonly mountId: string;
  readonly path: Name;
  readonly root: Ino;
  /** `/ipns/<name>…` */
  readonly source: string;
  /** The CID of what it shows, as text. */
  readonly shown: string | undefined;
  readonly intervalS: number | undefined;
}

/** Whoever has the mount table and may write the copies. */
export interface Copies {
  all(): readonly Copy[];
  /** In a transaction, all of it. @throws OpError cancelled: it is not followed any more. */
  bring(copy: Copy, plan: TreePlan, shown: string): void;
}

export interface FollowerOptions {
  readonly copies: Copies;
  readonly restorer: Pick<Restorer, 'restore'>;
  /** What `/ipns/<name>…` means at this moment. @throws OpError why nobody can say. */
  readonly meaningOf: (source: string, signal: AbortSignal) => Promise<CID>;
  readonly clock: Clock;
  readonly log: Log;
  /** Who runs the daemon; uid 0 may have devices, owners and set-id bits restored. */
  readonly owner: { readonly uid: number; readonly gid: number };
}

/** A copy that is to be. */
export interface FollowRequest {
  readonly source: string;
  readonly path: Name;
  actor(): Actor;
  /** Mounts it, filled by this plan, whose root is still to be made. Called in a transaction. */
  mount(plan: TreePlan, shown: string): void;
  readonly onRecord?: (() => void) | undefined;
}

/** What is known of a copy. */
export interface FollowState extends Pick<Copy, 'mountId' | 'path' | 'source' | 'shown'> {
  readonly intervalS: number;
  /** When its name was last asked for with success; undefined: not since the start. */
  readonly checkedAt: Instant | undefined;
  /** Why the last look failed. */
  readonly error: OpError | undefined;
}

interface Look {
  /** Of the next one, on the monotonic clock. */
  readonly dueMs: number;
  readonly checkedAt: Instant | undefined;
  readonly error: OpError | undefined;
}

/** How long it rests when there is nothing to follow. */
const IDLE_MS = 3_600_000;

export class Follower {
  readonly #options: FollowerOptions;
  /** By mount. */
  readonly #looks = new Map<string, Look>();
  readonly #running = new Map<string, Promise<void>>();
  #woken = new AbortController();

  constructor(options: FollowerOptions) {
    this.#options = options;
  }

  /**
   * Makes a copy, which is all there from its first moment on.
   * @throws OpError what `meaningOf`, `Restorer.restore` and `mount` throw; nothing is made then.
   */
  async begin(request: FollowRequest, signal: AbortSignal): Promise<Restored> {
    const { source, path, actor, onRecord } = request;
    const cid = await this.#options.meaningOf(source, signal);
    const missing = path.split('/').slice(1) as Name[];
    const write = (plan: TreePlan) =>
      request.mount(planBelow(plan, missing.length), cid.toString());
    const at = { existing: ROOT_INO, missing, path, actor, onRecord };
    const restored = await this.#restore(cid, { ...at, writer: { write } }, signal);
    this.wake();
    return restored;
  }

  /** Looks at once whether there is a copy that was not looked at yet. */
  wake(): void {
    this.#woken.abort();
  }

  /** In the order of their paths. */
  states(): readonly FollowState[] {
    return this.#options.copies.all().map(({ mountId, path, source, shown, intervalS }) => {
      const { checkedAt, error } = this.#looks.get(mountId) ?? {};
      const every = intervalS ?? FOLLOW_INTERVAL_S;
      return { mountId, path, source, shown, intervalS: every, checkedAt, error };
    });
  }

  /** Follows all there are, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    try {
      while (!signal.aborted) {
        this.#woken = new AbortController();
        const until = AbortSignal.any([signal, this.#woken.signal]);
        const restMs = this.#beginDue(signal);
        await this.#options.clock.sleep(restMs, until).catch(() => {}); // Woken, or told to stop.
      }
    } finally {
      await Promise.all(this.#running.values());
    }
  }

  /** Answers how long it may rest then. */
  #beginDue(signal: AbortSignal): number {
    const copies = this.#options.copies.all();
    const mounted = new Set(copies.map(({ mountId }) => mountId));
    for (const mountId of this.#looks.keys()) {
      if (!mounted.has(mountId)) this.#looks.delete(mountId);
    }
    const nowMs = this.#options.clock.monotonicMs();
    let nextMs = nowMs + IDLE_MS;
    for (const copy of copies) {
      const dueMs = this.#looks.get(copy.mountId)?.dueMs ?? nowMs;
      if (dueMs > nowMs) nextMs = Math.min(nextMs, dueMs);
      // Of more than that the end of another one tells.
      else if (this.#running.size < FOLLOWED_AT_ONCE_MAX) this.#start(copy, signal);
    }
    return nextMs - nowMs;
  }

  #start(copy: Copy, signal: AbortSignal): void {
    const { mountId } = copy;
    if (this.#running.has(mountId)) return;
    const work = this.#look(copy, signal).finally(() => {
      this.#running.delete(mountId);
      this.wake();
    });
    this.#running.set(mountId, work);
  }

  /** Never rejects. */
  async #look(copy: Copy, signal: AbortSignal): Promise<void> {
    const { clock, log } = this.#options;
    const { mountId, source, intervalS = FOLLOW_INTERVAL_S } = copy;
    const path = textOf(copy.path);
    const before = this.#looks.get(mountId);
    let error: OpError | undefined;
    try {
      const counts = await this.#refresh(copy, signal);
      if (counts !== undefined) log.info({ path, source, ...counts }, 'brought a copy up to date');
    } catch (thrown) {
      if (signal.aborted) return;
      error = asOpError(thrown, `follow ${source}`);
      const isNews = before?.error?.failure !== error.failure;
      if (isNews) log.warn({ err: error, path, source }, 'a copy stays as it is');
    }
    const dueMs = clock.monotonicMs() + intervalS * 1000;
    const checkedAt = error === undefined ? clock.now() : before?.checkedAt;
    this.#looks.set(mountId, { dueMs, checkedAt, error });
  }

  /** undefined: it shows already what the name means. */
  async #refresh(copy: Copy, signal: AbortSignal): Promise<Restored['counts'] | undefined> {
    const { copies, meaningOf, owner } = this.#options;
    const cid = await meaningOf(copy.source, signal);
    const shown = cid.toString();
    if (shown === copy.shown) return undefined;
    const write = (plan: TreePlan) => copies.bring(copy, plan, shown);
    const actor = (): Actor => ({ surface: 'daemon', ...owner });
    const at = { existing: copy.root, missing: [], path: copy.path, actor };
    return (await this.#restore(cid, { ...at, writer: { write } }, signal)).counts;
  }

  #restore(
    cid: CID,
    at: Pick<
      Parameters<Restorer['restore']>[0],
      'existing' | 'missing' | 'path' | 'writer' | 'actor' | 'onRecord'
    >,
    signal: AbortSignal,
  ): Promise<Restored> {
    const { restorer, owner } = this.#options;
    const conflicts = { how: 'restore', policy: 'keep_remote' } as const;
    const how = { conflicts, applyDeletions: true, isCopy: true };
    const request = { cid, ...at, ...how, isRoot: owner.uid === 0, dryRun: false, gate: OPEN_GATE };
    return restorer.restore(request, { signal, progress: () => {} });
  }
}

/** The plan from the directory that it makes at a depth: what is in it, and what it is itself. */
function planBelow(plan: TreePlan, depth: number): TreePlan {
  let { metadata, children } = plan;
  for (let at = 0; at < depth; at += 1) {
    const [entry] = children;
    assert(entry?.action === 'make', 'what is missing is made');
    ({ metadata, children } = entry);
  }
  return { root: 0 as Ino, linksFrom: [], metadata, children };
}
