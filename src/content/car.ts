/** A DAG as a CAR (version 1): the form in which blocks travel. */
import { encode } from '@ipld/dag-cbor';
import { varint } from 'multiformats';
import type { CID } from 'multiformats/cid';
import { CAR_PIECE_BYTES } from '../base/limits.ts';
import type { StoredBlock } from './blocks.ts';
import type { Dag } from './dag.ts';

/**
 * All blocks of a DAG, parents first, each once and verified, as the bytes of a CAR.
 * @throws OpError content-missing for a missing block, integrity, unsupported; the signal's reason.
 *   Bytes that came before are then worth nothing.
 */
export async function* exportCar(
  dag: Dag,
  root: CID,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const blocks = async function* () {
    for await (const { cid } of dag.walk(root, signal)) {
      yield { cid, bytes: await dag.block(cid, signal) };
    }
  };
  yield* carOf([root], blocks());
}

/**
 * Certain blocks as the bytes of a CAR with these roots (https://ipld.io/specs/transport/car/carv1),
 * in pieces of some size, each made when the reader has taken the one before. Blocks are many, and most
 * are small: what handles a piece at a time should not handle thousands.
 * @throws what `blocks` throws.
 */
export async function* carOf(
  roots: readonly CID[],
  blocks: AsyncIterable<StoredBlock>,
): AsyncGenerator<Uint8Array> {
  const header = encode({ version: 1, roots });
  let parts: Uint8Array[] = [lengthOf(header.length), header];
  let size = 0;
  for await (const { cid, bytes } of blocks) {
    const length = cid.bytes.length + bytes.length;
    parts.push(lengthOf(length), cid.bytes, bytes);
    size += length;
    if (size < CAR_PIECE_BYTES) continue;
    yield Buffer.concat(parts);
    parts = [];
    size = 0;
  }
  if (parts.length > 0) yield Buffer.concat(parts);
}

const lengthOf = (value: number): Uint8Array =>
  varint.encodeTo(value, new Uint8Array(varint.encodingLength(value)));
