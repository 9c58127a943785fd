/**
 * Content as it comes from strangers, taken only when it is whole: a DAG is walked while its blocks
 * arrive, and each is kept when the walk asks for it.
 *
 * Invariants: what ends without an error is all of what was wanted; no block is kept that does not
 * belong to it; blocks that came before the walk asked for them are held in memory, up to a bound, and
 * forgotten when it never does.
 */
import type { CID } from 'multiformats/cid';
import type { Wanted } from '../backend/backend.ts';
import { OpError } from '../base/errors.ts';
import { EARLY_BYTES_MAX, EARLY_OVERHEAD_BYTES } from '../base/limits.ts';
import { turn } from '../base/turn.ts';
import type { StoredBlock } from './blocks.ts';
import { blockKey, IDENTITY_CODE } from './cid.ts';
import { type BlockSource, Dag } from './dag.ts';

/** Blocks handled before other work gets its turn. */
const BLOCKS_PER_TURN = 64;

/** Where blocks that belong to it go, and come from when they are needed once more. */
export interface Keep {
  put(block: StoredBlock): void | Promise<void>;
  get(cid: CID): Uint8Array | undefined | Promise<Uint8Array | undefined>;
}

export interface CompletePart {
  /** What the names lead to. */
  readonly cid: CID;
  readonly blocks: number;
  /** Of the blocks. */
  readonly bytes: number;
}

/**
 * Takes blocks, each hashed by whoever gives them, until all of what is wanted is kept.
 * @throws OpError response-invalid: they end before that, or come in no order; not-found,
 *   not-directory: the names lead nowhere, as verified blocks say; integrity, unsupported: what was
 *   made so that it cannot be walked; what `blocks` and `keep` throw; the signal's reason.
 */
export async function takeComplete(
  wanted: Wanted,
  blocks: AsyncIterable<StoredBlock>,
  keep: Keep,
  signal: AbortSignal,
): Promise<CompletePart> {
  const iterator = blocks[Symbol.asyncIterator]();
  try {
    const arriving = new Arriving(iterator, keep, { op: `fetch ${wanted.root}`, signal });
    const dag = new Dag(arriving);
    const cid = await dag.resolve(wanted.root, wanted.names, signal);
    await arriving.take(cid);
    if (wanted.scope === 'all') await takeAll(cid, dag, arriving, signal);
    if (wanted.scope === 'entity') await takeEntity(cid, wanted.bytes, { dag, arriving }, signal);
    return { cid, blocks: arriving.count, bytes: arriving.bytes };
  } finally {
    await iterator.return?.();
  }
}

async function takeAll(root: CID, dag: Dag, arriving: Arriving, signal: AbortSignal) {
  const walked = new Set<string>();
  const waiting = [root];
  for (let cid = waiting.pop(); cid !== undefined; cid = waiting.pop()) {
    signal.throwIfAborted();
    const key = keyOf(cid);
    if (walked.has(key)) continue;
    walked.add(key);
    if (walked.size % BLOCKS_PER_TURN === 0) await turn();
    await arriving.take(cid);
    waiting.push(...(await dag.links(cid, signal)).toReversed());
  }
}

async function takeEntity(
  cid: CID,
  range: Wanted['bytes'],
  { dag, arriving }: { readonly dag: Dag; readonly arriving: Arriving },
  signal: AbortSignal,
): Promise<void> {
  const { type, size } = await dag.entryOf(cid, signal);
  if (type === 'directory') {
    for await (const _ of dag.list(cid, signal)); // Every shard of it is one that was read.
  }
  if (type !== 'file') return;
  const span = spanOf(size, range);
  for await (const part of dag.parts(cid, { size, range: span }, signal)) {
    if (part.cid === undefined) continue;
    if ((await arriving.take(part.cid)) === part.size) continue;
    throw new OpError('integrity', `fetch ${cid}`, {
      hint: 'its sizes do not add up; the content was made so',
      details: { cid: part.cid.toString() },
    });
  }
}

function spanOf(size: number, range: Wanted['bytes']) {
  const { from, to = size - 1 } = range ?? { from: 0 };
  return { from: from < 0 ? Math.max(0, size + from) : from, to: Math.min(size, to + 1) };
}

const keyOf = (cid: CID): string => blockKey(cid).toString('latin1');

/** Bytes that a block in memory takes, with all that is around it. */
const costOf = ({ cid, bytes }: StoredBlock): number =>
  bytes.length + cid.bytes.length + EARLY_OVERHEAD_BYTES;

/** Blocks that are on their way, one after the other, as a source that can be asked for any. */
class Arriving implements BlockSource {
  readonly #blocks: AsyncIterator<StoredBlock>;
  readonly #keep: Keep;
  readonly #op: string;
  readonly #signal: AbortSignal;
  /** Kept; with their sizes. */
  readonly #taken = new Map<string, number>();
  readonly #early = new Map<string, StoredBlock>();
  #earlyBytes = 0;
  bytes = 0;

  constructor(
    blocks: AsyncIterator<StoredBlock>,
    keep: Keep,
    { op, signal }: { readonly op: string; readonly signal: AbortSignal },
  ) {
    this.#blocks = blocks;
    this.#keep = keep;
    this.#op = op;
    this.#signal = signal;
  }

  get count(): number {
    return this.#taken.size;
  }

  async get(cid: CID): Promise<Uint8Array | undefined> {
    if (cid.multihash.code === IDENTITY_CODE) return cid.multihash.digest;
    if (this.#taken.has(keyOf(cid))) return await this.#keep.get(cid);
    return (await this.#arrived(cid)).bytes;
  }

  /**
   * Of one that has not come yet 0, and not that it is missing: who reads a sharded directory would
   * ask for its shards all at once, and they come one after the other.
   */
  sizeOf(cid: CID): number {
    if (cid.multihash.code === IDENTITY_CODE) return cid.multihash.digest.length;
    return this.#taken.get(keyOf(cid)) ?? 0;
  }

  /** Has it kept; its size. */
  async take(cid: CID): Promise<number> {
    const isHere = cid.multihash.code === IDENTITY_CODE || this.#taken.has(keyOf(cid));
    if (!isHere) await this.#arrived(cid);
    return this.sizeOf(cid);
  }

  async #arrived(cid: CID): Promise<StoredBlock> {
    const block = await this.#next(cid);
    this.#signal.throwIfAborted();
    await this.#keep.put(block);
    this.#taken.set(keyOf(cid), block.bytes.length);
    this.bytes += block.bytes.length;
    return block;
  }

  async #next(cid: CID): Promise<StoredBlock> {
    const key = keyOf(cid);
    const known = this.#early.get(key);
    if (known !== undefined) {
      this.#early.delete(key);
      this.#earlyBytes -= costOf(known);
      return known;
    }
    for (;;) {
      const { done, value } = await this.#blocks.next();
      if (done === true) throw this.#invalid('it is cut short', cid);
      const came = keyOf(value.cid);
      if (came === key) return value;
      if (this.#taken.has(came) || this.#early.has(came)) continue;
      this.#earlyBytes += costOf(value);
      if (this.#earlyBytes > EARLY_BYTES_MAX) throw this.#invalid('its blocks have no order', cid);
      this.#early.set(came, value);
    }
  }

  #invalid(why: string, missing: CID): OpError {
    return new OpError('response-invalid', this.#op, {
      cause: new Error(why),
      details: { cid: missing.toString() },
    });
  }
}
