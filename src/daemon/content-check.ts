/**
 * Whether the bytes of content are there, and are those of their CIDs. Reads only.
 *
 * Invariant: bytes that change while they are read are looked at again before they count as damaged.
 */
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { FINDINGS_MAX, HASH_WORKERS_MAX } from '../base/limits.ts';
import { SLOTS, shardOf } from '../content/backing.ts';
import { cidOfBytes } from '../content/cid.ts';
import { CONTENT_PROFILE, rawCid } from '../content/hash.ts';
import type { HashItem, HashPool } from '../content/hasher.ts';
import type { Contents } from '../journal/contents.ts';
import type { ContentRow } from '../journal/journal.ts';

/** Rows of content read at once. */
const ROWS_PER_PAGE = 256;
/** A damaged object is read again so often, in case somebody was writing it. */
const LOOKS_MAX = 3;

/** What is wrong with one object: what there should be, and what there is. */
export interface Fault {
  readonly check: 'bytes-size' | 'bytes-cid' | 'bytes-block';
  readonly content: ContentRow;
  readonly expected: string;
  readonly actual: string;
  /** Whether it is the bytes that are wrong; if not, the disk did not let them be read. */
  readonly isDamage: boolean;
}

/** What was looked at so far. */
export interface Checked {
  readonly contents: number;
  readonly bytes: number;
}

export interface ContentCheckOptions {
  readonly contents: Contents;
  readonly hasher: HashPool;
  /** Of backing files. */
  readonly directory: string;
  readonly signal: AbortSignal;
}

/** Where the bytes of an object lie that are not packed. */
export function backingPath(directory: string, { id, slot }: Pick<ContentRow, 'id' | 'slot'>) {
  const isInSlot = slot !== null && slot > 0;
  return isInSlot ? join(directory, SLOTS, String(slot)) : join(directory, shardOf(id), String(id));
}

/** Bytes of a file; undefined: it is not there. */
export async function fileSize(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

/** Of all objects, by number. */
export function* rowsOf(contents: Contents): Generator<ContentRow> {
  for (let after = 0 as ContentId | 0; ; ) {
    const page: readonly ContentRow[] = contents.page(after, ROWS_PER_PAGE);
    const last = page.at(-1);
    // In a damaged file a page may lead back to itself.
    if (last === undefined || last.id <= after) return;
    yield* page;
    after = last.id;
  }
}

/** A repair said so; that it is one still is told by the rule `content-lost`. */
export function isKnownLost(contents: Contents, { id, state, cid, size }: ContentRow): boolean {
  if (state !== 'sealed' || cid !== null || size === 0) return false;
  return contents.blocksOf(id).length === 0;
}

export class ContentCheck {
  readonly #options: ContentCheckOptions;
  #contents = 0;
  #bytes = 0;

  constructor(options: ContentCheckOptions) {
    this.#options = options;
  }

  get checked(): Checked {
    return { contents: this.#contents, bytes: this.#bytes };
  }

  /** All objects, at most FINDINGS_MAX faults. @throws the signal's reason. */
  async all(onProgress: (checked: Checked) => void): Promise<Fault[]> {
    const { contents, signal } = this.#options;
    const faults: Fault[] = [];
    let after = 0 as ContentId | 0;
    for (;;) {
      const page = contents.page(after, ROWS_PER_PAGE);
      const last = page.at(-1);
      // In a damaged file a page may lead back to itself.
      if (last === undefined || last.id <= after) return faults;
      after = last.id;
      for (let at = 0; at < page.length; at += HASH_WORKERS_MAX) {
        signal.throwIfAborted();
        const rows = page.slice(at, at + HASH_WORKERS_MAX);
        for (const found of await Promise.all(rows.map((row) => this.#look(row)))) {
          if (found !== undefined) faults.push(found);
        }
        if (faults.length >= FINDINGS_MAX) return faults;
      }
      onProgress(this.checked);
    }
  }

  async #look(first: ContentRow): Promise<Fault | undefined> {
    this.#contents += 1;
    this.#bytes += Math.max(0, first.size);
    let row: ContentRow | undefined = first;
    let fault: Fault | undefined;
    for (let looks = 0; looks < LOOKS_MAX && row !== undefined; looks++) {
      fault = await this.#faultOf(row);
      if (fault === undefined) return undefined;
      // The daemon may have written or removed it while it was read.
      row = this.#options.contents.get(first.id);
    }
    return row === undefined ? undefined : fault;
  }

  async #faultOf(row: ContentRow): Promise<Fault | undefined> {
    // What was fetched of remote content is hashed as a whole before it counts as here.
    if (row.state === 'remote') return undefined;
    // Trees in memory end with their daemon, and so do their bytes.
    if (row.place === 'memory' || isKnownLost(this.#options.contents, row)) return undefined;
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
    const found = { expected: `${size} bytes`, actual: `${actual ?? 'no'} bytes` };
    return { check: 'bytes-size', content: row, ...found, isDamage: true };
  }

  async #hashFault(row: ContentRow): Promise<Fault | undefined> {
    if (row.state !== 'sealed') return undefined;
    if (row.cid === null || row.profile !== CONTENT_PROFILE) return this.#blockFault(row);
    const [outcome] = await this.#options.hasher.hash([this.#item(row)], this.#options.signal);
    const expected = cidOfBytes(row.cid).toString();
    const fault = { check: 'bytes-cid', content: row, expected } as const;
    if (outcome === undefined || outcome instanceof OpError) {
      const actual = outcome?.message ?? 'no answer';
      return { ...fault, actual, isDamage: outcome?.failure === 'integrity' };
    }
    const actual = cidOfBytes(outcome.cid).toString();
    return actual === expected ? undefined : { ...fault, actual, isDamage: true };
  }

  /** Bytes that are kept as one block, and are no file by themselves. */
  #blockFault(row: ContentRow): Fault | undefined {
    const { contents } = this.#options;
    const bytes = row.place === 'packed' ? contents.bytes(row.id) : undefined;
    if (bytes === undefined) return undefined;
    for (const { cid, position, size } of contents.blocksOf(row.id)) {
      if (position < 0) continue;
      const expected = cidOfBytes(cid);
      const actual = rawCid(bytes.subarray(position, position + size));
      if (Buffer.from(actual.multihash.bytes).equals(expected.multihash.bytes)) continue;
      const found = { expected: expected.toString(), actual: actual.toString() };
      return { check: 'bytes-block', content: row, ...found, isDamage: true };
    }
    return undefined;
  }

  #item(row: ContentRow): HashItem {
    if (row.place !== 'packed') return { path: this.#path(row), size: row.size };
    return { bytes: this.#options.contents.bytes(row.id) ?? Buffer.alloc(0) };
  }

  #path(row: ContentRow): string {
    return backingPath(this.#options.directory, row);
  }
}
