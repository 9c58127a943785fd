/**
 * Bytes on their way into a store: counted, hashed, held to what was announced of them, and cut into
 * parts. Each source is read once, and told when nobody wants the rest.
 */
import { createHash } from 'node:crypto';
import { before } from '../base/before.ts';
import { OpError } from '../base/errors.ts';
import type { Deadline } from './deadline.ts';
import type { PutOptions } from './store.ts';

/** Of an object whose size nobody knows. */
const FIRST_BYTES = 64 * 1024;

export interface Measured {
  readonly size: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

export class Incoming {
  readonly #source: AsyncIterator<Uint8Array>;
  readonly #hash = createHash('sha256');
  readonly #announced: Pick<PutOptions, 'size' | 'sha256'>;
  readonly #bytesMax: number;
  readonly #deadline: Deadline;
  /** Came, and goes into the next part. */
  #rest: Uint8Array = new Uint8Array();
  #size = 0;
  #isOver = false;
  #isAsked = false;

  constructor(
    bytes: AsyncIterable<Uint8Array>,
    announced: Pick<PutOptions, 'size' | 'sha256'>,
    { bytesMax, deadline }: { readonly bytesMax: number; readonly deadline: Deadline },
  ) {
    this.#source = bytes[Symbol.asyncIterator]();
    this.#announced = announced;
    this.#bytesMax = bytesMax;
    this.#deadline = deadline;
  }

  /** Whether all has come and was given. */
  get isOver(): boolean {
    return this.#isOver && this.#rest.length === 0;
  }

  /**
   * Pieces as they come.
   * @throws OpError file-too-large, integrity, the signal's reason, what the source throws.
   */
  async *pieces(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let piece = await this.#next(); piece !== undefined; piece = await this.#next()) {
      yield piece;
    }
  }

  /**
   * The next `bytes` of it, fewer only at its end. Two calls must not overlap.
   * @throws as `pieces`.
   */
  async part(bytes: number): Promise<Buffer> {
    let taken: Buffer = Buffer.allocUnsafe(Math.min(bytes, this.#announced.size ?? FIRST_BYTES));
    let length = 0;
    while (length < bytes) {
      const piece = this.#rest.length > 0 ? this.#rest : await this.#next();
      if (piece === undefined) break;
      const fits = piece.subarray(0, bytes - length);
      taken = withRoom(taken, length, length + fits.length, bytes);
      // Copied at once: whoever gave the piece may use its memory again.
      taken.set(fits, length);
      length += fits.length;
      this.#rest = piece.subarray(fits.length);
    }
    return taken.subarray(0, length);
  }

  /**
   * Looks one piece ahead: afterwards `isOver` says whether there is more.
   * @throws as `pieces`.
   */
  async peek(): Promise<void> {
    while (this.#rest.length === 0 && !this.#isOver) {
      const piece = await this.#next();
      if (piece !== undefined) this.#rest = Buffer.from(piece);
    }
  }

  /** What came, once all has. @throws OpError integrity: it is not what was announced. */
  measured(): Measured {
    const { size, sha256 } = this.#announced;
    const found = { size: this.#size, sha256: this.#hash.copy().digest('hex') };
    if (size !== undefined && size !== found.size) throw this.#other({ size }, found);
    if (sha256 !== undefined && sha256 !== found.sha256) throw this.#other({ sha256 }, found);
    return found;
  }

  /** Tells the source that nobody wants the rest; after its end that changes nothing. */
  async end(): Promise<void> {
    if (this.#isOver) return;
    this.#isOver = true;
    const told = Promise.resolve(this.#source.return?.()).catch(() => {});
    // A generator that still owes an answer hears of it only when it has given that.
    if (!this.#isAsked) await told;
  }

  async #next(): Promise<Uint8Array | undefined> {
    if (this.#isOver) return undefined;
    this.#isAsked = true;
    // A source that gives nothing any more must not outlast the call.
    const { done, value } = await before(this.#source.next(), this.#deadline.signal);
    this.#isAsked = false;
    this.#deadline.moved();
    if (done === true) {
      this.#isOver = true;
      return undefined;
    }
    this.#size += value.length;
    this.#hash.update(value);
    const { size } = this.#announced;
    // More than was announced: no need to read to the end of what may have none.
    if (size !== undefined && this.#size > size) throw this.#other({ size }, { size: this.#size });
    if (this.#size > this.#bytesMax) {
      const hint = `the store takes at most ${this.#bytesMax} bytes`;
      throw new OpError('file-too-large', this.#deadline.op, { hint });
    }
    return value;
  }

  #other(announced: unknown, found: unknown): OpError {
    const hint = 'what came is not what was announced; nothing was stored';
    return new OpError('integrity', this.#deadline.op, { hint, details: { announced, found } });
  }
}

/** The bytes so far with room for more: twice as much each time, never more than the whole part. */
function withRoom(bytes: Buffer, used: number, needed: number, whole: number): Buffer {
  if (needed <= bytes.length) return bytes;
  const larger = Buffer.allocUnsafe(Math.min(whole, Math.max(needed, bytes.length * 2)));
  bytes.copy(larger, 0, 0, used);
  return larger;
}
