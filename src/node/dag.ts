/** Nodes of the data model: what a path through them leads to, and blocks made of a value. */
import { create as digestOf } from 'multiformats/hashes/digest';
import { DIGESTS } from '../base/digests.ts';
import { OpError } from '../base/errors.ts';
import { BLOCK_BYTES_MAX } from '../base/limits.ts';
import {
  CID,
  type CodecName,
  codecCode,
  type Dag,
  decodeValue,
  encodeValue,
  linksIn,
} from '../content/content.ts';

export type HashName = (typeof DIGESTS)[number]['name'];

export interface ReachedNode {
  readonly value: unknown;
  /** The block that holds it, and the way to it in that block. */
  readonly cid: CID;
  readonly remaining: readonly string[];
}

/**
 * Follows a path through values, from block to block wherever one links to the next, also at its end.
 * In dag-pb a link may be named too, and not only counted.
 * @throws OpError not-found with details {kind: 'link'}; what `Dag.value` throws.
 */
export async function nodeAt(
  dag: Dag,
  root: CID,
  segments: readonly string[],
  signal: AbortSignal,
): Promise<ReachedNode> {
  let at: ReachedNode = { cid: root, value: await dag.value(root, signal), remaining: [] };
  for (const segment of segments) {
    const value = childOf(at.value, segment);
    if (value === undefined) {
      throw new OpError('not-found', `look up "${segment}" in ${at.cid}`, {
        details: { kind: 'link', cid: at.cid.toString(), path: segments.join('/') },
      });
    }
    at = await crossed(dag, { ...at, value, remaining: [...at.remaining, segment] }, signal);
  }
  return at;
}

/** What a value that is a link leads to. */
async function crossed(dag: Dag, at: ReachedNode, signal: AbortSignal): Promise<ReachedNode> {
  const cid = CID.asCID(at.value);
  if (cid === null) return at;
  return crossed(dag, { cid, value: await dag.value(cid, signal), remaining: [] }, signal);
}

function childOf(value: unknown, segment: string): unknown {
  if (typeof value !== 'object' || value === null || value instanceof Uint8Array) return undefined;
  if (Array.isArray(value)) return /^\d{1,9}$/.test(segment) ? value[Number(segment)] : undefined;
  const fields = value as Readonly<Record<string, unknown>>;
  if (Object.hasOwn(fields, segment)) return fields[segment];
  const links = fields['Links'];
  const named = Array.isArray(links) ? links.find((link) => link?.Name === segment) : undefined;
  return CID.asCID(named?.Hash) ?? undefined;
}

export interface MadeBlock {
  readonly cid: CID;
  readonly bytes: Uint8Array;
  /** What it links to. */
  readonly links: readonly CID[];
}

/** @throws OpError unsupported: the codec has no such values; payload-too-large. */
export function blockOf(value: unknown, codec: CodecName, hash: HashName): MadeBlock {
  const bytes = encodeValue(codec, value);
  if (bytes.length > BLOCK_BYTES_MAX) {
    throw new OpError('payload-too-large', `make a block of ${codec}`, {
      hint: `a block has at most ${BLOCK_BYTES_MAX} bytes: split the value`,
      details: { partial: { size: bytes.length, max: BLOCK_BYTES_MAX } },
    });
  }
  const kind = DIGESTS.find(({ name }) => name === hash);
  if (kind === undefined) throw new RangeError(`no hash ${hash}`);
  const cid = CID.createV1(codecCode(codec), digestOf(kind.code, kind.digest(bytes)));
  return { cid, bytes, links: linksIn(decodeValue(codec, bytes)) };
}
