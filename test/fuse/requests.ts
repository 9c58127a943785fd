/**
 * Requests as the kernel writes them and replies as it reads them, byte by byte from <linux/fuse.h>,
 * and a channel that carries them. Nothing here is taken from the code under test.
 */
import type { Channel } from '../../src/base/native.ts';

export interface RequestFields {
  readonly unique?: bigint;
  readonly nodeid?: bigint | number;
  readonly uid?: number;
  readonly gid?: number;
  readonly pid?: number;
  readonly body?: readonly Buffer[];
  /** What the header says its length is, when that is not the truth. */
  readonly len?: number;
  /** In units of 8 bytes. */
  readonly extensions?: number;
}

export function request(opcode: number, fields: RequestFields = {}): Buffer {
  const body = Buffer.concat(fields.body ?? []);
  const header = Buffer.alloc(40);
  header.writeUInt32LE(fields.len ?? 40 + body.length, 0);
  header.writeUInt32LE(opcode, 4);
  header.writeBigUInt64LE(fields.unique ?? 2n, 8);
  header.writeBigUInt64LE(BigInt(fields.nodeid ?? 1), 16);
  header.writeUInt32LE(fields.uid ?? 0, 24);
  header.writeUInt32LE(fields.gid ?? 0, 28);
  header.writeUInt32LE(fields.pid ?? 0, 32);
  header.writeUInt16LE(fields.extensions ?? 0, 36);
  return Buffer.concat([header, body]);
}

export const u32 = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, index * 4);
  return bytes;
};

export const u64 = (...values: (bigint | number)[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 8);
  for (const [index, value] of values.entries()) {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, BigInt(value)), index * 8);
  }
  return bytes;
};

/** A string with its NUL. */
export const text = (value: string): Buffer => Buffer.from(`${value}\0`, 'latin1');

/** FUSE_NO_OPENDIR_SUPPORT. */
const NO_OPENDIR = 1 << 24;
/** Everything but that, as kernels before 5.1 have it. */
export const OPENS_DIRECTORIES = (0xffff_ffff & ~NO_OPENDIR) >>> 0;

/** INIT of protocol 7.`minor`, offering `flags` and `flags2`. */
export const init = (minor: number, flags = 0xffff_ffff, flags2 = 0xffff_ffff): Buffer =>
  request(26, { body: [u32(7, minor, 131_072, flags, flags2), Buffer.alloc(44)] });

/** `fuse_out_header`. */
export interface Answer {
  readonly unique: bigint;
  /** 0 or a positive errno. */
  readonly errno: number;
  readonly body: Buffer;
}

/** Reads a reply, and demands what fuse_dev_do_write of the kernel demands. */
export function answer(message: Buffer): Answer {
  const len = message.readUInt32LE(0);
  const error = message.readInt32LE(4);
  if (len !== message.length) throw new Error(`a reply of ${message.length} bytes says ${len}`);
  if (error > 0 || error <= -512) throw new Error(`error ${error} in a reply`);
  if (error !== 0 && len !== 16) throw new Error('an error with a body');
  return {
    unique: message.readBigUInt64LE(8),
    errno: error === 0 ? 0 : -error,
    body: message.subarray(16),
  };
}

/** Takes requests from a test and keeps the replies to them. */
export class HandChannel implements Channel {
  readonly arena = Buffer.alloc(4 * 1024 * 1024);
  readonly spans = new Uint32Array(128);
  readonly answers: Answer[] = [];
  /** How many were written by each `replyMany`. */
  readonly writes: number[] = [];
  isClosed = false;
  /** The result of a write of this reply; a test may make it fail. */
  takes: (reply: Answer) => number = () => 0;

  /** Lays the requests into the arena as the native channel does; how many there are. */
  lay(requests: readonly Buffer[]): number {
    let at = 0;
    for (const [index, bytes] of requests.entries()) {
      bytes.copy(this.arena, at);
      this.spans[index * 2] = at;
      this.spans[index * 2 + 1] = bytes.length;
      at += Math.ceil(bytes.length / 8) * 8;
    }
    return requests.length;
  }

  reply(buffer: Uint8Array, offset: number, length: number): number {
    const reply = answer(Buffer.from(buffer.subarray(offset, offset + length)));
    const errno = this.takes(reply);
    if (errno === 0) this.answers.push(reply);
    return errno;
  }

  replyMany(buffer: Uint8Array, spans: Uint32Array, count: number): number {
    this.writes.push(count);
    let failed = 0;
    for (let index = 0; index < count; index++) {
      const errno = this.reply(buffer, spans[index * 2] ?? 0, spans[index * 2 + 1] ?? 0);
      spans[index * 2 + 1] = errno;
      if (errno !== 0 && errno !== 2) failed += 1;
    }
    return failed;
  }

  replyWithBytes(): number {
    throw new Error('not used by the session');
  }

  close(): void {
    this.isClosed = true;
  }

  /** The only answer to a request. */
  answerTo(unique: bigint): Answer {
    const found = this.answers.filter((candidate) => candidate.unique === unique);
    const [only] = found;
    if (only === undefined || found.length > 1) {
      throw new Error(`${found.length} answers to request ${unique}`);
    }
    return only;
  }
}
