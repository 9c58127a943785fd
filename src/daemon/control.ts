/**
 * The socket of the command line: the same rules of who may connect as for agents, a protocol of our
 * own, because these answers are not for agents (`control-protocol.ts`).
 *
 * Invariants: a frame is bounded, and one that cannot be read ends its connection and no other; a
 * connection that closes takes its calls with it; a slow reader holds back its own parts only.
 */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { asOpError, OpError } from '../base/errors.ts';
import { CALLS_PER_CONNECTION_MAX, UNREAD_BYTES_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import { FrameReader, frameOf, type JsonObject, parseFrame } from '../mcp/frames.ts';
import { AgentSocket, type KeptSocket, type PeerNames, type PeerPolicy } from '../mcp/socket.ts';
import type { Peer } from '../tools/tools.ts';
import {
  asRequest,
  type ControlMethod,
  type ControlReply,
  type ControlRequest,
  REFUSAL_ID,
  toldOf,
} from './control-protocol.ts';

/** The call that outlives all others. */
const STOP: ControlMethod = 'stop';

/** One request, as its method sees it. */
export interface ControlCall {
  readonly peer: Peer;
  /** Of the connection, unguessable. */
  readonly session: string;
  /** Aborts when the connection closes. */
  readonly signal: AbortSignal;
  /** Sends a part of the answer; resolves when more is wanted. */
  part(value: unknown): Promise<void>;
}

export type ControlMethods = Readonly<
  Record<ControlMethod, (params: JsonObject, call: ControlCall) => Promise<unknown>>
>;

export interface ControlServerOptions {
  readonly path: string;
  readonly native: PeerNames;
  readonly policy: PeerPolicy;
  readonly kept?: KeptSocket | undefined;
  readonly methods: ControlMethods;
  readonly random: Random;
  readonly log: Log;
}

export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #socket: AgentSocket;
  readonly #connections = new Set<ControlConnection>();
  #isClosed = false;

  constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#socket = new AgentSocket({
      path: options.path,
      native: options.native,
      policy: options.policy,
      kept: options.kept,
      log: options.log,
      refusal: (error) => frameOf({ id: REFUSAL_ID, error: toldOf(error) }),
      onPeer: (socket, peer) => this.#serve(socket, peer),
    });
  }

  /** @throws OpError configuration, busy, exists, io: see `AgentSocket.listen`. */
  listen(): Promise<void> {
    return this.#socket.listen();
  }

  /** Tells every call to end but a stop, and resolves when they have or `signal` aborts. */
  async quiesce(signal: AbortSignal): Promise<void> {
    const calls = [...this.#connections].flatMap((connection) => connection.quiesce());
    const late = new Promise<void>((resolve) => {
      if (signal.aborted) resolve();
      else signal.addEventListener('abort', () => resolve(), { once: true });
    });
    await Promise.race([Promise.all(calls), late]);
  }

  /** Takes no more connections and ends those there are; what was answered is still sent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#socket.close();
    for (const connection of this.#connections) connection.end();
  }

  #serve(socket: Socket, peer: Peer): void {
    const { methods, random, log } = this.#options;
    if (this.#isClosed) {
      socket.destroy();
      return;
    }
    const session = random.token();
    const connection = new ControlConnection({ socket, peer, session, methods, log });
    this.#connections.add(connection);
    socket.once('close', () => this.#connections.delete(connection));
    connection.start();
  }
}

interface ConnectionOptions extends Pick<ControlServerOptions, 'methods' | 'log'> {
  readonly socket: Socket;
  readonly peer: Peer;
  readonly session: string;
}

class ControlConnection {
  readonly #options: ConnectionOptions;
  readonly #reader = new FrameReader();
  readonly #closed = new AbortController();
  readonly #quiet = new AbortController();
  /** Settles with each call but a stop. */
  readonly #calls = new Set<Promise<void>>();
  #running = 0;
  #isEnding = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
  }

  start(): void {
    const { socket } = this.#options;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    // A command that is gone and one that has said everything look alike: neither waits for more.
    socket.once('end', () => this.#leave());
    socket.once('close', () => this.#leave());
    socket.resume();
  }

  /** Tells calls to end; a stop goes on. The promises settle when they have. */
  quiesce(): readonly Promise<void>[] {
    this.#quiet.abort(new OpError('cancelled', 'call', { hint: 'the daemon is stopping' }));
    return [...this.#calls];
  }

  /** Reads nothing more, and ends when everything under way is answered. */
  end(): void {
    this.#isEnding = true;
    if (this.#running === 0) this.#hangUp();
  }

  #leave(): void {
    this.#closed.abort(new OpError('cancelled', 'call', { hint: 'the connection closed' }));
    this.end();
  }

  #read(chunk: Buffer): void {
    if (this.#isEnding) return;
    try {
      this.#reader.push(chunk, (frame) => this.#take(parseFrame(frame)));
    } catch (error) {
      this.#options.log.warn({ err: error }, 'a frame of the command line was refused');
      this.#options.socket.destroy();
    }
  }

  #take(value: unknown): void {
    const request = asRequest(value);
    if (request === undefined) {
      throw new OpError('invalid-argument', 'read a request of the command line');
    }
    const { id } = request;
    if (this.#running >= CALLS_PER_CONNECTION_MAX) {
      const error = new OpError('rate-limited', request.method, { hint: 'wait for an answer' });
      this.#write({ id, error: toldOf(error) });
      return;
    }
    this.#running += 1;
    const call = this.#answer(request).then(
      (result) => this.#finish({ id, result }),
      (error: unknown) => this.#finish({ id, error: toldOf(this.#known(error, request)) }),
    );
    if (request.method === STOP) return;
    this.#calls.add(call);
    void call.finally(() => this.#calls.delete(call));
  }

  #known(error: unknown, { method }: ControlRequest): OpError {
    const known = asOpError(error, method);
    if (known.failure === 'internal') {
      this.#options.log.error({ err: error, method }, 'a method of the command line failed');
    }
    return known;
  }

  async #answer({ id, method, params }: ControlRequest): Promise<unknown> {
    const { peer, session, methods } = this.#options;
    const run = Object.hasOwn(methods, method) ? methods[method as ControlMethod] : undefined;
    if (run === undefined) {
      throw new OpError('unsupported', method, {
        hint: 'the daemon is of another version: restart it',
      });
    }
    const isStop = method === STOP;
    const signals = isStop ? [this.#closed.signal] : [this.#closed.signal, this.#quiet.signal];
    const signal = AbortSignal.any(signals);
    const part = (value: unknown) => this.#send({ id, part: value });
    return run(params, { peer, session, signal, part });
  }

  #finish(reply: ControlReply): void {
    this.#running -= 1;
    this.#write(reply);
    if (this.#isEnding && this.#running === 0) this.#hangUp();
  }

  async #send(reply: ControlReply): Promise<void> {
    const { socket } = this.#options;
    if (this.#write(reply) || socket.destroyed) return;
    const signal = AbortSignal.any([this.#closed.signal, this.#quiet.signal]);
    await once(socket, 'drain', { signal });
  }

  /** Whether the reader keeps up. */
  #write(reply: ControlReply): boolean {
    const { socket, log } = this.#options;
    if (!socket.writable) return false;
    const isKeepingUp = socket.write(frameOf(reply));
    if (socket.writableLength <= UNREAD_BYTES_MAX) return isKeepingUp;
    log.warn({ pid: this.#options.peer.pid }, 'a command that reads no answers was cut off');
    socket.destroy();
    return false;
  }

  #hangUp(): void {
    const { socket } = this.#options;
    if (socket.writable) socket.end(() => socket.destroy());
    else socket.destroy();
  }
}
