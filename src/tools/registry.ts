/**
 * The registry: all tools by name, what is listed of them, and the one way to call them.
 *
 * Invariants: listing and dispatch come from the same values; a call is validated before anything
 * happens, and held to the ceiling of its session, and so is its answer; it has a deadline; what it
 * answers is what happened: an error nobody foresaw is INTERNAL, logged under the request's id, and
 * never a success.
 */
import { assert } from '../base/assert.ts';
import { asOpError, OpError } from '../base/errors.ts';
import { nameOfText } from '../base/ids.ts';
import { ABORT_GRACE_MS, RESULT_BYTES_MAX } from '../base/limits.ts';
import type { Redactor } from '../base/redaction.ts';
import type { Caller } from '../vfs/vfs.ts';
import { type Ceiling, isAllowed, outside } from './ceiling.ts';
import {
  type CallResult,
  contentCall,
  type Envelope,
  recordCall,
  successEnvelope,
} from './envelope.ts';
import { errorEnvelope } from './errors.ts';
import { monotonic } from './jobs.ts';
import { type ListedTool, listed } from './listing.ts';
import { placeOfContent } from './paths.ts';
import type { Ports } from './ports.ts';
import { type KeptAnswer, Repeats, type RunningCall, type Ticket, ticketOf } from './repeats.ts';
import { placesIn, validate } from './schema.ts';
import { seenWithin } from './seen.ts';
import type {
  ContentResult,
  DeadlineClass,
  Progress,
  RecordResult,
  Session,
  Tool,
  ToolContext,
} from './tool.ts';

const DEADLINE_MS: Readonly<Record<DeadlineClass, number>> = {
  local: 10_000,
  remote: 30_000,
  job: 300_000,
};
/** A job tool's own default, when its input says nothing. */
const WAIT_MS = 20_000;
/** What `job_get` puts around the result of a job. */
const JOB_BYTES_MAX = 4096;
/** Text from outside that is written into the journal. */
const ACTOR_CHARS_MAX = 128;

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
}

/** How a call ended: the envelope, and how the protocol carries it. */
interface Ended {
  readonly envelope: Envelope;
  readonly result: CallResult;
}

export interface RegistryOptions {
  readonly tools: readonly Tool[];
  readonly ports: Ports;
  /** Keeps secrets out of errors, and out of the names that go into the journal. */
  readonly redactor: Redactor;
}

/** Where a call runs: in the open, or as a job. */
interface Place {
  readonly signal: AbortSignal;
  readonly progress: ((progress: Progress) => void) | undefined;
  readonly bytesMax: number;
}

export class Registry {
  readonly #tools: ReadonlyMap<string, Tool>;
  readonly #ports: Ports;
  readonly #redactor: Redactor;
  readonly #listed: ReadonlyMap<Tool, ListedTool>;
  readonly #repeats: Repeats;

