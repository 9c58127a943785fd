/**
 * Rows of `published`: what a publication made of a directory and all below it, so that the next one
 * looks only at what changed since.
 *
 * Invariant: a directory whose row is kept, and in and below which nothing changed behind `seq`, is
 * now what the row says.
 */
import type { Ino } from '../base/ids.ts';
import type { Database, Statement } from './sqlite.ts';

export interface PublishedRow {
  readonly ino: Ino;
  /** Its UnixFS nodes carry mode and mtime. */
  readonly hasMetadata: boolean;
  /** The newest record it includes. */
  readonly seq: number;
  /** Key of the root block of the UnixFS directory. */
  readonly cid: Buffer;
  /** Bytes of all its blocks (Tsize). */
  readonly cumulativeSize: number;
  /** Key of the manifest's list of its names; undefined when it has none. */
  readonly list: Buffer | undefined;
  /** Names below it, at any depth. */
  readonly entries: number;
  readonly files: number;
  /** Itself counts too. */
  readonly directories: number;
  readonly symlinks: number;
  /** Of the files, each name counted. */
  readonly bytes: number;
  /** Of UnixFS, each name counted. */
  readonly blocks: number;
  /** Not everybody may see all of it. */
  readonly isPrivate: boolean;
  /** It has names that UnixFS cannot show, or more than one of a file: it is looked at each time. */
  readonly isOdd: boolean;
}

interface Raw {
  ino: Ino;
  metadata: number;
  seq: number;
  cid: Buffer;
  size: number;
  list: Buffer | null;
  entries: number;
  files: number;
  directories: number;
  symlinks: number;
  bytes: number;
  blocks: number;
  private: number;
  odd: number;
}

export class PublishedDirectories {
  readonly #get: Statement;
  readonly #put: Statement;
  readonly #confirm: Statement;
  readonly #page: Statement;

  constructor(db: Database) {
    this.#get = db.prepare('SELECT * FROM published WHERE ino = ? AND metadata = ?');
    this.#put = db.prepare(`INSERT OR REPLACE INTO published VALUES (${'?, '.repeat(13)}?)`);
    this.#confirm = db.prepare('UPDATE published SET seq = ? WHERE ino = ? AND metadata = ?');
    this.#page = db.prepare(`SELECT * FROM published WHERE (ino, metadata) > (?, ?)
      ORDER BY ino, metadata LIMIT ?`);
  }

  /** At most `limit` rows behind one, in the order of their directories. */
  page(
    after: Pick<PublishedRow, 'ino' | 'hasMetadata'> | undefined,
    limit: number,
  ): PublishedRow[] {
    const key = [after?.ino ?? 0, Number(after?.hasMetadata ?? false)];
    return (this.#page.all(...key, limit) as Raw[]).map(rowOf);
  }

  get(ino: Ino, hasMetadata: boolean): PublishedRow | undefined {
    const raw = this.#get.get(ino, Number(hasMetadata)) as Raw | undefined;
    return raw === undefined ? undefined : rowOf(raw);
  }

  /** Inside a transaction, as `confirm`. Rows of directories that go, go with them. */
  put(row: PublishedRow): void {
    this.#put.run(
      row.ino,
      Number(row.hasMetadata),
      row.seq,
      row.cid,
      row.cumulativeSize,
      row.list ?? null,
      row.entries,
      row.files,
      row.directories,
      row.symlinks,
      row.bytes,
      row.blocks,
      Number(row.isPrivate),
      Number(row.isOdd),
    );
  }

  /** The directory, and all below it, is at `seq` still what its row says. */
  confirm({ ino, hasMetadata }: PublishedRow, seq: number): void {
    this.#confirm.run(seq, ino, Number(hasMetadata));
  }
}

function rowOf(raw: Raw): PublishedRow {
  const { ino, seq, cid, size, list, entries, files, directories, symlinks, bytes, blocks } = raw;
  return {
    ...{ ino, seq, cid, cumulativeSize: size, list: list ?? undefined },
    ...{ entries, files, directories, symlinks, bytes, blocks },
    hasMetadata: raw.metadata === 1,
    isPrivate: raw.private === 1,
    isOdd: raw.odd === 1,
  };
}
