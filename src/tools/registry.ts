/**
 * The registry: all tools by name, what is listed of them, and the one way to call them.
 *
 * Invariants: listing and dispatch come from the same values; a call is validated before anything
 * happens, and held to the ceiling of its session, and so is its answer; it has a deadline; what it
 * answers is what happened: an error nobody foresaw is INTERNAL, logged under the request's id, and
 * never a success.
 */
import { assert } from '../base/assert.ts';
import type { Instant } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import { JOB_STARTS_MAX, RESULT_BYTES_MAX } from '../base/limits.ts';
import type { Redactor } from '../base/redaction.ts';
import { demandPlaces, demandTool } from './admission.ts';
import { callerOf } from './caller.ts';
import { type Ceiling, ceilingFrom, isAllowed, type Scope } from './ceiling.ts';
import {
  type CallResult,
  contentCall,
  type Envelope,
  recordCall,
  successEnvelope,
} from './envelope.ts';
import { abortedBy, errorEnvelope } from './errors.ts';
import { type JobStart, monotonic, type StartedJob } from './jobs.ts';
import { jobCallOf, type KeptJob } from './kept-jobs.ts';
import { type ListedTool, Listing } from './listing.ts';
import { outcomeOf } from './outcome.ts';
import type { Ports } from './ports.ts';
import {
  type KeptAnswer,
  Repeats,
  type RunningCall,
  type Ticket,
  ticketOf,
  wrongKey,
} from './repeats.ts';
import { validate } from './schema.ts';
import { scopeOfAnswers, seenWithin } from './seen.ts';
import { settled, storing } from './settled.ts';
import { isJob, isRepeatedBy, timeoutOf, waitOf } from './terms.ts';
import type { ContentResult, Progress, RecordResult, Session, Tool, ToolContext } from './tool.ts';

/** What `job_get` puts around the result of a job. */
const JOB_BYTES_MAX = 4096;

export interface CallOptions {
  /** Aborts when the caller cancels, and when the connection closes. */
  readonly signal: AbortSignal;
  /** What the caller names this call, for the journal. */
  readonly toolCallId?: string | undefined;
  /** What it is recognised by when it is sent again; unchecked. */
  readonly key?: unknown;
  readonly progress?: ((progress: Progress) => void) | undefined;
}

/** One call on its way. */
interface Call {
  readonly tool: Tool;
  /** The arguments as they came, and checked. */
  readonly values: unknown;
  readonly input: Readonly<Record<string, unknown>>;
  readonly session: Session;
  readonly toolCallId: string | undefined;
  readonly requestId: string;
  readonly startedMs: number;
  /** With a key, and something to change. */
  readonly ticket: Ticket | undefined;
  readonly running: RunningCall | undefined;
  /** Its answer, when it was run before. */
  readonly kept: KeptAnswer | undefined;
  /** The job that it is, when a daemon before this one began it. */
  readonly begun: JobStart['begun'];
}

/** How a call ended: the envelope, and how the protocol carries it. */
interface Ended {
  readonly envelope: Envelope;
  readonly result: CallResult;
}

export interface RegistryOptions {
  readonly tools: readonly Tool[];
  /** What only the command line calls, and no list names. */
  readonly commands?: readonly Tool[];
  readonly ports: Ports;
  /** Keeps secrets out of errors, and out of the names that go into the journal. */
  readonly redactor: Redactor;
  /** Told of every call that got its answer. */
  readonly onAnswered?: (() => void) | undefined;
}

/** Where a call runs: in the open, or as a job. */
interface Place {
  readonly signal: AbortSignal;
  readonly progress: ((progress: Progress) => void) | undefined;
  readonly bytesMax: number;
}

export class Registry {
  /** By their names. */
  readonly commands: ReadonlyMap<string, Tool>;
  readonly #tools: ReadonlyMap<string, Tool>;
  readonly #ports: Ports;
  readonly #redactor: Redactor;
  readonly #onAnswered: () => void;
  readonly #listing = new Listing();
  readonly #repeats: Repeats;

