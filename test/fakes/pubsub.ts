/** Topics without a node: what is said is heard by all who listen, until the line breaks. */
import type { PubsubFacet, PubsubMessage } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';

type Call = Parameters<PubsubFacet['subscribe']>[1];

class Line {
  readonly #waiting: PubsubMessage[] = [];
  readonly #signal: AbortSignal;
  #wake: () => void = () => {};
  #fault: unknown;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
    signal.addEventListener('abort', () => this.cut(signal.reason), { once: true });
  }

  say(message: PubsubMessage): void {
    this.#waiting.push(message);
    this.#wake();
  }

  cut(fault: unknown): void {
    this.#fault = fault;
    this.#wake();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<PubsubMessage, void, undefined> {
    this.#signal.throwIfAborted();
    for (;;) {
      const message = this.#waiting.shift();
      if (message !== undefined) yield message;
      else if (this.#fault !== undefined) throw this.#fault;
      else {
        await new Promise<void>((wake) => {
          this.#wake = wake;
        });
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut(new OpError('cancelled', 'listen'));
  }
}

export class FakePubsub implements PubsubFacet {
  /** Why nobody may listen now. */
  refusal: OpError | undefined;
  asked = 0;
  #lines: Line[] = [];

  async subscribe(_topic: string, { signal }: Call): Promise<Line> {
    this.asked += 1;
    signal.throwIfAborted();
    if (this.refusal !== undefined) throw this.refusal;
    const line = new Line(signal);
    this.#lines.push(line);
    return line;
  }

  say(text: string): void {
    const message = { from: 'peer', data: Buffer.from(text), sequence: '00', topics: ['t'] };
    for (const line of this.#lines) line.say(message);
  }

  /** As a node that dies. */
  cut(): void {
    for (const line of this.#lines) line.cut(new OpError('not-running', 'listen'));
    this.#lines = [];
  }

  async publish(): Promise<void> {}
  peers = () => Promise.resolve([]);
  topics = () => Promise.resolve([]);
}
