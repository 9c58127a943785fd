/**
 * Which blocks of a DAG somebody lacks who has another one whole: two walks side by side, which stop
 * wherever both have the same link.
 *
 * What came from elsewhere in the other DAG may be named too: that costs its bytes once more, and
 * nothing else. Memory: what waits is bounded by depth times fanout.
 */
import { turn } from '../base/turn.ts';
import {
  blockName,
  type CID,
  type Dag,
  type DagChild,
  RAW_CODEC,
  type StoredBlock,
} from '../content/content.ts';

/** Blocks remembered, so that none comes twice; beyond, some may. */
const SEEN_MAX = 1_000_000;
/** Blocks kept from when they are counted to when they are sent; of more the DAGs are walked again. */
const COUNTED_MAX = 65_536;

/** A DAG, and one that they have whole who lack it. */
export interface Lack {
  readonly root: CID;
  readonly base: CID | undefined;
}

/** A block that is here. */
interface Here {
  readonly cid: CID;
  readonly size: number;
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
async function* missing(
  dag: Dag,
  { root, base }: Lack,
  signal: AbortSignal,
  onElsewhere: () => void = () => {},
): AsyncGenerator<readonly Here[]> {
  const seen = new Set<string>();
  const isNew = (cid: CID): boolean => {
    if (seen.size >= SEEN_MAX) seen.clear();
    return seen.size < seen.add(blockName(cid)).size;
  };
  const isBase = base !== undefined && blockName(base) === blockName(root);
  const waiting: Pair[] = isBase ? [] : [{ cid: root, base }];
  for (let pair = waiting.pop(); pair !== undefined; pair = waiting.pop()) {
    signal.throwIfAborted();
    if (!isNew(pair.cid)) continue;
    const size = dag.sizeOf(pair.cid);
    if (size === undefined) {
      onElsewhere();
      continue;
    }
    const links = await dag.children(pair.cid, signal);
    const lacking = paired(links, await linksOfBase(dag, pair.base, signal));
    const here: Here[] = [{ cid: pair.cid, size }];
    for (const { cid } of lacking) {
      if (cid.code !== RAW_CODEC || !isNew(cid)) continue;
      const leafSize = dag.sizeOf(cid);
      if (leafSize === undefined) onElsewhere();
      else here.push({ cid, size: leafSize });
    }
    yield here;
    waiting.push(...lacking.filter(({ cid }) => cid.code !== RAW_CODEC).reverse());
  }
}

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
  if (base.length === 0) return links.map(({ cid }) => ({ cid, base: undefined }));
  const known = new Set(base.map(({ cid }) => blockName(cid)));
  const named = new Map(base.map(({ name, cid }) => [name, cid]));
  const unnamed = base.filter(({ name }) => name === '');
  const present = new Set(unnamed.length === 0 ? [] : links.map(({ cid }) => blockName(cid)));
  const left = unnamed.filter(({ cid }) => !present.has(blockName(cid)));
  return links
    .filter(({ cid }) => !known.has(blockName(cid)))
    .map(({ name, cid }) => ({ cid, base: name === '' ? left.shift()?.cid : named.get(name) }));
}

/** Blocks read before other work gets its turn. */
const BLOCKS_PER_TURN = 4;

/** What somebody lacks, counted. */
export interface Lacking {
  readonly blocks: number;
  readonly bytes: number;
  /** Nothing of it is elsewhere. */
  readonly isWhole: boolean;
  /** The same blocks with their bytes. @throws as `missing` does. */
  send(): AsyncGenerator<StoredBlock>;
}

/** @throws as `missing` does. */
export async function lacking(
  dag: Dag,
  pairs: readonly Lack[],
  signal: AbortSignal,
): Promise<Lacking> {
  const total = { blocks: 0, bytes: 0, isWhole: true };
  const onElsewhere = () => {
    total.isWhole = false;
  };
  let counted: CID[] | undefined = [];
  for (const pair of pairs) {
    for await (const found of missing(dag, pair, signal, onElsewhere)) {
      total.blocks += found.length;
      for (const { size } of found) total.bytes += size;
      if (total.blocks > COUNTED_MAX) counted = undefined;
      counted?.push(...found.map(({ cid }) => cid));
      await turn();
    }
  }
  const again = async function* () {
    for (const pair of pairs) yield* missingBlocks(dag, pair, signal);
  };
  const known = counted;
  return {
    ...total,
    send: () => (known === undefined ? again() : blocksOf(dag, known, signal)),
  };
}

/** What is `missing`, with its bytes. @throws as `missing` does. */
export async function* missingBlocks(
  dag: Dag,
  pair: Lack,
  signal: AbortSignal,
): AsyncGenerator<StoredBlock> {
  for await (const found of missing(dag, pair, signal)) {
    const cids = found.map(({ cid }) => cid);
    yield* blocksOf(dag, cids, signal);
    await turn();
  }
}

async function* blocksOf(
  dag: Dag,
  cids: readonly CID[],
  signal: AbortSignal,
): AsyncGenerator<StoredBlock> {
  let count = 0;
  for (const cid of cids) {
    yield { cid, bytes: await dag.block(cid, signal) };
    count += 1;
    if (count % BLOCKS_PER_TURN === 0) await turn();
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
