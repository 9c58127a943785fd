/**
 * The other end of `control.sock`: what the command line asks a daemon with. Light, because every
 * short command loads it.
 */
import { connect, type Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import { BRIDGE_LOSSES_MAX } from '../base/limits.ts';
import { dial } from '../mcp/dial.ts';
import { FrameReader, frameOf, isJsonObject, type JsonObject, parseFrame } from '../mcp/frames.ts';
import { type ControlMethod, errorOf, REFUSAL_ID } from './control-protocol.ts';

/** A daemon that listens and is not ready, or not any more, is asked again so long, and so often. */
const NOT_READY_MS_MAX = 8000;
const NOT_READY_POLL_MS = 20;

export interface AskOptions {
  /** Aborting closes the connection, and so ends what was asked. */
  readonly signal?: AbortSignal | undefined;
  /** No more is read until the promise settles, if it gives one; one that rejects ends the asking. */
  readonly onPart?: ((part: unknown) => void | Promise<void>) | undefined;
}

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: OpError) => void;
  readonly onPart: (part: unknown) => void | Promise<void>;
}

export class ControlClient implements AsyncDisposable {
  readonly #socket: Socket;
  readonly #path: string;
  readonly #reader = new FrameReader();
  readonly #waiting = new Map<number, Waiting>();
  /** Resolves when the daemon has closed the connection. */
  readonly closed: Promise<void>;
  #nextId = 1;
  /** Parts that are being taken. */
  #taking = 0;
  #broken: OpError | undefined;

  private constructor(socket: Socket, path: string) {
    this.#socket = socket;
    this.#path = path;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => {}); // `close` follows.
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#fail(new OpError('not-running', 'ask the daemon', { hint: 'it ended' }));
        resolve();
      });
    });
  }

  /** @throws OpError not-running: nobody answers at `path`; denied. */
  static async connect(path: string): Promise<ControlClient> {
    const socket = connect(path);
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', (error) => reject(unreachable(error, path)));
    });
    return new ControlClient(socket, path);
  }

  /** @throws OpError what the daemon answered; not-running when it ended; the signal's reason. */
  ask(method: ControlMethod, params: JsonObject = {}, options: AskOptions = {}): Promise<unknown> {
    const { signal, onPart = () => {} } = options;
    return new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#broken !== undefined) throw this.#broken;
      const onAbort = () => {
        this.#fail(asOpError(signal?.reason, method));
        this.#socket.destroy();
      };
      signal?.addEventListener('abort', onAbort, { once: true });
      const settled = () => signal?.removeEventListener('abort', onAbort);
      const id = this.#nextId++;
      this.#waiting.set(id, {
        resolve: (result) => {
          settled();
          resolve(result);
        },
        reject: (error) => {
          settled();
          reject(error);
        },
        onPart,
      });
      this.#socket.write(frameOf({ id, method, params }));
    });
  }

  /**
   * As `ask`; when the daemon goes away before it answers, or is just coming, the next one is asked.
   * Only for what changes nothing, or is known again by a key.
   * @throws OpError as `ask`; not-running when none comes for eight seconds, or too many went.
   */
  async askAgain(
    method: ControlMethod,
    params: JsonObject,
    { clock, ...options }: AskOptions & { readonly clock: Clock },
  ): Promise<unknown> {
    const { signal = new AbortController().signal } = options;
    const path = this.#path;
    let untilMs = clock.monotonicMs() + NOT_READY_MS_MAX;
    let losses = 0;
    let asked = await this.ask(method, params, options).then(answered, unanswered);
    while ('error' in asked) {
      const isGone = asked.error.failure === 'not-running';
      if (isGone) {
        losses += 1;
        untilMs = clock.monotonicMs() + NOT_READY_MS_MAX;
      }
      if (losses > BRIDGE_LOSSES_MAX || clock.monotonicMs() > untilMs) throw asked.error;
      if (!isGone) await clock.sleep(NOT_READY_POLL_MS, signal);
      const socket = await dial({ path, clock, signal, impatience: signal }).catch((error) => {
        throw unreachable(error, path);
      });
      await using next = new ControlClient(socket, path);
      asked = await next.ask(method, params, options).then(answered, unanswered);
    }
    return asked.result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.end();
    this.#socket.destroy();
    await this.closed;
  }

  #read(chunk: Buffer): void {
    try {
      this.#reader.push(chunk, (frame) => this.#take(parseFrame(frame)));
    } catch (error) {
      this.#fail(asOpError(error, 'read an answer of the daemon'));
      this.#socket.destroy();
    }
  }

  #take(reply: unknown): void {
    if (!isJsonObject(reply)) throw new OpError('io', 'read an answer of the daemon');
    if (reply['id'] === REFUSAL_ID) {
      this.#fail(errorOf(reply['error']));
      return;
    }
    const waiting = this.#waiting.get(Number(reply['id']));
    if (waiting === undefined) return;
    if ('part' in reply) {
      this.#hold(waiting.onPart(reply['part']));
      return;
    }
    this.#waiting.delete(Number(reply['id']));
    if ('error' in reply) waiting.reject(errorOf(reply['error']));
    else waiting.resolve(reply['result']);
  }

  #hold(taken: void | Promise<void>): void {
    if (taken === undefined) return;
    this.#taking += 1;
    this.#socket.pause();
    taken
      .catch((error: unknown) => {
        this.#fail(asOpError(error, 'take a part of an answer'));
        this.#socket.destroy();
      })
      .finally(() => {
        this.#taking -= 1;
        if (this.#taking === 0) this.#socket.resume();
      });
  }

  #fail(error: OpError): void {
    this.#broken ??= error;
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

type Asked = { readonly result: unknown } | { readonly error: OpError };

const answered = (result: unknown): Asked => ({ result });

/** @throws what is an answer. */
function unanswered(error: unknown): Asked {
  const isPassing =
    error instanceof OpError && ['not-running', 'not-ready'].includes(error.failure);
  if (isPassing) return { error };
  throw error;
}

function unreachable(error: unknown, path: string): OpError {
  const op = `ask the daemon at ${path}`;
  const code = codeOf(error);
  if (code === 'ENOENT' || code === 'ECONNREFUSED' || code === 'ENOTDIR') {
    return new OpError('not-running', op, {
      hint: 'start it with kitfs mount, or say where it is with --run',
    });
  }
  return asOpError(error, op);
}
