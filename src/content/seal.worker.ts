/** A hashing thread: takes batches from `HashPool`, answers each with one message. */
import { open } from 'node:fs/promises';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { codeOf } from '../base/errors.ts';
import { CHUNK_BYTES, type Hashed, hashChunk, hashStream } from './hash.ts';
import type { HashFailure, HashItem, HashReply, HashRequest } from './hasher.ts';

function serve(port: MessagePort): void {
  const running = new Map<number, AbortController>();

  const run = async (job: number, items: readonly HashItem[]): Promise<void> => {
    const controller = new AbortController();
    running.set(job, controller);
    const results: (Hashed | HashFailure)[] = [];
    for (const item of items) {
      if (controller.signal.aborted) break;
      results.push(await hashed(item, controller.signal));
    }
    running.delete(job);
    if (!controller.signal.aborted) port.postMessage({ job, results } satisfies HashReply);
  };

  port.on('message', ({ job, items }: HashRequest) => {
    if (items === undefined) running.get(job)?.abort();
    else void run(job, items);
  });
}

async function hashed(item: HashItem, signal: AbortSignal): Promise<Hashed | HashFailure> {
  try {
    return 'bytes' in item ? hashChunk(item.bytes) : await hashStream(chunks(item, signal));
  } catch (error) {
    return { message: String(error), code: codeOf(error) };
  }
}

/** The first `size` bytes of a file; the wait for each lets an abort message in. */
async function* chunks(
  { path, size }: { readonly path: string; readonly size: number },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  const file = await open(path, 'r');
  try {
    for (let position = 0; position < size; ) {
      signal.throwIfAborted();
      // Not reused: the hasher keeps a chunk until the next one is complete.
      const wanted = Math.min(CHUNK_BYTES, size - position);
      const { bytesRead, buffer } = await file.read(
        Buffer.allocUnsafe(wanted),
        0,
        wanted,
        position,
      );
      if (bytesRead === 0) {
        throw Object.assign(new Error(`${path} ends at ${position} of ${size}`), { code: 'SHORT' });
      }
      yield buffer.subarray(0, bytesRead);
      position += bytesRead;
    }
  } finally {
    await file.close();
  }
}

assert(parentPort !== null, 'runs as a thread');
serve(parentPort);
