/** What a cluster holds and says, as plain values of ours; and how they are read from its JSON. */
import type { CID } from 'multiformats/cid';
import { type Instant, parseRfc3339 } from '../../base/clock.ts';
import { Fields, invalid } from '../http/wire.ts';

/** Where a pin is on one peer. */
export const PEER_STATES = [
  'pinned',
  'pinning',
  'pin_queued',
  'pin_error',
  'unpinned',
  'unpinning',
  'unpin_queued',
  'unpin_error',
  'unexpectedly_unpinned',
  'cluster_error',
  'remote', // Other peers were chosen for it.
  'sharded',
  'undefined', // So it says itself; and for what no version before said.
] as const;
export type PeerState = (typeof PEER_STATES)[number];

export interface ClusterPeer {
  readonly peerId: string;
  readonly name: string;
  readonly version: string;
  readonly addresses: readonly string[];
  /** Those it knows, itself among them. */
  readonly clusterPeers: readonly string[];
  /** Why it did not answer the peer that was asked. */
  readonly error: string | undefined;
  /** The IPFS node that holds its content. */
  readonly ipfs: {
    readonly peerId: string | undefined;
    readonly addresses: readonly string[];
    readonly error: string | undefined;
  };
}

/** What the cluster has promised. That it was promised says nothing of where it is. */
export interface ClusterPin {
  readonly cid: CID;
  readonly name: string | undefined;
  readonly mode: 'recursive' | 'direct';
  /** -1: everywhere. */
  readonly replicationMin: number;
  readonly replicationMax: number;
  /** The peers that are to hold it; none: all. */
  readonly allocations: readonly string[];
  readonly expiresAt: Instant | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  readonly created: Instant | undefined;
}

export interface ClusterStatus {
  readonly cid: CID;
  readonly name: string | undefined;
  readonly allocations: readonly string[];
  readonly created: Instant | undefined;
  readonly metadata: Readonly<Record<string, string>>;
  /** Of the peers that are there now: one that is lost is not in it. */
  readonly peers: readonly PeerStatus[];
}

export interface PeerStatus {
  readonly peerId: string;
  readonly name: string;
  readonly ipfsPeerId: string | undefined;
  readonly state: PeerState;
  readonly time: Instant | undefined;
  readonly error: string | undefined;
  readonly attempts: number;
}

/** A peer that was missed, and when. */
export interface ClusterAlert {
  readonly peerId: string;
  /** What was missed of it: `ping`, `freespace`. */
  readonly metric: string;
  readonly time: Instant | undefined;
}

/** @throws OpError response-invalid, as all that follow. */
export function peerOf(fields: Fields): ClusterPeer {
  const ipfs = fields.object('ipfs');
  return {
    peerId: fields.text('id'),
    name: fields.optionalText('peername') ?? '',
    version: fields.optionalText('version') ?? '',
    addresses: fields.texts('addresses'),
    clusterPeers: fields.texts('cluster_peers'),
    error: fields.optionalText('error'),
    ipfs: {
      peerId: ipfs.optionalText('id'),
      addresses: ipfs.texts('addresses'),
      error: ipfs.optionalText('error'),
    },
  };
}

export function pinOf(fields: Fields, op: string): ClusterPin {
  const mode = fields.text('mode');
  if (mode !== 'recursive' && mode !== 'direct') throw invalid(op, 'mode: nobody knows it');
  return {
    cid: fields.cid('cid'),
    name: fields.optionalText('name'),
    mode,
    replicationMin: fields.number('replication_factor_min'),
    replicationMax: fields.number('replication_factor_max'),
    allocations: fields.texts('allocations'),
    expiresAt: timeOf(fields, 'expire_at'),
    metadata: textsOf(fields, 'metadata', op),
    created: timeOf(fields, 'timestamp'),
  };
}

export function statusOf(fields: Fields, op: string): ClusterStatus {
  const peers = fields.has('peer_map') ? Object.entries(fields.object('peer_map').all) : [];
  return {
    cid: fields.cid('cid'),
    name: fields.optionalText('name'),
    allocations: fields.texts('allocations'),
    created: timeOf(fields, 'created'),
    metadata: textsOf(fields, 'metadata', op),
    peers: peers.map(([peerId, value]) => peerStatusOf(peerId, new Fields(value, op))),
  };
}

function peerStatusOf(peerId: string, fields: Fields): PeerStatus {
  const told = fields.text('status');
  return {
    peerId,
    name: fields.optionalText('peername') ?? '',
    ipfsPeerId: fields.optionalText('ipfs_peer_id'),
    state: PEER_STATES.find((state) => state === told) ?? 'undefined',
    time: timeOf(fields, 'timestamp'),
    error: fields.optionalText('error'),
    attempts: fields.count('attempt_count'),
  };
}

export const alertOf = (fields: Fields): ClusterAlert => ({
  peerId: fields.text('peer'),
  metric: fields.text('name'),
  time: timeOf(fields, 'triggered_at'),
});

/** A time that was never set is the year 1, as Go writes it. */
function timeOf(fields: Fields, name: string): Instant | undefined {
  const text = fields.optionalText(name);
  return text === undefined || text.startsWith('0001-') ? undefined : parseRfc3339(text);
}

function textsOf(fields: Fields, name: string, op: string): Record<string, string> {
  if (!fields.has(name)) return {};
  const entries = Object.entries(fields.object(name).all).map(([key, value]) => {
    if (typeof value !== 'string') throw invalid(op, `${name}: texts were expected`);
    return [key, value] as const;
  });
  return Object.fromEntries(entries);
}
