/**
 * Rows of `tool_job`: calls that go on after they were answered with the handle of a job. The next
 * daemon goes on with those that have no result, and knows the results of the others.
 */
import type { Database, Statement } from './sqlite.ts';

export interface ToolJobRow {
  readonly id: string;
  /** JSON: what was called, how and by whom. */
  readonly call: string;
  /** Daemons that began it. */
  readonly starts: number;
  /** JSON; null while it is at work. */
  readonly result: string | null;
  readonly endedS: number | null;
}

export class ToolJobs {
  readonly #all: Statement;
  readonly #insert: Statement;
  readonly #start: Statement;
  readonly #end: Statement;
  readonly #delete: Statement;

  constructor(db: Database) {
    this.#all = db.prepare('SELECT id, call, starts, result, ended_s AS endedS FROM tool_job');
    this.#insert = db.prepare('INSERT INTO tool_job VALUES (?, ?, 1, NULL, NULL)');
    this.#start = db.prepare('UPDATE tool_job SET starts = starts + 1 WHERE id = ?');
    this.#end = db.prepare('UPDATE tool_job SET result = ?, ended_s = ? WHERE id = ?');
    this.#delete = db.prepare('DELETE FROM tool_job WHERE id = ?');
  }

  all(): ToolJobRow[] {
    return this.#all.all() as ToolJobRow[];
  }

  /** Inside a transaction, as all that follow. */
  insert(id: string, call: string): void {
    this.#insert.run(id, call);
  }

  started(id: string): void {
    this.#start.run(id);
  }

  ended(id: string, result: string, endedS: number): void {
    this.#end.run(result, endedS, id);
  }

  delete(id: string): void {
    this.#delete.run(id);
  }
}
