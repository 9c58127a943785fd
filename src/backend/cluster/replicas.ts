/** How many copies of a pin there are, of those there shall be. Pure. */
import type { ClusterPeer, ClusterPin, ClusterStatus, PeerState } from './records.ts';

export interface Replicas {
  readonly pinned: number;
  readonly pinning: number;
  readonly error: number;
  /** On peers that are lost, or have not heard of it yet. */
  readonly absent: number;
  readonly total: number;
}

/**
 * The peers that shall hold a pin. Asked once, before anything is waited for: a peer that is lost
 * later is still one that is wanted, though no status names it any more.
 */
export function wantedPeers(pin: ClusterPin, peers: readonly ClusterPeer[]): readonly string[] {
  return pin.allocations.length > 0 ? pin.allocations : peers.map(({ peerId }) => peerId);
}

const ON_THE_WAY: ReadonlySet<PeerState> = new Set(['pinning', 'pin_queued']);
const IN_ERROR: ReadonlySet<PeerState> = new Set([
  'pin_error',
  'unpin_error',
  'cluster_error',
  'unexpectedly_unpinned',
]);

export function replicasOf(status: ClusterStatus, wanted: readonly string[]): Replicas {
  const states = new Map(status.peers.map(({ peerId, state }) => [peerId, state]));
  const count = (is: (state: PeerState) => boolean) =>
    wanted.filter((peerId) => is(states.get(peerId) ?? 'undefined')).length;
  const pinned = count((state) => state === 'pinned');
  const pinning = count((state) => ON_THE_WAY.has(state));
  const error = count((state) => IN_ERROR.has(state));
  const total = wanted.length;
  return { pinned, pinning, error, absent: total - pinned - pinning - error, total };
}
