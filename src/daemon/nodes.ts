/** The IPFS nodes that the configuration names. */
import { type KuboNode, openKubo } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import type { Random } from '../base/random.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import type { Settings } from './settings.ts';
import type { Teardown } from './teardown.ts';

export interface ConfiguredNodes {
  /** Where pins, names and MFS are, for whoever says nothing else. */
  readonly home: 'embedded' | 'kubo';
  /** undefined: none is configured. */
  readonly kubo: KuboNode | undefined;
}

export interface NodesInputs {
  readonly clock: Clock;
  readonly random: Random;
  /** @throws OpError configuration. */
  readonly readSecret: (reference: SecretReference) => Secret;
  readonly teardown: Teardown;
}

const MS_PER_S = 1000;

/** Nothing is asked of a node yet: it may start later than kitfs. @throws OpError configuration. */
export function openNodes({ home, kubo }: Settings['ipfs'], inputs: NodesInputs): ConfiguredNodes {
  if (kubo.api === undefined) return { home: home ?? 'embedded', kubo: undefined };
  const { clock, random, readSecret, teardown } = inputs;
  const { api, auth, requests_max: requestsMax, deadline_s: deadlineS } = kubo;
  const node = openKubo({
    api,
    secret: auth === undefined ? undefined : () => readSecret(auth),
    requestsMax,
    deadlineMs: deadlineS * MS_PER_S,
    clock,
    random,
  });
  teardown.push('leave Kubo', async () => node[Symbol.asyncDispose]());
  return { home: home ?? 'kubo', kubo: node };
}
