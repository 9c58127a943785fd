/**
 * A proxy in front of a node that does to some answers what networks and servers do:
 *
 *     await using proxy = await FaultyProxy.start(node.api);
 *     const torn = proxy.fault('cat', { kind: 'truncate', keepBytes: 1000, end: 'abort' });
 *     ... // with the node at `proxy.api`
 *     expect(torn.hits).toBe(1);
 *
 * Everything else goes through as it is: bytes, trailers, and the end of a connection on either side.
 *
 * Invariants: it listens on 127.0.0.1 only; a hit is counted when the fault had its effect and not when it was meant
 * to (a body too short to be cut is no hit); `close` throws for a fault that was never hit, because a test of it would
 * have tested nothing; nothing that hangs outlives the proxy.
 */
import { once } from 'node:events';
import type { IncomingMessage, OutgoingHttpHeaders, Server, ServerResponse } from 'node:http';
import { Agent, createServer, request } from 'node:http';
import type { Socket } from 'node:net';
import { finished } from 'node:stream/promises';
import { setTimeout as wait } from 'node:timers/promises';
import { connectionOf } from './rpc.ts';

/**
 * `before`: the node never hears of the call. `after`: the node has done what it was asked, and the client does not
 * learn of it. `during`: the client has the head and the first `keepBytes` of the body.
 */
type When =
  | { readonly when: 'before' | 'after' }
  | { readonly when: 'during'; readonly keepBytes: number };

export type Fault =
  /** `clean`: a shorter body that ends as a whole one does, without trailers. `abort`: the connection is torn. */
  | { readonly kind: 'truncate'; readonly keepBytes: number; readonly end: 'clean' | 'abort' }
  /** One byte of the body has all its bits turned. */
  | { readonly kind: 'flip'; readonly atByte: number }
  /** Silence, for as long as the client holds the connection. */
  | ({ readonly kind: 'hang' } & When)
  /** The connection is torn without an answer. */
  | { readonly kind: 'reset'; readonly when: 'before' | 'after' }
  /** Another answer; the node never hears of the call. */
  | {
      readonly kind: 'status';
      readonly status: number;
      readonly body?: string;
      readonly headers?: OutgoingHttpHeaders;
    }
  /** The call reaches the node later. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** As a hang, until the test lets it go on. */
  | ({ readonly kind: 'hold'; readonly until: Promise<void> } & Exclude<When, { when: 'after' }>)
  /** The body is whole; what the node says after it is not there. */
  | { readonly kind: 'trailers' }
  /** What the node says is no JSON. It has done what it was asked, or, `before`, never heard of it. */
  | { readonly kind: 'garbage'; readonly when?: 'before' | 'after' };

export interface FaultOptions {
  /** How many of the calls it is for pass unharmed before the first one that does not; none when absent. */
  readonly skip?: number;
  /** After so many calls that it was meant for it is over; never when absent. */
  readonly times?: number;
}

export interface PlantedFault {
  /** How often it had its effect. */
  readonly hits: number;
  /** Resolves when it has had its effect for the first time. */
  readonly struck: Promise<void>;
  /** From now on the calls pass. */
  lift(): void;
}

/** What has come, and what went back: the status of the node, 0 when it was not asked, and bytes of a body. */
export interface Passed {
  readonly path: string;
  readonly status: number;
  readonly bytes: number;
}

/** A command, as `files/stat`, or what the path after `/api/v0/` with its query looks like. */
export type Calls = string | RegExp;

const GARBAGE = '{"Hash": "bafy<html>\u0000]';

const isFor = (calls: Calls, path: string) =>
  typeof calls === 'string' ? path.split('?')[0] === calls : calls.test(path);

class Planted implements PlantedFault {
  readonly calls: Calls;
  readonly fault: Fault;
  readonly struck: Promise<void>;
  #strike = (): void => {};
  #hits = 0;
  #toSkip: number;
  #left: number;

  constructor(calls: Calls, fault: Fault, { skip = 0, times = Infinity }: FaultOptions) {
    this.calls = calls;
    this.fault = fault;
    this.#toSkip = skip;
    this.#left = times;
    this.struck = new Promise((resolve) => {
      this.#strike = resolve;
    });
  }

  get hits(): number {
    return this.#hits;
  }

  hit(): void {
    this.#hits++;
    this.#strike();
  }

