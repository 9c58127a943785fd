/**
 * Services that ended. Nobody is asked whether they did: a host of theirs may belong to somebody else
 * one day.
 */
import { OpError } from '../../base/errors.ts';

/** Where uploads went when nobody said otherwise. */
export const PUBLIC_SERVICE_URL = 'https://up.storacha.network';

/** Each with all its subdomains. */
const ENDED = ['storacha.network', 'storacha.link', 'web3.storage', 'w3s.link'];

const HINT =
  'the public Storacha service ended in 2026; name a service that runs: its service_url and service_did';

/** @throws OpError configuration. */
export function demandAlive({ hostname }: URL, op: string): void {
  const host = hostname.toLowerCase().replace(/\.$/, '');
  if (!ENDED.some((ended) => host === ended || host.endsWith(`.${ended}`))) return;
  throw new OpError('configuration', op, { hint: HINT, details: { host } });
}
