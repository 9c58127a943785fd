/**
 * One agent's connection: the SDK's low-level server, the gate before it, and the calls in flight.
 * With `transport.ts` the only file that knows the SDK; it is loaded when the first client comes, or
 * by a daemon that waits for its time, because the SDK takes longer to load than the tree takes to mount.
 *
 * Invariants: a cancelled call sends nothing more; when the connection closes, all its calls are
 * told to end; nothing of one connection is seen by another.
 */
import type { Socket } from 'node:net';
import { Server } from '@modelcontextprotocol/sdk/server/index.js';
import {
  InitializeRequestSchema,
  isJSONRPCErrorResponse,
  isJSONRPCNotification,
  isJSONRPCRequest,
  isJSONRPCResultResponse,
  type JSONRPCRequest,
} from '@modelcontextprotocol/sdk/types.js';
import { AjvJsonSchemaValidator } from '@modelcontextprotocol/sdk/validation/ajv-provider.js';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { CALLS_PER_CONNECTION_MAX } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { withoutSecrets } from '../base/redaction.ts';
import {
  type Ceiling,
  IDEMPOTENCY_META,
  lower,
  NOTHING,
  type Peer,
  type Registry,
  type Session,
} from '../tools/tools.ts';
import {
  idOf,
  isJsonObject,
  type JsonObject,
  REFUSED,
  type RequestId,
  TOKEN_META,
} from './frames.ts';
import { ProgressFeed } from './progress.ts';
import { type Gate, INVALID_REQUEST, SocketTransport } from './transport.ts';

const METHOD_NOT_FOUND = -32_601;
const INVALID_PARAMS = -32_602;
/** When a caller with too many calls in flight may try again. */
const BUSY_RETRY_MS = 100;

/** The tokens there are. `daemon` knows them. */
export interface TokenDesk {
  /** Whether nothing may be called without one. */
  readonly isRequired: boolean;
  find(candidate: string): { readonly name: string; readonly ceiling: Ceiling } | undefined;
}

/** What all connections of a server share. */
export interface ConnectionPorts {
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Log;
  readonly version: string;
  readonly instructions: string;
  readonly tokens: TokenDesk;
}

/** An error of the protocol, which the SDK sends as it is. */
class RpcError extends Error {
  override readonly name = 'RpcError';
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.code = code;
  }
}

/** Compiles schemas of elicitations, which we never ask for; the SDK wants one, so all share it. */
export const sharedValidator = () => new AjvJsonSchemaValidator();

interface ConnectionOptions {
  readonly id: string;
  readonly peer: Peer;
  /** Of the socket. */
  readonly ceiling: Ceiling;
  readonly validator: AjvJsonSchemaValidator;
}

export class Connection implements Session {
  readonly id: string;
  readonly peer: Peer;
  readonly #ports: ConnectionPorts;
  readonly #socketCeiling: Ceiling;
  /** Name of the token that was presented. */
  #token: string | undefined;
  #ceiling: Ceiling;
  readonly #server: Server;
  readonly #transport: SocketTransport;
  readonly #calls = new Map<RequestId, AbortController>();
  readonly #running = new Set<Promise<unknown>>();
  readonly #closing = new AbortController();
  #onClose: () => void = () => {};

