/**
 * Numbers that are never handed out twice (inodes, contents, cookies): a range is reserved in
 * `meta` at a time, so that a kill wastes numbers but never repeats one.
 */
import type { Database, Statement } from './sqlite.ts';

const RESERVED_AT_ONCE = 1024;

export type CounterName = 'ino' | 'content' | 'cookie' | 'write_session' | 'connection';

export class Counters {
  readonly #next = new Map<CounterName, { value: number; end: number }>();
  /** To be given out next, of those that were set aside. */
  readonly #offered = new Map<CounterName, number>();
  readonly #get: Statement;
  readonly #set: Statement;

  constructor(db: Database) {
    this.#get = db.prepare('SELECT value FROM meta WHERE key = ?').pluck();
    this.#set = db.prepare('INSERT OR REPLACE INTO meta VALUES (?, CAST(? AS INTEGER))');
  }

  /** All numbers that an earlier process gave out are below this one. */
  reserved(name: CounterName): number {
    return Number(this.#get.get(`next_${name}`) ?? 1);
  }

  /** The next number, from 1. Inside a transaction. */
  next(name: CounterName): number {
    const offered = this.#offered.get(name);
    if (offered !== undefined) {
      this.#offered.delete(name);
      return offered;
    }
    let range = this.#next.get(name);
    if (range === undefined || range.value >= range.end) {
      const value = range?.value ?? Number(this.#get.get(`next_${name}`) ?? 1);
      range = { value, end: value + RESERVED_AT_ONCE };
      this.#set.run(`next_${name}`, range.end);
      this.#next.set(name, range);
    }
    return range.value++;
  }

  /** So many numbers in a row, for who offers them later; the first of them. Inside a transaction. */
  setAside(name: CounterName, count: number): number {
    const first = this.reserved(name);
    this.#set.run(`next_${name}`, first + count);
    this.#next.delete(name);
    return first;
  }

  /** The next number is this one, which was set aside. Inside the transaction that takes it. */
  offer(name: CounterName, number: number): void {
    this.#offered.set(name, number);
  }

  /** The next number is so many higher. Inside a transaction. */
  skip(name: CounterName, count: number): void {
    const value = (this.#next.get(name)?.value ?? this.reserved(name)) + count;
    this.#set.run(`next_${name}`, value);
    this.#next.delete(name);
  }

  /** Numbers up to this one are never given out. Inside a transaction. */
  pass(name: CounterName, number: number): void {
    if (this.reserved(name) <= number) this.#set.run(`next_${name}`, number + 1);
    this.#next.delete(name);
  }

  /**
   * Reservations made in a transaction that was rolled back are void. The numbers it took are not
   * used again all the same: somebody may have made a file by that number.
   */
  forget(): void {
    this.#offered.clear();
    for (const range of this.#next.values()) range.end = range.value;
  }
}
