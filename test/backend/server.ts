/**
 * A server that answers as a test says, to whoever takes it for a Kubo:
 *
 *     await using server = await Server.start();
 *     server.on('id', ({ response }) => response.end('{"ID":"x"}'));
 *
 * It is version 0.43.1 unless it is told another; what nobody answers is 404.
 */
import { once } from 'node:events';
import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';

export interface Call {
  readonly command: string;
  readonly query: URLSearchParams;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  /** Of this command, from 1. */
  readonly count: number;
}

type Answer = (call: Call) => void | Promise<void>;

export class Server implements AsyncDisposable {
  readonly calls: Call[] = [];
  readonly #answers = new Map<string, Answer>();
  readonly #http: HttpServer;
  readonly #waiting = new Set<() => void>();

  private constructor() {
    this.#http = createServer((request, response) => this.#take(request, response));
    this.on('version', ({ response }) => void response.end('{"Version":"0.43.1"}'));
  }

  static async start(at: number | string = 0): Promise<Server> {
    const server = new Server();
    const where = typeof at === 'string' ? { path: at } : { host: '127.0.0.1', port: at };
    server.#http.listen(where);
    await once(server.#http, 'listening');
    return server;
  }

  get port(): number {
    const address = this.#http.address();
    if (address === null || typeof address === 'string') throw new Error('it has no port');
    return address.port;
  }

  get api(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  on(command: string, answer: Answer): this {
    this.#answers.set(command, answer);
    return this;
  }

  /** Connections that are open. */
  async connections(): Promise<number> {
    return await new Promise((resolve, reject) =>
      this.#http.getConnections((error, count) => (error ? reject(error) : resolve(count))),
    );
  }

  count(command: string): number {
    return this.calls.filter((call) => call.command === command).length;
  }

  /** Resolves once a command was called so often. */
  async called(command: string, times = 1): Promise<Call> {
    while (this.count(command) < times) {
      await new Promise<void>((resolve) => this.#waiting.add(resolve));
    }
    const call = this.calls.filter((one) => one.command === command)[times - 1];
    if (call === undefined) throw new Error('it was called');
    return call;
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const url = new URL(request.url ?? '', 'http://x');
    const command = url.pathname.replace('/api/v0/', '');
    const count = this.count(command) + 1;
    const call = { command, query: url.searchParams, request, response, count };
    this.calls.push(call);
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
    const answer = this.#answers.get(command);
    if (answer === undefined) response.writeHead(404).end('404 page not found');
    else void answer(call);
  }

  /** Also ends what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#http.closeAllConnections();
    if (!this.#http.listening) return;
    this.#http.close();
    await once(this.#http, 'close');
  }
}

/** As Kubo refuses. */
export const refusing =
  (status: number, message: string): Answer =>
  ({ request, response }) => {
    request.resume();
    response.writeHead(status, { 'content-type': 'application/json' });
    response.end(JSON.stringify({ Message: message, Code: 0, Type: 'error' }));
  };

/** A body whose failure comes behind it. */
export const failingLate =
  (body: string, message: string): Answer =>
  ({ response }) => {
    response.writeHead(200, { trailer: 'X-Stream-Error' });
    response.write(body);
    response.addTrailers({ 'X-Stream-Error': message });
    response.end();
  };

/** A body that is cut with its connection. */
export const cutting =
  (body: string): Answer =>
  ({ response }) => {
    response.writeHead(200, { 'content-length': String(body.length + 10) });
    response.write(body, () => response.destroy());
  };
