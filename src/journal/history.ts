/**
 * Questions about what was done: records by path, inode, actor, kind and time, newest or oldest
 * first, in pages. A page costs a bounded number of rows whatever is asked, because it is read by
 * the thread that answers the kernel.
 */
import type { Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { bytesOf, type ContentId, type Ino, type Name } from '../base/ids.ts';
import type { Actor, Surface } from './actors.ts';
import { Chain } from './chain.ts';
import type { Journal } from './journal.ts';
import { type ChainPoint, type OpKind, type OpRow, SQL_COLUMNS } from './ops.ts';
import type { Statement } from './sqlite.ts';

export interface HistoryFilter {
  /** Absolute path in the tree. Records that came from it (`old_path`) count too. */
  readonly path: Name;
  /** The inode that has this path now, if one has. */
  readonly ino?: Ino | undefined;
  /** Also everything below the path. */
  readonly recursive: boolean;
  /** Also the records of `ino` under its other names. */
  readonly follow: boolean;
  /** None or absent: every kind. */
  readonly operations?: readonly OpKind[] | undefined;
  readonly surface?: Surface | undefined;
  readonly sessionId?: string | undefined;
  readonly pid?: number | undefined;
  /** Inclusive, as all bounds here but `afterSeq`. */
  readonly since?: Instant | undefined;
  readonly until?: Instant | undefined;
  /** From 1; 0 stands for the oldest record kept. */
  readonly sinceSeq?: number | undefined;
  readonly untilSeq?: number | undefined;
  readonly order: 'asc' | 'desc';
  /** Records of one page, at least 1. */
  readonly limit: number;
  /** The last page's `nextAfterSeq`: this page begins behind it, in the order asked for. */
  readonly afterSeq?: number | undefined;
}

export interface HistoryRecord {
  readonly row: OpRow;
  readonly actor: Actor;
  /** Of the commit group the record is in. */
  readonly prevHash: Buffer;
  readonly hash: Buffer;
}

export interface HistoryPage {
  readonly records: readonly HistoryRecord[];
  /**
   * Where the next page begins; undefined at the end. A page may be short, even empty, and yet not
   * the last: it ends when it has looked at `ROWS_SCANNED_MAX` records.
   */
  readonly nextAfterSeq: number | undefined;
  readonly head: ChainPoint;
  /** The oldest record still kept; 0 in an empty journal. */
  readonly oldestSeq: number;
}

/** Rows of a path's index sorted for one page; above, records are read in their own order. */
const INDEXED_ROWS_MAX = 10_000;
/** Records looked at for one page when the indexes do not help. */
const ROWS_SCANNED_MAX = 20_000;

/** A condition in SQL and its values. */
interface Term {
  readonly sql: string;
  readonly values: readonly unknown[];
}

/** Numbers, both inclusive. */
interface SeqRange {
  readonly from: number;
  readonly to: number;
}

export class History {
  readonly #journal: Journal;
  readonly #chain: Chain;
  readonly #last: Statement;
  readonly #time: Statement;
  readonly #ofInode: Statement;

  constructor(journal: Journal) {
    const db = journal.connection;
    this.#journal = journal;
    this.#chain = new Chain(db);
    this.#last = db.prepare(
      `SELECT ${SQL_COLUMNS} FROM op WHERE ino = ? ORDER BY seq DESC LIMIT 1`,
    );
    this.#ofInode = db.prepare(`SELECT ${SQL_COLUMNS} FROM op WHERE ino = ? ORDER BY seq DESC`);
    this.#time = db.prepare('SELECT time_s AS s, time_ns AS ns FROM op WHERE seq = ?');
  }

  /**
   * One page of records. Outside a transaction, or records not committed yet are missed.
   * @throws OpError `history-not-retained` when the records asked for are older than the oldest
   *   kept; `journal-corrupt` when a record has lost its actor or its commit group.
   */
  query(filter: HistoryFilter): HistoryPage {
    const oldestSeq = this.#journal.ops.firstSeq();
    const { head } = this.#journal;
    this.#demandRetained(filter, oldestSeq);
    const isAscending = filter.order === 'asc';
    const range = rangeOf(filter, { from: oldestSeq, to: head.seq });
    const place = placeTerms(filter);
    const isScan = place === undefined || this.#isLarge(place);
    const window = isScan ? scanned(range, isAscending) : range;
    const terms = [...rowTerms(filter), isScan ? scanTerm(place) : indexTerm(place)];
    const rows = this.#rows(terms, window, isAscending, filter.limit + 1);
    const kept = rows.slice(0, filter.limit);
    const edge = isAscending ? window.to : window.from;
    const hasMoreRows = edge !== (isAscending ? range.to : range.from);
    const nextAfterSeq =
      rows.length > kept.length ? kept.at(-1)?.seq : hasMoreRows ? edge : undefined;
    return { records: this.#completeAll(kept), nextAfterSeq, head, oldestSeq };
  }

  /**
   * The objects a file showed before `content`, as far as their bytes were kept, newest first. Of `content` itself
   * there may be no record yet: then the newest one tells of what was before it.
   */
  before(ino: Ino, content: ContentId): ContentId[] {
    const found: ContentId[] = [];
    const go = (to: ContentId) => found.push(to);
    let isNewest = true;
    for (const row of this.#ofInode.iterate(ino) as IterableIterator<OpRow>) {
      if (row.kind === 'create' || row.kind === 'mknod') break;
      if (row.kind === 'truncate' && row.size === 0) {
        // A session that began before it tells of what was there at its beginning.
        if (found.at(-1) === row.old_content) found.pop();
        break;
      }
      if (row.content !== null && isNewest && row.content !== content) go(row.content);
      isNewest &&= row.content === null;
      const isOfThese = row.kind === 'truncate' || row.content === (found.at(-1) ?? content);
      if (isOfThese && row.old_content !== null) go(row.old_content);
    }
    return found;
  }

  /** The newest record of an inode. */
  last(ino: Ino): HistoryRecord | undefined {
    const row = this.#last.get(ino) as OpRow | undefined;
    return row && this.#complete(row, this.#groupOf(row.seq));
  }

  /**
   * Recomputes the commit groups the records are in, from the table. A group may be as large as a
   * tree, so the last one is remembered for the pages behind: give back what the call before gave.
   * @returns the last number of the group recomputed last.
   * @throws OpError `journal-corrupt` with the number in `details.seq`.
   */
  verify(records: readonly HistoryRecord[], lately?: number): number | undefined {
    const verified = new Set(lately === undefined ? [] : [lately]);
    let last = lately;
    const { head } = this.#journal;
    let group: Group | undefined;
    for (const { row, hash } of records) {
      group = this.#groupOf(row.seq, group);
      const { before, end } = group;
      if (!end.hash.equals(hash)) throw corrupt(row.seq, {});
      if (verified.has(end.seq)) continue;
      const fault = this.#chain.groupFault(before, end);
      if (fault !== undefined) throw corrupt(fault.seq, fault);
      if (end.seq === head.seq && !end.hash.equals(head.hash)) throw corrupt(end.seq, {});
      verified.add(end.seq);
      last = end.seq;
    }
    return last;
  }

  #endOf(seq: number): ChainPoint {
    const end = this.#journal.ops.groupEndOf(seq);
    if (end === undefined) throw corrupt(seq, { expected: 'the end of its commit group' });
    return end;
  }

  #pointBefore(seq: number): ChainPoint {
    return this.#journal.ops.groupEndBefore(seq) ?? this.#chain.retainedFrom();
  }

  #demandRetained(filter: HistoryFilter, oldestSeq: number): void {
    if (oldestSeq <= 1) return;
    const oldestTime = this.#time.get(oldestSeq) as Instant;
    const { sinceSeq = 0, untilSeq, until } = filter;
    const isLost =
      (sinceSeq > 0 && sinceSeq < oldestSeq) ||
      (untilSeq !== undefined && untilSeq < oldestSeq) ||
      (until !== undefined && isBefore(until, oldestTime));
    if (!isLost) return;
    throw new OpError('history-not-retained', 'read history', {
      hint: `the oldest record kept is ${oldestSeq}`,
      details: { oldest_seq: oldestSeq },
    });
  }

  /** Whether the index would give more rows than are sorted for one page. */
  #isLarge(place: readonly Term[]): boolean {
    const { sql, values } = union(place, 'UNION ALL');
    const count = this.#journal.connection.prepare(
      `SELECT count(*) FROM (${sql} LIMIT ${INDEXED_ROWS_MAX + 1})`,
    );
    return (count.pluck().get(...values) as number) > INDEXED_ROWS_MAX;
  }

  #rows(terms: readonly Term[], range: SeqRange, isAscending: boolean, limit: number): OpRow[] {
    const columns = SQL_COLUMNS.split(',').map((column) => `op.${column.trim()}`);
    const statement = this.#journal.connection.prepare(
      `SELECT ${columns} FROM op LEFT JOIN actor ON actor.id = op.actor
        WHERE op.seq BETWEEN ? AND ? AND ${terms.map(({ sql }) => sql).join(' AND ')}
        ORDER BY op.seq ${isAscending ? 'ASC' : 'DESC'} LIMIT ?`,
    );
    const values = terms.flatMap((term) => term.values);
    return statement.all(range.from, range.to, ...values, limit) as OpRow[];
  }

  /** Neighbours are mostly of one group, whose ends are then looked for once: groups can be long. */
  #completeAll(rows: readonly OpRow[]): HistoryRecord[] {
    let group: Group | undefined;
    return rows.map((row) => {
      group = this.#groupOf(row.seq, group);
      return this.#complete(row, group);
    });
  }

  /** `near`: the group of a neighbour, which is often the same. */
  #groupOf(seq: number, near?: Group): Group {
    if (near !== undefined && near.before.seq < seq && seq <= near.end.seq) return near;
    return { before: this.#pointBefore(seq), end: this.#endOf(seq) };
  }

  #complete(row: OpRow, { before, end }: Group): HistoryRecord {
    const actor = this.#journal.actors.get(row.actor);
    if (actor === undefined) throw corrupt(row.seq, { expected: `actor ${row.actor}` });
    return { row, actor, prevHash: before.hash, hash: end.hash };
  }
}

