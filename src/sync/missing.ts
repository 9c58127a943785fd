/**
 * Which blocks of a DAG somebody lacks who has another one whole: two walks side by side, which stop
 * wherever both have the same link.
 *
 * What came from elsewhere in the other DAG may be named too: that costs its bytes once more, and
 * nothing else. Memory: what waits is bounded by depth times fanout.
 */
import { blockKey, type CID, type Dag, type DagChild, RAW_CODEC } from '../content/content.ts';

/** Of a DAG only its links are read. */
export type Links = Pick<Dag, 'children' | 'sizeOf'>;

/** Blocks remembered, so that none comes twice; beyond, some may. */
const SEEN_MAX = 1_000_000;

interface Pair {
  readonly cid: CID;
  /** What has its place in the DAG that they have. */
  readonly base: CID | undefined;
}

/**
 * Blocks below `root`, parents first and some at a time, without those that are below `base` at the
 * same place.
 * @throws OpError content-missing, integrity, unsupported; the signal's reason.
 */
export async function* missing(
  dag: Links,
  { root, base }: { readonly root: CID; readonly base: CID | undefined },
  signal: AbortSignal,
): AsyncGenerator<readonly CID[]> {
  const seen = new Set<string>();
  const isNew = (cid: CID): boolean => {
    if (seen.size >= SEEN_MAX) seen.clear();
    return seen.size < seen.add(keyOf(cid)).size;
  };
  const isBase = base !== undefined && keyOf(base) === keyOf(root);
  const waiting: Pair[] = isBase ? [] : [{ cid: root, base }];
  for (let pair = waiting.pop(); pair !== undefined; pair = waiting.pop()) {
    signal.throwIfAborted();
    if (!isNew(pair.cid)) continue;
    const links = await dag.children(pair.cid, signal);
    const lacking = paired(links, await linksOfBase(dag, pair.base, signal));
    const leaves = lacking.map(({ cid }) => cid).filter((cid) => cid.code === RAW_CODEC);
    yield [pair.cid, ...leaves.filter(isNew)];
    waiting.push(...lacking.filter(({ cid }) => cid.code !== RAW_CODEC).reverse());
  }
}

const keyOf = (cid: CID): string => blockKey(cid).toString('latin1');

/** What is not here any more cannot be compared with. */
async function linksOfBase(
  dag: Links,
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
