/**
 * Calls of Kubo's RPC (`POST /api/v0/…`): each with its deadline, sent again where that is safe,
 * and refused to a Kubo that is too old.
 *
 * Invariants: what may have changed something is sent again only if its caller says that twice is
 * as once; a source of bytes is never read twice; no address or secret is kept beyond the loss of the
 * connection that it was read for.
 */
import type { Clock } from '../../base/clock.ts';
import { OpError } from '../../base/errors.ts';
import {
  NODE_ANSWER_BYTES_MAX,
  NODE_REPEAT_MS,
  NODE_REPEATS_MAX,
  NODE_TRANSFER_MS,
} from '../../base/limits.ts';
import type { Random } from '../../base/random.ts';
import type { CallOptions } from '../call.ts';
import { Deadline } from '../deadline.ts';
import type { Answer } from './answer.ts';
import type { Address, Endpoint } from './endpoint.ts';
import { lateFault, refusalOf } from './faults.ts';
import type { Multipart } from './multipart.ts';
import { type Lane, Transport } from './transport.ts';
import { isCompatible, MIN_VERSION } from './version.ts';
import { Fields, jsonOf, textOf } from './wire.ts';

export interface RpcOptions {
  readonly endpoint: Endpoint;
  /** Value of the header `Authorization`, read anew with each connection; undefined: none. */
  readonly authorization: (() => string) | undefined;
  readonly requestsMax: number;
  /** Of calls in the lane `short` that name no deadline. */
  readonly callMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

type Value = string | number | boolean | undefined;

export interface Ask {
  readonly command: string;
  readonly args?: readonly string[];
  readonly query?: Readonly<Record<string, Value>>;
  /** Made anew for each time it is sent. */
  readonly body?: () => Multipart;
  /** `short` when absent. */
  readonly lane?: Lane;
  /**
   * `always`: twice is as once, and so is the body. `unseen`, when absent: only if the node cannot
   * have seen it; with a body never.
   */
  readonly repeat?: 'always' | 'unseen';
  /** For commands that must answer a Kubo of any version. */
  readonly anyVersion?: boolean;
}

/** A call that is under way, with what ends it. */
export interface Underway {
  readonly answer: Answer;
  readonly deadline: Deadline;
}

export class Rpc {
  readonly #options: RpcOptions;
  readonly #transport: Transport;
  readonly #closed = new AbortController();
  #address: Address | undefined;
  #authorization: string | undefined;
  #isVersionKnown = false;

  constructor(options: RpcOptions) {
    this.#options = options;
    this.#transport = new Transport(options.requestsMax);
  }

  get endpoint(): string {
    return this.#options.endpoint.text;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  get random(): Random {
    return this.#options.random;
  }

