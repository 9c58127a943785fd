/**
 * Requests whose answer must be waited for. Each is answered exactly once: with its result, or
 * before that because the client was interrupted (EINTR), or the deadline passed (EIO); to an
 * unhurried one, which waits for the disk, neither happens, and a patient one has no deadline.
 * What comes after is dropped, and what it handed out is taken back.
 *
 * However many wait, none is refused for it: a client would take that for lost bytes. There are no
 * more of them than threads that wait, and each holds little more than a header, but for those that
 * read content by CID. These begin in turn, and a number of them at once.
 */
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { FUSE_CID_READS_MAX, FUSE_REQUEST_MS_MAX } from '../base/limits.ts';
import { Turns } from '../base/turns.ts';
import type { Reply } from './encode.ts';
import type { Deferred } from './operation.ts';

/** One of them, from the call that returned a promise until that promise has settled. */
export interface Wait {
  readonly unique: number;
  readonly reply: Reply;
  /** Under way already, or begun when it is its turn. */
  readonly result: Promise<void> | Deferred;
  /** Whether it may take as long as it takes, whatever signal comes. */
  readonly isUnhurried: boolean;
  /** Whether it may take as long as nobody interrupts it. */
  readonly isPatient?: boolean;
  /** To be aborted when it is answered, if the operation asked for its signal. */
  readonly answered?: AbortController | undefined;
}

/** What becomes of an answer. */
export interface Answers {
  /** The reply is filled: send it. */
  finish(reply: Reply): void;
  /** Send the error instead. */
  refuse(reply: Reply, error: unknown): void;
  /** Nobody waits for the reply any more: give back what it hands out. */
  drop(reply: Reply): void;
  /** The request with that number is under way from now on, and may end the process. */
  begun(unique: number): void;
  /** It is no more. */
  ended(unique: number): void;
}

class Waiter {
  readonly wait: Wait;
  /** Aborted as soon as the request is answered, one way or another: then its work ends too. */
  readonly answered: AbortController;

  constructor(wait: Wait) {
    this.wait = wait;
    this.answered = wait.answered ?? new AbortController();
  }
}

export class Waiting {
  readonly #clock: Clock;
  readonly #answers: Answers;
  readonly #waiters = new Set<Waiter>();
  /** The last one of each number: a kernel gives none twice, and nothing here depends on that. */
  readonly #byUnique = new Map<number, Waiter>();
  readonly #turns: Turns;
  #isCareful: boolean;

  /** `isCareful`: one at a time is begun, so that it is known which one ends the process. */
  constructor(clock: Clock, answers: Answers, isCareful: boolean) {
    this.#clock = clock;
    this.#answers = answers;
    this.#isCareful = isCareful;
    const atOnce = isCareful ? 1 : FUSE_CID_READS_MAX;
    this.#turns = new Turns({ atOnce, waitingMax: Number.POSITIVE_INFINITY });
  }

  /** From now on as many are begun as may be under way. */
  relax(): void {
    if (this.#isCareful) this.#turns.widen(FUSE_CID_READS_MAX - 1);
    this.#isCareful = false;
  }

  get size(): number {
    return this.#waiters.size;
  }

  /** Takes a request over, which is answered later from here. */
  add(wait: Wait): void {
    const waiter = new Waiter(wait);
    const { result } = wait;
    const { signal } = waiter.answered;
    const isBegun = result instanceof Promise;
    if (isBegun) this.#answers.begun(wait.unique);
    const inTurn = () => this.#turns.run('wait for content', signal, () => this.#begin(waiter));
    this.#follow(waiter, isBegun ? result : inTurn());
    this.#waiters.add(waiter);
    this.#byUnique.set(wait.unique, waiter);
    if (!wait.isUnhurried && wait.isPatient !== true) this.#setDeadline(waiter);
  }

  /** Takes a request over only to throw its result away. */
  abandon(wait: Wait): void {
    const { result } = wait;
    if (!(result instanceof Promise)) return;
    const waiter = new Waiter(wait);
    waiter.answered.abort();
    this.#follow(waiter, result);
  }

  /**
   * The client was interrupted, by a signal that may be no more than a timer of its own. A request that
   * was answered already is not known here; one that waits for the disk goes on, as on a disk.
   */
  interrupt(unique: number): void {
    const waiter = this.#byUnique.get(unique);
    if (waiter === undefined || waiter.wait.isUnhurried) return;
    this.#refuse(waiter, new OpError('interrupted', 'wait for content'));
  }

  /** Nobody listens any more. */
  end(): void {
    for (const waiter of this.#waiters) waiter.answered.abort();
    this.#waiters.clear();
    this.#byUnique.clear();
  }

  #begin({ wait: { unique, result }, answered }: Waiter): Promise<void> {
    this.#answers.begun(unique);
    return result instanceof Promise ? result : result(answered);
  }

  #follow(waiter: Waiter, result: Promise<void>): void {
    const { reply, unique } = waiter.wait;
    const { arena, isLent } = reply;
    if (isLent) arena.pins += 1;
    const settled = (answer: () => void) => {
      this.#answers.ended(unique);
      if (isLent) arena.pins -= 1;
      if (waiter.answered.signal.aborted) {
        this.#answers.drop(reply);
        return;
      }
      this.#leave(waiter);
      answer();
    };
    result.then(
      () => settled(() => this.#answers.finish(reply)),
      (error: unknown) => settled(() => this.#answers.refuse(reply, error)),
    );
  }

  #refuse(waiter: Waiter, error: OpError): void {
    this.#leave(waiter);
    this.#answers.refuse(waiter.wait.reply, error);
  }

  #leave(waiter: Waiter): void {
    waiter.answered.abort();
    this.#waiters.delete(waiter);
    const { unique } = waiter.wait;
    if (this.#byUnique.get(unique) === waiter) this.#byUnique.delete(unique);
  }

  #setDeadline(waiter: Waiter): void {
    this.#clock.sleep(FUSE_REQUEST_MS_MAX, waiter.answered.signal).then(
      () => this.#refuse(waiter, new OpError('timeout', 'wait for content')),
      () => {}, // Answered in time.
    );
  }
}
