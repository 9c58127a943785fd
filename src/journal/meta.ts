/** Single facts about the state directory, by key. */
import type { Database, Statement } from './sqlite.ts';

export type MetaKey =
  | 'created'
  /** Tells this journal from all others. */
  | 'id'
  /** Of the kernel, when the journal was opened last. */
  | 'boot_id'
  /** Content below this number, not marked stable, is to be looked at: the power was lost. 0: none. */
  | 'doubted_below'
  | 'retained_from'
  | 'head'
  | 'verified_seq'
  /** What `kitfs mount --from` named when the tree was made from it. */
  | 'begun_from'
  /** The tree that is coming to `/ipfs` from there, as JSON (`daemon/first-tree.ts`); empty or absent: none. */
  | 'arriving'
  /** Present once anything has had an access control list. */
  | 'acls'
  /** Present once anything has had `user.kitfs.pin`. */
  | 'pinned_here'
  /** CID of the root of the mutable tree, in hexadecimal; absent while nothing was written to it. */
  | 'mfs_root'
  /** Snapshots that are being let go, as CIDs with a space between; empty or absent: none. */
  | 'releasing'
  /** Ranges of numbers of objects that publications hold for snapshots that are not there yet. */
  | 'unfinished'
  /** By IPNS name (`k51…`): the record that its key last signed, in base64. */
  | `ipns:${string}`;

export class Meta {
  readonly #get: Statement;
  readonly #set: Statement;

  constructor(db: Database) {
    this.#get = db.prepare('SELECT value FROM meta WHERE key = ?').pluck();
    this.#set = db.prepare('INSERT OR REPLACE INTO meta VALUES (?, ?)');
  }

  get(key: MetaKey): string | undefined {
    const value = this.#get.get(key);
    return value === undefined ? undefined : String(value);
  }

  /** Inside a transaction. */
  set(key: MetaKey, value: string): void {
    this.#set.run(key, value);
  }
}
