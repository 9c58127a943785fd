/** Where inodes are in a tree that may be broken. */
import { type Ino, type Name, nameOf, ROOT_INO, textOf } from '../base/ids.ts';
import type { Database, Statement } from './sqlite.ts';

export class Places {
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
  of(ino: Ino): Name {
    const names: Name[] = [];
    const seen = new Set<Ino>();
    let top = ino;
    while (!seen.has(top)) {
      seen.add(top);
      const above = this.#above.get(top) as { parent: Ino; name: Buffer | null } | undefined;
      if (!Buffer.isBuffer(above?.name)) break;
      names.unshift(nameOf(above.name));
      top = above.parent;
    }
    const base = top === ROOT_INO ? '' : (this.#pointOf(top) ?? `(inode ${top})`);
    return [base, ...names].join('/') as Name;
  }

  #pointOf(root: Ino): Name | undefined {
    const found = this.#mountPoint.get(root);
    return Buffer.isBuffer(found) ? nameOf(found) : undefined;
  }
}

/** For people: bytes that are no UTF-8 become U+FFFD. */
export const shown = (path: Name): string => (path === '' ? '/' : textOf(path));
