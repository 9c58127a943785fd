/** Content that is elsewhere, where nobody can be asked for it. */
import { BlockFetcher, Filling } from '../../src/content/content.ts';

type Options = ConstructorParameters<typeof Filling>[0];
type Clock = ConstructorParameters<typeof BlockFetcher>[0]['clock'];

export function fillingAlone(parts: Omit<Options, 'fetcher'> & { readonly clock: Clock }): Filling {
  const fetcher = new BlockFetcher({ origin: () => undefined, clock: parts.clock });
  return new Filling({ ...parts, fetcher });
}
