/**
 * Puts in order what `check.ts` finds: one transaction for each finding, with records of what it
 * changed in the tree. For a process that has the journal to itself.
 *
 * Invariants: a repair that fails changes nothing, and its finding is left; what was repaired is
 * asked for again at the end, and only what no rule finds any more counts as in order.
 */
import { asOpError } from '../base/errors.ts';
import { type ContentId, nameOf } from '../base/ids.ts';
import { FINDINGS_MAX } from '../base/limits.ts';
import { Chain } from './chain.ts';
import { type BrokenRow, checkJournal, type Finding, findingOf } from './check.ts';
import type { ContentRow } from './contents.ts';
import type { Invariant } from './invariant.ts';
import { INVARIANTS } from './invariants.ts';
import type { Tx } from './journal.ts';
import { left, type Mend, type Mended, Mending, type RepairOptions, SETTLED } from './mending.ts';
import { recountRefs } from './mending-bytes.ts';
import { CALL_MENDS } from './mends-calls.ts';
import { ADVICE, CONTENT_MENDS, loseBytes } from './mends-content.ts';
import { INODE_MENDS } from './mends-inodes.ts';
import { NAME_MENDS } from './mends-names.ts';
import { SYNC_MENDS } from './mends-sync.ts';
import { Places } from './places.ts';

export interface MendedFinding extends Finding, Mended {}

export const MENDS: Readonly<Record<string, Mend>> = {
  ...NAME_MENDS,
  ...INODE_MENDS,
  ...CONTENT_MENDS,
  ...CALL_MENDS,
  ...SYNC_MENDS,
};

/** A repair can bring to light what another one hid; nothing known takes more than three. */
const PASSES_MAX = 8;
const LASTS = left('nothing can mend it');

/** Bytes in a file of no row, and how they get the name of the object that will have them. */
export interface LooseBytes {
  readonly size: number;
  /**
   * Gives the file the object's name besides its own; from then on the disk has its bytes by that.
   * @throws what link(2) fails with; OpError io, no-space: nothing has that name then.
   */
  name(id: ContentId): void;
  /** Takes `name` back. */
  unname(id: ContentId): void;
}

export class Repair {
  readonly #options: RepairOptions;
  readonly #told = new Map<string, MendedFinding>();

  constructor(options: RepairOptions) {
    this.#options = options;
  }

  /** Findings so far, each with what became of it. */
  get findings(): readonly MendedFinding[] {
    return [...this.#told.values()];
  }

  /**
   * Puts in order what breaks the rules of SCHEMA.md.
   * @throws the signal's reason; OpError when the journal cannot be written at all.
   */
  rules(signal: AbortSignal): void {
    const { journal } = this.#options;
    for (const finding of checkJournal(journal, { signal })) this.tell(finding, SETTLED);
    for (let pass = 0; pass < PASSES_MAX; pass++) {
      let mended = 0;
      for (const rule of INVARIANTS) {
        signal.throwIfAborted();
        mended += this.#all(rule);
      }
      if (mended === 0) break;
    }
    this.#noteEnd();
  }

  /** Whatever a rule finds now is left. */
  last(signal: AbortSignal): void {
    for (const finding of checkJournal(this.#options.journal, { signal })) {
      const known = this.#told.get(keyOf(finding));
      const action = ADVICE[finding.rule] ?? LASTS.action;
      this.tell(finding, known?.outcome === 'left' ? known : left(action));
    }
  }

  tell(finding: Finding, { outcome, action }: Mended): void {
    const key = keyOf(finding);
    const known = this.#told.get(key);
    const isNews = known === undefined || action !== SETTLED.action;
    if (isNews) this.#told.set(key, { ...(known ?? finding), outcome, action });
  }

  /** The bytes of an object are not those that it should have. @throws OpError. */
  lose(content: ContentRow, kept: Buffer | LooseBytes | undefined): Mended {
    return this.#mend('bytes', (mending, tx) => {
      const there = kept === undefined || Buffer.isBuffer(kept) ? kept : adopted(mending, tx, kept);
      return loseBytes(mending, content, there);
    });
  }

  /** A file of nobody is one of the tree. @throws OpError. */
  adopt(label: string, loose: LooseBytes): Mended {
    return this.#mend('stray', (mending, tx) => {
      const content = adopted(mending, tx, loose);
      const done = mending.quarantineContent(undefined, label, content);
      recountRefs(mending, content.id);
      return done;
    });
  }

  #all(rule: Invariant): number {
    const { journal } = this.#options;
    const mend = MENDS[rule.name];
    const places = new Places(journal.connection);
    const rows = this.#rows(rule);
    let mended = 0;
    for (const row of rows) {
      const finding = findingOf(rule, row, places);
      const done = mend === undefined ? LASTS : this.#tried(rule.name, mend, row);
      this.tell(finding, done);
      mended += Number(done.outcome !== 'left');
    }
    return mended;
  }

  #rows({ sql }: Invariant): BrokenRow[] {
    try {
      const query = this.#options.journal.connection.prepare(`${sql} LIMIT ${FINDINGS_MAX}`);
      return query.all() as BrokenRow[];
    } catch {
      return []; // A table that cannot be read is a finding of its own.
    }
  }

  #tried(check: string, mend: Mend, row: BrokenRow): Mended {
    try {
      return this.#mend(check, (mending) => mend(mending, row));
    } catch (error) {
      const known = asOpError(error, `repair ${check}`);
      if (known.failure === 'internal') throw known;
      return left(known.message);
    }
  }

  #mend(check: string, body: (mending: Mending, tx: Tx) => Mended): Mended {
    const options = this.#options;
    return options.journal.commit((tx) => body(new Mending(options, tx, check), tx));
  }

  /** A journal that does not know its own end is told by the next record, unless the end is lost. */
  #noteEnd(): void {
    const { journal } = this.#options;
    const chain = new Chain(journal.connection);
    const last = journal.ops.head();
    const noted = chain.noted();
    if (last === undefined || (noted !== undefined && noted.seq > last.seq)) return;
    if (noted?.seq === last.seq && noted.hash.equals(last.hash)) return;
    this.#mend('chain', (mending) => {
      mending.record({ ino: 0, path: nameOf(Buffer.from('/')) });
      return SETTLED;
    });
  }
}

/** A new object of these bytes, which nobody shows yet. */
function adopted(mending: Mending, tx: Tx, loose: LooseBytes): ContentRow {
  const { contents } = mending.journal;
  const row: ContentRow = {
    id: contents.nextId(),
    size: loose.size,
    ...{ state: 'frozen', place: 'file', refs: 0, held: 0, cid: null, profile: null },
    ...{ released_s: null, stable: 1, slot: null },
  };
  loose.name(row.id);
  tx.onRollback(() => loose.unname(row.id));
  contents.insert(row);
  return row;
}

function keyOf({ rule, ino, content, superblock, seq, path, expected }: Finding): string {
  const place = [ino, content, superblock, seq];
  const isPlaced = place.some((number) => number !== undefined);
  return JSON.stringify([rule, ...place, isPlaced ? undefined : (path ?? expected)]);
}
