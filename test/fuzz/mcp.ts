/**
 * A storm of frames at a server of the agents' protocol, over its socket: on several connections at
 * once, cut at any byte, while another client goes about its business. Each request that has an id
 * gets one answer; nobody else notices.
 */
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { FRAME_BYTES_MAX } from '../../src/base/limits.ts';
import { FrameReader, parseFrame } from '../../src/mcp/frames.ts';
import { Dice } from './dice.ts';
import { dueOf, FrameMaker, isCommand } from './frames.ts';

/** An answer, or the answer to somebody else, takes longer: it hangs. */
const HANG_MS = 30_000;
const FRAMES_PER_CONNECTION = 120;
const CONNECTIONS_AT_ONCE = 4;
/** Each so many connections one sends more than any frame may be. */
const OVERSIZED_EVERY = 200;

export interface FrameStorm {
  readonly frames: number;
  readonly answers: number;
  /** The slowest answer to the client that does nothing wrong. */
  readonly slowestPingMs: number;
  readonly faults: readonly string[];
}

/** What a socket speaks. */
export interface Speech {
  readonly isControl: boolean;
  /** A request that is always answered. */
  readonly ping: (id: string | number) => object;
}

export const MCP: Speech = {
  isControl: false,
  ping: (id) => ({ jsonrpc: '2.0', id, method: 'ping' }),
};
export const CONTROL: Speech = {
  isControl: true,
  ping: (id) => ({ id, method: 'tools', params: {} }),
};

/** Sends about `count` frames, made from `seed`, to the socket at `path`. */
export async function frameStorm(
  path: string,
  { seed, count, speech = MCP }: { seed: number; count: number; speech?: Speech },
): Promise<FrameStorm> {
  const dice = new Dice(seed);
  const total = { frames: 0, answers: 0, slowestPingMs: 0 };
  const faults: string[] = [];
  const bystander = new Client(path, speech);
  await once(bystander.socket, 'connect');
  for (let begun = 0; total.frames < count && faults.length === 0; begun++) {
    const attacks = Array.from({ length: CONNECTIONS_AT_ONCE }, (_, index) => {
      const own = new Dice(dice.next());
      const left = Math.max(1, Math.ceil((count - total.frames) / CONNECTIONS_AT_ONCE));
      const isOversized = index === 0 && begun % OVERSIZED_EVERY === OVERSIZED_EVERY - 1;
      return attack(path, {
        dice: own,
        frames: Math.min(left, FRAMES_PER_CONNECTION),
        speech,
        isOversized,
      });
    });
    const startMs = performance.now();
    const answered = bystander.ping();
    const outcomes = await Promise.all(attacks);
    if (!(await answered)) faults.push('another client was not answered');
    total.slowestPingMs = Math.max(total.slowestPingMs, bystander.pingedMs - startMs);
    for (const outcome of outcomes) {
      total.frames += outcome.frames;
      total.answers += outcome.answers;
      faults.push(...outcome.faults);
    }
  }
  bystander.close();
  return { ...total, slowestPingMs: Math.round(total.slowestPingMs), faults };
}

interface Attack {
  readonly dice: Dice;
  readonly frames: number;
  readonly speech: Speech;
  readonly isOversized: boolean;
}

/** One connection: sends its frames, waits for what is due, and goes. */
async function attack(path: string, { dice, frames, speech, isOversized }: Attack) {
  const client = new Client(path, speech);
  await once(client.socket, 'connect');
  const maker = new FrameMaker(dice, speech);
  const made = Array.from({ length: frames }, () => maker.next());
  for (const frame of made) client.send(frame, dice);
  const faults: string[] = [];
  if (isOversized) {
    client.socket.write(Buffer.alloc(FRAME_BYTES_MAX + 1, 'x'));
    if (!(await within(client.closed))) faults.push('too large a frame did not end its connection');
  } else if (dice.chance(10)) {
    // Gone in the middle of everything.
    client.close();
  } else {
    const isAnswered = await client.ping();
    if (!isAnswered && !client.mayHangUp) faults.push('the connection was not served to its end');
    const isWhole = client.mayHangUp || (await within(client.settled()));
    if (!isWhole) faults.push(...client.unanswered());
    faults.push(...client.surplus());
  }
  client.close();
  await client.closed;
  const shown = made.map((frame) => frame.toString('latin1', 0, 300)).join('');
  const told = faults.map((fault) => `${fault}\n${shown.slice(0, 20_000)}`);
  return { frames, answers: client.answers, faults: told };
}

