/**
 * Rows of `tool_call`: what calls that changed something were answered, so that a call that is sent
 * again, because its daemon died before the answer arrived, is answered and not run twice. A row is
 * written by the transaction that made the change.
 *
 * Invariant: rows are bounded in number and age; the oldest go when one is added.
 */
import { CALL_KEPT_S, CALLS_KEPT_MAX } from '../base/limits.ts';
import type { Database, Statement } from './sqlite.ts';

export interface ToolCallRow {
  /** Who called; nobody else finds the row. */
  readonly principal: string;
  /** What the caller named the call. */
  readonly key: string;
  /** SHA-256 of the tool and its arguments. */
  readonly digest: Buffer;
  readonly timeS: number;
  /** JSON. */
  readonly answer: string;
}

/** Two go for each one that comes, until none is too old. */
const DROPPED_AT_ONCE = 2;

export class ToolCalls {
  readonly #find: Statement;
  readonly #insert: Statement;
  readonly #drop: Statement;
  readonly #first: Statement;
  /** The oldest row when it was looked for last: to ask each time would cost as much as the row. */
  #oldest: { readonly id: number; readonly timeS: number } | undefined;

  constructor(db: Database) {
    const columns = 'principal, key, digest, time_s AS timeS, answer';
    this.#find = db.prepare(`SELECT ${columns} FROM tool_call WHERE principal = ? AND key = ?`);
    this.#insert = db.prepare('INSERT INTO tool_call VALUES (NULL, ?, ?, ?, ?, ?)');
    this.#drop = db.prepare(
      `DELETE FROM tool_call WHERE id IN (SELECT id FROM tool_call ORDER BY id LIMIT ?)
        AND (id <= ? OR time_s < ?)`,
    );
    this.#first = db.prepare('SELECT id, time_s AS timeS FROM tool_call ORDER BY id LIMIT 1');
  }

  find(principal: string, key: string): ToolCallRow | undefined {
    return this.#find.get(principal, key) as ToolCallRow | undefined;
  }

  /** Inside a transaction. */
  insert({ principal, key, digest, timeS, answer }: ToolCallRow): void {
    const { lastInsertRowid } = this.#insert.run(principal, key, digest, timeS, answer);
    const [lastId, lastS] = [Number(lastInsertRowid) - CALLS_KEPT_MAX, timeS - CALL_KEPT_S];
    this.#oldest ??= this.#first.get() as { id: number; timeS: number };
    if (this.#oldest.id > lastId && this.#oldest.timeS >= lastS) return;
    this.#drop.run(DROPPED_AT_ONCE, lastId, lastS);
    this.#oldest = undefined;
  }
}
