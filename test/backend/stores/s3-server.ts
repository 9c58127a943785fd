/**
 * A server that answers as a test says, to whoever takes it for one of S3:
 *
 *     await using server = await ScriptedS3.start();
 *     server.on('GET', ({ response }) => response.writeHead(503).end());
 *
 * What nobody answers is 404 NoSuchKey.
 */
import { once } from 'node:events';
import {
  createServer,
  type Server as HttpServer,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { openS3, type S3Options } from '../../../src/backend/s3/s3.ts';
import type { Store } from '../../../src/backend/store.ts';
import { Secret } from '../../../src/base/secrets.ts';
import { timing } from './fixture.ts';

export interface Call {
  readonly method: string;
  readonly url: URL;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly body: Buffer;
}

type Answer = (call: Call) => void;

export class ScriptedS3 implements AsyncDisposable {
  readonly calls: Call[] = [];
  readonly #answers = new Map<string, Answer>();
  readonly #http: HttpServer;

  private constructor() {
    this.#http = createServer((request, response) => {
      this.#take(request, response).catch(() => response.destroy());
    });
  }

  static async start(): Promise<ScriptedS3> {
    const server = new ScriptedS3();
    server.#http.listen({ host: '127.0.0.1', port: 0 });
    await once(server.#http, 'listening');
    return server;
  }

  get endpoint(): string {
    const address = this.#http.address();
    if (address === null || typeof address === 'string') throw new Error('it has no port');
    return `http://127.0.0.1:${address.port}`;
  }

  /** By method; with ` ` and a name of the query, only calls that have it. */
  on(method: string, answer: Answer): this {
    this.#answers.set(method, answer);
    return this;
  }

  count(method: string): number {
    return this.calls.filter((call) => call.method === method).length;
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const pieces: Buffer[] = [];
    for await (const piece of request) pieces.push(piece as Buffer);
    const url = new URL(request.url ?? '', 'http://x');
    const { method = '' } = request;
    const call = { method, url, request, response, body: Buffer.concat(pieces) };
    this.calls.push(call);
    const special = [...this.#answers].find(([key]) => {
      const [verb, name] = key.split(' ');
      return verb === method && name !== undefined && url.searchParams.has(name);
    });
    const answer = special?.[1] ?? this.#answers.get(method) ?? refusing(404, 'NoSuchKey');
    answer(call);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#http.closeAllConnections();
    this.#http.close();
    await once(this.#http, 'close');
  }
}

export const refusing =
  (status: number, code: string, headers: Record<string, string> = {}): Answer =>
  ({ method, response }) => {
    response.writeHead(status, { 'content-type': 'application/xml', ...headers });
    const body = `<?xml version="1.0"?><Error><Code>${code}</Code><Message>said so</Message></Error>`;
    response.end(method === 'HEAD' || code === '' ? undefined : body);
  };

export const giving =
  (bytes: string | Buffer, headers: Record<string, string> = {}): Answer =>
  ({ method, response }) => {
    response.writeHead(headers['content-range'] === undefined ? 200 : 206, {
      etag: '"tag"',
      'last-modified': 'Mon, 23 Nov 2026 10:00:00 GMT',
      'content-length': String(Buffer.byteLength(bytes)),
      ...headers,
    });
    response.end(method === 'HEAD' ? undefined : bytes);
  };

const secretOf = (value: string): Secret => new Secret(value, { kind: 'env', name: 'TEST' });

export const credentialsOf = (id: string, secret: string) => ({
  accessKeyId: secretOf(id),
  secretAccessKey: secretOf(secret),
});

export const storeAt = (endpoint: string, more: Partial<S3Options> = {}): Store =>
  openS3({
    bucket: 'bucket',
    endpoint,
    region: 'us-east-1',
    credentials: () => credentialsOf('id', 'secret'),
    ...timing(),
    ...more,
  });