  /** One JSON object. @throws as `IpfsNode`. */
  async json(ask: Ask, options: CallOptions): Promise<Fields> {
    return await this.#read(ask, options, async (answer, op) => {
      const text = textOf(await answer.bytes(NODE_ANSWER_BYTES_MAX), op);
      return fieldsOf(jsonOf(text, op), op);
    });
  }

  /** For answers that say nothing: one that says anything is none. @throws as `IpfsNode`. */
  async done(ask: Ask, options: CallOptions): Promise<void> {
    await this.bytes(ask, options, 0);
  }

  /** The whole body. @throws as `IpfsNode`. */
  async bytes(ask: Ask, options: CallOptions, bytesMax: number): Promise<Buffer> {
    return await this.#read(ask, options, (answer) => answer.bytes(bytesMax));
  }

  /**
   * What `take` makes of all the lines of an answer; it begins anew when the answer breaks off and
   * the call may be repeated.
   * @throws as `IpfsNode`, and what `take` throws.
   */
  async gathered<T>(
    ask: Ask,
    options: CallOptions,
    take: (lines: AsyncIterable<Fields>) => Promise<T>,
  ): Promise<T> {
    return await this.#read(ask, options, (answer, op) => take(linesOf(answer, op)));
  }

  /** An answer that is read to its end, or the call is as if it had not been made. */
  async #read<T>(
    ask: Ask,
    options: CallOptions,
    read: (answer: Answer, op: string) => Promise<T>,
  ): Promise<T> {
    using deadline = this.#deadline(ask, options);
    return await this.#repeated(ask, deadline, async () => {
      using answer = await this.#sent(ask, deadline);
      return await read(answer, deadline.op);
    });
  }

  /**
   * One JSON value a line. Sent again only before it begins. Without a deadline it may last as long as
   * anything comes or goes.
   * @throws as `IpfsNode`.
   */
  async *lines(ask: Ask, options: CallOptions): AsyncGenerator<Fields, void, undefined> {
    using deadline = this.#lasting(ask, options);
    using answer = await this.#repeated(ask, deadline, () => this.#sent(ask, deadline));
    for await (const line of linesOf(answer, deadline.op)) {
      deadline.moved();
      yield line;
    }
  }

  /** The body as it comes. Sent again only before it begins; lasts as `lines`. @throws as `IpfsNode`. */
  async *stream(ask: Ask, options: CallOptions): AsyncGenerator<Buffer, void, undefined> {
    using deadline = this.#lasting(ask, options);
    using answer = await this.#repeated(ask, deadline, () => this.#sent(ask, deadline));
    for await (const chunk of answer.chunks(Number.MAX_SAFE_INTEGER)) {
      deadline.moved();
      yield chunk;
    }
  }

  /**
   * Resolves when the answer has begun; from then on only the signal ends it. Whoever is given it
   * disposes of both.
   * @throws as `IpfsNode`.
   */
  async hold(ask: Ask, options: CallOptions): Promise<Underway> {
    const deadline = this.#deadline(ask, options);
    try {
      const answer = await this.#repeated(ask, deadline, () => this.#sent(ask, deadline));
      deadline.lift();
      return { answer, deadline };
    } catch (error) {
      deadline[Symbol.dispose]();
      throw error;
    }
  }

  /** Ends every call; later ones are refused. */
  close(): void {
    const hint = 'kitfs stops, or has another node now';
    this.#closed.abort(new OpError('not-ready', `close ${this.endpoint}`, { hint }));
    this.#transport.close();
  }

  /** One end for several calls that are one to the caller. @throws OpError cancelled, timeout. */
  deadline(op: string, options: CallOptions, lane: Lane = 'short'): Deadline {
    const own = lane === 'long' ? NODE_TRANSFER_MS : this.#options.callMs;
    const deadlineMs = options.deadlineMs ?? own;
    const closed = this.#closed.signal;
    return new Deadline(op, { ...options, deadlineMs }, { clock: this.clock, closed });
  }

  #deadline(ask: Ask, options: CallOptions): Deadline {
    return this.deadline(opOf(ask), options, ask.lane);
  }

  /** How much content there is nobody knows here: when the caller sets no end, standing still is one. */
  #lasting(ask: Ask, options: CallOptions): Deadline {
    if (options.deadlineMs !== undefined) return this.#deadline(ask, options);
    const ends = { ...options, deadlineMs: NODE_TRANSFER_MS, isIdle: true };
    return new Deadline(opOf(ask), ends, { clock: this.clock, closed: this.#closed.signal });
  }

  /** Does it, and again as often as it may be and helps. */
  async #repeated<T>(ask: Ask, deadline: Deadline, once: () => Promise<T>): Promise<T> {
    for (let repeats = 0; ; repeats++) {
      this.#authorization ??= this.#options.authorization?.();
      const shown = this.#authorization;
      try {
        return await once();
      } catch (error) {
        if (!(error instanceof OpError) || !mayRepeat(ask, error, repeats)) throw error;
        await this.#prepare(error, { repeats, shown }, deadline);
      }
    }
  }

  /** What a repeat needs: another connection, another secret, or only time. */
  async #prepare(
    error: OpError,
    { repeats, shown }: { readonly repeats: number; readonly shown: string | undefined },
    { signal }: Deadline,
  ): Promise<void> {
    if (error.failure === 'credentials-invalid') {
      this.#authorization = this.#options.authorization?.();
      if (this.#authorization === shown) throw error; // It would be refused again.
      return;
    }
    if (error.failure === 'not-running') this.#forget();
    const spread = 0.75 + 0.5 * fraction(this.random);
    await this.clock.sleep(NODE_REPEAT_MS * 2 ** repeats * spread, signal);
  }

  /** The node may come back elsewhere, with another secret, and be another Kubo. */
  #forget(): void {
    this.#address = undefined;
    this.#authorization = undefined;
    this.#isVersionKnown = false;
    this.#transport.forget();
  }

  /** @throws OpError what a refusal means. */
  async #sent(ask: Ask, deadline: Deadline): Promise<Answer> {
    if (ask.anyVersion !== true && !this.#isVersionKnown) await this.#demandVersion(deadline);
    const answer = await this.#answer(ask, deadline);
    if (answer.status === 200) return answer;
    using refusal = answer;
    throw refusalOf(refusal.status, await refusal.refusal(), deadline.op);
  }

  async #answer(ask: Ask, deadline: Deadline): Promise<Answer> {
    this.#address ??= await this.#options.endpoint.resolve();
    const body = ask.body?.();
    const { op, signal } = deadline;
    const headers = {
      ...(this.#authorization === undefined ? {} : { authorization: this.#authorization }),
      ...(body === undefined ? {} : { 'content-type': body.contentType }),
    };
    const outgoing = {
      path: pathOf(ask, deadline.toldMs),
      lane: ask.lane ?? 'short',
      headers,
      body: body === undefined ? undefined : moving(body.chunks, deadline),
    };
    return await this.#transport.send(this.#address, outgoing, { op, signal });
  }

  /** @throws OpError version-unsupported. */
  async #demandVersion(deadline: Deadline): Promise<void> {
    using answer = await this.#answer({ command: 'version' }, deadline);
    const { op } = deadline;
    if (answer.status !== 200) throw refusalOf(answer.status, await answer.refusal(), op);
    const text = textOf(await answer.bytes(NODE_ANSWER_BYTES_MAX), op);
    const version = new Fields(jsonOf(text, op), op).text('Version');
    if (!isCompatible(version)) {
      throw new OpError('version-unsupported', op, {
        hint: `upgrade Kubo to ${MIN_VERSION}`,
        details: { service: 'kubo', partial: { version, min_version: MIN_VERSION } },
      });
    }
    this.#isVersionKnown = true;
  }
}

