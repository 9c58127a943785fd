/**
 * The row of `answer`: what the requests of the last group were answered that changed something and
 * left no record (a write: its record comes with the end of its session). The answers of every
 * group before it have reached the kernel, because a group begins when those of the last one have.
 */
import type { RequestId } from './ops.ts';
import type { Database, Statement } from './sqlite.ts';

export interface Answer {
  readonly request: RequestId;
  readonly reply: Buffer;
}

/** Before each reply: halves of the request's number, the low one first, and the reply's bytes. */
const HEADER_BYTES = 12;
const TWO_TO_32 = 2 ** 32;

export class Answers {
  readonly #put: Statement;
  readonly #generation: number;
  /** Of an earlier daemon, by the number of the request. */
  readonly #found = new Map<number, Buffer>();

  constructor(db: Database) {
    this.#put = db.prepare('INSERT OR REPLACE INTO answer VALUES (1, ?, ?)');
    const row = db.prepare('SELECT generation, replies FROM answer').get() as
      | { readonly generation: number; readonly replies: Buffer }
      | undefined;
    this.#generation = row?.generation ?? 0;
    if (row !== undefined) this.#read(row.replies);
  }

  /** Inside the transaction of the group. All are of one connection. */
  put(answers: readonly Answer[]): void {
    const parts = answers.flatMap(({ request: { unique }, reply }) => {
      const header = Buffer.allocUnsafe(HEADER_BYTES);
      header.writeUInt32LE(unique % TWO_TO_32, 0);
      header.writeUInt32LE(Math.floor(unique / TWO_TO_32), 4);
      header.writeUInt32LE(reply.length, 8);
      return [header, reply];
    });
    this.#put.run(answers[0]?.request.generation, Buffer.concat(parts));
  }

  /** What the daemon before this one answered, or was about to. */
  find({ generation, unique }: RequestId): Buffer | undefined {
    return generation === this.#generation ? this.#found.get(unique) : undefined;
  }

  #read(replies: Buffer): void {
    for (let at = 0; at + HEADER_BYTES <= replies.length; ) {
      const unique = replies.readUInt32LE(at + 4) * TWO_TO_32 + replies.readUInt32LE(at);
      const end = at + HEADER_BYTES + replies.readUInt32LE(at + 8);
      this.#found.set(unique, replies.subarray(at + HEADER_BYTES, end));
      at = end;
    }
  }
}
