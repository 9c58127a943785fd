/**
 * Rows of `dentry`: a name in a directory → an inode. The cookie is the entry's position for
 * readdir: it rises with every entry ever made and is never used again, so a directory can be read
 * while it changes.
 */
import { bytesOf, type Ino, type Name, nameOf } from '../base/ids.ts';
import { DENTRIES_REMEMBERED_MAX } from '../base/limits.ts';
import { Recent } from '../base/recent.ts';
import type { Counters } from './counters.ts';
import { COLUMNS, type InodeRow } from './inodes.ts';
import type { Database, Statement } from './sqlite.ts';

export interface DentryRow {
  readonly name: Name;
  readonly ino: Ino;
  readonly cookie: number;
}

/** In place of a number: nothing has that name. */
const FREE = 0;

/** An entry, and what it names. */
export interface ListedRow {
  readonly name: Name;
  readonly cookie: number;
  readonly inode: Pick<InodeRow, 'ino' | 'mode'>;
}
export interface ListedInode extends ListedRow {
  readonly inode: InodeRow;
}

interface RawRow {
  name: Buffer;
  ino: Ino;
  cookie: number;
}

/**
 * One query a page: of each entry's inode the `columns`. The page is cut before inodes are looked
 * for, and CROSS JOIN keeps its order.
 */
const listing = (columns: string) => `SELECT ${columns}, name, cookie
  FROM (SELECT ino AS child, name, cookie FROM dentry WHERE parent = ? AND cookie > ?
    ORDER BY cookie LIMIT ?) CROSS JOIN inode ON ino = child ORDER BY cookie`;

export class Dentries {
  readonly #counters: Counters;
  /** What names meant when they were last asked for or changed: most are soon asked for again. */
  readonly #recent = new Recent<string, Ino | typeof FREE>(DENTRIES_REMEMBERED_MAX);
  readonly #find: Statement;
  readonly #insert: Statement;
  readonly #replace: Statement;
  readonly #remove: Statement;
  readonly #removeAll: Statement;
  readonly #isEmpty: Statement;
  readonly #list: Statement;
  readonly #listInodes: Statement;
  readonly #names: Statement;
  readonly #parents: Statement;
  readonly #namesAfter: Statement;
  readonly #inodesAfter: Statement;
  readonly #count: Statement;

  constructor(db: Database, counters: Counters) {
    this.#counters = counters;
    this.#find = db.prepare('SELECT ino FROM dentry WHERE parent = ? AND name = ?').pluck();
    this.#insert = db.prepare('INSERT INTO dentry VALUES (?, ?, ?, ?)');
    this.#replace = db.prepare('UPDATE dentry SET ino = ? WHERE parent = ? AND name = ?');
    this.#remove = db.prepare('DELETE FROM dentry WHERE parent = ? AND name = ?');
    this.#removeAll = db.prepare('DELETE FROM dentry WHERE parent = ?');
    this.#isEmpty = db.prepare('SELECT 1 FROM dentry WHERE parent = ? LIMIT 1').pluck();
    this.#list = db.prepare(listing('ino, mode'));
    this.#listInodes = db.prepare(listing(COLUMNS));
    this.#names = db.prepare('SELECT parent, name FROM dentry WHERE ino = ?');
    this.#parents = db.prepare('SELECT parent FROM dentry WHERE ino = ?').pluck();
    this.#namesAfter = db.prepare(
      'SELECT name, ino, cookie FROM dentry WHERE parent = ? AND name > ? ORDER BY name LIMIT ?',
    );
    this.#inodesAfter = db.prepare(`SELECT ${COLUMNS}, name, cookie
      FROM (SELECT ino AS child, name, cookie FROM dentry WHERE parent = ? AND name > ?
        ORDER BY name LIMIT ?) CROSS JOIN inode ON ino = child ORDER BY name`);
    this.#count = db.prepare('SELECT count(*) FROM dentry WHERE parent = ?').pluck();
  }

  find(parent: Ino, name: Name): Ino | undefined {
    const key = `${parent}/${name}`;
    let known = this.#recent.get(key);
    if (known === undefined) {
      known = (this.#find.get(parent, bytesOf(name)) as Ino | undefined) ?? FREE;
      this.#recent.set(key, known);
    }
    return known === FREE ? undefined : known;
  }

  /** The transaction was rolled back: what was found in it may never have been. */
  forget(): void {
    this.#recent.clear();
  }

  insert(parent: Ino, name: Name, ino: Ino): void {
    this.#recent.set(`${parent}/${name}`, ino);
    this.#insert.run(parent, bytesOf(name), ino, this.#counters.next('cookie'));
  }

  /** Points an existing name at another inode; its readdir position stays. */
  replace(parent: Ino, name: Name, ino: Ino): void {
    this.#recent.set(`${parent}/${name}`, ino);
    this.#replace.run(ino, parent, bytesOf(name));
  }

  remove(parent: Ino, name: Name): void {
    this.#recent.set(`${parent}/${name}`, FREE);
    this.#remove.run(parent, bytesOf(name));
  }

  /** All of a directory at once. */
  removeAll(parent: Ino): void {
    this.#removeAll.run(parent);
    this.#recent.clear();
  }

  isEmpty(parent: Ino): boolean {
    return this.#isEmpty.get(parent) === undefined;
  }

  count(parent: Ino): number {
    return this.#count.get(parent) as number;
  }

  /** At most `limit` entries behind `cookie` (0 = from the start), in readdir order. */
  list(parent: Ino, cookie: number, limit: number): ListedRow[] {
    return (this.#list.all(parent, cookie, limit) as (InodeRow & RawRow)[]).map(listed);
  }

  /** The same with whole inodes, as they lie in the table. */
  listInodes(parent: Ino, cookie: number, limit: number): ListedInode[] {
    return (this.#listInodes.all(parent, cookie, limit) as (InodeRow & RawRow)[]).map(listed);
  }

  /** At most `limit` entries whose name is bytewise greater, in bytewise order. */
  namesAfter(parent: Ino, name: Name, limit: number): DentryRow[] {
    return (this.#namesAfter.all(parent, bytesOf(name), limit) as RawRow[]).map(decoded);
  }

  /** The same with whole inodes, as they lie in the table. */
  inodesAfter(parent: Ino, name: Name, limit: number): ListedInode[] {
    return (this.#inodesAfter.all(parent, bytesOf(name), limit) as (InodeRow & RawRow)[]).map(
      listed,
    );
  }

  /** The directory of each name of one inode. */
  parentsOf(ino: Ino): Ino[] {
    return this.#parents.all(ino) as Ino[];
  }

  /** All names of one inode. */
  namesOf(ino: Ino): { parent: Ino; name: Name }[] {
    const rows = this.#names.all(ino) as { parent: Ino; name: Buffer }[];
    return rows.map(({ parent, name }) => ({ parent, name: nameOf(name) }));
  }
}

const listed = (row: InodeRow & RawRow): ListedInode => ({
  name: nameOf(row.name),
  cookie: row.cookie,
  inode: row,
});

const decoded = (row: RawRow): DentryRow => ({
  name: nameOf(row.name),
  ino: row.ino,
  cookie: row.cookie,
});