  constructor({ tools, commands = [], ports, redactor, onAnswered = () => {} }: RegistryOptions) {
    this.#tools = new Map(tools.map((tool) => [tool.name, tool]));
    this.commands = new Map(commands.map((tool) => [tool.name, tool]));
    assert(this.#tools.size === tools.length, 'two tools have one name');
    this.#ports = ports;
    this.#redactor = redactor;
    this.#onAnswered = onAnswered;
    this.#repeats = new Repeats(ports.keptCalls);
  }

  /** The tools that may be called, in the order of the inventory. */
  allowed(ceiling: Ceiling): readonly Tool[] {
    return [...this.#tools.values()].filter((tool) => isAllowed(ceiling, tool));
  }

  /** The same, as the protocol lists them. */
  list(ceiling: Ceiling): Promise<readonly ListedTool[]> {
    return this.#listing.of(this.allowed(ceiling));
  }

  /** Absent: there is no tool of that name, which is an error of the protocol. */
  get(name: string): Tool | undefined {
    return this.#tools.get(name);
  }

  /**
   * Calls a tool that `get` gave, or a command. Never rejects: an error is an answer.
   * @param values the arguments, unchecked.
   */
  async call(
    tool: Tool,
    values: unknown,
    session: Session,
    { signal, toolCallId, key, progress }: CallOptions,
  ): Promise<CallResult> {
    const requestId = this.#ports.random.token();
    const startedMs = this.#ports.clock.monotonicMs();
    try {
      demandTool(tool, session);
      const input = validate(tool.input, values, tool.name);
      demandPlaces(tool, input, session);
      // What was answered under the key is looked for only now: it, too, is held to the ceiling.
      const { principal } = session;
      // What becomes a job may be run again by the next daemon.
      const name = key === undefined && isJob(tool, input) ? requestId : key;
      const asked =
        name === undefined ? undefined : this.#ticketOf(tool, { principal, key: name, values });
      const ticket = isRepeatedBy(tool, input) ? asked : undefined;
      const first = { ticket, running: undefined, kept: undefined, begun: undefined };
      const call = { tool, values, input, session, toolCallId, requestId, startedMs, ...first };
      if (ticket !== undefined) return await this.#callOnce({ ...call, ticket }, signal, progress);
      return await this.#call(call, signal, progress);
    } catch (error) {
      return this.#failed(tool, error, { requestId, session }).result;
    } finally {
      this.#onAnswered();
    }
  }

  /** @throws OpError invalid-argument: no key, or one that may not be written into the journal. */
  #ticketOf(tool: Tool, asked: Parameters<typeof ticketOf>[1]): Ticket {
    const ticket = ticketOf(tool.name, asked);
    if (this.#redactor.text(ticket.key) !== ticket.key) {
      throw wrongKey(tool.name, 'format', 'text that holds no secret');
    }
    return ticket;
  }

  /** Goes on with the jobs of the daemons before this one; before anybody calls. */
  resume(): void {
    const { clock, keptJobs } = this.#ports;
    const onDamaged = (id: string) => {
      this.#ports.log.error({ job: id }, 'a job cannot be read: see kitfs fsck');
    };
    for (const job of keptJobs.all(onDamaged)) {
      const { id, end, call } = job;
      if (end === undefined) {
        this.#resume(job).catch((error: unknown) => {
          const result = this.#told(asOpError(error, call.tool), {
            requestId: call.requestId,
            scope: ceilingFrom(call.session.ceiling).scope,
          });
          this.#noted(() => keptJobs.ended(id, result));
          this.#ports.log.warn({ err: error, job: id }, 'a job could not go on');
          this.#restore(job, { result, at: clock.now() });
        });
      } else this.#restore(job, { result: end.result, at: { s: end.atS, ns: 0 } });
    }
  }

  /** A job that is at its end, to be asked for. */
  #restore(
    { id, call: { tool, session, startedAt, timeoutMs } }: KeptJob,
    { result, at }: { readonly result: Envelope; readonly at: Instant },
  ): void {
    const { jobs, keptJobs } = this.#ports;
    const { principal } = session;
    const onForget = () => this.#noted(() => keptJobs.forget(id));
    jobs.restore({ id, tool, principal, startedAt, timeoutMs, finishedAt: at, result, onForget });
  }

  /** @throws OpError it cannot go on, and why. */
  async #resume({ id, starts, call: { tool: name, ...call } }: KeptJob): Promise<void> {
    const { clock, keptJobs } = this.#ports;
    const tool = this.get(name) ?? this.commands.get(name);
    if (tool === undefined) throw new OpError('version-unsupported', name);
    if (starts >= JOB_STARTS_MAX) {
      throw new OpError('internal', name, { hint: `${starts} daemons ended while it ran` });
    }
    const { key, values } = call;
    const ceiling = ceilingFrom(call.session.ceiling);
    // Whoever began it is gone; what a connection may hold, this call cannot have.
    const session = { ...call.session, ceiling, closed: AbortSignal.abort() };
    demandTool(tool, session);
    const input = validate(tool.input, values, name);
    demandPlaces(tool, input, session);
    const ticket = ticketOf(name, { principal: session.principal, key, values });
    keptJobs.started(id);
    const kept = this.#repeats.kept(name, ticket);
    const running = this.#repeats.begin(ticket);
    running.isJobShared = true;
    const begun = { id, at: call.startedAt };
    const startedMs = clock.monotonicMs();
    const facts = { tool, input, startedMs, ticket, running, kept, begun };
    try {
      const { toolCallId, requestId } = call;
      const again = { ...facts, values, session, toolCallId, requestId };
      await this.#callAsJob(again, new AbortController().signal, undefined);
    } finally {
      running.answered();
    }
  }

  /** What is not kept of a job is lost with this daemon, and no reason to end the work now. */
  #noted(write: () => void): boolean {
    try {
      write();
      return true;
    } catch (error) {
      this.#ports.log.warn({ err: error }, 'what became of a job could not be kept');
      return false;
    }
  }

  #call(call: Call, signal: AbortSignal, progress: Place['progress']): Promise<CallResult> {
    const isAsJob = isJob(call.tool, call.input) && call.kept === undefined;
    return isAsJob
      ? this.#callAsJob(call, signal, progress)
      : this.#callNow(call, signal, progress);
  }

  /** Runs the call, or waits for it, or gives its answer again, as far as it has come before. */
  async #callOnce(
    call: Call & { readonly ticket: Ticket },
    signal: AbortSignal,
    progress: Place['progress'],
  ): Promise<CallResult> {
    const { tool, ticket } = call;
    for (;;) {
      const other = this.#repeats.running(tool.name, ticket);
      if (other === undefined) break;
      const answer = await this.#waitFor(other, call, signal);
      if (answer !== undefined) return answer;
    }
    // Nothing suspends from the look at what runs to the beginning.
    const kept = this.#repeats.kept(tool.name, ticket);
    if (kept !== undefined) {
      return await this.#call({ ...call, requestId: kept.request_id, kept }, signal, progress);
    }
    const running = this.#repeats.begin(ticket);
    try {
      return await this.#call({ ...call, running }, signal, progress);
    } finally {
      running.answered();
    }
  }

  /**
   * Waits until the same call, from another connection, is at an end; the answer is looked for then.
   * @returns the handle of its job, when that takes longer than this call would wait for one.
   * @throws OpError timeout; the signal's reason.
   */
  async #waitFor(
    other: RunningCall,
    call: Call,
    signal: AbortSignal,
  ): Promise<CallResult | undefined> {
    const limitMs = isJob(call.tool, call.input) ? waitOf(call) : timeoutOf(call);
    const stop = new AbortController();
    const timer = this.#ports.clock.sleep(limitMs, AbortSignal.any([signal, stop.signal]));
    const isEnded = await Promise.race([
      other.ended.then(() => true),
      timer.then(() => false),
    ]).finally(() => stop.abort());
    timer.catch(() => {}); // Stopped because the other ended first.
    if (isEnded) return undefined;
    const job = other.handOut?.();
    if (job === undefined) throw new OpError('timeout', call.tool.name);
    other.isJobShared = true;
    return recordCall(this.#success(call, { data: { job } }));
  }

  /** The error envelope of a call that never reached its tool, as a result. */
  refuse(error: OpError): CallResult {
    return recordCall(this.#redactor.value(errorEnvelope(error, this.#ports.random.token())));
  }

  async #callNow(
    call: Call,
    signal: AbortSignal,
    progress: Place['progress'],
  ): Promise<CallResult> {
    const { clock } = this.#ports;
    const expired = new AbortController();
    const stop = new AbortController();
    const timer = clock.sleep(timeoutOf(call), stop.signal).then(
      () => expired.abort(new OpError('timeout', call.tool.name)),
      () => {}, // The call ended first.
    );
    const bounded = AbortSignal.any([signal, expired.signal]);
    const place = { signal: bounded, progress, bytesMax: RESULT_BYTES_MAX };
    const { result } = await this.#run(call, place);
    stop.abort();
    await timer;
    return result;
  }

  /** Runs the call as a job, and answers with its result if it ends soon enough. */
  async #callAsJob(
    call: Call,
    signal: AbortSignal,
    progress: Place['progress'],
  ): Promise<CallResult> {
    const { clock, jobs, keptJobs } = this.#ports;
    let ended: Ended | undefined;
    let watch = progress;
    let isKept = call.begun !== undefined;
    const job = jobs.start({
      tool: call.tool.name,
      principal: call.session.principal,
      timeoutMs: timeoutOf(call),
      begun: call.begun,
      onEnd: (result) => isKept && this.#noted(() => keptJobs.ended(job.id, result)),
      onForget: () => isKept && this.#noted(() => keptJobs.forget(job.id)),
      run: async (own) => {
        const report = (now: Progress) => {
          own.progress(now);
          watch?.(now);
        };
        const bytesMax = RESULT_BYTES_MAX - JOB_BYTES_MAX;
        ended = await this.#run(call, { signal: own.signal, progress: report, bytesMax });
        return ended.envelope;
      },
    });
    const handOut = () => {
      if (!isKept) isKept = this.#keepJob(call, job);
      return job.view();
    };
    if (call.running !== undefined) call.running.handOut = handOut;
    // As long as the caller waits, giving up the call gives up the work.
    const onAbort = () => {
      const isOthers = call.running?.isJobShared === true;
      if (!isOthers) job.cancel(new OpError('cancelled', call.tool.name));
    };
    signal.addEventListener('abort', onAbort, { once: true });
    if (signal.aborted) onAbort();
    const stop = new AbortController();
    const timer = clock.sleep(waitOf(call), stop.signal).catch(() => {});
    await Promise.race([job.ended, timer]);
    stop.abort();
    // An aborted job that winds up is waited for: nobody holds a handle to it yet.
    if (signal.aborted) await job.ended;
    signal.removeEventListener('abort', onAbort);
    watch = undefined;
    if (ended !== undefined) {
      if (call.running?.isJobShared !== true) job.forget();
      return ended.result;
    }
    return recordCall(this.#success(call, { data: { job: handOut() } }));
  }

  /** From the moment its handle is given to somebody a job outlives this daemon. */
  #keepJob(call: Call, job: StartedJob): boolean {
    const { ticket } = call;
    if (ticket === undefined) return false; // A rehearsal.
    const terms = { startedAt: job.startedAt, timeoutMs: timeoutOf(call) };
    const kept = jobCallOf({ ...call, ...terms, key: ticket.key }, this.#redactor);
    return kept !== undefined && this.#noted(() => this.#ports.keptJobs.keep(job.id, kept));
  }

  /** Runs the tool to its end and wraps what came of it. Never rejects. */
  async #run(call: Call, { signal, progress, bytesMax }: Place): Promise<Ended> {
    const { tool, session, requestId, running } = call;
    const { clock } = this.#ports;
    let last: Progress | undefined;
    const context: ToolContext = {
      caller: callerOf(call, this.#redactor),
      principal: session.principal,
      session,
      signal,
      timeoutMs: timeoutOf(call),
      requestId,
      progress: (next: Progress) => {
        last = last === undefined ? next : monotonic(last, next);
        progress?.(last);
      },
      keep: (tell) => this.#keep(call, tell),
      ports: this.#ports,
    };
    try {
      signal.throwIfAborted();
      const work = storing(tool, this.#ports, () => outcomeOf(call, context));
      running?.began(work);
      const outcome = await settled(work, { signal, tool, clock });
      return this.#succeeded(call, outcome, bytesMax);
    } catch (error) {
      const told = signal.aborted ? abortedBy(error, signal, tool, last) : error;
      return this.#failed(tool, told, call);
    }
  }

  #keep({ ticket, requestId }: Call, tell: () => RecordResult<unknown>): void {
    if (ticket === undefined) return;
    this.#repeats.keep(ticket, (seq) => ({
      request_id: requestId,
      ...tell(),
      ...(seq === undefined ? {} : { seq }),
    }));
  }

  #succeeded(call: Call, outcome: RecordResult<unknown> | ContentResult, bytesMax: number): Ended {
    const envelope = this.#success(call, outcome);
    if ('header' in outcome) return { envelope, result: contentCall(outcome, envelope) };
    const result = recordCall(envelope);
    const [block] = result.content;
    const bytes = block?.type === 'text' ? Buffer.byteLength(block.text) : 0;
    // A change has happened, whatever its answer weighs: only readers are refused.
    if (bytes <= bytesMax || !call.tool.hints.readOnly) return { envelope, result };
    throw new OpError('result-too-large', call.tool.name, {
      hint: 'ask for less, or page through it',
      details: { partial: { bytes, max: bytesMax } },
    });
  }

  #success(
    { tool, requestId, startedMs, session }: Call,
    outcome: RecordResult<unknown> | ContentResult,
  ) {
    const elapsedMs = this.#ports.clock.monotonicMs() - startedMs;
    const envelope = successEnvelope(outcome, { requestId, elapsedMs });
    const scope = scopeOfAnswers(tool, session);
    return scope === undefined ? envelope : { ...envelope, data: seenWithin(scope, envelope.data) };
  }

  #failed(
    tool: Tool,
    error: unknown,
    { requestId, session }: Pick<Call, 'requestId' | 'session'>,
  ): Ended {
    const known = asOpError(error, tool.name);
    if (known.failure === 'internal') {
      const fields = { request_id: requestId, tool: tool.name, err: error };
      this.#ports.log.error(fields, 'a tool threw what it must not');
    }
    const envelope = this.#told(known, { requestId, scope: scopeOfAnswers(tool, session) });
    return { envelope, result: recordCall(envelope) };
  }

  #told(error: OpError, { requestId, scope }: { requestId: string; scope: Scope | undefined }) {
    const told = this.#redactor.value(errorEnvelope(error, requestId));
    return scope === undefined ? told : (seenWithin(scope, told) as typeof told);
  }
}