/** A commit group: the point of the chain before it, and its own. */
interface Group {
  readonly before: ChainPoint;
  readonly end: ChainPoint;
}

function rangeOf({ sinceSeq, untilSeq, afterSeq, order }: HistoryFilter, all: SeqRange): SeqRange {
  const from = Math.max(all.from, sinceSeq ?? 0);
  const to = Math.min(all.to, untilSeq ?? all.to);
  if (afterSeq === undefined) return { from, to };
  return order === 'asc'
    ? { from: Math.max(from, afterSeq + 1), to }
    : { from, to: Math.min(to, afterSeq - 1) };
}

/** The part of a range that one page looks at: numbers have no gaps, so it bounds the rows. */
function scanned({ from, to }: SeqRange, isAscending: boolean): SeqRange {
  return isAscending
    ? { from, to: Math.min(to, from + ROWS_SCANNED_MAX - 1) }
    : { from: Math.max(from, to - ROWS_SCANNED_MAX + 1), to };
}

/** The conditions on place, of which one must hold, each with an index; undefined: any place. */
function placeTerms({ path, ino, recursive, follow }: HistoryFilter): Term[] | undefined {
  if (recursive && path === '/') return undefined;
  const columns = ['path', 'old_path'];
  const terms = columns.map((column) => ({ sql: `${column} = ?`, values: [bytesOf(path)] }));
  if (recursive) {
    // Everything that begins with `path/`: `0` is the byte that follows `/`.
    const values = [bytesOf(`${path}/` as Name), bytesOf(`${path}0` as Name)];
    terms.push(...columns.map((column) => ({ sql: `${column} >= ? AND ${column} < ?`, values })));
  }
  return follow && ino !== undefined ? [...terms, { sql: 'ino = ?', values: [ino] }] : terms;
}

