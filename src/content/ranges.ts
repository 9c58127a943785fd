/** Which bytes of an object are here: ranges that neither overlap nor touch, in ascending order. Pure. */

interface Range {
  from: number;
  to: number;
}

export class Ranges {
  readonly #ranges: Range[] = [];
  #total = 0;

  /** Bytes in all of them. */
  get total(): number {
    return this.#total;
  }

  /** Adds [from, to); what is there already is not counted twice. */
  add(from: number, to: number): void {
    if (from >= to) return;
    const first = this.#firstEndingFrom(from);
    let last = first;
    const whole = { from, to };
    for (let at = first; at < this.#ranges.length; at += 1) {
      const range = this.#ranges[at];
      if (range === undefined || range.from > to) break;
      whole.from = Math.min(whole.from, range.from);
      whole.to = Math.max(whole.to, range.to);
      this.#total -= range.to - range.from;
      last = at + 1;
    }
    this.#ranges.splice(first, last - first, whole);
    this.#total += whole.to - whole.from;
  }

  /** Whether every byte of [from, to) is in them; of no bytes they all are. */
  covers(from: number, to: number): boolean {
    if (from >= to) return true;
    const range = this.#ranges[this.#firstEndingFrom(from + 1)];
    return range !== undefined && range.from <= from && range.to >= to;
  }

  /** Index of the first range that ends at `position` or behind it. */
  #firstEndingFrom(position: number): number {
    let [low, high] = [0, this.#ranges.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#ranges[middle]?.to ?? 0) < position) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
