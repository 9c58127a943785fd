/** IPNS names of a Kubo node. */
import { OpError } from '../../base/errors.ts';
import type { CallOptions } from '../call.ts';
import type { Fields } from '../http/wire.ts';
import type {
  NameFacet,
  NodeKey,
  Published,
  PublishOptions,
  Resolved,
  ResolveOptions,
} from '../network.ts';
import type { Rpc } from './rpc.ts';

export class KuboNames implements NameFacet {
  readonly #rpc: Rpc;

  constructor(rpc: Rpc) {
    this.#rpc = rpc;
  }

  async keys(options: CallOptions): Promise<readonly NodeKey[]> {
    const answer = await this.#rpc.json({ command: 'key/ls', repeat: 'always' }, options);
    return answer.objects('Keys').map(keyOf);
  }

  async generateKey(name: string, options: CallOptions): Promise<NodeKey> {
    const ask = { command: 'key/gen', args: [name], query: { type: 'ed25519' } } as const;
    return keyOf(await this.#rpc.json(ask, options));
  }

  async publish(path: string, options: PublishOptions): Promise<Published> {
    const op = `name/publish ${path}`;
    const { key = 'self', lifetimeS, ttlS, resolve = true, allowOffline = false } = options;
    if (ttlS > lifetimeS) {
      throw new OpError('invalid-argument', op, { hint: 'give a ttl of at most the lifetime' });
    }
    using deadline = this.#rpc.deadline(op, options, 'long');
    const { s, ns } = this.#rpc.clock.now();
    const ask = {
      command: 'name/publish',
      args: [path],
      query: {
        key,
        lifetime: `${lifetimeS}s`,
        ttl: `${ttlS}s`,
        resolve,
        'allow-offline': allowOffline,
        'ipns-base': 'base36',
      },
      lane: 'long',
      repeat: 'always', // Twice is one record more, of the same path.
    } as const;
    const answer = await this.#rpc.json(ask, deadline.options);
    const [name, value] = [answer.text('Name'), answer.text('Value')];
    await this.#demandKept(name, value, deadline.options);
    const isOnline = await this.#isOnline(deadline.options);
    return {
      name,
      path: value,
      validUntil: { s: s + lifetimeS, ns },
      published: isOnline ? 'network' : 'local',
    };
  }

  /** A Kubo without routing says that it published, and keeps nothing. */
  async #demandKept(name: string, path: string, options: CallOptions): Promise<void> {
    const ask = {
      command: 'name/resolve',
      args: [`/ipns/${name}`],
      query: { recursive: false, nocache: true, offline: true },
      repeat: 'always',
    } as const;
    try {
      const kept = (await this.#rpc.json(ask, options)).text('Path');
      if (kept === path) return;
    } catch (error) {
      if (!(error instanceof OpError && error.failure === 'name-not-resolved')) throw error;
    }
    throw new OpError('routing-unavailable', `name/publish ${path}`, {
      hint: 'let Kubo use a routing type that publishes',
    });
  }

  async #isOnline(options: CallOptions): Promise<boolean> {
    const id = await this.#rpc.json({ command: 'id', repeat: 'always' }, options);
    return id.has('Addresses');
  }

  async resolve(name: string, options: ResolveOptions): Promise<Resolved> {
    using deadline = this.#rpc.deadline(`name/resolve ${name}`, options);
    const keys = await this.keys(deadline.options);
    const own = keys.find((key) => key.name === name || key.id === name);
    const ask = {
      command: 'name/resolve',
      // Kubo knows its keys by their ids only here; every other word is a host name to it.
      args: [`/ipns/${own?.id ?? name}`],
      query: { recursive: options.recursive !== false, nocache: options.noCache === true },
      repeat: 'always',
    } as const;
    const path = (await this.#rpc.json(ask, deadline.options)).text('Path');
    return { path, from: own === undefined ? 'network' : 'local' };
  }
}

const keyOf = (fields: Fields): NodeKey => ({ name: fields.text('Name'), id: fields.text('Id') });
