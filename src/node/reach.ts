/**
 * Blocks for one call, from wherever it may take them. Each was hashed by whoever gives it, so that
 * it does not matter which of the sources that is.
 */
import type { IpfsNode, NodeKind } from '../backend/backend.ts';
import type { BlockSource, CID } from '../content/content.ts';
import { Dag } from '../content/content.ts';

export interface ReachRequest {
  readonly op: string;
  /** Nobody is asked who would have to ask others. */
  readonly localOnly: boolean;
  /** Of each call of a node; the node's own when absent. */
  readonly deadlineMs?: number | undefined;
}

export interface Reach {
  readonly dag: Dag;
  /** Bytes of a block, and whether it lies on this machine. @throws OpError content-missing. */
  stat(cid: CID, signal: AbortSignal): Promise<{ readonly size: number; readonly local: boolean }>;
  /** Whether there is nobody to ask beside what is kept here. */
  readonly isAlone: boolean;
  /** Who answered: Kubo, when it gave any of it. */
  node(): NodeKind;
}

interface Sources {
  /** What is kept here; undefined: it is not asked. */
  readonly dag?: Dag | undefined;
  readonly kubo?: IpfsNode | undefined;
}

export function reachOver({ localOnly, deadlineMs }: ReachRequest, { dag, kubo }: Sources): Reach {
  if (kubo === undefined) return embedded(dag ?? new Dag(NOTHING));
  let isAsked = dag === undefined;
  const blocks: BlockSource = {
    get: async (cid, signal) => {
      const own = dag?.sizeOf(cid) === undefined ? undefined : await dag.block(cid, signal);
      if (own !== undefined) return own;
      isAsked = true;
      return kubo.content.blockGet(cid, { signal, deadlineMs, local: localOnly });
    },
    sizeOf: (cid) => dag?.sizeOf(cid),
  };
  return {
    isAlone: false,
    dag: new Dag(blocks),
    stat: async (cid, signal) => {
      const size = dag?.sizeOf(cid);
      if (size !== undefined) return { size, local: true };
      isAsked = true;
      const [isHeld = false] = await kubo.content.hasBlocks([cid], { signal, deadlineMs });
      const stat = await kubo.content.blockStat(cid, { signal, deadlineMs, local: localOnly });
      return { size: stat.size, local: isHeld };
    },
    node: () => (isAsked ? 'kubo' : 'embedded'),
  };
}

const NOTHING: BlockSource = { get: () => undefined, sizeOf: () => undefined };

const embedded = (dag: Dag): Reach => ({
  isAlone: true,
  dag,
  stat: async (cid, signal) => {
    const size = dag.sizeOf(cid) ?? (await dag.block(cid, signal)).length;
    return { size, local: true };
  },
  node: () => 'embedded',
});
