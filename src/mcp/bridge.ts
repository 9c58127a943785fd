/**
 * The stdio bridge: lines from the client's input go to the daemon's socket, and its lines to the
 * client's output. It outlives the daemon: when that restarts, the client's handshake is repeated
 * and the client notices nothing but slowness.
 *
 * Invariants: no request is run twice: what may have reached a daemon that died is answered with
 * an error, unless repeating it changes nothing; every request gets one answer; nothing but the
 * protocol is written to the output. Only parts of Node are loaded, because every client starts
 * one of these.
 */
import { connect, type Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import { BRIDGE_REQUESTS_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { Secret } from '../base/secrets.ts';
import {
  FrameReader,
  frameOf,
  idOf,
  isJsonObject,
  type JsonObject,
  parseFrame,
  REFUSED,
  TOKEN_META,
} from './frames.ts';

/** How long a daemon that is not there is waited for, and how often it is looked for. */
const CONNECT_GRACE_MS = 8000;
const CONNECT_POLL_MS = 200;
/** How long the last answers are waited for after the end of input. */
const DRAIN_MS = 5000;
/** JSON-RPC leaves this range to servers. */
const CONNECTION_LOST = -32_000;
/** Asking again changes nothing. */
const REPEATABLE: ReadonlySet<unknown> = new Set(['initialize', 'ping', 'tools/list']);

export interface BridgeOptions {
  readonly socketPath: string;
  readonly input: Readable;
  readonly output: Writable;
  readonly clock: Clock;
  readonly log: Log;
  /** Presented for the client, who need not know it. */
  readonly token?: Secret | undefined;
  /** Ends the bridge at once. */
  readonly signal: AbortSignal;
}

/**
 * Carries messages until the input ends and what was asked is answered, the output is closed, or
 * the signal aborts.
 */
export const runBridge = (options: BridgeOptions): Promise<void> => new Bridge(options).run();

/** One line of the client on its way. */
interface Line {
  readonly frame: Buffer;
  readonly method: unknown;
  /** Its id as text, so that 1 and "1" differ; undefined when it expects no answer. */
  readonly key: string | undefined;
  readonly id: unknown;
}

class Bridge {
  readonly #options: BridgeOptions;
  /** Not yet written to any socket, in order. */
  #queue: Line[] = [];
  /** Written, and not answered. */
  readonly #sent = new Map<string, Line>();
  #initialize: Line | undefined;
  #initialized: Line | undefined;
  /** Whether the client has had its answer to `initialize`. */
  #isGreeted = false;
  /** The answer that completes a repeated handshake, and is not for the client. */
  #awaited: { readonly key: string; readonly done: () => void } | undefined;
  #socket: Socket | undefined;
  #isConnecting = false;
  /** Between two attempts to connect. */
  #isPolling = false;
  #isWriting = false;
  #isInputEnded = false;
  /** Why the daemon does not let us in: it is not asked again. */
  #refusal: string | undefined;
  #finish: () => void = () => {};
  readonly #end = new AbortController();

  constructor(options: BridgeOptions) {
    this.#options = options;
  }

  async run(): Promise<void> {
    const { input, output, signal } = this.#options;
    const finished = new Promise<void>((resolve) => {
      this.#finish = resolve;
    });
    const reader = new FrameReader();
    signal.addEventListener('abort', this.#finish, { once: true });
    output.on('error', () => this.#finish());
    input.on('error', () => this.#inputEnded());
    input.on('end', () => this.#inputEnded());
    input.on('close', () => this.#inputEnded());
    input.on('data', (chunk: Buffer) => this.#readInput(reader, chunk));
    if (signal.aborted) this.#finish();
    else this.#connect();
    await finished;
    this.#end.abort();
    input.pause();
  }

  #readInput(reader: FrameReader, chunk: Buffer): void {
    try {
      reader.push(chunk, (frame) => this.#take(frame));
    } catch {
      this.#answerError(null, 'the message is too large', -32_600);
      this.#inputEnded();
      return;
    }
    if (this.#queue.length + this.#sent.size > BRIDGE_REQUESTS_MAX) this.#options.input.pause();
  }

  #take(frame: Buffer): void {
    const value = parseFrame(frame);
    const message: JsonObject = isJsonObject(value) ? value : {};
    const { method } = message as { method?: unknown };
    const id = idOf(message);
    const isRequest = method !== undefined && id !== undefined;
    const key = isRequest ? JSON.stringify(id) : undefined;
    const line = { frame: this.#presenting(frame, message), method, id, key };
    if (this.#refusal !== undefined) {
      if (isRequest) this.#answerError(id, this.#refusal, REFUSED);
      return;
    }
    if (method === 'initialize') {
      this.#initialize = line;
      this.#isGreeted = false;
    }
    if (method === 'notifications/cancelled') this.#forget(message);
    this.#queue.push(line);
    this.#connect();
    void this.#flush();
  }

  /** The client's handshake with our token in it. */
  #presenting(frame: Buffer, message: JsonObject): Buffer {
    const { token } = this.#options;
    if (token === undefined || message['method'] !== 'initialize') return frame;
    const params = isJsonObject(message['params']) ? message['params'] : {};
    const meta = isJsonObject(params['_meta']) ? params['_meta'] : {};
    const _meta = { ...meta, [TOKEN_META]: token.reveal() };
    return Buffer.from(JSON.stringify({ ...message, params: { ...params, _meta } }));
  }

  /** A cancelled request gets no answer. */
  #forget({ params }: { readonly params?: unknown }): void {
    const requestId = isJsonObject(params) ? params['requestId'] : undefined;
    this.#sent.delete(JSON.stringify(requestId) ?? '');
  }

  #inputEnded(): void {
    if (this.#isInputEnded) return;
    this.#isInputEnded = true;
    this.#options.clock.sleep(DRAIN_MS, this.#end.signal).then(
      () => this.#finish(),
      () => {}, // Everything was answered before.
    );
    if (this.#isPolling) this.#giveUp();
    else this.#finishIfDone();
  }

  #finishIfDone(): void {
    const isIdle = this.#queue.length === 0 && this.#sent.size === 0 && !this.#isWriting;
    if (this.#isInputEnded && isIdle) this.#finish();
    else if (this.#queue.length + this.#sent.size <= BRIDGE_REQUESTS_MAX) {
      this.#options.input.resume();
    }
  }

  /** Looks for the daemon until it is found or has been waited for long enough. */
  #connect(): void {
    if (this.#socket !== undefined || this.#isConnecting || this.#refusal !== undefined) return;
    this.#isConnecting = true;
    this.#dial().then(
      () => {
        this.#isConnecting = false;
        void this.#flush();
      },
      (error: unknown) => {
        this.#isConnecting = false;
        this.#options.log.warn({ err: error }, 'no daemon');
        this.#giveUp();
      },
    );
  }

  async #dial(): Promise<void> {
    const { clock, socketPath } = this.#options;
    const untilMs = clock.monotonicMs() + CONNECT_GRACE_MS;
    for (;;) {
      try {
        const socket = await dialOnce(socketPath);
        if (this.#end.signal.aborted) socket.destroy();
        else await this.#adopt(socket);
        return;
      } catch (error) {
        // Nobody waits who has said his last word: a daemon that is not there now is not there.
        if (this.#isInputEnded || clock.monotonicMs() >= untilMs) throw error;
        this.#isPolling = true;
        await clock.sleep(CONNECT_POLL_MS, this.#end.signal);
        this.#isPolling = false;
      }
    }
  }

  /** Makes `socket` the connection, the handshake repeated on it if there was one. */
  async #adopt(socket: Socket): Promise<void> {
    const reader = new FrameReader();
    const lost = new Promise<never>((_, reject) => {
      socket.once('close', () => reject(new Error('the connection closed')));
    });
    lost.catch(() => {}); // Of interest only during the handshake.
    socket.on('error', () => {}); // 'close' follows.
    socket.on('data', (chunk: Buffer) => {
      try {
        reader.push(chunk, (frame) => this.#give(frame));
      } catch {
        socket.destroy();
      }
    });
    const { output } = this.#options;
    const onDrain = () => socket.resume();
    output.on('drain', onDrain);
    socket.once('close', () => output.off('drain', onDrain));
    this.#end.signal.addEventListener('abort', () => socket.destroy(), { once: true });
    try {
      if (this.#isGreeted) await Promise.race([this.#greet(socket), lost]);
    } catch (error) {
      socket.destroy();
      throw error;
    }
    this.#socket = socket;
    socket.once('close', () => this.#lost(socket));
    if (socket.destroyed) this.#lost(socket);
  }

  /** Repeats what the client said when it came, and keeps the answer to ourselves. */
  async #greet(socket: Socket): Promise<void> {
    const { key, frame } = this.#initialize ?? {};
    if (key === undefined || frame === undefined) return;
    const answered = new Promise<void>((done) => {
      this.#awaited = { key, done };
    });
    try {
      await write(socket, Buffer.concat([frame, NEWLINE]));
      await answered;
      if (this.#initialized === undefined) return;
      await write(socket, Buffer.concat([this.#initialized.frame, NEWLINE]));
    } finally {
      this.#awaited = undefined;
    }
  }

  /** One line of the daemon. */
  #give(frame: Buffer): void {
    const message = parseFrame(frame);
    const refusal = refusalIn(message);
    if (refusal !== undefined) {
      this.#refused(refusal);
      return;
    }
    const isAnswer = isJsonObject(message) && !('method' in message);
    const id = isAnswer ? idOf(message) : undefined;
    if (id !== undefined) {
      const key = JSON.stringify(id);
      if (this.#awaited?.key === key) {
        this.#awaited.done();
        return;
      }
      const line = this.#sent.get(key);
      if (line?.method === 'initialize') this.#isGreeted = true;
      this.#sent.delete(key);
    }
    const isTaken = this.#options.output.write(Buffer.concat([frame, NEWLINE]));
    if (!isTaken) this.#socket?.pause();
    this.#finishIfDone();
  }

  /**
   * Writes the queue, line by line, and the end of a line apart from it: without its end the
   * daemon cannot run it, so that up to there it is safe to send it again.
   */
  async #flush(): Promise<void> {
    if (this.#isWriting) return;
    this.#isWriting = true;
    for (;;) {
      const socket = this.#socket;
      const [line] = this.#queue;
      if (socket === undefined || line === undefined) break;
      this.#queue.shift();
      try {
        await write(socket, line.frame);
        // Node reports no error for a write that a reset connection has cut off.
        if (socket.destroyed) throw new Error('the connection was reset');
      } catch {
        this.#queue.unshift(line);
        socket.destroy();
        if (this.#socket === socket) this.#socket = undefined;
        this.#connect();
        continue;
      }
      // From now on it may be run.
      if (line.key !== undefined) this.#sent.set(line.key, line);
      if (line.method === 'notifications/initialized') this.#initialized = line;
      await write(socket, NEWLINE).catch(() => {}); // `lost` tells the client.
    }
    this.#isWriting = false;
    this.#finishIfDone();
  }

  /** Answers everything with it, now and later. */
  #refused(why: string): void {
    this.#refusal = why;
    this.#options.log.warn({}, why);
    const waiting = [...this.#sent.values(), ...this.#queue];
    this.#sent.clear();
    this.#queue = [];
    for (const { key, id } of waiting) {
      if (key !== undefined) this.#answerError(id, why, REFUSED);
    }
    this.#finishIfDone();
  }

  /** The daemon went away: what it may have run is told, what changes nothing is asked again. */
  #lost(socket: Socket): void {
    if (this.#socket === socket) this.#socket = undefined;
    if (this.#end.signal.aborted) return;
    const again: Line[] = [];
    for (const [key, line] of [...this.#sent]) {
      this.#sent.delete(key);
      if (REPEATABLE.has(line.method)) again.push(line);
      else {
        this.#answerError(
          line.id,
          'the connection to the daemon was lost before it answered; the call may have run: look before you call again',
        );
      }
    }
    this.#queue.unshift(...again);
    if (this.#isInputEnded) this.#giveUp();
    else this.#connect();
    this.#finishIfDone();
  }

  /** Answers everything that waits for a daemon that does not come. */
  #giveUp(): void {
    const waiting = this.#queue;
    this.#queue = [];
    for (const { key, id } of waiting) {
      if (key === undefined) continue;
      const path = this.#options.socketPath;
      this.#answerError(id, `no kitfs daemon answers at ${path}; start it with: kitfs mount`);
    }
    this.#finishIfDone();
  }

  #answerError(id: unknown, message: string, code = CONNECTION_LOST): void {
    this.#options.output.write(frameOf({ jsonrpc: '2.0', id, error: { code, message } }));
  }
}

function refusalIn(message: unknown): string | undefined {
  const error = isJsonObject(message) ? message['error'] : undefined;
  if (!isJsonObject(error) || error['code'] !== REFUSED) return undefined;
  return String(error['message']);
}

const NEWLINE = Buffer.from('\n');

function dialOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

/** Resolves when the kernel has all the bytes; if it rejects, or the socket is destroyed by
 * then, it may have some of them. */
function write(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(bytes, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}
