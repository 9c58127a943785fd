/** Content that is elsewhere: with a node, or where nobody can be asked for it. */
import { BlockFetcher, type BlockOrigin, Filling } from '../../src/content/content.ts';

type Options = ConstructorParameters<typeof Filling>[0];
type Clock = ConstructorParameters<typeof BlockFetcher>[0]['clock'];
type Parts = Omit<Options, 'fetcher'> & { readonly clock: Clock };

export const fillingAlone = (parts: Parts): Filling => fillingFrom(undefined, parts);

export function fillingFrom(origin: BlockOrigin | undefined, parts: Parts): Filling {
  const fetcher = new BlockFetcher({ origin: () => origin, clock: parts.clock });
  return new Filling({ ...parts, fetcher });
}
