/**
 * A plain client of Kubo's RPC, independent of the one under test: it shows what came over the wire, and neither
 * retries nor interprets. One connection for each call; trailers are read; a body that breaks off shows as
 * `isComplete: false`.
 */
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { request } from 'node:http';

const DEADLINE_MS = 30_000;
const BOUNDARY = 'kitfs-test-7d1f0c52a9';

/** A part of a multipart body; a directory or a symbolic link has a `type` of its own, see Kubo's `add`. */
export interface Part {
  readonly bytes: Uint8Array | string;
  readonly name?: string;
  /** `application/octet-stream` when absent. */
  readonly type?: string;
}

/** Bytes are sent as one part. */
export type Body = Uint8Array | string | readonly Part[];

export interface CallOptions {
  /** For the whole call, body included. */
  readonly deadlineMs?: number;
  readonly signal?: AbortSignal;
  /** `bearer:TOKEN` or `basic:USER:PASSWORD`; the client's own when absent. */
  readonly secret?: string;
}

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Names in lower case, as `x-stream-error`. */
  readonly trailers: NodeJS.Dict<string>;
  /** False when the connection broke off in the body. */
  readonly isComplete: boolean;
}

/** `http://127.0.0.1:PORT` or `unix:/PATH`, as node:http takes them. */
export function connectionOf(
  api: string,
): { readonly host: string; readonly port: number } | { readonly socketPath: string } {
  if (api.startsWith('unix:')) return { socketPath: api.slice('unix:'.length) };
  const { hostname, port } = new URL(api);
  return { host: hostname, port: Number(port) };
}

/** The value of the header `Authorization`. */
function authorization(secret: string): string {
  const at = secret.indexOf(':');
  const [kind, rest] = [secret.slice(0, at), secret.slice(at + 1)];
  return kind === 'basic' ? `Basic ${Buffer.from(rest).toString('base64')}` : `Bearer ${rest}`;
}

function multipart(body: Body): Buffer {
  const parts = typeof body === 'string' || body instanceof Uint8Array ? [{ bytes: body }] : body;
  const pieces = parts.flatMap(({ bytes, name = '', type = 'application/octet-stream' }: Part) => [
    Buffer.from(
      `--${BOUNDARY}\r\nContent-Disposition: form-data; name="file"; ` +
        `filename="${encodeURIComponent(name)}"\r\nContent-Type: ${type}\r\n\r\n`,
    ),
    Buffer.from(bytes),
    Buffer.from('\r\n'),
  ]);
  return Buffer.concat([...pieces, Buffer.from(`--${BOUNDARY}--\r\n`)]);
}

export class Rpc {
  readonly #api: string;
  readonly #secret: string | undefined;
  readonly #open = new Set<IncomingMessage>();

  constructor(api: string, secret?: string) {
    this.#api = api;
    this.#secret = secret;
  }

  /**
   * Calls `/api/v0/PATH` (a command with its query) and reads the answer to its end, whatever it says. Rejects when
   * there is no answer at all, at the deadline, and when the signal aborts.
   */
  async send(path: string, body?: Body, options: CallOptions = {}): Promise<Reply> {
    const deadline = AbortSignal.timeout(options.deadlineMs ?? DEADLINE_MS);
    const signals = options.signal === undefined ? [deadline] : [deadline, options.signal];
    const signal = AbortSignal.any(signals);
    const chunks: Buffer[] = [];
    const late = (cause: unknown) => new Error(`${path}: ${String(signal.reason)}`, { cause });
    const answer = await this.open(path, body, { ...options, signal }).catch((error: unknown) => {
      throw signal.aborted ? late(error) : error;
    });
    try {
      for await (const chunk of answer) chunks.push(chunk as Buffer);
    } catch (error) {
      if (signal.aborted) throw late(error);
      // It broke off; `complete` says so.
    }
    return {
      status: answer.statusCode ?? 0,
      headers: answer.headers,
      body: Buffer.concat(chunks),
      trailers: answer.trailers,
      isComplete: answer.complete,
    };
  }

  /** Calls, and resolves with the answer as a stream as soon as it has a head; without a deadline of its own. */
  open(path: string, body?: Body, options: CallOptions = {}): Promise<IncomingMessage> {
    const secret = options.secret ?? this.#secret;
    const bytes = body === undefined ? undefined : multipart(body);
    const headers = {
      ...(secret === undefined ? {} : { Authorization: authorization(secret) }),
      ...(bytes === undefined
        ? {}
        : { 'Content-Type': `multipart/form-data; boundary=${BOUNDARY}` }),
      'Content-Length': bytes?.length ?? 0,
    };
    return new Promise((resolve, reject) => {
      const call = request({
        ...connectionOf(this.#api),
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        agent: false,
        method: 'POST',
        path: `/api/v0/${path}`,
        headers,
      });
      call.once('response', (answer) => {
        this.#open.add(answer);
        answer.once('close', () => this.#open.delete(answer));
        resolve(answer);
      });
      call.on('error', (error) => reject(new Error(`${path}: ${error.message}`, { cause: error })));
      call.end(bytes);
    });
  }

  /** The body of an answer that must be a success to its very end. */
  async bytes(path: string, body?: Body, options: CallOptions = {}): Promise<Buffer> {
    const reply = await this.send(path, body, options);
    const trouble = reply.trailers['x-stream-error'];
    if (reply.status === 200 && reply.isComplete && trouble === undefined) return reply.body;
    const what = reply.isComplete ? (trouble ?? reply.body.toString()) : 'the answer broke off';
    throw new Error(`${path}: HTTP ${reply.status}: ${what}`);
  }

  /** The same as one JSON document. */
  async json<T>(path: string, body?: Body, options: CallOptions = {}): Promise<T> {
    return JSON.parse((await this.bytes(path, body, options)).toString()) as T;
  }

  /** The same as JSON documents, one a line. */
  async lines<T>(path: string, body?: Body, options: CallOptions = {}): Promise<T[]> {
    const text = (await this.bytes(path, body, options)).toString();
    return text
      .split('\n')
      .filter((line) => line.trim() !== '')
      .map((line) => JSON.parse(line) as T);
  }

  /** Ends every answer that is still open. */
  closeAll(): void {
    for (const answer of this.#open) answer.destroy();
  }
}
