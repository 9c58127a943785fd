/** A hashing thread: takes batches from `HashPool`, answers each with one message. */
import { type FileHandle, open } from 'node:fs/promises';
import { constants, setPriority } from 'node:os';
import { type MessagePort, parentPort } from 'node:worker_threads';
import { assert } from '../base/assert.ts';
import { codeOf } from '../base/errors.ts';
import { loadNative } from '../base/native.ts';
import { CHUNK_BYTES, type Hashed, hashChunk, hashStream, type Piece } from './hash.ts';
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
    return 'bytes' in item ? hashChunk(item.bytes) : await hashStream(pieces(item, signal));
  } catch (error) {
    return { message: String(error), code: codeOf(error) };
  }
}

/** The first `size` bytes of a file; the wait for each lets an abort message in. */
async function* pieces(
  { path, size }: { readonly path: string; readonly size: number },
  signal: AbortSignal,
): AsyncGenerator<Piece> {
  const file = await open(path, 'r');
  try {
    const there = (await file.stat()).size;
    if (there < size) throw short(path, there, size);
    for (let position = 0; position < size; ) {
      signal.throwIfAborted();
      const zeroChunks = Math.floor((holeAt(file.fd, position, size) - position) / CHUNK_BYTES);
      if (zeroChunks > 0) {
        yield { zeroChunks };
        position += zeroChunks * CHUNK_BYTES;
        continue;
      }
      const bytes = await readChunk(file, position, Math.min(CHUNK_BYTES, size - position));
      if (bytes.length === 0) throw short(path, position, size);
      yield bytes;
      position += bytes.length;
    }
  } finally {
    await file.close();
  }
}

/** Where the hole at `position` ends; `position` itself when none is there, or it is no chunk's begin. */
function holeAt(fd: number, position: number, size: number): number {
  if (position % CHUNK_BYTES !== 0) return position;
  return Math.min(native.seek(fd, position, 'data') ?? size, size);
}

/** Into new memory: the hasher keeps a chunk until the next one is complete. */
async function readChunk(file: FileHandle, position: number, wanted: number): Promise<Uint8Array> {
  const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(wanted), 0, wanted, position);
  return buffer.subarray(0, bytesRead);
}

const short = (path: string, end: number, size: number): Error =>
  Object.assign(new Error(`${path} ends at ${end} of ${size}`), { code: 'SHORT' });

const native = loadNative();
assert(parentPort !== null, 'runs as a thread');
// Of this thread alone, as Linux has it (setpriority(2)): who answers programs comes first.
setPriority(constants.priority.PRIORITY_BELOW_NORMAL);
serve(parentPort);
