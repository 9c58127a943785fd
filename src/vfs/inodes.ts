/**
 * A bounded write-through cache of inode rows. A row is changed in place and written once, before
 * its transaction commits, however often it changed in it; a rollback forgets what was changed.
 */
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type { Ino, Name } from '../base/ids.ts';
import { INODES_CACHED_MAX, READS_PENDING_MAX } from '../base/limits.ts';
import type { InodeRow, Journal, Tx } from '../journal/journal.ts';
import type { LiveFiles } from './live.ts';

export const ACL_ACCESS = 'system.posix_acl_access' as Name;
export const ACL_DEFAULT = 'system.posix_acl_default' as Name;

export class InodeCache {
  readonly #journal: Journal;
  readonly #live: LiveFiles;
  readonly #rows = new Map<Ino, InodeRow>();
  readonly #changed = new Set<InodeRow>();
  /** Rows whose access time is later than what is written. */
  readonly #read = new Set<InodeRow>();
  #tx: Tx | undefined;
  /** Whether anything ever had an access control list: if not, none is looked for. */
  #hasAcls: boolean;

  /** Rows of `live` files are put right whenever they are asked for. */
  constructor(journal: Journal, live: LiveFiles) {
    this.#journal = journal;
    this.#live = live;
    this.#hasAcls = journal.meta.get('acls') !== undefined;
  }

  find(ino: Ino): InodeRow | undefined {
    let row = this.#rows.get(ino);
    if (row === undefined) {
      row = this.#journal.inodes.get(ino);
      if (row === undefined) return undefined;
      if (this.#hasAcls) row.acl = this.#journal.xattrs.get(ino, ACL_ACCESS);
      this.#rows.set(ino, row);
    }
    if (this.#live.size > 0) this.#live.sense(row);
    return row;
  }

  /** The list that new files in a directory get. */
  defaultAcl({ ino }: InodeRow): Buffer | undefined {
    return this.#hasAcls ? this.#journal.xattrs.get(ino, ACL_DEFAULT) : undefined;
  }

  /** Stores a list, or takes it away, in a transaction. */
  setAcl(tx: Tx, row: InodeRow, name: Name, value: Buffer | undefined): void {
    if (value === undefined) this.#journal.xattrs.remove(row.ino, name);
    else this.#journal.xattrs.set(row.ino, name, value);
    if (name === ACL_ACCESS) row.acl = value;
    this.change(tx, row);
    if (this.#hasAcls || value === undefined) return;
    this.#hasAcls = true;
    this.#journal.meta.set('acls', '1');
    tx.onRollback(() => {
      this.#hasAcls = false;
    });
  }

  /** The row as it was seen last, for who needs neither size nor times. */
  peek(ino: Ino): InodeRow | undefined {
    return this.#rows.get(ino) ?? this.find(ino);
  }

  /** @throws OpError not-found: the inode is gone. */
  get(ino: Ino): InodeRow {
    const row = this.find(ino);
    if (row === undefined) throw new OpError('not-found', `inode ${ino}`);
    return row;
  }

  /** A new row; further changes of it in this transaction need `change` as any other. */
  add(tx: Tx, row: InodeRow): void {
    this.#enter(tx);
    this.#journal.inodes.insert(row);
    this.#rows.set(row.ino, row);
    tx.onRollback(() => this.#rows.delete(row.ino));
  }

  /** Says that `row`, which came from this cache, was or will be changed in this transaction. */
  change(tx: Tx, row: InodeRow): void {
    this.#enter(tx);
    this.#changed.add(row);
  }

  /** The access time of `row` moved: it is written sooner or later. */
  read(row: InodeRow): void {
    this.#read.add(row);
    if (this.#read.size >= READS_PENDING_MAX) this.saveReads();
  }

  /** Writes the access times that are not written yet. */
  saveReads(): void {
    if (this.#read.size === 0) return;
    // On a full disk too: it takes no space, and a kill would lose them.
    this.#journal.commitFreeing((tx) => this.#enter(tx));
  }

  /** Makes room. Only between operations: an operation relies on the rows it holds being these. */
  trim(): void {
    if (this.#rows.size >= INODES_CACHED_MAX) this.#evict();
  }

  remove(tx: Tx, row: InodeRow): void {
    this.#enter(tx);
    this.#changed.delete(row);
    this.#read.delete(row);
    this.#rows.delete(row.ino);
    this.#journal.inodes.delete(row);
  }

  /** Writes what changed so far in this transaction, for a query that must see it. */
  flush(): void {
    for (const row of this.#changed) {
      this.#journal.inodes.update(row);
      if (this.#tx !== undefined) this.#live.written(this.#tx, row);
    }
    this.#changed.clear();
  }

  /** A row read from the table, with an access time that is not written yet. */
  latest(row: InodeRow): InodeRow {
    const known = this.#rows.get(row.ino);
    return known !== undefined && this.#read.has(known) ? known : row;
  }

  /** Forgets everything: the rows were changed behind the cache. */
  clear(): void {
    assert(this.#changed.size === 0, 'cleared with changes pending');
    this.#read.clear();
    this.#rows.clear();
  }

  #enter(tx: Tx): void {
    if (this.#tx === tx) return;
    this.#tx = tx;
    tx.beforeCommit(() => {
      this.flush();
      for (const row of this.#read) this.#journal.inodes.update(row);
      this.#read.clear();
      this.#tx = undefined;
    });
    tx.onRollback(() => {
      // All of them: which rows were flushed earlier in the transaction is not known any more.
      this.#rows.clear();
      this.#changed.clear();
      this.#read.clear();
      this.#tx = undefined;
    });
  }

  /** The oldest eighth goes; a changed row is still to be written and stays. */
  #evict(): void {
    let left = INODES_CACHED_MAX / 8;
    for (const [ino, row] of this.#rows) {
      if (left-- <= 0) return;
      const isWanted =
        this.#changed.has(row) || this.#read.has(row) || this.#live.find(ino) !== undefined;
      if (!isWanted) this.#rows.delete(ino);
    }
  }
}
