/** Toolset cluster: ipfs_cluster_pin, ipfs_cluster_status, ipfs_cluster_peers. */
import { z } from 'zod';
import {
  type Cluster,
  type ClusterPin,
  type ClusterStatus,
  PEER_STATES,
  type Replicas,
  replicasOf,
  wantedPeers,
} from '../backend/backend.ts';
import { parseRfc3339, rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { CLUSTER_LOOK_MS, SNAPSHOT_ITEMS_MAX } from '../base/limits.ts';
import { type CID, parseCid } from '../content/content.ts';
import { rooted } from './content-paths.ts';
import { changeOutside } from './outside.ts';
import { demandOwner } from './owner.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';

const COMMON = {
  toolset: 'cluster',
  version: '1.0.0',
  deadline: 'remote',
  requires: { backends: ['cluster'] },
} as const;
const EXAMPLE_CID = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';
const FILTERS = [
  ...PEER_STATES.filter((state) => state !== 'undefined'),
  'error',
  'queued',
] as const;

const pinInput = schema.input({
  ipfs_path: schema.ipfsPath(),
  backend: schema.backend().optional(),
  pin_name: schema.pinName().optional(),
  recursive: schema.recursive(true),
  replication_min: schema.int(-1, 1000).default(0).describe('-1: everywhere, 0: as configured'),
  replication_max: schema.int(-1, 1000).default(0),
  allocations: z.array(schema.text(1, 128)).max(64).optional().describe('peer ids'),
  expires_at: schema.time().optional(),
  metadata: schema.metadata().optional(),
  replaces: schema.cid().optional(),
  wait_ms: schema.int(0, 50_000).default(20_000),
  ...schema.timeout,
});
type PinInput = z.output<typeof pinInput>;

export const ipfsClusterPin = recordTool({
  ...COMMON,
  name: 'ipfs_cluster_pin',
  title: 'Pin on a cluster',
  description:
    'Have an IPFS Cluster keep content on several nodes. accepted is not pinned: the cluster goes ' +
    'on by itself, follow it with ipfs_cluster_status. For the home node use ipfs_pin_add.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: true },
  changes: 'journal',
  input: pinInput,
  example: { ipfs_path: EXAMPLE_CID, replication_min: 2, replication_max: 3 },
  output: z.object({
    cid: z.string(),
    pin_name: z.string().optional(),
    replication_min: z.int(),
    replication_max: z.int(),
    allocations: z.array(z.string()),
    expires_at: z.string().optional(),
    timestamp: z.string().optional(),
    state: z.enum(['accepted', 'pinning', 'pinned', 'error']),
    peers: z.object({ pinned: z.int(), pinning: z.int(), error: z.int(), total: z.int() }),
  }),
  run: async (input, context) => {
    const op = 'ipfs_cluster_pin';
    demandOwner(context, op);
    const { signal, timeoutMs: deadlineMs } = context;
    const cluster = await context.ports.backends.cluster(input.backend, op);
    const { cid, segments } = await rooted(context, input, op);
    return changeOutside(context, {
      record: { kind: 'cluster_pin', cid, after: { backend: input.backend ?? null } },
      make: async () => {
        const pin = await cluster.pin({ cid, names: segments }, requestOf(input), {
          signal,
          deadlineMs,
        });
        return { pin, replicas: await followed(cluster, pin, input, context) };
      },
      outcome: ({ pin }) => ({ cid: pin.cid }),
      tell: ({ pin, replicas }) => ({ data: pinObject(pin, replicas) }),
    });
  },
});

const requestOf = (input: PinInput) => ({
  name: input.pin_name,
  mode: input.recursive ? ('recursive' as const) : ('direct' as const),
  replicationMin: input.replication_min,
  replicationMax: input.replication_max,
  allocations: input.allocations,
  expiresAt: input.expires_at === undefined ? undefined : parseRfc3339(input.expires_at),
  metadata: input.metadata,
  replaces: input.replaces === undefined ? undefined : parseCid(input.replaces),
});

/** How many copies there are, once there are enough or nobody waits any longer. */
async function followed(
  cluster: Cluster,
  pin: ClusterPin,
  { wait_ms: waitMs }: PinInput,
  { ports, signal }: ToolContext,
): Promise<Replicas | undefined> {
  const { clock } = ports;
  const untilMs = clock.monotonicMs() + waitMs;
  try {
    const wanted = wantedPeers(pin, await cluster.peers({ signal }));
    for (;;) {
      const replicas = replicasOf(await cluster.status(pin.cid, { signal }), wanted);
      const isEnough = replicas.pinned >= enough(pin, wanted.length);
      const isSettled = replicas.pinned + replicas.error === replicas.total;
      if (isEnough || isSettled || clock.monotonicMs() >= untilMs) return replicas;
      await clock.sleep(CLUSTER_LOOK_MS, signal);
    }
  } catch (error) {
    // It was accepted, whatever nobody can say of it now.
    if (error instanceof OpError) return undefined;
    throw error;
  }
}

const enough = ({ replicationMin: min }: ClusterPin, total: number): number =>
  min <= 0 ? total : Math.min(min, total);

function pinObject(pin: ClusterPin, replicas: Replicas | undefined) {
  const { pinned = 0, pinning = 0, error = 0, total = 0 } = replicas ?? {};
  const isPinned = replicas !== undefined && total > 0 && pinned >= enough(pin, total);
  const otherwise = error > 0 ? 'error' : pinning > 0 ? 'pinning' : 'accepted';
  return {
    cid: pin.cid.toString(),
    ...(pin.name === undefined ? {} : { pin_name: pin.name }),
    replication_min: pin.replicationMin,
    replication_max: pin.replicationMax,
    allocations: [...pin.allocations],
    ...(pin.expiresAt === undefined ? {} : { expires_at: rfc3339(pin.expiresAt) }),
    ...(pin.created === undefined ? {} : { timestamp: rfc3339(pin.created) }),
    state: isPinned ? ('pinned' as const) : (otherwise as 'error' | 'pinning' | 'accepted'),
    peers: { pinned, pinning, error, total },
  };
}

export const ipfsClusterStatus = recordTool({
  ...COMMON,
  name: 'ipfs_cluster_status',
  title: 'Status of cluster pins',
  description:
    'Where a CID is on the peers of a cluster, or all that the cluster keeps, with what keeps a ' +
    'peer from it. A CID that the cluster does not know is unpinned everywhere.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: true },
  changes: 'nothing',
  input: schema.input({
    cid: schema.cid().optional(),
    backend: schema.backend().optional(),
    states: z.array(z.enum(FILTERS)).max(14).optional(),
    local_only: schema.flag().describe('of the peer that is asked alone'),
    ...schema.page,
    ...schema.timeout,
  }),
  example: { cid: EXAMPLE_CID },
  output: z.object({
    pins: z.array(
      z.object({
        cid: z.string(),
        pin_name: z.string().optional(),
        allocations: z.array(z.string()),
        created: z.string().optional(),
        metadata: z.record(z.string(), z.string()).optional(),
        state: z.string(),
        peers: z.array(
          z.object({
            peer_id: z.string(),
            peername: z.string(),
            ipfs_peer_id: z.string().optional(),
            status: z.string(),
            time: z.string().optional(),
            error: z.string().optional(),
            attempts: z.int(),
          }),
        ),
      }),
    ),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'ipfs_cluster_status';
    demandOwner(context, op);
    const { ports, signal, timeoutMs: deadlineMs, principal } = context;
    const cluster = await ports.backends.cluster(input.backend, op);
    const how = { signal, deadlineMs, local: input.local_only };
    const request = { tool: op, principal, arguments: input };
    const { items, ...fields } = await ports.cursors.page(request, async () => {
      if (input.cid !== undefined) return [await cluster.status(parseCid(input.cid), how)];
      const found: ClusterStatus[] = [];
      for await (const one of cluster.statuses({ ...how, states: input.states })) {
        found.push(one);
        if (found.length > SNAPSHOT_ITEMS_MAX) break; // `page` refuses so many.
      }
      return found.sort((one, other) => (textOf(one.cid) < textOf(other.cid) ? -1 : 1));
    });
    return { data: { pins: items.map(statusObject), ...fields } };
  },
});

const textOf = (cid: CID): string => cid.toString();

function statusObject({ cid, name, allocations, created, metadata, peers }: ClusterStatus) {
  return {
    cid: cid.toString(),
    ...(name === undefined ? {} : { pin_name: name }),
    allocations: [...allocations],
    ...(created === undefined ? {} : { created: rfc3339(created) }),
    ...(Object.keys(metadata).length === 0 ? {} : { metadata: { ...metadata } }),
    state: summaryOf(peers.map(({ state }) => state)),
    peers: peers.map((peer) => ({
      ...{ peer_id: peer.peerId, peername: peer.name, status: peer.state },
      ...(peer.ipfsPeerId === undefined ? {} : { ipfs_peer_id: peer.ipfsPeerId }),
      ...(peer.time === undefined ? {} : { time: rfc3339(peer.time) }),
      ...(peer.error === undefined || peer.error === '' ? {} : { error: peer.error }),
      attempts: peer.attempts,
    })),
  };
}

/** Worst first; peers that others were chosen before have no say. */
const WORST_FIRST = [
  ...['cluster_error', 'pin_error', 'unpin_error', 'unexpectedly_unpinned', 'undefined'],
  ...['pinning', 'unpinning', 'pin_queued', 'unpin_queued', 'sharded', 'pinned', 'unpinned'],
];

const summaryOf = (states: readonly string[]): string =>
  WORST_FIRST.find((state) => states.includes(state)) ?? 'remote';

export const ipfsClusterPeers = recordTool({
  ...COMMON,
  name: 'ipfs_cluster_peers',
  title: 'Peers of a cluster',
  description: 'The peers of an IPFS Cluster that are there now, each with its IPFS node.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: true },
  changes: 'nothing',
  input: schema.input({
    backend: schema.backend().optional(),
    ...schema.page,
    ...schema.timeout,
  }),
  example: {},
  output: z.object({
    peers: z.array(
      z.object({
        peer_id: z.string(),
        peername: z.string(),
        version: z.string(),
        addresses: z.array(z.string()),
        cluster_peers: z.int(),
        ipfs: z.object({
          peer_id: z.string().optional(),
          addresses: z.array(z.string()),
          error: z.string().optional(),
        }),
        error: z.string().optional(),
      }),
    ),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'ipfs_cluster_peers';
    demandOwner(context, op);
    const { ports, signal, timeoutMs: deadlineMs, principal } = context;
    const cluster = await ports.backends.cluster(input.backend, op);
    const request = { tool: op, principal, arguments: input };
    const { items, ...fields } = await ports.cursors.page(request, async () =>
      [...(await cluster.peers({ signal, deadlineMs }))].sort((one, other) =>
        one.peerId < other.peerId ? -1 : 1,
      ),
    );
    const peers = items.map(({ peerId, name, version, addresses, clusterPeers, ipfs, error }) => ({
      ...{ peer_id: peerId, peername: name, version, addresses: [...addresses] },
      cluster_peers: clusterPeers.length,
      ipfs: {
        addresses: [...ipfs.addresses],
        ...(ipfs.peerId === undefined ? {} : { peer_id: ipfs.peerId }),
        ...(ipfs.error === undefined || ipfs.error === '' ? {} : { error: ipfs.error }),
      },
      ...(error === undefined || error === '' ? {} : { error }),
    }));
    return { data: { peers, ...fields } };
  },
});
