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
import { NODE_ANSWER_BYTES_MAX } from '../../base/limits.ts';
import type { Random } from '../../base/random.ts';
import type { CallOptions } from '../call.ts';
import type { Deadline } from '../deadline.ts';
import type { Answer } from '../http/answer.ts';
import { type Repeat, Session, type SessionOptions } from '../http/session.ts';
import type { Lane } from '../http/transport.ts';
import { Fields, jsonOf, textOf } from '../http/wire.ts';
import { lateFault, refusalOf } from './faults.ts';
import type { Multipart } from './multipart.ts';
import { isCompatible, MIN_VERSION } from './version.ts';

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
  readonly #session: Session;

  constructor(options: SessionOptions) {
    this.#session = new Session(options, {
      service: 'kubo',
      lateFault,
      demandVersion: (deadline) => this.#demandVersion(deadline),
    });
  }

  get endpoint(): string {
    return this.#session.endpoint;
  }

  get clock(): Clock {
    return this.#session.clock;
  }

  get random(): Random {
    return this.#session.random;
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
    return await this.#session.repeated(repeatOf(ask), deadline, async () => {
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
    using deadline = this.#session.lasting(opOf(ask), options, ask.lane);
    using answer = await this.#session.repeated(repeatOf(ask), deadline, () =>
      this.#sent(ask, deadline),
    );
    for await (const line of linesOf(answer, deadline.op)) {
      deadline.moved();
      yield line;
    }
  }

  /** The body as it comes. Sent again only before it begins; lasts as `lines`. @throws as `IpfsNode`. */
  async *stream(ask: Ask, options: CallOptions): AsyncGenerator<Buffer, void, undefined> {
    using deadline = this.#session.lasting(opOf(ask), options, ask.lane);
    using answer = await this.#session.repeated(repeatOf(ask), deadline, () =>
      this.#sent(ask, deadline),
    );
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
      const answer = await this.#session.repeated(repeatOf(ask), deadline, () =>
        this.#sent(ask, deadline),
      );
      deadline.lift();
      return { answer, deadline };
    } catch (error) {
      deadline[Symbol.dispose]();
      throw error;
    }
  }

  /** Ends every call; later ones are refused. */
  close(): void {
    this.#session.close();
  }

  /** One end for several calls that are one to the caller. @throws OpError cancelled, timeout. */
  deadline(op: string, options: CallOptions, lane?: Lane): Deadline {
    return this.#session.deadline(op, options, lane);
  }

  #deadline(ask: Ask, options: CallOptions): Deadline {
    return this.deadline(opOf(ask), options, ask.lane);
  }

  /** @throws OpError what a refusal means. */
  async #sent(ask: Ask, deadline: Deadline): Promise<Answer> {
    if (ask.anyVersion !== true) await this.#session.demandVersion(deadline);
    const answer = await this.#answer(ask, deadline);
    if (answer.status === 200) return answer;
    using refusal = answer;
    throw refusalOf(refusal.status, await refusal.refusal(), deadline.op);
  }

  async #answer(ask: Ask, deadline: Deadline): Promise<Answer> {
    const body = ask.body?.();
    const outgoing = {
      method: 'POST',
      path: pathOf(ask, deadline.toldMs),
      lane: ask.lane ?? 'short',
      headers: body === undefined ? {} : { 'content-type': body.contentType },
      body: body === undefined ? undefined : moving(body.chunks, deadline),
    } as const;
    return await this.#session.send(outgoing, deadline);
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
  }
}

/** What a call does, for errors and logs: its command and what it is about. */
const opOf = ({ command, args = [] }: Ask): string => [command, ...args].join(' ');

/** A source of bytes is read once, unless its caller says that it may be made anew. */
const repeatOf = ({ repeat = 'unseen', body }: Ask): Repeat =>
  repeat === 'unseen' && body !== undefined ? 'never' : repeat;

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
