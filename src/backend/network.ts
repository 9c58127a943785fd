/** What a node says of itself and of other nodes. Words and units as in `node.ts`. */
import type { CID } from 'multiformats/cid';
import type { Instant } from '../base/clock.ts';
import type { CallOptions } from './call.ts';

export interface NameFacet {
  /** `self` too. */
  keys(options: CallOptions): Promise<readonly NodeKey[]>;
  /** An Ed25519 key. @throws OpError exists. */
  generateKey(name: string, options: CallOptions): Promise<NodeKey>;
  /**
   * Signs an IPNS record and publishes it.
   * @throws OpError not-found with details {kind: 'key'}, node-offline (without `allowOffline`),
   *   content-missing (`resolve`, and it is nowhere), invalid-argument (`ttlS` > `lifetimeS`).
   */
  publish(path: string, options: PublishOptions): Promise<Published>;
  /**
   * What a name points to. `name` is a key of this node, an IPNS name, or a host name.
   * @throws OpError name-not-resolved, node-offline.
   */
  resolve(name: string, options: ResolveOptions): Promise<Resolved>;
}

export interface NodeKey {
  readonly name: string;
  /** The IPNS name: the peer id of the key, CIDv1 in base36 (`k51…`). */
  readonly id: string;
}

export interface PublishOptions extends CallOptions {
  /** Name of a key; `self` when absent. */
  readonly key?: string | undefined;
  readonly lifetimeS: number;
  readonly ttlS: number;
  /** Whether to see first that the path is there; true when absent. */
  readonly resolve?: boolean | undefined;
  readonly allowOffline?: boolean | undefined;
}

export interface Published {
  /** `k51…`. */
  readonly name: string;
  /** `/ipfs/<cid>…`. */
  readonly path: string;
  readonly validUntil: Instant;
  /** `network` only when the node was online when it answered. */
  readonly published: 'network' | 'local';
  readonly sequence?: number;
}

export interface ResolveOptions extends CallOptions {
  /** Until it is no name any more; true when absent. */
  readonly recursive?: boolean | undefined;
  readonly noCache?: boolean | undefined;
}

export interface Resolved {
  /** `/ipfs/<cid>…`, or another `/ipns/…` when not recursive. */
  readonly path: string;
  /** `local`: known here, nobody was asked. */
  readonly from: 'network' | 'local';
  readonly sequence?: number;
  readonly validUntil?: Instant;
  /** How long its records let it be kept; absent: the node keeps it as long, and does not say. */
  readonly ttlMs?: number;
}

/** Each throws OpError node-offline, routing-unavailable, invalid-argument (no peer id). */
export interface RoutingFacet {
  /** @throws OpError not-found with details {kind: 'peer'}. */
  findPeer(peerId: string, options: CallOptions): Promise<PeerAddresses>;
  /** Each peer once, as they are found; ends when there are `limit`, or no more to be found. */
  findProviders(cid: CID, options: FindProvidersOptions): AsyncIterable<PeerAddresses>;
  /** The peers closest to a key, each once, as they are found. Nobody known is an error. */
  query(peerId: string, options: CallOptions): AsyncIterable<PeerAddresses>;
}

export interface PeerAddresses {
  readonly peerId: string;
  /** Multiaddresses. */
  readonly addresses: readonly string[];
}

export interface FindProvidersOptions extends CallOptions {
  readonly limit: number;
}

/** Each throws OpError pubsub-disabled, node-offline. */
export interface PubsubFacet {
  /**
   * Resolves when the node has taken it; more is not known.
   * @throws OpError payload-too-large: over PUBSUB_BYTES_MAX.
   */
  publish(topic: string, bytes: Uint8Array, options: CallOptions): Promise<void>;
  /**
   * Resolves when the node listens. The deadline is for that; the subscription lasts until the signal
   * aborts or it is disposed of. It throws when the connection breaks: nothing tells how much was missed.
   */
  subscribe(topic: string, options: CallOptions): Promise<Subscription>;
  /** Peers that listen to `topic`, or to anything when absent. */
  peers(topic: string | undefined, options: CallOptions): Promise<readonly string[]>;
  /** What this node listens to. */
  topics(options: CallOptions): Promise<readonly string[]>;
}

export interface Subscription extends AsyncIterable<PubsubMessage>, AsyncDisposable {}

export interface PubsubMessage {
  /** Peer id. */
  readonly from: string;
  readonly data: Uint8Array;
  /** Of its sender, opaque, in hexadecimal. */
  readonly sequence: string;
  readonly topics: readonly string[];
}

export interface StatsFacet {
  /**
   * Who this node is, or another.
   * @throws OpError node-offline, not-found with details {kind: 'peer'}, invalid-argument (no peer id).
   */
  id(peerId: string | undefined, options: CallOptions): Promise<Identity>;
  /** Never version-unsupported: it tells whether the version will do. */
  version(options: CallOptions): Promise<NodeVersion>;
  /** Objects are counted only when asked: it is slow. */
  repo(options: RepoOptions): Promise<RepoStat>;
  /** What only a node with a network has to tell. */
  readonly network?: NetworkStats;
}

export interface Identity {
  readonly peerId: string;
  readonly publicKey?: string;
  readonly addresses: readonly string[];
  readonly agentVersion: string;
  readonly protocols: readonly string[];
  /** Of this node: whether it takes part in a network. */
  readonly online: boolean;
}

export interface NodeVersion {
  readonly version: string;
  readonly commit?: string;
  readonly repo?: string;
  readonly system?: string;
  readonly golang?: string;
  readonly minVersion: string;
  readonly compatible: boolean;
}

export interface RepoOptions extends CallOptions {
  readonly countObjects?: boolean | undefined;
}

export interface RepoStat {
  readonly repoSize: number;
  readonly storageMax: number;
  readonly objects?: number;
  /** Of the repository's format: `fs-repo@18`. */
  readonly version: string;
}

/** Each throws OpError node-offline. */
export interface NetworkStats {
  bandwidth(options: CallOptions): Promise<Bandwidth>;
  /** One for each table, `wan` and `lan`. @throws OpError routing-unavailable. */
  dht(options: CallOptions): Promise<readonly DhtTable[]>;
  bitswap(options: CallOptions): Promise<BitswapStat>;
  /** As the node tells it, which changes with its versions. */
  provide(options: CallOptions): Promise<Readonly<Record<string, unknown>>>;
  peers(options: PeersOptions): Promise<readonly ConnectedPeer[]>;
}

export interface Bandwidth {
  readonly totalIn: number;
  readonly totalOut: number;
  /** Bytes a second. */
  readonly rateIn: number;
  readonly rateOut: number;
}

export interface DhtTable {
  readonly name: string;
  readonly buckets: readonly { readonly lastRefresh?: Instant; readonly peers: number }[];
}

export interface BitswapStat {
  readonly peers: number;
  readonly wantlist: readonly CID[];
  readonly blocksReceived: number;
  readonly dataReceived: number;
  readonly dupBlocksReceived: number;
  readonly blocksSent: number;
  readonly dataSent: number;
}

export interface PeersOptions extends CallOptions {
  readonly latency?: boolean | undefined;
  readonly streams?: boolean | undefined;
  readonly identify?: boolean | undefined;
}

export interface ConnectedPeer {
  readonly peerId: string;
  /** Multiaddress. */
  readonly address: string;
  readonly direction: 'inbound' | 'outbound' | 'unknown';
  readonly latencyMs?: number;
  readonly muxer?: string;
  /** Protocols of its open streams. */
  readonly streams?: readonly string[];
  readonly agentVersion?: string;
}
