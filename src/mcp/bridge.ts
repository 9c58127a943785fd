/**
 * The stdio bridge: lines from the client's input go to the daemon's socket, and its lines to the
 * client's output. It outlives the daemon: when that dies or restarts, the client's handshake is
 * repeated, what has no answer is sent again, and the client notices nothing but slowness.
 *
 * Invariants: what changes something is run once: each call has a key, under which the daemon knows
 * it again, and what a daemon that knows no keys may have run is answered with an error; requests
 * reach the daemon in the order of the client, also those that are sent again; every request gets
 * one answer; nothing but the protocol is written to the output. Only parts of Node are loaded,
 * because every client starts one of these.
 */
import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import type { Clock } from '../base/clock.ts';
import {
  BRIDGE_LOSSES_MAX,
  BRIDGE_REQUESTS_MAX,
  CALLS_PER_CONNECTION_MAX,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Secret } from '../base/secrets.ts';
import { dial, write } from './dial.ts';
import {
  FrameReader,
  frameOf,
  idOf,
  isJsonObject,
  type JsonObject,
  parseFrame,
  REFUSED,
} from './frames.ts';
import { knowsKeys, type Line, lineOf, presenting, Standing, ToldProgress } from './lines.ts';

/** How long the last answers are waited for after the end of input. */
const DRAIN_MS = 5000;
/** JSON-RPC leaves this range to servers. */
const CONNECTION_LOST = -32_000;

