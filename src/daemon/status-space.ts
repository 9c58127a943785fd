/** What `status` tells of the room that bytes of files take here. */
import { rfc3339 } from '../base/clock.ts';
import type { Space } from '../sync/sync.ts';
import type { ErrorCode } from '../tools/codes.ts';
import { CODE_OF } from '../tools/errors.ts';

/** Bytes of files that are here and have a CID, as they were counted last. */
export interface SpaceStatus {
  /** How many there may be; absent: any number. */
  readonly quota_bytes?: number;
  readonly cached_bytes: number;
  /** Of these, what may go because a store has it. */
  readonly evictable_bytes: number;
  /** Of these, what stays because of `user.kitfs.pin`. */
  readonly pinned_bytes: number;
  readonly counted_at: string;
  /** Why the store could not be asked for what is to go. */
  readonly error_code?: ErrorCode;
}

/** Nothing while nobody asked for a quota or a pin. */
export function spaceStatusOf(space: Space | undefined): { readonly space?: SpaceStatus } {
  if (space === undefined) return {};
  const { quotaBytes, cachedBytes, evictableBytes, pinnedBytes, surveyedS, error } = space;
  return {
    space: {
      ...(quotaBytes === undefined ? {} : { quota_bytes: quotaBytes }),
      cached_bytes: cachedBytes,
      evictable_bytes: evictableBytes,
      pinned_bytes: pinnedBytes,
      counted_at: rfc3339({ s: surveyedS, ns: 0 }),
      ...(error === undefined ? {} : { error_code: CODE_OF[error.failure] }),
    },
  };
}
