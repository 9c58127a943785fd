/**
 * What is open through a driver that is asked by path, under numbers of its own: libfuse's binding
 * carries 31 bits of a handle, and takes 0 for none.
 */
import { assert } from '../base/assert.ts';
import type { Fh, Ino } from '../base/ids.ts';

export interface Opening {
  readonly fh: Fh;
  readonly ino: Ino;
  readonly isDirectory: boolean;
}

const NUMBER_MAX = 0x7fff_ffff;

export class Openings {
  readonly #byNumber = new Map<number, Opening>();
  #last = 0;

  get size(): number {
    return this.#byNumber.size;
  }

  /** The number it has from now on. */
  add(opening: Opening): number {
    assert(this.#byNumber.size < NUMBER_MAX, 'there is a number left');
    do {
      this.#last = this.#last === NUMBER_MAX ? 1 : this.#last + 1;
    } while (this.#byNumber.has(this.#last));
    this.#byNumber.set(this.#last, opening);
    return this.#last;
  }

  find(number: number): Opening | undefined {
    return this.#byNumber.get(number);
  }

  /** What the number meant; it means nothing any more. */
  take(number: number): Opening | undefined {
    const opening = this.#byNumber.get(number);
    this.#byNumber.delete(number);
    return opening;
  }

  takeAll(): Opening[] {
    const all = [...this.#byNumber.values()];
    this.#byNumber.clear();
    return all;
  }
}
