/**
 * Writing into a file that is a DAG: leaves that the change does not touch are kept as they are, whoever
 * cut them; what lies between them is cut anew.
 */
import { decode as decodePb } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { OpError } from '../base/errors.ts';
import { turn } from '../base/turn.ts';
import type { CID, Dag } from '../content/content.ts';
import {
  type CidForm,
  DAG_PB_CODEC,
  fileOf,
  leafBytesOf,
  leafOf,
  linksMaxOf,
  type Metadata,
  type Part,
  RAW_CODEC,
  type Sink,
} from './forms.ts';

/** Of a file that is written into, all in memory: a terabyte of whole leaves. */
const LEAVES_MAX = 1_048_576;

interface Rewriting {
  readonly dag: Dag;
  /** undefined: there is no file yet. */
  readonly old: CID | undefined;
  readonly offset: number;
  readonly bytes: Uint8Array;
  /** Nothing of the old file stays. */
  readonly truncate: boolean;
  readonly metadata: Metadata;
  readonly form: CidForm;
  readonly sink: Sink;
  readonly signal: AbortSignal;
}

/**
 * The file with `bytes` at `offset`; a hole before them is zeros.
 * @throws OpError content-missing, integrity, unsupported: of the old file.
 */
export async function rewritten(rewriting: Rewriting): Promise<Part> {
  const { old, truncate, form, sink, metadata } = rewriting;
  const kept = old === undefined || truncate ? [] : await leavesOf(rewriting, old);
  const leaves = await edited(rewriting, kept);
  if (leaves.length === 0) leaves.push(leafOf(new Uint8Array(), form, sink));
  const isBare = metadata.mode === undefined && metadata.mtime === undefined;
  let level: readonly Part[] = leaves;
  let isTop = false;
  while (level.length > 1 || !(isBare || isTop)) {
    isTop = level.length <= linksMaxOf(form);
    level = grouped(level, linksMaxOf(form)).map((group) =>
      fileOf(group, isTop ? metadata : {}, form, sink),
    );
  }
  const [root] = level;
  if (root === undefined) throw new RangeError('a file has a root');
  return root;
}

function grouped<T>(items: readonly T[], size: number): (readonly T[])[] {
  const groups: (readonly T[])[] = [];
  for (let at = 0; at < items.length; at += size) groups.push(items.slice(at, at + size));
  return groups;
}

/** The leaves of the new file: kept, cut anew, kept. */
async function edited(rewriting: Rewriting, kept: readonly Part[]): Promise<Part[]> {
  const { offset, bytes, form } = rewriting;
  if (bytes.length === 0) return [...kept];
  const oldSize = kept.reduce((sum, { size }) => sum + size, 0);
  const end = offset + bytes.length;
  const before: Part[] = [];
  let from = 0;
  for (const leaf of kept) {
    if (from + leaf.size > offset) break;
    before.push(leaf);
    from += leaf.size;
  }
  // A short one in front would stay short for ever, and so would each one written behind it.
  const short = before.at(-1);
  if (short !== undefined && short.size < leafBytesOf(form)) {
    before.pop();
    from -= short.size;
  }
  const after: Part[] = [];
  let to = oldSize;
  for (const leaf of kept.slice(before.length).reverse()) {
    if (to - leaf.size < end) break;
    after.unshift(leaf);
    to -= leaf.size;
  }
  return [...before, ...(await cut(rewriting, oldSize, from, Math.max(to, end))), ...after];
}

/** Leaves over a range of the new file. */
async function cut(
  rewriting: Rewriting,
  oldSize: number,
  from: number,
  to: number,
): Promise<Part[]> {
  const { form, sink, offset, signal } = rewriting;
  const leaves: Part[] = [];
  const step = leafBytesOf(form);
  let zeros: Part | undefined;
  for (let at = from; at < to; at += step) {
    signal.throwIfAborted();
    await turn();
    const length = Math.min(step, to - at);
    const isHole = length === step && at >= oldSize && at + length <= offset;
    if (isHole) zeros ??= leafOf(new Uint8Array(step), form, sink);
    leaves.push(
      isHole && zeros !== undefined
        ? zeros
        : leafOf(await newBytes(rewriting, oldSize, at, length), form, sink),
    );
  }
  return leaves;
}

/** Bytes of the new file. */
async function newBytes(
  { dag, old, offset, bytes, signal }: Rewriting,
  oldSize: number,
  position: number,
  length: number,
): Promise<Buffer> {
  const piece = Buffer.alloc(length);
  if (old !== undefined && position < oldSize) {
    const range = { position, length: Math.min(length, oldSize - position) };
    (await dag.readRange(old, range, signal)).copy(piece);
  }
  const first = Math.max(position, offset);
  const last = Math.min(position + length, offset + bytes.length);
  if (first < last) piece.set(bytes.subarray(first - offset, last - offset), first - position);
  return piece;
}

/**
 * The leaves of a file in order; `told`: the size that the node above says it has.
 * @throws OpError content-missing, integrity, unsupported; payload-too-large.
 */
async function leavesOf(rewriting: Rewriting, cid: CID, told?: number): Promise<Part[]> {
  const { dag, form, sink, signal } = rewriting;
  const block = await dag.block(cid, signal);
  const { length } = block;
  if (cid.code === RAW_CODEC) return [{ cid, size: length, totalSize: length }];
  if (cid.code !== DAG_PB_CODEC) throw noFile(cid);
  const { Links: links, Data } = decodePb(block);
  const node = Data === undefined ? undefined : UnixFS.unmarshal(Data);
  if (node === undefined || !['file', 'raw'].includes(node.type)) throw noFile(cid);
  const data = node.data ?? new Uint8Array();
  const sizes = links.map((_, index) => Number(node.blockSizes[index] ?? 0n));
  // Whoever made it may have named one node again and again: its sizes bound how often.
  if (told !== undefined && sizes.reduce((sum, size) => sum + size, data.length) !== told) {
    throw new OpError('integrity', `write into ${cid}`, {
      hint: 'its sizes do not add up; the content was made so',
      details: { cid: cid.toString() },
    });
  }
  if (links.length === 0) return [{ cid, size: data.length, totalSize: length }];
  const leaves = data.length === 0 ? [] : [leafOf(data, form, sink)];
  for (const [index, { Hash, Tsize }] of links.entries()) {
    const size = sizes[index] ?? 0;
    if (size === 0) continue;
    // What is a leaf by its codec is not read.
    if (Hash.code === RAW_CODEC) leaves.push({ cid: Hash, size, totalSize: Tsize ?? size });
    else for (const leaf of await leavesOf(rewriting, Hash, size)) leaves.push(leaf);
    if (leaves.length > LEAVES_MAX) {
      throw new OpError('payload-too-large', `write into ${cid}`, {
        hint: `it consists of more than ${LEAVES_MAX} parts: copy it, which cuts it anew`,
      });
    }
  }
  await turn();
  signal.throwIfAborted();
  return leaves;
}

const noFile = (cid: CID): OpError =>
  new OpError('unsupported', `write into ${cid}`, { details: { cid: cid.toString() } });
