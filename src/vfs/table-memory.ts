/** Memory for a handle table that nobody keeps. */
import type { TableMemory } from './table-records.ts';

/** Memory that ends with the process: nobody is there to keep it. */
export class OwnMemory implements TableMemory {
  #bytes = Buffer.alloc(0);

  get size(): number {
    return this.#bytes.length;
  }

  map(bytes: number): Buffer {
    const grown = Buffer.from(new ArrayBuffer(bytes));
    this.#bytes.copy(grown);
    this.#bytes = grown;
    return grown;
  }
}
