/**
 * Which node answers. Configuration decides, and health never does: a home node that cannot be
 * reached is an error, and no other node does its work instead.
 */
import type { KuboNode, NodeKind } from '../backend/backend.ts';
import { OpError } from '../base/errors.ts';
import type { Dag } from '../content/content.ts';
import { type Reach, type ReachRequest, reachOver } from './reach.ts';

/** As a call says: one node alone; undefined: as the class of its tool has it. */
export type AskedNode = NodeKind | undefined;

/** The embedded engine, as far as it takes part in the choice. */
interface Embedded {
  readonly kind: 'embedded';
}

export interface NodesOptions<Own extends Embedded> {
  /** Holds what is not Kubo's; fixed for the life of the daemon. */
  readonly home: NodeKind;
  readonly embedded: Own;
  /** undefined: none is configured. */
  readonly kubo: KuboNode | undefined;
  /** Over what is kept here. */
  readonly dag: Dag;
}

export class Nodes<Own extends Embedded> {
  readonly home: NodeKind;
  readonly embedded: Own;
  readonly kubo: KuboNode | undefined;
  readonly #dag: Dag;

  constructor({ home, embedded, kubo, dag }: NodesOptions<Own>) {
    this.home = home;
    this.embedded = embedded;
    this.kubo = kubo;
    this.#dag = dag;
  }

  /** Pins, names, identity, lists of blocks, every write. @throws OpError not-configured. */
  state(asked: AskedNode, op: string): Own | KuboNode {
    return (asked ?? this.home) === 'embedded' ? this.embedded : this.#configured(op);
  }

  /**
   * What only a node with a network can tell.
   * @throws OpError node-offline; not-configured: Kubo was asked for by name.
   */
  network(asked: AskedNode, op: string): KuboNode {
    if (asked === 'kubo') return this.#configured(op);
    if (asked === undefined && this.kubo !== undefined) return this.kubo;
    throw new OpError('node-offline', op, { hint: 'configure an online Kubo ([ipfs.kubo])' });
  }

  /**
   * Reads by CID: from what is kept here, and of Kubo what is not.
   * @throws OpError not-configured.
   */
  content(asked: AskedNode, request: ReachRequest): Reach {
    if (asked === 'embedded') return reachOver(request, { dag: this.#dag });
    if (asked === 'kubo') return reachOver(request, { kubo: this.#configured(request.op) });
    return reachOver(request, { dag: this.#dag, kubo: this.kubo });
  }

  #configured(op: string): KuboNode {
    if (this.kubo !== undefined) return this.kubo;
    throw new OpError('not-configured', op, {
      hint: 'no Kubo is configured: leave out node, or say embedded',
      details: { service: 'kubo' },
    });
  }
}
