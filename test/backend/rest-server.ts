/**
 * A server that answers as a test says, by method and path:
 *
 *     await using server = await RestServer.start();
 *     server.on('GET /id', ({ response }) => response.end('{}'));
 *
 * What nobody answers is 404. It keeps what came, and never answers by itself.
 */
import { once } from 'node:events';
import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';

export interface Call {
  /** `GET /pins/bafy…`, decoded. */
  readonly what: string;
  readonly query: URLSearchParams;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
}

type Answer = (call: Call) => void;

export class RestServer implements AsyncDisposable {
  readonly calls: Call[] = [];
  readonly #answers = new Map<string, Answer>();
  readonly #http: HttpServer;

  private constructor() {
    this.#http = createServer((request, response) => this.#take(request, response));
  }

  static async start(): Promise<RestServer> {
    const server = new RestServer();
    server.#http.listen({ host: '127.0.0.1', port: 0 });
    await once(server.#http, 'listening');
    return server;
  }

  get api(): string {
    const address = this.#http.address();
    if (address === null || typeof address === 'string') throw new Error('it has no port');
    return `http://127.0.0.1:${address.port}`;
  }

  /** `*` in place of the path is every path. */
  on(what: string, answer: Answer): this {
    this.#answers.set(what, answer);
    return this;
  }

  /** What came, as `GET /id`. */
  get whats(): readonly string[] {
    return this.calls.map(({ what }) => what);
  }

  last(what: string): Call {
    const call = this.calls.findLast((one) => one.what === what);
    if (call === undefined) throw new Error(`${what} was not called, but ${this.whats.join(', ')}`);
    return call;
  }

  #take(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? '', 'http://x');
    const what = `${request.method} ${decodeURIComponent(pathname)}`;
    const call = { what, query: searchParams, request, response };
    this.calls.push(call);
    const answer = this.#answers.get(what) ?? this.#answers.get(`${request.method} *`);
    if (answer === undefined) response.writeHead(404).end('404 page not found');
    else answer(call);
  }

  /** Also ends what is under way. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#http.closeAllConnections();
    if (!this.#http.listening) return;
    this.#http.close();
    await once(this.#http, 'close');
  }
}

/** One JSON value. */
export const telling =
  (value: unknown): Answer =>
  ({ response }) =>
    void response.end(`${JSON.stringify(value)}\n`);

export const refusing =
  (status: number, body: string): Answer =>
  ({ response }) =>
    void response.writeHead(status).end(body);
