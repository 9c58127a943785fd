/**
 * The face of the module: the server that agents reach over the Unix socket, and the stdio bridge.
 * Neither loads the SDK by being imported; the server loads it beside the first connection.
 *
 * Invariants: after `close` no call is at work.
 */
import type { Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Peer, Registry } from '../tools/tools.ts';
import { instructionsFor } from './instructions.ts';
import type { Connection } from './protocol.ts';
import { AgentSocket, type PeerNames } from './socket.ts';

export { runBridge } from './bridge.ts';

export interface McpServerOptions {
  readonly registry: Registry;
  readonly native: PeerNames;
  /** Where to listen: at most 107 bytes, in a directory of our own. */
  readonly path: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  /** Of kitfs. */
  readonly version: string;
  /** Where the tree is mounted, to tell clients; undefined while it is not. */
  readonly mountDir: () => string | undefined;
}

interface Loaded {
  readonly protocol: typeof import('./protocol.ts');
  readonly validator: ReturnType<typeof import('./protocol.ts').sharedValidator>;
}

export class McpServer {
  readonly #options: McpServerOptions;
  readonly #socket: AgentSocket;
  readonly #sockets = new Set<Socket>();
  readonly #connections = new Set<Connection>();
  /** Calls of connections that are closed already. */
  readonly #settling = new Set<Promise<void>>();
  #loading: Promise<Loaded> | undefined;
  #isClosed = false;

  constructor(options: McpServerOptions) {
    this.#options = options;
    this.#socket = new AgentSocket({
      path: options.path,
      native: options.native,
      log: options.log,
      onPeer: (socket, peer) => void this.#serve(socket, peer),
    });
  }

  /**
   * Resolves when clients can connect.
   * @throws OpError configuration, busy, exists, io: see `AgentSocket.listen`.
   */
  async listen(): Promise<void> {
    await this.#socket.listen();
    // Not awaited: who connects meanwhile waits, and nobody else.
    this.#load().catch(() => {}); // Told to the first client's log line.
  }

  /**
   * Takes no more clients, tells all calls to end, and resolves when they have and everybody has
   * been given the answers already made, or when `signal` aborts.
   */
  async close(signal: AbortSignal): Promise<void> {
    this.#isClosed = true;
    await this.#socket.close();
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
    this.#loading ??= import('./protocol.ts').then((protocol) => ({
      protocol,
      validator: protocol.sharedValidator(),
    }));
    return this.#loading;
  }

  async #serve(socket: Socket, peer: Peer): Promise<void> {
    const { random, registry, clock, log, version, mountDir } = this.#options;
    const id = random.token();
    this.#sockets.add(socket);
    socket.once('close', () => this.#sockets.delete(socket));
    try {
      const { protocol, validator } = await this.#load();
      if (this.#isClosed || socket.destroyed) {
        socket.destroy();
        return;
      }
      const instructions = instructionsFor(registry.list(), mountDir());
      const ports = { registry, clock, log, version, instructions };
      const connection = new protocol.Connection(socket, { id, peer, validator }, ports);
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
