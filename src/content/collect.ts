/**
 * Backing files that no row knows: a daemon was killed between a commit and the removal of the
 * file, or between making a file and the commit that names it. Looked for once after a start.
 */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { asOpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { turn } from '../base/turn.ts';
import { type BackingPlace, shardOf } from './backing.ts';
import type { ContentStore } from './content.ts';

/** Names looked at before others have their turn: some tenths of a millisecond. */
const NAMES_PER_TURN = 64;

/**
 * Removes stray backing files of these places while other work goes on.
 * @returns how many there were.
 * @throws OpError io, denied; the signal's reason.
 */
export async function removeStrays(
  contents: ContentStore,
  signal: AbortSignal,
  places: readonly BackingPlace[] = ['file', 'memory'],
): Promise<number> {
  let [removed, looked] = [0, 0];
  for (const place of places) {
    const root = contents.directoryOf(place);
    try {
      const shards = (await readdir(root)).filter((name) => /^[0-9a-f]{2}$/.test(name));
      for (const shard of shards) {
        for (const name of await readdir(join(root, shard))) {
          looked += 1;
          if (looked % NAMES_PER_TURN === 0) await turn();
          signal.throwIfAborted();
          const id = Number(name) as ContentId;
          // Whatever is not one of our names is somebody else's.
          if (String(id) !== name || shardOf(id) !== shard) continue;
          removed += Number(contents.removeStray(id, place));
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      throw asOpError(error, `look for stray content in ${root}`);
    }
  }
  return removed;
}
