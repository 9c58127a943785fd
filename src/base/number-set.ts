/** A set of numbers from 0, a bit for each; those that are given out together take little room. */
const BITS_PER_PAGE = 2 ** 15;

export class NumberSet {
  readonly #pages = new Map<number, Uint8Array>();

  has(number: number): boolean {
    const at = number % BITS_PER_PAGE;
    const page = this.#pages.get((number - at) / BITS_PER_PAGE);
    return page !== undefined && ((page[at >> 3] ?? 0) & (1 << (at & 7))) !== 0;
  }

  /** Whether it is new. */
  add(number: number): boolean {
    if (this.has(number)) return false;
    const at = number % BITS_PER_PAGE;
    const key = (number - at) / BITS_PER_PAGE;
    const page = this.#pages.get(key) ?? new Uint8Array(BITS_PER_PAGE / 8);
    this.#pages.set(key, page);
    page[at >> 3] = (page[at >> 3] ?? 0) | (1 << (at & 7));
    return true;
  }

  /** Those of before may come in any order; what is added meanwhile may be missed. */
  *values(): Generator<number> {
    for (const [key, page] of this.#pages) {
      for (const [byte, bits] of page.entries()) {
        if (bits === 0) continue;
        for (let bit = 0; bit < 8; bit += 1) {
          if ((bits & (1 << bit)) !== 0) yield key * BITS_PER_PAGE + byte * 8 + bit;
        }
      }
    }
  }
}
