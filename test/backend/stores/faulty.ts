/**
 * A store that works, but for what a test makes of some of its calls:
 *
 *     const faulty = new FaultyStore(openMemory(timing()));
 *     faulty.next('head', fails('rate-limited', { retry_after_ms: 50 }));
 *     faulty.next('get', breaksAfter(1000));
 */
import type { ObjectReading, Store } from '../../../src/backend/store.ts';
import { around, reading } from '../../../src/backend/wrap/around.ts';
import { type Failure, OpError } from '../../../src/base/errors.ts';

type Call = 'head' | 'get' | 'put' | 'remove' | 'list' | 'copy' | 'probe';

export type Fault =
  | { readonly kind: 'before'; readonly error: OpError }
  /** It is done, and its answer is lost. */
  | { readonly kind: 'after'; readonly error: OpError }
  | { readonly kind: 'hang' }
  /** What is given breaks off after so many pieces or names: with an error, or as if it were the end. */
  | { readonly kind: 'break'; readonly after: number; readonly error: OpError | undefined }
  | { readonly kind: 'flip' };

export const fails = (failure: Failure, details: Record<string, unknown> = {}): Fault => ({
  kind: 'before',
  error: new OpError(failure, 'fault', { details }),
});
export const losesAnswer = (): Fault => ({ kind: 'after', error: broken() });
export const hangs = (): Fault => ({ kind: 'hang' });
export const breaksAfter = (after: number): Fault => ({ kind: 'break', after, error: broken() });
export const endsAfter = (after: number): Fault => ({ kind: 'break', after, error: undefined });
export const flips = (): Fault => ({ kind: 'flip' });

const broken = () => new OpError('unavailable', 'fault', { details: { sent: true } });

export class FaultyStore {
  readonly store: Store;
  readonly calls: Call[] = [];
  readonly #faults: { readonly call: Call; readonly fault: Fault }[] = [];

  constructor(inner: Store) {
    const { objects, listing, copying } = inner;
    if (listing === undefined || copying === undefined) throw new Error('it lists and copies');
    this.store = around(inner, {
      objects: {
        head: (key, options) => this.#call('head', options, () => objects.head(key, options)),
        put: (key, bytes, options) =>
          this.#call('put', options, (fault) => objects.put(key, harmed(bytes, fault), options)),
        remove: (key, options) => this.#call('remove', options, () => objects.remove(key, options)),
        get: (key, options) =>
          this.#call('get', options, async (fault): Promise<ObjectReading> => {
            const got = await objects.get(key, options);
            return reading(got, harmed(got.bytes, fault));
          }),
      },
      listing: {
        list: (options) => this.#list(options, () => listing.list(options)),
      },
      copying: {
        copy: (from, to, options) =>
          this.#call('copy', options, () => copying.copy(from, to, options)),
      },
      probe: (options) => this.#call('probe', options, () => inner.probe(options)),
    });
  }

  /** Of the next calls of this kind, each meets one. */
  next(call: Call, ...faults: readonly Fault[]): void {
    this.#faults.push(...faults.map((fault) => ({ call, fault })));
  }

  /** Faults that met no call. */
  get left(): number {
    return this.#faults.length;
  }

  count(call: Call): number {
    return this.calls.filter((one) => one === call).length;
  }

  #take(call: Call): Fault | undefined {
    this.calls.push(call);
    const at = this.#faults.findIndex((one) => one.call === call);
    return at < 0 ? undefined : this.#faults.splice(at, 1)[0]?.fault;
  }

  async #call<T>(
    call: Call,
    { signal }: { readonly signal: AbortSignal },
    work: (fault: Fault | undefined) => Promise<T>,
  ): Promise<T> {
    const fault = this.#take(call);
    if (fault?.kind === 'before') throw fault.error;
    if (fault?.kind === 'hang') await untilAborted(signal);
    const answer = await work(fault);
    if (fault?.kind === 'after') throw fault.error;
    return answer;
  }

  async *#list<T>({ signal }: { readonly signal: AbortSignal }, list: () => AsyncIterable<T>) {
    const fault = this.#take('list');
    if (fault?.kind === 'before') throw fault.error;
    if (fault?.kind === 'hang') await untilAborted(signal);
    yield* cut(list(), fault);
  }
}

const untilAborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

async function* cut<T>(items: AsyncIterable<T>, fault: Fault | undefined) {
  let count = 0;
  for await (const item of items) {
    if (fault?.kind === 'break' && count === fault.after) {
      if (fault.error !== undefined) throw fault.error;
      return;
    }
    count += 1;
    yield item;
  }
}

async function* harmed(bytes: AsyncIterable<Uint8Array>, fault: Fault | undefined) {
  for await (const piece of cut(bytes, fault)) {
    const given = Buffer.from(piece);
    if (fault?.kind === 'flip' && given.length > 0) given[0] = (given[0] ?? 0) ^ 1;
    yield given;
  }
}
