/**
 * The topics that agents listen to.
 *
 * Invariants: a subscription belongs to one connection, ends with it, and nobody else learns that there
 * is one; a stream that breaks off is begun again for as long as the subscription lasts, and what was
 * missed meanwhile is told as a gap; what is kept is bounded, all subscriptions together.
 */
import type { PubsubFacet, PubsubMessage } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError, type Failure, OpError } from '../base/errors.ts';
import {
  MESSAGES_KEPT_BYTES_MAX,
  SUBSCRIPTION_RETRY_MS_MAX,
  SUBSCRIPTION_RETRY_MS_MIN,
  SUBSCRIPTIONS_PER_CONNECTION_MAX,
} from '../base/limits.ts';
import { Messages } from './messages.ts';
import type { Session } from './tool.ts';

type Owner = Pick<Session, 'id' | 'closed'>;

interface Listening {
  readonly topic: string;
  readonly messages: Messages;
  /** Why nothing is heard at the moment; undefined: it is listened. */
  readonly trouble: Failure | undefined;
  /** Resolves when there is something new, after `waitMs`, or when it ends. @throws the signal's reason. */
  news(waitMs: number, signal: AbortSignal): Promise<void>;
}

interface Opening {
  readonly id: string;
  readonly owner: Owner;
  readonly pubsub: PubsubFacet;
  readonly topic: string;
  /** Messages kept. */
  readonly buffer: number;
  /** Of the call that opens it. */
  readonly signal: AbortSignal;
}

export class Subscriptions {
  readonly #clock: Clock;
  readonly #all = new Map<string, Topic>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /**
   * Resolves when the node listens.
   * @throws OpError rate-limited: the connection has too many; what `PubsubFacet.subscribe` throws.
   */
  async open(opening: Opening): Promise<void> {
    const { id, owner, signal } = opening;
    const own = [...this.#all.values()].filter((topic) => topic.owner === owner.id);
    if (own.length >= SUBSCRIPTIONS_PER_CONNECTION_MAX) {
      throw new OpError('rate-limited', `subscribe to ${opening.topic}`, {
        hint: 'unsubscribe from another topic first',
        details: { partial: { subscriptions: own.length } },
      });
    }
    const bytesMax = () => MESSAGES_KEPT_BYTES_MAX / this.#all.size;
    const topic = new Topic(opening, { clock: this.#clock, bytesMax });
    this.#all.set(id, topic);
    const onEnd = () => this.#all.delete(id);
    await topic.begin(signal, onEnd);
  }

  /** @throws OpError handle-unknown. */
  get(id: string, owner: Owner): Listening {
    return this.#own(id, owner);
  }

  /** Listens no more; what is kept is dropped. @throws OpError handle-unknown. */
  end(id: string, owner: Owner): Listening {
    const topic = this.#own(id, owner);
    this.#all.delete(id);
    topic.end();
    return topic;
  }

  #own(id: string, owner: Owner): Topic {
    const topic = this.#all.get(id);
    if (topic !== undefined && topic.owner === owner.id) return topic;
    throw new OpError('handle-unknown', 'find a subscription', {
      hint: 'subscribe again: it ends with its connection',
    });
  }
}

interface TopicPorts {
  readonly clock: Clock;
  /** What this topic may keep now. */
  readonly bytesMax: () => number;
}

/** Why a wait ended early; nobody reads it. */
const NEWS = 'news';

class Topic implements Listening {
  readonly owner: string;
  readonly topic: string;
  readonly messages: Messages;
  readonly #pubsub: PubsubFacet;
  readonly #ports: TopicPorts;
  readonly #stop = new AbortController();
  /** Aborts when it ends, or its connection. */
  readonly #over: AbortSignal;
  readonly #waiting = new Set<AbortController>();
  #trouble: Failure | undefined;
  #retryMs = SUBSCRIPTION_RETRY_MS_MIN;

  constructor({ owner, topic, buffer, pubsub }: Opening, ports: TopicPorts) {
    this.owner = owner.id;
    this.topic = topic;
    this.messages = new Messages(buffer);
    this.#pubsub = pubsub;
    this.#ports = ports;
    this.#over = AbortSignal.any([owner.closed, this.#stop.signal]);
  }

  get trouble(): Failure | undefined {
    return this.#trouble;
  }

  /** Resolves when it is listened; `onEnd` is called when that is over. @throws as `Subscriptions.open`. */
  async begin(signal: AbortSignal, onEnd: () => void): Promise<void> {
    const onAbort = () => this.#stop.abort(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    try {
      const heard = await this.#pubsub.subscribe(this.topic, { signal: this.#over });
      void this.#listen(heard).finally(onEnd);
    } catch (error) {
      onEnd();
      throw error;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  }

  end(): void {
    this.#stop.abort(new OpError('cancelled', `listen to ${this.topic}`));
  }

  async news(waitMs: number, signal: AbortSignal): Promise<void> {
    const told = new AbortController();
    this.#waiting.add(told);
    try {
      const ends = AbortSignal.any([signal, told.signal, this.#over]);
      await this.#ports.clock.sleep(waitMs, ends);
    } catch {
      signal.throwIfAborted();
    } finally {
      this.#waiting.delete(told);
    }
  }

  /** Until it is over. */
  async #listen(first: AsyncIterable<PubsubMessage>): Promise<void> {
    let heard: AsyncIterable<PubsubMessage> | undefined = first;
    while (!this.#over.aborted) {
      try {
        heard ??= await this.#pubsub.subscribe(this.topic, { signal: this.#over });
        this.#trouble = undefined;
        for await (const message of heard) this.#keep(message);
      } catch (error) {
        if (this.#over.aborted) return;
        this.#trouble = asOpError(error, `listen to ${this.topic}`).failure;
      }
      heard = undefined;
      this.messages.lose();
      this.#told();
      await this.#pause();
    }
  }

  #keep({ from, data }: PubsubMessage): void {
    this.#retryMs = SUBSCRIPTION_RETRY_MS_MIN;
    const time = this.#ports.clock.now();
    this.messages.keep({ time, from, data }, this.#ports.bytesMax());
    this.#told();
  }

  async #pause(): Promise<void> {
    const pauseMs = this.#retryMs;
    this.#retryMs = Math.min(2 * pauseMs, SUBSCRIPTION_RETRY_MS_MAX);
    await this.#ports.clock.sleep(pauseMs, this.#over).catch(() => {}); // It is over.
  }

  #told(): void {
    for (const waiting of this.#waiting) waiting.abort(NEWS);
  }
}
