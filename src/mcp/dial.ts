/** Connecting to the daemon's socket and writing to it, as the stdio bridge needs it. */
import { connect, type Socket } from 'node:net';
import type { Clock } from '../base/clock.ts';

/** How long a daemon that is not there is waited for, and how often it is looked for. */
const CONNECT_GRACE_MS = 8000;
const CONNECT_POLL_MS = 20;

export interface DialOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** From its abort on, nobody waits for a daemon that is not there. */
  readonly impatience: AbortSignal;
}

/**
 * A connection, looked for until there is one: at once where somebody listens, even if he is not
 * ready to answer yet.
 * @throws what connect(2) says after eight seconds; the signal's reason.
 */
export async function dial({ path, clock, signal, impatience }: DialOptions): Promise<Socket> {
  const woken = AbortSignal.any([signal, impatience]);
  const untilMs = clock.monotonicMs() + CONNECT_GRACE_MS;
  for (;;) {
    try {
      return await dialOnce(path);
    } catch (error) {
      if (impatience.aborted || clock.monotonicMs() >= untilMs) throw error;
      await clock.sleep(CONNECT_POLL_MS, woken).catch(() => {
        signal.throwIfAborted();
        throw error;
      });
    }
  }
}

function dialOnce(path: string): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('error', reject);
    socket.once('connect', () => {
      socket.off('error', reject);
      resolve(socket);
    });
  });
}

/** Resolves when the kernel has all the bytes. @throws when it may have only some of them. */
export function write(socket: Socket, bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(bytes, (error) => {
      // Node reports no error for a write that a reset connection has cut off.
      if (error || socket.destroyed) reject(error ?? new Error('the connection was reset'));
      else resolve();
    });
  });
}
