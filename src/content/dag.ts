/**
 * DAGs as trees of files: UnixFS over blocks, each verified before it is looked at. Asynchronous,
 * because a source of blocks may have to fetch; ours never leaves this machine.
 *
 * What a DAG claims about itself (sizes, names) is written by strangers: it is checked against what
 * is there, and never trusted for an allocation.
 */

import { LRUCache } from 'lru-cache';
import type { CID } from 'multiformats/cid';
import { OpError } from '../base/errors.ts';
import { type Name, nameOf } from '../base/ids.ts';
import {
  DAG_LEAVES_CACHED_BYTES_MAX,
  DAG_NODES_CACHED_BYTES_MAX,
  FETCHES_AT_ONCE_MAX,
} from '../base/limits.ts';
import { inTurns } from '../base/together.ts';
import { turn } from '../base/turn.ts';
import { blockName, DAG_PB_CODEC, RAW_CODEC } from './cid.ts';
import { CODEC_NAMES, codecName, decodeValue, linksIn } from './codecs.ts';
import {
  fileSize,
  knownSize,
  malformed,
  parsed,
  parseNode,
  prefixOf,
  type UnixfsNode,
} from './unixfs.ts';

/** Blocks handled before other work gets its turn: a node of a hundred links takes half a millisecond. */
const BLOCKS_PER_TURN = 16;
/** A parsed node takes some four times its bytes. */
const PARSED_FACTOR = 4;
/** Of a link that is parsed, or of the key of a block that has none. */
const LINK_BYTES = 256;

/** Where blocks come from. The bytes were verified by it. */
export interface BlockSource {
  get(cid: CID, signal: AbortSignal): Uint8Array | undefined | Promise<Uint8Array | undefined>;
  /** Without reading; undefined when the block is not here. */
  sizeOf(cid: CID): number | undefined;
}

export interface DagEntry {
  readonly cid: CID;
  /** `raw`: a file of one block without a node. `other`: not UnixFS. */
  readonly type: 'file' | 'directory' | 'symlink' | 'raw' | 'other';
  /** Bytes of a file, of a link's target, of another block; 0 for a directory. */
  readonly size: number;
  /** Bytes of all blocks, as the links say (Tsize). */
  readonly cumulativeSize: number;
  /** Permission bits, when the DAG has any. */
  readonly mode: number | undefined;
  readonly mtime: { readonly s: number; readonly ns: number } | undefined;
  readonly target: Name | undefined;
}

export interface DagLink {
  readonly name: string;
  readonly cid: CID;
  /** Tsize: bytes of all blocks below, as the parent says. */
  readonly cumulativeSize: number;
}

export interface DagChild {
  readonly name: string;
  readonly cid: CID;
}

export interface WalkedBlock {
  readonly cid: CID;
  /** undefined: the block is missing. */
  readonly size: number | undefined;
}

/** A part of a file: a leaf of raw bytes, or bytes that lie in a node. */
export interface DagPart {
  /** The leaf. */
  readonly cid: CID | undefined;
  readonly position: number;
  readonly size: number;
  /** Those in a node. */
  readonly bytes: Uint8Array | undefined;
}

interface Span {
  readonly from: number;
  readonly to: number;
}

