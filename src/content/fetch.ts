/**
 * Fetching blocks that are not here.
 *
 * Invariants: a block is asked for once, however many wait for it; nobody sees a byte that was not
 * hashed against the CID; a call ends with its caller's signal, and a time after it was its turn,
 * whatever the origin does; who waits for a turn waits only as long as the origin answers anybody;
 * the origin's call ends when nobody waits for it any more; one that answers nobody keeps no other
 * reader waiting (`Silence`).
 */
import { setMaxListeners } from 'node:events';
import { LRUCache } from 'lru-cache';
import pLimit from 'p-limit';
import { before } from '../base/before.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import { FETCH_MS_MAX, FETCHED_CACHED_BYTES_MAX, FETCHES_AT_ONCE_MAX } from '../base/limits.ts';
import { checkBlock } from './blocks.ts';
import type { CID } from './cid.ts';
import { type Ping, Silence } from './silence.ts';

/** Who has blocks, or finds somebody who has. */
export interface BlockOrigin {
  /**
   * Ends with the signal, unless it hangs. What it answers is not believed.
   * @throws OpError content-missing: nobody has it; any other: it could not be asked.
   */
  blockGet(cid: CID, options: { readonly signal: AbortSignal }): Promise<Uint8Array>;
  /** Asks for what needs nobody else; absent: whether it answers at all shows with blocks alone. */
  readonly ping?: Ping;
}

export interface BlockFetcherOptions {
  /** Asked for each block; undefined: there is none at the moment. */
  readonly origin: () => BlockOrigin | undefined;
  readonly clock: Clock;
}

/** A block that is asked for. */
interface Flight {
  readonly bytes: Promise<Uint8Array>;
  readonly ended: AbortController;
  waiters: number;
}

export class BlockFetcher {
  readonly #options: BlockFetcherOptions;
  readonly #flights = new Map<string, Flight>();
  readonly #turns = pLimit(FETCHES_AT_ONCE_MAX);
  /** Those that wait for their turn. */
  readonly #waiting = new Set<AbortController>();
  /** How often the origin has answered. */
  #answers = 0;
  readonly #silence: Silence;
  /** Who asked for the size of a block, or for what it links to, comes for its bytes next. */
  readonly #recent = new LRUCache<string, Uint8Array>({
    maxSize: FETCHED_CACHED_BYTES_MAX,
    sizeCalculation: ({ length }) => length + 1,
  });

  constructor(options: BlockFetcherOptions) {
    this.#options = options;
    this.#silence = new Silence(options.clock);
  }

  /** Whether there is anybody to ask. */
  get isOffered(): boolean {
    return this.#options.origin() !== undefined;
  }

  /**
   * The bytes of a block, which are those of its CID.
   * @throws OpError content-missing with details {cid, reason}, where the reason is the failure of
   *   the asking (`not-configured` when there is nobody to ask); integrity; unsupported for a hash
   *   that nobody here knows; the signal's reason.
   */
  async fetch(cid: CID, signal: AbortSignal): Promise<Uint8Array> {
    signal.throwIfAborted();
    const key = cid.toString();
    const recent = this.#recent.get(key);
    if (recent !== undefined) return recent;
    const { ping } = this.#options.origin() ?? {};
    if (ping !== undefined && (await this.#silence.lasts(ping, signal))) throw unanswered(cid);
    const flight = this.#flights.get(key) ?? this.#begin(key, cid);
    flight.waiters += 1;
    // Whoever waits for many blocks waits with one signal.
    setMaxListeners(0, signal);
    try {
      return await before(flight.bytes, signal);
    } finally {
      flight.waiters -= 1;
      if (flight.waiters === 0 && !flight.ended.signal.aborted) {
        flight.ended.abort(new OpError('cancelled', `fetch block ${cid}`));
      }
    }
  }

  #begin(key: string, cid: CID): Flight {
    const ended = new AbortController();
    const bytes = this.#fly(cid, ended).finally(() => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    // When nobody waits any more nobody is told either.
    bytes.catch(() => {});
    // One that nobody waits for any more is over: who comes then begins another.
    ended.signal.addEventListener('abort', () => {
      if (this.#flights.get(key) === flight) this.#flights.delete(key);
    });
    const flight: Flight = { bytes, ended, waiters: 0 };
    this.#flights.set(key, flight);
    return flight;
  }

  async #fly(cid: CID, ended: AbortController): Promise<Uint8Array> {
    this.#waiting.add(ended);
    try {
      const asking = this.#turns(() => this.#ask(cid, ended));
      const bytes = await before(asking, ended.signal);
      checkBlock(cid, bytes, 'fetch');
      this.#recent.set(cid.toString(), bytes);
      return bytes;
    } catch (error) {
      throw missing(cid, error);
    } finally {
      this.#waiting.delete(ended);
      ended.abort(OVER);
    }
  }

  async #ask(cid: CID, ended: AbortController): Promise<Uint8Array> {
    const { signal } = ended;
    signal.throwIfAborted();
    this.#waiting.delete(ended);
    const origin = this.#options.origin();
    if (origin === undefined) throw new OpError('not-configured', `fetch block ${cid}`);
    const answers = this.#answers;
    this.#options.clock.sleep(FETCH_MS_MAX, signal).then(
      () => ended.abort(new OpError('timeout', `fetch block ${cid}`)),
      () => {}, // It ended before.
    );
    try {
      // An origin that hangs keeps no other block from its turn for longer than its own time.
      const bytes = await before(origin.blockGet(cid, { signal }), signal);
      this.#answered();
      return bytes;
    } catch (error) {
      if (asOpError(error, 'fetch').failure === 'timeout') this.#late(answers, error);
      else if (!signal.aborted) this.#answered();
      throw error;
    }
  }

  #answered(): void {
    this.#answers += 1;
    this.#silence.end();
  }

  /** When nobody was answered since there were so many answers, who waits for his turn waits in vain. */
  #late(answers: number, error: unknown): void {
    if (this.#answers > answers) return;
    for (const waiting of this.#waiting) waiting.abort(error);
    const { ping } = this.#options.origin() ?? {};
    if (ping === undefined) return;
    // A block that nobody has is late too. Who reads meanwhile waits as long as it takes to know.
    void this.#silence.isFound(ping).then((isSilent) => {
      if (!isSilent) return;
      for (const { ended } of this.#flights.values()) ended.abort(error);
    });
  }
}

/** Said where nobody reads it: the signal would otherwise make an error, with a stack, each time. */
const OVER = 'over';

const HINTS: Readonly<Record<string, string>> = {
  'content-missing': 'no node that was asked has it',
  'not-configured': 'it is not here, and no node is attached that could be asked',
  timeout: 'the node did not answer in time, and is asked again soon',
};

const unanswered = (cid: CID): OpError =>
  missing(cid, new OpError('timeout', `fetch block ${cid}`));

function missing(cid: CID, cause: unknown): OpError {
  const why = asOpError(cause, `fetch block ${cid}`);
  if (['integrity', 'unsupported', 'payload-too-large', 'cancelled'].includes(why.failure)) {
    return why;
  }
  return new OpError('content-missing', `fetch block ${cid}`, {
    cause,
    hint: HINTS[why.failure] ?? `the node could not be asked: ${why.failure}`,
    details: { cid: cid.toString(), reason: why.failure },
  });
}
