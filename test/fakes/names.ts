/** The names of a node, which mean what a test says, or cannot be asked. */
import type { NameFacet, Resolved, ResolveOptions } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';

/** hang: never, not even when told to end. */
export type Manner = 'give' | 'hang' | 'offline';

export class Names implements Pick<NameFacet, 'resolve'> {
  readonly #means = new Map<string, Resolved>();
  manner: Manner = 'give';
  /** Every name that was asked for, in order; behind those that shall be asked anew a `!`. */
  readonly asked: string[] = [];
  /** Calls whose signals ended them. */
  ended = 0;
  #waking: (() => void)[] = [];

  point(name: string, path: string, more: Pick<Resolved, 'ttlMs' | 'validUntil'> = {}): void {
    this.#means.set(name, { path, from: 'network', ...more });
  }

  drop(name: string): void {
    this.#means.delete(name);
  }

  /** Resolves when so many calls have come. */
  async hasAsked(count: number): Promise<void> {
    while (this.asked.length < count) {
      await new Promise<void>((resolve) => this.#waking.push(resolve));
    }
  }

  async resolve(name: string, { signal, noCache }: ResolveOptions): Promise<Resolved> {
    this.asked.push(noCache === true ? `${name}!` : name);
    const waking = this.#waking;
    this.#waking = [];
    for (const wake of waking) wake();
    signal.addEventListener('abort', () => {
      this.ended += 1;
    });
    if (this.manner === 'hang') return new Promise(() => {});
    if (this.manner === 'offline') throw new OpError('not-running', 'ask the node');
    const means = this.#means.get(name);
    if (means === undefined) throw new OpError('name-not-resolved', `resolve ${name}`);
    return means;
  }
}
