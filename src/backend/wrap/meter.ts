/** A store whose calls are counted: how many, how they ended, how long they took, how many bytes came and went. */
import type { Clock } from '../../base/clock.ts';
import { asOpError, type Failure } from '../../base/errors.ts';
import type { Store } from '../store.ts';
import { around, reading } from './around.ts';

export interface Measure {
  readonly call: 'head' | 'get' | 'put' | 'remove' | 'list' | 'copy' | 'probe' | 'sweep';
  /** undefined: it did what it should. */
  readonly failure: Failure | undefined;
  /** To its end; of what is read, of the reading too. */
  readonly durationMs: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
}

type Told = (measure: Measure) => void;

class Meter {
  readonly #told: Told;
  readonly #clock: Clock;

  constructor(told: Told, clock: Clock) {
    this.#told = told;
    this.#clock = clock;
  }

  begin(call: Measure['call']): Metering {
    const fromMs = this.#clock.monotonicMs();
    let [bytesIn, bytesOut, isOver] = [0, 0, false];
    const tell = (failure: Failure | undefined): void => {
      if (isOver) return;
      isOver = true;
      const durationMs = this.#clock.monotonicMs() - fromMs;
      this.#told({ call, failure, durationMs, bytesIn, bytesOut });
    };
    return {
      over: () => tell(undefined),
      failed: (error) => tell(asOpError(error, call).failure),
      async *incoming(bytes) {
        for await (const piece of bytes) {
          bytesIn += piece.length;
          yield piece;
        }
      },
      async *outgoing(bytes) {
        for await (const piece of bytes) {
          bytesOut += piece.length;
          yield piece;
        }
      },
    };
  }

  async measure<T>(call: Measure['call'], work: (metering: Metering) => Promise<T>): Promise<T> {
    const metering = this.begin(call);
    try {
      const answer = await work(metering);
      metering.over();
      return answer;
    } catch (error) {
      metering.failed(error);
      throw error;
    }
  }
}

type Through = (bytes: AsyncIterable<Uint8Array>) => AsyncGenerator<Uint8Array, void, undefined>;

/** One call. What ends it first counts. */
interface Metering {
  readonly over: () => void;
  readonly failed: (error: unknown) => void;
  readonly incoming: Through;
  readonly outgoing: Through;
}

export function metered(inner: Store, told: Told, clock: Clock): Store {
  const meter = new Meter(told, clock);
  const { objects, listing, copying, leftovers } = inner;
  return around(inner, {
    objects: {
      head: (key, options) => meter.measure('head', () => objects.head(key, options)),
      remove: (key, options) => meter.measure('remove', () => objects.remove(key, options)),
      put: (key, bytes, options) =>
        meter.measure('put', ({ outgoing }) => objects.put(key, outgoing(bytes), options)),
      get: (key, options) => meteredGet(meter.begin('get'), () => objects.get(key, options)),
    },
    ...(listing === undefined
      ? {}
      : {
          listing: { list: (options) => meteredList(meter.begin('list'), listing.list(options)) },
        }),
    ...(copying === undefined
      ? {}
      : {
          copying: {
            copy: (from, to, options) =>
              meter.measure('copy', () => copying.copy(from, to, options)),
          },
        }),
    ...(leftovers === undefined
      ? {}
      : {
          leftovers: {
            sweep: (options) => meter.measure('sweep', () => leftovers.sweep(options)),
          },
        }),
    probe: (options) => meter.measure('probe', () => inner.probe(options)),
  });
}

async function meteredGet(metering: Metering, get: () => ReturnType<Store['objects']['get']>) {
  try {
    const got = await get();
    const { [Symbol.asyncDispose]: _, ...rest } = reading(got, meteredBytes(metering, got.bytes));
    return {
      ...rest,
      async [Symbol.asyncDispose]() {
        metering.over();
        await got[Symbol.asyncDispose]();
      },
    };
  } catch (error) {
    metering.failed(error);
    throw error;
  }
}

async function* meteredBytes(metering: Metering, bytes: AsyncIterable<Uint8Array>) {
  try {
    yield* metering.incoming(bytes);
  } catch (error) {
    metering.failed(error);
    throw error;
  }
}

async function* meteredList<T>(metering: Metering, items: AsyncIterable<T>) {
  try {
    yield* items;
  } catch (error) {
    metering.failed(error);
    throw error;
  } finally {
    metering.over();
  }
}
