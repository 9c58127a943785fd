/**
 * Lets old snapshots go: of each published path the newest stay whole, and what only older ones have is not
 * held any more, which makes it old bytes for retention. So is what publications held that never came to be.
 *
 * Invariants: nothing is let go that a pin, a tree, a snapshot that stays, or whoever stores blocks just now may
 * need; when nobody knows what one of them needs, nothing is. The record of a snapshot goes last, and until
 * then the journal names it, so that a kill at any point only makes the same work be done again.
 */
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import {
  RELEASE_AGAIN_MS,
  RELEASE_BUSY_PART,
  RELEASE_LOOK_MS,
  RELEASE_RETRY_MS,
  RELEASED_AT_ONCE_MAX,
  RELEASED_TOGETHER,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { turn } from '../base/turn.ts';
import { blockKey, type CID, type ContentStore, parseCid } from '../content/content.ts';
import { Marks, type MarksPorts } from './marks.ts';
import { type RootsPorts, rootsKept, snapshotsOf } from './roots.ts';
import { readSnapshot } from './snapshot.ts';
import { hasUnfinished, unfinishedOf } from './unfinished.ts';

export interface ReleaserPorts extends Omit<MarksPorts, 'dag'>, RootsPorts {
  readonly contents: ContentStore;
  readonly clock: Clock;
  readonly log: Log;
}

/** What one round let go. */
export interface Released {
  readonly snapshots: number;
  /** Content objects, and their bytes, those that files show included. */
  readonly objects: number;
  readonly bytes: number;
}

export class Releaser {
  readonly #ports: ReleaserPorts;
  readonly #keep: number;
  /** Why nothing is let go; undefined when all is well. */
  #error: OpError | undefined;
  /** What there was when nothing was left to be done, and when that was. */
  #seen = '';
  #seenSeq = 0;
  #seenMs = 0;

  /** `keep`: how many snapshots of a path stay. */
  constructor(ports: ReleaserPorts, keep: number) {
    this.#ports = ports;
    this.#keep = keep;
  }

  /** Until the signal aborts. @throws its reason; what the journal throws. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock } = this.#ports;
    for (;;) {
      const fromMs = clock.monotonicMs();
      if (this.#isDue(fromMs)) await this.#attempt(signal);
      const restMs = (clock.monotonicMs() - fromMs) * (RELEASE_BUSY_PART - 1);
      // It may have waited for others most of the time.
      const boundMs = Math.min(Math.max(RELEASE_LOOK_MS, restMs), RELEASE_AGAIN_MS);
      await clock.sleep(boundMs, signal);
    }
  }

  /**
   * One round.
   * @throws OpError content-missing, integrity, unsupported: nothing was let go, because a block is lost,
   *   damaged or of an unknown codec, and nobody knows what is below; no-space, io; the signal's reason.
   */
  async release(signal: AbortSignal): Promise<Released> {
    const { journal } = this.#ports;
    const before = this.#releasing();
    const { older } = await snapshotsOf(this.#ports, { keep: this.#keep, isWhole: true }, signal);
    const texts = new Set(
      [...before.map(String), ...older.map(String)].slice(0, RELEASED_AT_ONCE_MAX),
    );
    const releasing = [...texts].map(parseCid);
    // What is being published just now is unfinished, too.
    const isLeft = this.#ports.contents.holding.isQuiet && hasUnfinished(journal);
    if (releasing.length === 0 && !isLeft) return { snapshots: 0, objects: 0, bytes: 0 };
    journal.commit(() => journal.meta.set('releasing', [...texts].join(' ')));
    const round = new Round(this.#ports, this.#keep, releasing, before.length > 0);
    return round.run(signal);
  }

  async #attempt(signal: AbortSignal): Promise<void> {
    const { log, clock } = this.#ports;
    const seen = this.#heads();
    this.#seenSeq = this.#ports.journal.head.seq;
    try {
      const released = await this.release(signal);
      this.#error = undefined;
      if (released.snapshots > 0) log.info({ ...released }, 'old snapshots were let go');
      else if (released.objects > 0) {
        log.info({ ...released }, 'what unfinished publications held was let go');
      }
      // There may be more than one round lets go.
      if (released.snapshots < RELEASED_AT_ONCE_MAX) this.#seen = seen;
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof OpError)) throw error;
      if (this.#error?.failure !== error.failure) log.warn({ err: error }, 'old snapshots stay');
      this.#error = error;
      this.#seen = seen;
    }
    this.#seenMs = clock.monotonicMs();
  }

  #isDue(nowMs: number): boolean {
    if (this.#heads() !== this.#seen) return true;
    if (this.#seenSeq === this.#ports.journal.head.seq) return false;
    const isLeft = this.#releasing().length > 0 || hasUnfinished(this.#ports.journal);
    const isWaiting = this.#error !== undefined || isLeft;
    return isWaiting && nowMs - this.#seenMs >= RELEASE_AGAIN_MS;
  }

  /** What says whether there are more snapshots, or fewer that stay. */
  #heads(): string {
    const { superblocks, targets } = this.#ports.journal;
    const heads = superblocks.allSynced().map(({ snapshotCid }) => snapshotCid?.toString('hex'));
    const held = targets
      .all()
      .map(({ wanted, held }) => [wanted, held].map((root) => root?.snapshot));
    return JSON.stringify([heads, held]);
  }

  #releasing(): CID[] {
    const text = this.#ports.journal.meta.get('releasing') ?? '';
    return text.split(' ').flatMap(cidIn);
  }
}

