/**
 * Messages that were heard, numbered and kept until the oldest must go.
 *
 * Invariants: numbers go up by one from 1 and are never used twice; what was lost has a number too, so
 * that no reader passes over it unawares; the newest message is always kept.
 */
import type { Instant } from '../base/clock.ts';
import { MESSAGE_OVERHEAD_BYTES } from '../base/limits.ts';

export interface Message {
  readonly seq: number;
  /** When it came here. */
  readonly time: Instant;
  /** Who says to have sent it. */
  readonly from: string;
  readonly data: Uint8Array;
}

/** A place where something, nobody knows how much, was not heard. */
interface Hole {
  readonly seq: number;
  readonly data: undefined;
}

interface MessagePage {
  readonly messages: readonly Message[];
  /** Numbers before the messages that are not to be had: let go, or never heard. */
  readonly gap?: { readonly from: number; readonly to: number };
  /** To go on behind: the last number that was told. */
  readonly nextSeq: number;
  /** The last number there is. */
  readonly headSeq: number;
}

const weightOf = ({ data }: Message | Hole): number => (data?.length ?? 0) + MESSAGE_OVERHEAD_BYTES;

export class Messages {
  readonly #countMax: number;
  /** The oldest first, without a number left out. */
  readonly #kept: (Message | Hole)[] = [];
  #head = 0;
  #read = 0;
  #bytes = 0;

  constructor(countMax: number) {
    this.#countMax = countMax;
  }

  /** Keeps one more, and lets the oldest go until those that are left weigh at most `bytesMax`. */
  keep(message: Omit<Message, 'seq'>, bytesMax: number): void {
    this.#push({ ...message, seq: this.#head + 1 });
    while (this.#kept.length > this.#countMax || this.#bytes > bytesMax) {
      if (this.#kept.length === 1) break;
      this.#bytes -= weightOf(this.#kept.shift() as Message | Hole);
    }
  }

  /** From here on something was missed. */
  lose(): void {
    const last = this.#kept.at(-1);
    if (last === undefined || last.data !== undefined) {
      this.#push({ seq: this.#head + 1, data: undefined });
    }
  }

  #push(item: Message | Hole): void {
    this.#head = item.seq;
    this.#bytes += weightOf(item);
    this.#kept.push(item);
  }

  /** Messages that are kept and were on no page. */
  get unread(): number {
    return this.#kept.filter(({ seq, data }) => seq > this.#read && data !== undefined).length;
  }

  /**
   * What has numbers above `since`, up to the next gap; at least one message when there is any, and
   * then no more than the bounds say.
   */
  page(
    since: number,
    { countMax, bytesMax }: { readonly countMax: number; readonly bytesMax: number },
  ): MessagePage {
    const messages: Message[] = [];
    let told = Math.min(since, this.#head);
    let gap: MessagePage['gap'];
    let bytes = 0;
    for (const item of this.#kept) {
      if (item.seq <= told) continue;
      const lost = item.data === undefined ? item.seq : item.seq - 1;
      if (lost > told) {
        if (messages.length > 0) break;
        gap = { from: gap?.from ?? told + 1, to: lost };
        told = lost;
      }
      if (item.data === undefined) continue;
      bytes += item.data.length;
      if (messages.length === countMax || (messages.length > 0 && bytes > bytesMax)) break;
      messages.push(item);
      told = item.seq;
    }
    this.#read = Math.max(this.#read, told);
    const found = gap === undefined ? {} : { gap };
    return { messages, ...found, nextSeq: told, headSeq: this.#head };
  }
}
