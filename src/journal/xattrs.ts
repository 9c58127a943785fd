/**
 * Extended attributes and the targets of symbolic links. One attribute is of this machine alone
 * (`PINNED_HERE`): it is no part of what is listed, copied or published.
 */
import { bytesOf, type Ino, type Name, nameOf } from '../base/ids.ts';
import type { Database, Statement } from './sqlite.ts';

/** Whoever has it, a file or all below a directory, keeps the bytes here. */
export const PINNED_HERE = 'user.kitfs.pin' as Name;

export class Xattrs {
  readonly #get: Statement;
  readonly #set: Statement;
  readonly #remove: Statement;
  readonly #list: Statement;
  readonly #clear: Statement;
  readonly #all: Statement;

  constructor(db: Database) {
    this.#get = db.prepare('SELECT value FROM xattr WHERE ino = ? AND name = ?').pluck();
    this.#set = db.prepare('INSERT OR REPLACE INTO xattr VALUES (?, ?, ?)');
    this.#remove = db.prepare('DELETE FROM xattr WHERE ino = ? AND name = ?');
    this.#list = db.prepare('SELECT name FROM xattr WHERE ino = ? ORDER BY name').pluck();
    this.#clear = db.prepare('DELETE FROM xattr WHERE ino = ?');
    this.#all = db.prepare('SELECT name, value FROM xattr WHERE ino = ? ORDER BY name');
  }

  get(ino: Ino, name: Name): Buffer | undefined {
    return this.#get.get(ino, bytesOf(name)) as Buffer | undefined;
  }

  set(ino: Ino, name: Name, value: Buffer): void {
    this.#set.run(ino, bytesOf(name), value);
  }

  remove(ino: Ino, name: Name): void {
    this.#remove.run(ino, bytesOf(name));
  }

  /** Without that of this machine. */
  list(ino: Ino): Name[] {
    const names = (this.#list.all(ino) as Buffer[]).map(nameOf);
    return names.filter((name) => name !== PINNED_HERE);
  }

  /** Without that of this machine. */
  all(ino: Ino): { name: Name; value: Buffer }[] {
    return this.stored(ino).filter(({ name }) => name !== PINNED_HERE);
  }

  /** All there are, for who takes them away and may have to put them back. */
  stored(ino: Ino): { name: Name; value: Buffer }[] {
    const rows = this.#all.all(ino) as { name: Buffer; value: Buffer }[];
    return rows.map(({ name, value }) => ({ name: nameOf(name), value }));
  }

  clear(ino: Ino): void {
    this.#clear.run(ino);
  }
}

export class Symlinks {
  readonly #get: Statement;
  readonly #set: Statement;
  readonly #remove: Statement;

  constructor(db: Database) {
    this.#get = db.prepare('SELECT target FROM symlink WHERE ino = ?').pluck();
    this.#set = db.prepare('INSERT OR REPLACE INTO symlink VALUES (?, ?)');
    this.#remove = db.prepare('DELETE FROM symlink WHERE ino = ?');
  }

  get(ino: Ino): Name | undefined {
    const target = this.#get.get(ino) as Buffer | undefined;
    return target === undefined ? undefined : nameOf(target);
  }

  set(ino: Ino, target: Name): void {
    this.#set.run(ino, bytesOf(target));
  }

  remove(ino: Ino): void {
    this.#remove.run(ino);
  }
}
