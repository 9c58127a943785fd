/**
 * Which blocks of a DAG somebody lacks who has another one whole: two walks side by side, which stop
 * wherever both have the same link.
 *
 * What came from elsewhere in the other DAG may be named too: that costs its bytes once more, and
 * nothing else. Memory: what waits is bounded by depth times fanout.
 */
import { blockKey, type CID, type Dag, type DagChild } from '../content/content.ts';

/** Blocks remembered, so that none comes twice; beyond, some may. */
const SEEN_MAX = 1_000_000;

interface Pair {
  readonly cid: CID;
  /** What has its place in the DAG that they have. */
  readonly base: CID | undefined;
}

/**
 * Blocks below `root`, parents first, without those that are below `base` at the same place. What is
 * not here is told to `onElsewhere`, and nothing is known of what is below it.
 * @throws OpError content-missing, integrity, unsupported; the signal's reason.
 */
export async function* missing(
  dag: Dag,
  { root, base }: { readonly root: CID; readonly base: CID | undefined },
  signal: AbortSignal,
  onElsewhere: () => void = () => {},
): AsyncGenerator<CID> {
  const seen = new Set<string>();
  const waiting: Pair[] = [{ cid: root, base }];
  for (let pair = waiting.pop(); pair !== undefined; pair = waiting.pop()) {
    signal.throwIfAborted();
    const key = keyOf(pair.cid);
    if (seen.has(key) || (pair.base !== undefined && keyOf(pair.base) === key)) continue;
    if (seen.size >= SEEN_MAX) seen.clear();
    seen.add(key);
    if (dag.sizeOf(pair.cid) === undefined) {
      onElsewhere();
      continue;
    }
    yield pair.cid;
    const links = await dag.children(pair.cid, signal);
    if (links.length === 0) continue;
    waiting.push(...paired(links, await linksOfBase(dag, pair.base, signal)).reverse());
  }
}

const keyOf = (cid: CID): string => blockKey(cid).toString('latin1');

/** What is not here any more cannot be compared with. */
async function linksOfBase(
  dag: Dag,
  base: CID | undefined,
  signal: AbortSignal,
): Promise<readonly DagChild[]> {
  if (base === undefined || dag.sizeOf(base) === undefined) return [];
  return dag.children(base, signal);
}

/** The links that only `links` has: by name with what had it, without a name in their order. */
function paired(links: readonly DagChild[], base: readonly DagChild[]): Pair[] {
  const known = new Set(base.map(({ cid }) => keyOf(cid)));
  const present = new Set(links.map(({ cid }) => keyOf(cid)));
  const named = new Map(base.map(({ name, cid }) => [name, cid]));
  const left = base.filter(({ name, cid }) => name === '' && !present.has(keyOf(cid)));
  return links
    .filter(({ cid }) => !known.has(keyOf(cid)))
    .map(({ name, cid }) => ({ cid, base: name === '' ? left.shift()?.cid : named.get(name) }));
}
