/** A node that has blocks, and gives them, or does not, as a test says. */
import { OpError } from '../../src/base/errors.ts';
import type { BlockOrigin, CID } from '../../src/content/content.ts';

/** hang: never, not even when told to end. others: the bytes of no block. */
export type Manner = 'give' | 'hang' | 'lie' | 'truncate' | 'offline' | 'lack';

export class Origin implements BlockOrigin {
  readonly #blocks = new Map<string, Uint8Array>();
  readonly #manners = new Map<string, Manner>();
  readonly #asked: CID[] = [];
  #waking: (() => void)[] = [];
  /** Of all blocks that have no manner of their own. */
  manner: Manner = 'give';
  /** Calls whose signals ended them. */
  ended = 0;
  /** Told of every call. */
  onAsked: () => void = () => {};
  #held: (() => void)[] | undefined;

  put(cid: CID, bytes: Uint8Array): void {
    this.#blocks.set(cid.toString(), Uint8Array.from(bytes));
  }

  let(cid: CID, manner: Manner): void {
    this.#manners.set(cid.toString(), manner);
  }

  /** Every call, in their order. */
  get asked(): readonly string[] {
    return this.#asked.map(String);
  }

  /** Resolves when so many calls have come. */
  async hasAsked(count: number): Promise<void> {
    while (this.#asked.length < count) {
      await new Promise<void>((resolve) => this.#waking.push(resolve));
    }
  }

  /** From now on nobody is answered, until `release`. */
  hold(): void {
    this.#held = [];
  }

  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const go of held) go();
  }

  async blockGet(cid: CID, { signal }: { readonly signal: AbortSignal }): Promise<Uint8Array> {
    this.#asked.push(cid);
    this.onAsked();
    const waking = this.#waking;
    this.#waking = [];
    for (const wake of waking) wake();
    signal.addEventListener('abort', () => {
      this.ended += 1;
    });
    if (this.#held !== undefined) await new Promise<void>((go) => this.#held?.push(go));
    return this.#answer(cid);
  }

  #answer(cid: CID): Promise<Uint8Array> {
    const bytes = this.#blocks.get(cid.toString());
    const manner = this.#manners.get(cid.toString()) ?? this.manner;
    if (manner === 'hang') return new Promise(() => {});
    if (manner === 'offline') return Promise.reject(new OpError('not-running', 'ask the node'));
    if (manner === 'lack' || bytes === undefined) {
      return Promise.reject(new OpError('content-missing', `get block ${cid}`));
    }
    if (manner === 'truncate') return Promise.resolve(bytes.subarray(0, -1));
    if (manner === 'lie') return Promise.resolve(bytes.map((byte) => byte ^ 1));
    return Promise.resolve(bytes);
  }
}
