/**
 * What a publication remembers of the directories it looked at, for the next one.
 *
 * Invariant: a row is written once the blocks it names are durable, so it never promises more than is
 * there; a kill in between leaves some rows new and some old, and each of them is true.
 */
import { assert } from '../base/assert.ts';
import { isDirectory, isRegular, isSymlink } from '../base/posix.ts';
import { turn } from '../base/turn.ts';
import { type BlockStore, blockKey, cidOfBytes } from '../content/content.ts';
import type { Journal, PublishedRow } from '../journal/journal.ts';
import type { Assembled } from './assemble.ts';
import { Dirty } from './dirty.ts';
import type { Frozen, FrozenEntry, Gate, Known } from './freeze.ts';
import type { StoredManifest } from './manifest-lists.ts';

export interface RememberPorts {
  readonly journal: Journal;
  readonly blocks: Pick<BlockStore, 'has'>;
}

/** Which rows: of what is below a directory, with or without metadata in UnixFS. */
export interface Remembered {
  readonly root: PublishedRow['ino'];
  readonly hasMetadata: boolean;
}

/** Rows written by one transaction. */
const ROWS_PER_COMMIT = 16;
/** Records behind the root's row that are not read again and again when nothing changed. */
const RECORDS_BEHIND_MAX = 4096;

/**
 * What is known of a directory since it was published.
 * @throws the signal's reason.
 */
export async function recall(
  { journal, blocks }: RememberPorts,
  { root, hasMetadata }: Remembered,
  signal: AbortSignal,
): Promise<Known> {
  const dirty = new Dirty(journal, journal.published.get(root, hasMetadata)?.seq);
  await dirty.readAhead(signal);
  const isHere = (key: Buffer | undefined) => key === undefined || blocks.has(cidOfBytes(key));
  return {
    finish: () => dirty.finish(),
    hasMoved: (ino) => dirty.hasMoved(ino),
    find: (ino) => {
      if (dirty.has(ino)) return undefined;
      const row = journal.published.get(ino, hasMetadata);
      if (row === undefined || row.isOdd) return undefined;
      return isHere(row.cid) && isHere(row.list) ? row : undefined;
    },
  };
}

/**
 * Writes the rows of the directories that were looked at, the root's last.
 * @throws OpError no-space; the signal's reason.
 */
export async function remember(
  { journal }: Pick<RememberPorts, 'journal'>,
  { root, hasMetadata }: Remembered,
  made: {
    readonly frozen: Frozen;
    readonly assembled: Assembled;
    readonly manifest: StoredManifest;
    readonly gate: Gate;
  },
  signal: AbortSignal,
): Promise<void> {
  const { seq } = made.frozen.journal;
  const [top] = made.frozen.entries;
  const whole = top?.published;
  if (whole !== undefined) {
    if (seq - whole.seq < RECORDS_BEHIND_MAX) return;
    journal.commit(() => journal.published.confirm(whole, seq));
    return;
  }
  // What is hidden from who asks is hidden in what was made: nobody else can use it.
  const rows = [...rowsOf(made, { root, hasMetadata })].filter(
    ({ isPrivate }) => made.gate.seesTrusted || !isPrivate,
  );
  for (let at = 0; at < rows.length; at += ROWS_PER_COMMIT) {
    signal.throwIfAborted();
    journal.commit(() => {
      for (const row of rows.slice(at, at + ROWS_PER_COMMIT)) journal.published.put(row);
    });
    await turn();
  }
}

type Sums = Pick<
  PublishedRow,
  'files' | 'directories' | 'symlinks' | 'bytes' | 'blocks' | 'isPrivate' | 'isOdd'
>;

/** Children first. */
function* rowsOf(
  {
    frozen,
    assembled,
    manifest,
  }: {
    readonly frozen: Frozen;
    readonly assembled: Assembled;
    readonly manifest: StoredManifest;
  },
  { hasMetadata }: Remembered,
): Generator<PublishedRow> {
  const { seq } = frozen.journal;
  const skipped = new Set(assembled.skipped.map(({ entry }) => entry));
  const sums = new Map<FrozenEntry, Sums>();
  for (const entry of [...frozen.entries].reverse()) {
    const sum = sumOf(entry, assembled, skipped, sums);
    sums.set(entry, sum);
    for (const child of entry.children) sums.delete(child);
    if (!isDirectory(entry.row.mode) || entry.published !== undefined) continue;
    const parts = assembled.built.get(entry);
    const list = manifest.lists.get(entry);
    assert(parts !== undefined && list !== undefined, 'every directory was built');
    yield {
      ...sum,
      ino: entry.row.ino,
      hasMetadata,
      seq,
      cid: blockKey(parts.cid),
      cumulativeSize: parts.cumulativeSize,
      list: list.cid === undefined ? undefined : blockKey(list.cid),
      entries: list.entries,
    };
  }
}

function sumOf(
  entry: FrozenEntry,
  { built }: Assembled,
  skipped: ReadonlySet<FrozenEntry>,
  sums: ReadonlyMap<FrozenEntry, Sums>,
): Sums {
  if (entry.published !== undefined) return entry.published;
  const { mode, nlink, size } = entry.row;
  const isFile = isRegular(mode);
  const isTree = isDirectory(mode);
  const sum = {
    files: Number(isFile),
    directories: Number(isTree),
    symlinks: Number(isSymlink(mode)),
    bytes: isFile ? size : 0,
    blocks: built.get(entry)?.blocks ?? 0,
    isPrivate: entry.isPrivate,
    isOdd: skipped.has(entry) || (!isTree && nlink > 1),
  };
  for (const child of entry.children) {
    const below = sums.get(child);
    assert(below !== undefined, 'children are summed up first');
    sum.files += below.files;
    sum.directories += below.directories;
    sum.symlinks += below.symlinks;
    sum.bytes += below.bytes;
    sum.blocks += below.blocks;
    sum.isPrivate ||= below.isPrivate;
    sum.isOdd ||= below.isOdd;
  }
  return sum;
}
