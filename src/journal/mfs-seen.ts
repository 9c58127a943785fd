/**
 * Rows of `mfs_seen`: for each name of a tree of kind `mfs`, what the mutable tree of the node had
 * under it, and the file here that was the same, when the two last agreed; and what was to be put
 * there since, which is durable before the node hears of it.
 */
import { bytesOf, type Ino, type Name, nameOf } from '../base/ids.ts';
import type { Database, Statement } from './sqlite.ts';

/** One state of a name, on both sides. */
export interface SeenState {
  /** Block key of its root, there. */
  readonly cid: Buffer;
  /** Here. */
  readonly ino: Ino;
  /** Of a file the one that has these bytes; of a directory 0; -1 is no version at all. */
  readonly version: number;
}

export interface SeenRow {
  readonly parent: Ino;
  /** '' in the row of the root, whose `parent` it is itself. */
  readonly name: Name;
  /** undefined: nothing was there. */
  readonly agreed: SeenState | undefined;
  /**
   * Block keys of what was brought there since, and has given way to what is next: a node that is
   * killed may come back to any of it. undefined among them: nothing was there.
   */
  readonly former: readonly (Buffer | undefined)[];
  /** undefined: nothing is under way. */
  readonly next:
    | {
        /** Whether the node said that it has it; else it may have. */
        readonly isDone: boolean;
        /** undefined: the name was to go. */
        readonly to: SeenState | undefined;
        /** What had the name here, and went; 0: nothing. */
        readonly went: Ino | 0;
      }
    | undefined;
}

interface Raw {
  parent: Ino;
  name: Buffer;
  cid: Buffer | null;
  ino: Ino;
  version: number;
  pending: number;
  next_cid: Buffer | null;
  next_ino: Ino | 0;
  next_version: number;
  former: string;
}

/** Values of `pending`. */
const [SETTLED, INTENDED, DONE] = [0, 1, 2];

/** What had a name in a directory and is nowhere any more: of what was moved away the rows are right. */
const GONE_BELOW = `WITH below (ino) AS (
    SELECT ino FROM mfs_seen WHERE parent = @ino UNION SELECT next_ino FROM mfs_seen WHERE parent = @ino)
  SELECT ino FROM below WHERE ino <> 0 AND ino NOT IN (SELECT ino FROM inode)`;

export class MfsSeen {
  readonly #get: Statement;
  readonly #of: Statement;
  readonly #put: Statement;
  readonly #delete: Statement;
  readonly #directories: Statement;
  readonly #deleteAll: Statement;
  readonly #pending: Statement;
  readonly #directoriesAfter: Statement;

  constructor(db: Database) {
    this.#get = db.prepare('SELECT * FROM mfs_seen WHERE parent = ? AND name = ?');
    this.#of = db.prepare(`SELECT * FROM mfs_seen WHERE parent = ? AND name <> x'' ORDER BY name`);
    this.#put = db.prepare(`INSERT OR REPLACE INTO mfs_seen VALUES (${'?, '.repeat(9)}?)`);
    this.#delete = db.prepare('DELETE FROM mfs_seen WHERE parent = ? AND name = ?');
    this.#directories = db.prepare(GONE_BELOW).pluck();
    this.#deleteAll = db.prepare('DELETE FROM mfs_seen WHERE parent = ?');
    this.#pending = db.prepare('SELECT DISTINCT parent FROM mfs_seen WHERE pending > 0').pluck();
    this.#directoriesAfter = db
      .prepare('SELECT DISTINCT parent FROM mfs_seen WHERE parent > ? ORDER BY parent LIMIT ?')
      .pluck();
  }

  /** At most `limit` directories above `after` that have rows. */
  directoriesAfter(after: Ino | 0, limit: number): Ino[] {
    return this.#directoriesAfter.all(after, limit) as Ino[];
  }

  get(parent: Ino, name: Name): SeenRow | undefined {
    const raw = this.#get.get(parent, bytesOf(name)) as Raw | undefined;
    return raw === undefined ? undefined : rowOf(raw);
  }

  /** The names of a directory, without the row of a root. */
  of(parent: Ino): Map<Name, SeenRow> {
    return new Map((this.#of.all(parent) as Raw[]).map(rowOf).map((row) => [row.name, row]));
  }

  /** Directories with names of which something is under way, of all trees. */
  pending(): Ino[] {
    return this.#pending.all() as Ino[];
  }

  /** Inside a transaction, as `delete`. A row that says nothing is none. */
  put({ parent, name, agreed, former, next }: SeenRow): void {
    if (agreed === undefined && next === undefined) {
      this.delete(parent, name);
      return;
    }
    this.#put.run(
      parent,
      bytesOf(name),
      agreed?.cid ?? null,
      agreed?.ino ?? 0,
      agreed?.version ?? 0,
      next === undefined ? SETTLED : next.isDone ? DONE : INTENDED,
      next?.to?.cid ?? null,
      next?.to?.ino ?? next?.went ?? 0,
      next?.to?.version ?? 0,
      JSON.stringify(former.map((key) => key?.toString('hex') ?? null)),
    );
  }

  delete(parent: Ino, name: Name): void {
    this.#delete.run(parent, bytesOf(name));
  }

  /** All below a directory that is neither here nor there any more. */
  forget(directory: Ino): void {
    const waiting = [directory];
    for (let ino = waiting.pop(); ino !== undefined; ino = waiting.pop()) {
      waiting.push(...(this.#directories.all({ ino }) as Ino[]));
      this.#deleteAll.run(ino);
    }
  }
}

function rowOf(raw: Raw): SeenRow {
  const { cid, ino, version, pending, next_cid, next_ino, next_version } = raw;
  const to =
    next_cid === null ? undefined : { cid: next_cid, ino: next_ino as Ino, version: next_version };
  return {
    parent: raw.parent,
    name: nameOf(raw.name),
    agreed: cid === null ? undefined : { cid, ino, version },
    former: (JSON.parse(raw.former) as (string | null)[]).map((key) =>
      key === null ? undefined : Buffer.from(key, 'hex'),
    ),
    next:
      pending === SETTLED
        ? undefined
        : { isDone: pending === DONE, to, went: to === undefined ? next_ino : 0 },
  };
}
