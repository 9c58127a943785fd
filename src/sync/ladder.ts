/**
 * What stores have of the files of the tree, as they are now: a file is held where a snapshot is held
 * that includes it, and nothing of it was changed since.
 *
 * Invariants: only what a store said counts, and only as long as it says so; what is not known to be
 * unchanged is not held. So a rung may be too low for a moment, and never is too high.
 */
import type { Clock } from '../base/clock.ts';
import type { Failure } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import { SYNC_LOOK_MS } from '../base/limits.ts';
import { turn } from '../base/turn.ts';
import type { Held, Journal, TargetRow } from '../journal/journal.ts';
import { isBelieved, isHeld } from './intend.ts';
import { Since, waysUp } from './since.ts';

/** What a store has of a file, or of a directory with all that is in it. */
export interface Replica {
  readonly store: string;
  readonly state: TargetRow['state'];
  /** Second at which the store last said that it has the snapshot. */
  readonly checkedS: number | undefined;
  readonly failure: Failure | undefined;
}

export interface LadderPolicy {
  /** Stores that shall have a file before it is called replicated; undefined: none ever is. */
  readonly want: number | undefined;
  /** How long a store is believed to have what it said it has, in seconds. */
  readonly checkS: number;
}

interface Followed {
  readonly held: Held;
  readonly since: Since;
}

export class Ladder {
  readonly want: number | undefined;
  readonly #journal: Journal;
  readonly #clock: Clock;
  readonly #checkS: number;
  readonly #followed = new Map<string, Followed>();

  constructor(
    { journal, clock }: { readonly journal: Journal; readonly clock: Clock },
    { want, checkS }: LadderPolicy,
  ) {
    this.#journal = journal;
    this.#clock = clock;
    this.#checkS = checkS;
    this.want = want;
  }

  /** One for each store that shall have it. */
  of(ino: Ino): readonly Replica[] {
    const best = new Map<string, Replica>();
    for (const row of this.#journal.targets.all()) {
      const replica = this.#replicaOf(ino, row);
      const known = best.get(row.target);
      if (replica !== undefined && (known === undefined || isHeld(replica))) {
        best.set(row.target, replica);
      }
    }
    return [...best.values()];
  }

  /** What a store holds that has the file as it is now; undefined: none has it. */
  holding(ino: Ino): TargetRow | undefined {
    return this.#journal.targets.all().find((row) => {
      const followed = this.#follow(row);
      return followed !== undefined && this.#isHeld(ino, followed);
    });
  }

  /** Keeps up with the journal, so that who asks need not wait. Until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    for (;;) {
      for (const row of this.#journal.targets.all()) {
        const { since } = this.#follow(row) ?? {};
        while (since?.isKnown === true && !since.catchUp()) {
          await turn();
          signal.throwIfAborted();
        }
      }
      await this.#clock.sleep(SYNC_LOOK_MS, signal);
    }
  }

  #replicaOf(ino: Ino, row: TargetRow): Replica | undefined {
    const { target: store, wanted, checkedS, failure } = row;
    const facts = { store, checkedS, failure };
    const followed = this.#follow(row);
    const at = { nowS: this.#clock.now().s, checkS: this.#checkS };
    if (followed !== undefined && isBelieved(row, at) && this.#isHeld(ino, followed)) {
      return { ...facts, state: followed.held.pin ? 'pinned' : 'stored' };
    }
    if (waysUp(this.#journal, ino, wanted.ino).length === 0) return undefined;
    // What the store has is not this any more.
    return { ...facts, state: isHeld(row) ? 'queued' : row.state };
  }

  #isHeld(ino: Ino, { held, since }: Followed): boolean {
    if (this.#journal.hasUncommitted || !since.catchUp()) return false;
    if (!since.isSame(ino, held.ino)) return false;
    // What is written just now has no record yet.
    return this.#journal.sessions
      .all()
      .every((session) => waysUp(this.#journal, session.ino, ino).length === 0);
  }

  /** undefined: nothing is held, or nobody knows since when. */
  #follow({ path, target, held }: TargetRow): Followed | undefined {
    const key = `${target} ${path}`;
    if (held === undefined || held.seq === 0) {
      this.#followed.delete(key);
      return undefined;
    }
    const known = this.#followed.get(key);
    const isSame = known?.held.seq === held.seq && known.held.ino === held.ino;
    const since = isSame ? known.since : new Since(this.#journal, held.seq);
    const followed = { held, since };
    this.#followed.set(key, followed);
    return followed;
  }
}
