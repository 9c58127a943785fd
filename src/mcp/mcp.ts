/**
 * The face of the module: the server that agents reach over the Unix socket, and the stdio bridge.
 * Neither loads the SDK by being imported; the server loads it beside the first connection,
 * unless `loadProtocol` has been called before.
 *
 * Invariants: after `close` no call is at work.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Ceiling, Peer, Registry } from '../tools/tools.ts';
import { frameOf, REFUSED } from './frames.ts';
import { instructionsFor } from './instructions.ts';
import type { Connection, TokenDesk } from './protocol.ts';
import { AgentSocket, type KeptSocket, type PeerNames, type PeerPolicy } from './socket.ts';

export { runBridge } from './bridge.ts';
export type { TokenDesk } from './protocol.ts';
export type { PeerPolicy } from './socket.ts';

/** A socket, and what may be asked on it at most. */
export interface Endpoint {
  /** At most 107 bytes, in a directory of our own. */
  readonly path: string;
  readonly ceiling: Ceiling;
}

export interface McpServerOptions {
  readonly registry: Registry;
  readonly native: PeerNames;
  readonly endpoints: readonly Endpoint[];
  readonly policy: PeerPolicy;
  /** Where the socket of that path is kept over the end of this process; absent: nowhere. */
  readonly kept?: ((path: string) => KeptSocket | undefined) | undefined;
  readonly tokens: TokenDesk;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Of kitfs. */
  readonly version: string;
  /** Where the tree is mounted, to tell clients; undefined while it is not. */
  readonly mountDir: () => string | undefined;
}

/** The SDK, of which the first connection has need. */
export const loadProtocol = () => import('./protocol.ts');

interface Loaded {
  readonly protocol: Awaited<ReturnType<typeof loadProtocol>>;
  readonly validator: ReturnType<typeof import('./protocol.ts').sharedValidator>;
}

export class McpServer {
  readonly #options: McpServerOptions;
  readonly #listening: readonly AgentSocket[];
  readonly #sockets = new Set<Socket>();
  readonly #connections = new Set<Connection>();
  /** Calls of connections that are closed already. */
  readonly #settling = new Set<Promise<void>>();
  #loading: Promise<Loaded> | undefined;
  #isClosed = false;

  constructor(options: McpServerOptions) {
    this.#options = options;
    const { native, policy, log } = options;
    this.#listening = options.endpoints.map(
      ({ path, ceiling }) =>
        new AgentSocket({
          ...{ path, native, policy, log },
          kept: options.kept?.(path),
          refusal: ({ message }) =>
            frameOf({ jsonrpc: '2.0', id: null, error: { code: REFUSED, message } }),
          onPeer: (socket, peer) => void this.#serve(socket, peer, ceiling),
        }),
    );
  }

  /**
   * Resolves when clients can connect.
   * @throws OpError configuration, busy, exists, io: see `AgentSocket.listen`.
   */
  async listen(): Promise<void> {
    const open: AgentSocket[] = [];
    try {
      for (const socket of this.#listening) {
        await socket.listen();
        open.push(socket);
      }
    } catch (error) {
      for (const socket of open) await socket.close();
      throw error;
    }
    // Not awaited: who connects meanwhile waits, and nobody else.
    this.#load().catch(() => {}); // Told to the first client's log line.
  }

  /**
   * Takes no more clients, tells all calls to end, and resolves when they have and everybody has
   * been given the answers already made, or when `signal` aborts.
   */
  async close(signal: AbortSignal): Promise<void> {
    this.#isClosed = true;
    for (const socket of this.#listening) await socket.close();
    const sockets = [...this.#sockets].map(
      (socket) => new Promise((resolve) => socket.once('close', resolve)),
    );
    for (const connection of this.#connections) await connection.close();
    await Promise.race([Promise.all([...this.#settling, ...sockets]), aborted(signal)]);
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Connections served now. */
  get connections(): number {
    return this.#connections.size;
  }

  #load(): Promise<Loaded> {
    this.#loading ??= loadProtocol().then((protocol) => ({
      protocol,
      validator: protocol.sharedValidator(),
    }));
    return this.#loading;
  }

  async #serve(socket: Socket, peer: Peer, ceiling: Ceiling): Promise<void> {
    const { random, registry, clock, log, version, mountDir, tokens } = this.#options;
    const id = random.token();
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    try {
      const { protocol, validator } = await this.#load();
      if (this.#isClosed || socket.destroyed) {
        socket.destroy();
        return;
      }
      const instructions = instructionsFor(registry.allowed(ceiling), mountDir());
      const ports = { registry, clock, log, version, instructions, tokens };
      const options = { id, peer, ceiling, validator };
      const connection = new protocol.Connection(socket, options, ports);
      this.#connections.add(connection);
      await connection.start(() => {
        this.#connections.delete(connection);
        const settled = connection.settled().finally(() => this.#settling.delete(settled));
        this.#settling.add(settled);
      });
    } catch (error) {
      log.error({ session: id, err: error }, 'a client could not be served');
      socket.destroy();
    }
  }
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
