/**
 * One connection of the SDK over a Unix socket.
 *
 * Invariants: bad JSON and bad requests are answered and the connection lives; a stream that
 * cannot be framed is answered and closed; while the reader is behind, nothing more is read from
 * it, and one that never reads is cut off; `onclose` comes exactly once.
 */
import type { Socket } from 'node:net';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { UNREAD_BYTES_MAX } from '../base/limits.ts';
import { FrameReader, frameOf, parseFrame, type RequestId } from './frames.ts';

/** What is wrong with a message, in the terms of JSON-RPC. */
export interface Fault {
  readonly id: RequestId | null;
  readonly code: number;
  readonly message: string;
}

const PARSE_ERROR = -32_700;
export const INVALID_REQUEST = -32_600;

/** Looks at each message before the SDK does: what to pass on, what to refuse, what to drop. */
export type Gate = (message: unknown) =>
  | { readonly pass: JSONRPCMessage }
  /** With `ends` nothing more is taken. */
  | { readonly refuse: Fault; readonly ends?: true }
  | 'drop';

/** How long a client may take to read what is left when we hang up. */
const LINGER_MS = 1000;

export class SocketTransport implements Transport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: JSONRPCMessage) => void;
  readonly #socket: Socket;
  readonly #clock: Clock;
  readonly #gate: Gate;
  readonly #reader = new FrameReader();
  readonly #muted = new Set<RequestId>();
  readonly #gone = new AbortController();
  #isClosed = false;

  /** @param socket paused, so that nothing is lost before `start`. */
  constructor(socket: Socket, { clock, gate }: { readonly clock: Clock; readonly gate: Gate }) {
    this.#socket = socket;
    this.#clock = clock;
    this.#gate = gate;
  }

  async start(): Promise<void> {
    const socket = this.#socket;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('drain', () => socket.resume());
    // A client that is gone and one that has said everything look alike: neither is waited for.
    socket.on('end', () => this.#hangUp());
    socket.on('error', (error) => this.onerror?.(error));
    socket.on('close', () => {
      this.#gone.abort();
      this.#closed();
    });
    if (socket.destroyed) this.#closed();
    else socket.resume();
  }

  /** Resolves at once: what the reader is behind is bounded here and not waited for. */
  async send(message: JSONRPCMessage): Promise<void> {
    const id = 'id' in message && !('method' in message) ? message.id : undefined;
    if (id !== undefined && this.#muted.delete(id)) return;
    this.#write(message);
  }

  async close(): Promise<void> {
    this.#hangUp();
  }

  /** The answer to this request, when it comes, is not sent. */
  mute(id: RequestId): void {
    this.#muted.add(id);
  }

  #read(chunk: Buffer): void {
    if (this.#isClosed) return;
    try {
      this.#reader.push(chunk, (frame) => this.#take(frame));
    } catch (error) {
      if (!(error instanceof OpError)) throw error;
      this.#refuse({ id: null, code: INVALID_REQUEST, message: 'Frame too large' });
      this.#hangUp();
    }
  }

  #take(frame: Buffer): void {
    if (this.#isClosed) return;
    const value = parseFrame(frame);
    if (value === undefined) {
      this.#refuse({ id: null, code: PARSE_ERROR, message: 'Parse error' });
      return;
    }
    const verdict = this.#gate(value);
    if (verdict === 'drop') return;
    if ('pass' in verdict) {
      this.onmessage?.(verdict.pass);
      return;
    }
    this.#refuse(verdict.refuse);
    if (verdict.ends === true) this.#hangUp();
  }

  #refuse({ id, code, message }: Fault): void {
    this.#write({ jsonrpc: '2.0', id, error: { code, message } });
  }

  #write(message: unknown): void {
    const socket = this.#socket;
    if (this.#isClosed || !socket.writable) return;
    if (!socket.write(frameOf(message))) socket.pause();
    if (socket.writableLength > UNREAD_BYTES_MAX) {
      this.onerror?.(new Error('the client does not read its answers'));
      socket.destroy();
    }
  }

  /** Sends the answers already made, and no more; what still comes in is thrown away. */
  #hangUp(): void {
    const socket = this.#socket;
    socket.end();
    socket.resume();
    this.#clock.sleep(LINGER_MS, this.#gone.signal).then(
      () => socket.destroy(),
      () => {}, // It is closed already.
    );
    this.#closed();
  }

  #closed(): void {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.onclose?.();
  }
}
