/**
 * Calls that are sent again. Whoever loses the connection before the answer cannot know whether the
 * call was run; so it names each call by a key, and sends it again under the same one.
 *
 * Invariants: of all calls of one principal under one key, one at most changes anything; its answer
 * lies in the journal with the change, and every other one gets it; while one is at work the others
 * wait; a key stands for one call, unless that failed: nothing is kept of it, and the key is free;
 * nobody learns of another principal's keys.
 */
import { hash } from 'node:crypto';
import { OpError } from '../base/errors.ts';
import { CALL_KEY_BYTES_MAX } from '../base/limits.ts';
import type { Journal } from '../journal/journal.ts';
import type { JobView } from './jobs.ts';
import { objectIn } from './kept-jobs.ts';
import type { RecordResult } from './tool.ts';

/** Where a caller puts the key: in `_meta` of the call. */
export const IDEMPOTENCY_META = 'kitfs/idempotency';

/** One call by its key. */
export interface Ticket {
  readonly principal: string;
  readonly key: string;
  readonly digest: Buffer;
}

/** An answer as it was given, but for the time it took. */
export interface KeptAnswer extends RecordResult<unknown> {
  readonly request_id: string;
}

/** A kept answer, and the call it belongs to. */
export interface KeptCall {
  readonly digest: Buffer;
  readonly answer: KeptAnswer;
}

/** Answers that last as long as the changes they tell of. */
export interface KeptCalls {
  /** @throws OpError journal-corrupt: it was answered, and nobody knows what. */
  find(principal: string, key: string): KeptCall | undefined;
  /**
   * Inside the transaction of the change: `answer` is asked when all its rows and records are
   * written, and kept if the transaction is committed.
   */
  keep(ticket: Ticket, answer: (seq: number | undefined) => KeptAnswer): void;
}

/**
 * That a row is there says that the call was done, also when its answer cannot be read.
 * @throws OpError journal-corrupt.
 */
function answerIn(text: string): KeptAnswer {
  const answer = objectIn(text);
  if (typeof answer?.['request_id'] === 'string' && answer['data'] !== undefined) {
    return answer as unknown as KeptAnswer;
  }
  throw new OpError('journal-corrupt', 'answer a call again', {
    hint: 'the call was done, and is not done again; what it was answered is lost',
  });
}

/** The table `tool_call`. */
export class JournaledCalls implements KeptCalls {
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  find(principal: string, key: string): KeptCall | undefined {
    const row = this.#journal.toolCalls.find(principal, key);
    if (row === undefined) return undefined;
    return { digest: row.digest, answer: answerIn(row.answer) };
  }

  keep(ticket: Ticket, answer: (seq: number | undefined) => KeptAnswer): void {
    // Of what frees space it is a part, and of anything else it does not make one.
    this.#journal.commitFreeing((tx) => {
      tx.lastly((seq) => {
        const text = JSON.stringify(answer(seq));
        this.#journal.toolCalls.insert({ ...ticket, timeS: tx.now.s, answer: text });
      });
    });
  }
}

/**
 * The ticket of a call. The digest is of the arguments as they came: what they are filled up with
 * may be other values in the next version of kitfs, which may be the one that is asked again.
 * @throws OpError invalid-argument.
 */
export function ticketOf(
  tool: string,
  { principal, key, values }: { principal: string; key: unknown; values: unknown },
): Ticket {
  const isText = typeof key === 'string';
  if (!isText || key === '' || Buffer.byteLength(key) > CALL_KEY_BYTES_MAX) {
    const reason = isText ? 'range' : 'type';
    throw wrongKey(tool, reason, `text of 1 to ${CALL_KEY_BYTES_MAX} bytes`);
  }
  const text = JSON.stringify([tool, values], (_, value: unknown) => inOrder(value));
  return { principal, key, digest: hash('sha256', text, 'buffer') };
}

/** Objects that differ only in the order of their members are the same. */
function inOrder(value: unknown): unknown {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).sort(([one], [other]) => (one < other ? -1 : 1)));
}

/** @returns OpError invalid-argument. */
export const wrongKey = (tool: string, reason: string, expected: string): OpError =>
  new OpError('invalid-argument', `${tool} with a key`, {
    details: { issues: [{ argument: `_meta.${IDEMPOTENCY_META}`, reason, expected }] },
  });

/** A call at work under its key. */
export class RunningCall {
  readonly digest: Buffer;
  /** Resolves when nothing of it can change anything any more. */
  readonly ended: Promise<void>;
  /** Gives its job to somebody, if it is one; from then on the job outlives the daemon. */
  handOut: (() => JobView) | undefined;
  /** Somebody else was given the job. */
  isJobShared = false;
  #end: () => void = () => {};
  #isAtWork = false;

  constructor(digest: Buffer, onEnd: () => void) {
    this.digest = digest;
    this.ended = new Promise((resolve) => {
      this.#end = () => {
        onEnd();
        resolve();
      };
    });
  }

  /** It ends with the work, which may go on after the call was answered. */
  began(work: Promise<unknown>): void {
    this.#isAtWork = true;
    work.then(this.#end, this.#end);
  }

  /** The call that began it has its answer, perhaps without any work. */
  answered(): void {
    if (!this.#isAtWork) this.#end();
  }
}

export class Repeats {
  readonly #kept: KeptCalls;
  readonly #running = new Map<string, RunningCall>();

  constructor(kept: KeptCalls) {
    this.#kept = kept;
  }

  /** @throws OpError invalid-argument: the key belongs to another call. */
  running(tool: string, ticket: Ticket): RunningCall | undefined {
    const running = this.#running.get(nameOf(ticket));
    demandSame(tool, ticket, running?.digest);
    return running;
  }

  /** @throws OpError invalid-argument: the key belongs to another call; journal-corrupt. */
  kept(tool: string, ticket: Ticket): KeptAnswer | undefined {
    const kept = this.#kept.find(ticket.principal, ticket.key);
    demandSame(tool, ticket, kept?.digest);
    return kept?.answer;
  }

  /** Right after both others gave nothing. */
  begin(ticket: Ticket): RunningCall {
    const name = nameOf(ticket);
    const running = new RunningCall(ticket.digest, () => this.#running.delete(name));
    this.#running.set(name, running);
    return running;
  }

  /** See `KeptCalls.keep`. */
  keep(ticket: Ticket, answer: (seq: number | undefined) => KeptAnswer): void {
    this.#kept.keep(ticket, answer);
  }
}

const nameOf = ({ principal, key }: Ticket): string => JSON.stringify([principal, key]);

function demandSame(tool: string, { digest }: Ticket, known: Buffer | undefined): void {
  if (known === undefined || known.equals(digest)) return;
  throw wrongKey(tool, 'combination', 'the arguments it was first used with, or another key');
}
