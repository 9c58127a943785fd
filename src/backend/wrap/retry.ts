/**
 * A store whose passing failures are waited for, where twice is as once: questions, removals, and what
 * is given piece by piece, which goes on where it broke off. A put is not repeated: its source is read
 * once, and what an engine holds of it in memory it repeats itself.
 */
import type { Clock } from '../../base/clock.ts';
import { OpError } from '../../base/errors.ts';
import { type Patience, pauseAfter, repeated, type Timing } from '../backoff.ts';
import type { CallOptions } from '../call.ts';
import type {
  CopyingFacet,
  GetOptions,
  Listed,
  ListingFacet,
  ListOptions,
  ObjectReading,
  ObjectsFacet,
  RemoveOptions,
  Store,
} from '../store.ts';
import { around } from './around.ts';

/** The time that a call and its repeats have together. */
class Whole<Options extends CallOptions> implements Patience {
  readonly #options: Options;
  readonly #clock: Clock;
  readonly #untilMs: number;

  constructor(options: Options, { clock }: Timing) {
    this.#options = options;
    this.#clock = clock;
    this.#untilMs = clock.monotonicMs() + (options.deadlineMs ?? Number.POSITIVE_INFINITY);
  }

  get signal(): AbortSignal {
    return this.#options.signal;
  }

  get leftMs(): number {
    return this.#untilMs - this.#clock.monotonicMs();
  }

  /** For one of them. */
  get options(): Options {
    if (this.#options.deadlineMs === undefined) return this.#options;
    return { ...this.#options, deadlineMs: Math.max(1, this.leftMs) };
  }
}

/** Asks, and again as often as that may help. */
function asked<Options extends CallOptions, T>(
  options: Options,
  timing: Timing,
  once: (options: Options) => Promise<T>,
): Promise<T> {
  const whole = new Whole(options, timing);
  return repeated(() => once(whole.options), timing, whole);
}

export function retrying(inner: Store, timing: Timing): Store {
  const { objects, listing, copying, leftovers } = inner;
  return around(inner, {
    objects: {
      head: (key, options) => asked(options, timing, (one) => objects.head(key, one)),
      put: (key, bytes, options) => objects.put(key, bytes, options),
      get: (key, options) => resumed(objects, key, options, timing),
      remove: (key, options) => removed(objects, key, options, timing),
    },
    ...(listing === undefined ? {} : { listing: resumedListing(listing, timing) }),
    ...(copying === undefined ? {} : { copying: repeatedCopying(copying, timing) }),
    ...(leftovers === undefined
      ? {}
      : {
          leftovers: {
            sweep: (options) => asked(options, timing, (one) => leftovers.sweep(one)),
          },
        }),
    probe: (options) => asked(options, timing, (one) => inner.probe(one)),
  });
}

/** One that was done, and whose answer was lost, finds nothing the second time. */
async function removed(inner: ObjectsFacet, key: string, options: RemoveOptions, timing: Timing) {
  let isUncertain = false;
  const once = async (one: RemoveOptions) => {
    try {
      const found = await inner.remove(key, one);
      return found.outcome === 'absent' && isUncertain
        ? { ...found, outcome: 'removed' as const }
        : found;
    } catch (error) {
      isUncertain ||= isUncertainAfter(error);
      throw error;
    }
  };
  return await asked(options, timing, once);
}

/** One that shall replace nothing is not made again: what it would find may be its own. */
const repeatedCopying = (inner: CopyingFacet, timing: Timing): CopyingFacet => ({
  copy: (from, to, options) => {
    if (options.over === 'absent') return inner.copy(from, to, options);
    return asked(options, timing, (one) => inner.copy(from, to, one));
  },
});

const isUncertainAfter = (error: unknown): boolean =>
  error instanceof OpError && error.details['sent'] !== false;

/** Begins to read, and where it breaks off goes on with the same version behind what came. */
async function resumed(
  inner: ObjectsFacet,
  key: string,
  options: GetOptions,
  timing: Timing,
): Promise<ObjectReading> {
  const whole = new Whole(options, timing);
  const begin = (rest: Omit<GetOptions, keyof CallOptions>) =>
    repeated(() => inner.get(key, { ...whole.options, ...rest }), timing, whole);
  let held = await begin({});
  const { head, offset, length } = held;
  const { version } = head;
  async function* bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    let came = 0;
    for (let repeats = 0; ; repeats++) {
      try {
        for await (const piece of held.bytes) {
          came += piece.length;
          repeats = 0;
          yield piece;
        }
        return;
      } catch (error) {
        await held[Symbol.asyncDispose]();
        await pauseAfter(error, repeats, timing, whole);
        held = await begin({ version, offset: offset + came, length: length - came });
      }
    }
  }
  return {
    head,
    offset,
    length,
    bytes: bytes(),
    [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
  };
}

const resumedListing = (inner: ListingFacet, timing: Timing): ListingFacet => ({
  async *list(options: ListOptions): AsyncGenerator<Listed, void, undefined> {
    const whole = new Whole(options, timing);
    let { after } = options;
    for (let repeats = 0; ; repeats++) {
      try {
        for await (const item of inner.list({ ...whole.options, after })) {
          after = item.key;
          repeats = 0;
          yield item;
        }
        return;
      } catch (error) {
        await pauseAfter(error, repeats, timing, whole);
      }
    }
  },
});
