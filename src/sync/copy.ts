/**
 * Whether a node has what the bytes here may go for: asked anew each time, of the node alone.
 *
 * Invariant: what is not proven by the answers is not there.
 */
import pLimit from 'p-limit';
import type { CallOptions, IpfsNode } from '../backend/backend.ts';
import { type Failure, OpError } from '../base/errors.ts';
import { blockKey, type CID, cidOfBytes } from '../content/content.ts';
import type { BlockRow, TargetRow } from '../journal/journal.ts';
import { placeOf } from './upload.ts';

/** Blocks that are read back at once. */
const BLOCKS_AT_ONCE = 4;
/** What a node says of a block that it does not have as it should. */
const NOT_THERE: ReadonlySet<Failure> = new Set(['content-missing', 'integrity']);

/** Whether it still has the tree that it said it holds: pinned, or in its place of MFS. */
export async function hasTree(
  node: IpfsNode,
  { held, path }: Pick<TargetRow, 'held' | 'path'>,
  call: CallOptions,
): Promise<boolean> {
  if (held === undefined) return false;
  if (held.pin) {
    const pin = await node.pins.get(cidOfBytes(held.tree), { ...call, own: true });
    return pin?.type === 'recursive';
  }
  const there = await node.mfs.stat(placeOf(path), call);
  return there !== undefined && blockKey(there.cid).equals(held.tree);
}

/**
 * Whether it has these blocks: each is read from its disk, and hashed here.
 * @throws OpError when it could not be asked.
 */
export async function hasBlocks(
  node: IpfsNode,
  blocks: readonly BlockRow[],
  call: CallOptions,
): Promise<boolean> {
  const limit = pLimit(BLOCKS_AT_ONCE);
  const over = new AbortController();
  const within = { ...call, signal: AbortSignal.any([call.signal, over.signal]) };
  const reads = blocks.map((block) =>
    limit(async () => {
      within.signal.throwIfAborted();
      const bytes = await node.content.blockGet(cidOfBytes(block.cid), { ...within, local: true });
      if (bytes.length !== block.size) throw new OpError('integrity', 'read a block back');
    }).catch((error: unknown) => {
      over.abort(error); // One that is missing is enough: the others stop too.
    }),
  );
  await Promise.all(reads);
  call.signal.throwIfAborted();
  const { reason } = over.signal;
  if (!over.signal.aborted) return true;
  if (reason instanceof OpError && NOT_THERE.has(reason.failure)) return false;
  throw reason;
}

/**
 * Keeps a DAG at the node whatever becomes of the trees that have it, by a pin of that name.
 * @returns false: somebody else pinned it, and may let it go.
 * @throws OpError content-missing: it is not whole there; when it could not be asked.
 */
export async function keep(
  node: IpfsNode,
  cid: CID,
  name: string,
  call: CallOptions,
): Promise<boolean> {
  const known = await node.pins.get(cid, { ...call, own: true });
  if (known !== undefined && (known.name !== name || known.type !== 'recursive')) return false;
  if (known === undefined) await node.pins.add(cid, { ...call, name });
  return true;
}

/** Ends the pins of that name which keep nothing that `isNeeded` any more; how many there were. */
export async function letGo(
  node: IpfsNode,
  name: string,
  isNeeded: (cid: CID) => boolean,
  call: CallOptions,
): Promise<number> {
  const unneeded: CID[] = [];
  for await (const pin of node.pins.ls({ ...call, type: 'recursive', name })) {
    // A node may look for a part of the name.
    if (pin.name === name && !isNeeded(pin.cid)) unneeded.push(pin.cid);
  }
  let ended = 0;
  for (const cid of unneeded) {
    // It may be needed since.
    if (isNeeded(cid)) continue;
    try {
      await node.pins.rm(cid, call);
      ended += 1;
    } catch (error) {
      // Somebody else unpinned it meanwhile.
      if (!(error instanceof OpError && error.failure === 'not-pinned')) throw error;
    }
  }
  return ended;
}
