/**
 * A CAR (version 1, https://ipld.io/specs/transport/car/carv1) that comes from strangers, block by
 * block.
 *
 * Invariants: a block is given when its bytes were hashed, and not before; nothing is held but the one
 * that is read; the stream ends without an error only between two blocks. That all blocks came is
 * nothing a CAR can say: who wants a DAG walks it.
 */
import { decode } from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import { OpError } from '../../base/errors.ts';
import { BLOCK_BYTES_MAX, CAR_CID_BYTES_MAX, CAR_HEADER_BYTES_MAX } from '../../base/limits.ts';
import { demandBytesOf } from '../verify.ts';

export interface Block {
  readonly cid: CID;
  readonly bytes: Uint8Array;
}

/** As much of what Kubo's gateway puts where the next block should be as a block of its length has. */
const GATEWAY_WORDS = '[Gateway E';
/** A length in a varint: seven bits of it a byte. */
const LENGTH_BYTES_MAX = 5;

/**
 * @throws OpError response-invalid: it is cut short, or no CAR; integrity,
 *   unsupported: a block is not what its CID says, or nobody here can tell; what `chunks` throws.
 */
export async function* blocksOfCar(
  chunks: AsyncIterable<Uint8Array>,
  op: string,
): AsyncGenerator<Block, void, undefined> {
  const pieces = new Pieces(chunks, op);
  try {
    const header = await pieces.section(CAR_HEADER_BYTES_MAX);
    if (header === undefined) throw noCar(op, 'it is empty');
    demandHeader(header, op);
    const sectionMax = BLOCK_BYTES_MAX + CAR_CID_BYTES_MAX;
    for (;;) {
      const section = await pieces.section(sectionMax);
      if (section === undefined) return;
      const block = blockIn(section, op);
      demandBytesOf(block.cid, block.bytes, op);
      yield block;
    }
  } finally {
    await pieces.end();
  }
}

/** What it says are roots is of no use: a gateway names there what a path leads to, Lassie where it begins. */
function demandHeader(bytes: Uint8Array, op: string): void {
  let header: unknown;
  try {
    header = decode(bytes);
  } catch (cause) {
    throw noCar(op, 'its header does not parse', cause);
  }
  const { version } = (header ?? {}) as { readonly version?: unknown };
  if (version !== 1) throw noCar(op, 'it is not of version 1');
}

function blockIn(section: Buffer, op: string): Block {
  if (section.toString('latin1', 0, GATEWAY_WORDS.length) === GATEWAY_WORDS) {
    throw noCar(op, 'the gateway could not go on');
  }
  try {
    const [cid, bytes] = CID.decodeFirst(section);
    return { cid, bytes };
  } catch (cause) {
    throw noCar(op, 'no CID stands where one should', cause);
  }
}

/** Bytes that come in pieces of any size, taken in sections that say how long they are. */
class Pieces {
  readonly #chunks: AsyncIterator<Uint8Array>;
  readonly #op: string;
  /** What came and was not taken yet. */
  #piece: Uint8Array = new Uint8Array();

  constructor(chunks: AsyncIterable<Uint8Array>, op: string) {
    this.#chunks = chunks[Symbol.asyncIterator]();
    this.#op = op;
  }

  /**
   * undefined: the stream ended before it. In memory of its own: who keeps a small block shall not
   * keep the large piece that it came in, and pieces may be as small as their sender likes.
   */
  async section(bytesMax: number): Promise<Buffer | undefined> {
    const length = await this.#varint();
    if (length === undefined) return undefined;
    if (length === 0 || length > bytesMax)
      throw noCar(this.#op, `a part of it has ${length} bytes`);
    const bytes = Buffer.allocUnsafeSlow(length);
    for (let filled = 0; filled < length; ) {
      if (!(await this.#hasMore())) throw noCar(this.#op, 'it is cut short');
      const part = this.#piece.subarray(0, length - filled);
      bytes.set(part, filled);
      filled += part.length;
      this.#piece = this.#piece.subarray(part.length);
    }
    return bytes;
  }

  /** Whoever sends the rest need not. */
  async end(): Promise<void> {
    await this.#chunks.return?.();
  }

  async #varint(): Promise<number | undefined> {
    let value = 0;
    for (let at = 0; at < LENGTH_BYTES_MAX; at++) {
      if (!(await this.#hasMore())) {
        if (at === 0) return undefined;
        throw noCar(this.#op, 'it is cut short');
      }
      const byte = this.#piece[0] ?? 0;
      this.#piece = this.#piece.subarray(1);
      value += (byte & 0x7f) * 2 ** (7 * at);
      if (byte < 0x80) return value;
    }
    throw noCar(this.#op, 'a length of it has no end');
  }

  async #hasMore(): Promise<boolean> {
    while (this.#piece.length === 0) {
      const { done, value } = await this.#chunks.next();
      if (done === true) return false;
      this.#piece = value;
    }
    return true;
  }
}

const noCar = (op: string, why: string, cause: unknown = undefined): OpError =>
  new OpError('response-invalid', op, { cause: new Error(`the CAR: ${why}`, { cause }) });
