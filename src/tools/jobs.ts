/**
 * Jobs: calls that go on after they were answered.
 *
 * Invariants: a job belongs to its principal, and nobody else learns that it exists; its state
 * ends once, in done, failed or cancelled, and only when the work itself has ended; a finished job
 * is kept for 15 minutes; running and kept ones are bounded.
 */
import { type Clock, type Instant, rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { JOB_KEPT_MS, JOBS_FINISHED_MAX, JOBS_RUNNING_MAX } from '../base/limits.ts';
import type { Random } from '../base/random.ts';
import type { Envelope } from './envelope.ts';
import type { Progress } from './tool.ts';

export type JobState = 'running' | 'done' | 'failed' | 'cancelled';

/** A job as callers see it; times in RFC 3339. */
export interface JobView {
  readonly job_id: string;
  readonly tool: string;
  readonly state: JobState;
  readonly progress: {
    readonly done: number;
    readonly total?: number;
    readonly unit: Progress['unit'];
    readonly message?: string;
  };
  readonly started_at: string;
  readonly finished_at?: string;
  readonly deadline: string;
  readonly expires_at?: string;
}

export interface JobStart {
  readonly tool: string;
  readonly principal: string;
  readonly timeoutMs: number;
  /** Of a job that another daemon began. */
  readonly begun?: { readonly id: string; readonly at: Instant } | undefined;
  /** Told of its end, unless it was cut off because the daemon stops. */
  readonly onEnd?: ((result: Envelope) => unknown) | undefined;
  /** Told when nobody may ask for it any more. */
  readonly onForget?: (() => unknown) | undefined;
  /**
   * Does the work and answers with the envelope the tool would have given; never rejects. Told to
   * end through the signal, whose reason is an OpError cancelled or timeout.
   */
  run(job: { signal: AbortSignal; progress(progress: Progress): void }): Promise<Envelope>;
}

interface Job {
  readonly id: string;
  readonly tool: string;
  readonly principal: string;
  readonly startedAt: Instant;
  readonly deadline: Instant;
  readonly controller: AbortController;
  readonly ended: Promise<void>;
  state: JobState;
  progress: Progress;
  result: Envelope | undefined;
  finishedAt: Instant | undefined;
  finishedAtMs: number;
  /** By the end of the daemon. */
  isCutOff: boolean;
  readonly onForget: () => unknown;
}

/** A job that ended in another daemon. */
export interface EndedJob {
  readonly id: string;
  readonly tool: string;
  readonly principal: string;
  readonly startedAt: Instant;
  readonly timeoutMs: number;
  readonly finishedAt: Instant;
  readonly result: Envelope;
  readonly onForget: () => unknown;
}

/** A job just started, in the hands of the call that started it. */
export interface StartedJob {
  readonly id: string;
  readonly startedAt: Instant;
  /** Resolves when the work has ended. */
  readonly ended: Promise<void>;
  view(): JobView;
  result(): Envelope | undefined;
  cancel(reason: unknown): void;
  /** The call itself gives the answer: nobody will ask for this job. */
  forget(): void;
}

export class Jobs {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #jobs = new Map<string, Job>();

  constructor(ports: { readonly clock: Clock; readonly random: Random }) {
    this.#clock = ports.clock;
    this.#random = ports.random;
  }

  /** @throws OpError rate-limited. */
  start({ tool, principal, timeoutMs, begun, run, onEnd, onForget }: JobStart): StartedJob {
    this.#expire();
    const running = [...this.#jobs.values()].filter(
      (job) => job.principal === principal && job.state === 'running',
    );
    if (running.length >= JOBS_RUNNING_MAX) {
      throw new OpError('rate-limited', tool, {
        hint: 'wait for a job to end, or cancel one',
        details: { retry_after_ms: 1000, partial: { jobs: running.length } },
      });
    }
    const controller = new AbortController();
    const startedAt = begun?.at ?? this.#clock.now();
    const { promise: ended, resolve } = deferred();
    const job: Job = {
      id: begun?.id ?? this.#random.token(),
      tool,
      principal,
      startedAt,
      deadline: after(startedAt, timeoutMs),
      controller,
      ended,
      state: 'running',
      progress: { done: 0, unit: 'items' },
      result: undefined,
      finishedAt: undefined,
      finishedAtMs: 0,
      isCutOff: false,
      onForget: onForget ?? (() => {}),
    };
    this.#jobs.set(job.id, job);
    const leftMs = Math.max(0, msUntil(job.deadline, this.#clock.now()));
    this.#run(job, leftMs, run, onEnd).then(resolve, resolve);
    return {
      id: job.id,
      startedAt,
      ended,
      view: () => viewOf(job),
      result: () => job.result,
      cancel: (reason) => controller.abort(reason),
      forget: () => this.#jobs.delete(job.id),
    };
  }

  /** A job to be asked for, that is at its end already. */
  restore({ finishedAt, result, ...ended }: EndedJob): void {
    const { startedAt, timeoutMs, ...facts } = ended;
    const ageMs = -msUntil(finishedAt, this.#clock.now());
    this.#jobs.set(ended.id, {
      ...facts,
      startedAt,
      deadline: after(startedAt, timeoutMs),
      controller: new AbortController(),
      ended: Promise.resolve(),
      state: stateOf(result),
      progress: { done: 0, unit: 'items' },
      result,
      finishedAt,
      finishedAtMs: this.#clock.monotonicMs() - ageMs,
      isCutOff: false,
    });
    this.#expire();
  }

  /** @throws OpError handle-unknown. */
  get(principal: string, id: string): JobView {
    return viewOf(this.#find(principal, id));
  }

  /** The envelope the tool gave; undefined while the job runs. @throws OpError handle-unknown. */
  result(principal: string, id: string): Envelope | undefined {
    return this.#find(principal, id).result;
  }

  /** Running ones and those of the last 15 minutes, oldest first. */
  list(principal: string): readonly JobView[] {
    this.#expire();
    return [...this.#jobs.values()].filter((job) => job.principal === principal).map(viewOf);
  }

  /**
   * Resolves when the job has ended or `waitMs` have passed.
   * @throws OpError handle-unknown; the signal's reason.
   */
  async wait(principal: string, id: string, waitMs: number, signal: AbortSignal): Promise<JobView> {
    const job = this.#find(principal, id);
    if (job.state === 'running' && waitMs > 0) {
      const stop = new AbortController();
      const timer = this.#clock.sleep(waitMs, AbortSignal.any([signal, stop.signal]));
      await Promise.race([timer, job.ended]).finally(() => stop.abort());
      timer.catch(() => {}); // Stopped because the job ended first.
    }
    return viewOf(job);
  }

  /** Asks a running job to end; a finished one stays as it is. @throws OpError handle-unknown. */
  cancel(principal: string, id: string): void {
    const { controller, tool } = this.#find(principal, id);
    controller.abort(new OpError('cancelled', tool));
  }

  /** How many run now, of everybody. */
  get running(): number {
    return [...this.#jobs.values()].filter(({ state }) => state === 'running').length;
  }

  /** Asks all jobs to end, and resolves when they have. */
  async close(): Promise<void> {
    const jobs = [...this.#jobs.values()];
    for (const job of jobs) {
      const { controller, tool } = job;
      job.isCutOff = !controller.signal.aborted;
      controller.abort(new OpError('cancelled', tool, { hint: 'the daemon is stopping' }));
    }
    await Promise.all(jobs.map(({ ended }) => ended));
  }

  async #run(
    job: Job,
    timeoutMs: number,
    run: JobStart['run'],
    onEnd: JobStart['onEnd'],
  ): Promise<void> {
    const stop = new AbortController();
    const timer = this.#clock.sleep(timeoutMs, stop.signal).then(
      () => job.controller.abort(new OpError('timeout', job.tool)),
      () => {}, // The job ended first.
    );
    const result = await run({
      signal: job.controller.signal,
      progress: (progress) => {
        job.progress = monotonic(job.progress, progress);
      },
    });
    stop.abort();
    await timer;
    job.result = result;
    job.state = stateOf(result);
    job.finishedAt = this.#clock.now();
    job.finishedAtMs = this.#clock.monotonicMs();
    if (!job.isCutOff || job.state !== 'cancelled') onEnd?.(result);
    this.#expire();
  }

  #find(principal: string, id: string): Job {
    this.#expire();
    const job = this.#jobs.get(id);
    if (job === undefined || job.principal !== principal) {
      throw new OpError('handle-unknown', 'find the job');
    }
    return job;
  }

  #expire(): void {
    const oldestMs = this.#clock.monotonicMs() - JOB_KEPT_MS;
    const finished = [...this.#jobs.values()].filter(({ state }) => state !== 'running');
    finished.sort((one, other) => one.finishedAtMs - other.finishedAtMs);
    const excess = finished.length - JOBS_FINISHED_MAX;
    for (const [index, { id, finishedAtMs }] of finished.entries()) {
      if (index >= excess && finishedAtMs >= oldestMs) continue;
      this.#jobs.get(id)?.onForget();
      this.#jobs.delete(id);
    }
  }
}

/** Neither the amount done nor its total ever goes back. */
export const monotonic = (before: Progress, next: Progress): Progress =>
  next.unit === before.unit && next.done < before.done ? { ...next, done: before.done } : next;

function stateOf(result: Envelope): JobState {
  if (result.status === 'success') return 'done';
  return result.error_code === 'CANCELLED' ? 'cancelled' : 'failed';
}

function viewOf(job: Job): JobView {
  const { done, total, unit, message } = job.progress;
  const { finishedAt } = job;
  return {
    job_id: job.id,
    tool: job.tool,
    state: job.state,
    progress: {
      done,
      ...(total === undefined ? {} : { total }),
      unit,
      ...(message === undefined ? {} : { message }),
    },
    started_at: rfc3339(job.startedAt),
    ...(finishedAt === undefined
      ? {}
      : { finished_at: rfc3339(finishedAt), expires_at: rfc3339(after(finishedAt, JOB_KEPT_MS)) }),
    deadline: rfc3339(job.deadline),
  };
}

function after({ s, ns }: Instant, ms: number): Instant {
  const total = ns + (ms % 1000) * 1_000_000;
  return { s: s + Math.floor(ms / 1000) + Math.floor(total / 1e9), ns: Math.floor(total % 1e9) };
}

/** Negative when it is past. */
const msUntil = (moment: Instant, now: Instant): number =>
  (moment.s - now.s) * 1000 + (moment.ns - now.ns) / 1e6;

function deferred(): { readonly promise: Promise<void>; readonly resolve: () => void } {
  let resolve = () => {};
  const promise = new Promise<void>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
