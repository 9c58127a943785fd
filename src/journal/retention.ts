/**
 * Lets old history go, in small steps: whole commit groups from the oldest on, and old bytes that
 * only history wants. What is elsewhere frees nothing here, and goes by age alone. `retained_from`
 * remembers where the chain was cut, so that the rest stays verifiable from there.
 *
 * Invariants: a group is never split; the newest group always stays; bytes that an inode shows,
 * that the block store holds, or that an open write session would undo to are never discarded.
 */
import type { ContentId } from '../base/ids.ts';
import { GIVEN_WAY_BYTES_MAX } from '../base/limits.ts';
import { Chain, formatPoint } from './chain.ts';
import type { Journal } from './journal.ts';
import type { ChainPoint } from './ops.ts';
import type { Statement } from './sqlite.ts';

export interface RetentionPolicy {
  /** Age, in seconds, up to which records and old bytes are kept. */
  readonly keepS: number;
  /** Records kept at most, whatever their age. */
  readonly recordsMax: number;
  /** Old bytes kept at most, whatever their age. */
  readonly oldBytesMax: number;
}

export interface RetentionOptions {
  readonly journal: Journal;
  readonly policy: RetentionPolicy;
  /** Removes a content object and its rows; called inside a transaction. */
  readonly discard: (id: ContentId) => void;
}

/** Records deleted by one step, unless one group alone has more: some milliseconds of work. */
const RECORDS_PER_STEP_MAX = 1000;
/** Content objects discarded by one step. */
const CONTENTS_PER_STEP_MAX = 100;

export class Retention {
  readonly #journal: Journal;
  readonly #policy: RetentionPolicy;
  readonly #discard: (id: ContentId) => void;
  readonly #chain: Chain;
  readonly #time: Statement;
  readonly #deleteRecords: Statement;
  /**
   * Old bytes there are here, while steps follow each other: the sum reads a row for each old object, and
   * what is released meanwhile may wait for the next time.
   */
  #oldBytes: number | undefined;

  constructor({ journal, policy, discard }: RetentionOptions) {
    const db = journal.connection;
    this.#journal = journal;
    this.#policy = policy;
    this.#discard = discard;
    this.#chain = new Chain(db);
    this.#time = db.prepare('SELECT time_s FROM op WHERE seq = ?').pluck();
    this.#deleteRecords = db.prepare('DELETE FROM op WHERE seq <= ?');
  }

  /**
   * One bounded transaction. True: call again soon, there is more to let go.
   * @throws OpError as `Journal.commit` does; what `discard` throws.
   */
  step(): boolean {
    return this.#journal.commitFreeing(({ now }) => {
      const keptFromS = now.s - this.#policy.keepS;
      const hasMoreRecords = this.#dropRecords(keptFromS);
      const hasMoreBytes = this.#dropBytes(keptFromS);
      const hasMore = hasMoreRecords || hasMoreBytes;
      if (!hasMore) this.#oldBytes = undefined;
      return hasMore;
    });
  }

  /**
   * On a full disk: lets the oldest bytes here go that only history wants, whatever their age, some
   * at a time. False when there are none. @throws as `step`.
   */
  giveWay(): boolean {
    this.#oldBytes = undefined;
    return this.#journal.commitFreeing(() => {
      const { contents } = this.#journal;
      let bytes = 0;
      for (const { id, size } of contents.releasedHere(CONTENTS_PER_STEP_MAX)) {
        if (bytes >= GIVEN_WAY_BYTES_MAX) break;
        this.#discard(id);
        bytes += size;
      }
      return bytes > 0;
    });
  }

  #dropRecords(keptFromS: number): boolean {
    const from = this.#chain.retainedFrom();
    const { cut, hasMore } = this.#cut(from, keptFromS);
    if (cut === undefined) return false;
    this.#deleteRecords.run(cut.seq);
    this.#journal.meta.set('retained_from', formatPoint(cut));
    return hasMore;
  }

  /** Where the chain may be cut now: behind a group that is too old, or one too many. */
  #cut(from: ChainPoint, keptFromS: number): { cut: ChainPoint | undefined; hasMore: boolean } {
    const head = this.#journal.head.seq;
    let cut: ChainPoint | undefined;
    for (const end of this.#journal.ops.groupEnds(from.seq, RECORDS_PER_STEP_MAX)) {
      const isDue = end.seq < head && this.#isDue(end, cut ?? from, keptFromS);
      if (!isDue) return { cut, hasMore: false };
      cut = end;
      if (cut.seq - from.seq >= RECORDS_PER_STEP_MAX) break;
    }
    return { cut, hasMore: cut !== undefined };
  }

  /** Records of one group share one moment. `before`: where the chain begins without the group. */
  #isDue(end: ChainPoint, before: ChainPoint, keptFromS: number): boolean {
    const isTooMany = this.#journal.head.seq - before.seq > this.#policy.recordsMax;
    return isTooMany || (this.#time.get(end.seq) as number) < keptFromS;
  }

  #dropBytes(keptFromS: number): boolean {
    const { contents } = this.#journal;
    this.#oldBytes ??= contents.releasedBytes();
    const aged = contents.released(keptFromS, CONTENTS_PER_STEP_MAX);
    for (const { id, size, state } of aged) {
      this.#discard(id);
      if (state !== 'remote') this.#oldBytes -= size;
    }
    if (aged.length === CONTENTS_PER_STEP_MAX) return true;
    if (this.#oldBytes <= this.#policy.oldBytesMax) return false;
    const oldest = contents.releasedHere(CONTENTS_PER_STEP_MAX);
    for (const { id, size } of oldest) {
      if (this.#oldBytes <= this.#policy.oldBytesMax) return false;
      this.#discard(id);
      this.#oldBytes -= size;
    }
    return oldest.length === CONTENTS_PER_STEP_MAX;
  }
}
