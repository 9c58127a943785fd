/**
 * Backing files that no row names, though they hold bytes: what a kill left, what lost its row, or
 * what is newer than the journal (see `witness.ts`).
 * Empty ones are nobody's loss; the next start removes them.
 */
import type { BigIntStats } from 'node:fs';
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
  /** All its names: what is fsynced while it is written has two. */
  readonly paths: readonly string[];
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
  const nobodys = new Map<bigint, Nobodys>();
  for (const shard of await namesIn(directory)) {
    if (shard !== SLOTS && !/^[0-9a-f]{2}$/.test(shard)) continue;
    for (const name of await namesIn(join(directory, shard))) {
      signal.throwIfAborted();
      const number = Number(name);
      if (String(number) !== name || known.has(`${shard}/${name}`)) continue;
      if (shard !== SLOTS && shardOf(number as ContentId) !== shard) continue;
      const path = join(directory, shard, name);
      const found = await statOf(path);
      if (found === undefined || found.size === 0n) continue;
      const { ino, size, nlink } = found;
      const label = shard === SLOTS ? `slot-${name}` : `content-${name}`;
      const same = nobodys.get(ino);
      if (same !== undefined) same.paths.push(path);
      else nobodys.set(ino, { paths: [path], size: Number(size), links: Number(nlink), label });
    }
  }
  return await thoseOfNobodyElse(db, [...nobodys.values()]);
}

interface Nobodys {
  readonly paths: string[];
  readonly size: number;
  readonly links: number;
  readonly label: string;
}

/** The bytes of a file that has another name, which somebody knows, do not go with this one. */
async function thoseOfNobodyElse(db: Database, found: readonly Nobodys[]): Promise<Stray[]> {
  const strays: Stray[] = [];
  for (const { paths, size, links, label } of found) {
    const [path] = paths;
    if (path === undefined || links > paths.length) continue;
    if (!(await isPackedToo(db, path, size))) strays.push({ path, paths, size, label });
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

async function statOf(path: string): Promise<BigIntStats | undefined> {
  try {
    return await stat(path, { bigint: true });
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
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
