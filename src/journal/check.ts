/**
 * fsck of the journal: asks SQLite whether the file is sound, then every rule of SCHEMA.md, then the
 * hash chain. Only reads; in one read transaction, so that it sees one moment of a journal that a
 * daemon goes on writing. Findings are data, never an error.
 */
import { codeOf } from '../base/errors.ts';
import { type Ino, type Name, nameOf, ROOT_INO, textOf } from '../base/ids.ts';
import { FINDINGS_MAX, PATH_BYTES_MAX } from '../base/limits.ts';
import { Chain, formatPoint } from './chain.ts';
import { INVARIANTS, type Invariant, type InvariantScope } from './invariants.ts';
import type { Journal } from './journal.ts';
import type { Database, Statement } from './sqlite.ts';

export interface Finding {
  /** `database`: SQLite's own structures. The others: what the broken rule is about. */
  readonly scope: InvariantScope | 'database';
  /** The rule's name in SCHEMA.md. */
  readonly rule: string;
  readonly ino?: number;
  readonly seq?: number;
  readonly content?: number;
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
  const check = db.transaction(() => {
    for (const findings of [...checks(db), more]) {
      signal?.throwIfAborted();
      if (collect(findings, found)) return;
    }
  });
  check.deferred();
  return found;
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
    if (codeOf(error)?.startsWith('SQLITE_') !== true) throw error;
    const actual = error instanceof Error ? error.message : String(error);
    into.push({ scope: 'database', rule: 'readable', expected: 'readable tables', actual });
  }
  return false;
}

function* soundness(db: Database): Generator<Finding> {
  const rows = db.pragma(`integrity_check(${FINDINGS_MAX})`) as { integrity_check: string }[];
  for (const { integrity_check: actual } of rows) {
    if (actual === 'ok') continue;
    yield { scope: 'database', rule: 'integrity', expected: 'ok', actual };
  }
}

function* chainFindings(db: Database): Generator<Finding> {
  for (const fault of new Chain(db).faults()) yield { scope: 'chain', rule: 'chain', ...fault };
}

interface BrokenRow {
  readonly ino?: Ino;
  readonly seq?: number;
  readonly content?: number;
  readonly parent?: Ino;
  readonly name?: Buffer;
  readonly expected: string;
  readonly actual: string | number;
}

function* rememberedFindings(journal: Journal): Generator<Finding> {
  const { head, meta } = journal;
  const expected = head.seq === 0 ? undefined : formatPoint(head);
  const actual = meta.get('head');
  if (actual === expected) return;
  const end = { expected: `the end at ${expected}`, actual: `at ${actual ?? 'no record'}` };
  yield { scope: 'chain', rule: 'chain', seq: head.seq, ...end };
}

function* broken(db: Database, { name, scope, sql }: Invariant): Generator<Finding> {
  const paths = new Paths(db);
  for (const raw of db.prepare(sql).iterate()) {
    const row = raw as BrokenRow;
    yield { scope, rule: name, ...placeOf(row, paths), ...verdictOf(row) };
  }
}

const verdictOf = ({ expected, actual }: BrokenRow) => ({ expected, actual: String(actual) });

function placeOf({ ino, seq, content, parent, name }: BrokenRow, paths: Paths) {
  const path =
    parent !== undefined && name !== undefined
      ? `${paths.of(parent)}/${textOf(nameOf(name))}`
      : ino && paths.of(ino);
  return {
    ...(ino === undefined ? {} : { ino }),
    ...(seq === undefined ? {} : { seq }),
    ...(content === undefined ? {} : { content }),
    ...(path === undefined ? {} : { path: path === '' ? '/' : path }),
  };
}

/** Finds where inodes are, in a tree that may be broken. */
class Paths {
  readonly #above: Statement;
  readonly #mountPoint: Statement;

  constructor(db: Database) {
    this.#above = db.prepare('SELECT parent, name FROM dentry WHERE ino = ? LIMIT 1');
    this.#mountPoint = db
      .prepare(
        'SELECT mount_point FROM mount m JOIN superblock s ON s.id = m.superblock WHERE s.root = ?',
      )
      .pluck();
  }

  /** Without a slash at the end: the root is the empty string. */
  of(ino: Ino): string {
    const names: Name[] = [];
    let top = ino;
    // A cycle ends where no path could be longer.
    while (names.length < PATH_BYTES_MAX / 2) {
      const above = this.#above.get(top) as { parent: Ino; name: Buffer } | undefined;
      if (above === undefined) break;
      names.unshift(nameOf(above.name));
      top = above.parent;
    }
    const mountPoint = this.#mountPoint.get(top) as Buffer | undefined;
    const known = top === ROOT_INO ? ('' as Name) : mountPoint && nameOf(mountPoint);
    const base = known ?? (`(inode ${top})` as Name);
    return textOf([base, ...names].join('/') as Name);
  }
}
