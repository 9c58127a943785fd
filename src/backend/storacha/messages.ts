/**
 * What travels to and from a service: agent messages of UCAN, as CARs
 * (https://github.com/storacha/specs/blob/main/w3-session.md).
 *
 * Invariant: of what came every block was hashed. Who signed a receipt is not looked at: a service that
 * is named by its domain is known by the TLS of that domain.
 */
import type { AgentMessage, Effect, Invocation, Receipt } from '@ucanto/interface';
import { CID } from 'multiformats/cid';
import { OpError } from '../../base/errors.ts';
import { invalid } from '../http/wire.ts';
import { demandBytesOf } from '../verify.ts';
import { faultOf } from './faults.ts';
import type { Ucanto } from './ucanto.ts';

/** A receipt of whatever was run. */
export type Told = Pick<Receipt, 'out' | 'fx' | 'ran'>;

export function encodeMessage({ core }: Ucanto, message: AgentMessage): Uint8Array {
  const blocks = new Map([...message.iterateIPLDBlocks()].map((block) => [`${block.cid}`, block]));
  return core.CAR.encode({ roots: [message.root], blocks });
}

/**
 * The receipt of one invocation.
 * @throws OpError response-invalid: it is cut short, damaged, or about something else.
 */
export function receiptIn({ core }: Ucanto, bytes: Uint8Array, ran: CID, op: string): Told {
  try {
    const { roots, blocks } = core.CAR.decode(bytes);
    for (const { cid, bytes: block } of blocks.values()) {
      demandBytesOf(CID.decode(cid.bytes), block, op);
    }
    const [root] = roots;
    if (root === undefined) throw invalid(op, 'it has no root');
    const message = core.Message.view({ root: root.cid, store: blocks });
    const direct = [...message.receipts.values()].find((receipt) => isOf(receipt, ran));
    const told = direct ?? concluded({ core }, message, ran);
    if (told === undefined) throw invalid(op, 'it has no receipt of what was asked');
    // Read now: the library reads what is missing only when it is looked at.
    return { out: told.out, fx: told.fx, ran: told.ran };
  } catch (error) {
    if (error instanceof OpError && error.failure === 'response-invalid') throw error;
    throw new OpError('response-invalid', op, { cause: error });
  }
}

/** A receipt may be what another invocation, or the receipt of one, is about. */
function concluded(
  ucanto: Pick<Ucanto, 'core'>,
  message: AgentMessage,
  ran: CID,
): Told | undefined {
  const run = [...message.receipts.values()].map((receipt) => receipt.ran);
  const invocations = [...message.invocations, ...run].filter(isInvocation);
  return receiptsOf(ucanto, invocations).find((receipt) => isOf(receipt, ran));
}

/** The receipts that such invocations conclude something with. */
export function receiptsOf(
  { core }: Pick<Ucanto, 'core'>,
  effects: readonly Effect[],
): readonly Told[] {
  return effects.filter(isInvocation).flatMap((invocation) => {
    if (abilityOf(invocation) !== 'ucan/conclude') return [];
    const { receipt: root } = argumentsOf(invocation) as { readonly receipt?: never };
    const blocks = new Map(
      [...invocation.iterateIPLDBlocks()].map((block) => [`${block.cid}`, block]),
    );
    const receipt = root === undefined ? null : core.Receipt.view({ root, blocks }, null);
    return receipt === null ? [] : [receipt];
  });
}

export const isInvocation = (effect: Effect): effect is Invocation => 'capabilities' in effect;

export const abilityOf = ({ capabilities: [{ can }] }: Invocation): string => can;

const argumentsOf = ({ capabilities: [{ nb }] }: Invocation): object => (nb ?? {}) as object;

export const isOf = ({ ran }: Told, task: { toString(): string }): boolean =>
  String('link' in ran ? ran.link() : ran) === String(task);

/** What it was answered. @throws OpError what its refusal means. */
export function okOf({ out }: Told, op: string): Readonly<Record<string, unknown>> {
  if (out.error !== undefined) throw faultOf(out.error, op);
  if (typeof out.ok !== 'object' || out.ok === null) throw invalid(op, 'it is no result');
  return out.ok as Readonly<Record<string, unknown>>;
}
