/** The IPFS nodes that the configuration names. */
import type { KuboNode } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import { asOpError } from '../base/errors.ts';
import type { Random } from '../base/random.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import type { BlockOrigin } from '../content/content.ts';
import type { Complain } from './access.ts';
import type { Settings } from './settings.ts';
import type { Teardown } from './teardown.ts';

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
  readonly teardown: Teardown;
  /** Told of what cannot be used; absent: that is an error. */
  readonly complain?: Complain | undefined;
}

const MS_PER_S = 1000;

/** Nothing is asked of a node yet: it may start later than kitfs. @throws OpError configuration. */
export async function openNodes(
  { home, kubo }: Settings['ipfs'],
  inputs: NodesInputs,
): Promise<ConfiguredNodes> {
  if (kubo.api === undefined) return { home: home ?? 'embedded', kubo: undefined };
  // Programs on a mount that was taken over wait for this: who has no node loads nothing for one.
  const { openKubo } = await import('../backend/backend.ts');
  const { clock, random, readSecret, teardown, complain } = inputs;
  const { api, auth, requests_max: requestsMax, deadline_s: deadlineS } = kubo;
  try {
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
  } catch (error) {
    if (complain === undefined) throw error;
    complain(asOpError(error, `reach ${api}`));
    return { home: home ?? 'kubo', kubo: undefined };
  }
}

/** Where blocks come from that are not here. */
export const originOf = ({ content, stats }: KuboNode): BlockOrigin => ({
  blockGet: (cid, options) => content.blockGet(cid, options),
  ping: (options) => stats.version(options),
});
