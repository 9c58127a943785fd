/**
 * Calls of the REST API of one peer of a cluster (IPFS Cluster 1.1.0 or later).
 *
 * Invariant: what may have changed something is not sent again unless the peer cannot have seen it:
 * whoever needs to know reads the pinset.
 */
import { OpError } from '../../base/errors.ts';
import { NODE_ANSWER_BYTES_MAX } from '../../base/limits.ts';
import type { CallOptions } from '../call.ts';
import type { Deadline } from '../deadline.ts';
import type { Answer } from '../http/answer.ts';
import { Session, type SessionOptions } from '../http/session.ts';
import { Fields, jsonOf, textOf } from '../http/wire.ts';
import { isAtLeast } from '../version.ts';
import { lateFault, refusalOf } from './faults.ts';

/** Status filters, NDJSON, allocations: as this client knows them. */
const MIN_VERSION = '1.1.0';

type Query = readonly (readonly [name: string, value: string])[];

export interface Ask {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** What is between its slashes, not yet encoded: `['pins', 'bafy…', 'recover']`. */
  readonly path: readonly string[];
  readonly query?: Query;
}

export class Rest {
  readonly #session: Session;

  constructor(options: SessionOptions) {
    this.#session = new Session(options, {
      service: 'cluster',
      lateFault,
      demandVersion: (deadline) => this.#demandVersion(deadline),
    });
  }

  get endpoint(): string {
    return this.#session.endpoint;
  }

  /** One JSON value. @throws as `Cluster`. */
  async value(ask: Ask, options: CallOptions): Promise<unknown> {
    const op = opOf(ask);
    using deadline = this.#session.deadline(op, options);
    return await this.#session.repeated(repeatOf(ask), deadline, async () => {
      using answer = await this.#sent(ask, deadline, 'short');
      return jsonOf(textOf(await answer.bytes(NODE_ANSWER_BYTES_MAX), op), op);
    });
  }

  /** One JSON object. @throws as `Cluster`. */
  async json(ask: Ask, options: CallOptions): Promise<Fields> {
    return new Fields(await this.value(ask, options), opOf(ask));
  }

  /**
   * One JSON object a line; an empty list has no body at all. Sent again only before it begins.
   * Without a deadline it may last as long as anything comes.
   * @throws as `Cluster`.
   */
  async *lines(ask: Ask, options: CallOptions): AsyncGenerator<Fields, void, undefined> {
    const op = opOf(ask);
    using deadline = this.#session.lasting(op, options, 'long');
    using answer = await this.#session.repeated(repeatOf(ask), deadline, () =>
      this.#sent(ask, deadline, 'long'),
    );
    for await (const line of answer.lines(Number.MAX_SAFE_INTEGER)) {
      deadline.moved();
      yield new Fields(jsonOf(line, op), op);
    }
  }

  close(): void {
    this.#session.close();
  }

  /** @throws OpError what a refusal means. */
  async #sent(ask: Ask, deadline: Deadline, lane: 'short' | 'long'): Promise<Answer> {
    await this.#session.demandVersion(deadline);
    const answer = await this.#answer(ask, deadline, lane);
    if (answer.status === 200 || answer.status === 204) return answer;
    using refusal = answer;
    throw refusalOf(refusal.status, await refusal.refusal(), deadline.op);
  }

  async #answer(ask: Ask, deadline: Deadline, lane: 'short' | 'long'): Promise<Answer> {
    const { method } = ask;
    const outgoing = { method, path: pathOf(ask), lane, headers: {}, body: undefined };
    return await this.#session.send(outgoing, deadline);
  }

  /** @throws OpError version-unsupported. */
  async #demandVersion(deadline: Deadline): Promise<void> {
    using answer = await this.#answer({ method: 'GET', path: ['version'] }, deadline, 'short');
    const { op } = deadline;
    if (answer.status !== 200) throw refusalOf(answer.status, await answer.refusal(), op);
    const text = textOf(await answer.bytes(NODE_ANSWER_BYTES_MAX), op);
    const version = new Fields(jsonOf(text, op), op).text('version');
    if (isAtLeast(version, MIN_VERSION)) return;
    throw new OpError('version-unsupported', op, {
      hint: `upgrade IPFS Cluster to ${MIN_VERSION}`,
      details: { service: 'cluster', partial: { version, min_version: MIN_VERSION } },
    });
  }
}

/** What a call does, for errors and logs: `GET /pins/bafy…`. */
export const opOf = ({ method, path }: Ask): string => `${method} /${path.join('/')}`;

const repeatOf = ({ method }: Ask) => (method === 'GET' ? 'always' : 'unseen');

function pathOf({ path, query = [] }: Ask): string {
  const pairs = query.map((pair) => pair.map(encodeURIComponent).join('='));
  const tail = pairs.length === 0 ? '' : `?${pairs.join('&')}`;
  return `/${path.map(encodeURIComponent).join('/')}${tail}`;
}
