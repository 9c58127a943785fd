/**
 * Toolset ipfs_core, the node itself: ipfs_id, ipfs_version, ipfs_stats, ipfs_swarm_peers.
 */
import { z } from 'zod';
import type { DhtTable, NetworkStats } from '../backend/backend.ts';
import { rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'ipfs_core', version: '1.0.0', deadline: 'remote' } as const;
const READ = { readOnly: true, destructive: false, idempotent: true } as const;

export const ipfsId = recordTool({
  ...COMMON,
  name: 'ipfs_id',
  title: 'Identify a node',
  description: 'Peer id, addresses and keys of the IPFS node, or what it knows of another peer.',
  hints: { ...READ, openWorld: true },
  changes: 'nothing',
  input: schema.input({
    peer_id: schema.text(1, 128).optional(),
    ...schema.node,
    ...schema.timeout,
  }),
  example: {},
  output: z.object({
    peer_id: z.string(),
    public_key: z.string().optional(),
    addresses: z.array(z.string()),
    agent_version: z.string(),
    protocols: z.array(z.string()),
    keys: z.array(z.object({ name: z.string(), id: z.string() })).optional(),
    online: z.boolean(),
  }),
  run: async ({ peer_id: peerId, node: asked }, { ports, signal }) => {
    const op = 'ipfs_id';
    const node = ports.ipfs.nodes.state(asked, op);

    const identity = await node.stats.id(peerId, { signal });
    const keys = peerId === undefined ? await node.names.keys({ signal }) : undefined;
    const { publicKey, agentVersion } = identity;
    return {
      data: {
        peer_id: identity.peerId,
        ...(publicKey === undefined ? {} : { public_key: publicKey }),
        addresses: [...identity.addresses],
        agent_version: agentVersion,
        protocols: [...identity.protocols],
        ...(keys === undefined ? {} : { keys: keys.map(({ name, id }) => ({ name, id })) }),
        online: identity.online,
      },
      node: node.kind,
    };
  },
});

const versionOutput = z.object({
  kitfs: z.object({ version: z.string() }),
  node: z.object({
    kind: z.enum(['embedded', 'kubo']),
    version: z.string(),
    commit: z.string().optional(),
    repo: z.string().optional(),
    system: z.string().optional(),
    golang: z.string().optional(),
  }),
  min_version: z.string(),
  compatible: z.boolean(),
});

export const ipfsVersion = recordTool({
  ...COMMON,
  name: 'ipfs_version',
  title: 'Tell versions',
  description: 'Versions of kitfs and of its IPFS node, and whether the node is new enough.',
  hints: { ...READ, openWorld: false },
  changes: 'nothing',
  input: schema.input({ ...schema.node, ...schema.timeout }),
  example: {},
  output: versionOutput,
  run: async ({ node: asked }, { ports, signal }) => {
    const node = ports.ipfs.nodes.state(asked, 'ipfs_version');
    const { minVersion, compatible, ...told } = await node.stats.version({ signal });
    const data: z.input<typeof versionOutput> = {
      kitfs: { version: ports.daemon.version },
      node: { kind: node.kind, ...told },
      min_version: minVersion,
      compatible,
    };
    return { data, node: node.kind };
  },
});

const STATS = ['repo', 'bw', 'dht', 'bitswap', 'provide'] as const;

const statsInput = schema.input({
  stat: z.enum(STATS).default('repo'),
  size_only: schema.flag(true).describe('repo: false counts objects'),
  ...schema.node,
  ...schema.timeout,
});
type StatsInput = z.output<typeof statsInput>;

const statsOutput = z.object({
  repo: z
    .object({
      repo_size: z.int(),
      storage_max: z.int(),
      num_objects: z.int().optional(),
      version: z.string(),
    })
    .optional(),
  bw: z
    .object({
      total_in: z.number(),
      total_out: z.number(),
      rate_in: z.number(),
      rate_out: z.number(),
    })
    .optional(),
  dht: z
    .array(
      z.object({
        name: z.string(),
        buckets: z.array(z.object({ last_refresh: z.string().optional(), peers: z.int() })),
      }),
    )
    .optional(),
  bitswap: z
    .object({
      peers: z.int(),
      wantlist: z.array(z.string()),
      blocks_received: z.int(),
      data_received: z.int(),
      dup_blocks_received: z.int(),
      blocks_sent: z.int(),
      data_sent: z.int(),
    })
    .optional(),
  provide: z.object({ raw: z.record(z.string(), z.unknown()) }).optional(),
});

