/**
 * What it means to serve an opcode: one call on the file system, its answer written as a reply.
 * The operations themselves are in `dispatch-*.ts`, by groups; `dispatch.ts` is their table.
 */
import type { Fh, Ino } from '../base/ids.ts';
import type { Asking, Awaitable, Caller, FileSystem, HeldHandle } from '../vfs/vfs.ts';
import type { Request } from './decode.ts';
import type { Reply } from './encode.ts';
import type { Features } from './handshake.ts';

/** One request being served. The object is used again for the next one: take its fields first. */
export interface Call {
  readonly fileSystem: FileSystem;
  readonly features: Features;
  readonly request: Request;
  readonly reply: Reply;
  readonly caller: Caller;
  /** Aborts when the request is answered. */
  readonly signal: AbortSignal;
  /** Resolves once everything this request's group changed is committed. */
  committed(): Promise<void>;
  /** The kernel gave the handle of a file back, which ends when it suits. */
  closed(fh: Fh): void;
}

/** Fills the reply when it is its turn; until then it holds nothing but numbers. */
export type Deferred = (asking: Asking) => Promise<void>;

export interface Operation {
  /**
   * Serves the request: fills the reply, or returns a promise that does, or what is to be done in
   * its turn. What it throws, or rejects with, becomes the errno of the reply.
   */
  readonly serve: (call: Call) => void | Promise<void> | Deferred;
  /** Bytes of a successful body: exactly so many, or at most as many as the request admits. */
  readonly body: number | ((request: Request) => number);
  /**
   * Whether it changes the tree, so that the journal shall know the request and keep its reply;
   * `perhaps`: only if it left a record, and doing it again is harmless if not.
   */
  readonly records?: boolean | 'perhaps';
  /**
   * Answers a resent request that was applied, successfully, by a daemon before this one, from the
   * reply stored then. Without it the stored reply is sent as it is.
   */
  readonly again?: (call: Call, stored: Buffer) => void | Promise<void>;
  /**
   * Answers a resent request with the handle that a daemon before this one opened for it, and which
   * is still open.
   */
  readonly claimed?: (call: Call, held: HeldHandle) => void | Promise<void>;
  /**
   * Whether the kernel does not count it as a change of attributes, though it is one: it is told of
   * it (`Invalidator.uncounted`) before it is answered.
   */
  readonly isUncounted?: (request: Request) => boolean;
  /** Whether it may take as long as the disk takes: it has no deadline, and no signal ends it. */
  readonly isUnhurried?: boolean;
  /** Whether it has no deadline, though a signal ends it. */
  readonly isPatient?: boolean;
}

/**
 * Reads bytes or names of that inode into a reply. What is elsewhere may have to be waited for, and
 * the place for up to 1 MiB of it is kept as long: so it waits for its turn before it takes one.
 */
export function readInTurn(
  fileSystem: FileSystem,
  ino: Ino,
  read: (asking?: Asking) => void | Promise<void>,
): void | Promise<void> | Deferred {
  return fileSystem.isHere(ino) ? read() : async (asking) => read(asking);
}

/** Hands a result on at once when it is there, so that only what must wait costs a promise. */
export function settle<T>(result: Awaitable<T>, take: (value: T) => void): void | Promise<void> {
  if (result instanceof Promise) return result.then(take);
  take(result);
  return undefined;
}
