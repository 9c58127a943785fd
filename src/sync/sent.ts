/**
 * Roots that were sent to a node and may be pinned there without a name, as `sync_target.sent` has them: `CID`
 * while the attempt lasts, or after it was cut off; `CID SECOND` where a later attempt succeeded. A node goes on with
 * a CAR that it has, though whoever sent it is gone, and may pin its roots behind all that came since.
 */
import { NODE_TRANSFER_MS } from '../base/limits.ts';

/** The node gives a call up by then, which it was told with it; and the clocks of two attempts may differ. */
const LATE_S_MAX = (2 * NODE_TRANSFER_MS) / 1000;

export const sentCids = (sent: readonly string[]): readonly string[] =>
  sent.map((entry) => entry.split(' ')[0] ?? '');

/** What is to be looked for still, of what there was before an attempt that has succeeded now. */
export function lateAmong(before: readonly string[], nowS: number): string[] {
  return before.flatMap((entry) => {
    const [cid, until] = entry.split(' ');
    if (until === undefined) return [`${cid} ${nowS + LATE_S_MAX}`];
    return Number(until) > nowS ? [entry] : [];
  });
}
