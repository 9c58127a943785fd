/**
 * Which blocks of a DAG somebody lacks who has another one whole: two walks side by side, which stop
 * wherever both have the same link.
 *
 * What came from elsewhere in the other DAG may be named too: that costs its bytes once more, and
 * nothing else. Memory: what waits is bounded by depth times fanout.
 */
import { turn } from '../base/turn.ts';
import {
  blockKey,
  type CID,
  type Dag,
  type DagChild,
  RAW_CODEC,
  type StoredBlock,
} from '../content/content.ts';

/** Blocks remembered, so that none comes twice; beyond, some may. */
const SEEN_MAX = 1_000_000;

/** A DAG, and one that they have whole who lack it. */
export interface Lack {
  readonly root: CID;
  readonly base: CID | undefined;
}

interface Pair {
  readonly cid: CID;
  /** What has its place in the DAG that they have. */
  readonly base: CID | undefined;
}

/**
 * Blocks below `root`, parents first and some at a time, without those that are below `base` at the
 * same place. What is not here is told to `onElsewhere`, and nothing is known of what is below it.
 * @throws OpError content-missing, integrity, unsupported; the signal's reason.
 */
export async function* missing(
  dag: Dag,
  { root, base }: Lack,
  signal: AbortSignal,
  onElsewhere: () => void = () => {},
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
    if (dag.sizeOf(pair.cid) === undefined) {
      onElsewhere();
      continue;
    }
    const links = await dag.children(pair.cid, signal);
    const lacking = paired(links, await linksOfBase(dag, pair.base, signal));
    const leaves = lacking.map(({ cid }) => cid).filter((cid) => cid.code === RAW_CODEC);
    const here = leaves.filter((cid) => dag.sizeOf(cid) !== undefined);
    if (here.length < leaves.length) onElsewhere();
    yield [pair.cid, ...here.filter(isNew)];
    waiting.push(...lacking.filter(({ cid }) => cid.code !== RAW_CODEC).reverse());
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

/** Blocks read before other work gets its turn. */
const BLOCKS_PER_TURN = 16;

/** What is `missing`, with its bytes. @throws as `missing` does. */
export async function* missingBlocks(
  dag: Dag,
  pair: Lack,
  signal: AbortSignal,
): AsyncGenerator<StoredBlock> {
  let count = 0;
  for await (const cids of missing(dag, pair, signal)) {
    for (const cid of cids) {
      yield { cid, bytes: await dag.block(cid, signal) };
      if (++count % BLOCKS_PER_TURN === 0) await turn();
    }
  }
}

/** Blocks and their bytes, added up as they are asked for. */
export async function* counted(
  blocks: AsyncIterable<StoredBlock>,
  total: { blocks: number; bytes: number },
): AsyncGenerator<StoredBlock> {
  for await (const block of blocks) {
    total.blocks += 1;
    total.bytes += block.bytes.length;
    yield block;
  }
}
