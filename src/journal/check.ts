/**
 * fsck of the journal: asks SQLite whether the file is sound, then every rule of SCHEMA.md, then the
 * hash chain. Only reads; in one read transaction, so that it sees one moment of a journal that a
 * daemon goes on writing. Findings are data, never an error.
 */
import { codeOf, OpError } from '../base/errors.ts';
import { type ContentId, type Ino, type Name, nameOf, type SuperblockId } from '../base/ids.ts';
import { FINDINGS_MAX } from '../base/limits.ts';
import { Chain, formatPoint } from './chain.ts';
import type { Invariant, InvariantScope, Severity } from './invariant.ts';
import { INVARIANTS } from './invariants.ts';
import type { Journal } from './journal.ts';
import { Places, shown } from './places.ts';
import type { Database } from './sqlite.ts';

export interface Finding {
  /** `database`: SQLite's own structures. The others: what the broken rule is about. */
  readonly scope: InvariantScope | 'database';
  /** The rule's name in SCHEMA.md. */
  readonly rule: string;
  readonly severity: Severity;
  readonly ino?: number;
  readonly seq?: number;
  readonly content?: number;
  readonly superblock?: number;
  /** Where the inode or name is in the tree, for people: bytes that are no UTF-8 become U+FFFD. */
  readonly path?: string;
  readonly expected: string;
  readonly actual: string;
}

