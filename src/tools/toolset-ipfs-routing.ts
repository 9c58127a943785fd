/** Toolset ipfs_net, what other nodes know: ipfs_dht_findpeer, ipfs_dht_findprovs, ipfs_dht_query. */
import { z } from 'zod';
import type { PeerAddresses, RoutingFacet } from '../backend/backend.ts';
import { OpError } from '../base/errors.ts';
import { parseCid } from '../content/content.ts';
import type { AskedNode } from '../node/node.ts';
import * as schema from './schema.ts';
import { timeoutOf } from './terms.ts';
import { recordTool, type ToolContext } from './tool.ts';

const COMMON = { toolset: 'ipfs_net', version: '1.0.0', deadline: 'remote' } as const;
const READ = { readOnly: true, destructive: false, idempotent: true, openWorld: true } as const;
const EXAMPLE_PEER = '12D3KooWF29mEEUdmT2V3kbM8PjUBFQDjk1yt5gA3FATCKYbBKVt';

/** Of its time a call keeps so much, at most, to tell what it found. */
const TELLING_MS_MAX = 1000;
const TELLING_PART = 10;

const peerId = () => schema.text(1, 128);
const peer = z.object({ peer_id: z.string(), addresses: z.array(z.string()) });

const peerOf = ({ peerId: id, addresses }: PeerAddresses) => ({
  peer_id: id,
  addresses: [...addresses],
});

/** @throws OpError node-offline; not-configured. */
function routingOf({ ports }: ToolContext, asked: AskedNode, op: string) {
  const { kind, routing } = ports.ipfs.nodes.network(asked, op);
  if (routing !== undefined) return { kind, routing };
  throw new OpError('node-offline', op, { hint: 'configure an online Kubo ([ipfs.kubo])' });
}

export const ipfsDhtFindpeer = recordTool({
  ...COMMON,
  name: 'ipfs_dht_findpeer',
  title: 'Find a peer',
  description: 'Addresses of a peer, asked of the routing of an online node.',
  hints: READ,
  changes: 'nothing',
  input: schema.input({ peer_id: peerId(), ...schema.node, ...schema.timeout }),
  example: { peer_id: EXAMPLE_PEER },
  output: peer,
  run: async (input, context) => {
    const { kind, routing } = routingOf(context, input.node, 'ipfs_dht_findpeer');
    const deadlineMs = timeoutOf({ tool: COMMON, input });
    const found = await routing.findPeer(input.peer_id, { signal: context.signal, deadlineMs });
    return { data: peerOf(found), node: kind };
  },
});

interface Gathered {
  readonly peers: readonly PeerAddresses[];
  readonly isComplete: boolean;
}

/** What is found before the time is over. */
async function gathered(
  { signal }: ToolContext,
  input: { readonly timeout_ms?: number | undefined },
  ask: (options: Parameters<RoutingFacet['query']>[1]) => AsyncIterable<PeerAddresses>,
): Promise<Gathered> {
  const timeoutMs = timeoutOf({ tool: COMMON, input });
  const deadlineMs = timeoutMs - Math.min(TELLING_MS_MAX, timeoutMs / TELLING_PART);
  const peers: PeerAddresses[] = [];
  try {
    for await (const one of ask({ signal, deadlineMs })) peers.push(one);
  } catch (error) {
    const isLate = error instanceof OpError && error.failure === 'timeout' && !signal.aborted;
    if (!isLate) throw error;
    return { peers, isComplete: false };
  }
  return { peers, isComplete: true };
}

const ENDED = ['limit', 'exhausted', 'deadline'] as const;
type Ended = (typeof ENDED)[number];

export const ipfsDhtFindprovs = recordTool({
  ...COMMON,
  name: 'ipfs_dht_findprovs',
  title: 'Find providers',
  description:
    'Peers that say they have a block. ended tells whether limit was reached, nobody else is known, ' +
    'or the time was over first.',
  hints: READ,
  changes: 'nothing',
  input: schema.input({
    cid: schema.cid(),
    limit: schema.int(1, 500).default(20),
    ...schema.node,
    ...schema.timeout,
  }),
  example: { cid: 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e' },
  output: z.object({
    cid: z.string(),
    providers: z.array(peer),
    complete: z.boolean(),
    ended: z.enum(ENDED),
  }),
  run: async (input, context) => {
    const { kind, routing } = routingOf(context, input.node, 'ipfs_dht_findprovs');
    const cid = parseCid(input.cid);
    const { limit } = input;
    const { peers, isComplete } = await gathered(context, input, (options) =>
      routing.findProviders(cid, { ...options, limit }),
    );
    const atEnd: Ended = isComplete ? 'exhausted' : 'deadline';
    const ended: Ended = peers.length >= limit ? 'limit' : atEnd;
    return {
      data: {
        cid: cid.toString(),
        providers: peers.map(peerOf),
        complete: ended !== 'deadline',
        ended,
      },
      node: kind,
    };
  },
});

export const ipfsDhtQuery = recordTool({
  ...COMMON,
  name: 'ipfs_dht_query',
  title: 'Find the closest peers',
  description: 'Peers of the DHT whose ids are closest to that of a peer.',
  hints: READ,
  changes: 'nothing',
  input: schema.input({ peer_id: peerId(), ...schema.node, ...schema.timeout }),
  example: { peer_id: EXAMPLE_PEER },
  output: z.object({ peer_id: z.string(), closest: z.array(peer), complete: z.boolean() }),
  run: async (input, context) => {
    const { kind, routing } = routingOf(context, input.node, 'ipfs_dht_query');
    const { peers, isComplete } = await gathered(context, input, (options) =>
      routing.query(input.peer_id, options),
    );
    return {
      data: { peer_id: input.peer_id, closest: peers.map(peerOf), complete: isComplete },
      node: kind,
    };
  },
});
