/**
 * What becomes of the requests of one group: their replies side by side in an arena, and what is to
 * be done once they are sent. Objects and arenas are used again for the next group.
 */
import { OpError } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import { FUSE_REPLY_ARENA_BYTES, REQUESTS_PER_DRAIN_MAX } from '../base/limits.ts';
import type { Inode } from '../vfs/vfs.ts';
import type { Request } from './decode.ts';
import { Arena, Reply } from './encode.ts';
import type { Wait } from './waiting.ts';

export interface Forget {
  readonly ino: Ino;
  readonly count: number;
}

/** One that asks for what is on its way here. */
export interface EarlyRequest {
  readonly unique: number;
  readonly bytes: Buffer;
}

/** Arenas kept for the next groups; more exist only while reads are waited for. */
const ARENAS_KEPT_MAX = 2;
const START_ALIGN = 8;

export class Batch {
  /** Requests served so far, with an answer, a later one, or none. */
  served = 0;
  /** Finished replies, in order. */
  readonly replies: Reply[] = [];
  /** Offset and length in the arena of each finished reply, pairwise. */
  readonly spans = new Uint32Array(2 * REQUESTS_PER_DRAIN_MAX);
  /** Finished replies that leave when the kernel was told of what they answer. */
  readonly held: Reply[] = [];
  /** Requests whose answer comes later. */
  readonly waits: Wait[] = [];
  /** Requests that cannot be served yet, and will be then. */
  readonly early: EarlyRequest[] = [];
  readonly forgets: Forget[] = [];
  /** Numbers of requests whose clients were interrupted. */
  readonly interrupts: number[] = [];
  /** Errors to be logged if the group stands. */
  readonly faults: unknown[] = [];
  /** Run, in order, once the replies are sent. */
  readonly afterSend: (() => void)[] = [];
  #arena = new Arena(FUSE_REPLY_ARENA_BYTES);
  #arenas: Arena[] = [this.#arena];
  #cursor = 0;
  readonly #slots: (Reply | undefined)[] = [];
  #commit: PromiseWithResolvers | undefined;
  readonly #sectorsOf: (inode: Inode) => number;

  /** As `Reply` wants it. */
  constructor(sectorsOf: (inode: Inode) => number) {
    this.#sectorsOf = sectorsOf;
  }

  get arena(): Arena {
    return this.#arena;
  }

  /** Empties everything. */
  begin(): void {
    this.served = 0;
    this.replies.length = 0;
    this.held.length = 0;
    this.waits.length = 0;
    this.early.length = 0;
    this.forgets.length = 0;
    this.interrupts.length = 0;
    this.faults.length = 0;
    this.afterSend.length = 0;
    this.#commit = undefined;
    this.#cursor = 0;
    if (this.#arena.pins > 0) this.#changeArena();
  }

  /**
   * A reply for `request` with room for `bodyMax` bytes; undefined when the arena has none left,
   * which an empty one always has.
   */
  reply(request: Request, bodyMin: number, bodyMax: number): Reply | undefined {
    if (!Reply.fits(this.#arena, this.#cursor, bodyMax)) return undefined;
    const number = this.replies.length;
    const reply = this.#slots[number] ?? new Reply(this.#arena, this.#sectorsOf);
    this.#slots[number] = reply;
    reply.begin({ arena: this.#arena, start: this.#cursor, bodyMin, bodyMax, request });
    return reply;
  }

  /** Takes the reply given out last, finished. */
  push(reply: Reply): void {
    const number = this.replies.length;
    this.spans[number * 2] = reply.start;
    this.spans[number * 2 + 1] = reply.length;
    this.replies.push(reply);
    this.#advance(reply.length);
  }

  /** Takes the reply given out last, finished, out of this batch: it leaves later. */
  hold(reply: Reply): void {
    this.#slots[this.replies.length] = undefined;
    reply.moveToOwnArena();
    this.held.push(reply);
  }

  /** The reply given out last is filled later: it is no longer of this batch. */
  wait(wait: Wait): void {
    const { reply } = wait;
    this.#slots[this.replies.length] = undefined;
    this.waits.push(wait);
    if (reply.isLent) this.#advance(reply.lengthMax);
    else reply.moveToOwnArena();
  }

  /** Resolves when the group is committed; rejects when it is rolled back. */
  committed(): Promise<void> {
    this.#commit ??= promiseWithResolvers();
    return this.#commit.promise;
  }

  /** Settles `committed`. */
  end(isCommitted: boolean): void {
    if (isCommitted) this.#commit?.resolve();
    else this.#commit?.reject(new OpError('cancelled', 'wait for the commit of a group'));
    this.#commit = undefined;
  }

  #advance(bytes: number): void {
    this.#cursor += Math.ceil(bytes / START_ALIGN) * START_ALIGN;
  }

  /** Reads still write into the present arena, which is theirs until they are done. */
  #changeArena(): void {
    const free = this.#arenas.find((arena) => arena.pins === 0);
    const arena = free ?? new Arena(FUSE_REPLY_ARENA_BYTES);
    this.#arenas = [arena, ...this.#arenas.filter((other) => other !== arena)];
    this.#arenas.length = Math.min(this.#arenas.length, ARENAS_KEPT_MAX);
    this.#arena = arena;
  }
}

interface PromiseWithResolvers {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
  readonly reject: (error: OpError) => void;
}

function promiseWithResolvers(): PromiseWithResolvers {
  let resolve = () => {};
  let reject = (_error: OpError) => {};
  const promise = new Promise<void>((take, refuse) => {
    resolve = take;
    reject = refuse;
  });
  return { promise, resolve, reject };
}