export interface CheckOptions {
  /** Looked at between rules, since a check never yields to the event loop. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Checks the journal this process has open, the newest record included that it remembers. At most
 * `FINDINGS_MAX` findings. Takes seconds in a large journal: not for the thread that serves.
 * @throws the signal's reason.
 */
export function checkJournal(journal: Journal, options: CheckOptions = {}): Finding[] {
  return run(journal.connection, options, rememberedFindings(journal));
}

/**
 * Checks any connection to a journal (`openForCheck`), outside a transaction.
 * @throws the signal's reason.
 */
export function checkDatabase(db: Database, options: CheckOptions = {}): Finding[] {
  return run(db, options, []);
}

function run(db: Database, { signal }: CheckOptions, more: Iterable<Finding>): Finding[] {
  const found: Finding[] = [];
  db.exec('BEGIN');
  try {
    for (const findings of [...checks(db), more]) {
      signal?.throwIfAborted();
      if (collect(findings, found)) break;
    }
    return found;
  } finally {
    // Nothing was written; of a damaged file SQLite would refuse to commit even that.
    if (db.inTransaction) db.exec('ROLLBACK');
  }
}

const UNREADABLE = { scope: 'database', rule: 'readable', severity: 'loss' } as const;
const UNSOUND = { scope: 'database', rule: 'integrity', severity: 'major' } as const;
const UNCHAINED = { scope: 'chain', rule: 'chain', severity: 'loss' } as const;

/** SQLite could not read on, or read rows that no journal has. @throws what is something else. */
export function unreadable(error: unknown): Finding {
  const isRefused = error instanceof OpError && error.failure === 'journal-corrupt';
  if (!isRefused && codeOf(error)?.startsWith('SQLITE_') !== true) throw error;
  const actual = error instanceof Error ? error.message : String(error);
  return { ...UNREADABLE, expected: 'readable tables', actual };
}

/** Each check, begun only when its first finding is asked for. */
function checks(db: Database): Iterable<Finding>[] {
  return [soundness(db), ...INVARIANTS.map((rule) => broken(db, rule)), chainFindings(db)];
}

/** Adds findings up to the bound; true when it is reached. */
function collect(findings: Iterable<Finding>, into: Finding[]): boolean {
  try {
    for (const finding of findings) {
      into.push(finding);
      if (into.length >= FINDINGS_MAX) return true;
    }
  } catch (error) {
    into.push(unreadable(error));
  }
  return false;
}

/** What SQLite itself finds wrong with the file; also that it cannot even look. */
export function* soundness(db: Database): Generator<Finding> {
  for (const actual of complaints(db)) yield { ...UNSOUND, expected: 'ok', actual };
}

function complaints(db: Database): string[] {
  try {
    const rows = db.pragma(`integrity_check(${FINDINGS_MAX})`) as { integrity_check: string }[];
    return rows.map((row) => row.integrity_check).filter((text) => text !== 'ok');
  } catch (error) {
    if (codeOf(error)?.startsWith('SQLITE_') !== true) throw error;
    return [error instanceof Error ? error.message : String(error)];
  }
}

function* chainFindings(db: Database): Generator<Finding> {
  for (const fault of new Chain(db).faults()) yield { ...UNCHAINED, ...fault };
}

/** What the query of a rule answers; beyond the first two, what applies to it. */
export interface BrokenRow {
  readonly expected: string;
  readonly actual: string | number;
  readonly ino?: Ino;
  readonly seq?: number;
  readonly content?: ContentId;
  /** A name. */
  readonly parent?: Ino;
  readonly name?: Buffer;
  /** The inode it names. */
  readonly child?: Ino;
  /** A row of what the mutable tree of the node had, by its directory and name. */
  readonly directory?: Ino;
  readonly seen?: Buffer;
  readonly superblock?: SuperblockId;
  /** A write session. */
  readonly session?: number;
  /** A mount point. */
  readonly point?: Buffer;
  readonly counter?: string;
  /** The largest number of that counter in use; of content, the inodes that show it. */
  readonly used?: number;
  /** An actor that is named and has no row. */
  readonly missing?: number;
  /** Of `sync_target`: a path, and the store it is brought to. */
  readonly published?: Buffer;
  readonly target?: string;
  /** A row of `tool_call`: its number as text, for it may be too large for one. */
  readonly call?: string;
  /** A row of `tool_job`. */
  readonly job?: string;
}

function* rememberedFindings(journal: Journal): Generator<Finding> {
  const { head, meta } = journal;
  const expected = head.seq === 0 ? undefined : formatPoint(head);
  const actual = meta.get('head');
  if (actual === expected) return;
  const end = { expected: `the end at ${expected}`, actual: `at ${actual ?? 'no record'}` };
  yield { ...UNCHAINED, seq: head.seq, ...end };
}

function* broken(db: Database, rule: Invariant): Generator<Finding> {
  const places = new Places(db);
  for (const row of db.prepare(rule.sql).iterate()) {
    yield findingOf(rule, row as BrokenRow, places);
  }
}

/** A row that breaks a rule, for people. */
export function findingOf(rule: Invariant, row: BrokenRow, places: Places): Finding {
  const { name, scope, severity } = rule;
  const { expected, actual } = row;
  return { scope, rule: name, severity, ...placeOf(row, places), expected, actual: String(actual) };
}

function placeOf(row: BrokenRow, places: Places) {
  const { seq, content, superblock, parent, name, child } = row;
  const ino = row.ino ?? child;
  const path =
    parent !== undefined && Buffer.isBuffer(name)
      ? (`${places.of(parent)}/${nameOf(name)}` as Name)
      : ino
        ? places.of(ino)
        : undefined;
  return {
    ...(ino === undefined ? {} : { ino }),
    ...(seq === undefined ? {} : { seq }),
    ...(content === undefined ? {} : { content }),
    ...(superblock === undefined ? {} : { superblock }),
    ...(path === undefined ? {} : { path: shown(path) }),
  };
}

/** Whether some content has these very bytes packed. Reads the length of each. */
export function hasPacked(db: Database, bytes: Buffer): boolean {
  const sql = `SELECT 1 FROM packed JOIN content ON id = content
    WHERE place = 'packed' AND length(bytes) = ? AND bytes = ? LIMIT 1`;
  return db.prepare(sql).get(bytes.length, bytes) !== undefined;
}