export interface BridgeOptions {
  readonly socketPath: string;
  readonly input: Readable;
  readonly output: Writable;
  readonly clock: Clock;
  readonly random: Random;
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

class Bridge {
  readonly #options: BridgeOptions;
  /** Not yet written to any socket, or to be written again, in order. */
  #queue: Line[] = [];
  /** Written, and not answered, in order. */
  readonly #sent = new Map<string, Line>();
  readonly #standing = new Standing();
  readonly #progress = new ToldProgress();
  #initialize: Line | undefined;
  #initialized: Line | undefined;
  /** Whether the client has had its answer to `initialize`. */
  #isGreeted = false;
  /** Whether the daemon of this connection runs a call with a key once. */
  #knowsKeys = false;
  /** The answer that completes a step of a repeated handshake, and is not for the client. */
  #awaited: { readonly key: string; readonly done: (answer: JsonObject) => void } | undefined;
  /** The newest connection; `#socket` from the end of its handshake to its own. */
  #dialled: Socket | undefined;
  #socket: Socket | undefined;
  #isConnecting = false;
  #wasConnected = false;
  /** The line that is being written. */
  #writing: Line | undefined;
  #isFlushing = false;
  #isInputEnded = false;
  /** Why the daemon does not let us in: it is not asked again. */
  #refusal: string | undefined;
  #finish: () => void = () => {};
  /** The client has said all it has to say. */
  readonly #impatience = new AbortController();
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
    output.on('drain', () => this.#socket?.resume());
    input.on('error', () => this.#inputEnded());
    input.on('end', () => this.#inputEnded());
    input.on('close', () => this.#inputEnded());
    input.on('data', (chunk: Buffer) => this.#readInput(reader, chunk));
    if (signal.aborted) this.#finish();
    else this.#connect();
    await finished;
    this.#end.abort();
    this.#dialled?.destroy();
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
    const { random, token } = this.#options;
    const line = presenting(lineOf(frame, random), token);
    if (this.#refusal !== undefined) {
      if (line.key !== undefined) this.#answerError(line.id, this.#refusal, REFUSED);
      return;
    }
    if (line.method === 'initialize') {
      this.#initialize = line;
      this.#isGreeted = false;
    }
    // With an id it is a request, which only the daemon can answer.
    const isCancelling = line.method === 'notifications/cancelled' && line.key === undefined;
    if (!isCancelling) this.#queue.push(line);
    else if (!this.#forget(line)) return;
    this.#connect();
    void this.#flush();
  }

  /**
   * A cancelled request gets no answer. What no daemon has is not sent; else the daemon hears of it,
   * before all that waits. Whether it is to hear.
   */
  #forget(line: Line): boolean {
    const key = JSON.stringify(line.params?.['requestId']) ?? '';
    const waiting = this.#queue.find((other) => other.key === key);
    const known = waiting ?? this.#sent.get(key);
    this.#progress.forget(known?.progressToken);
    this.#sent.delete(key);
    if (waiting !== undefined && waiting !== this.#writing) {
      this.#remove(waiting);
      this.#finishIfDone();
      return false;
    }
    if (waiting !== undefined) this.#remove(waiting);
    this.#queue.unshift(line);
    return true;
  }

  #remove(line: Line): void {
    this.#queue = this.#queue.filter((other) => other !== line);
  }

  #inputEnded(): void {
    if (this.#isInputEnded) return;
    this.#isInputEnded = true;
    this.#options.clock.sleep(DRAIN_MS, this.#end.signal).then(
      () => {
        if (this.#socket === undefined) this.#giveUp();
        this.#finish();
      },
      () => {}, // Everything was answered before.
    );
    // Nobody waits who has said his last word: a daemon that was never there is not there.
    this.#impatience.abort();
    this.#finishIfDone();
  }

  #finishIfDone(): void {
    const isIdle = this.#queue.length === 0 && this.#sent.size === 0 && !this.#isFlushing;
    if (this.#isInputEnded && isIdle) this.#finish();
    else if (this.#queue.length + this.#sent.size <= BRIDGE_REQUESTS_MAX) {
      this.#options.input.resume();
    }
  }

  /** Looks for the daemon until it is found or has been waited for long enough. */
  #connect(): void {
    if (this.#socket !== undefined || this.#isConnecting || this.#refusal !== undefined) return;
    this.#isConnecting = true;
    this.#adoptOne().then(
      () => {
        this.#isConnecting = false;
        void this.#flush();
      },
      (error: unknown) => {
        this.#isConnecting = false;
        if (this.#end.signal.aborted) return;
        this.#options.log.warn({ err: error }, 'no daemon');
        this.#giveUp();
      },
    );
  }

  /** A connection may be lost in its handshake: the daemon was just dying, or dies again. */
  async #adoptOne(): Promise<void> {
    const { clock, socketPath: path } = this.#options;
    const { signal } = this.#end;
    for (let losses = 0; ; losses += 1) {
      const impatience = this.#wasConnected ? signal : this.#impatience.signal;
      const socket = await dial({ path, clock, signal, impatience });
      if (signal.aborted) {
        socket.destroy();
        return;
      }
      try {
        await this.#adopt(socket);
        return;
      } catch (error) {
        socket.destroy();
        // What waited was answered with why it does not let us in.
        if (this.#refusal !== undefined) return;
        if (losses === BRIDGE_LOSSES_MAX) throw error;
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
        reader.push(chunk, (frame) => this.#give(frame, socket));
      } catch {
        socket.destroy();
      }
    });
    this.#dialled = socket;
    this.#wasConnected = true;
    if (this.#isGreeted) await Promise.race([this.#greet(socket), lost]);
    this.#socket = socket;
    socket.once('close', () => this.#lost(socket));
    if (socket.destroyed) this.#lost(socket);
  }

  /** Repeats what the client said when it came and what it has asked for since. */
  async #greet(socket: Socket): Promise<void> {
    const initialize = this.#initialize;
    if (initialize === undefined) return;
    this.#knowsKeys = knowsKeys(await this.#ask(socket, initialize));
    if (this.#initialized !== undefined) {
      await write(socket, Buffer.concat([this.#initialized.frame, NEWLINE]));
    }
    for (const line of this.#standing.lines) {
      await this.#ask(socket, line);
      // Of what happened in between the client has heard nothing.
      if (line.method === 'resources/subscribe') this.#tellUpdated(line);
    }
  }

  /** The answer is for nobody else. */
  async #ask(socket: Socket, { key = '', frame }: Line): Promise<JsonObject> {
    const answered = new Promise<JsonObject>((done) => {
      this.#awaited = { key, done };
    });
    try {
      await write(socket, Buffer.concat([frame, NEWLINE]));
      return await answered;
    } finally {
      this.#awaited = undefined;
    }
  }

  #tellUpdated({ params }: Line): void {
    const method = 'notifications/resources/updated';
    this.#options.output.write(
      frameOf({ jsonrpc: '2.0', method, params: { uri: params?.['uri'] } }),
    );
  }

  /** One line of the daemon. */
  #give(frame: Buffer, socket: Socket): void {
    const message = parseFrame(frame);
    if (!isJsonObject(message)) {
      this.#options.log.warn({ bytes: frame.length }, 'the daemon said what is no message');
      return;
    }
    const refusal = refusalIn(message);
    if (refusal !== undefined) {
      this.#refused(refusal);
      return;
    }
    if ('method' in message) {
      const isProgress = message['method'] === 'notifications/progress';
      if (isProgress && !this.#progress.isNew(message['params'])) return;
    } else if (this.#isForUs(message)) return;
    const isTaken = this.#options.output.write(Buffer.concat([frame, NEWLINE]));
    if (!isTaken) socket.pause();
    // Some wait until there is room for them.
    void this.#flush();
    this.#finishIfDone();
  }

  /** Takes note of an answer; whether the client did not ask for it. */
  #isForUs(answer: JsonObject): boolean {
    const id = idOf(answer);
    if (id === undefined) return false;
    const key = JSON.stringify(id);
    if (this.#awaited?.key === key) {
      this.#awaited.done(answer);
      return true;
    }
    const line = this.#sent.get(key);
    if (line === undefined) return false;
    this.#sent.delete(key);
    this.#progress.forget(line.progressToken);
    if (line.method === 'initialize') {
      this.#isGreeted = true;
      this.#knowsKeys = knowsKeys(answer);
    }
    if ('result' in answer) this.#standing.granted(line);
    return false;
  }

  /**
   * Writes the queue, line by line, and the end of a line apart from it: without its end the
   * daemon cannot run it, so that up to there it is safe to send it again.
   */
  async #flush(): Promise<void> {
    if (this.#isFlushing) return;
    this.#isFlushing = true;
    for (;;) {
      const socket = this.#socket;
      const [line] = this.#queue;
      if (socket === undefined || line === undefined || this.#mustWait(line)) break;
      this.#writing = line;
      try {
        await write(socket, line.frame);
        // From now on it may be run. It is there no more when it was cancelled meanwhile.
        if (line.key !== undefined && this.#queue.includes(line)) this.#sent.set(line.key, line);
        this.#remove(line);
        if (line.method === 'notifications/initialized') this.#initialized = line;
        await write(socket, NEWLINE);
      } catch {
        socket.destroy();
        this.#lost(socket);
      }
      this.#writing = undefined;
    }
    this.#isFlushing = false;
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

  /**
   * Nothing overtakes a handshake: before its answer nobody knows what the daemon can. What is sent
   * again is not more at a time than the daemon takes: it was accepted once.
   */
  #mustWait({ losses, method }: Line): boolean {
    const sent = [...this.#sent.values()];
    if (sent.some((other) => other.method === 'initialize')) return true;
    if (losses === 0 || method !== 'tools/call') return false;
    return sent.filter((other) => other.method === method).length >= CALLS_PER_CONNECTION_MAX;
  }

  /** The daemon went away: what has no answer is sent again, as far as that is safe. */
  #lost(socket: Socket): void {
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    if (this.#end.signal.aborted) return;
    const again: Line[] = [];
    for (const [key, line] of [...this.#sent]) {
      this.#sent.delete(key);
      line.losses += 1;
      const isSafe = line.repeated === 'freely' || (line.repeated === 'keyed' && this.#knowsKeys);
      if (isSafe && line.losses <= BRIDGE_LOSSES_MAX) again.push(line);
      else this.#answerLost(line);
    }
    this.#queue.unshift(...again);
    this.#connect();
    this.#finishIfDone();
  }

  #answerLost({ id, losses }: Line): void {
    const what =
      losses > 1
        ? `the daemon went away ${losses} times before it answered`
        : 'the connection to the daemon was lost before it answered';
    this.#answerError(id, `${what}; the call may have run: look before you call again`);
  }

  /** Answers everything that waits for a daemon that does not come. */
  #giveUp(): void {
    const waiting = this.#queue;
    this.#queue = [];
    for (const line of waiting) {
      const path = this.#options.socketPath;
      if (line.key === undefined) continue;
      if (line.losses > 0 && line.repeated === 'keyed') this.#answerLost(line);
      else {
        this.#answerError(
          line.id,
          `no kitfs daemon answers at ${path}; start it with: kitfs mount`,
        );
      }
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