/** What is damaged names nothing. */
function cidIn(text: string): CID[] {
  try {
    return [parseCid(text)];
  } catch {
    return [];
  }
}

/** Some snapshots on their way out. */
class Round {
  readonly #ports: ReleaserPorts;
  readonly #keep: number;
  readonly #releasing: readonly CID[];
  /** Of these something may have been let go already that somebody wants again. */
  #isBegun: boolean;
  readonly #marks: Marks;
  #epoch = 0;
  #objects = 0;
  #bytes = 0;

  constructor(ports: ReleaserPorts, keep: number, releasing: readonly CID[], isBegun: boolean) {
    this.#ports = ports;
    this.#keep = keep;
    this.#releasing = releasing;
    this.#isBegun = isBegun;
    this.#marks = new Marks(ports);
  }

  async run(signal: AbortSignal): Promise<Released> {
    await this.#mark(signal);
    for (const cid of this.#releasing) await this.#drop(cid, signal);
    for (;;) {
      const snapshots = await this.#letGo(signal);
      const [objects, bytes] = [this.#objects, this.#bytes];
      if (snapshots !== undefined) return { snapshots, objects, bytes };
      const { contents, clock } = this.#ports;
      while (!contents.holding.isQuiet) await clock.sleep(RELEASE_RETRY_MS, signal);
      await this.#mark(signal);
    }
  }

  /** Marks what is kept; once more, what is since. */
  async #mark(signal: AbortSignal): Promise<void> {
    // What is named from here on is named by somebody who stores from here on.
    this.#epoch = this.#ports.contents.holding.epoch;
    for await (const id of unfinishedOf(this.#ports.journal)) this.#marks.dropObject(id);
    for await (const { cid, isAlone, ...how } of rootsKept(this.#ports, this.#keep, signal)) {
      if (isAlone === true) this.#marks.keepAlone(cid);
      else await this.#marks.keep(cid, how, signal);
    }
  }

  async #drop(cid: CID, signal: AbortSignal): Promise<void> {
    try {
      const { tree, manifest } = await readSnapshot(this.#ports.dag, cid, signal);
      for (const root of [tree, manifest]) {
        await this.#marks.drop(root, { isAll: this.#isBegun }, signal);
      }
    } catch (error) {
      signal.throwIfAborted();
      // It is gone already, or damaged: nobody knows what it had.
      if (!(error instanceof OpError)) throw error;
    }
  }

  /** How many snapshots went; undefined: somebody stores blocks, and may need what is left. */
  async #letGo(signal: AbortSignal): Promise<number | undefined> {
    const { journal } = this.#ports;
    let some: ContentId[] = [];
    for (const id of this.#marks.dropped()) {
      if (!this.#isToChange(id)) continue;
      some.push(id);
      if (some.length < RELEASED_TOGETHER) continue;
      if (!this.#change(some)) return undefined;
      some = [];
      await turn();
      signal.throwIfAborted();
    }
    // Nothing may suspend between the look at who stores and the change.
    if (!this.#isStill) return undefined;
    return journal.commitFreeing(() => {
      this.#change(some);
      return this.#dropRecords();
    });
  }

  /** Whether all that is needed is marked. */
  get #isStill(): boolean {
    const { holding } = this.#ports.contents;
    return holding.isQuiet && holding.epoch === this.#epoch;
  }

  #isToChange(id: ContentId): boolean {
    const row = this.#ports.contents.row(id);
    if (row === undefined) return false;
    return this.#marks.isKept(id) ? this.#isBegun && row.held === 0 : row.held === 1;
  }

  #change(ids: readonly ContentId[]): boolean {
    if (!this.#isStill) return false;
    const { journal, contents } = this.#ports;
    journal.commitFreeing(() => {
      for (const id of ids) {
        const size = contents.row(id)?.size ?? 0;
        if (!this.#isToChange(id)) continue;
        if (this.#marks.isKept(id)) contents.hold(id);
        else {
          contents.unhold(id);
          this.#objects += 1;
          this.#bytes += size;
        }
      }
    });
    this.#isBegun = true;
    return true;
  }

  /** Those that nothing else keeps. Inside a transaction. */
  #dropRecords(): number {
    const { journal, contents } = this.#ports;
    const stay: string[] = [];
    for (const cid of this.#releasing) {
      const places = journal.contents.keepersOf(blockKey(cid));
      if (places.some(({ id }) => this.#marks.isKept(id))) stay.push(String(cid));
      else for (const { id, refs } of places) if (refs === 0) contents.discard(id);
    }
    journal.meta.set('releasing', stay.join(' '));
    journal.meta.set('unfinished', '');
    return this.#releasing.length - stay.length;
  }
}
