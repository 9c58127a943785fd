/**
 * Jobs that outlive their daemon: from the moment a caller is given the handle of a job until
 * nobody may ask for it any more, the journal knows of it.
 */
import { isDeepStrictEqual } from 'node:util';
import type { Instant } from '../base/clock.ts';
import type { Redactor } from '../base/redaction.ts';
import type { Journal, ToolJobRow } from '../journal/journal.ts';
import { type Calling, writable } from './caller.ts';
import { type KeptCeiling, keptCeiling } from './ceiling.ts';
import type { Envelope } from './envelope.ts';
import type { Session } from './tool.ts';

/** What the next daemon needs to go on with a job. */
export interface KeptJobCall {
  readonly tool: string;
  readonly values: unknown;
  /** Under which its answer is kept with its change. */
  readonly key: string;
  readonly requestId: string;
  readonly toolCallId?: string | undefined;
  /** Who called, and what it might do at most then: the job goes on within that. */
  readonly session: Omit<Session, 'ceiling' | 'closed'> & { readonly ceiling: KeptCeiling };
  readonly startedAt: Instant;
  readonly timeoutMs: number;
}

type JobFacts = Pick<KeptJobCall, 'values' | 'key' | 'requestId' | 'startedAt' | 'timeoutMs'>;

/** undefined: its arguments hold a secret, which is written nowhere; it ends with this daemon. */
export function jobCallOf(call: Calling & JobFacts, redactor: Redactor): KeptJobCall | undefined {
  const { tool, values, key, requestId, toolCallId, startedAt, timeoutMs } = call;
  if (!isDeepStrictEqual(redactor.value(values), values)) return undefined;
  const { id, surface, peer, principal, client, ceiling } = call.session;
  return {
    ...{ tool: tool.name, values, key, requestId, startedAt, timeoutMs },
    toolCallId: writable(toolCallId, redactor),
    session: {
      ...{ id, surface, peer, principal },
      client: client && {
        name: writable(client.name, redactor),
        version: writable(client.version, redactor),
      },
      ceiling: keptCeiling(ceiling),
    },
  };
}

export interface KeptJob {
  readonly id: string;
  readonly call: KeptJobCall;
  /** Daemons that began it. */
  readonly starts: number;
  readonly end: { readonly result: Envelope; readonly atS: number } | undefined;
}

export interface KeptJobs {
  /** Those that can be read; the ids of the others are told, and they stay as they are. */
  all(onDamaged: (id: string) => void): readonly KeptJob[];
  keep(id: string, call: KeptJobCall): void;
  /** Another daemon begins it. */
  started(id: string): void;
  ended(id: string, result: Envelope): void;
  forget(id: string): void;
}

/** The object that a text of JSON is; undefined: it is something else. */
export function objectIn(text: string): Record<string, unknown> | undefined {
  try {
    return membersOf(JSON.parse(text));
  } catch {
    return undefined;
  }
}

const membersOf = (value: unknown): Record<string, unknown> | undefined =>
  typeof value === 'object' && value !== null ? { ...value } : undefined;

/** What `kitfs fsck` asks of a row (`job-call`, `job-result`) is more than is needed to skip one. */
function jobOf({ id, call: asked, starts, result, endedS }: ToolJobRow): KeptJob | undefined {
  const call = objectIn(asked);
  const session = membersOf(call?.['session']);
  const isCall = membersOf(session?.['ceiling']) && membersOf(call?.['startedAt']);
  if (isCall === undefined) return undefined;
  const envelope = result === null ? undefined : objectIn(result);
  if (result !== null && typeof envelope?.['status'] !== 'string') return undefined;
  const end = envelope && { result: envelope as unknown as Envelope, atS: endedS ?? 0 };
  return { id, call: call as unknown as KeptJobCall, starts, end };
}

/** The table `tool_job`. */
export class JournaledJobs implements KeptJobs {
  readonly #journal: Journal;

  constructor(journal: Journal) {
    this.#journal = journal;
  }

  all(onDamaged: (id: string) => void): readonly KeptJob[] {
    return this.#journal.toolJobs.all().flatMap((row) => {
      const job = jobOf(row);
      if (job === undefined) onDamaged(row.id);
      return job ?? [];
    });
  }

  keep(id: string, call: KeptJobCall): void {
    this.#journal.commit(() => this.#journal.toolJobs.insert(id, JSON.stringify(call)));
  }

  started(id: string): void {
    // Also on a full disk what was begun goes on.
    this.#journal.commitFreeing(() => this.#journal.toolJobs.started(id));
  }

  ended(id: string, result: Envelope): void {
    this.#journal.commit(({ now }) =>
      this.#journal.toolJobs.ended(id, JSON.stringify(result), now.s),
    );
  }

  forget(id: string): void {
    this.#journal.commitFreeing(() => this.#journal.toolJobs.delete(id));
  }
}
