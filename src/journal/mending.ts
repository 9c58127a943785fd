/**
 * One repair: a transaction that puts one finding in order, and records what it did. Here is what the
 * repairs of all rules share: names, inodes and `lost+found`; each rule's own is in `mends-*.ts`.
 *
 * Invariants: nothing that holds bytes is removed: what has no place goes to `lost+found` of the tree
 * it belonged to. Rows are read anew for each repair, because the one before may have changed them.
 */
import { OpError } from '../base/errors.ts';
import {
  bytesOf,
  type ContentId,
  type Ino,
  type Name,
  NO_CONTENT,
  nameOf,
  nameOfText,
  type SuperblockId,
} from '../base/ids.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import { isDirectory, S_IFDIR, S_IFREG } from '../base/posix.ts';
import type { Actor } from './actors.ts';
import type { BrokenRow } from './check.ts';
import type { ContentRow } from './contents.ts';
import type { InodeRow } from './inodes.ts';
import * as rule from './invariant.ts';
import type { Journal, Tx } from './journal.ts';
import type { OpEntry } from './ops.ts';
import { Places } from './places.ts';

/** What a repair may know of the disk. */
export interface BackingSizes {
  /** Bytes of the backing file under the object's own name; undefined: there is none. */
  sizeOf(id: ContentId): number | undefined;
}

export interface RepairOptions {
  readonly journal: Journal;
  /** Who repairs, in the journal. */
  readonly actor: Actor;
  /** Shared by all records of one run. */
  readonly group: string;
  readonly files: BackingSizes;
}

/**
 * repaired: it is as it should be. quarantined: it, or what is left of it, lies in `lost+found`.
 * left: nothing can mend it.
 */
export type Outcome = 'repaired' | 'quarantined' | 'left';

export interface Mended {
  readonly outcome: Outcome;
  /** What was done, for people. */
  readonly action: string;
}

export type Mend = (mending: Mending, row: BrokenRow) => Mended;

export const repaired = (action: string): Mended => ({ outcome: 'repaired', action });
export const left = (action: string): Mended => ({ outcome: 'left', action });
/** Some other repair has put it in order. */
export const SETTLED = repaired('in order again with another repair');

const DIRECTORY_BYTES = 4096;
const LOST_FOUND = 'lost+found' as Name;
const LOST_FOUND_MODE = S_IFDIR | 0o700;

export class Mending {
  readonly journal: Journal;
  readonly files: BackingSizes;
  readonly #options: RepairOptions;
  readonly #tx: Tx;
  /** The rule that was broken. */
  readonly check: string;

  constructor(options: RepairOptions, tx: Tx, check: string) {
    this.#options = options;
    this.journal = options.journal;
    this.files = options.files;
    this.#tx = tx;
    this.check = check;
  }

  all<T>(sql: string, ...values: unknown[]): T[] {
    return this.journal.connection.prepare(sql).all(...values) as T[];
  }

  get<T>(sql: string, ...values: unknown[]): T | undefined {
    return this.journal.connection.prepare(sql).get(...values) as T | undefined;
  }

  run(sql: string, ...values: unknown[]): void {
    this.journal.connection.prepare(sql).run(...values);
  }

  inode(ino: Ino | undefined): InodeRow | undefined {
    return ino === undefined ? undefined : this.journal.inodes.get(ino);
  }

  /** Where the inode is, or would be. */
  pathOf(ino: Ino): Name {
    const path = new Places(this.journal.connection).of(ino);
    return path === '' ? ('/' as Name) : path;
  }

