/**
 * fsck: whether the journal, the namespace and the bytes are what they say they are. Reads only, in
 * the process of the command, also while a daemon goes on writing.
 *
 * Invariants: nothing is changed; bytes that change while they are read are looked at again before
 * they count as damaged.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { FINDINGS_MAX, HASH_WORKERS_MAX } from '../base/limits.ts';
import { SLOTS, shardOf } from '../content/backing.ts';
import { cidOfBytes } from '../content/cid.ts';
import { CONTENT_PROFILE, rawCid } from '../content/hash.ts';
import { type HashItem, HashPool } from '../content/hasher.ts';
import { Contents } from '../journal/contents.ts';
import { Counters } from '../journal/counters.ts';
import { type ContentRow, checkDatabase, type Finding, openForCheck } from '../journal/journal.ts';
import { statePaths } from './state.ts';

export interface FsckOptions {
  /** The state directory. */
  readonly state: string;
  readonly signal: AbortSignal;
  readonly onProgress?: (progress: FsckProgress) => void;
}

/** What was looked at so far. */
export interface FsckProgress {
  readonly contents: number;
  readonly bytes: number;
}

export interface FsckFinding {
  readonly scope: string;
  readonly rule: string;
  readonly content?: number;
  readonly ino?: number;
  readonly seq?: number;
  readonly path?: string;
  readonly expected: string;
  readonly actual: string;
}

export interface FsckReport {
  readonly state: string;
  readonly clean: boolean;
  readonly findings: readonly FsckFinding[];
  readonly checked: FsckProgress;
}

/** Rows of content read at once. */
const ROWS_PER_PAGE = 256;
/** A damaged object is read again so often, in case somebody was writing it. */
const LOOKS_MAX = 3;

/**
 * @throws OpError not-found: there is no state directory; version-unsupported, journal-corrupt,
 *   journal-unavailable: the journal cannot be opened; the signal's reason.
 */
export async function fsck({ state, signal, onProgress }: FsckOptions): Promise<FsckReport> {
  const paths = statePaths(state);
  await demandJournal(paths.journal, state);
  using db = disposable(openForCheck(paths.journal));
  const findings: FsckFinding[] = [...(checkDatabase(db.value, { signal }) as Finding[])];
  const contents = new Contents(db.value, new Counters(db.value));
  const hasher = new HashPool();
  try {
    const check = new ContentCheck({ contents, hasher, directory: paths.content, signal });
    await check.all(findings, onProgress ?? (() => {}));
    return { state, clean: findings.length === 0, findings, checked: check.checked };
  } finally {
    await hasher.close();
  }
}