export class Dag {
  readonly #blocks: BlockSource;
  readonly #nodes = new LRUCache<string, UnixfsNode>({
    maxSize: DAG_NODES_CACHED_BYTES_MAX,
    sizeCalculation: ({ size }) => size * PARSED_FACTOR + 1,
  });
  /** Of blocks of other codecs, which are parsed for them alone. */
  readonly #links = new LRUCache<string, readonly CID[]>({
    maxSize: DAG_NODES_CACHED_BYTES_MAX,
    sizeCalculation: ({ length }) => (1 + length) * LINK_BYTES,
  });
  readonly #leaves = new LRUCache<string, Uint8Array>({
    maxSize: DAG_LEAVES_CACHED_BYTES_MAX,
    sizeCalculation: ({ length }) => length + 1,
  });

  constructor(blocks: BlockSource) {
    this.#blocks = blocks;
  }

  /**
   * Follows names down from a root.
   * @throws OpError not-found, not-directory, content-missing, integrity, unsupported.
   */
  async resolve(root: CID, path: readonly string[], signal: AbortSignal): Promise<CID> {
    let cid = root;
    for (const name of path) cid = await this.#step(cid, name, signal);
    return cid;
  }

  /** What a CID stands for. @throws OpError content-missing, integrity, unsupported. */
  async entryOf(cid: CID, signal: AbortSignal): Promise<DagEntry> {
    const plain = { cid, mode: undefined, mtime: undefined, target: undefined };
    if (cid.code !== DAG_PB_CODEC) {
      const size = this.#blocks.sizeOf(cid) ?? (await this.block(cid, signal)).length;
      const type = cid.code === RAW_CODEC ? 'raw' : 'other';
      return { ...plain, type, size, cumulativeSize: size };
    }
    const node = await this.#node(cid, signal);
    const below = node.links.reduce((sum, { Tsize }) => sum + (Tsize ?? 0), 0);
    const cumulativeSize = node.size + below;
    const { mode, mtime } = node;
    const known = { ...plain, cumulativeSize, mode, mtime };
    switch (node.type) {
      case 'FILE':
      case 'RAW':
        return { ...known, type: 'file', size: knownSize(cid, node) };
      case 'DIRECTORY':
      case 'HAMT_SHARD':
        return { ...known, type: 'directory', size: 0 };
      case 'SYMLINK': {
        const target = nameOf(Buffer.from(node.bytes));
        return { ...known, type: 'symlink', size: target.length, target };
      }
      default:
        return { ...known, type: 'other', size: node.size };
    }
  }

  /**
   * The entries of a directory, plain or sharded.
   * @throws OpError not-directory, content-missing, integrity, unsupported.
   */
  list(cid: CID, signal: AbortSignal): AsyncGenerator<DagLink> {
    return this.#list(cid, new Set(), signal);
  }

  /** No two shards are the same, or there would be more names than anybody could list. */
  async *#list(cid: CID, shards: Set<string>, signal: AbortSignal): AsyncGenerator<DagLink> {
    const node = await this.#directory(cid, signal);
    if (shards.size === shards.add(blockName(cid)).size) {
      throw malformed(cid, 'it is two shards of one directory');
    }
    const prefixLength = node.type === 'HAMT_SHARD' ? prefixOf(cid, node) : 0;
    if (node.type === 'HAMT_SHARD') await this.#bringShards(node, prefixLength, signal);
    for (const { Name: name = '', Hash, Tsize = 0 } of node.links) {
      signal.throwIfAborted();
      const isShard = node.type === 'HAMT_SHARD' && name.length === prefixLength;
      if (isShard) yield* this.#list(Hash, shards, signal);
      else yield { name: name.slice(prefixLength), cid: Hash, cumulativeSize: Tsize };
    }
  }

  /** Those of one shard that are elsewhere come together, not one after the other. */
  async #bringShards(
    { links }: UnixfsNode,
    prefixLength: number,
    signal: AbortSignal,
  ): Promise<void> {
    const shards = links
      .filter(({ Name: name = '', Hash }) => {
        return name.length === prefixLength && this.#blocks.sizeOf(Hash) === undefined;
      })
      .map(({ Hash }) => Hash);
    await inTurns(shards, FETCHES_AT_ONCE_MAX, (shard) => this.#directory(shard, signal));
  }

  /**
   * Bytes of a file, reading only the blocks of the range; fewer than `length` only at the end.
   * @throws OpError is-directory, unsupported, content-missing, integrity.
   */
  async readRange(
    cid: CID,
    { position, length }: { readonly position: number; readonly length: number },
    signal: AbortSignal,
  ): Promise<Buffer> {
    const { type, size } = await this.entryOf(cid, signal);
    if (type === 'directory') throw new OpError('is-directory', `read ${cid}`);
    if (type !== 'file' && type !== 'raw') throw new OpError('unsupported', `read ${cid}`);
    const end = Math.min(size, position + length);
    if (position >= end) return Buffer.alloc(0);
    const parts: Uint8Array[] = [];
    const read = await this.#collect(cid, { from: position, to: end }, parts, signal);
    if (read !== end - position) throw malformed(cid, 'its sizes do not add up');
    return Buffer.concat(parts);
  }

  /**
   * The parts of a file that lie in a range, in their order; leaves are not read. `onNode` is told
   * of every inner node on the way.
   * @throws OpError integrity (also when the file has not `size` bytes), content-missing.
   */
  async *parts(
    cid: CID,
    file: { readonly size: number; readonly range: Span; onNode?(cid: CID): Promise<void> },
    signal: AbortSignal,
  ): AsyncGenerator<DagPart> {
    const { size, range } = file;
    const waiting = [{ cid, position: 0, size }];
    for (let part = waiting.pop(); part !== undefined; part = waiting.pop()) {
      signal.throwIfAborted();
      // Without a byte there may be more of them than anybody could look at.
      if (part.size === 0) continue;
      if (part.position >= range.to || part.position + part.size <= range.from) continue;
      if (part.cid.code === RAW_CODEC) {
        yield { ...part, bytes: undefined };
        continue;
      }
      const node = await this.#fileNode(part.cid, signal);
      if (fileSize(node) !== part.size) throw malformed(part.cid, 'its sizes do not add up');
      await file.onNode?.(part.cid);
      const { position } = part;
      const { bytes } = node;
      if (bytes.length > 0) yield { cid: undefined, position, size: bytes.length, bytes };
      let at = position + bytes.length;
      const below = node.links.map(({ Hash }, index) => {
        const child = { cid: Hash, position: at, size: node.blockSizes[index] ?? 0 };
        at += child.size;
        return child;
      });
      waiting.push(...below.reverse());
    }
  }

  /** A node that is a file, or a part of one. @throws OpError content-missing, integrity. */
  async #fileNode(cid: CID, signal: AbortSignal): Promise<UnixfsNode> {
    if (cid.code !== DAG_PB_CODEC) throw malformed(cid, 'it is no part of a file');
    const node = await this.#node(cid, signal);
    const isFile = node.type === 'FILE' || node.type === 'RAW';
    if (!isFile) throw malformed(cid, 'it is no part of a file');
    if (node.links.length !== node.blockSizes.length) throw malformed(cid, 'its sizes are missing');
    return node;
  }

  /**
   * Every block of a DAG once, parents first; a missing one is reported, and nothing below it.
   * Nothing is told of the blocks `known`, by their `blockName`, and below.
   * @throws OpError integrity, unsupported (a codec whose links nobody here knows).
   */
  async *walk(
    root: CID,
    signal: AbortSignal,
    known: ReadonlySet<string> = new Set(),
  ): AsyncGenerator<WalkedBlock> {
    const seen = new Set<string>();
    const waiting = [root];
    let looked = 0;
    for (let cid = waiting.pop(); cid !== undefined; cid = waiting.pop()) {
      signal.throwIfAborted();
      const key = blockName(cid);
      const isNew = !seen.has(key) && !known.has(key);
      // One that is passed over costs a tenth.
      looked += isNew ? 10 : 1;
      if (looked >= 10 * BLOCKS_PER_TURN) {
        looked = 0;
        await turn();
      }
      if (!isNew) continue;
      seen.add(key);
      const size = this.#blocks.sizeOf(cid);
      yield { cid, size };
      if (size === undefined) continue;
      waiting.push(...(await this.#linksOf(cid, signal)).toReversed());
    }
  }

  /** Bytes of a block that is here, without reading it. */
  sizeOf(cid: CID): number | undefined {
    return this.#blocks.sizeOf(cid);
  }

  /**
   * The links of a block of any codec in their order; without a name where its codec gives none.
   * @throws OpError content-missing, integrity, unsupported.
   */
  async children(cid: CID, signal: AbortSignal): Promise<DagChild[]> {
    if (cid.code !== DAG_PB_CODEC) {
      return (await this.#linksOf(cid, signal)).map((link) => ({ name: '', cid: link }));
    }
    const { links } = await this.#node(cid, signal);
    return links.map(({ Name = '', Hash }) => ({ name: Name, cid: Hash }));
  }

  /** What a block links to, in the order in which it does, doubles too. @throws as `value`. */
  links(cid: CID, signal: AbortSignal): Promise<readonly CID[]> {
    return this.#linksOf(cid, signal);
  }

  /**
   * A block as a value of the data model.
   * @throws OpError content-missing; integrity; unsupported: a codec that nobody here knows.
   */
  async value(cid: CID, signal: AbortSignal): Promise<unknown> {
    const codec = codecName(cid.code);
    if (codec === undefined) {
      throw new OpError('unsupported', `read ${cid}`, {
        hint: `only ${CODEC_NAMES.join(', ')} are known`,
        details: { cid: cid.toString(), codec: cid.code },
      });
    }
    const bytes = await this.block(cid, signal);
    return parsed(cid, () => decodeValue(codec, bytes));
  }

  /** A verified block. @throws OpError content-missing with details {cid}, integrity. */
  async block(cid: CID, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted();
    const bytes = await this.#blocks.get(cid, signal);
    if (bytes !== undefined) return bytes;
    throw new OpError('content-missing', `get block ${cid}`, {
      hint: 'add the content, or fetch it from a node that has it',
      details: { cid: cid.toString() },
    });
  }

  async #step(cid: CID, name: string, signal: AbortSignal): Promise<CID> {
    const node = await this.#directory(cid, signal);
    const absent = () => new OpError('not-found', `look up "${name}" in ${cid}`);
    if (name === '' || name.includes('/')) throw absent();
    if (node.type === 'DIRECTORY') {
      const link = node.links.find(({ Name: linked }) => linked === name);
      if (link === undefined) throw absent();
      return link.Hash;
    }
    const { walkPath } = await import('ipfs-unixfs-exporter');
    // The one thing left to the library: which shard the hash of a name leads to.
    const get = (wanted: CID) => this.#generate(wanted, signal);
    let found = cid;
    try {
      for await (const entry of walkPath(`${cid}/${name}`, { get }, { signal })) found = entry.cid;
    } catch (cause) {
      if (cause instanceof Error && cause.name === 'NotFoundError') throw absent();
      if (cause instanceof OpError || signal.aborted) throw cause;
      throw malformed(cid, 'it is no proper shard', cause);
    }
    if (found.equals(cid)) throw absent();
    return found;
  }

  /** As the exporter wants blocks: in pieces. */
  async *#generate(cid: CID, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    yield await this.block(cid, signal);
  }

  async #directory(cid: CID, signal: AbortSignal): Promise<UnixfsNode> {
    const op = `list ${cid}`;
    if (cid.code !== DAG_PB_CODEC) throw new OpError('not-directory', op);
    const node = await this.#node(cid, signal);
    if (node.type !== 'DIRECTORY' && node.type !== 'HAMT_SHARD') {
      throw new OpError('not-directory', op);
    }
    return node;
  }

  /** Appends the bytes from `from` up to `to` of the file at `cid`; returns how many. */
  async #collect(
    cid: CID,
    { from, to }: { readonly from: number; readonly to: number },
    parts: Uint8Array[],
    signal: AbortSignal,
  ): Promise<number> {
    const take = (bytes: Uint8Array): number => {
      const part = bytes.subarray(Math.min(from, bytes.length), Math.min(to, bytes.length));
      if (part.length > 0) parts.push(part);
      return part.length;
    };
    if (cid.code === RAW_CODEC) return take(await this.#leaf(cid, signal));
    const node = await this.#fileNode(cid, signal);
    let read = take(node.bytes);
    let start = node.bytes.length;
    for (const [index, { Hash }] of node.links.entries()) {
      const end = start + (node.blockSizes[index] ?? 0);
      if (start >= to) break;
      if (end > Math.max(from, start)) {
        const range = { from: Math.max(0, from - start), to: Math.min(to, end) - start };
        read += await this.#collect(Hash, range, parts, signal);
      }
      start = end;
    }
    return read;
  }

  /** A reader comes back to a leaf for its next bytes: it is not read and hashed each time. */
  async #leaf(cid: CID, signal: AbortSignal): Promise<Uint8Array> {
    const key = cid.toString();
    const known = this.#leaves.get(key);
    if (known !== undefined) return known;
    const bytes = await this.block(cid, signal);
    this.#leaves.set(key, bytes);
    return bytes;
  }

  async #linksOf(cid: CID, signal: AbortSignal): Promise<readonly CID[]> {
    if (cid.code === RAW_CODEC) return [];
    if (cid.code === DAG_PB_CODEC) {
      return (await this.#node(cid, signal)).links.map(({ Hash }) => Hash);
    }
    const key = blockName(cid);
    const known = this.#links.get(key);
    if (known !== undefined) return known;
    const links = linksIn(await this.value(cid, signal));
    this.#links.set(key, links);
    return links;
  }

  async #node(cid: CID, signal: AbortSignal): Promise<UnixfsNode> {
    const key = blockName(cid);
    const known = this.#nodes.get(key);
    if (known !== undefined) return known;
    const bytes = await this.block(cid, signal);
    const node = parsed(cid, () => parseNode(bytes));
    this.#nodes.set(key, node);
    return node;
  }
}
