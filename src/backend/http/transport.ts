/**
 * Requests to one service: one pool of connections, bounded; whoever comes when all are in use
 * waits in order. Not `fetch`, which can neither speak to Unix sockets nor see trailers.
 *
 * Invariants: a call that was told to end holds no socket; a source of bytes that nobody wants any
 * more is told so (`return`); no answer leaves this module's callers unread and open.
 */
import { once } from 'node:events';
import { Agent, type ClientRequest, type IncomingMessage, request } from 'node:http';
import { Agent as TlsAgent, request as tlsRequest } from 'node:https';
import { codeOf, OpError } from '../../base/errors.ts';
import {
  NODE_CALLS_WAITING_MAX,
  NODE_CONNECTION_KEPT_MS,
  NODE_SUBSCRIPTIONS_MAX,
} from '../../base/limits.ts';
import { Turns } from '../../base/turns.ts';
import type { Address } from './address.ts';
import { Answer, type LateFault, type Uploading } from './answer.ts';

/**
 * `short` for what is answered at once; `long` for what streams, so that questions asked while a
 * stream is read can never wait for that stream; `held` for subscriptions.
 */
export type Lane = 'short' | 'long' | 'held';

export interface Outgoing {
  readonly method: 'GET' | 'POST' | 'PUT' | 'DELETE';
  /** With its query: `/api/v0/id?timeout=30000ms`. */
  readonly path: string;
  readonly lane: Lane;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: AsyncIterable<Uint8Array> | undefined;
}

export interface Calling {
  readonly op: string;
  /** Aborts with an OpError. */
  readonly signal: AbortSignal;
}

export interface TransportOptions {
  /** What errors call it: `kubo`. */
  readonly service: string;
  /** Connections in use at once, at least 2; subscriptions come on top. */
  readonly requestsMax: number;
  readonly lateFault: LateFault;
}

/** Ends connections nobody uses, and no others. */
const KEPT = { keepAlive: true, timeout: NODE_CONNECTION_KEPT_MS };

export class Transport {
  readonly #service: string;
  readonly #lateFault: LateFault;
  readonly #agent = new Agent(KEPT);
  readonly #tlsAgent = new TlsAgent(KEPT);
  readonly #lanes: Readonly<Record<Lane, Turns>>;

  constructor({ service, requestsMax, lateFault }: TransportOptions) {
    this.#service = service;
    this.#lateFault = lateFault;
    const waitingMax = NODE_CALLS_WAITING_MAX;
    const long = Math.floor(requestsMax / 2);
    this.#lanes = {
      short: new Turns({ atOnce: requestsMax - long, waitingMax }),
      long: new Turns({ atOnce: long, waitingMax }),
      held: new Turns({ atOnce: NODE_SUBSCRIPTIONS_MAX, waitingMax: 0 }),
    };
  }

  /**
   * Sends a request and resolves when its answer begins, which may be before its body has gone.
   * @throws OpError not-running: nobody listens, or the connection broke before an answer;
   *   rate-limited; the signal's reason; what reading the body throws.
   */
  async send(to: Address, outgoing: Outgoing, { op, signal }: Calling): Promise<Answer> {
    const leave = await this.#lanes[outgoing.lane].enter(op, signal);
    let sent: ClientRequest;
    try {
      sent = this.#begin(to, outgoing);
    } catch (error) {
      leave();
      throw error;
    }
    sent.once('close', leave);
    const onAbort = () => void sent.destroy(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    sent.once('close', () => signal.removeEventListener('abort', onAbort));
    if (signal.aborted) onAbort();
    const uploading: Uploading = { fault: undefined };
    const unanswered = (cause: unknown) => failureOf(cause, { op, service: this.#service });
    const message = await answered(sent, outgoing.body, { uploading, unanswered, signal });
    // Destroying the request alone would let what came already look like the end.
    const onLate = () => void message.destroy(signal.reason);
    signal.addEventListener('abort', onLate, { once: true });
    message.once('close', () => signal.removeEventListener('abort', onLate));
    // The node has said all it will, and nobody waits for the rest of what it was sent.
    message.once('end', () => sent.writableEnded || sent.destroy());
    return new Answer(message, { op, signal, uploading, lateFault: this.#lateFault });
  }

  /** Lets go of connections nobody uses: the node behind them may be another one now. */
  forget(): void {
    for (const { freeSockets } of [this.#agent, this.#tlsAgent]) {
      for (const socket of Object.values(freeSockets).flat()) socket?.destroy();
    }
  }

  close(): void {
    this.#agent.destroy();
    this.#tlsAgent.destroy();
  }

  #begin(to: Address, { method, path, headers, body }: Outgoing): ClientRequest {
    const isEmpty = body === undefined && method !== 'GET';
    const all = { ...headers, ...(isEmpty ? { 'content-length': '0' } : {}) };
    const sending = { ...to, method, path, headers: all };
    if (!('protocol' in to) || to.protocol !== 'https:') {
      return request({ ...sending, agent: this.#agent });
    }
    return tlsRequest({ ...sending, agent: this.#tlsAgent });
  }
}

interface Awaiting {
  readonly uploading: Uploading;
  readonly unanswered: (cause: unknown) => OpError;
  readonly signal: AbortSignal;
}

/** The beginning of the answer; the body goes out meanwhile, and on after that. */
async function answered(
  sent: ClientRequest,
  body: AsyncIterable<Uint8Array> | undefined,
  { uploading, unanswered, signal }: Awaiting,
): Promise<IncomingMessage> {
  const answer = new Promise<IncomingMessage>((resolve, reject) => {
    sent.once('response', resolve);
    sent.on('error', reject); // Stays: an error after the answer began is told by the answer.
    sent.once('close', () => reject(new Error('the connection was closed')));
  });
  if (body === undefined) sent.end();
  else {
    upload(body, sent, answer).catch((error: unknown) => {
      uploading.fault = { error };
      sent.destroy(error instanceof Error ? error : new Error(String(error)));
    });
  }
  try {
    return await answer;
  } catch (error) {
    signal.throwIfAborted();
    if (uploading.fault !== undefined) throw uploading.fault.error;
    throw unanswered(error);
  }
}

/** Details {sent}: whether the service may have seen the request, though it never answered. */
function failureOf(
  cause: unknown,
  { op, service }: { readonly op: string; readonly service: string },
): OpError {
  const code = codeOf(cause) ?? '';
  if (code === 'EACCES' || code === 'EPERM') {
    const hint = 'let the user of the daemon connect to its socket';
    return new OpError('configuration', op, { cause, hint });
  }
  const sent = !['ECONNREFUSED', 'ENOENT', 'ENOTFOUND', 'EAI_AGAIN'].includes(code);
  return new OpError('not-running', op, { cause, details: { sent, service } });
}

/** As fast as the other side takes it. Ends, without an error, when it takes no more. */
async function upload(
  body: AsyncIterable<Uint8Array>,
  sent: ClientRequest,
  answer: Promise<IncomingMessage>,
): Promise<void> {
  const over = new AbortController();
  const stop = () => over.abort();
  sent.once('close', stop);
  // A refusal comes before the end of the body; a success does so too, with its progress.
  answer.then(({ statusCode }) => {
    if (statusCode === undefined || statusCode >= 300) stop();
  }, stop);
  for await (const chunk of body) {
    if (over.signal.aborted) break;
    if (sent.write(chunk)) continue;
    await once(sent, 'drain', { signal: over.signal }).catch(stop);
    if (over.signal.aborted) break;
  }
  if (!sent.destroyed) sent.end();
}
