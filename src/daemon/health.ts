/** How the daemon is: a judgement of values, asked by status, by tools and by `/.kitfs`. */
import type { OpError } from '../base/errors.ts';
import { CODES, type ErrorCode } from '../tools/codes.ts';
import { CODE_OF } from '../tools/errors.ts';
import type { LoopFailure } from './loops.ts';

export type Phase = 'starting' | 'running' | 'stopping';

export interface HealthFacts {
  readonly phase: Phase;
  readonly failedLoops: readonly LoopFailure[];
  readonly errorsLastHour: Readonly<Partial<Record<ErrorCode, number>>>;
  /** What is not published or not brought to a store, and why. */
  readonly syncTroubles?: Health['because'] | undefined;
  /** Bytes free on the disk of the state directory. */
  readonly freeBytes: number;
  /** Why nothing can be committed any more. */
  readonly journalFailure?: OpError | undefined;
  /** Whether what is kept for a full disk is whole. */
  readonly isReserveWhole: boolean;
}

export interface Health {
  readonly state: 'ok' | 'degraded' | 'failed' | 'recovering' | 'draining';
  /** Why it is not `ok`. */
  readonly because: readonly { readonly error_code: ErrorCode; readonly text: string }[];
}

/** Below, writes may soon fail, and so may the journal. */
const FREE_BYTES_MIN = 256 * 1024 * 1024;
/** What the daemon cannot work without. */
const FATAL: ReadonlySet<ErrorCode> = new Set(['JOURNAL_CORRUPT', 'JOURNAL_UNAVAILABLE']);

export function healthOf(facts: HealthFacts): Health {
  const { phase, freeBytes, isReserveWhole, journalFailure } = facts;
  const because = [...troublesOf(facts)];
  if (freeBytes < FREE_BYTES_MIN) {
    const text = `${freeBytes} bytes are free for journal and content`;
    because.push({ error_code: 'NO_SPACE', text });
  }
  if (journalFailure !== undefined) {
    because.push({ error_code: 'JOURNAL_UNAVAILABLE', text: journalFailure.message });
  }
  if (!isReserveWhole) {
    const text = 'the disk is full: the reserve is used, for what frees space alone';
    because.push({ error_code: 'NO_SPACE', text });
  }
  if (phase === 'starting') return { state: 'recovering', because };
  if (phase === 'stopping') return { state: 'draining', because };
  if (because.some(({ error_code }) => FATAL.has(error_code))) return { state: 'failed', because };
  return { state: because.length === 0 ? 'ok' : 'degraded', because };
}

/** What does not work as it should, space apart. */
export function troublesOf({
  failedLoops,
  errorsLastHour,
  syncTroubles = [],
}: Pick<HealthFacts, 'failedLoops' | 'errorsLastHour' | 'syncTroubles'>): Health['because'] {
  return [
    ...syncTroubles,
    ...failedLoops.map(({ name, error }) => ({
      error_code: CODE_OF[error.failure],
      text: `${name} failed and is tried again`,
    })),
    ...Object.entries(errorsLastHour)
      .map(([code, count]) => ({ error_code: code as ErrorCode, count }))
      .filter(({ error_code }) => CODES[error_code].severity === 'CRITICAL')
      .map(({ error_code, count }) => ({ error_code, text: `${count} in the last hour` })),
  ];
}
