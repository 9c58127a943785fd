/**
 * Every method of an IPFS node that only asks, as a trial: a call whose right answer is known. Those that change
 * something are in `trials-of-changes.ts`. The types see to it that none is left out.
 */
import type { IpfsNode } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';
import type { KuboNode } from '../services/kubo.ts';
import { all, type Block, blockOf, carBlocks, carOf, directoryOf, rawBlock } from './engine.ts';

export interface Calling {
  readonly signal: AbortSignal;
  readonly deadlineMs: number;
}

/** One call and how to know what became of it. */
export interface Trial {
  /** Resolves with plain values. */
  run(node: IpfsNode, options: Calling): Promise<unknown>;
  /** What it must resolve with; absent: what it resolved with when nothing was harmed. */
  readonly value?: unknown;
  /** In words, what the node holds of it; asked of the node itself. */
  state?(): Promise<string>;
}

export interface Method {
  /** Prepares a call on things of its own, all named by `at`. */
  begin(at: string): Promise<Trial>;
  /** What `state` says before it, after it, and what else an error may leave: of several steps, some. */
  readonly states?: {
    readonly before: string;
    readonly after: string;
    readonly between?: readonly string[];
  };
  /** It lasts until its signal aborts, whatever its deadline. */
  readonly lasts?: true;
  /** Of very many calls: a question that it asks again is left without an answer, and not harmed in all other ways. */
  readonly isLong?: true;
}

type Of<F extends string, T> = `${F}.${Exclude<keyof T & string, 'network'>}`;
type Facet<F extends keyof IpfsNode> = NonNullable<IpfsNode[F]>;

type MethodName =
  | Of<'content', Facet<'content'>>
  | Of<'pins', Facet<'pins'>>
  | Of<'mfs', Facet<'mfs'>>
  | Of<'names', Facet<'names'>>
  | Of<'routing', Facet<'routing'>>
  | Of<'pubsub', Facet<'pubsub'>>
  | Of<'stats', Facet<'stats'>>
  | Of<'network', NonNullable<Facet<'stats'>['network']>>;

/** Those that change something. */
export const CHANGING = [
  'content.blockPut',
  'content.add',
  'content.importCar',
  'pins.add',
  'pins.rm',
  'pins.update',
  'mfs.mkdir',
  'mfs.write',
  'mfs.cp',
  'mfs.mv',
  'mfs.rm',
  'mfs.flush',
  'mfs.chcid',
  'mfs.place',
  'names.generateKey',
  'names.publish',
  'pubsub.publish',
] as const satisfies readonly MethodName[];

export type ChangingName = (typeof CHANGING)[number];

const ASKING = {
  'content.blockGet': true,
  'content.blockStat': true,
  'content.hasBlocks': true,
  'content.exportCar': true,
  'content.refsLocal': true,
  'pins.ls': true,
  'pins.get': true,
  'mfs.stat': true,
  'mfs.ls': true,
  'mfs.read': true,
  'names.keys': true,
  'names.resolve': true,
  'routing.findPeer': true,
  'routing.findProviders': true,
  'routing.query': true,
  'pubsub.peers': true,
  'pubsub.topics': true,
  'pubsub.subscribe': true,
  'stats.id': true,
  'stats.version': true,
  'stats.repo': true,
  'network.bandwidth': true,
  'network.dht': true,
  'network.bitswap': true,
  'network.provide': true,
  'network.peers': true,
} as const satisfies Readonly<Record<Exclude<MethodName, ChangingName>, true>>;

type AskingName = keyof typeof ASKING;

/** All; the types see to it that none is missing. */
export const METHOD_NAMES = [...[...CHANGING].reverse(), ...Object.keys(ASKING)];

/** Two nodes that know each other; calls go to the first. */
export interface Nodes {
  readonly kubo: KuboNode;
  readonly peer: KuboNode;
}

export const TOPIC = `u${Buffer.from('fixed').toString('base64url')}`;

const LEAVES = [rawBlock('fixed leaf'), blockOf(Buffer.alloc(40_000, 'fixed '))] as const;
export const FIXED = directoryOf({ one: LEAVES[0], two: LEAVES[1] });
const BLOCKS: readonly Block[] = [FIXED, ...LEAVES];
const ABSENT = rawBlock('nobody has this').cid;
const BYTES = Buffer.alloc(40_000, 'bytes of a file in MFS ');

/** Puts on the nodes what the questions are about. */
export async function prepare({ kubo, peer }: Nodes): Promise<void> {
  const car = carOf(FIXED.cid, BLOCKS);
  await kubo.rpc.bytes('dag/import?pin-roots=true', car);
  await peer.rpc.bytes('dag/import?pin-roots=true', car);
  await kubo.rpc.bytes(`pin/add?arg=${FIXED.cid}&name=fixed`);
  await kubo.rpc.bytes('files/mkdir?arg=/fixed/dir&parents=true');
  await kubo.rpc.bytes('files/write?arg=/fixed/file&create=true', BYTES);
  await kubo.rpc.bytes(`name/publish?arg=/ipfs/${FIXED.cid}`);
  await kubo.rpc.bytes('key/gen?arg=fixed');
  await peer.rpc.bytes(`routing/provide?arg=${FIXED.cid}`);
}

/** What only a node with a network has. */
export function facets(node: IpfsNode) {
  const { routing, pubsub } = node;
  const { network } = node.stats;
  if (routing === undefined || pubsub === undefined || network === undefined) {
    throw new Error('Kubo has them all');
  }
  return { routing, pubsub, network };
}