  /** Whether this call is one to harm. */
  takes(path: string): boolean {
    if (this.#left === 0 || !isFor(this.calls, path)) return false;
    if (this.#toSkip > 0) {
      this.#toSkip--;
      return false;
    }
    this.#left--;
    return true;
  }

  lift(): void {
    this.#left = 0;
  }
}

/** What is to be done to one call, and what is noted of it. */
interface Meddling {
  readonly fault: Fault | undefined;
  readonly hit: () => void;
  readonly passed: { status: number; bytes: number };
}

/** A connection is torn: whoever reads from it gets ECONNRESET. */
class Torn extends Error {}

/** How much of a body gets through. */
function keptBytesMax(fault: Fault | undefined): number {
  if (fault?.kind === 'truncate') return fault.keepBytes;
  const stops = fault?.kind === 'hang' || fault?.kind === 'hold';
  return stops && fault.when === 'during' ? fault.keepBytes : Infinity;
}

/** Whether the body is to look whole and is not. */
const isShortened = (fault: Fault | undefined) =>
  fault?.kind === 'truncate' && fault.end === 'clean';

/** A copy with the byte turned, when it is in this piece of the body. */
function flipped(chunk: Buffer, position: number, atByte: number): Buffer | undefined {
  const byte = chunk[atByte - position];
  if (byte === undefined) return undefined;
  const bent = Buffer.from(chunk);
  bent[atByte - position] = ~byte & 0xff;
  return bent;
}

/** Resolves when the system has the bytes. */
const written = (answer: ServerResponse, bytes: Buffer) =>
  new Promise<void>((resolve, reject) => {
    answer.write(bytes, (error) => (error ? reject(error) : resolve()));
  });

async function drained(upstream: IncomingMessage): Promise<void> {
  upstream.resume();
  await finished(upstream);
}

/** Without what belongs to one connection, or no longer fits a body that was changed. */
function headersOf(message: IncomingMessage, isChanged: boolean): OutgoingHttpHeaders {
  const { connection: _, 'keep-alive': __, ...headers } = message.headers;
  if (isChanged) delete headers['content-length'];
  return headers;
}

export class FaultyProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #target: ReturnType<typeof connectionOf>;
  readonly #agent = new Agent({ keepAlive: false });
  readonly #planted: Planted[] = [];
  readonly #passed: { path: string; status: number; bytes: number }[] = [];
  readonly #expected = new Set<{ readonly calls: Calls; readonly come: () => void }>();
  readonly #sockets = new Set<Socket>();
  readonly #underWay = new Set<ServerResponse>();
  readonly #closing = new AbortController();

