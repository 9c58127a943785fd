/**
 * NDJSON framing: one JSON value per line, bounded. No protocol here: the daemon and the stdio
 * bridge both stand on it.
 *
 * Invariants: a byte is looked at once, however many chunks a frame comes in; memory held is at
 * most one frame.
 */
import { OpError } from '../base/errors.ts';
import { FRAME_BYTES_MAX } from '../base/limits.ts';

const NEWLINE = 0x0a;

/** Joins chunks to frames. */
export class FrameReader {
  readonly #bytesMax: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(bytesMax = FRAME_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /**
   * Hands over every frame that `chunk` completes, in order, without its newline; empty lines are
   * none. The chunk is kept, not copied.
   * @throws OpError payload-too-large: the rest of the stream cannot be framed any more.
   */
  push(chunk: Buffer, take: (frame: Buffer) => void): void {
    let from = 0;
    for (;;) {
      const newline = chunk.indexOf(NEWLINE, from);
      const end = newline === -1 ? chunk.length : newline;
      if (this.#bytes + end - from > this.#bytesMax) {
        this.#chunks = [];
        throw new OpError('payload-too-large', 'read a frame', {
          details: { partial: { max: this.#bytesMax } },
        });
      }
      if (end > from) this.#chunks.push(chunk.subarray(from, end));
      this.#bytes += end - from;
      if (newline === -1) return;
      const frame = this.#take();
      if (frame !== undefined) take(frame);
      from = newline + 1;
    }
  }

  #take(): Buffer | undefined {
    const [first, ...rest] = this.#chunks;
    const frame = rest.length === 0 ? first : Buffer.concat(this.#chunks, this.#bytes);
    this.#chunks = [];
    this.#bytes = 0;
    return frame === undefined || isBlank(frame) ? undefined : frame;
  }
}

/** A line end of CR LF, or spaces between frames. */
const isBlank = (frame: Buffer): boolean => frame.length <= 2 && frame.toString().trim() === '';

/** JSON → value; undefined, which no JSON stands for, when it is malformed. */
export function parseFrame(frame: Buffer): unknown {
  try {
    return JSON.parse(frame.toString('utf8'));
  } catch {
    return undefined;
  }
}

/** Value → frame, with its newline. */
export const frameOf = (value: unknown): string => `${JSON.stringify(value)}\n`;

/** Ours, in the range that JSON-RPC leaves to servers: who asks may not, and need not ask again. */
export const REFUSED = -32_001;
/** `_meta` key of `initialize` under which a client presents a token. */
export const TOKEN_META = 'kitfs/token';

export type RequestId = string | number;

/** An object of JSON, whatever it holds. */
export type JsonObject = Readonly<Record<string, unknown>>;

export const isJsonObject = (value: unknown): value is JsonObject =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The id of a message, when it has one that JSON-RPC allows. */
export function idOf(message: JsonObject): RequestId | undefined {
  const id = message['id'];
  return typeof id === 'string' || Number.isInteger(id) ? (id as RequestId) : undefined;
}
