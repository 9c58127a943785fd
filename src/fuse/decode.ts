/**
 * Reads one request where it lies in the arena. Nothing is copied but names, and nothing outside
 * the request is ever read: each accessor checks that its field lies inside. A request that is not
 * of its form throws `OpError('invalid')`, which becomes EINVAL.
 *
 * One object serves all requests, one after another: what an operation needs after it has returned
 * it takes before.
 */
import { OpError } from '../base/errors.ts';
import type { Fh, Ino, Name } from '../base/ids.ts';
import {
  BATCH_FORGET_IN,
  FORGET_IN,
  FORGET_ONE,
  IN_HEADER,
  OP,
  UNIQUE_RESEND_HIGH,
} from './layout.ts';

const TWO_TO_32 = 2 ** 32;

/** In requests that are about no inode. */
const NO_INO = 0;
const UNANSWERED: ReadonlySet<number> = new Set([OP.forget, OP.batchForget, OP.interrupt]);

const malformed = (what: string): OpError => new OpError('invalid', `read request: ${what}`);

export class Request {
  opcode = 0;
  /** The inode the request is about; 0 in requests that are about none. */
  ino = 0 as Ino;
  uid = 0;
  gid = 0;
  /** The thread that asks; 0 when the kernel asks for itself, or from outside our pid namespace. */
  pid = 0;
  /** Halves of the request's number as the reply must repeat them, resend bit included. */
  uniqueLow = 0;
  uniqueHigh = 0;
  #bytes: Buffer = Buffer.alloc(0);
  #view: DataView = new DataView(new ArrayBuffer(0));
  #body = 0;
  #end = 0;

  /**
   * Takes the request at [offset, offset + length) of `bytes`. `opcode`, `uniqueLow` and
   * `uniqueHigh` are set when the header is there, even if this throws.
   * @throws OpError invalid: not a whole request.
   */
  load(bytes: Buffer, offset: number, length: number): void {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    this.opcode = 0;
    this.uniqueLow = 0;
    this.uniqueHigh = 0;
    if (length < IN_HEADER.bytes || offset + length > bytes.length) throw malformed('no header');
    const view = this.#view;
    this.opcode = view.getUint32(offset + IN_HEADER.opcode, true);
    this.uniqueLow = view.getUint32(offset + IN_HEADER.unique, true);
    this.uniqueHigh = view.getUint32(offset + IN_HEADER.unique + 4, true);
    this.uid = view.getUint32(offset + IN_HEADER.uid, true);
    this.gid = view.getUint32(offset + IN_HEADER.gid, true);
    this.pid = view.getUint32(offset + IN_HEADER.pid, true);
    // Extensions follow the body; none is negotiated, and none may be taken for a part of it.
    const extensionBytes = view.getUint16(offset + IN_HEADER.totalExtlen, true) * 8;
    this.#body = offset + IN_HEADER.bytes;
    this.#end = offset + length - extensionBytes;
    if (view.getUint32(offset + IN_HEADER.len, true) !== length) throw malformed('length');
    if (this.#end < this.#body) throw malformed('extensions');
    this.ino = this.#exact(offset + IN_HEADER.nodeid) as Ino;
  }

  /** Whether the kernel sent the request before, to a daemon that died. */
  get isResent(): boolean {
    return this.uniqueHigh >= UNIQUE_RESEND_HIGH;
  }

  /** Whether somebody waits: of these opcodes nobody does, nor of a request without a number. */
  get expectsAnswer(): boolean {
    const isNumbered = this.uniqueLow !== 0 || this.uniqueHigh !== 0;
    return isNumbered && !UNANSWERED.has(this.opcode);
  }

  /** The request's number without the resend bit. */
  get unique(): number {
    return (this.uniqueHigh % UNIQUE_RESEND_HIGH) * TWO_TO_32 + this.uniqueLow;
  }

  /** Bytes behind the header. */
  get bodyBytes(): number {
    return this.#end - this.#body;
  }

  u32(at: number): number {
    return this.#view.getUint32(this.#field(at, 4), true);
  }

  /** Unsigned; above 2^53 the value is rounded, which only a bound check may see. */
  u64(at: number): number {
    const from = this.#field(at, 8);
    const view = this.#view;
    return view.getUint32(from + 4, true) * TWO_TO_32 + view.getUint32(from, true);
  }

  /** Signed, for seconds. */
  i64(at: number): number {
    const from = this.#field(at, 8);
    const view = this.#view;
    return view.getInt32(from + 4, true) * TWO_TO_32 + view.getUint32(from, true);
  }

  /** A number this server handed out. @throws OpError invalid: it never did. */
  inoAt(at: number): Ino {
    return this.#exact(this.#field(at, 8)) as Ino;
  }

  fh(at: number): Fh {
    return this.#exact(this.#field(at, 8)) as Fh;
  }

  /** A position in a directory, as handed out with an entry. */
  cookie(at: number): number {
    return this.#exact(this.#field(at, 8));
  }

  /** Nanoseconds. @throws OpError invalid: a second or more. */
  nanoseconds(at: number): number {
    const ns = this.u32(at);
    if (ns > 999_999_999) throw malformed('nanoseconds');
    return ns;
  }

  /** The `unique` that is written at `at`, without the resend bit. */
  uniqueAt(at: number): number {
    const from = this.#field(at, 8);
    const high = this.#view.getUint32(from + 4, true) % UNIQUE_RESEND_HIGH;
    return high * TWO_TO_32 + this.#view.getUint32(from, true);
  }

  /** The string that begins at `at` and ends with its NUL inside the request; not empty. */
  text(at: number): Name {
    const from = this.#field(at, 1);
    const nul = this.#bytes.indexOf(0, from);
    if (nul < 0 || nul >= this.#end) throw malformed('no end of string');
    if (nul === from) throw malformed('empty string');
    return this.#bytes.toString('latin1', from, nul) as Name;
  }

  /** A name in a directory. */
  name(at: number): Name {
    const name = this.text(at);
    if (name.includes('/')) throw malformed('name');
    return name;
  }

  /** All from `at` to the end, which must be `length` bytes. A view: valid until the next drain. */
  bytes(at: number, length: number): Buffer {
    if (at > this.bodyBytes || this.bodyBytes - at !== length) throw malformed('bytes');
    return this.#bytes.subarray(this.#body + at, this.#end);
  }

  /** References given back by FORGET or BATCH_FORGET. */
  forgets(give: (ino: Ino, count: number) => void): void {
    const giveBack = (ino: Ino, count: number) => {
      if (ino === NO_INO) throw malformed('forget');
      give(ino, count);
    };
    if (this.opcode === OP.forget) {
      giveBack(this.ino, this.u64(FORGET_IN.nlookup));
      return;
    }
    const count = this.u32(BATCH_FORGET_IN.count);
    for (let i = 0; i < count; i++) {
      const at = BATCH_FORGET_IN.bytes + i * FORGET_ONE.bytes;
      giveBack(this.inoAt(at + FORGET_ONE.nodeid), this.u64(at + FORGET_ONE.nlookup));
    }
  }

  #field(at: number, bytes: number): number {
    if (at + bytes > this.#end - this.#body) throw malformed('too short');
    return this.#body + at;
  }

  #exact(from: number): number {
    const value = this.#view.getUint32(from + 4, true) * TWO_TO_32;
    const whole = value + this.#view.getUint32(from, true);
    if (!Number.isSafeInteger(whole)) throw malformed('number');
    return whole;
  }
}
