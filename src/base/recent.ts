/**
 * The most recently used of a number of things, by key. A plain Map in order of use: the library for
 * this clears all its tables, of the size of its bound, whenever the last thing goes.
 */
import { assert } from './assert.ts';

export class Recent<Key, Value> {
  readonly #max: number;
  readonly #onForgotten: () => void;
  readonly #values = new Map<Key, Value>();

  /** Holds at most `max`, from 1; then the least recently used one goes, and `onForgotten` is told. */
  constructor(max: number, onForgotten = () => {}) {
    assert(max >= 1, 'something is remembered');
    this.#max = max;
    this.#onForgotten = onForgotten;
  }

  get(key: Key): Value | undefined {
    const value = this.#values.get(key);
    if (value === undefined) return undefined;
    this.#values.delete(key);
    this.#values.set(key, value);
    return value;
  }

  set(key: Key, value: Value): void {
    this.#values.delete(key);
    this.#values.set(key, value);
    if (this.#values.size <= this.#max) return;
    const [oldest] = this.#values.keys();
    this.#values.delete(oldest as Key);
    this.#onForgotten();
  }

  delete(key: Key): void {
    this.#values.delete(key);
  }

  clear(): void {
    this.#values.clear();
  }
}