  constructor(socket: Socket, options: ConnectionOptions, ports: ConnectionPorts) {
    this.id = options.id;
    this.peer = options.peer;
    this.#ports = ports;
    this.#socketCeiling = options.ceiling;
    this.#ceiling = ports.tokens.isRequired ? NOTHING : options.ceiling;
    this.#transport = new SocketTransport(socket, { clock: ports.clock, gate: this.#gate });
    this.#server = new Server(
      { name: 'kitfs', version: ports.version },
      {
        // A client that names its calls by keys may send them again when it loses the connection.
        capabilities: { tools: { listChanged: false }, experimental: { [IDEMPOTENCY_META]: {} } },
        instructions: ports.instructions,
        jsonSchemaValidator: options.validator,
      },
    );
    // Not by the SDK's schemas, which would look at every result again, byte by byte.
    this.#server.fallbackRequestHandler = (request) => this.#answer(request as JSONRPCRequest);
    this.#server.onerror = (error) =>
      ports.log.warn({ session: this.id, err: error }, 'trouble on an MCP connection');
    this.#server.onclose = () => this.#closed();
  }

  get client(): Session['client'] {
    const version = this.#server.getClientVersion();
    return version === undefined ? undefined : { name: version.name, version: version.version };
  }

  /** Jobs and cursors of one token are not those of another, or of none. */
  get principal(): string {
    const { uid } = this.peer;
    return this.#token === undefined ? `uid:${uid}` : `uid:${uid} token:${this.#token}`;
  }

  get ceiling(): Ceiling {
    return this.#ceiling;
  }

  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  /** Whatever a client calls itself: the command line has a socket of its own. */
  get surface(): Session['surface'] {
    return 'mcp';
  }

  /** Serves until the connection closes; then `onClose` is called. */
  async start(onClose: () => void): Promise<void> {
    this.#onClose = onClose;
    await this.#server.connect(this.#transport);
  }

  /** Hangs up: its calls are told to end. */
  async close(): Promise<void> {
    await this.#server.close();
  }

  /** Resolves when no call is at work any more. */
  async settled(): Promise<void> {
    await Promise.allSettled(this.#running);
  }

  #closed(): void {
    const reason = new OpError('cancelled', 'call', { hint: 'the connection closed' });
    for (const controller of this.#calls.values()) controller.abort(reason);
    this.#closing.abort(reason);
    this.#onClose();
  }

  /** Refuses what the SDK would leave unanswered, and takes cancellation and limits in hand. */
  readonly #gate: Gate = (message) => {
    if (!isJsonObject(message)) return invalid(undefined, 'Invalid request: not an object');
    if (!('method' in message)) {
      // We ask clients nothing, so no answer is expected; but it may be a broken request.
      const isAnswer = isJSONRPCResultResponse(message) || isJSONRPCErrorResponse(message);
      return isAnswer ? 'drop' : invalid(message, 'Invalid request: no method');
    }
    if (!('id' in message)) {
      if (!isJSONRPCNotification(message)) return invalid(undefined, 'Invalid notification');
      if (message.method !== 'notifications/cancelled') return { pass: message };
      this.#cancel(message.params ?? {});
      return 'drop';
    }
    if (!isJSONRPCRequest(message)) return invalid(message, 'Invalid request');
    const { id, method } = message;
    if (method === 'initialize') {
      if (!InitializeRequestSchema.safeParse(message).success) {
        return { refuse: { id, code: INVALID_PARAMS, message: 'Invalid params' } };
      }
      const refusal = this.#present(message.params ?? {});
      if (refusal !== undefined) {
        return { refuse: { id, code: REFUSED, message: refusal }, ends: true };
      }
    }
    if (method === 'tools/call') {
      // An answer to this id would be taken for that of the first, so it names none.
      if (this.#calls.has(id)) return invalid(undefined, 'Invalid request: its id is in use');
      // Taken now, since the SDK begins a request later than it reads it.
      if (this.#calls.size < CALLS_PER_CONNECTION_MAX) this.#calls.set(id, new AbortController());
    }
    return { pass: message };
  };

  /** Takes the token a client presents; why not, in words for it. */
  #present({ _meta: meta }: JsonObject): string | undefined {
    const { tokens, log } = this.#ports;
    const presented = isJsonObject(meta) ? meta[TOKEN_META] : undefined;
    if (presented === undefined) {
      const isMissing = tokens.isRequired && this.#token === undefined;
      return isMissing ? `a token is required, in _meta["${TOKEN_META}"]` : undefined;
    }
    const found = typeof presented === 'string' ? tokens.find(presented) : undefined;
    const isOther = this.#token !== undefined && this.#token !== found?.name;
    if (found === undefined || isOther) {
      log.warn({ session: this.id, uid: this.peer.uid }, 'an agent was refused: its token');
      return 'the token is not one of this daemon, or not the one presented before';
    }
    this.#token = found.name;
    this.#ceiling = lower(this.#socketCeiling, found.ceiling);
    return undefined;
  }

  #cancel(params: JsonObject): void {
    const requestId = params['requestId'] as RequestId;
    const controller = this.#calls.get(requestId);
    if (controller === undefined || controller.signal.aborted) return; // Answered already.
    this.#transport.mute(requestId);
    controller.abort(new OpError('cancelled', 'call'));
  }

  async #answer({ id, method, params }: JSONRPCRequest): Promise<JsonObject> {
    if (method === 'tools/list') {
      return { tools: await this.#ports.registry.list(this.#ceiling) };
    }
    if (method !== 'tools/call') throw new RpcError(METHOD_NOT_FOUND, 'Method not found');
    const controller = this.#calls.get(id);
    if (controller === undefined) return this.#refuseBusy();
    const call = this.#call(id, params ?? {}, controller.signal);
    this.#running.add(call);
    try {
      return await call;
    } finally {
      this.#running.delete(call);
      this.#calls.delete(id);
    }
  }

  #refuseBusy(): JsonObject {
    const error = new OpError('rate-limited', 'call', {
      details: { retry_after_ms: BUSY_RETRY_MS, partial: { in_flight: CALLS_PER_CONNECTION_MAX } },
    });
    return { ...this.#ports.registry.refuse(error) };
  }

  async #call(id: RequestId, params: JsonObject, signal: AbortSignal): Promise<JsonObject> {
    const { registry } = this.#ports;
    const name = params['name'];
    if (typeof name !== 'string') throw new RpcError(INVALID_PARAMS, 'Invalid params: no name');
    const tool = registry.get(name);
    if (tool === undefined) throw new RpcError(INVALID_PARAMS, `Unknown tool: ${shown(name)}`);
    const ended = new AbortController();
    const meta = params['_meta'];
    const key = isJsonObject(meta) ? meta[IDEMPOTENCY_META] : undefined;
    const feed = this.#feed(params, tool.title, AbortSignal.any([signal, ended.signal]));
    try {
      const result = await registry.call(tool, params['arguments'] ?? {}, this, {
        signal,
        toolCallId: String(id),
        key,
        progress: feed === undefined ? undefined : (progress) => feed.report(progress),
      });
      return { ...result };
    } finally {
      ended.abort();
    }
  }

  /** Notifies of progress until the signal, when the caller has asked for it. */
  #feed(params: JsonObject, title: string, signal: AbortSignal): ProgressFeed | undefined {
    const meta = params['_meta'];
    const token = isJsonObject(meta) ? meta['progressToken'] : undefined;
    if (typeof token !== 'string' && typeof token !== 'number') return undefined;
    const feed = new ProgressFeed({
      clock: this.#ports.clock,
      title,
      signal,
      send: (progress) => {
        const note = { progressToken: token, ...progress };
        void this.#transport.send({
          jsonrpc: '2.0',
          method: 'notifications/progress',
          params: note,
        });
      },
    });
    void feed.run();
    return feed;
  }
}

const invalid = (message: JsonObject | undefined, text: string) => ({
  refuse: {
    id: (message === undefined ? undefined : idOf(message)) ?? null,
    code: INVALID_REQUEST,
    message: text,
  },
});

/** Of a name that no tool has: more is not looked at. */
const NAME_CHARS_MAX = 1024;

/** A name from outside, fit to be quoted. */
const shown = (name: string): string =>
  JSON.stringify(withoutSecrets(name.slice(0, NAME_CHARS_MAX)).slice(0, 64));
