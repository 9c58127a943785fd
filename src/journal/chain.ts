/**
 * Reads the hash chain: recomputes commit groups from their records. A group's hash covers the hash
 * before it, so a changed, lost or added record shows. SCHEMA.md defines the hash exactly.
 */
import { type ChainPoint, GENESIS, groupHash, type OpRow, SQL_COLUMNS } from './ops.ts';
import type { Database, Statement } from './sqlite.ts';

/** What is wrong with one group, or with the end of the chain. */
export interface ChainFault {
  readonly seq: number;
  readonly expected: string;
  readonly actual: string;
}

type ChainedRow = OpRow & { readonly hash: Buffer | null };

/** Rows read at once by a walk over the whole chain. */
const ROWS_PER_PAGE = 1024;

/** A point as `meta` holds it. */
export const formatPoint = ({ seq, hash }: ChainPoint): string => `${seq} ${hash.toString('hex')}`;

/** What is no point becomes one before all records, which fits no chain that has some. */
function parsePoint(value: unknown): ChainPoint {
  const [text = '', hash = ''] = String(value).split(' ');
  const seq = Number(text);
  return { seq: Number.isSafeInteger(seq) ? seq : 0, hash: Buffer.from(hash, 'hex') };
}

export class Chain {
  readonly #meta: Statement;
  readonly #page: Statement;
  readonly #records: Statement;

  constructor(db: Database) {
    this.#meta = db.prepare('SELECT value FROM meta WHERE key = ?').pluck();
    const columns = `SELECT ${SQL_COLUMNS}, hash FROM op`;
    this.#page = db.prepare(`${columns} WHERE seq > ? ORDER BY seq LIMIT ?`);
    this.#records = db.prepare(`${columns} WHERE seq > ? AND seq <= ? ORDER BY seq`);
  }

  /** The point before the oldest record still kept: the beginning, or where retention cut. */
  retainedFrom(): ChainPoint {
    return this.#point('retained_from') ?? { seq: 0, hash: GENESIS };
  }

  /** The end of the chain as every commit notes it; undefined in a new journal. */
  noted(): ChainPoint | undefined {
    return this.#point('head');
  }

  /** What is wrong with the group between two points, as it lies in the table. */
  groupFault(before: ChainPoint, end: ChainPoint): ChainFault | undefined {
    return groupFault(before, this.#records.all(before.seq, end.seq) as ChainedRow[]);
  }

  /** Walks the chain from the oldest record kept to its end. */
  *faults(): Generator<ChainFault> {
    const oldest = this.retainedFrom();
    let before = oldest;
    let group: ChainedRow[] = [];
    for (const record of this.#allRecords()) {
      group.push(record);
      const { seq, hash } = record;
      if (hash === null) continue;
      const fault = groupFault(before, group);
      if (fault !== undefined) yield fault;
      // A damaged row may have anything in its place.
      before = { seq, hash: Buffer.isBuffer(hash) ? hash : GENESIS };
      group = [];
    }
    const [stray] = group;
    if (stray !== undefined) {
      const expected = `a group that holds record ${stray.seq}`;
      yield { seq: stray.seq, expected, actual: 'no end of a group' };
    }
    const noted = this.noted() ?? oldest;
    if (noted.seq !== before.seq || !noted.hash.equals(before.hash)) {
      const { seq } = noted;
      yield { seq, expected: `the end at ${describe(noted)}`, actual: `at ${describe(before)}` };
    }
  }

  #point(key: 'retained_from' | 'head'): ChainPoint | undefined {
    const text = this.#meta.get(key) as string | undefined;
    return text === undefined ? undefined : parsePoint(text);
  }

  *#allRecords(): Generator<ChainedRow> {
    let page = this.#page.all(0, ROWS_PER_PAGE) as ChainedRow[];
    // In a damaged file a page may lead back to itself.
    for (let seq = -1; (page.at(-1)?.seq ?? seq) > seq; ) {
      seq = page.at(-1)?.seq ?? seq;
      yield* page;
      page = this.#page.all(seq, ROWS_PER_PAGE) as ChainedRow[];
    }
  }
}

/** `records` are those the table has behind `before`, up to the one that carries a hash. */
function groupFault(before: ChainPoint, records: readonly ChainedRow[]): ChainFault | undefined {
  const wrong = records.findIndex((record, index) => record.seq !== before.seq + 1 + index);
  if (wrong >= 0) {
    const seq = before.seq + 1 + wrong;
    return { seq, expected: `record ${seq}`, actual: `record ${records[wrong]?.seq}` };
  }
  const last = records.at(-1);
  const actual = groupHash(before.hash, records);
  const told = Buffer.isBuffer(last?.hash) ? last.hash : undefined;
  if (told?.equals(actual) === true) return undefined;
  return {
    seq: last?.seq ?? before.seq + 1,
    expected: `hash ${told?.toString('hex') ?? 'of a group'}`,
    actual: `hash ${actual.toString('hex')}`,
  };
}

const describe = ({ seq, hash }: ChainPoint): string =>
  `record ${seq}, hash ${hash.toString('hex')}`;
