/**
 * Who is storing blocks just now. What is stored, or found to be here already, is named by no root
 * until whoever stores it is done: nothing may be let go meanwhile.
 */
export class Holding {
  #storing = 0;
  #epoch = 0;

  /** Another one whenever somebody begins or ends. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Whether nobody stores anything. */
  get isQuiet(): boolean {
    return this.#storing === 0;
  }

  /** From the first look at what is here to the transaction that names what was stored. May nest. */
  async during<T>(work: () => Promise<T>): Promise<T> {
    this.#storing += 1;
    this.#epoch += 1;
    try {
      return await work();
    } finally {
      this.#storing -= 1;
      this.#epoch += 1;
    }
  }
}
