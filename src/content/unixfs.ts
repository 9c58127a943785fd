/**
 * A dag-pb block as a node of UnixFS. What it says was written by strangers: sizes that no file has are
 * refused, and times that are none are left out.
 */
import { decode as decodePb, encode as encodePb, type PBLink } from '@ipld/dag-pb';
import { Node } from 'ipfs-unixfs';
import type { CID } from 'multiformats/cid';
import { OpError } from '../base/errors.ts';
import { FILE_BYTES_MAX } from '../base/limits.ts';
import type { DagEntry } from './dag.ts';

/** Seconds from 1970, either way; as many as a manifest may have. */
const TIME_S_MAX = 2 ** 40;
const NS_PER_S = 1_000_000_000;

export interface UnixfsNode {
  readonly size: number;
  readonly links: readonly PBLink[];
  /** RAW, DIRECTORY, FILE, METADATA, SYMLINK, HAMT_SHARD; undefined: not UnixFS. */
  readonly type: string | undefined;
  readonly bytes: Uint8Array;
  readonly blockSizes: readonly number[];
  readonly fanout: number;
  readonly mode: number | undefined;
  readonly mtime: DagEntry['mtime'];
}

export function parseNode(block: Uint8Array): UnixfsNode {
  const { Links: links, Data } = decodePb(block);
  const unixfs = Data === undefined ? undefined : unixfsOf(Data);
  const mtime = unixfs?.mtime;
  return {
    size: block.length,
    links,
    type: unixfs === undefined ? undefined : String(unixfs.type),
    bytes: unixfs?.data ?? new Uint8Array(),
    blockSizes: unixfs?.blockSizes.map(Number) ?? [],
    fanout: Number(unixfs?.fanOut ?? 0n),
    mode: unixfs?.mode === undefined ? undefined : unixfs.mode & 0o7777,
    mtime: mtime && timeOf(Number(mtime.seconds ?? 0n), mtime.fractionalNanoseconds ?? 0),
  };
}

/** undefined: it is no time. */
const timeOf = (s: number, ns: number): DagEntry['mtime'] =>
  Math.abs(s) <= TIME_S_MAX && ns < NS_PER_S ? { s, ns } : undefined;

/** Without the links, which are read already. undefined: of somebody who does not speak UnixFS. */
function unixfsOf(Data: Uint8Array) {
  try {
    return Node.decode(encodePb({ Data, Links: [] })).data;
  } catch {
    return undefined;
  }
}

export function fileSize(node: UnixfsNode): number {
  return node.blockSizes.reduce((sum, size) => sum + size, node.bytes.length);
}

/** @throws OpError file-too-large. */
export function knownSize(cid: CID, node: UnixfsNode): number {
  const size = fileSize(node);
  if (size <= FILE_BYTES_MAX) return size;
  throw new OpError('file-too-large', `read ${cid}`, { details: { cid: cid.toString() } });
}

/** Digits of a shard's index in front of its names. */
export function prefixOf(cid: CID, { fanout }: UnixfsNode): number {
  if (fanout < 2) throw malformed(cid, 'it is no proper shard');
  return (fanout - 1).toString(16).length;
}

export function parsed<T>(cid: CID, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw malformed(cid, 'it does not parse', cause);
  }
}

/** The bytes are those of the CID, but whoever made them made no proper node. */
export function malformed(cid: CID, why: string, cause?: unknown): OpError {
  return new OpError('integrity', `read ${cid}`, {
    cause,
    hint: `${why}; the content was made so`,
    details: { cid: cid.toString() },
  });
}
