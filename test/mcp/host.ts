/** A server of sample tools on a socket of its own, and raw clients of it. */
import { mkdtemp, rm } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Clock } from '../../src/base/clock.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { peerPolicyOf } from '../../src/daemon/access.ts';
import { FrameReader, frameOf, parseFrame } from '../../src/mcp/frames.ts';
import { McpServer, type PeerPolicy, type TokenDesk } from '../../src/mcp/mcp.ts';
import type { PeerNames } from '../../src/mcp/socket.ts';
import type { KeptCalls } from '../../src/tools/repeats.ts';
import { type Ceiling, UNLIMITED } from '../../src/tools/tools.ts';
import { CountingRandom } from '../fakes/random.ts';
import { type Sample, sample } from '../tools/sample.ts';

/** What the kernel would say of a client in this process. */
export const ourselves: PeerNames = {
  peerCredentials: () => ({
    pid: process.pid,
    uid: process.getuid?.() ?? 0,
    gid: process.getgid?.() ?? 0,
    groups: process.getgroups?.() ?? [],
  }),
};

/** The policy of a user's daemon. */
export const ownerOnly = peerPolicyOf({ users: [], groups: [] }, process.getuid?.() ?? 0, {
  userId: () => undefined,
  groupId: () => undefined,
});

const noTokens: TokenDesk = { isRequired: false, find: () => undefined };

export interface Host extends AsyncDisposable {
  readonly path: string;
  readonly server: McpServer;
  readonly sample: Sample;
}

export interface HostOptions {
  readonly native?: PeerNames;
  readonly clock?: Clock;
  /** What other hosts have run. */
  readonly keptCalls?: KeptCalls;
  /** Of a directory that outlives the host. */
  readonly path?: string;
  readonly ceiling?: Ceiling;
  readonly policy?: PeerPolicy;
  readonly tokens?: TokenDesk;
}

export const scratch = () => mkdtemp(join(tmpdir(), 'kitfs-mcp-'));

export async function openHost(given: HostOptions = {}): Promise<Host> {
  const { native, clock, keptCalls, path, ceiling = UNLIMITED } = given;
  const directory = path === undefined ? await scratch() : undefined;
  const tools = sample(clock, keptCalls);
  const options = {
    registry: tools.registry,
    native: native ?? ourselves,
    endpoints: [{ path: path ?? join(directory ?? '', 'mcp.sock'), ceiling }],
    policy: given.policy ?? ownerOnly,
    tokens: given.tokens ?? noTokens,
    clock: clock ?? new SystemClock(),
    random: new CountingRandom(),
    log: tools.log,
    version: '1.2.3',
    mountDir: () => '/home/me/kitfs',
  };
  const server = new McpServer(options);
  await server.listen();
  return {
    path: options.endpoints[0]?.path ?? '',
    server,
    sample: tools,
    [Symbol.asyncDispose]: async () => {
      await server.close(AbortSignal.timeout(5000));
      if (directory !== undefined) await rm(directory, { recursive: true });
    },
  };
}

/** A message of the other side, as JSON has it. */
export type Message = Readonly<Record<string, unknown>> & {
  readonly id?: unknown;
  readonly method?: unknown;
  readonly result?: { readonly [name: string]: unknown };
  readonly error?: { readonly code: number; readonly message: string };
};

/** A client that says exactly what it is told. */
export class RawClient implements AsyncDisposable {
  readonly socket: Socket;
  readonly messages: Message[] = [];
  readonly closed: Promise<void>;
  #taken = 0;
  #wake: () => void = () => {};

  constructor(path: string) {
    this.socket = connect(path);
    const reader = new FrameReader();
    this.closed = new Promise((resolve) => this.socket.once('close', () => resolve()));
    this.socket.on('error', () => {});
    this.socket.on('data', (chunk: Buffer) => {
      reader.push(chunk, (frame) => this.messages.push(parseFrame(frame) as Message));
      this.#wake();
    });
  }

  send(...values: readonly unknown[]): void {
    this.socket.write(values.map(frameOf).join(''));
  }

  /** Calls a tool; the answer is one of the next messages. */
  call(id: string | number, name: string, values: unknown = {}, meta?: unknown): void {
    const params = { name, arguments: values, ...(meta === undefined ? {} : { _meta: meta }) };
    this.send({ jsonrpc: '2.0', id, method: 'tools/call', params });
  }

  /** The next message, in the order of arrival. */
  async next(): Promise<Message> {
    for (;;) {
      const message = this.messages[this.#taken];
      if (message !== undefined) {
        this.#taken += 1;
        return message;
      }
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Answers to what was sent before come before the answer to this. */
  async ping(id: string): Promise<Message> {
    this.send({ jsonrpc: '2.0', id, method: 'ping' });
    for (;;) {
      const message = await this.next();
      if (message.id === id) return message;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.socket.destroy();
    await this.closed;
  }
}

/** Resolves when `is` holds, looking after every turn of the event loop. */
export async function until(is: () => boolean): Promise<void> {
  while (!is()) await new Promise((resolve) => setImmediate(resolve));
}
