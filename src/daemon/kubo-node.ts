/** The Kubo node that the configuration names. */
import { type IpfsNode, openKubo } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import type { Settings } from './settings.ts';

export interface KuboParts {
  readonly clock: Clock;
  readonly random: Random;
  /** Reads it anew each time. @throws OpError configuration. */
  readonly readSecret: (reference: SecretReference) => Secret;
}

/** undefined: it names none. Nothing is asked of the node yet, and its secret is not read. */
export function kuboOf(
  { ipfs: { kubo } }: Pick<Settings, 'ipfs'>,
  { clock, random, readSecret }: KuboParts,
): IpfsNode | undefined {
  const { api, auth, requests_max: requestsMax, deadline_s: deadlineS } = kubo;
  if (api === undefined) return undefined;
  return openKubo({
    api,
    secret: auth === undefined ? undefined : () => readSecret(auth),
    requestsMax,
    deadlineMs: deadlineS * 1000,
    clock,
    random,
  });
}
