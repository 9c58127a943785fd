/**
 * Rows of `op`: every mutation, who did it, and what undoes it. The last record of a commit group
 * carries one hash over all records committed together and the hash before, so that a changed or
 * lost record is seen. `reply`, `generation` and `request` are not hashed: they serve resent
 * requests only.
 */
import { hash } from 'node:crypto';
import type { Instant } from '../base/clock.ts';
import {
  type ActorId,
  bytesOf,
  type ContentId,
  type Ino,
  type Name,
  type Seq,
} from '../base/ids.ts';
import type { Database, Statement } from './sqlite.ts';

export const OP_KINDS = [
  'create',
  'write',
  'truncate',
  'mkdir',
  'rmdir',
  'unlink',
  'rename',
  'link',
  'symlink',
  'mknod',
  'chmod',
  'chown',
  'utimens',
  'setxattr',
  'removexattr',
  'fallocate',
  'mount',
  'unmount',
  'sync_to',
  'sync_from',
  'add',
  'pin_add',
  'pin_rm',
  'pin_update',
  'dag_put',
  'fetch',
  'name_publish',
  'pubsub_publish',
  'mfs_mkdir',
  'mfs_write',
  'mfs_cp',
  'mfs_mv',
  'mfs_rm',
  'mfs_chcid',
  'backend_register',
  'backend_remove',
  'backend_store',
  'backend_delete',
  'backend_copy',
  'cluster_pin',
  'checkpoint',
  'repair',
] as const;
export type OpKind = (typeof OP_KINDS)[number];

/** What a mutation tells the journal. Absent fields do not apply to its kind. */
export interface OpEntry {
  readonly kind: OpKind;
  readonly actor: ActorId;
  /** The inode changed, made or removed; 0 when no inode is meant. */
  readonly ino: Ino | 0;
  /** The directory that holds (or held) the name; 0 when no name is meant. */
  readonly parent: Ino | 0;
  readonly name: Name;
  /** Absolute path in the tree at that moment. */
  readonly path: Name;
  /** rename and link: the path it came from. */
  readonly oldPath?: Name | undefined;
  readonly size?: number | undefined;
  readonly oldSize?: number | undefined;
  readonly content?: ContentId | undefined;
  /** The bytes before; they are kept as long as history is. */
  readonly oldContent?: ContentId | undefined;
  readonly mode?: number | undefined;
  readonly oldMode?: number | undefined;
  /** Range of the bytes that changed. */
  readonly position?: number | undefined;
  readonly length?: number | undefined;
  readonly cid?: Buffer | undefined;
  readonly oldCid?: Buffer | undefined;
  /** Operations of one tool call or merge share it. */
  readonly group?: string | undefined;
  /** What undo needs beyond the columns, as JSON. */
  readonly before?: Readonly<Record<string, unknown>> | undefined;
  readonly after?: Readonly<Record<string, unknown>> | undefined;
  /** `done` when absent. `pending`: of a store outside, told again when it is known. */
  readonly state?: 'pending' | 'done' | 'failed' | undefined;
  /** Of what failed: the code that its caller was answered. */
  readonly error?: string | undefined;
}

/** A row as it lies in the table. */
export interface OpRow {
  readonly seq: Seq;
  readonly time_s: number;
  readonly time_ns: number;
  readonly actor: ActorId;
  readonly kind: OpKind;
  readonly ino: Ino;
  readonly parent: Ino;
  readonly name: Buffer;
  readonly path: Buffer;
  readonly old_path: Buffer | null;
  readonly size: number | null;
  readonly old_size: number | null;
  readonly content: ContentId | null;
  readonly old_content: ContentId | null;
  readonly mode: number | null;
  readonly old_mode: number | null;
  readonly position: number | null;
  readonly length: number | null;
  readonly cid: Buffer | null;
  readonly old_cid: Buffer | null;
  readonly call_group: string | null;
  readonly state: string;
  readonly error: string | null;
  readonly before: string | null;
  readonly after: string | null;
}

/** A point of the chain: the last record of a commit group, and the group's hash. */
export interface ChainPoint {
  readonly seq: number;
  readonly hash: Buffer;
}

/** The hash before the first record. */
export const GENESIS = Buffer.alloc(32);

/**
 * The canonical encoding of the immutable fields of one record: a JSON array in column order, with
 * bytes as lower-case hexadecimal text.
 */
