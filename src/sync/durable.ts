/** From "the blocks are here" to "a loss of power does not take them". */
import type { ContentId } from '../base/ids.ts';
import { blockKey, type CID, type ContentStore, type Dag } from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';

export interface DurablePorts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly dag: Dag;
}

/** Content objects brought to stable storage by one call. */
const OBJECTS_PER_SYNC = 1024;

/**
 * Puts the bytes of all blocks of some DAGs on stable storage, but for those below the blocks `known`
 * (see `Dag.walk`). What is packed becomes stable with the journal, which is the caller's.
 * @returns how many blocks the DAGs have, missing ones included.
 * @throws OpError integrity, unsupported, io, no-space; the signal's reason.
 */
export async function syncBlocks(
  { journal, contents, dag }: DurablePorts,
  roots: readonly CID[],
  signal: AbortSignal,
  known?: ReadonlySet<string>,
): Promise<number> {
  let blocks = 0;
  const seen = new Set<ContentId>();
  let waiting: ContentId[] = [];
  for (const root of roots) {
    for await (const { cid, size } of dag.walk(root, signal, known)) {
      blocks += 1;
      const place = size === undefined ? undefined : journal.contents.lastingBlock(blockKey(cid));
      if (place === undefined || seen.has(place.content)) continue;
      seen.add(place.content);
      if ((contents.row(place.content)?.stable ?? 1) === 1) continue;
      waiting.push(place.content);
      if (waiting.length < OBJECTS_PER_SYNC) continue;
      await contents.fsync(waiting);
      waiting = [];
    }
  }
  await contents.fsync(waiting);
  return blocks;
}

/** The same of whole content objects. @throws OpError io, no-space; the signal's reason. */
export async function syncContents(
  { contents }: Pick<DurablePorts, 'contents'>,
  ids: ReadonlySet<ContentId>,
  signal: AbortSignal,
): Promise<void> {
  const waiting = [...ids].filter((id) => (contents.row(id)?.stable ?? 1) !== 1);
  for (let at = 0; at < waiting.length; at += OBJECTS_PER_SYNC) {
    signal.throwIfAborted();
    await contents.fsync(waiting.slice(at, at + OBJECTS_PER_SYNC));
  }
}
