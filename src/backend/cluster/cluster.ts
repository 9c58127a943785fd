/**
 * IPFS Cluster: pins that several IPFS nodes keep together. Spoken to over the REST API of one of its
 * peers. A cluster has no way to read content: that comes from the nodes.
 *
 * Thrown by any call: OpError not-running (nobody answers), credentials-invalid, version-unsupported,
 * timeout, cancelled (the signal's reason, when it is an OpError), rate-limited, response-invalid
 * (what came is no answer), io (the cluster cannot do it now), api-error (it refused, with its words
 * as the cause), configuration, not-ready (the client was closed).
 * A call lists only what it throws besides.
 */
import type { CID } from 'multiformats/cid';
import type { Clock } from '../../base/clock.ts';
import { OpError } from '../../base/errors.ts';
import type { Random } from '../../base/random.ts';
import type { Secret } from '../../base/secrets.ts';
import type { CallOptions } from '../call.ts';
import { addressOfUrl, authorizationOf } from '../http/address.ts';
import { Fields, invalid } from '../http/wire.ts';
import { isText, type PinRequest, queryOf } from './pinning.ts';
import {
  alertOf,
  type ClusterAlert,
  type ClusterPeer,
  type ClusterPin,
  type ClusterStatus,
  type PeerState,
  peerOf,
  pinOf,
  statusOf,
} from './records.ts';
import { type Ask, opOf, Rest } from './rest.ts';

export interface ClusterOptions {
  /** `http://HOST:PORT` */
  readonly api: string;
  /** `bearer:TOKEN` or `basic:USER:PASSWORD`; asked anew with each connection. undefined: none. */
  readonly secret?: (() => Secret) | undefined;
  /** Connections in use at once, from 2. */
  readonly requestsMax: number;
  /** Of calls that name no deadline and give no list. */
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** What to pin: a CID, or what a path below one leads to when the cluster follows it. */
export interface PinTarget {
  readonly cid: CID;
  readonly names?: readonly string[];
}

export interface StatusOptions extends CallOptions {
  /** Of the peer that is asked, and no other; false when absent. */
  readonly local?: boolean | undefined;
}

/** States that a list may be limited to: those of a peer, and two that stand for several. */
export type StateFilter = Exclude<PeerState, 'undefined'> | 'error' | 'queued';

export interface StatusesOptions extends StatusOptions {
  /** Those with at least one peer in one of them; all when absent. */
  readonly states?: readonly StateFilter[] | undefined;
}

/** @throws OpError configuration. */
export function openCluster(options: ClusterOptions): Cluster {
  const { api, secret, requestsMax, deadlineMs, clock, random } = options;
  const address = addressOfUrl(api);
  if (address === undefined) {
    throw new OpError('configuration', 'open the cluster', { hint: 'api_url: http://HOST:PORT' });
  }
  const endpoint = { text: api, resolve: async () => address };
  const authorization =
    secret === undefined
      ? undefined
      : () => authorizationOf(secret().reveal(), 'auth of the cluster');
  const rest = new Rest({
    endpoint,
    authorization,
    requestsMax,
    callMs: deadlineMs,
    clock,
    random,
  });
  return new Cluster(rest, clock);
}

export class Cluster implements AsyncDisposable {
  readonly #rest: Rest;
  readonly #clock: Clock;

  constructor(rest: Rest, clock: Clock) {
    this.#rest = rest;
    this.#clock = clock;
  }

  /** Where it is, for people. Never a secret. */
  get endpoint(): string {
    return this.#rest.endpoint;
  }

