/** Names of IPNS that a call publishes under: their keys, and a tree that was published just now. */
import type { KuboNode, NameFacet, PublishOptions } from '../backend/backend.ts';
import { OpError } from '../base/errors.ts';
import { nameOfText } from '../base/ids.ts';
import type { CID } from '../content/content.ts';
import { changeOutside } from './outside.ts';
import type { PinRecord } from './pins.ts';
import type { RecordResult, ToolContext } from './tool.ts';

/** Of records that nobody asked to be otherwise, in seconds. */
export const LIFETIME_S = 172_800;
export const TTL_S = 300;

interface Key {
  readonly key: string;
  /** Whether it may be made. */
  readonly create_key: boolean;
}

/** Whether there is such a key already. @throws OpError not-found: no, and none is to be made. */
export async function demandKey(
  names: NameFacet,
  { key, create_key: isMade }: Key,
  { signal }: Pick<PublishOptions, 'signal'>,
): Promise<boolean> {
  const isKnown = (await names.keys({ signal })).some(({ name }) => name === key);
  if (isKnown || isMade) return isKnown;
  throw new OpError('not-found', `publish under "${key}"`, {
    hint: 'make the key with create_key',
    details: { kind: 'key' },
  });
}

export const nameRecord = (
  path: string,
  after: { key: string; ttl_s: number; lifetime_s: number },
): PinRecord => ({
  kind: 'name_publish',
  cid: undefined,
  path: nameOfText(path),
  after: { ...after, path },
});

/** Who publishes under a key of the home node. */
export interface Naming {
  readonly node: KuboNode;
  readonly key: string;
}

/** @throws OpError node-offline: the home node is our own; not-found: there is no such key. */
export async function namingOf(
  { ports, signal }: ToolContext,
  key: string,
  op: string,
): Promise<Naming> {
  const { kubo, home } = ports.ipfs.nodes;
  if (kubo === undefined || home !== 'kubo') {
    throw new OpError('node-offline', `${op} under ${key}`, {
      hint: 'names are published by an online node; leave out publish_key',
    });
  }
  await demandKey(kubo.names, { key, create_key: false }, { signal });
  return { node: kubo, key };
}

/** @param tell The answer, given the name. @throws what publishing a name throws. */
export function publishNamed<Data>(
  context: ToolContext,
  { node, key }: Naming,
  root: CID,
  tell: (name: string) => RecordResult<Data>,
): Promise<RecordResult<Data>> {
  const path = `/ipfs/${root}`;
  const { signal, timeoutMs: deadlineMs } = context;
  const how = { signal, deadlineMs, key, lifetimeS: LIFETIME_S, ttlS: TTL_S };
  return changeOutside(context, {
    record: nameRecord(path, { key, ttl_s: TTL_S, lifetime_s: LIFETIME_S }),
    make: () => node.names.publish(path, how),
    tell: ({ name }) => tell(name),
  });
}
