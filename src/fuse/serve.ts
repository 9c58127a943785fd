/**
 * Serves one request at a time into a batch: reads it, calls the file system, writes the reply. It
 * never throws; what goes wrong becomes the reply's errno.
 */
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type { Fh } from '../base/ids.ts';
import type { RequestId } from '../journal/journal.ts';
import type { Arriving, Caller, FileSystem, HeldHandle } from '../vfs/vfs.ts';
import { Batch } from './batch.ts';
import type { Callers } from './callers.ts';
import { Request } from './decode.ts';
import { OPERATIONS } from './dispatch.ts';
import type { Reply } from './encode.ts';
import { EIO, ENOSYS, errnoOf } from './errno.ts';
import { type Features, initOut, negotiate, readOffer } from './handshake.ts';
import { INTERRUPT_IN, OP, OUT_HEADER, UNIQUE_RESEND_HIGH } from './layout.ts';
import type { Call, Operation } from './operation.ts';

/** What serving needs of the journal. */
export interface RequestJournal {
  group(body: () => void): void;
  beginRequest(request: RequestId): void;
  endRequest(reply: Buffer, isKeptUnrecorded: boolean): void;
  answered(request: RequestId): Buffer | undefined;
  /** The reply, of a group that is committed, leaves later: it is kept until `paid`. */
  owe(request: RequestId, reply: Buffer): void;
  paid(request: RequestId): void;
}

/** Where the handles and references go that a reply hands out. */
export interface Handouts {
  /** The reply is about to be sent. */
  handOut(reply: Reply): void;
  /** It will not be sent after all; what it would have handed out is given back. */
  takeBack(reply: Reply): void;
  /** The kernel gave the handle of a file back, which is to be released. */
  closed(fh: Fh): void;
  /** The handle that a resent request was answered with by a daemon before this one. */
  claim(unique: number): HeldHandle | undefined;
}

export interface ServerOptions {
  readonly fileSystem: FileSystem;
  readonly journal: RequestJournal;
  readonly callers: Callers;
  readonly handouts: Handouts;
  readonly generation: number;
  readonly wantsPassthrough: boolean;
  readonly onInit: (result: Features | OpError) => void;
  /** What was agreed with a daemon before this one; absent: INIT is still to come. */
  readonly agreed?: Features | undefined;
  /** Told of each request before it is served, by the halves of its number without the resend bit. */
  readonly serving: (uniqueLow: number, uniqueHigh: number) => void;
  /** Requests that ended daemons: they are refused. */
  readonly poisonous: ReadonlySet<number>;
  /** What is not there yet, and waited for. */
  readonly arriving?: Arriving | undefined;
}

const NO_REPLY = Buffer.alloc(0);

/** What only asks for names, and what asks for nothing that is in a directory. */
const LISTING: ReadonlySet<number> = new Set([OP.readdir, OP.readdirplus]);
const AT_ONCE: ReadonlySet<number> = new Set([
  ...[OP.getattr, OP.statx, OP.access, OP.statfs, OP.getxattr, OP.listxattr],
  ...[OP.opendir, OP.releasedir, OP.fsyncdir],
]);

/** The one `Call`, whose request-dependent fields are set before each operation. */
class CurrentCall implements Call {
  readonly fileSystem: FileSystem;
  readonly request: Request;
  readonly committed: () => Promise<void>;
  readonly closed: (fh: Fh) => void;
  features: Features;
  reply: Reply;
  caller: Caller;
  /** There once the signal was asked for. */
  answered: AbortController | undefined;

  constructor(call: Omit<Call, 'signal'>) {
    this.fileSystem = call.fileSystem;
    this.request = call.request;
    this.committed = call.committed;
    this.closed = call.closed;
    this.features = call.features;
    this.reply = call.reply;
    this.caller = call.caller;
  }

  get signal(): AbortSignal {
    this.answered ??= new AbortController();
    return this.answered.signal;
  }
}