  /** Listens before a node that is, or will be, at `api`. */
  static async start(api: string): Promise<FaultyProxy> {
    const proxy = new FaultyProxy(api);
    proxy.#server.listen({ host: '127.0.0.1', port: 0 });
    await once(proxy.#server, 'listening');
    return proxy;
  }

  private constructor(api: string) {
    this.#target = connectionOf(api);
    // A client's pool finds its idle connections closed by the node only, never by the proxy.
    const lasting = { keepAliveTimeout: 0, requestTimeout: 0 };
    this.#server = createServer(lasting, (call, answer) => {
      this.#serve(call, answer).catch(() => {
        // The client, or the node, has gone; the other one is told in the same way.
        answer.destroy();
        call.destroy();
      });
    });
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.once('close', () => this.#sockets.delete(socket));
    });
  }

  /** `http://127.0.0.1:PORT` */
  get api(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('it does not listen');
    return `http://127.0.0.1:${address.port}`;
  }

  /** From now on, harms the calls; of several faults for one call, the first that is not over. */
  fault(calls: Calls, fault: Fault, options: FaultOptions = {}): PlantedFault {
    const planted = new Planted(calls, fault, options);
    this.#planted.push(planted);
    return planted;
  }

  /** How many calls have come, harmed or not. */
  count(calls: Calls): number {
    return this.#passed.filter(({ path }) => isFor(calls, path)).length;
  }

  /** Resolves when the next of these calls comes, before it goes on, or the signal aborts. */
  next(calls: Calls, signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const expected = { calls, come: resolve };
      this.#expected.add(expected);
      signal.addEventListener('abort', () => {
        this.#expected.delete(expected);
        resolve();
      });
    });
  }

  /** All that has come, in order. */
  get passed(): readonly Passed[] {
    return this.#passed;
  }

  /** Resolves when no client holds a call that was not answered to its end. */
  async quiet(): Promise<void> {
    for (const answer of this.#underWay) await once(answer, 'close');
  }

  /** Connections of clients that are open, idle ones too. */
  get connections(): number {
    return this.#sockets.size;
  }

  /** Resolves when no client is connected. */
  async deserted(): Promise<void> {
    for (const socket of this.#sockets) await once(socket, 'close');
  }

  async #serve(call: IncomingMessage, answer: ServerResponse): Promise<void> {
    const path = (call.url ?? '').replace('/api/v0/', '');
    const passed = { path, status: 0, bytes: 0 };
    this.#passed.push(passed);
    for (const expected of this.#expected) {
      if (!isFor(expected.calls, path)) continue;
      this.#expected.delete(expected);
      expected.come();
    }
    this.#underWay.add(answer);
    answer.once('close', () => this.#underWay.delete(answer));
    const planted = this.#planted.find((one) => one.takes(path));
    const hit = () => planted?.hit();
    const fault = planted?.fault;
    switch (fault?.kind) {
      case 'status':
        hit();
        call.resume();
        answer.writeHead(fault.status, { 'Content-Type': 'text/plain', ...fault.headers });
        answer.end(fault.body ?? `planted ${fault.status}`);
        return;
      case 'delay':
        await wait(fault.ms, undefined, { signal: this.#closing.signal });
        hit();
        break;
      case 'hold':
        if (fault.when !== 'before') break;
        hit();
        await fault.until;
        break;
      case 'garbage':
        if (fault.when !== 'before') break;
        hit();
        call.resume();
        answer.end(GARBAGE);
        return;
      case 'hang':
      case 'reset':
        if (fault.when !== 'before') break;
        hit();
        call.resume();
        if (fault.kind === 'reset') throw new Torn();
        // Until the client, or the proxy, closes the connection.
        return;
      default:
    }
    await this.#forward(call, answer, { fault, hit, passed });
  }

  async #forward(
    call: IncomingMessage,
    answer: ServerResponse,
    { fault, hit, passed }: Meddling,
  ): Promise<void> {
    const onward = request({
      ...this.#target,
      agent: this.#agent,
      method: call.method,
      path: call.url,
      headers: headersOf(call, false),
    });
    const answered = once(onward, 'response') as Promise<[IncomingMessage]>;
    // A client that goes away is seen by the node at once.
    answer.once('close', () => {
      if (!answer.writableFinished) onward.destroy();
    });
    call.on('error', () => onward.destroy());
    call.pipe(onward);
    const [upstream] = await answered;
    // It may answer, and close, before it has read everything.
    onward.on('error', () => {});
    if (fault?.kind === 'garbage') {
      await drained(upstream);
      hit();
      answer.writeHead(200, { 'Content-Type': 'application/json' });
      answer.end(GARBAGE);
      return;
    }
    if ((fault?.kind === 'hang' || fault?.kind === 'reset') && fault.when === 'after') {
      await drained(upstream);
      hit();
      if (fault.kind === 'reset') throw new Torn();
      return;
    }
    await relay(upstream, answer, { fault, hit, passed });
  }

  /** Throws, after everything is closed, when a fault was never hit. */
  async close(): Promise<void> {
    this.#closing.abort();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
    this.#agent.destroy();
    const missed = this.#planted.filter(({ hits }) => hits === 0);
    if (missed.length === 0) return;
    const what = missed.map(({ calls, fault }) => `${String(calls)} ${JSON.stringify(fault)}`);
    const seen = this.#passed.map(({ path }) => path).join(' ');
    throw new Error(`never hit: ${what.join(', ')}; calls were: ${seen === '' ? 'none' : seen}`);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/** Passes on an answer, but for what the fault makes of it. Throws when either side breaks off. */
async function relay(
  upstream: IncomingMessage,
  answer: ServerResponse,
  { fault, hit, passed }: Meddling,
): Promise<void> {
  answer.writeHead(upstream.statusCode ?? 502, headersOf(upstream, isShortened(fault)));
  answer.flushHeaders();
  passed.status = upstream.statusCode ?? 0;
  let max = keptBytesMax(fault);
  let position = 0;
  const body = upstream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>;
  for await (const chunk of body) {
    const bent = fault?.kind === 'flip' ? flipped(chunk, position, fault.atByte) : undefined;
    if (bent !== undefined) hit();
    const kept = (bent ?? chunk).subarray(0, Math.max(0, max - position));
    const rest = (bent ?? chunk).subarray(kept.length);
    position += chunk.length;
    passed.bytes += kept.length;
    if (kept.length > 0) await written(answer, kept);
    if (rest.length === 0) continue;
    hit();
    if (fault?.kind === 'hold') {
      await fault.until;
      max = Infinity;
      await written(answer, rest);
      continue;
    }
    if (fault?.kind !== 'truncate') return;
    if (fault.end === 'abort') throw new Torn();
    answer.end();
    // The node does not notice.
    return drained(upstream);
  }
  const trailers = Object.entries(upstream.trailers).map(([name, value = '']) => [name, value]);
  if (fault?.kind === 'trailers' && trailers.length > 0) hit();
  else answer.addTrailers(Object.fromEntries(trailers));
  answer.end();
}
