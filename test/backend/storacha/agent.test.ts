/** Who asks, and what they were given: judged before anybody is asked. */
import { delegate } from '@ucanto/core';
import { format, generate } from '@ucanto/principal/ed25519';
import { base64 } from 'multiformats/bases/base64';
import { CID } from 'multiformats/cid';
import { create as digestOf } from 'multiformats/hashes/digest';
import { describe, expect, test } from 'vitest';
import { type Ability, agentOf } from '../../../src/backend/storacha/agent.ts';
import { loadUcanto } from '../../../src/backend/storacha/ucanto.ts';
import { SystemClock } from '../../../src/base/clock.ts';
import { secretOf } from '../engine.ts';

const failing = (failure: string) => expect.objectContaining({ failure });
const FAR_S = 32_503_680_000;
const PAST_S = 1_000_000_000;

interface Chain {
  readonly can: `${string}/${string}` | '*';
  readonly expiration?: number;
  /** Of what the owner gave to who gave it on. */
  readonly before?: number;
  readonly isOfAll?: boolean;
}

/** The owner gives it to somebody, who gives it on. */
async function identityOf({ can, expiration = FAR_S, before = FAR_S, isOfAll = false }: Chain) {
  const [owner, middle, agent] = [await generate(), await generate(), await generate()];
  const given = { can, with: owner.did() } as const;
  const first = await delegate({
    issuer: owner,
    audience: middle,
    capabilities: [given],
    expiration: before,
  });
  const proof = await delegate({
    issuer: middle,
    audience: agent,
    capabilities: [isOfAll ? { can, with: 'ucan:*' } : given],
    expiration,
    proofs: [first],
  });
  const { ok: archive } = await proof.archive();
  const text = CID.createV1(0x0202, digestOf(0, archive ?? new Uint8Array())).toString(base64);
  return {
    key: () => secretOf(`${format(agent)}\n`),
    proof: () => secretOf(`${text}\n`),
    space: owner.did(),
  };
}

const agent = async (chain: Chain) =>
  agentOf(await loadUcanto(), await identityOf(chain), { op: 'ask', clock: new SystemClock() });

describe('a proof', () => {
  test.each<[Chain['can'], Ability, boolean]>([
    ['*', 'space/blob/add', true],
    ['upload/*', 'upload/list', true],
    ['upload/list', 'upload/list', true],
    ['space/*', 'space/blob/add', true],
    ['space/blob/*', 'space/index/add', false],
    ['upload/list', 'upload/add', false],
    ['upload/*', 'space/blob/add', false],
  ])('of %s gives %s: %s', async (can, ability, isGiven) => {
    expect((await agent({ can })).may(ability)).toBe(isGiven);
    expect((await agent({ can, isOfAll: true })).may(ability)).toBe(isGiven);
  });

  test('lasts as long as each link of its chain', async () => {
    const can = 'upload/*';
    expect((await agent({ can, expiration: Number.POSITIVE_INFINITY })).may('upload/add')).toBe(
      true,
    );
    const expired = failing('credentials-expired');
    await expect(agent({ can, expiration: PAST_S })).rejects.toEqual(expired);
    await expect(agent({ can, before: PAST_S })).rejects.toEqual(expired);
  });

  test('is known again by the secrets it was made of', async () => {
    const [one, other] = [await identityOf({ can: '*' }), await identityOf({ can: '*' })];
    const made = await agentOf(await loadUcanto(), one, { op: 'ask', clock: new SystemClock() });
    expect(made.isMadeOf(one.key(), one.proof())).toBe(true);
    expect(made.isMadeOf(other.key(), one.proof())).toBe(false);
    expect(made.isMadeOf(one.key(), other.proof())).toBe(false);
  });
});
