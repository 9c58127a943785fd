/**
 * One connection to the kernel, from INIT to the end of the mount: takes drains of requests, serves
 * them in groups, sends the replies.
 *
 * Invariants:
 * - A group is one transaction of the journal. No reply leaves before its group is committed; if
 *   it was rolled back, its requests are served again one by one, so that only the one at fault
 *   fails. What the file system keeps in memory of a mutation it puts back itself (`onRollback`).
 * - Every request that expects an answer gets one, once.
 * - No reply to a change that the kernel does not count leaves before the kernel was told of it.
 * - What a reply hands out (references, handles) is counted before it is sent, and taken back when
 *   the kernel did not take it.
 */
import { assert } from '../base/assert.ts';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import type { Ino } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import type { Channel } from '../base/native.ts';
import { type Arriving, type FileSystem, HandleTable } from '../vfs/vfs.ts';
import type { EarlyRequest } from './batch.ts';
import { Callers } from './callers.ts';
import type { OpenedHandle, Reply } from './encode.ts';
import { EIO, ENOENT, errnoOf } from './errno.ts';
import type { Features } from './handshake.ts';
import { Later, type LaterWork } from './later.ts';
import type { KernelReferences } from './references.ts';
import { type Handouts, type RequestJournal, Server } from './serve.ts';
import { type Answers, Waiting } from './waiting.ts';

export interface SessionOptions {
  readonly fileSystem: FileSystem;
  readonly journal: RequestJournal;
  readonly references: KernelReferences;
  readonly clock: Clock;
  readonly log: Log;
  /** Number of this connection, never used for another one. */
  readonly generation: number;
  readonly wantsPassthrough: boolean;
  /** INIT was answered: the mount works or, with the error, never will. */
  readonly onInit: (result: Features | OpError) => void;
  /** What was agreed with a daemon before this one. */
  readonly agreed?: Features | undefined;
  /** What the daemon after this one wants to know. */
  readonly table?: HandleTable;
  /** Requests that ended daemons. */
  readonly poisonous?: ReadonlySet<number>;
  /** Whether the daemon before this one died of itself. */
  readonly isCareful?: boolean;
  /** Resolves when the kernel was told of all it does not count; undefined when it was. */
  readonly told?: () => Promise<void> | undefined;
  /** Called when the kernel has taken the answers of a group. */
  readonly onAnswered?: () => void;
  /** What is not there yet: who asks for it waits, as long as he wants to. */
  readonly arriving?: Arriving | undefined;
}

/** Requests as they lie in an arena, that of their channel for the most part. */
interface Requests extends Pick<Channel, 'arena' | 'spans'> {
  readonly channel: Channel;
}

const NONE: ReadonlySet<number> = new Set();
/** As many as can have been in the kernel when a daemon died, and some. */
const CAREFUL_REQUESTS = 1024;

