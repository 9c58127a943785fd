/** The engine Kubo: an IPFS node outside of kitfs, spoken to over its RPC. */
import type { Clock } from '../../base/clock.ts';
import { OpError } from '../../base/errors.ts';
import type { Random } from '../../base/random.ts';
import type { Secret } from '../../base/secrets.ts';
import { authorizationOf } from '../http/address.ts';
import type { KuboNode } from '../node.ts';
import { KuboContent } from './content.ts';
import { ENDPOINT_FORMS, parseEndpoint } from './endpoint.ts';
import { KuboMfs } from './mfs.ts';
import { KuboNames } from './names.ts';
import { KuboPins } from './pins.ts';
import { KuboPubsub } from './pubsub.ts';
import { KuboRouting } from './routing.ts';
import { Rpc } from './rpc.ts';
import { KuboStats } from './stats.ts';

export interface KuboOptions {
  /** One of ENDPOINT_FORMS. */
  readonly api: string;
  /** `bearer:TOKEN` or `basic:USER:PASSWORD`; asked anew with each connection. undefined: none. */
  readonly secret?: (() => Secret) | undefined;
  /** Connections in use at once, from 2; subscriptions come on top. */
  readonly requestsMax: number;
  /** Of calls that name no deadline and move no content. */
  readonly deadlineMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * The node at an address. Nothing is asked of it yet: whether it is there shows with the first call.
 * @throws OpError configuration.
 */
export function openKubo(options: KuboOptions): KuboNode {
  const { api, secret, requestsMax, deadlineMs, clock, random } = options;
  const endpoint = parseEndpoint(api);
  if (endpoint === undefined) {
    throw new OpError('configuration', 'open the node', {
      hint: `ipfs.kubo.api: ${ENDPOINT_FORMS}`,
    });
  }
  const authorization =
    secret === undefined ? undefined : () => authorizationOf(secret().reveal(), 'ipfs.kubo.auth');
  const rpc = new Rpc({ endpoint, authorization, requestsMax, callMs: deadlineMs, clock, random });
  return new Kubo(rpc);
}

class Kubo implements KuboNode {
  readonly kind = 'kubo';
  readonly content: KuboContent;
  readonly pins: KuboPins;
  readonly mfs: KuboMfs;
  readonly names: KuboNames;
  readonly routing: KuboRouting;
  readonly pubsub: KuboPubsub;
  readonly stats: KuboStats;
  readonly #rpc: Rpc;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
    this.pins = new KuboPins(rpc);
    this.content = new KuboContent(rpc, this.pins);
    this.mfs = new KuboMfs(rpc);
    this.names = new KuboNames(rpc);
    this.routing = new KuboRouting(rpc);
    this.pubsub = new KuboPubsub(rpc);
    this.stats = new KuboStats(rpc);
  }

  get endpoint(): string {
    return this.#rpc.endpoint;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#rpc.close();
  }
}