export const ipfsStats = recordTool({
  ...COMMON,
  name: 'ipfs_stats',
  title: 'Measure a node',
  description:
    'What the node keeps (repo), or its traffic (bw, bitswap), routing table (dht) and ' +
    'announcements (provide).',
  hints: { ...READ, openWorld: false },
  changes: 'nothing',
  input: statsInput,
  example: {},
  output: statsOutput,
  run: async (input, context) => {
    const op = `ipfs_stats of ${input.stat}`;
    const { nodes } = context.ports.ipfs;
    const isOfRepo = input.stat === 'repo';
    const node = isOfRepo ? nodes.state(input.node, op) : nodes.network(input.node, op);
    const data = isOfRepo
      ? { repo: await repoOf(input, context) }
      : await networkStat(input, demandNetwork(node.stats, op), context);
    return { data, node: node.kind };
  },
});

async function repoOf({ node: asked, size_only: sizeOnly }: StatsInput, context: ToolContext) {
  const { ports, signal } = context;
  const { stats } = ports.ipfs.nodes.state(asked, 'ipfs_stats of repo');
  const told = await stats.repo({ signal, countObjects: !sizeOnly });
  return {
    repo_size: told.repoSize,
    storage_max: told.storageMax,
    ...(told.objects === undefined ? {} : { num_objects: told.objects }),
    version: told.version,
  };
}

async function networkStat(
  { stat }: StatsInput,
  network: NetworkStats,
  { signal }: ToolContext,
): Promise<z.input<typeof statsOutput>> {
  switch (stat) {
    case 'bw': {
      const { totalIn, totalOut, rateIn, rateOut } = await network.bandwidth({ signal });
      return {
        bw: { total_in: totalIn, total_out: totalOut, rate_in: rateIn, rate_out: rateOut },
      };
    }
    case 'dht':
      return { dht: (await network.dht({ signal })).map(tableOf) };
    case 'bitswap': {
      const told = await network.bitswap({ signal });
      return {
        bitswap: {
          peers: told.peers,
          wantlist: told.wantlist.map(String),
          blocks_received: told.blocksReceived,
          data_received: told.dataReceived,
          dup_blocks_received: told.dupBlocksReceived,
          blocks_sent: told.blocksSent,
          data_sent: told.dataSent,
        },
      };
    }
    default:
      return { provide: { raw: { ...(await network.provide({ signal })) } } };
  }
}

const tableOf = ({ name, buckets }: DhtTable) => ({
  name,
  buckets: buckets.map(({ lastRefresh, peers }) => ({
    peers,
    ...(lastRefresh === undefined ? {} : { last_refresh: rfc3339(lastRefresh) }),
  })),
});

/** @throws OpError node-offline. */
function demandNetwork({ network }: { readonly network?: NetworkStats }, op: string): NetworkStats {
  if (network !== undefined) return network;
  throw new OpError('node-offline', op, { hint: 'configure an online Kubo ([ipfs.kubo])' });
}

export const ipfsSwarmPeers = recordTool({
  ...COMMON,
  name: 'ipfs_swarm_peers',
  title: 'List connected peers',
  description: 'Peers that the node is connected to, and how.',
  hints: { ...READ, openWorld: true },
  changes: 'nothing',
  input: schema.input({
    latency: schema.flag(),
    streams: schema.flag(),
    identify: schema.flag(),
    ...schema.node,
    ...schema.page,
    ...schema.timeout,
  }),
  example: {},
  output: z.object({
    peers: z.array(
      z.object({
        peer_id: z.string(),
        address: z.string(),
        direction: z.enum(['inbound', 'outbound', 'unknown']),
        latency_ms: z.number().optional(),
        muxer: z.string().optional(),
        streams: z.array(z.string()).optional(),
      }),
    ),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const op = 'ipfs_swarm_peers';
    const { ports, signal, principal } = context;
    const node = ports.ipfs.nodes.network(input.node, op);
    const { latency, streams, identify } = input;
    const request = { tool: op, principal, arguments: input };
    const { items, ...fields } = await ports.cursors.page(request, async () => {
      const network = demandNetwork(node.stats, op);
      const peers = await network.peers({ signal, latency, streams, identify });
      return peers
        .map(({ peerId, latencyMs, streams: open, agentVersion: _, ...peer }) => ({
          peer_id: peerId,
          ...peer,
          ...(latencyMs === undefined ? {} : { latency_ms: latencyMs }),
          ...(open === undefined ? {} : { streams: [...open] }),
        }))
        .sort((one, other) => (one.peer_id < other.peer_id ? -1 : 1));
    });
    return { data: { peers: [...items], ...fields }, node: node.kind };
  },
});
