/** Memory of a handle table of which a test keeps what a kill would leave. */
import type { TableMemory } from '../../src/vfs/vfs.ts';

/** It outlives the tables in it, as what the keeper holds does. */
export class KeptMemory implements TableMemory {
  #bytes: Buffer<ArrayBuffer>;
  /** More than this there is not. */
  readonly #bytesMax: number;

  constructor(bytes = Buffer.alloc(0), bytesMax = Number.POSITIVE_INFINITY) {
    this.#bytes = wide(bytes, bytes.length);
    this.#bytesMax = bytesMax;
  }

  get size(): number {
    return this.#bytes.length;
  }

  map(bytes: number): Buffer {
    if (bytes > this.#bytesMax) throw new Error('no space');
    if (bytes > this.size) this.#bytes = wide(this.#bytes, bytes);
    return this.#bytes;
  }

  /** What is in it at this moment. */
  copy(): KeptMemory {
    return new KeptMemory(this.#bytes);
  }

  /** Only so many bytes of it. */
  cut(bytes: number): KeptMemory {
    return new KeptMemory(this.#bytes.subarray(0, bytes));
  }

  /** Writes 32 bits at a byte. */
  put(at: number, value: number): void {
    this.#bytes.writeUInt32LE(value, at);
  }
}

function wide(bytes: Buffer, size: number): Buffer<ArrayBuffer> {
  const grown = Buffer.from(new ArrayBuffer(size));
  bytes.copy(grown);
  return grown;
}