async function demandJournal(path: string, state: string): Promise<void> {
  try {
    await stat(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT') throw error;
    throw new OpError('not-found', `check ${state}`, {
      cause: error,
      hint: 'there is no journal: name the state directory with --state',
    });
  }
}

function disposable<T extends { close(): unknown }>(value: T): Disposable & { readonly value: T } {
  return {
    value,
    [Symbol.dispose]: () => {
      value.close();
    },
  };
}

interface CheckOptions {
  readonly contents: Contents;
  readonly hasher: HashPool;
  /** Of backing files. */
  readonly directory: string;
  readonly signal: AbortSignal;
}

/** What is wrong with one object: what there should be, and what there is. */
interface Fault {
  readonly rule: string;
  readonly expected: string;
  readonly actual: string;
}

class ContentCheck {
  readonly #options: CheckOptions;
  #contents = 0;
  #bytes = 0;

  constructor(options: CheckOptions) {
    this.#options = options;
  }

  get checked(): FsckProgress {
    return { contents: this.#contents, bytes: this.#bytes };
  }

  async all(findings: FsckFinding[], onProgress: (progress: FsckProgress) => void): Promise<void> {
    const { contents, signal } = this.#options;
    let after = 0 as ContentId | 0;
    for (;;) {
      const page = contents.page(after, ROWS_PER_PAGE);
      const last = page.at(-1);
      if (last === undefined) return;
      after = last.id;
      for (let at = 0; at < page.length; at += HASH_WORKERS_MAX) {
        signal.throwIfAborted();
        const rows = page.slice(at, at + HASH_WORKERS_MAX);
        for (const found of await Promise.all(rows.map((row) => this.#look(row)))) {
          if (found !== undefined) findings.push(found);
        }
        if (findings.length >= FINDINGS_MAX) return;
      }
      onProgress(this.checked);
    }
  }

  async #look(first: ContentRow): Promise<FsckFinding | undefined> {
    this.#contents += 1;
    this.#bytes += first.size;
    let row: ContentRow | undefined = first;
    let fault: Fault | undefined;
    for (let looks = 0; looks < LOOKS_MAX && row !== undefined; looks++) {
      fault = await this.#faultOf(row);
      if (fault === undefined) return undefined;
      // The daemon may have written or removed it while it was read.
      row = this.#options.contents.get(first.id);
    }
    if (row === undefined || fault === undefined) return undefined;
    return { scope: 'bytes', content: first.id, ...fault };
  }

  async #faultOf(row: ContentRow): Promise<Fault | undefined> {
    // Trees in memory end with their daemon, and so do their bytes.
    if (row.place === 'memory') return undefined;
    return (await this.#sizeFault(row)) ?? (await this.#hashFault(row));
  }

  async #sizeFault(row: ContentRow): Promise<Fault | undefined> {
    const { id, place } = row;
    // While the kernel may write the bytes, the disk knows how many there are.
    const size = row.slot === null ? row.size : 0;
    const actual =
      place === 'packed'
        ? (this.#options.contents.bytes(id)?.length ?? 0)
        : await fileSize(this.#path(row));
    const isThere = place === 'packed' ? actual === size : actual !== undefined && actual >= size;
    if (isThere) return undefined;
    return { rule: 'size', expected: `${size} bytes`, actual: `${actual ?? 'no'} bytes` };
  }

  async #hashFault(row: ContentRow): Promise<Fault | undefined> {
    if (row.state !== 'sealed') return undefined;
    if (row.cid === null || row.profile !== CONTENT_PROFILE) return this.#blockFault(row);
    const [outcome] = await this.#options.hasher.hash([this.#item(row)], this.#options.signal);
    const expected = cidOfBytes(row.cid).toString();
    if (outcome === undefined || outcome instanceof OpError) {
      const actual = outcome?.message ?? 'no answer';
      return { rule: 'cid', expected, actual };
    }
    const actual = cidOfBytes(outcome.cid).toString();
    return actual === expected ? undefined : { rule: 'cid', expected, actual };
  }

  /** Bytes that are kept as one block, and are no file by themselves. */
  #blockFault({ id, place }: ContentRow): Fault | undefined {
    const { contents } = this.#options;
    const bytes = place === 'packed' ? contents.bytes(id) : undefined;
    if (bytes === undefined) return undefined;
    for (const { cid, position, size } of contents.blocksOf(id)) {
      if (position < 0) continue;
      const expected = cidOfBytes(cid);
      const actual = rawCid(bytes.subarray(position, position + size));
      if (Buffer.from(actual.multihash.bytes).equals(expected.multihash.bytes)) continue;
      return { rule: 'block', expected: expected.toString(), actual: actual.toString() };
    }
    return undefined;
  }

  #item(row: ContentRow): HashItem {
    if (row.place !== 'packed') return { path: this.#path(row), size: row.size };
    return { bytes: this.#options.contents.bytes(row.id) ?? Buffer.alloc(0) };
  }

  #path({ id, slot }: ContentRow): string {
    const { directory } = this.#options;
    const isInSlot = slot !== null && slot > 0;
    return isInSlot
      ? join(directory, SLOTS, String(slot))
      : join(directory, shardOf(id), String(id));
  }
}

async function fileSize(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}
