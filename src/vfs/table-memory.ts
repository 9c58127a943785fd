/** Memory for the handle table. */

/** Where the table lies. */
export interface TableMemory {
  /** Bytes there are. */
  readonly size: number;
  /** So many of them, more than there were if need be; those that are new are 0. @throws OpError no-space. */
  map(bytes: number): Buffer;
}

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
