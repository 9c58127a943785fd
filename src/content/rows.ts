/**
 * Rows of `content`, cached: reading and writing are the hot path, and must not ask SQLite who they
 * are talking about. Written through at once; a rollback drops what the transaction touched.
 */
import { assert } from '../base/assert.ts';
import type { ContentId } from '../base/ids.ts';
import { CONTENTS_CACHED_MAX } from '../base/limits.ts';
import { Recent } from '../base/recent.ts';
import type { ContentRow, Journal, Tx } from '../journal/journal.ts';

export class ContentRows {
  readonly #journal: Journal;
  readonly #cached = new Recent<ContentId, ContentRow>(CONTENTS_CACHED_MAX);
  #tx: Tx | undefined;
  #touched = new Set<ContentId>();

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  /** The live row: it changes with the object. */
  find(id: ContentId): ContentRow | undefined {
    const cached = this.#cached.get(id);
    if (cached !== undefined) return cached;
    const row = this.#journal.contents.get(id);
    if (row !== undefined) this.#cached.set(id, row);
    return row;
  }

  get(id: ContentId): ContentRow {
    const row = this.find(id);
    assert(row !== undefined, `content ${id} exists`);
    return row;
  }

  insert(row: ContentRow): void {
    this.#write(row.id, () => this.#journal.contents.insert(row));
    this.#cached.set(row.id, row);
  }

  /** Changes the row in memory and in the table. */
  update(row: ContentRow, change: Partial<Omit<ContentRow, 'id'>>): void {
    this.#write(row.id, () => {
      Object.assign(row, change);
      this.#journal.contents.update(row);
    });
  }

  /** With packed bytes and blocks. */
  delete(id: ContentId): void {
    this.#write(id, () => this.#journal.contents.delete(id));
    this.#cached.delete(id);
  }

  #write(id: ContentId, action: () => void): void {
    assert(this.#journal.inTransaction, 'content is changed inside a transaction');
    this.#journal.commit((tx) => {
      this.#touch(tx, id);
      action();
    });
  }

  #touch(tx: Tx, id: ContentId): void {
    if (this.#tx !== tx) {
      const touched = new Set<ContentId>();
      this.#tx = tx;
      this.#touched = touched;
      tx.onRollback(() => {
        for (const one of touched) this.#cached.delete(one);
      });
    }
    this.#touched.add(id);
  }
}
