/** A store whose bytes travel no faster than they may, those of all its calls taken together. */
import type { Clock } from '../../base/clock.ts';
import { Pace } from '../../base/pace.ts';
import type { Store } from '../store.ts';
import { around, reading } from './around.ts';

export interface Rates {
  /** undefined: as fast as it goes. */
  readonly upBytesPerS?: number | undefined;
  readonly downBytesPerS?: number | undefined;
}

export function throttled(
  inner: Store,
  { upBytesPerS, downBytesPerS }: Rates,
  clock: Clock,
): Store {
  const { objects } = inner;
  const paceOf = (rate: number | undefined) =>
    rate === undefined ? undefined : new Pace(rate, clock);
  const [up, down] = [paceOf(upBytesPerS), paceOf(downBytesPerS)];
  return around(inner, {
    objects: {
      head: (key, options) => objects.head(key, options),
      remove: (key, options) => objects.remove(key, options),
      put: (key, bytes, options) =>
        objects.put(key, up === undefined ? bytes : up.through(options.signal)(bytes), options),
      async get(key, options) {
        const got = await objects.get(key, options);
        return down === undefined ? got : reading(got, down.through(options.signal)(got.bytes));
      },
    },
  });
}
