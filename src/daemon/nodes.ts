/** The IPFS nodes that the configuration names. */
import { type KuboNode, openKubo } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import type { Settings } from './settings.ts';

export interface ConfiguredNodes {
  /** Where pins and names are, for whoever says nothing else. */
  readonly home: 'embedded' | 'kubo';
  /** undefined: none is configured. */
  readonly kubo: KuboNode | undefined;
}

export interface NodesInputs {
  readonly clock: Clock;
  readonly random: Random;
  /** @throws OpError configuration. */
  readonly readSecret: (reference: SecretReference) => Secret;
  /** Given what is to be closed when nothing uses it any more. */
  readonly keep: (node: AsyncDisposable) => void;
}

const MS_PER_S = 1000;

/** Nothing is asked of a node yet: it may start later than kitfs. @throws OpError configuration. */
export function openNodes({ home, kubo }: Settings['ipfs'], inputs: NodesInputs): ConfiguredNodes {
  if (kubo.api === undefined) return { home: home ?? 'embedded', kubo: undefined };
  const { clock, random, readSecret, keep } = inputs;
  const { api, auth, requests_max: requestsMax, deadline_s: deadlineS } = kubo;
  const node = openKubo({
    api,
    secret: auth === undefined ? undefined : () => readSecret(auth),
    requestsMax,
    deadlineMs: deadlineS * MS_PER_S,
    clock,
    random,
  });
  keep(node);
  return { home: home ?? 'kubo', kubo: node };
}