  /** Appends a record of what this repair changes in the tree. */
  record(fields: Partial<OpEntry> & Pick<OpEntry, 'ino' | 'path'>): void {
    const { actor, group } = this.#options;
    this.#tx.record({
      kind: 'repair',
      actor: this.journal.actors.intern(actor),
      parent: 0,
      name: '' as Name,
      group,
      ...fields,
      after: { check: this.check, ...fields.after },
    });
  }

  /** Writes a changed row, and records what it was. */
  change(row: InodeRow, was: Partial<InodeRow>): Mended {
    row.ctimeS = this.#tx.now.s;
    row.ctimeNs = this.#tx.now.ns;
    this.journal.inodes.update(row);
    const now = Object.keys(was).map((key) => [key, row[key as keyof InodeRow]]);
    const after = Object.fromEntries(now) as Record<string, unknown>;
    this.record({ ino: row.ino, path: this.pathOf(row.ino), before: { ...was }, after });
    return repaired(now.map(([key, value]) => `${String(key)} is ${String(value)}`).join(', '));
  }

  /** Names of an inode, whatever their directories are. */
  namesOf(ino: Ino): { readonly parent: Ino; readonly name: Name }[] {
    return this.journal.dentries.namesOf(ino);
  }

  /** Removes a name; what it named has one fewer. */
  unname(parent: Ino, name: Name, child: Ino): void {
    const path = `${new Places(this.journal.connection).of(parent)}/${name}` as Name;
    this.journal.dentries.remove(parent, name);
    const before = { entry: bytesOf(name).toString('base64') };
    this.record({ ino: child, parent, name, path, oldPath: path, before });
    for (const ino of [parent, child]) this.recount(ino);
  }

  /** Links as the entries say. Whether they were others. */
  recount(ino: Ino): boolean {
    const row = this.inode(ino);
    if (row === undefined) return false;
    const nlink = this.#linksOf(row);
    if (row.nlink === nlink) return false;
    row.nlink = nlink;
    this.journal.inodes.update(row);
    return true;
  }

  #linksOf(row: InodeRow): number {
    const { ino } = row;
    if (!isDirectory(row.mode)) return this.namesOf(ino).length;
    const sql = `SELECT count(*) AS count FROM dentry d JOIN inode c ON c.ino = d.ino
      WHERE d.parent = ? AND ${rule.isDirectory('c')}`;
    return 2 + (this.get<{ count: number }>(sql, ino)?.count ?? 0);
  }

  /**
   * Gives an inode a name in `lost+found` of its tree, with everything below it. `label`: what is
   * known of it besides its number.
   */
  quarantine(row: InodeRow, label: Name | undefined): Mended {
    const tree = this.#treeFor(row.superblock);
    this.moveTo(row, tree.id);
    const directory = this.#lostFound(tree);
    const number = `#${row.ino}`;
    const known = label ?? this.#lastName(row.ino);
    const wanted = known === undefined ? number : `${number}-${known}`;
    return this.#enter(directory, wanted as Name, row.ino);
  }

  /** An empty file, or one that shows this content, in `lost+found`. */
  quarantineContent(
    superblock: SuperblockId | undefined,
    label: string,
    content: Pick<ContentRow, 'id' | 'size'>,
    like?: Pick<InodeRow, 'mode' | 'uid' | 'gid'>,
  ): Mended & { readonly ino: Ino } {
    const tree = this.#treeFor(superblock);
    const directory = this.#lostFound(tree);
    const { uid, gid } = like ?? directory;
    const { ino } = this.insert({
      mode: S_IFREG | ((like?.mode ?? 0o600) & 0o777),
      uid,
      gid,
      superblock: tree.id,
      size: content.size,
      content: content.id,
    });
    return { ...this.#enter(directory, nameOfText(label), ino), ino };
  }

  /** A new inode, of the given number if any, without a name. */
  insert(given: Partial<InodeRow> & Pick<InodeRow, 'mode' | 'superblock'>): InodeRow {
    const { s, ns } = this.#tx.now;
    const isDir = isDirectory(given.mode);
    const row: InodeRow = {
      ino: given.ino ?? this.journal.inodes.nextIno(),
      generation: 1,
      uid: 0,
      gid: 0,
      nlink: isDir ? 2 : 0,
      size: isDir ? DIRECTORY_BYTES : 0,
      rdev: 0,
      atimeS: s,
      atimeNs: ns,
      mtimeS: s,
      mtimeNs: ns,
      ctimeS: s,
      ctimeNs: ns,
      btimeS: s,
      btimeNs: ns,
      content: NO_CONTENT,
      parent: 0 as Ino,
      version: 1,
      ...given,
    };
    this.journal.inodes.insert(row);
    return row;
  }

  /** Moves an inode, and everything below it, to another superblock. */
  moveTo(top: InodeRow, superblock: SuperblockId): void {
    const below = `WITH RECURSIVE below (ino) AS (SELECT ?
      UNION SELECT d.ino FROM below b JOIN dentry d ON d.parent = b.ino)
      SELECT ino FROM below JOIN inode USING (ino) WHERE superblock <> ?`;
    for (const { ino } of this.all<{ ino: Ino }>(below, top.ino, superblock)) {
      const row = this.inode(ino);
      if (row === undefined) continue;
      this.journal.inodes.delete(row);
      this.journal.inodes.insert({ ...row, superblock });
    }
  }

  /** The superblock whose root is above the inode; undefined when it hangs in the air. */
  superblockAbove(ino: Ino): SuperblockId | undefined {
    const seen = new Set<Ino>();
    for (let at = ino; !seen.has(at); ) {
      seen.add(at);
      const tree = this.get<{ id: SuperblockId }>('SELECT id FROM superblock WHERE root = ?', at);
      if (tree !== undefined) return tree.id;
      const above = this.namesOf(at)[0];
      if (above === undefined) return undefined;
      at = above.parent;
    }
    return undefined;
  }

  /** The tree for what belonged to none that is known. */
  firstTree(): SuperblockId {
    return this.#treeFor(undefined).id;
  }

  /** The tree that takes what is found: its own, if there is one for files, else that of /ipfs. */
  #treeFor(id: SuperblockId | undefined): Tree {
    const sql = `SELECT s.id, s.root FROM superblock s JOIN inode i ON i.ino = s.root
      WHERE ${rule.isDirectory('i')}
      ORDER BY s.id = ? AND s.kind <> 'root' DESC, s.kind = 'root', s.volatile, s.kind <> 'ipfs', s.id`;
    const tree = this.get<Tree>(`${sql} LIMIT 1`, id ?? 0);
    if (tree === undefined) throw new OpError('journal-corrupt', 'find a root for lost+found');
    return tree;
  }

  #lostFound({ id, root }: Tree): InodeRow {
    const { dentries } = this.journal;
    for (let n = 0; ; n++) {
      const name = (n === 0 ? LOST_FOUND : `${LOST_FOUND}.${n}`) as Name;
      const known = this.inode(dentries.find(root, name));
      if (known !== undefined && isDirectory(known.mode)) return known;
      if (known === undefined) return this.#makeLostFound(id, root, name);
    }
  }

  #makeLostFound(superblock: SuperblockId, root: Ino, name: Name): InodeRow {
    const above = this.inode(root);
    const { uid, gid } = above ?? { uid: 0, gid: 0 };
    const made = this.insert({ mode: LOST_FOUND_MODE, uid, gid, superblock });
    this.#link(root, name, made.ino);
    const path = this.pathOf(made.ino);
    this.record({ kind: 'mkdir', ino: made.ino, parent: root, name, path, mode: LOST_FOUND_MODE });
    return this.inode(made.ino) ?? made;
  }

  #enter(directory: InodeRow, wanted: Name, ino: Ino): Mended {
    const name = this.#freeName(directory.ino, wanted);
    this.#link(directory.ino, name, ino);
    const path = this.pathOf(ino);
    this.record({ ino, parent: directory.ino, name, path, after: { quarantined: true } });
    return { outcome: 'quarantined', action: `it is at ${Buffer.from(path, 'latin1')} now` };
  }

  #link(parent: Ino, name: Name, ino: Ino): void {
    const row = this.inode(ino);
    const above = this.inode(parent);
    if (row === undefined || above === undefined) return;
    this.journal.dentries.insert(parent, name, ino);
    if (isDirectory(row.mode)) {
      row.parent = parent;
      above.nlink += 1;
    }
    row.nlink = this.#linksOf(row);
    this.journal.inodes.update(row);
    above.mtimeS = this.#tx.now.s;
    above.mtimeNs = this.#tx.now.ns;
    above.ctimeS = above.mtimeS;
    above.ctimeNs = above.mtimeNs;
    above.version += 1;
    this.journal.inodes.update(above);
  }

  #freeName(directory: Ino, wanted: Name): Name {
    const clean = wanted.replaceAll(/[/\0]/g, '_');
    for (let n = 0; ; n++) {
      const ending = n === 0 ? '' : `.${n}`;
      const name = `${clean.slice(0, NAME_BYTES_MAX - ending.length)}${ending}` as Name;
      if (this.journal.dentries.find(directory, name) === undefined) return name;
    }
  }

  /** What the inode was called last. */
  #lastName(ino: Ino): Name | undefined {
    const sql = `SELECT name FROM op WHERE ino = ? AND length(name) > 0 ORDER BY seq DESC LIMIT 1`;
    const known = this.get<{ name: Buffer }>(sql, ino);
    return known === undefined ? undefined : nameOf(known.name);
  }
}

interface Tree {
  readonly id: SuperblockId;
  readonly root: Ino;
}
