/** A DAG as a CAR (version 1): the form in which blocks travel. */
import type { CID } from 'multiformats/cid';
import type { StoredBlock } from './blocks.ts';
import type { Dag } from './dag.ts';

/**
 * All blocks of a DAG, parents first, each once and verified, as the bytes of a CAR.
 * @throws OpError content-missing for a missing block, integrity, unsupported; the signal's reason.
 *   Bytes that came before are then worth nothing.
 */
export function exportCar(dag: Dag, root: CID, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const blocks = async function* (either: AbortSignal) {
    for await (const { cid } of dag.walk(root, either)) {
      yield { cid, bytes: await dag.block(cid, either) };
    }
  };
  return carOf([root], blocks, signal);
}

/**
 * Certain blocks as the bytes of a CAR with these roots, each asked for when the reader has taken those
 * before it. @throws what `blocks` throws; the signal's reason.
 */
export async function* carOf(
  roots: readonly CID[],
  blocks: (signal: AbortSignal) => AsyncIterable<StoredBlock>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const { CarWriter } = await import('@ipld/car');
  const { writer, out } = CarWriter.create([...roots]);
  const left = new AbortController();
  const either = AbortSignal.any([signal, left.signal]);
  const write = async () => {
    try {
      for await (const block of blocks(either)) await writer.put(block);
    } finally {
      await writer.close();
    }
  };
  // Settles always, so that no rejection is left alone while the reader takes its time.
  const written = write().then(
    () => undefined,
    (error: unknown) => ({ error }),
  );
  const chunks = out[Symbol.asyncIterator]();
  try {
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) yield next.value;
    const failed = await written;
    if (failed !== undefined) throw failed.error;
  } finally {
    // The reader may leave early: the writer waits for its bytes to be taken, so take them.
    left.abort();
    for (let next = await chunks.next(); !next.done; ) next = await chunks.next();
    await written;
  }
}
