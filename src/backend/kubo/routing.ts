/** What a Kubo node finds by asking other nodes. */
import type { CID } from 'multiformats/cid';
import { OpError } from '../../base/errors.ts';
import type { CallOptions } from '../call.ts';
import type { Fields } from '../http/wire.ts';
import type { FindProvidersOptions, PeerAddresses, RoutingFacet } from '../network.ts';
import type { Ask, Rpc } from './rpc.ts';

/** Kinds of events (go-libp2p core/routing/query.go). */
const PEER_RESPONSE = 1;
const FINAL_PEER = 2;
const PROVIDER = 4;

export class KuboRouting implements RoutingFacet {
  readonly #rpc: Rpc;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
  }

  async findPeer(peerId: string, options: CallOptions): Promise<PeerAddresses> {
    const ask = question('routing/findpeer', peerId);
    const found = await this.#rpc.gathered(ask, options, finalPeer);
    if (found !== undefined) return found;
    throw new OpError('not-found', `routing/findpeer ${peerId}`, { details: { kind: 'peer' } });
  }

  async *findProviders(
    cid: CID,
    { limit, ...options }: FindProvidersOptions,
  ): AsyncGenerator<PeerAddresses, void, undefined> {
    const ask = question('routing/findprovs', cid.toString(), { 'num-providers': limit });
    const told = new Set<string>();
    for await (const event of this.#rpc.lines(ask, options)) {
      if (event.count('Type') !== PROVIDER) continue;
      for (const peer of peersOf(event)) {
        if (told.has(peer.peerId)) continue;
        told.add(peer.peerId);
        yield peer;
        if (told.size >= limit) return;
      }
    }
  }

  async *query(
    peerId: string,
    options: CallOptions,
  ): AsyncGenerator<PeerAddresses, void, undefined> {
    const addresses = new Map<string, readonly string[]>();
    const told = new Set<string>();
    for await (const event of this.#rpc.lines(question('dht/query', peerId), options)) {
      if (event.count('Type') === PEER_RESPONSE) {
        for (const peer of peersOf(event)) addresses.set(peer.peerId, peer.addresses);
      }
      if (event.count('Type') !== FINAL_PEER) continue;
      const closest = event.text('ID');
      if (told.has(closest)) continue;
      told.add(closest);
      yield { peerId: closest, addresses: addresses.get(closest) ?? [] };
    }
  }
}

/** What others answered on the way may be an old address: only the final event counts. */
async function finalPeer(events: AsyncIterable<Fields>): Promise<PeerAddresses | undefined> {
  for await (const event of events) {
    if (event.count('Type') !== FINAL_PEER) continue;
    const found = peersOf(event).find(({ addresses }) => addresses.length > 0);
    if (found !== undefined) return found;
  }
  return undefined;
}

const question = (command: string, arg: string, query: Ask['query'] = {}): Ask => ({
  command,
  args: [arg],
  query,
  lane: 'long',
  repeat: 'always',
});

const peersOf = (event: Fields): PeerAddresses[] =>
  event.objects('Responses').map((peer) => ({
    peerId: peer.text('ID'),
    addresses: peer.texts('Addrs'),
  }));