  /** Builds the schemas of all tools, once. */
  constructor({ tools, ports, redactor }: RegistryOptions) {
    this.#tools = new Map(tools.map((tool) => [tool.name, tool]));
    assert(this.#tools.size === tools.length, 'two tools have one name');
    this.#ports = ports;
    this.#redactor = redactor;
    this.#listed = new Map(tools.map((tool) => [tool, listed(tool)]));
    this.#repeats = new Repeats(ports.keptCalls);
  }

  /** The tools that may be called, in the order of the inventory, as the protocol lists them. */
  list(ceiling: Ceiling): readonly ListedTool[] {
    const allowed = [...this.#listed].filter(([tool]) => isAllowed(ceiling, tool));
    return allowed.map(([, told]) => told);
  }

  /** Absent: there is no tool of that name, which is an error of the protocol. */
  get(name: string): Tool | undefined {
    return this.#tools.get(name);
  }

  /**
   * Calls a tool that `get` gave. Never rejects: an error is an answer.
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
      const asked = key === undefined ? undefined : ticketOf(tool.name, { principal, key, values });
      const ticket = isRepeatedBy(tool, input) ? asked : undefined;
      const first = { ticket, running: undefined, kept: undefined };
      const call = { tool, input, session, toolCallId, requestId, startedMs, ...first };
      if (ticket !== undefined) return await this.#callOnce({ ...call, ticket }, signal, progress);
      return await this.#call(call, signal, progress);
    } catch (error) {
      return this.#failed(tool, error, { requestId, session }).result;
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
    if (other.job === undefined) throw new OpError('timeout', call.tool.name);
    other.isJobShared = true;
    return recordCall(this.#success(call, { data: { job: other.job.view() } }));
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
    const { clock, jobs } = this.#ports;
    let ended: Ended | undefined;
    let watch = progress;
    const job = jobs.start({
      tool: call.tool.name,
      principal: call.session.principal,
      timeoutMs: timeoutOf(call),
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
    if (call.running !== undefined) call.running.job = job;
    // As long as the caller waits, giving up the call gives up the work.
    const onAbort = () => job.cancel(new OpError('cancelled', call.tool.name));
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
    return recordCall(this.#success(call, { data: { job: job.view() } }));
  }

  /** Runs the tool to its end and wraps what came of it. Never rejects. */
  async #run(call: Call, { signal, progress, bytesMax }: Place): Promise<Ended> {
    const { tool, session, requestId, running } = call;
    let last: Progress | undefined;
    const context: ToolContext = {
      caller: this.#callerOf(call),
      principal: session.principal,
      session,
      signal,
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
      const work = outcomeOf(call, context);
      running?.began(work);
      return this.#succeeded(call, await this.#settled(work, signal, tool), bytesMax);
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

  /** What the work comes to. Work that goes on after its signal is left, at last, to itself. */
  #settled<T>(work: Promise<T>, signal: AbortSignal, tool: Tool): Promise<T> {
    return new Promise((resolve, reject) => {
      const stop = new AbortController();
      const leave = () => {
        const partial = tool.hints.readOnly ? undefined : { still_running: true };
        reject(new OpError('cancelled', tool.name, { details: { partial } }));
      };
      const onAbort = () => {
        if (tool.hints.readOnly) leave();
        else this.#ports.clock.sleep(ABORT_GRACE_MS, stop.signal).then(leave, () => {});
      };
      signal.addEventListener('abort', onAbort, { once: true });
      work.then(resolve, reject).finally(() => {
        signal.removeEventListener('abort', onAbort);
        stop.abort();
      });
    });
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
    { requestId, startedMs, session }: Call,
    outcome: RecordResult<unknown> | ContentResult,
  ) {
    const elapsedMs = this.#ports.clock.monotonicMs() - startedMs;
    const envelope = successEnvelope(outcome, { requestId, elapsedMs });
    const { scope } = session.ceiling;
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
    const { scope } = session.ceiling;
    const told = this.#redactor.value(errorEnvelope(known, requestId));
    const envelope = scope === undefined ? told : (seenWithin(scope, told) as typeof told);
    return { envelope, result: recordCall(envelope) };
  }

  /** Acts with the rights of the peer; named in the journal down to the call. */
  #callerOf({ session, tool, toolCallId }: Call): Caller {
    const { uid, gid, groups, pid } = session.peer;
    const cut = (text: string | undefined) =>
      text === undefined ? undefined : this.#redactor.text(text).slice(0, ACTOR_CHARS_MAX);
    return {
      uid,
      gid,
      groups,
      checked: false,
      actor: () => ({
        surface: session.surface,
        uid,
        gid,
        pid,
        client: cut(session.client?.name),
        clientVersion: cut(session.client?.version),
        session: session.id,
        tool: tool.name,
        toolCall: cut(toolCallId),
      }),
    };
  }
}

/** @throws OpError not-allowed. */
function demandTool(tool: Tool, { ceiling }: Session): void {
  if (!isAllowed(ceiling, tool)) throw new OpError('not-allowed', tool.name);
}

/**
 * Before anything is looked at; where links lead is seen when the path is walked.
 * @throws OpError policy.
 */
function demandPlaces(tool: Tool, input: unknown, { ceiling: { scope } }: Session): void {
  if (scope === undefined) return;
  for (const { kind, text } of placesIn(tool.input, input)) {
    const path = kind === 'tree' ? text : placeOfContent(text);
    // What is no path of content is refused by its tool, and empty means none.
    if (path !== undefined && !scope.covers(nameOfText(path))) throw outside(tool.name, text);
  }
}

/** Does the work of a call, or what is left of it. */
async function outcomeOf(
  { tool, input, kept }: Call,
  context: ToolContext,
): Promise<RecordResult<unknown> | ContentResult> {
  const outcome = kept ?? (await tool.run(input, context));
  const isDone = 'data' in outcome && input['dry_run'] !== true;
  if (tool.kind !== 'record' || tool.afterwards === undefined || !isDone) return outcome;
  return { ...outcome, data: await tool.afterwards(outcome.data, input, context) };
}

/** Whether running it twice would be seen. */
const isRepeatedBy = (tool: Tool, input: Readonly<Record<string, unknown>>): boolean =>
  tool.changes === 'journal' && input['dry_run'] !== true;

const isJob = (tool: Tool, input: Readonly<Record<string, unknown>>): boolean =>
  tool.job === true && (tool.kind === 'record' || input['output_path'] !== undefined);

function timeoutOf({ tool, input }: Call): number {
  const asked = input['timeout_ms'];
  return typeof asked === 'number' ? asked : DEADLINE_MS[tool.deadline];
}

function waitOf({ input }: Call): number {
  const asked = input['wait_ms'];
  return typeof asked === 'number' ? asked : WAIT_MS;
}

/** The error of work that was told to end: the reason it was told, with what it had done. */
function abortedBy(
  error: unknown,
  signal: AbortSignal,
  tool: Tool,
  last: Progress | undefined,
): OpError {
  const told = error instanceof OpError ? error : undefined;
  const isOther =
    told !== undefined && !['cancelled', 'timeout', 'interrupted'].includes(told.failure);
  if (isOther) return told; // It failed of itself before it heard.
  const { reason } = signal;
  const failure = reason instanceof OpError ? reason.failure : 'cancelled';
  const partial = told?.details['partial'] ?? (last === undefined ? undefined : { progress: last });
  return new OpError(failure, tool.name, { details: { ...told?.details, partial } });
}