export class Server {
  readonly batch: Batch;
  readonly #options: ServerOptions;
  readonly #request = new Request();
  #features: Features | undefined;
  #call: CurrentCall | undefined;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#features = options.agreed;
    this.batch = new Batch((inode) => options.fileSystem.sectors(inode));
  }

  /**
   * Serves the request at [offset, offset + length) of `arena`; false when the batch has no room
   * for its reply any more, and nothing was done.
   */
  serve(arena: Buffer, offset: number, length: number): boolean {
    const request = this.#request;
    try {
      request.load(arena, offset, length);
      // It is the same request when it is sent again.
      this.#options.serving(request.uniqueLow, request.uniqueHigh % UNIQUE_RESEND_HIGH);
      if (this.#control()) return true;
      if (this.#options.poisonous.size > 0) this.#demandHarmless();
      if (this.#isEarly()) {
        const bytes = Buffer.from(arena.subarray(offset, offset + length));
        this.batch.early.push({ unique: request.unique, bytes });
        return true;
      }
      const operation = OPERATIONS.get(request.opcode);
      if (operation === undefined) return this.#refuse(ENOSYS);
      if (this.#features === undefined) return this.#refuse(EIO);
      // For ever: reading a directory takes no state of ours, and the two round trips are saved.
      const isOpendir = request.opcode === OP.opendir;
      if (isOpendir && this.#features.opensNoDirectories) return this.#refuse(ENOSYS);
      const { body } = operation;
      const bodyMax = typeof body === 'number' ? body : body(request);
      const bodyMin = typeof body === 'number' ? body : 0;
      const reply = this.batch.reply(request, bodyMin, bodyMax);
      if (reply === undefined) return false;
      this.#operate(operation, reply, this.#features);
      return true;
    } catch (error) {
      // It is not of its form.
      this.#note(error);
      return !request.expectsAnswer || this.#refuse(errnoOf(error));
    }
  }

  /** Answers the request there, which is an operation, with the errno of `error`. */
  fail(arena: Buffer, offset: number, length: number, error: OpError): void {
    this.#request.load(arena, offset, length);
    this.#note(error);
    this.#refuse(errnoOf(error));
  }

  /** Requests that are no call on the file system. False when it is one. */
  #control(): boolean {
    const request = this.#request;
    switch (request.opcode) {
      case OP.forget:
      case OP.batchForget:
        request.forgets((ino, count) => this.batch.forgets.push({ ino, count }));
        return true;
      case OP.interrupt:
        this.batch.interrupts.push(request.uniqueAt(INTERRUPT_IN.unique));
        return true;
      case OP.init:
        return this.#init();
      case OP.destroy:
        return this.#answer(NO_REPLY);
      default:
        return false;
    }
  }

  /** @throws OpError io: the request was being served when daemons died, each time the same one. */
  #demandHarmless(): void {
    const { unique, opcode } = this.#request;
    if (!this.#options.poisonous.has(unique)) return;
    throw new OpError('io', `serve request ${unique} of kind ${opcode}`, {
      hint: 'it ended the daemon each time it was tried, so it is tried no more',
    });
  }

  /** @throws OpError why what it asks for will not come. */
  #isEarly(): boolean {
    const { ino, opcode } = this.#request;
    if (this.#options.arriving === undefined || AT_ONCE.has(opcode)) return false;
    const wanted = LISTING.has(opcode) ? 'names' : 'more';
    const hindrance = this.#options.arriving.hindrance(ino, wanted);
    if (hindrance instanceof OpError) throw hindrance;
    return hindrance === 'wait';
  }

  #init(): boolean {
    const { onInit, wantsPassthrough } = this.#options;
    let features: Features | undefined;
    try {
      features = negotiate(readOffer(this.#request), wantsPassthrough);
    } catch (error) {
      assert(error instanceof OpError, 'a handshake fails with an operating error');
      this.batch.afterSend.push(() => onInit(error));
      throw error;
    }
    const agreed = features;
    if (agreed !== undefined) {
      this.#features = agreed;
      this.batch.afterSend.push(() => onInit(agreed));
    }
    return this.#answer(initOut(agreed));
  }

  #operate(operation: Operation, reply: Reply, features: Features): void {
    const { journal, generation, handouts } = this.#options;
    const isClaiming = this.#request.isResent && operation.claimed !== undefined;
    const held = isClaiming ? handouts.claim(this.#request.unique) : undefined;
    if (operation.records === undefined || held !== undefined) {
      this.#perform(operation, reply, features, { held });
      return;
    }
    const id = { generation, unique: this.#request.unique };
    // An empty one is that of a request whose answer came later, and so was never stored.
    const stored = this.#request.isResent ? journal.answered(id) : undefined;
    if (stored !== undefined && stored.length >= OUT_HEADER.bytes) {
      this.#perform(operation, reply, features, { stored });
      return;
    }
    journal.beginRequest(id);
    const isAnswered = this.#perform(operation, reply, features, {});
    const isKept = operation.records === true && isAnswered;
    journal.endRequest(isAnswered ? reply.message : NO_REPLY, isKept);
  }

  /** False when the answer comes later. */
  #perform(operation: Operation, reply: Reply, features: Features, known: Known): boolean {
    const { handouts } = this.#options;
    const request = this.#request;
    const call = this.#prepare(reply, features);
    try {
      const result = answerTo(operation, call, known);
      if (result !== undefined) {
        const { isUnhurried = false, isPatient = false } = operation;
        const { unique } = request;
        const { answered } = call;
        this.batch.wait({ unique, reply, result, isUnhurried, isPatient, answered });
        return false;
      }
      reply.finish();
      if (operation.isUncounted?.(request) === true) {
        this.batch.hold(reply);
        return true;
      }
    } catch (error) {
      this.#note(error);
      handouts.takeBack(reply);
      reply.fail(errnoOf(error));
      reply.finish();
    }
    handouts.handOut(reply);
    this.batch.push(reply);
    return true;
  }

  #prepare(reply: Reply, features: Features): CurrentCall {
    const { fileSystem, callers, handouts } = this.#options;
    const request = this.#request;
    const caller = callers.of(request.pid, request.uid, request.gid);
    this.#call ??= new CurrentCall({
      fileSystem,
      request,
      reply,
      caller,
      features,
      committed: () => this.batch.committed(),
      closed: (fh) => handouts.closed(fh),
    });
    this.#call.reply = reply;
    this.#call.caller = caller;
    this.#call.features = features;
    this.#call.answered = undefined;
    return this.#call;
  }

  #answer(body: Buffer): boolean {
    const reply = this.batch.reply(this.#request, body.length, body.length);
    if (reply === undefined) return false;
    reply.bytes(body);
    reply.finish();
    this.batch.push(reply);
    return true;
  }

  #refuse(errno: number): boolean {
    const reply = this.batch.reply(this.#request, 0, 0);
    if (reply === undefined) return false;
    reply.fail(errno);
    reply.finish();
    this.batch.push(reply);
    return true;
  }

  /** EIO tells the client nothing, so the log does. */
  #note(error: unknown): void {
    if (errnoOf(error) === EIO) this.batch.faults.push(error);
  }
}

/** What a daemon before this one left of a request. */
interface Known {
  readonly held?: HeldHandle | undefined;
  readonly stored?: Buffer;
}

function answerTo(
  operation: Operation,
  call: Call,
  { held, stored }: Known,
): ReturnType<Operation['serve']> {
  if (held !== undefined && operation.claimed !== undefined) return operation.claimed(call, held);
  return stored === undefined ? operation.serve(call) : again(operation, call, stored);
}

function again(operation: Operation, call: Call, stored: Buffer): void | Promise<void> {
  const isSuccess = stored.readInt32LE(OUT_HEADER.error) === 0;
  if (isSuccess && operation.again !== undefined) return operation.again(call, stored);
  call.reply.repeat(stored);
  return undefined;
}
