/**
 * Who asks: a key, and what the owner of a space has given it.
 *
 * Invariants: neither is in an error; what is bound to be refused is refused here, before anybody is
 * asked.
 */
import type { Delegation, Signer } from '@ucanto/interface';
import { base64 } from 'multiformats/bases/base64';
import { CID } from 'multiformats/cid';
import type { Clock } from '../../base/clock.ts';
import { type Failure, OpError } from '../../base/errors.ts';
import type { Secret } from '../../base/secrets.ts';
import type { Ucanto } from './ucanto.ts';

/** All that kitfs asks for. */
export type Ability =
  | 'space/blob/add'
  | 'space/index/add'
  | 'upload/add'
  | 'upload/get'
  | 'upload/list'
  | 'upload/remove';

export interface Identity {
  /** As `storacha key create` prints it. Asked anew when it is refused. */
  readonly key: () => Secret;
  /** As `storacha delegation create --base64` prints it. Asked anew when it is refused. */
  readonly proof: () => Secret;
  /** `did:key:…` */
  readonly space: string;
}

export interface Agent {
  readonly signer: Signer;
  readonly proof: Delegation;
  /** Whether it was made of these, too. */
  isMadeOf(key: Secret, proof: Secret): boolean;
  /** Whether it was given this, with the space. */
  may(ability: Ability): boolean;
}

const CAR_CODE = 0x0202;
const IDENTITY_CODE = 0;

/** @throws OpError credentials-invalid, credentials-expired; what reading the secrets throws. */
export async function agentOf(
  { core, ed25519 }: Ucanto,
  identity: Identity,
  { op, clock }: { readonly op: string; readonly clock: Clock },
): Promise<Agent> {
  const refused = (hint: string, failure: Failure = 'credentials-invalid') =>
    new OpError(failure, op, { hint });
  const [key, secret] = [identity.key(), identity.proof()];
  let signer: Signer;
  try {
    signer = ed25519.parse(key.reveal().trim());
  } catch {
    throw refused('key: that of an agent, as `storacha key create` prints it'); // What failed would quote it.
  }
  const { ok: proof } = await core.Delegation.extract(archiveIn(secret) ?? new Uint8Array());
  if (proof === undefined) {
    throw refused('proof: a delegation, as `storacha delegation create --base64` prints it');
  }
  if (proof.audience.did() !== signer.did()) {
    throw refused('proof: it was given to another key than this one');
  }
  const given = proof.capabilities
    .filter(({ with: resource }) => resource === identity.space || resource === 'ucan:*')
    .map(({ can }) => can);
  if (given.length === 0) throw refused('proof: it is for another space than space_did');
  if (isOver(proof, clock.now().s)) {
    throw refused(
      'proof: it has expired; have the owner of the space give another one',
      'credentials-expired',
    );
  }
  return {
    signer,
    proof,
    isMadeOf: (other, another) =>
      other.reveal() === key.reveal() && another.reveal() === secret.reveal(),
    may: (ability) => given.some((can) => covers(can, ability)),
  };
}

/** undefined: it is none. */
function archiveIn(secret: Secret): Uint8Array | undefined {
  try {
    const { code, multihash } = CID.parse(secret.reveal().trim(), base64);
    return code === CAR_CODE && multihash.code === IDENTITY_CODE ? multihash.digest : undefined;
  } catch {
    return undefined;
  }
}

/** A chain is as long as the first of its links that ends. */
const isOver = ({ expiration, proofs }: Delegation, nowS: number): boolean =>
  expiration <= nowS || proofs.some((proof) => 'proofs' in proof && isOver(proof, nowS));

/** `upload/*` is all that begins with `upload/`. */
const covers = (can: string, ability: string): boolean =>
  can === '*' || can === ability || (can.endsWith('/*') && ability.startsWith(can.slice(0, -1)));
