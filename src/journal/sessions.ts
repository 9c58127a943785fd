/**
 * Rows of `write_session`: a file being written through the mount. The row is made with the first
 * write and removed when the session's `write` record is appended, so that a session the daemon did
 * not live to end is recorded by the next one.
 */
import {
  type ActorId,
  bytesOf,
  type ContentId,
  type Fh,
  type Ino,
  type Name,
  nameOf,
} from '../base/ids.ts';
import type { Counters } from './counters.ts';
import type { Database, Statement } from './sqlite.ts';

export interface WriteSessionRow {
  readonly id: number;
  readonly ino: Ino;
  readonly actor: ActorId;
  /** Path the file was opened by. */
  readonly path: Name;
  readonly begunS: number;
  readonly begunNs: number;
  /** The bytes before; 0 when there were none, or when they were too large to keep. */
  readonly oldContent: ContentId;
  readonly oldSize: number;
  /** What undo needs beyond the columns. */
  readonly before: Readonly<Record<string, unknown>>;
  /** The handle it is of, which a daemon may take over with its connection. */
  readonly fh: Fh;
}

interface Raw {
  id: number;
  ino: Ino;
  actor: ActorId;
  path: Buffer;
  begun_s: number;
  begun_ns: number;
  old_content: ContentId;
  old_size: number;
  before: string;
  fh: Fh;
}

export class WriteSessions {
  readonly #counters: Counters;
  readonly #insert: Statement;
  readonly #rebase: Statement;
  readonly #delete: Statement;
  readonly #all: Statement;

  constructor(db: Database, counters: Counters) {
    this.#counters = counters;
    this.#insert = db.prepare('INSERT INTO write_session VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)');
    this.#rebase = db.prepare(
      'UPDATE write_session SET old_content = ?, old_size = ?, before = ? WHERE ino = ?',
    );
    this.#delete = db.prepare('DELETE FROM write_session WHERE id = ?');
    this.#all = db.prepare('SELECT * FROM write_session ORDER BY id');
  }

  /** Inside a transaction, as `delete`. */
  insert(row: Omit<WriteSessionRow, 'id'>): WriteSessionRow {
    const id = this.#counters.next('write_session');
    const { ino, actor, path, begunS, begunNs, oldContent, oldSize, before, fh } = row;
    this.#insert.run(
      id,
      ino,
      actor,
      bytesOf(path),
      begunS,
      begunNs,
      oldContent,
      oldSize,
      JSON.stringify(before),
      fh,
    );
    return { id, ...row };
  }

  /** All sessions of the inode, from now on: a record told of what was before. */
  rebase(ino: Ino, base: Pick<WriteSessionRow, 'oldContent' | 'oldSize' | 'before'>): void {
    this.#rebase.run(base.oldContent, base.oldSize, JSON.stringify(base.before), ino);
  }

  delete(id: number): void {
    this.#delete.run(id);
  }

  all(): WriteSessionRow[] {
    return (this.#all.all() as Raw[]).map((raw) => ({
      id: raw.id,
      ino: raw.ino,
      actor: raw.actor,
      path: nameOf(raw.path),
      begunS: raw.begun_s,
      begunNs: raw.begun_ns,
      oldContent: raw.old_content,
      oldSize: raw.old_size,
      before: JSON.parse(raw.before) as Record<string, unknown>,
      fh: raw.fh,
    }));
  }
}
