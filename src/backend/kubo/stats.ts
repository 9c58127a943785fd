/** What a Kubo node says of itself and its connections. */
import { parseRfc3339 } from '../../base/clock.ts';
import type { CallOptions } from '../call.ts';
import type { Fields } from '../http/wire.ts';
import type {
  Bandwidth,
  BitswapStat,
  ConnectedPeer,
  DhtTable,
  Identity,
  NetworkStats,
  NodeVersion,
  PeersOptions,
  RepoOptions,
  RepoStat,
  StatsFacet,
} from '../network.ts';
import type { Ask, Rpc } from './rpc.ts';
import { isCompatible, MIN_VERSION } from './version.ts';

export class KuboStats implements StatsFacet {
  readonly #rpc: Rpc;
  readonly network: NetworkStats;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
    this.network = new KuboNetwork(rpc);
  }

  async id(peerId: string | undefined, options: CallOptions): Promise<Identity> {
    const answer = await this.#rpc.json(
      question('id', peerId === undefined ? [] : [peerId]),
      options,
    );
    const publicKey = answer.optionalText('PublicKey');
    return {
      peerId: answer.text('ID'),
      ...(publicKey === undefined ? {} : { publicKey }),
      addresses: answer.texts('Addresses'),
      agentVersion: answer.optionalText('AgentVersion') ?? '',
      protocols: answer.texts('Protocols'),
      online: answer.has('Addresses'),
    };
  }

  async version(options: CallOptions): Promise<NodeVersion> {
    const answer = await this.#rpc.json({ ...question('version'), anyVersion: true }, options);
    const version = answer.text('Version');
    const optional = {
      commit: answer.optionalText('Commit'),
      repo: answer.optionalText('Repo'),
      system: answer.optionalText('System'),
      golang: answer.optionalText('Golang'),
    };
    return {
      version,
      ...present(optional),
      minVersion: MIN_VERSION,
      compatible: isCompatible(version),
    };
  }

  async repo({ countObjects = false, ...options }: RepoOptions): Promise<RepoStat> {
    const ask = {
      ...question('repo/stat', [], { 'size-only': !countObjects }),
      lane: countObjects ? 'long' : 'short',
    } as const;
    const answer = await this.#rpc.json(ask, options);
    return {
      repoSize: answer.count('RepoSize'),
      storageMax: answer.count('StorageMax'),
      ...(countObjects ? { objects: answer.count('NumObjects') } : {}),
      version: answer.optionalText('Version') ?? '',
    };
  }
}

class KuboNetwork implements NetworkStats {
  readonly #rpc: Rpc;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
  }

  async bandwidth(options: CallOptions): Promise<Bandwidth> {
    const answer = await this.#rpc.json(question('stats/bw'), options);
    return {
      totalIn: answer.count('TotalIn'),
      totalOut: answer.count('TotalOut'),
      rateIn: answer.number('RateIn'),
      rateOut: answer.number('RateOut'),
    };
  }

  async dht(options: CallOptions): Promise<readonly DhtTable[]> {
    return await this.#rpc.gathered(question('stats/dht'), options, async (lines) => {
      const tables: DhtTable[] = [];
      for await (const line of lines) {
        tables.push({ name: line.text('Name'), buckets: line.objects('Buckets').map(bucketOf) });
      }
      return tables;
    });
  }

  async bitswap(options: CallOptions): Promise<BitswapStat> {
    const answer = await this.#rpc.json(question('stats/bitswap'), options);
    return {
      peers: answer.list('Peers').length,
      wantlist: answer.objects('Wantlist').map((wanted) => wanted.cid('/')),
      blocksReceived: answer.count('BlocksReceived'),
      dataReceived: answer.count('DataReceived'),
      dupBlocksReceived: answer.count('DupBlksReceived'),
      blocksSent: answer.count('BlocksSent'),
      dataSent: answer.count('DataSent'),
    };
  }

  async provide(options: CallOptions): Promise<Readonly<Record<string, unknown>>> {
    return (await this.#rpc.json(question('provide/stat'), options)).all;
  }

  async peers(options: PeersOptions): Promise<readonly ConnectedPeer[]> {
    const { latency = false, streams = false, identify = false, ...within } = options;
    const ask = question('swarm/peers', [], { direction: true, latency, streams, identify });
    return (await this.#rpc.json(ask, within)).objects('Peers').map((peer) => ({
      ...connectedOf(peer),
      ...(streams ? { streams: peer.objects('Streams').map((open) => open.text('Protocol')) } : {}),
    }));
  }
}

const question = (
  command: string,
  args: readonly string[] = [],
  query: Ask['query'] = {},
): Ask => ({
  command,
  args,
  query,
  repeat: 'always',
});

function bucketOf(bucket: Fields): DhtTable['buckets'][number] {
  const lastRefresh = parseRfc3339(bucket.optionalText('LastRefresh') ?? '');
  const peers = bucket.list('Peers').length;
  return { peers, ...(lastRefresh === undefined ? {} : { lastRefresh }) };
}

/** network.Direction of go-libp2p. */
const DIRECTIONS: Readonly<Record<number, ConnectedPeer['direction']>> = {
  1: 'inbound',
  2: 'outbound',
};

function connectedOf(peer: Fields): ConnectedPeer {
  const identified = peer.has('Identify') ? peer.object('Identify') : undefined;
  return {
    peerId: peer.text('Peer'),
    address: peer.text('Addr'),
    direction: DIRECTIONS[peer.count('Direction')] ?? 'unknown',
    ...present({
      latencyMs: millisecondsOf(peer.optionalText('Latency') ?? ''),
      muxer: peer.optionalText('Muxer'),
      agentVersion: identified?.optionalText('AgentVersion'),
    }),
  };
}

type Present<T> = { readonly [K in keyof T]?: Exclude<T[K], undefined> };

/** Without what is undefined. */
const present = <T extends object>(fields: T): Present<T> =>
  Object.fromEntries(
    Object.entries(fields).filter(([, value]) => value !== undefined),
  ) as Present<T>;

const UNITS_MS: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  µs: 1e-3,
  ns: 1e-6,
};

/** A duration as Go writes it (`1.5s`, `438.7µs`); undefined: it is none (`n/a`). */
export function millisecondsOf(text: string): number | undefined {
  if (!/^(\d+(\.\d+)?(h|ms|m|s|µs|ns))+$/.test(text)) return undefined;
  let total = 0;
  for (const [, number, unit = ''] of text.matchAll(/([\d.]+)(h|ms|m|s|µs|ns)/g)) {
    total += Number(number) * (UNITS_MS[unit] ?? 0);
  }
  return total;
}
