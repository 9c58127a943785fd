/**
 * Calls of one service over HTTP: each with its deadline, sent again where that is safe, and none to
 * a service that was not seen to be one that will do.
 *
 * Invariants: no address or secret is kept beyond the loss of the connection that it was read for;
 * whoever answers after that loss is looked at anew.
 */
import type { Clock } from '../../base/clock.ts';
import { OpError } from '../../base/errors.ts';
import { NODE_REPEAT_MS, NODE_REPEATS_MAX, NODE_TRANSFER_MS } from '../../base/limits.ts';
import type { Random } from '../../base/random.ts';
import type { CallOptions } from '../call.ts';
import { Deadline } from '../deadline.ts';
import type { Endpoint } from './address.ts';
import type { Answer, LateFault } from './answer.ts';
import { type Lane, type Outgoing, Transport } from './transport.ts';

export interface SessionOptions {
  readonly endpoint: Endpoint;
  /** Value of the header `Authorization`, read anew with each connection; undefined: none. */
  readonly authorization: (() => string) | undefined;
  /** Connections in use at once, at least 2; subscriptions come on top. */
  readonly requestsMax: number;
  /** Of calls in the lane `short` that name no deadline. */
  readonly callMs: number;
  readonly clock: Clock;
  readonly random: Random;
}

/** What a service is to the session. */
export interface Spoken {
  /** What errors call it: `kubo`. */
  readonly service: string;
  readonly lateFault: LateFault;
  /** Whether it will do: asked before the first call of each life of it. */
  demandVersion(deadline: Deadline): Promise<void>;
}

/**
 * `always`: twice is as once, and so is the body. `unseen`: only if the service cannot have seen it;
 * with a body `never`.
 */
export type Repeat = 'always' | 'unseen' | 'never';

export class Session {
  readonly #options: SessionOptions;
  readonly #spoken: Spoken;
  readonly #transport: Transport;
  readonly #closed = new AbortController();
  #address: Awaited<ReturnType<Endpoint['resolve']>> | undefined;
  #authorization: string | undefined;
  #isVersionKnown = false;

  constructor(options: SessionOptions, spoken: Spoken) {
    this.#options = options;
    this.#spoken = spoken;
    const { requestsMax } = options;
    this.#transport = new Transport({ ...spoken, requestsMax });
  }

  get endpoint(): string {
    return this.#options.endpoint.text;
  }

  get clock(): Clock {
    return this.#options.clock;
  }

  get random(): Random {
    return this.#options.random;
  }

  /** Ends every call; later ones are refused. */
  close(): void {
    const hint = 'kitfs stops, or has another one now';
    this.#closed.abort(new OpError('not-ready', `close ${this.endpoint}`, { hint }));
    this.#transport.close();
  }

  /** One end for several calls that are one to the caller. @throws OpError cancelled, timeout. */
  deadline(op: string, options: CallOptions, lane: Lane = 'short'): Deadline {
    const own = lane === 'long' ? NODE_TRANSFER_MS : this.#options.callMs;
    const deadlineMs = options.deadlineMs ?? own;
    const closed = this.#closed.signal;
    return new Deadline(op, { ...options, deadlineMs }, { clock: this.clock, closed });
  }

  /** How much content there is nobody knows here: when the caller sets no end, standing still is one. */
  lasting(op: string, options: CallOptions, lane?: Lane): Deadline {
    if (options.deadlineMs !== undefined) return this.deadline(op, options, lane);
    const ends = { ...options, deadlineMs: NODE_TRANSFER_MS, isIdle: true };
    return new Deadline(op, ends, { clock: this.clock, closed: this.#closed.signal });
  }

  /**
   * Sends it once, whatever version answers.
   * @throws OpError as `Transport.send`; what reading the address or the secret throws.
   */
  async send(outgoing: Outgoing, { op, signal }: Deadline): Promise<Answer> {
    this.#address ??= await this.#options.endpoint.resolve();
    this.#authorization ??= this.#options.authorization?.();
    const authorization = this.#authorization;
    const headers = {
      ...(authorization === undefined ? {} : { authorization }),
      ...outgoing.headers,
    };
    return await this.#transport.send(this.#address, { ...outgoing, headers }, { op, signal });
  }

  /** @throws what `Spoken.demandVersion` throws. */
  async demandVersion(deadline: Deadline): Promise<void> {
    if (this.#isVersionKnown) return;
    await this.#spoken.demandVersion(deadline);
    this.#isVersionKnown = true;
  }

  /** Does it, and again as often as it may be and helps. */
  async repeated<T>(repeat: Repeat, deadline: Deadline, once: () => Promise<T>): Promise<T> {
    for (let repeats = 0; ; repeats++) {
      this.#authorization ??= this.#options.authorization?.();
      const shown = this.#authorization;
      try {
        return await once();
      } catch (error) {
        if (!(error instanceof OpError) || !mayRepeat(repeat, error, repeats)) throw error;
        await this.#prepare(error, { repeats, shown }, deadline);
      }
    }
  }

  /** What a repeat needs: another connection, another secret, or only time. */
  async #prepare(
    error: OpError,
    { repeats, shown }: { readonly repeats: number; readonly shown: string | undefined },
    { signal }: Deadline,
  ): Promise<void> {
    if (error.failure === 'credentials-invalid') {
      this.#authorization = this.#options.authorization?.();
      if (this.#authorization === shown) throw error; // It would be refused again.
      return;
    }
    if (error.failure === 'not-running') this.#forget();
    const spread = 0.75 + 0.5 * fraction(this.random);
    await this.clock.sleep(NODE_REPEAT_MS * 2 ** repeats * spread, signal);
  }

  /** It may come back elsewhere, with another secret, and in another version. */
  #forget(): void {
    this.#address = undefined;
    this.#authorization = undefined;
    this.#isVersionKnown = false;
    this.#transport.forget();
  }
}

/** Whether an error ends with a repeat, and does no harm. */
function mayRepeat(repeat: Repeat, { failure, details }: OpError, repeats: number): boolean {
  const isUnseen = failure === 'credentials-invalid' || details['sent'] === false;
  const isSafe = repeat === 'always' || (isUnseen && repeat === 'unseen');
  if (!isSafe || repeats >= NODE_REPEATS_MAX) return false;
  // Nobody listens there: the address is read once more, and that must do.
  if (failure === 'credentials-invalid' || details['sent'] === false) return repeats === 0;
  return failure === 'not-running' || failure === 'response-invalid';
}

/** Evenly from 0 to 1. */
const fraction = (random: Random): number =>
  Buffer.from(random.token(), 'base64url').readUInt16BE(0) / 0x1_0000;
