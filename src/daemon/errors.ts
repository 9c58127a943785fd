/**
 * The last operating errors, each with an id: what `/.kitfs/errors.ndjson` shows and what health is
 * judged by. In memory only: an error is news, not state.
 *
 * Invariants: bounded; no text of a foreign error goes in but its message.
 */
import { type Clock, type Instant, rfc3339 } from '../base/clock.ts';
import type { OpError } from '../base/errors.ts';
import { ERRORS_KEPT_MAX } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import type { Redactor } from '../base/redaction.ts';
import { CODE_OF } from '../tools/errors.ts';
import type { ErrorCode } from '../tools/tools.ts';

const HOUR_MS = 3_600_000;

export interface KeptError {
  readonly id: string;
  readonly at: Instant;
  readonly atMs: number;
  readonly code: ErrorCode;
  readonly error: OpError;
  /** What was going on, in a few words. */
  readonly during: string;
}

export interface ErrorRingPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly redactor: Redactor;
  readonly max?: number;
}

export class ErrorRing {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #redactor: Redactor;
  readonly #max: number;
  #kept: KeptError[] = [];

  constructor(ports: ErrorRingPorts) {
    this.#redactor = ports.redactor;
    this.#clock = ports.clock;
    this.#random = ports.random;
    this.#max = ports.max ?? ERRORS_KEPT_MAX;
  }

  /** Keeps an error; its id. */
  add(error: OpError, during: string): string {
    const id = this.#random.token();
    const code = CODE_OF[error.failure];
    const { now: at, monotonicMs: atMs } = {
      now: this.#clock.now(),
      monotonicMs: this.#clock.monotonicMs(),
    };
    this.#kept.push({ id, at, atMs, code, error, during });
    // In steps, because removing from the front moves all the others.
    if (this.#kept.length >= this.#max * 2) this.#kept = this.#kept.slice(-this.#max);
    return id;
  }

  /** Oldest first. */
  all(): readonly KeptError[] {
    return this.#kept.slice(-this.#max);
  }

  /** How often each code came in the last hour. */
  lastHour(): Readonly<Partial<Record<ErrorCode, number>>> {
    const sinceMs = this.#clock.monotonicMs() - HOUR_MS;
    const counts: Partial<Record<ErrorCode, number>> = {};
    for (const { code, atMs } of this.all()) {
      if (atMs >= sinceMs) counts[code] = (counts[code] ?? 0) + 1;
    }
    return counts;
  }

  /** One line of JSON for each, oldest first. */
  render(): Buffer {
    return Buffer.from(
      this.all()
        .map((kept) => `${JSON.stringify(this.#redactor.value(lineOf(kept)))}\n`)
        .join(''),
    );
  }
}

function lineOf({ id, at, code, error, during }: KeptError): Record<string, unknown> {
  const { message, failure, op, hint, cause } = error;
  return {
    id,
    time: rfc3339(at),
    error_code: code,
    failure,
    op,
    during,
    message,
    ...(hint === undefined ? {} : { hint }),
    ...(cause instanceof Error ? { cause: cause.message } : {}),
  };
}
