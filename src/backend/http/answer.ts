/**
 * One answer of a service, read to its very end. HTTP 200 does not mean that all went well: a failure
 * in the middle of a stream comes in a trailer, or as a connection that is cut.
 *
 * Invariants: an answer that was begun is read whole or its connection is destroyed; what ends
 * without an error came whole; nothing is read beyond the bound the reader names.
 */
import type { IncomingMessage } from 'node:http';
import { OpError } from '../../base/errors.ts';
import { NODE_LINE_BYTES_MAX, NODE_REFUSAL_BYTES_MAX } from '../../base/limits.ts';
import { textOf } from './wire.ts';

const LINE_FEED = 0x0a;

/** The body that may still be on its way out while the answer comes in. */
export interface Uploading {
  /** What its source threw, which then is why the connection broke. */
  fault: { readonly error: unknown } | undefined;
}

/** What words in the trailer of a stream that failed mean to its service. */
export type LateFault = (words: string, op: string) => OpError;

interface Asked {
  readonly op: string;
  readonly lateFault: LateFault;
  /** Aborts with an OpError. */
  readonly signal: AbortSignal;
  readonly uploading: Uploading;
}

export class Answer implements Disposable {
  readonly #message: IncomingMessage;
  readonly #signal: AbortSignal;
  readonly #uploading: Uploading;
  readonly #op: string;
  readonly #lateFault: LateFault;
  #bytesRead = 0;

  constructor(message: IncomingMessage, { op, signal, uploading, lateFault }: Asked) {
    this.#message = message;
    this.#signal = signal;
    this.#uploading = uploading;
    this.#op = op;
    this.#lateFault = lateFault;
    message.on('error', () => {}); // Told by whoever reads; nobody may be reading yet.
  }

  get status(): number {
    return this.#message.statusCode ?? 0;
  }

  /**
   * The body as it comes, in pieces of any size.
   * @throws OpError response-invalid: it broke off, or is longer than `bytesMax`; what the table of
   *   faults makes of a trailer; the signal's reason; what the source of the upload threw.
   */
  async *chunks(bytesMax: number): AsyncGenerator<Buffer, void, undefined> {
    try {
      for await (const chunk of this.#message as AsyncIterable<Buffer>) {
        this.#bytesRead += chunk.length;
        if (this.#bytesRead > bytesMax) throw this.#invalid(`longer than ${bytesMax} bytes`);
        yield chunk;
      }
      this.#signal.throwIfAborted();
    } catch (error) {
      this.#signal.throwIfAborted();
      if (this.#uploading.fault !== undefined) throw this.#uploading.fault.error;
      throw error instanceof OpError ? error : this.#invalid('the connection broke', error);
    } finally {
      this[Symbol.dispose]();
    }
    this.#demandWhole();
  }

  /** @throws as `chunks`. */
  async bytes(bytesMax: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    for await (const chunk of this.chunks(bytesMax)) chunks.push(chunk);
    return chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks);
  }

  /** The lines, without line feeds and without empty ones. @throws as `chunks`. */
  async *lines(bytesMax: number): AsyncGenerator<string, void, undefined> {
    let pieces: Buffer[] = [];
    let length = 0;
    const line = (): string => {
      const text = textOf(Buffer.concat(pieces), this.#op).trim();
      [pieces, length] = [[], 0];
      return text;
    };
    for await (const chunk of this.chunks(bytesMax)) {
      let at = 0;
      for (let end = chunk.indexOf(LINE_FEED); end >= 0; end = chunk.indexOf(LINE_FEED, at)) {
        pieces.push(chunk.subarray(at, end));
        at = end + 1;
        const text = line();
        if (text !== '') yield text;
      }
      length += chunk.length - at;
      if (length > NODE_LINE_BYTES_MAX) throw this.#invalid('a line is too long');
      if (at < chunk.length) pieces.push(chunk.subarray(at));
    }
    const rest = line();
    if (rest !== '') yield rest;
  }

  /** By its name in lower case. Of one that came twice, the first. */
  header(name: string): string | undefined {
    const value = this.#message.headers[name];
    return typeof value === 'object' ? value[0] : value;
  }

  /**
   * The first so many bytes, or fewer: of a refusal that may be followed by anything.
   * @throws the signal's reason.
   */
  async beginning(bytesMax: number): Promise<Buffer> {
    const chunks: Buffer[] = [];
    let length = 0;
    try {
      for await (const chunk of this.chunks(Number.MAX_SAFE_INTEGER)) {
        chunks.push(chunk);
        length += chunk.length;
        if (length >= bytesMax) break;
      }
    } catch {
      this.#signal.throwIfAborted(); // Cut or not, it says what it says.
    }
    return Buffer.concat(chunks).subarray(0, bytesMax);
  }

  /** What a refusal says. @throws as `chunks`. */
  async refusal(): Promise<string> {
    return (await this.bytes(NODE_REFUSAL_BYTES_MAX)).toString('utf8').trim();
  }

  /** Nobody reads any further: what has not come yet never will. */
  [Symbol.dispose](): void {
    if (!this.#message.complete || !this.#message.readableEnded) this.#message.destroy();
  }

  #demandWhole(): void {
    const { complete, trailers, headers } = this.#message;
    const late = trailers['x-stream-error'];
    if (late !== undefined && late !== '') throw this.#lateFault(late, this.#op);
    if (!complete) throw this.#invalid('it was cut short');
    const said = headers['x-content-length'];
    // Kubo says so of what it sends in pieces; of HTTP's own length Node sees to itself.
    if (said !== undefined && Number(said) !== this.#bytesRead) {
      throw this.#invalid(`${this.#bytesRead} bytes came of ${said}`);
    }
  }

  #invalid(why: string, cause?: unknown): OpError {
    return new OpError('response-invalid', this.#op, { cause: cause ?? new Error(why) });
  }
}
