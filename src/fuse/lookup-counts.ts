/**
 * How often each inode was handed to the kernel: a hash table of numbers alone, twelve bytes a slot,
 * because a kernel with memory to spare remembers every inode it ever saw, and a `Map` of them costs
 * three times as much and is gone through by every garbage collection.
 *
 * Open addressing with linear probing, over scattered slots: numbers are handed out one after another,
 * and in slots one after another they would be one run, through which every search for an absent one
 * would go. At most three quarters of the slots are used, and from `SLOTS_MIN` on at least an eighth.
 */
import { assert } from '../base/assert.ts';
import type { Ino } from '../base/ids.ts';

const SLOTS_MIN = 1024;
const FULL_FROM = 3 / 4;
const EMPTY_BELOW = 1 / 8;
/** Slots for each one used, in a table that is made anew. */
const ROOM = 2;
/** No inode has this number. */
const FREE = 0;
/** A count that has got so far stays there: the inode is known until all are given back. */
const COUNT_MAX = 2 ** 32 - 1;
const TWO_TO_32 = 2 ** 32;
/** 2^32 over the golden ratio: multiples of it lie far apart (Knuth, TAOCP 3, 6.4). */
const SCATTER = 0x9e3779b1;

export class LookupCounts {
  #inos = new Float64Array(SLOTS_MIN);
  #counts = new Uint32Array(SLOTS_MIN);
  #size = 0;

  /** Inodes with a count. */
  get size(): number {
    return this.#size;
  }

  /** 0 for an inode it does not have. */
  get(ino: Ino): number {
    return this.#counts[this.#slotOf(ino)] ?? 0;
  }

  /** Counts one more. */
  add(ino: Ino): void {
    const slot = this.#slotOf(ino);
    const count = this.#counts[slot] ?? 0;
    if (count > 0) {
      this.#counts[slot] = Math.min(count + 1, COUNT_MAX);
      return;
    }
    this.#inos[slot] = ino;
    this.#counts[slot] = 1;
    this.#size += 1;
    if (this.#size > this.#inos.length * FULL_FROM) this.#resize();
  }

  /** Counts `count` fewer; the inode is gone when none is left. False: it was not there. */
  subtract(ino: Ino, count: number): boolean {
    const slot = this.#slotOf(ino);
    const held = this.#counts[slot] ?? 0;
    if (held === 0) return false;
    if (held === COUNT_MAX) return true;
    if (count < held) this.#counts[slot] = held - count;
    else this.#remove(slot);
    return true;
  }

  /** In no order. */
  *inos(): Generator<Ino> {
    for (const ino of this.#inos) if (ino !== FREE) yield ino as Ino;
  }

  clear(): void {
    this.#inos = new Float64Array(SLOTS_MIN);
    this.#counts = new Uint32Array(SLOTS_MIN);
    this.#size = 0;
  }

  /** Where the inode lies when nothing else lies there. */
  #home(ino: number): number {
    const scattered = Math.imul(ino ^ (ino / TWO_TO_32), SCATTER) >>> 0;
    return Math.floor((scattered * this.#inos.length) / TWO_TO_32);
  }

  /** Where the inode is, or where it would be put. */
  #slotOf(ino: Ino): number {
    assert(ino > FREE, 'inode numbers begin at 1');
    const inos = this.#inos;
    let slot = this.#home(ino);
    while (inos[slot] !== ino && inos[slot] !== FREE) {
      slot = slot + 1 === inos.length ? 0 : slot + 1;
    }
    return slot;
  }

  #remove(slot: number): void {
    this.#inos[slot] = FREE;
    this.#counts[slot] = 0;
    this.#size -= 1;
    const slots = this.#inos.length;
    if (slots > SLOTS_MIN && this.#size < slots * EMPTY_BELOW) this.#resize();
    else this.#closeGap(slot);
  }

  /** Those behind a gap that had been pushed past it move up: a search ends at the first gap. */
  #closeGap(gap: number): void {
    const [inos, counts] = [this.#inos, this.#counts];
    const slots = inos.length;
    let free = gap;
    for (let slot = (gap + 1) % slots; inos[slot] !== FREE; slot = (slot + 1) % slots) {
      const ino = inos[slot] ?? FREE;
      const distance = (from: number) => (slot - from + slots) % slots;
      if (distance(this.#home(ino)) < distance(free)) continue;
      inos[free] = ino;
      counts[free] = counts[slot] ?? 0;
      inos[slot] = FREE;
      counts[slot] = 0;
      free = slot;
    }
  }

  #resize(): void {
    const [inos, counts] = [this.#inos, this.#counts];
    const slots = Math.max(SLOTS_MIN, this.#size * ROOM);
    this.#inos = new Float64Array(slots);
    this.#counts = new Uint32Array(slots);
    for (const [from, ino] of inos.entries()) {
      if (ino === FREE) continue;
      const to = this.#slotOf(ino as Ino);
      this.#inos[to] = ino;
      this.#counts[to] = counts[from] ?? 0;
    }
  }
}
