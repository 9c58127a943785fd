/** What the records behind a point say was changed: the inodes, and the directories of their names. */
import type { Ino } from '../base/ids.ts';
import { Chain } from './chain.ts';
import type { OpKind } from './ops.ts';
import type { Database, Statement } from './sqlite.ts';

export interface Change {
  readonly seq: number;
  readonly kind: OpKind;
  /** Changed, made, moved or removed. */
  readonly inos: readonly Ino[];
  /** Whose names changed. */
  readonly directories: readonly Ino[];
}

interface Raw {
  seq: number;
  kind: OpKind;
  ino: Ino | 0;
  parent: Ino | 0;
  after: string | null;
}

/** Kinds that change nothing of what a tree shows. */
const SILENT: readonly OpKind[] = [
  'mount',
  'unmount',
  'sync_to',
  'sync_from',
  'add',
  'pin_add',
  'pin_rm',
  'checkpoint',
];

export class Changes {
  readonly #chain: Chain;
  readonly #page: Statement;
  readonly #newest: Statement;

  constructor(db: Database) {
    this.#chain = new Chain(db);
    const silent = SILENT.map((kind) => `'${kind}'`).join(', ');
    const columns = `seq, kind, ino, parent, iif(kind = 'rename', after, NULL) AS after`;
    this.#page = db.prepare(`SELECT ${columns}
      FROM op WHERE seq > ? AND kind NOT IN (${silent}) ORDER BY seq LIMIT ?`);
    this.#newest = db.prepare(`SELECT ${columns} FROM op
      WHERE seq > ? AND seq <= ? AND kind NOT IN (${silent}) ORDER BY seq DESC LIMIT ?`);
  }

  /** Whether all records behind `seq` are still there. */
  reaches(seq: number): boolean {
    return this.#chain.retainedFrom().seq <= seq;
  }

  /** At most `limit` of the changes behind `seq`, oldest first. */
  page(seq: number, limit: number): Change[] {
    return (this.#page.all(seq, limit) as Raw[]).map(changeOf);
  }

  /** At most `limit` of the changes behind `from`, up to and with `to`, newest first. */
  newest(from: number, to: number, limit: number): Change[] {
    return (this.#newest.all(from, to, limit) as Raw[]).map(changeOf);
  }
}

/** A rename's record names the directory that it left, and what it was exchanged with. */
interface Renamed {
  readonly from?: readonly [Ino, string];
  readonly exchanged?: Ino;
}

function changeOf({ seq, kind, ino, parent, after }: Raw): Change {
  const { from, exchanged } = after === null ? {} : (JSON.parse(after) as Renamed);
  const known = (found: Ino | 0 | undefined): Ino[] =>
    found === undefined || found === 0 ? [] : [found as Ino];
  return {
    seq,
    kind,
    inos: [...known(ino), ...known(exchanged)],
    directories: [...known(parent), ...known(from?.[0])],
  };
}