function union(terms: readonly Term[], operator: 'UNION' | 'UNION ALL'): Term {
  const sql = terms.map((term) => `SELECT seq FROM op WHERE ${term.sql}`).join(` ${operator} `);
  return { sql, values: terms.flatMap((term) => term.values) };
}

function indexTerm(place: readonly Term[]): Term {
  const { sql, values } = union(place, 'UNION');
  return { sql: `op.seq IN (${sql})`, values };
}

function scanTerm(place: readonly Term[] | undefined): Term {
  if (place === undefined) return { sql: 'TRUE', values: [] };
  // The plus keeps SQLite from choosing an index and sorting all that it finds there.
  const sql = place.map((term) => `(${term.sql.replaceAll(/\b(path|old_path|ino)\b/g, '+op.$1')})`);
  return { sql: `(${sql.join(' OR ')})`, values: place.flatMap((term) => term.values) };
}

/** The conditions on everything but place and number. */
function rowTerms(filter: HistoryFilter): Term[] {
  const { operations = [], surface, sessionId, pid, since, until } = filter;
  const terms: Term[] = [];
  if (operations.length > 0) {
    const marks = operations.map(() => '?').join(', ');
    terms.push({ sql: `op.kind IN (${marks})`, values: operations });
  }
  if (surface !== undefined) terms.push({ sql: 'actor.surface = ?', values: [surface] });
  if (sessionId !== undefined) terms.push({ sql: 'actor.session = ?', values: [sessionId] });
  if (pid !== undefined) terms.push({ sql: 'actor.pid = ?', values: [pid] });
  const time = '(op.time_s, op.time_ns)';
  if (since !== undefined) terms.push({ sql: `${time} >= (?, ?)`, values: [since.s, since.ns] });
  if (until !== undefined) terms.push({ sql: `${time} <= (?, ?)`, values: [until.s, until.ns] });
  return terms;
}

const isBefore = (a: Instant, b: Instant): boolean => a.s < b.s || (a.s === b.s && a.ns < b.ns);

const corrupt = (seq: number, details: object): OpError =>
  new OpError('journal-corrupt', `read record ${seq}`, {
    hint: 'run kitfs fsck',
    details: { ...details, seq },
  });