  /** The peer that is asked. */
  async id(options: CallOptions): Promise<ClusterPeer> {
    return peerOf(await this.#rest.json({ method: 'GET', path: ['id'] }, options));
  }

  /** Those that are there now, with why one of them does not answer. */
  async peers(options: CallOptions): Promise<readonly ClusterPeer[]> {
    const peers: ClusterPeer[] = [];
    const lines = this.#rest.lines({ method: 'GET', path: ['peers'] }, options);
    for await (const line of lines) peers.push(peerOf(line));
    return peers;
  }

  /**
   * Has the cluster promise to keep content; it goes on by itself. Of a pin that is there already the
   * name and the metadata are replaced.
   * @throws OpError invalid-argument with details {issues}, before anything is sent; not-found (the
   *   path leads nowhere); exists (it is pinned in another mode).
   */
  async pin(target: PinTarget, request: PinRequest, options: CallOptions): Promise<ClusterPin> {
    const ask = { method: 'POST', path: pathOf(target) } as const;
    const query = queryOf(request, opOf(ask), this.#clock);
    const isNamed = (target.names ?? []).length > 0;
    return await this.#pin({ ...ask, query }, isNamed ? undefined : target.cid, options);
  }

  /** @throws OpError not-pinned. */
  async unpin(cid: CID, options: CallOptions): Promise<ClusterPin> {
    return await this.#pin({ method: 'DELETE', path: ['pins', String(cid)] }, cid, options);
  }

  /** undefined: it is not in the pinset. */
  async allocation(cid: CID, options: CallOptions): Promise<ClusterPin | undefined> {
    const ask = { method: 'GET', path: ['allocations', String(cid)] } as const;
    try {
      return await this.#pin(ask, cid, options);
    } catch (error) {
      if (error instanceof OpError && error.failure === 'not-pinned') return undefined;
      throw error;
    }
  }

  /** The whole pinset, in any order. */
  async *allocations(options: CallOptions): AsyncGenerator<ClusterPin, void, undefined> {
    const ask = { method: 'GET', path: ['allocations'], query: [['filter', 'all']] } as const;
    for await (const line of this.#rest.lines(ask, options)) yield pinOf(line, opOf(ask));
  }

  /** Where a CID is. Of one that is not in the pinset every peer says `unpinned`. */
  async status(cid: CID, options: StatusOptions): Promise<ClusterStatus> {
    const ask = { method: 'GET', path: ['pins', String(cid)], query: localQuery(options) } as const;
    return await this.#status(ask, cid, options);
  }

  /** Of all pins, in any order. */
  async *statuses(options: StatusesOptions): AsyncGenerator<ClusterStatus, void, undefined> {
    const { states = [] } = options;
    const filter = states.length === 0 ? [] : [['filter', states.join(',')] as const];
    const query = [...localQuery(options), ...filter];
    const ask = { method: 'GET', path: ['pins'], query } as const;
    for await (const line of this.#rest.lines(ask, options)) yield statusOf(line, opOf(ask));
  }

  /** Has peers try again that could not pin, or unpin. */
  async recover(cid: CID, options: StatusOptions): Promise<ClusterStatus> {
    const path = ['pins', String(cid), 'recover'];
    return await this.#status({ method: 'POST', path, query: localQuery(options) }, cid, options);
  }

  /** Peers that were missed lately, the last one first. */
  async alerts(options: CallOptions): Promise<readonly ClusterAlert[]> {
    const ask = { method: 'GET', path: ['health', 'alerts'] } as const;
    const told = await this.#rest.value(ask, options);
    const op = opOf(ask);
    if (told !== null && !Array.isArray(told)) throw invalid(op, 'a list was expected');
    return (told ?? []).map((alert) => alertOf(new Fields(alert, op)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#rest.close();
  }

  async #pin(ask: Ask, wanted: CID | undefined, options: CallOptions): Promise<ClusterPin> {
    const pin = pinOf(await this.#rest.json(ask, options), opOf(ask));
    if (wanted !== undefined) demandSame(pin.cid, wanted, opOf(ask));
    return pin;
  }

  async #status(ask: Ask, wanted: CID, options: CallOptions): Promise<ClusterStatus> {
    const status = statusOf(await this.#rest.json(ask, options), opOf(ask));
    demandSame(status.cid, wanted, opOf(ask));
    return status;
  }
}

const localQuery = ({ local = false }: StatusOptions) => [['local', String(local)]] as const;

/** @throws OpError invalid-argument: the cluster would take it for another path. */
function pathOf({ cid, names = [] }: PinTarget): string[] {
  if (names.length === 0) return ['pins', String(cid)];
  const isPlain = (name: string) => isText(name) && !/^\.{0,2}$|\//.test(name);
  if (!names.every(isPlain)) {
    throw new OpError('invalid-argument', `pin a path in ${cid}`, {
      details: { issues: [{ argument: 'ipfs_path', reason: 'must be a path of plain names' }] },
    });
  }
  return ['pins', 'ipfs', String(cid), ...names];
}

function demandSame(told: CID, wanted: CID, op: string): void {
  if (!told.equals(wanted)) throw invalid(op, 'it is about another CID');
}
