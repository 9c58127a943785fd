/**
 * Blocks as CARs of a bounded size, and where in these each of them lies.
 *
 * Invariant: no more than one CAR is in memory, whatever the size of the DAG; of the others only what
 * says where their blocks lie.
 */

import { createHash } from 'node:crypto';
import { encode } from '@ipld/dag-cbor';
import { varint } from 'multiformats';
import { CID } from 'multiformats/cid';
import { create as digestOf } from 'multiformats/hashes/digest';
import { OpError } from '../../base/errors.ts';
import { CAR_PIECE_BYTES, SHARD_INDEX_BYTES_MAX } from '../../base/limits.ts';
import type { Block } from '../retrieval/car.ts';
import { demandBytesOf, inlineBytes } from '../verify.ts';

const CAR_CODE = 0x0202;
const DAG_CBOR_CODE = 0x71;
const SHA2_256 = 0x12;

/** Bytes that a service stores as they are, named by their hash. */
export interface Blob {
  readonly cid: CID;
  readonly size: number;
  readonly pieces: readonly Uint8Array[];
}

export interface Shard extends Blob {
  readonly slices: readonly Slice[];
}

/** Where the bytes of a block lie. */
interface Slice {
  readonly multihash: CID['multihash'];
  readonly offset: number;
  readonly length: number;
}

interface Cutting {
  readonly bytesMax: number;
  readonly op: string;
}

/** @throws OpError integrity, unsupported, file-too-large; what `blocks` throws. */
export async function* shardsOf(
  root: CID,
  blocks: AsyncIterable<Block>,
  { bytesMax, op }: Cutting,
): AsyncGenerator<Shard, void, undefined> {
  let draft = new Draft(root);
  for await (const block of blocks) {
    demandBytesOf(block.cid, block.bytes, op);
    if (inlineBytes(block.cid) !== undefined) continue; // It is in its own CID.
    const room = bytesMax - draft.size;
    if (sectionBytes(block) > room && !draft.isEmpty) {
      yield draft.finish();
      draft = new Draft(root);
    }
    if (draft.size + sectionBytes(block) > bytesMax) {
      const hint = `${block.cid} has ${block.bytes.length} bytes: no CAR may be so large`;
      throw new OpError('file-too-large', op, { hint });
    }
    draft.add(block);
  }
  if (!draft.isEmpty) yield draft.finish();
}

/** Of a block in a CAR. */
function sectionBytes({ cid, bytes }: Block): number {
  const length = cid.bytes.length + bytes.length;
  return varint.encodingLength(length) + length;
}

/** One CAR that is being made: hashed while it grows, so that nobody waits for all of it at once. */
class Draft {
  readonly #pieces: Uint8Array[] = [];
  readonly #hash = createHash('sha256');
  readonly #slices = new Map<string, Slice>();
  /** Of many small blocks: what handles a piece at a time should not handle thousands. */
  #small: Uint8Array[] = [];
  #smallBytes = 0;
  size = 0;

  constructor(root: CID) {
    const header = encode({ version: 1, roots: [root] });
    this.#append(lengthOf(header.length), header);
  }

  get isEmpty(): boolean {
    return this.#slices.size === 0;
  }

  add({ cid, bytes }: Block): void {
    const key = Buffer.from(cid.multihash.bytes).toString('latin1');
    if (this.#slices.has(key)) return;
    this.#append(lengthOf(cid.bytes.length + bytes.length), cid.bytes, bytes);
    const offset = this.size - bytes.length;
    this.#slices.set(key, { multihash: cid.multihash, offset, length: bytes.length });
  }

  finish(): Shard {
    this.#gather();
    const cid = carCid(this.#hash.digest());
    // Gateways look for the CAR itself in the same place as for the blocks in it.
    const whole = { multihash: cid.multihash, offset: 0, length: this.size };
    const slices = [...this.#slices.values(), whole];
    return { cid, size: this.size, pieces: this.#pieces, slices };
  }

  #append(...parts: readonly Uint8Array[]): void {
    for (const part of parts) {
      this.#small.push(part);
      this.#smallBytes += part.length;
      this.size += part.length;
    }
    if (this.#smallBytes >= CAR_PIECE_BYTES) this.#gather();
  }

  #gather(): void {
    const piece = Buffer.concat(this.#small);
    this.#pieces.push(piece);
    this.#hash.update(piece);
    this.#small = [];
    this.#smallBytes = 0;
  }
}

/**
 * Says where the blocks of an upload lie: `index/sharded/dag@0.1`
 * (https://github.com/storacha/specs/blob/main/w3-index.md).
 */
export class ShardIndex {
  readonly #op: string;
  readonly #shards: { readonly digest: Uint8Array; readonly block: Block }[] = [];
  #bytes = 0;

  constructor(op: string) {
    this.#op = op;
  }

  /** @throws OpError file-too-large. */
  add({ cid, slices }: Shard): void {
    const entries = slices
      .toSorted((one, other) => compare(one.multihash, other.multihash))
      .map(({ multihash, offset, length }) => [multihash.bytes, [offset, length]]);
    const block = cborBlock([cid.multihash.bytes, entries]);
    this.#bytes += sectionBytes(block);
    if (this.#bytes > SHARD_INDEX_BYTES_MAX) {
      const hint = 'it has too many blocks for one upload; put parts of it';
      throw new OpError('file-too-large', this.#op, { hint });
    }
    this.#shards.push({ digest: cid.multihash.digest, block });
  }

  blobFor(content: CID): Blob {
    const blocks = this.#shards
      .toSorted((one, other) => Buffer.compare(one.digest, other.digest))
      .map(({ block }) => block);
    const shards = blocks.map(({ cid }) => cid);
    const root = cborBlock({ 'index/sharded/dag@0.1': { content, shards } });
    const header = encode({ version: 1, roots: [root.cid] });
    const sections = [root, ...blocks].flatMap(({ cid, bytes }) => [
      lengthOf(cid.bytes.length + bytes.length),
      cid.bytes,
      bytes,
    ]);
    const bytes = Buffer.concat([lengthOf(header.length), header, ...sections]);
    const cid = carCid(createHash('sha256').update(bytes).digest());
    return { cid, size: bytes.length, pieces: [bytes] };
  }
}

const compare = (one: CID['multihash'], other: CID['multihash']): number =>
  Buffer.compare(one.digest, other.digest);

function cborBlock(value: unknown): Block {
  const bytes = encode(value);
  const digest = createHash('sha256').update(bytes).digest();
  return { cid: CID.createV1(DAG_CBOR_CODE, digestOf(SHA2_256, new Uint8Array(digest))), bytes };
}

const carCid = (sha256: Uint8Array): CID =>
  CID.createV1(CAR_CODE, digestOf(SHA2_256, new Uint8Array(sha256)));

const lengthOf = (value: number): Uint8Array =>
  varint.encodeTo(value, new Uint8Array(varint.encodingLength(value)));