function canonical(row: OpRow): string {
  return JSON.stringify([
    row.seq,
    row.time_s,
    row.time_ns,
    row.actor,
    row.kind,
    row.ino,
    row.parent,
    hex(row.name),
    hex(row.path),
    hex(row.old_path),
    row.size,
    row.old_size,
    row.content,
    row.old_content,
    row.mode,
    row.old_mode,
    row.position,
    row.length,
    hex(row.cid),
    hex(row.old_cid),
    row.call_group,
    row.state,
    row.error,
    row.before,
    row.after,
  ]);
}

/** What is there instead in a damaged row is as it is: its hash is another one. */
const hex = (bytes: Buffer | null): string | null =>
  Buffer.isBuffer(bytes) ? bytes.toString('hex') : bytes;

/**
 * SHA-256 of a text of lines, each ended by a newline: the previous hash in hexadecimal, then the
 * canonical records of one group in order. One text, because one call costs far less than a stream.
 */
export function groupHash(previous: Buffer, rows: readonly OpRow[]): Buffer {
  let text = `${previous.toString('hex')}\n`;
  for (const row of rows) text += `${canonical(row)}\n`;
  return hash('sha256', text, 'buffer');
}

const json = (value: Readonly<Record<string, unknown>> | undefined): string | null =>
  value === undefined ? null : JSON.stringify(value);

export function rowOf(entry: OpEntry, seq: Seq, time: Instant): OpRow {
  return {
    seq,
    time_s: time.s,
    time_ns: time.ns,
    actor: entry.actor,
    kind: entry.kind,
    ino: entry.ino as Ino,
    parent: entry.parent as Ino,
    name: bytesOf(entry.name),
    path: bytesOf(entry.path),
    old_path: entry.oldPath === undefined ? null : bytesOf(entry.oldPath),
    size: entry.size ?? null,
    old_size: entry.oldSize ?? null,
    content: entry.content ?? null,
    old_content: entry.oldContent ?? null,
    mode: entry.mode ?? null,
    old_mode: entry.oldMode ?? null,
    position: entry.position ?? null,
    length: entry.length ?? null,
    cid: entry.cid ?? null,
    old_cid: entry.oldCid ?? null,
    call_group: entry.group ?? null,
    state: entry.state ?? 'done',
    error: entry.error ?? null,
    before: json(entry.before),
    after: json(entry.after),
  };
}

/** The request that caused records, so that the kernel's resend of it is recognised. */
export interface RequestId {
  /** Number of the connection to the kernel. */
  readonly generation: number;
  /** The request's `unique`, without the resend bit. */
  readonly unique: number;
}

export const SQL_COLUMNS = `seq, time_s, time_ns, actor, kind, ino, parent, name, path, old_path,
  size, old_size, content, old_content, mode, old_mode, position, length, cid, old_cid, call_group,
  state, error, before, after`;

/** A tree that a path was published as, or that was brought there. */
export interface SyncRecord {
  readonly kind: 'sync_from' | 'sync_to';
  readonly seq: number;
  /** Binary CID. */
  readonly root: Buffer;
  /** CID of its snapshot record, as text. */
  readonly snapshot: string | undefined;
  /** The store that had it at the place of the path when it was brought. */
  readonly placedAt: string | undefined;
}

interface RawSync extends Pick<SyncRecord, 'kind' | 'seq' | 'root'> {
  readonly after: string | null;
}

function syncOf({ kind, seq, root, after }: RawSync): SyncRecord {
  const said = JSON.parse(after ?? '{}') as { snapshot?: string; placed_at?: string };
  return { kind, seq, root, snapshot: said.snapshot, placedAt: said.placed_at };
}

export class Ops {
  readonly #insert: Statement;
  readonly #last: Statement;
  readonly #first: Statement;
  readonly #head: Statement;
  readonly #answered: Statement;
  readonly #page: Statement;
  readonly #rootsOf: Statement;
  readonly #syncsOf: Statement;
  readonly #groupEnds: Statement;
  readonly #groupEndFrom: Statement;
  readonly #groupEndBefore: Statement;

