/** One transaction of the journal while it is open: what it recorded, and what follows its end. */
import type { Instant } from '../base/clock.ts';
import type { Seq } from '../base/ids.ts';
import type { Answer } from './answers.ts';
import { type OpEntry, type OpRow, type RequestId, rowOf } from './ops.ts';
import type { Statement } from './sqlite.ts';

/** What a transaction's body may do besides writing rows. */
export interface Tx {
  /** Moment of this transaction; all records and times made in it share it. */
  readonly now: Instant;
  /** Appends a record; it becomes durable with the rows written beside it. */
  record(entry: OpEntry): Seq;
  /** Runs before the transaction commits, once: writes rows that changed many times in it. */
  beforeCommit(action: () => void): void;
  /**
   * Runs as the last thing before the commit, once: finds the records among the rows, and may write
   * rows of `tool_call`. `seq`: the last record; undefined when there is none.
   */
  lastly(action: (seq: Seq | undefined) => void): void;
  /** Runs once the transaction is committed, in order. It should not throw: see `group`. */
  afterCommit(action: () => void): void;
  /** Runs if the transaction is rolled back: puts memory back to what the rows say. */
  onRollback(action: () => void): void;
}

interface Pending {
  readonly row: OpRow;
  readonly request: RequestId | undefined;
  reply: Buffer | null;
}

/** One transaction: begun in SQLite only when something is first written. */
export class OpenTransaction implements Tx {
  readonly now: Instant;
  readonly pending: Pending[] = [];
  readonly preparing: (() => void)[] = [];
  readonly closing: ((seq: Seq | undefined) => void)[] = [];
  readonly committed: (() => void)[] = [];
  readonly undone: (() => void)[] = [];
  /** Of requests that changed something and made no record. */
  readonly answers: Answer[] = [];
  broken: unknown;
  begun = false;
  /** Whether the present request has changed something. */
  isRequestChanging = false;
  /** Whether all that joined it may use the reserve. */
  isFreeing = true;
  /** How deep in what joined it we are. */
  depth = 0;
  readonly #begin: Statement;
  readonly #request: () => RequestId | undefined;
  #seq: number;
  #requestFrom = 0;

  constructor(begin: Statement, now: Instant, seq: number, request: () => RequestId | undefined) {
    this.#begin = begin;
    this.now = now;
    this.#seq = seq;
    this.#request = request;
  }

  begin(): void {
    if (this.begun) return;
    this.#begin.run();
    this.begun = true;
  }

  record(entry: OpEntry): Seq {
    this.#seq += 1;
    const seq = this.#seq as Seq;
    this.pending.push({ row: rowOf(entry, seq, this.now), request: this.#request(), reply: null });
    return seq;
  }

  beforeCommit(action: () => void): void {
    this.preparing.push(action);
  }

  lastly(action: (seq: Seq | undefined) => void): void {
    this.closing.push(action);
  }

  afterCommit(action: () => void): void {
    this.committed.push(action);
  }

  onRollback(action: () => void): void {
    this.undone.push(action);
  }

  markRequest(): void {
    this.#requestFrom = this.pending.length;
    this.isRequestChanging = false;
  }

  storeReply(reply: Buffer, isKeptUnrecorded: boolean): void {
    const first = this.pending[this.#requestFrom];
    const request = this.#request();
    if (first !== undefined) first.reply = Buffer.from(reply);
    else if (isKeptUnrecorded && this.isRequestChanging && request !== undefined) {
      this.answers.push({ request, reply: Buffer.from(reply) });
    }
  }
}
