/**
 * Rows of `sync_target`: what is owed to a store outside, for each published path and each store. An
 * intent is durable before the store hears of it, and stays until the store said that it has all.
 */
import type { Failure } from '../base/errors.ts';
import { bytesOf, type Ino, type Name, nameOf } from '../base/ids.ts';
import type { Database, Statement } from './sqlite.ts';

export const TARGET_STATES = ['queued', 'uploading', 'stored', 'pinned', 'failed'] as const;
/** failed: tried and to be tried again at `dueS`, or only when somebody asks. */
export type TargetState = (typeof TARGET_STATES)[number];

/** A snapshot: the keys of its record and of its tree. */
export interface Root {
  readonly tree: Buffer;
  readonly snapshot: Buffer;
  /** The directory it was made of; 0: nobody knows any more. */
  readonly ino: Ino | 0;
  /** The newest record that it includes; 0 as well. */
  readonly seq: number;
}

/** A snapshot that a store said it has whole. */
export interface Held extends Root {
  /** Whether the tree is pinned there; else it is only placed. */
  readonly pin: boolean;
}

export interface TargetRow {
  readonly path: Name;
  /** The store, by its name in the configuration. */
  readonly target: string;
  readonly wanted: Root;
  /** Whether the tree shall be pinned there; else only placed. */
  readonly pin: boolean;
  /** Of what is wanted. */
  readonly state: TargetState;
  /** Failures in a row. */
  readonly attempts: number;
  /** Second from which it may be tried; undefined: there is nothing to do. */
  readonly dueS: number | undefined;
  /** What the last attempt failed with. */
  readonly failure: Failure | undefined;
  /** The last one that the store said it has whole. */
  readonly held: Held | undefined;
  /**
   * Roots that may be pinned there without a name: sent, and not cleared away yet. A CID, and behind a space the second
   * until which an attempt that was cut off may do it.
   */
  readonly sent: readonly string[];
  /** Second at which the store last said so. */
  readonly checkedS: number | undefined;
}

interface Raw {
  path: Buffer;
  target: string;
  wanted_tree: Buffer;
  wanted_snapshot: Buffer;
  pin: number;
  state: TargetState;
  attempts: number;
  due_s: number | null;
  failure: Failure | null;
  held_tree: Buffer | null;
  held_snapshot: Buffer | null;
  sent: string;
  checked_s: number | null;
  wanted_ino: Ino | 0;
  wanted_seq: number;
  held_ino: Ino | 0 | null;
  held_seq: number | null;
  held_pin: number | null;
}

export class Targets {
  readonly #all: Statement;
  readonly #get: Statement;
  readonly #put: Statement;
  readonly #delete: Statement;

  constructor(db: Database) {
    this.#all = db.prepare('SELECT * FROM sync_target ORDER BY path, target');
    this.#get = db.prepare('SELECT * FROM sync_target WHERE path = ? AND target = ?');
    this.#put = db.prepare(`INSERT OR REPLACE INTO sync_target VALUES (${'?, '.repeat(17)}?)`);
    this.#delete = db.prepare('DELETE FROM sync_target WHERE path = ? AND target = ?');
  }

  /** One for each path and store. */
  all(): TargetRow[] {
    return (this.#all.all() as Raw[]).map(rowOf);
  }

  get(path: Name, target: string): TargetRow | undefined {
    const raw = this.#get.get(bytesOf(path), target) as Raw | undefined;
    return raw === undefined ? undefined : rowOf(raw);
  }

  /** Inside a transaction, as all that follow. */
  put(row: TargetRow): void {
    this.#put.run(
      bytesOf(row.path),
      row.target,
      row.wanted.tree,
      row.wanted.snapshot,
      Number(row.pin),
      row.state,
      row.attempts,
      row.dueS ?? null,
      row.failure ?? null,
      row.held?.tree ?? null,
      row.held?.snapshot ?? null,
      JSON.stringify(row.sent),
      row.checkedS ?? null,
      row.wanted.ino,
      row.wanted.seq,
      row.held?.ino ?? null,
      row.held?.seq ?? null,
      row.held === undefined ? null : Number(row.held.pin),
    );
  }

  delete(path: Name, target: string): void {
    this.#delete.run(bytesOf(path), target);
  }
}

function rowOf(raw: Raw): TargetRow {
  return {
    path: nameOf(raw.path),
    target: raw.target,
    wanted: {
      ...{ tree: raw.wanted_tree, snapshot: raw.wanted_snapshot },
      ...{ ino: raw.wanted_ino, seq: raw.wanted_seq },
    },
    pin: raw.pin === 1,
    state: raw.state,
    attempts: raw.attempts,
    dueS: raw.due_s ?? undefined,
    failure: raw.failure ?? undefined,
    held: heldOf(raw),
    sent: JSON.parse(raw.sent) as string[],
    checkedS: raw.checked_s ?? undefined,
  };
}

function heldOf(raw: Raw): Held | undefined {
  const { held_tree: tree, held_snapshot: snapshot, held_ino: ino, held_seq: seq } = raw;
  if (tree === null || snapshot === null) return undefined;
  return { tree, snapshot, ino: ino ?? 0, seq: seq ?? 0, pin: raw.held_pin === 1 };
}
