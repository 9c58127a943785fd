/**
 * The journal: the one SQLite file that is the truth about the tree. This file owns the writer's
 * connection, transactions and the hash chain; each table has a file of its own beside it.
 *
 * Invariants: one writer (the thread that opened it); a transaction never awaits; a change of the
 * tree and its records are one transaction; numbers of records have no gaps.
 */
import { closeSync, existsSync, openSync, rmSync } from 'node:fs';
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import { WAL_SHORT_BYTES_MAX } from '../base/limits.ts';
import { Actors } from './actors.ts';
import { Answers } from './answers.ts';
import { Backends } from './backends.ts';
import { Chain, formatPoint } from './chain.ts';
import { Changes } from './changes.ts';
import { type WalState, walState } from './checkpoint.ts';
import { Contents } from './contents.ts';
import { Counters } from './counters.ts';
import { Dentries } from './dentries.ts';
import { Inodes } from './inodes.ts';
import { Meta } from './meta.ts';
import { MfsSeen } from './mfs-seen.ts';
import { admit, admitCurrent, migrate } from './migrations.ts';
import { groupHash, type OpRow, Ops, type RequestId } from './ops.ts';
import { PublishedDirectories } from './published.ts';
import { Room } from './room.ts';
import { WriteSessions } from './sessions.ts';
import { type Database, openReader, openWriter, type Statement } from './sqlite.ts';
import { Superblocks } from './superblocks.ts';
import { Targets } from './targets.ts';
import { ToolCalls } from './tool-calls.ts';
import { ToolJobs } from './tool-jobs.ts';
import { OpenTransaction, type Tx } from './transaction.ts';
import { Symlinks, Xattrs } from './xattrs.ts';

export type { Actor } from './actors.ts';
export type { BackendObjectRow, BackendRow } from './backends.ts';
export type { Change } from './changes.ts';
export type { Finding } from './check.ts';
export { checkDatabase, checkJournal } from './check.ts';
export { Checkpointer, type WalState } from './checkpoint.ts';
export type {
  BlockRow,
  ContentRow,
  PinRow,
  PlaceRow,
  ShownRow,
} from './contents.ts';
export type { ListedInode, ListedRow } from './dentries.ts';
export type { HistoryFilter, HistoryRecord } from './history.ts';
export { History } from './history.ts';
export type { InodeRow } from './inodes.ts';
export type { SeenRow, SeenState } from './mfs-seen.ts';
export type { OpEntry, OpKind, OpRow, RequestId, SyncRecord } from './ops.ts';
export { OP_KINDS } from './ops.ts';
export type { PublishedRow } from './published.ts';
export { Retention, type RetentionPolicy } from './retention.ts';
export type { WriteSessionRow } from './sessions.ts';
export { loadEngine } from './sqlite.ts';
export type { SuperblockRow, SyncedRow } from './superblocks.ts';
export type { Held, Root, TargetRow } from './targets.ts';
export type { ToolJobRow } from './tool-jobs.ts';
export type { Tx } from './transaction.ts';
export { PINNED_HERE } from './xattrs.ts';

/** A transaction that could await would hold the writer's lock across the world. */
type NotAPromise<T> = T extends PromiseLike<unknown> ? never : T;

export interface JournalOptions {
  /** The database file; its directory exists. */
  readonly path: string;
  readonly clock: Clock;
  /** Told now and then while a long transaction goes on: this thread works, and is not hung. */
  readonly onWork?: (() => void) | undefined;
}

/** Pieces of work between two calls of `onWork`: some tens of milliseconds, on a busy machine. */
const PIECES_PER_CALL = 64;

export class Journal {
  readonly path: string;
  readonly actors: Actors;
  readonly #answers: Answers;
  readonly backends: Backends;
  readonly changes: Changes;
  readonly contents: Contents;
  readonly counters: Counters;
  readonly dentries: Dentries;
  readonly inodes: Inodes;
  readonly meta: Meta;
  /** What the mutable tree of the node had. */
  readonly mfsSeen: MfsSeen;
  readonly ops: Ops;
  readonly published: PublishedDirectories;
  readonly sessions: WriteSessions;
  readonly superblocks: Superblocks;
  readonly symlinks: Symlinks;
  readonly targets: Targets;
  readonly toolCalls: ToolCalls;
  readonly toolJobs: ToolJobs;
  readonly xattrs: Xattrs;
  readonly #clock: Clock;
  readonly #onWork: () => void;
  #pieces = 0;
  readonly #db: Database;
  readonly #begin: Statement;
  readonly #commit: Statement;
  readonly #walFd: number;
  readonly #room: Room;
  #failure: OpError | undefined;
  /** The newest record when this process began. */
  readonly #foundSeq: number;
  #lastSeq: number;
  #lastHash: Buffer;
  #tx: OpenTransaction | undefined;
  #request: RequestId | undefined;

