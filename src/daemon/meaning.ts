/** What a path that begins with a name means at this moment. */
import { OpError } from '../base/errors.ts';
import type { CID, Dag, Filling } from '../content/content.ts';
import type { NameResolver } from '../node/resolver.ts';

export interface MeaningPorts {
  readonly names: NameResolver;
  readonly dag: Dag;
  readonly filling: Pick<Filling, 'isOffered' | 'keeping'>;
}

/**
 * Follows `/ipns/<name>[/…]`; the home node is asked anew.
 * @throws OpError as `NameResolver.resolve`; not-found, not-directory: what it leads to has no such
 *   name; content-missing, integrity.
 */
export async function meaningOf(
  { names, dag, filling }: MeaningPorts,
  source: string,
  signal: AbortSignal,
): Promise<CID> {
  const [, kind, name = '', ...behind] = source.split('/');
  const op = `resolve ${source}`;
  if (kind !== 'ipns' || !names.isName(name)) {
    throw new OpError('name-not-resolved', op, { hint: 'it is no name' });
  }
  const { cid, segments } = await names.resolve(name, { signal, isFresh: true });
  const known = filling.isOffered ? filling.keeping() : dag;
  return known.resolve(cid, [...segments, ...behind.filter((one) => one !== '')], signal);
}