export class Session {
  readonly #options: SessionOptions;
  readonly #server: Server;
  readonly #waiting: Waiting;
  #channel: Channel | undefined;
  readonly #later: Later;
  readonly #table: HandleTable;
  /** No more than threads that wait. */
  readonly #early = new Map<number, EarlyRequest>();
  #requestCount = 0;

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#table = options.table ?? HandleTable.make();
    const handouts: Handouts = {
      handOut: (reply) => this.#handOut(reply),
      takeBack: (reply) => this.#takeBack(reply),
      closed: (fh) => {
        options.references.closed(fh);
        this.#later.release(fh);
      },
      claim: (unique) => options.references.claim(unique),
    };
    this.#server = new Server({
      ...options,
      handouts,
      callers: new Callers(options.clock),
      serving: (low, high) => this.#table.serving(low, high),
      poisonous: options.poisonous ?? NONE,
    });
    this.#later = new Later(options.clock, (work) => this.#endAll(work));
    const answers: Answers = {
      finish: (reply) => this.#finishLate(reply),
      refuse: (reply, error) => this.#refuseLate(reply, error),
      drop: (reply) => this.#dropLate(reply),
      begun: (unique) => this.#table.awaiting(unique),
      ended: (unique) => this.#table.awaited(unique),
    };
    this.#waiting = new Waiting(options.clock, answers, options.isCareful === true);
    options.arriving?.follow(() => this.#serveEarly());
  }

  /** Requests whose answer is waited for. */
  get waitingCount(): number {
    return this.#waiting.size + this.#early.size;
  }

  /** Requests read so far. */
  get requestCount(): number {
    return this.#requestCount;
  }

  /** The channel whose requests are served; before the first drain. */
  attach(channel: Channel): void {
    this.#channel = channel;
  }

  /** Serves the `count` requests that lie in the channel's arena. */
  drain(count: number): void {
    const channel = this.#channel;
    assert(channel !== undefined, 'requests come from a channel');
    this.#requestCount += count;
    const { arena, spans } = channel;
    let next = 0;
    while (next < count) {
      next = this.#serveGroup(
        { channel, arena, spans },
        next,
        this.#isCareful() ? next + 1 : count,
      );
    }
    this.#table.serving(0, 0);
    if (!this.#isCareful()) this.#waiting.relax();
    this.#later.relieve();
  }

  /** The kernel does not have the inode any more, though it did not say so. */
  forgotten(ino: Ino): void {
    this.#later.forget(ino);
  }

  /** The connection is gone: what the kernel held comes back. */
  end(): void {
    this.#channel = undefined;
    this.#early.clear();
    this.#waiting.end();
    const { handles, inos } = this.#options.references.takeAll();
    for (const handle of handles) this.#release(handle);
    for (const ino of inos) this.#later.forget(ino);
    this.#later.end();
  }

  /** Those that waited for what has come; the others wait again. */
  #serveEarly(): void {
    const early = [...this.#early.values()];
    this.#early.clear();
    for (const { bytes } of early) {
      if (this.#channel === undefined) return;
      this.#serveGroup(lyingIn(bytes, this.#channel), 0, 1);
      this.#table.serving(0, 0);
    }
  }

  /** Of one that asks for what is not there yet. */
  #interrupt(channel: Channel, unique: number): void {
    const early = this.#early.get(unique);
    if (early === undefined) {
      this.#waiting.interrupt(unique);
      return;
    }
    this.#early.delete(unique);
    this.#server.batch.begin();
    const error = new OpError('interrupted', 'wait for a tree');
    this.#server.fail(early.bytes, 0, early.bytes.length, error);
    this.#settleGroup(channel);
  }

  /** Serves requests from number `from` as one group; returns the number of the next one. */
  #serveGroup(requests: Requests, from: number, count: number): number {
    const { batch } = this.#server;
    batch.begin();
    try {
      this.#options.journal.group(() => this.#serveMany(requests, from, count));
    } catch (error) {
      // When it rolls back the journal throws operating errors and nothing else. Anything else
      // came after the commit, and what was committed is not done again.
      if (error instanceof OpError) return this.#serveApart(requests, from, error);
      batch.faults.push(error);
    }
    const next = from + batch.served;
    assert(next > from, 'the first request of a group always has room');
    this.#settleGroup(requests.channel);
    return next;
  }

  /** After a death one at a time, so that it is known which request is to blame for the next. */
  #isCareful(): boolean {
    const { size } = this.#options.poisonous ?? NONE;
    return this.#options.isCareful === true && this.#requestCount < CAREFUL_REQUESTS + size;
  }

  #serveMany({ arena, spans }: Requests, from: number, count: number): void {
    const { batch } = this.#server;
    for (let number = from; number < count; number++) {
      const offset = spans[number * 2] ?? 0;
      const length = spans[number * 2 + 1] ?? 0;
      if (!this.#server.serve(arena, offset, length)) return;
      batch.served += 1;
    }
  }

  /** The group was rolled back: nothing of it happened. */
  #serveApart(requests: Requests, from: number, error: OpError): number {
    const { batch } = this.#server;
    const { served } = batch;
    assert(served > 0, 'a group that was rolled back had requests');
    const faults = batch.faults.slice();
    this.#abandonGroup();
    const end = from + served;
    if (served > 1) {
      for (let number = from; number < end; number++) {
        this.#serveGroup(requests, number, number + 1);
      }
      return end;
    }
    this.#log(faults);
    batch.begin();
    const { arena, spans, channel } = requests;
    this.#server.fail(arena, spans[from * 2] ?? 0, spans[from * 2 + 1] ?? 0, error);
    // What broke the group was logged as itself.
    if (faults.length > 0) batch.faults.length = 0;
    this.#settleGroup(channel);
    return end;
  }

  #abandonGroup(): void {
    const { batch } = this.#server;
    batch.end(false);
    for (const wait of batch.waits) this.#waiting.abandon(wait);
    for (const reply of batch.replies) this.#takeBack(reply);
  }

  /** The group is committed: its replies leave, and what was put off is done. */
  #settleGroup(channel: Channel): void {
    const { batch } = this.#server;
    this.#send(channel);
    batch.end(true);
    for (const reply of batch.held) this.#hold(channel, reply);
    for (const wait of batch.waits) this.#waiting.add(wait);
    for (const early of batch.early) this.#early.set(early.unique, early);
    for (const { ino, count } of batch.forgets) this.#forget(ino, count);
    for (const action of batch.afterSend) action();
    this.#log(batch.faults);
    // Last: another group may begin with it.
    for (const unique of [...batch.interrupts]) this.#interrupt(channel, unique);
  }

  #send(channel: Channel): void {
    const { replies, arena, spans } = this.#server.batch;
    if (replies.length === 0) return;
    for (const reply of replies) if (reply.opened !== undefined) this.#keep(reply);
    const failed = channel.replyMany(arena.buffer, spans, replies.length);
    for (let number = 0; number < replies.length; number++) {
      const errno = spans[number * 2 + 1] ?? 0;
      const reply = replies[number];
      if (reply === undefined) continue;
      if (errno !== 0) this.#takeBack(reply);
      else if (reply.opened !== undefined) this.#options.references.told(reply.opened.fh);
      if (failed > 0 && errno !== 0 && errno !== ENOENT) this.#logUnsent(errno);
    }
    this.#options.onAnswered?.();
  }

  #hold(channel: Channel, reply: Reply): void {
    const { journal, generation, told } = this.#options;
    const isTold = told?.();
    if (isTold === undefined) {
      this.#sendLate(channel, reply);
      return;
    }
    const request = { generation, unique: reply.unique };
    journal.owe(request, reply.message);
    void isTold.then(() => {
      if (this.#channel !== undefined) this.#sendLate(this.#channel, reply);
      journal.paid(request);
    });
  }

  /** Writes down what the reply hands out, for a daemon after this one. */
  #keep(reply: Reply): void {
    try {
      this.#options.references.keep(reply);
    } catch (error) {
      // It is open all the same, as long as this daemon lives.
      this.#log([error]);
    }
  }

  #finishLate(reply: Reply): void {
    const channel = this.#channel;
    if (channel === undefined) {
      this.#dropLate(reply);
      return;
    }
    try {
      reply.finish();
    } catch (error) {
      this.#refuseLate(reply, error);
      return;
    }
    this.#handOut(reply);
    this.#sendLate(channel, reply);
  }

  #refuseLate(reply: Reply, error: unknown): void {
    if (errnoOf(error) === EIO) this.#log([error]);
    this.#dropLate(reply);
    const channel = this.#channel;
    if (channel === undefined) return;
    reply.fail(errnoOf(error));
    reply.finish();
    this.#sendLate(channel, reply);
  }

  #sendLate(channel: Channel, reply: Reply): void {
    this.#keep(reply);
    const errno = channel.reply(reply.arena.buffer, reply.start, reply.length);
    if (errno === 0) {
      if (reply.opened !== undefined) this.#options.references.told(reply.opened.fh);
      return;
    }
    this.#takeBack(reply);
    if (errno !== ENOENT) this.#logUnsent(errno);
  }

  /** What the reply would have handed out is given back. */
  #dropLate(reply: Reply): void {
    this.#takeBack(reply);
  }

  #handOut(reply: Reply): void {
    const { references } = this.#options;
    for (const ino of reply.lookups) references.lookedUp(ino);
    if (reply.opened !== undefined) references.opened(reply.opened);
    reply.isHandedOut = true;
  }

  /** Also of a reply that handed nothing out yet: its handle is closed, its inodes are let go. */
  #takeBack(reply: Reply): void {
    const { references } = this.#options;
    for (const ino of reply.lookups) {
      if (reply.isHandedOut) this.#forget(ino, 1);
      else if (!references.knows(ino)) this.#later.forget(ino);
    }
    reply.lookups.length = 0;
    if (reply.opened !== undefined) {
      references.closed(reply.opened.fh);
      this.#release(reply.opened);
    }
    reply.opened = undefined;
    reply.isHandedOut = false;
  }

  #forget(ino: Ino, count: number): void {
    if (this.#options.references.forget(ino, count)) this.#later.forget(ino);
  }

  #release({ fh, isDirectory }: OpenedHandle): void {
    const { fileSystem } = this.#options;
    try {
      if (isDirectory) fileSystem.releasedir(fh);
      else fileSystem.release(fh);
    } catch (error) {
      // A handle made in a group that was rolled back may be gone with it.
      const isGone = error instanceof OpError && error.failure === 'bad-handle';
      if (!isGone) this.#log([error]);
    }
  }

  /** Ends handles, and tells the file system which inodes the kernel knows no more. */
  #endAll({ handles, inos }: LaterWork): void {
    const { journal, references, fileSystem } = this.#options;
    const actions = [
      ...handles.map((fh) => () => fileSystem.release(fh)),
      ...inos.map((ino) => () => {
        if (!references.isCounted(ino)) fileSystem.forget(ino);
      }),
    ];
    try {
      journal.group(() => {
        for (const action of actions) action();
      });
    } catch {
      // One of them; the others shall not suffer for it.
      for (const action of actions) {
        try {
          journal.group(action);
        } catch (error) {
          this.#log([error]);
        }
      }
    }
  }

  #log(faults: readonly unknown[]): void {
    for (const error of faults) {
      const failure = error instanceof OpError ? error.failure : 'internal';
      this.#options.log.error({ failure, err: error }, 'a request of the kernel failed');
    }
  }

  #logUnsent(errno: number): void {
    this.#options.log.warn({ errno }, 'the kernel did not take a reply');
  }
}

const lyingIn = (bytes: Buffer, channel: Channel): Requests => ({
  channel,
  arena: bytes,
  spans: Uint32Array.of(0, bytes.length),
});
