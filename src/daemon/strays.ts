/**
 * Backing files that no row names, though they hold bytes: what a kill left, or what lost its row.
 * Empty ones are nobody's loss; the next start removes them.
 */
import { readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf, OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { PACKED_BYTES_MAX } from '../base/limits.ts';
import { SLOTS, shardOf } from '../content/backing.ts';
import { hasPacked } from '../journal/check.ts';
import type { Contents } from '../journal/contents.ts';
import type { ContentRow } from '../journal/journal.ts';
import type { Database } from '../journal/sqlite.ts';

export interface Stray {
  readonly path: string;
  readonly size: number;
  /** What it is called in `lost+found`. */
  readonly label: string;
}

const ROWS_PER_PAGE = 1024;

/** While no daemon runs. Files with names that are none of ours are somebody else's. */
export async function strayFiles(
  db: Database,
  contents: Contents,
  directory: string,
  signal: AbortSignal,
): Promise<Stray[]> {
  const known = knownFiles(contents);
  const strays: Stray[] = [];
  for (const shard of await namesIn(directory)) {
    if (shard !== SLOTS && !/^[0-9a-f]{2}$/.test(shard)) continue;
    for (const name of await namesIn(join(directory, shard))) {
      signal.throwIfAborted();
      const number = Number(name);
      if (String(number) !== name || known.has(`${shard}/${name}`)) continue;
      if (shard !== SLOTS && shardOf(number as ContentId) !== shard) continue;
      const path = join(directory, shard, name);
      const size = await ownBytes(path);
      if (size === 0 || (await isPackedToo(db, path, size))) continue;
      const label = shard === SLOTS ? `slot-${name}` : `content-${name}`;
      strays.push({ path, size, label });
    }
  }
  return strays;
}

/** Names that rows tell of, as `<directory>/<name>`. */
function knownFiles(contents: Contents): ReadonlySet<string> {
  const known = new Set<string>();
  for (let after = 0 as ContentId | 0; ; ) {
    const page: readonly ContentRow[] = contents.page(after, ROWS_PER_PAGE);
    for (const { id, place, slot } of page) {
      if (place !== 'file') continue;
      known.add(`${shardOf(id)}/${id}`);
      if (slot !== null) known.add(`${SLOTS}/${slot}`);
    }
    const last = page.at(-1);
    if (last === undefined) return known;
    // In a damaged file a page may lead back to itself.
    if (last.id <= after) throw new OpError('journal-corrupt', 'list content');
    after = last.id;
  }
}

/** A kill came between the commit that packed the bytes and the removal of their file. */
async function isPackedToo(db: Database, path: string, size: number): Promise<boolean> {
  return size <= PACKED_BYTES_MAX && hasPacked(db, await readFile(path));
}

/** Bytes that would go with the name: none of a file that has another one. */
async function ownBytes(path: string): Promise<number> {
  try {
    const { size, nlink } = await stat(path);
    return nlink === 1 ? size : 0;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return 0;
    throw error;
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}