/** What a call does, for errors and logs: its command and what it is about. */
const opOf = ({ command, args = [] }: Ask): string => [command, ...args].join(' ');

/** Whether an error ends with a repeat, and does no harm. */
function mayRepeat(ask: Ask, { failure, details }: OpError, repeats: number): boolean {
  const isUnseen = failure === 'credentials-invalid' || details['sent'] === false;
  const isSafe = ask.repeat === 'always' || (isUnseen && ask.body === undefined);
  if (!isSafe || repeats >= NODE_REPEATS_MAX) return false;
  // Nobody listens there: the address is read once more, and that must do.
  if (failure === 'credentials-invalid' || details['sent'] === false) return repeats === 0;
  return failure === 'not-running' || failure === 'response-invalid';
}

function pathOf({ command, args = [], query = {}, lane }: Ask, leftMs: number | undefined): string {
  const pairs: [string, Value][] = args.map((arg) => ['arg', arg]);
  pairs.push(...Object.entries(query));
  // Kubo gives up too, when nobody waits for it any more.
  if (lane !== 'held' && leftMs !== undefined) pairs.push(['timeout', `${leftMs}ms`]);
  const text = pairs
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`)
    .join('&');
  return `/api/v0/${command}?${text}`;
}

/** Bytes on their way out: the next piece is asked for when the node took the one before. */
async function* moving(
  chunks: AsyncIterable<Uint8Array>,
  deadline: Deadline,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const chunk of chunks) {
    deadline.moved();
    yield chunk;
  }
}

async function* linesOf(answer: Answer, op: string): AsyncGenerator<Fields, void, undefined> {
  for await (const line of answer.lines(Number.MAX_SAFE_INTEGER)) {
    yield fieldsOf(jsonOf(line, op), op);
  }
}

/** An object, or the error that Kubo puts where one was expected. */
function fieldsOf(value: unknown, op: string): Fields {
  const fields = new Fields(value, op);
  const { Message: message, Type: type } = fields.all;
  if (type === 'error' && typeof message === 'string') throw lateFault(message, op);
  return fields;
}

/** Evenly from 0 to 1. */
const fraction = (random: Random): number =>
  Buffer.from(random.token(), 'base64url').readUInt16BE(0) / 0x1_0000;
