/**
 * Space on the disk that belongs to the journal in advance, so that what frees space can be
 * committed when there is none: native/wal_vfs.cc keeps it, this asks.
 *
 * Invariants: a transaction leaves the reserve alone unless it frees space; what was used of it is
 * made whole again as soon as the disk lets it, with no restart.
 */
import { constants } from 'node:os';
import { codeOf, type Failure, OpError } from '../base/errors.ts';
import type { Database, Statement } from './sqlite.ts';

const { errno } = constants;

/** What a write into the journal's files met, in the words of the errors. */
const BY_ERRNO: ReadonlyMap<number, Failure> = new Map([
  [errno.ENOSPC, 'no-space'],
  [errno.EDQUOT, 'quota-exceeded'],
  [errno.EROFS, 'read-only'],
  [errno.EIO, 'io'],
]);

const HINTS: Partial<Record<Failure, string>> = {
  'no-space': 'the disk of the state directory is full: make space on it',
  'quota-exceeded': 'the quota of the state directory is used up: raise it, or make space',
  'read-only': 'the disk of the state directory can only be read: look at its log',
};

export class Room {
  readonly #frees: Statement;
  readonly #reserve: Statement;
  readonly #errno: Statement;
  #isShort = false;

  /** `db` is the writer's connection. @throws OpError dependency-missing. */
  constructor(db: Database) {
    const asked = (sql: string) => {
      try {
        return db.prepare(sql).pluck();
      } catch (error) {
        const hint = 'the native parts are of another version: run `npm run build`';
        throw new OpError('dependency-missing', 'ask the VFS of the WAL', { hint, cause: error });
      }
    };
    this.#frees = asked('SELECT kitfs_frees(?)');
    this.#reserve = asked('SELECT kitfs_reserve()');
    this.#errno = asked('SELECT kitfs_errno()');
  }

  /** Whether the reserve was not whole when it was last needed or looked at. */
  get isShort(): boolean {
    return this.#isShort;
  }

  /** Runs the commit of a transaction that frees space. */
  lend(commit: () => void): void {
    this.#frees.get(1);
    try {
      commit();
    } finally {
      this.#isShort = this.#frees.get(0) === 1 || this.#isShort;
    }
  }

  /** Makes the reserve whole again if the disk lets it. Outside a transaction. */
  restore(): void {
    this.#isShort = this.#reserve.get() === 1;
  }

  /** What SQLite says of a write, as the disk said it. */
  told(error: OpError): OpError {
    const code = codeOf(error.cause) ?? '';
    if (!/^SQLITE_(FULL|IOERR|READONLY)/.test(code)) return error;
    const met = BY_ERRNO.get(this.#errno.get() as number);
    const isFull = code === 'SQLITE_FULL' || code === 'SQLITE_IOERR_SHMSIZE';
    const failure = met ?? (isFull ? 'no-space' : error.failure);
    if (failure === 'no-space' || failure === 'quota-exceeded') this.#isShort = true;
    const hint = HINTS[failure];
    return new OpError(failure, error.op, { cause: error.cause, ...(hint && { hint }) });
  }
}