const asking = (run: Trial['run']): Method => ({ begin: async () => ({ run }) });
const isFixed = ({ name }: { readonly name?: string }) => name === 'fixed';

/** What a number is changes with time; that it is there does not. */
const shapeOf = (value: object) =>
  Object.entries(value).map(([name, field]) => [name, typeof field]);

const contentQuestions = {
  'content.blockGet': asking(async ({ content }, options) =>
    Buffer.from(await content.blockGet(LEAVES[1].cid, options)).toString(),
  ),
  'content.blockStat': asking(({ content }, options) => content.blockStat(LEAVES[1].cid, options)),
  'content.hasBlocks': asking(({ content }, options) =>
    content.hasBlocks([FIXED.cid, ABSENT, LEAVES[0].cid], options),
  ),
  // Its bytes are for whoever parses and hashes them, as this does.
  'content.exportCar': asking(async ({ content }, options) => {
    try {
      const blocks = await carBlocks(content.exportCar(FIXED.cid, options));
      return blocks.map(({ cid }) => cid.toString());
    } catch (error) {
      throw error instanceof OpError ? error : new OpError('integrity', 'read a CAR');
    }
  }),
  'content.refsLocal': asking(async ({ content }, options) => {
    const fixed = new Set(
      BLOCKS.map(({ cid }) => Buffer.from(cid.multihash.bytes).toString('hex')),
    );
    const refs = await all(content.refsLocal(options));
    const held = refs.map(({ cid }) => Buffer.from(cid.multihash.bytes).toString('hex'));
    return held.filter((hash) => fixed.has(hash)).sort();
  }),
} as const;

const pinAndMfsQuestions = {
  'pins.ls': asking(({ pins }, options) => all(pins.ls({ ...options, name: 'fixed' }))),
  'pins.get': asking(({ pins }, options) => pins.get(FIXED.cid, options)),
  'mfs.stat': asking(({ mfs }, options) => mfs.stat('/fixed/file', options)),
  'mfs.ls': asking(({ mfs }, options) => mfs.ls('/fixed', options)),
  'mfs.read': asking(async ({ mfs }, options) => {
    const chunks = await all(mfs.read('/fixed/file', { ...options, offset: 7 }));
    return Buffer.concat(chunks).toString('latin1');
  }),
} as const;

const networkQuestions = ({ kubo, peer }: Nodes) => ({
  'names.keys': asking(async ({ names }, options) => (await names.keys(options)).filter(isFixed)),
  'names.resolve': asking(({ names }, options) => names.resolve('self', options)),
  'routing.findPeer': asking(async (node, options) => {
    const { peerId, addresses } = await facets(node).routing.findPeer(peer.id, options);
    return { peerId, addresses: [...addresses].sort() };
  }),
  'routing.findProviders': asking(async (node, options) => {
    const { routing } = facets(node);
    const found = await all(routing.findProviders(FIXED.cid, { ...options, limit: 2 }));
    return found.map(({ peerId }) => peerId).sort();
  }),
  'routing.query': asking(async (node, options) => {
    const found = await all(facets(node).routing.query(peer.id, options));
    return found.map(({ peerId }) => peerId);
  }),
  'pubsub.peers': asking((node, options) => facets(node).pubsub.peers('fixed', options)),
  'pubsub.topics': asking(async (node, options) => {
    const topics = await facets(node).pubsub.topics(options);
    return topics.filter((topic) => topic === 'fixed');
  }),
  'pubsub.subscribe': {
    lasts: true,
    begin: async (at) => ({
      value: `said on ${at}`,
      run: async (node, options) => {
        await using subscription = await facets(node).pubsub.subscribe(at, options);
        const topic = `u${Buffer.from(at).toString('base64url')}`;
        await kubo.rpc.bytes(`pubsub/pub?arg=${topic}`, `said on ${at}`);
        for await (const { data } of subscription) return Buffer.from(data).toString();
        throw new Error('it ended without a word');
      },
    }),
  } satisfies Method,
});

const statsQuestions = ({ peer }: Nodes) => ({
  'stats.id': asking(async ({ stats }, options) => {
    const { peerId, online, agentVersion } = await stats.id(undefined, options);
    return { peerId, online, agentVersion };
  }),
  'stats.version': asking(({ stats }, options) => stats.version(options)),
  'stats.repo': asking(async ({ stats }, options) => {
    return shapeOf(await stats.repo({ ...options, countObjects: true }));
  }),
  'network.bandwidth': asking(async (node, options) =>
    shapeOf(await facets(node).network.bandwidth(options)),
  ),
  'network.dht': asking(async (node, options) => {
    const tables = await facets(node).network.dht(options);
    return tables.map(({ name }) => name).sort();
  }),
  'network.bitswap': asking(async (node, options) =>
    shapeOf(await facets(node).network.bitswap(options)),
  ),
  'network.provide': asking(async (node, options) =>
    shapeOf(await facets(node).network.provide(options)),
  ),
  'network.peers': asking(async (node, options) => {
    const peers = await facets(node).network.peers(options);
    return peers.map(({ peerId }) => peerId === peer.id);
  }),
});

/** Every method that only asks. */
export const questions = (nodes: Nodes): Readonly<Record<AskingName, Method>> => ({
  ...contentQuestions,
  ...pinAndMfsQuestions,
  ...networkQuestions(nodes),
  ...statsQuestions(nodes),
});
