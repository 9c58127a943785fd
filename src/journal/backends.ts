/**
 * Rows of `backend` and `backend_object`: the stores that were registered, and what was put there of
 * which nobody but the store has the bytes for certain. A row may say what no kitfs can use any more:
 * whoever opens it finds out, and it stays.
 */
import type { Database, Statement } from './sqlite.ts';

export interface BackendRow {
  readonly name: string;
  readonly kind: string;
  /** JSON, as it was given: secrets are references. */
  readonly config: string;
  /** JSON, as they were found; null: nobody has tried. */
  readonly capabilities: string | null;
  readonly isDefault: boolean;
}

export interface BackendObjectRow {
  readonly backend: string;
  readonly identifier: string;
  readonly size: number;
  readonly version: string;
  /** Of its bytes, 32 bytes. */
  readonly sha256: Buffer;
  /** Binary, of the bytes as a file of UnixFS. */
  readonly cid: Buffer | null;
}

type RawBackend = Omit<BackendRow, 'isDefault'> & { readonly isDefault: number };

export class Backends {
  readonly #all: Statement;
  readonly #set: Statement;
  readonly #setDefault: Statement;
  readonly #delete: Statement;
  readonly #object: Statement;
  readonly #objects: Statement;
  readonly #twins: Statement;
  readonly #setObject: Statement;
  readonly #deleteObject: Statement;
  readonly #deleteObjects: Statement;

  constructor(db: Database) {
    this.#all = db.prepare(
      'SELECT name, kind, config, capabilities, is_default AS isDefault FROM backend ORDER BY name',
    );
    this.#set = db.prepare('INSERT OR REPLACE INTO backend VALUES (?, ?, ?, ?, ?)');
    this.#setDefault = db.prepare('UPDATE backend SET is_default = (name = ?)');
    this.#delete = db.prepare('DELETE FROM backend WHERE name = ?');
    this.#object = db.prepare('SELECT * FROM backend_object WHERE backend = ? AND identifier = ?');
    this.#objects = db.prepare(
      'SELECT * FROM backend_object WHERE backend = ? AND identifier > ? ORDER BY identifier LIMIT ?',
    );
    this.#twins = db.prepare('SELECT * FROM backend_object WHERE sha256 = ? LIMIT ?');
    this.#setObject = db.prepare('INSERT OR REPLACE INTO backend_object VALUES (?, ?, ?, ?, ?, ?)');
    this.#deleteObject = db.prepare(
      'DELETE FROM backend_object WHERE backend = ? AND identifier = ?',
    );
    this.#deleteObjects = db.prepare('DELETE FROM backend_object WHERE backend = ?');
  }

  /** In bytewise order of their names. */
  all(): BackendRow[] {
    return (this.#all.all() as RawBackend[]).map((raw) => ({
      ...raw,
      isDefault: raw.isDefault === 1,
    }));
  }

  /** Inside a transaction, as all that change something. */
  set({ name, kind, config, capabilities, isDefault }: BackendRow): void {
    this.#set.run(name, kind, config, capabilities, Number(isDefault));
  }

  /** This one, and no other; a name that has no row: none. */
  setDefault(name: string): void {
    this.#setDefault.run(name);
  }

  /** With what is known of its objects. */
  delete(name: string): void {
    this.#delete.run(name);
    this.#deleteObjects.run(name);
  }

  object(backend: string, identifier: string): BackendObjectRow | undefined {
    return this.#object.get(backend, identifier) as BackendObjectRow | undefined;
  }

  /** At most `limit` of a backend behind `after`, in bytewise order. */
  objects(backend: string, after: string, limit: number): BackendObjectRow[] {
    return this.#objects.all(backend, after, limit) as BackendObjectRow[];
  }

  /** Objects with such bytes, wherever they are; at most `limit`. */
  twins(sha256: Buffer, limit: number): BackendObjectRow[] {
    return this.#twins.all(sha256, limit) as BackendObjectRow[];
  }

  setObject({ backend, identifier, size, version, sha256, cid }: BackendObjectRow): void {
    this.#setObject.run(backend, identifier, size, version, sha256, cid);
  }

  deleteObject(backend: string, identifier: string): void {
    this.#deleteObject.run(backend, identifier);
  }
}