/** A client that keeps count. */
class Client {
  readonly socket: Socket;
  readonly closed: Promise<void>;
  answers = 0;
  pingedMs = 0;
  /** It said something after which the other side may hang up: the command line's socket does. */
  mayHangUp = false;
  readonly #speech: Speech;
  /** How often each id was sent, and answered. */
  readonly #sent = new Map<string, number>();
  readonly #got = new Map<string, number>();
  readonly #cancelled = new Set<string>();
  /** Ids of what is no request, and may be answered as such. */
  readonly #odd = new Set<string>();
  /** Answers without an id: to what had none, or one that was in use. */
  #nameless = 0;
  #rest = Buffer.alloc(0);
  #isClosed = false;
  #pings = 0;
  #wake: () => void = () => {};

  constructor(path: string, speech: Speech) {
    this.#speech = speech;
    this.socket = connect(path);
    this.closed = new Promise<void>((resolve) => this.socket.once('close', () => resolve()));
    void this.closed.then(() => {
      this.#isClosed = true;
      this.#wake();
    });
    this.socket.on('error', () => {}); // 'close' follows.
    const reader = new FrameReader(4 * FRAME_BYTES_MAX);
    this.socket.on('data', (chunk: Buffer) => {
      reader.push(chunk, (frame) => this.#take(parseFrame(frame)));
      this.#wake();
    });
  }

  /** Writes the bytes, in pieces cut anywhere. */
  send(bytes: Buffer, dice?: Dice): void {
    this.#count(bytes);
    for (let at = 0; at < bytes.length; ) {
      const length = dice?.chance(30) === true ? dice.between(1, bytes.length) : bytes.length;
      if (!this.socket.destroyed) this.socket.write(bytes.subarray(at, at + length));
      at += length;
    }
  }

  /** Whether the connection still answers, after everything sent so far. */
  async ping(): Promise<boolean> {
    this.#pings += 1;
    // Ids no maker makes.
    const id = this.#speech.isControl ? 2 ** 40 + this.#pings : `end ${this.#pings}`;
    this.send(Buffer.from(`\n${JSON.stringify(this.#speech.ping(id))}\n`));
    const key = JSON.stringify(id);
    const isAnswered = await within(this.#until(() => this.#got.has(key) || this.#isClosed));
    this.pingedMs = performance.now();
    return isAnswered && this.#got.has(key);
  }

  /** Resolves when nothing is due any more. */
  settled(): Promise<void> {
    return this.#until(() => this.unanswered().length === 0 || this.#isClosed);
  }

  unanswered(): string[] {
    const missing = [...this.#sent].filter(([id, count]) => {
      const due = this.#cancelled.has(id) ? 0 : Math.max(1, count - this.#nameless);
      return (this.#got.get(id) ?? 0) < due;
    });
    return missing.map(([id]) => `no answer to ${id}`);
  }

  surplus(): string[] {
    const wrong = [...this.#got].filter(([id, count]) => {
      return count > (this.#sent.get(id) ?? 0) && !this.#odd.has(id);
    });
    return wrong.map(([id, count]) => `${count} answers to ${id}`);
  }

  close(): void {
    this.socket.destroy();
  }

  #count(bytes: Buffer): void {
    const all = Buffer.concat([this.#rest, bytes]);
    let from = 0;
    for (let at = all.indexOf(10); at >= 0; at = all.indexOf(10, from)) {
      const frame = all.subarray(from, at);
      from = at + 1;
      if (frame.toString().trim() === '') continue;
      const { id, isRequest, cancels } = dueOf(frame);
      if (cancels !== undefined) this.#cancelled.add(cancels);
      if (id !== undefined && isRequest) this.#sent.set(id, (this.#sent.get(id) ?? 0) + 1);
      else if (id !== undefined) this.#odd.add(id);
      if (this.#speech.isControl && !isCommand(frame)) this.mayHangUp = true;
    }
    this.#rest = all.subarray(from);
  }

  #take(message: unknown): void {
    const { id, method, part } = (message ?? {}) as Readonly<Record<string, unknown>>;
    if (method !== undefined || part !== undefined) return; // Of progress; before the answer.
    this.answers += 1;
    if (id === null || id === undefined) this.#nameless += 1;
    else this.#got.set(JSON.stringify(id), (this.#got.get(JSON.stringify(id)) ?? 0) + 1);
  }

  async #until(is: () => boolean): Promise<void> {
    while (!is()) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

/** Whether it settles before it counts as hung. */
async function within(work: Promise<unknown>): Promise<boolean> {
  const late = new AbortController();
  const signal = AbortSignal.any([late.signal, AbortSignal.timeout(HANG_MS)]);
  const isLate = new Promise<boolean>((resolve) => {
    signal.addEventListener('abort', () => resolve(false), { once: true });
  });
  const isDone = await Promise.race([work.then(() => true), isLate]);
  late.abort();
  return isDone;
}