  /**
   * Opens or makes the file and brings its schema up to date.
   * @throws OpError version-unsupported, journal-corrupt, journal-unavailable, no-space.
   */
  constructor({ path, clock, onWork = () => {} }: JournalOptions) {
    this.path = path;
    this.#clock = clock;
    this.#onWork = onWork;
    try {
      this.#db = openWriter(path, (db) => admit(db, path));
      migrate(this.#db, path);
      // A reader makes SQLite create the WAL, whose one descriptor for fsync is kept for ever:
      // closing another one would be harmless to it, but opening may fail when it is needed most.
      this.#db.exec('BEGIN IMMEDIATE; COMMIT');
      this.#walFd = openSync(`${path}-wal`, 'a');
    } catch (error) {
      throw refusal(error, path);
    }
    try {
      this.#takeUp();
      this.counters = new Counters(this.#db);
      this.actors = new Actors(this.#db);
      this.#answers = new Answers(this.#db);
      this.backends = new Backends(this.#db);
      this.changes = new Changes(this.#db);
      this.contents = new Contents(this.#db, this.counters);
      this.dentries = new Dentries(this.#db, this.counters);
      this.inodes = new Inodes(this.#db, this.counters);
      this.meta = new Meta(this.#db);
      this.mfsSeen = new MfsSeen(this.#db);
      this.ops = new Ops(this.#db);
      this.published = new PublishedDirectories(this.#db);
      this.sessions = new WriteSessions(this.#db, this.counters);
      this.superblocks = new Superblocks(this.#db, this.dentries);
      this.symlinks = new Symlinks(this.#db);
      this.targets = new Targets(this.#db);
      this.toolCalls = new ToolCalls(this.#db);
      this.toolJobs = new ToolJobs(this.#db);
      this.xattrs = new Xattrs(this.#db);
      this.#room = new Room(this.#db);
      this.#begin = this.#db.prepare('BEGIN IMMEDIATE');
      this.#commit = this.#db.prepare('COMMIT');
      const chain = new Chain(this.#db);
      const head = this.ops.head() ?? chain.retainedFrom();
      // Numbers of a lost tail are not given again: the gap shows that something was there.
      this.#lastSeq = Math.max(this.ops.lastSeq(), chain.noted()?.seq ?? 0, head.seq);
      this.#foundSeq = this.#lastSeq;
      this.#lastHash = head.hash;
    } catch (error) {
      closeSync(this.#walFd);
      this.#db.close();
      throw refusal(error, path);
    }
  }

  /** Number and hash of the newest committed record; 0 and zeros in a new journal. */
  get head(): { seq: number; hash: Buffer } {
    return { seq: this.#lastSeq, hash: this.#lastHash };
  }

  /** The descriptor of the WAL: fdatasync of it makes every committed record durable. */
  get walFd(): number {
    return this.#walFd;
  }

  /** Whether a group or transaction is open on this thread. */
  get inTransaction(): boolean {
    return this.#tx !== undefined;
  }

  /** Whether the open group has made records: nobody finds them yet who reads what was done. */
  get hasUncommitted(): boolean {
    return (this.#tx?.pending.length ?? 0) > 0;
  }

  /**
   * Runs `body` as one SQLite transaction, or as part of the group that is open: all of it is
   * committed, or none of it happened. Inside a group a body that throws breaks the whole group,
   * so callers check everything before they call.
   * @throws OpError no-space, quota-exceeded, read-only, io, journal-unavailable, journal-corrupt;
   *   what `body` throws.
   */
  commit<T>(body: (tx: Tx) => NotAPromise<T>): NotAPromise<T> {
    return this.#join(body, false);
  }

  /**
   * The same of what frees space, or ends what is open: on a full disk it may use the reserve, when
   * all of its group may.
   */
  commitFreeing<T>(body: (tx: Tx) => NotAPromise<T>): NotAPromise<T> {
    return this.#join(body, true);
  }

  #join<T>(body: (tx: Tx) => NotAPromise<T>, isFreeing: boolean): NotAPromise<T> {
    const outer = this.#tx;
    if (outer === undefined) return this.group(() => this.#join(body, isFreeing)) as NotAPromise<T>;
    // Who only reads in the group goes on.
    if (this.#failure !== undefined) throw this.#failure;
    outer.begin();
    outer.isRequestChanging = true;
    // What a transaction is made of counts for nothing by itself.
    const isWhole = outer.depth === 0;
    if (isWhole) outer.isFreeing &&= isFreeing;
    outer.depth += 1;
    try {
      return body(outer);
    } catch (error) {
      outer.broken ??= error;
      throw error;
    } finally {
      outer.depth -= 1;
    }
  }

  /**
   * Group commit: every `commit` inside `body` joins one transaction, committed when `body`
   * returns. If one of them broke, or the commit fails, nothing of the group happened.
   * @throws the error that broke the group, as OpError; AggregateError, which is none: the group is
   *   committed, and something went wrong in what was to follow.
   */
  group<T>(body: () => NotAPromise<T>): NotAPromise<T> {
    assert(this.#tx === undefined, 'groups do not nest');
    if (this.#room.isShort) this.keepRoom();
    const tx = new OpenTransaction(
      this.#begin,
      this.#clock.now(),
      this.#lastSeq,
      () => this.#request,
    );
    this.#tx = tx;
    let result: NotAPromise<T>;
    try {
      result = body();
      if (tx.broken !== undefined) throw tx.broken;
      this.#finish(tx);
    } catch (error) {
      this.#rollBack(tx);
      throw this.#room.told(asOpError(error, 'commit'));
    } finally {
      this.#tx = undefined;
    }
    runAll(tx.committed, () => this.piece());
    return result;
  }

  /**
   * Runs `body` as a group and takes all of it back: what it would have recorded, with numbers
   * that are given to others later. Only for what a rollback undoes: bytes written in place to a
   * backing file stay written.
   * @throws what `group` would throw, a failing commit apart.
   */
  rehearse(body: () => void): readonly OpRow[] {
    assert(this.#tx === undefined, 'groups do not nest');
    const tx = new OpenTransaction(this.#begin, this.#clock.now(), this.#lastSeq, () => undefined);
    this.#tx = tx;
    try {
      body();
      if (tx.broken !== undefined) throw tx.broken;
      return tx.pending.map(({ row }) => row);
    } catch (error) {
      throw asOpError(error, 'rehearse');
    } finally {
      this.#rollBack(tx);
      this.#tx = undefined;
    }
  }

  /** A piece of what may be long is done, in or outside of a transaction. */
  piece(): void {
    this.#pieces += 1;
    if (this.#pieces % PIECES_PER_CALL === 0) this.#onWork();
  }

  /** Marks the records made from now on as caused by one request of the kernel. */
  beginRequest(request: RequestId): void {
    this.#request = request;
    this.#tx?.markRequest();
  }

  /**
   * Stores the reply with the first record of the request or, if it changed something and made none
   * and `isKeptUnrecorded`, with the others of its group; the bytes are copied.
   */
  endRequest(reply: Buffer, isKeptUnrecorded = false): void {
    this.#tx?.storeReply(reply, isKeptUnrecorded);
    this.#request = undefined;
  }

  /**
   * The reply to a request, of a group that is committed, is held back: it is kept beside those of
   * later groups until `paid`, when the kernel has it.
   */
  owe(request: RequestId, reply: Buffer): void {
    this.#answers.owe({ request, reply });
  }

  paid(request: RequestId): void {
    this.#answers.paid(request);
  }

  /** The reply a request of this connection was given, when it changed something lately. */
  answered(request: RequestId): Buffer | undefined {
    const unrecorded = this.#answers.find(request);
    return unrecorded ?? this.ops.answered(request, this.#foundSeq - RESENT_WITHIN_RECORDS);
  }

  /** What waits to be folded into the file. */
  get wal(): WalState {
    return walState(this.#db, 'NOOP');
  }

  /** Why nothing can be committed any more; undefined when all is well. */
  get failure(): OpError | undefined {
    return this.#failure;
  }

  /**
   * The disk did not take what is in the WAL. It says so once, and the kernel may drop the pages: what
   * is read back cannot be trusted, and no later sync. So nothing is committed, folded or called
   * durable from now on; reading goes on. The next start takes of the WAL what its checksums prove,
   * and brings it to the disk anew.
   * @returns the error for all who ask.
   */
  fail(error: OpError): OpError {
    const hint = 'the disk did not take the journal: look at its log, and start kitfs again';
    this.#failure ??= new OpError(error.failure, error.op, { cause: error.cause, hint });
    try {
      closeSync(openSync(this.#failedMark, 'w', 0o600));
    } catch {
      // A disk that takes no mark has kept nothing in its cache either, once it is mounted again.
    }
    return this.#failure;
  }

  get #failedMark(): string {
    return `${this.path}-unsynced`;
  }

  /** After `fail` in the life of another process: what the kernel believes to be written is written. */
  #takeUp(): void {
    if (!existsSync(this.#failedMark)) return;
    const { unfoldedBytes } = walState(this.#db, 'PASSIVE');
    if (unfoldedBytes > 0) throw new OpError('journal-unavailable', 'fold the WAL');
    rmSync(this.#failedMark);
  }

  /** Folds the WAL on this thread, as far as readers let it; `Checkpointer` says when. */
  foldWal(): void {
    assert(this.#tx === undefined, 'folded inside a transaction');
    if (this.#failure !== undefined) return;
    walState(this.#db, 'PASSIVE');
  }

  /** Whether the disk has less for the journal than its reserve. */
  get isShortOfRoom(): boolean {
    return this.#room.isShort;
  }

  /**
   * On a full disk: folds the WAL, so that it begins anew where it has room, and makes the reserve
   * whole again if the disk lets it. Never throws: what fails is tried at the next.
   */
  keepRoom(): void {
    assert(this.#tx === undefined, 'room is made outside transactions');
    try {
      if (this.wal.unfoldedBytes > 0 && this.wal.usedBytes > WAL_SHORT_BYTES_MAX) this.foldWal();
      this.#room.restore();
    } catch {
      // Who commits next meets it too, and says so.
    }
  }

  /** Closes the connection. Anything but a finished transaction is our bug. */
  close(): void {
    assert(this.#tx === undefined, 'closed inside a transaction');
    closeSync(this.#walFd);
    // It would fold the WAL.
    if (this.#failure === undefined) this.#db.close();
  }

  /** For this module's readers (`history`, `check`, `retention`), which share the connection. */
  get connection(): Database {
    return this.#db;
  }

  #finish(tx: OpenTransaction): void {
    if (!tx.begun) return;
    for (const action of tx.preparing) action();
    this.contents.flush();
    this.inodes.writeUsage();
    if (tx.answers.length > 0) this.#answers.put(tx.answers);
    const rows = tx.pending.map(({ row }) => row);
    const last = rows.at(-1);
    let hash = this.#lastHash;
    if (last !== undefined) {
      hash = groupHash(this.#lastHash, rows);
      for (const { row, request, reply } of tx.pending) {
        this.ops.insert(row, request, reply, row === last ? hash : null);
        this.piece();
      }
      // A second place that knows where the chain ends, so that a lost tail is missed.
      this.meta.set('head', formatPoint({ seq: last.seq, hash }));
    }
    for (const action of tx.closing) action(last?.seq);
    if (tx.isFreeing) this.#room.lend(() => this.#commit.run());
    else this.#commit.run();
    this.#lastSeq = last?.seq ?? this.#lastSeq;
    this.#lastHash = hash;
  }

  #rollBack(tx: OpenTransaction): void {
    if (this.#db.inTransaction) this.#db.exec('ROLLBACK');
    this.contents.forget();
    this.counters.forget();
    this.dentries.forget();
    this.inodes.forget();
    this.actors.forget();
    for (const action of tx.undone.reverse()) action();
  }
}

/**
 * A read-only connection for `checkDatabase`, in any process, also while a daemon writes.
 * @throws OpError version-unsupported, journal-corrupt, journal-unavailable.
 */
export function openForCheck(path: string): Database {
  try {
    return openReader(path, (db) => admitCurrent(db, path));
  } catch (error) {
    throw asOpError(error, `open ${path}`);
  }
}

/** Why a journal cannot be opened. Tables and values that are not as the schema has them are damage. */
function refusal(error: unknown, path: string): OpError {
  const op = `open ${path}`;
  const known = asOpError(error, op);
  if (codeOf(error) !== 'SQLITE_ERROR' && known.failure !== 'internal') return known;
  return new OpError('journal-corrupt', op, {
    cause: error,
    hint: 'its tables are not those of a journal: see kitfs fsck',
  });
}

/** All of them, whatever one throws: the others are owed too, and it is too late for a rollback. */
function runAll(actions: readonly (() => void)[], piece: () => void): void {
  const faults: unknown[] = [];
  for (const action of actions) {
    try {
      action();
      piece();
    } catch (error) {
      faults.push(error);
    }
  }
  if (faults.length > 0) throw new AggregateError(faults, 'after a commit', { cause: faults[0] });
}

/**
 * Requests still unanswered when a daemon dies are all in its last few groups. How many records the
 * next one makes before it is asked them again does not matter.
 */
const RESENT_WITHIN_RECORDS = 4096;