  constructor(db: Database) {
    this.#insert = db.prepare(`INSERT INTO op VALUES (${'?, '.repeat(28)}?)`);
    this.#last = db.prepare('SELECT max(seq) FROM op').pluck();
    this.#first = db.prepare('SELECT min(seq) FROM op').pluck();
    this.#answered = db
      .prepare('SELECT reply FROM op WHERE seq > ? AND generation = ? AND request = ? LIMIT 1')
      .pluck();
    this.#page = db.prepare(`SELECT ${SQL_COLUMNS} FROM op WHERE seq > ? ORDER BY seq LIMIT ?`);
    this.#rootsOf = db
      .prepare(`SELECT cid FROM (
        SELECT seq, kind, cid FROM op WHERE path = ? AND seq <= ? ORDER BY seq DESC LIMIT ?
      ) WHERE kind IN ('sync_from', 'sync_to') ORDER BY seq DESC`)
      .pluck();
    this.#syncsOf = db.prepare(`SELECT kind, seq, cid AS root, "after" FROM (
        SELECT seq, kind, cid, "after" FROM op WHERE path = ? ORDER BY seq DESC LIMIT ?
      ) WHERE kind IN ('sync_from', 'sync_to') AND cid IS NOT NULL ORDER BY seq DESC`);
    const ends = 'SELECT seq, hash FROM op WHERE hash IS NOT NULL';
    this.#head = db.prepare(`${ends} ORDER BY seq DESC LIMIT 1`);
    this.#groupEnds = db.prepare(`${ends} AND seq > ? ORDER BY seq LIMIT ?`);
    this.#groupEndFrom = db.prepare(`${ends} AND seq >= ? ORDER BY seq LIMIT 1`);
    this.#groupEndBefore = db.prepare(`${ends} AND seq < ? ORDER BY seq DESC LIMIT 1`);
  }

  /** `hash` is the group's, for its last record only. */
  insert(
    row: OpRow,
    request: RequestId | undefined,
    reply: Buffer | null,
    hash: Buffer | null,
  ): void {
    this.#insert.run(
      row.seq,
      row.time_s,
      row.time_ns,
      row.actor,
      row.kind,
      row.ino,
      row.parent,
      row.name,
      row.path,
      row.old_path,
      row.size,
      row.old_size,
      row.content,
      row.old_content,
      row.mode,
      row.old_mode,
      row.position,
      row.length,
      row.cid,
      row.old_cid,
      row.call_group,
      row.state,
      row.error,
      row.before,
      row.after,
      request?.generation ?? 0,
      request?.unique ?? 0,
      reply,
      hash,
    );
  }

  lastSeq(): Seq | 0 {
    return ((this.#last.get() as number | null) ?? 0) as Seq;
  }

  /** The oldest record still kept; 0 when there is none. */
  firstSeq(): Seq | 0 {
    return ((this.#first.get() as number | null) ?? 0) as Seq;
  }

  /** The end of the newest group. */
  head(): ChainPoint | undefined {
    return this.#head.get() as ChainPoint | undefined;
  }

  /** The stored reply of a request, looked for among the records behind `after`. */
  answered({ generation, unique }: RequestId, after: number): Buffer | undefined {
    return (this.#answered.get(after, generation, unique) as Buffer | null) ?? undefined;
  }

  page(after: number, limit: number): OpRow[] {
    return this.#page.all(after, limit) as OpRow[];
  }

  /** Roots of trees that a path was, published or brought there, by the newest `limit` of its records up to `seq`. */
  rootsOf(path: Name, seq: number, limit: number): Buffer[] {
    return this.#rootsOf.all(bytesOf(path), seq, limit) as Buffer[];
  }

  /** What was published of a path and brought there, newest first, by the newest `limit` of its records. */
  syncsOf(path: Name, limit: number): SyncRecord[] {
    return (this.#syncsOf.all(bytesOf(path), limit) as RawSync[]).map(syncOf);
  }

  /** At most `limit` ends of groups behind record `after`. */
  groupEnds(after: number, limit: number): ChainPoint[] {
    return this.#groupEnds.all(after, limit) as ChainPoint[];
  }

  /** The end of the group that holds record `seq`. */
  groupEndOf(seq: number): ChainPoint | undefined {
    return this.#groupEndFrom.get(seq) as ChainPoint | undefined;
  }

  /** The end of the group before the one that holds record `seq`; undefined for the oldest. */
  groupEndBefore(seq: number): ChainPoint | undefined {
    return this.#groupEndBefore.get(seq) as ChainPoint | undefined;
  }
}
