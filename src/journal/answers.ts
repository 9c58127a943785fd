/**
 * The row of `answer`: what the requests of the last group were answered that changed something and
 * left no record (a write: its record comes with the end of its session). The answers of every
 * group before it have reached the kernel, because a group begins when those of the last one have.
 *
 * But for those that are held back, which are kept beside the new ones until they have (`owe`), and
 * those of an earlier daemon: as long as the kernel sends again what that one was asked, all
 * of them are kept beside the new ones, for a daemon after this one. They come first, and in a row.
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
  /** Held back, by the number of the request. */
  readonly #owed = new Map<number, Answer>();
  /** Whether requests were sent again since the last answers were put. */
  #isResending = true;

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
    const generation = answers[0]?.request.generation;
    const isAsked = this.#isResending && generation === this.#generation;
    this.#isResending = false;
    const found = isAsked ? [...this.#found].map(([unique, reply]) => partsOf(unique, reply)) : [];
    const made = [...this.#owed.values(), ...answers].map(({ request: { unique }, reply }) =>
      partsOf(unique, reply),
    );
    this.#put.run(generation, Buffer.concat([...found, ...made].flat()));
  }

  owe(answer: Answer): void {
    this.#owed.set(answer.request.unique, answer);
  }

  paid({ unique }: RequestId): void {
    this.#owed.delete(unique);
  }

  /** What the daemon before this one answered, or was about to. */
  find({ generation, unique }: RequestId): Buffer | undefined {
    this.#isResending = true;
    return generation === this.#generation ? this.#found.get(unique) : undefined;
  }

  #read(replies: Buffer): void {
    for (const { at, unique, end } of wholeReplies(replies)) {
      this.#found.set(unique, replies.subarray(at + HEADER_BYTES, end));
    }
  }
}

interface Place {
  readonly at: number;
  readonly unique: number;
  /** Where the next one begins. */
  readonly end: number;
}

/** Where the replies of a row lie, up to the first that is cut short: half of one is no answer. */
function* wholeReplies(replies: Buffer): Generator<Place> {
  for (let at = 0; at + HEADER_BYTES <= replies.length; ) {
    const unique = replies.readUInt32LE(at + 4) * TWO_TO_32 + replies.readUInt32LE(at);
    const end = at + HEADER_BYTES + replies.readUInt32LE(at + 8);
    if (end > replies.length) return;
    yield { at, unique, end };
    at = end;
  }
}

/** The replies of a row that are whole. */
export function whole(replies: Buffer): Buffer {
  let length = 0;
  for (const { end } of wholeReplies(replies)) length = end;
  return replies.subarray(0, length);
}

function partsOf(unique: number, reply: Buffer): [header: Buffer, reply: Buffer] {
  const header = Buffer.allocUnsafe(HEADER_BYTES);
  header.writeUInt32LE(unique % TWO_TO_32, 0);
  header.writeUInt32LE(Math.floor(unique / TWO_TO_32), 4);
  header.writeUInt32LE(reply.length, 8);
  return [header, reply];
}
