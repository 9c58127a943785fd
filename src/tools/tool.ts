/**
 * A tool is a value: what it is called, what it takes and gives, and the function that does it.
 * Listing, dispatch, command line, documents and tests are made from these values and nothing else.
 *
 * Invariants: names, parameters and results are those of the contract; a tool holds no state of
 * its own; whatever it touches comes through the context.
 */
import type { z } from 'zod';
import type { Caller } from '../vfs/vfs.ts';
import type { Ceiling } from './ceiling.ts';
import type { Ports } from './ports.ts';
import type { DryRun } from './results.ts';

export type Toolset =
  | 'ipfs_core'
  | 'ipfs_net'
  | 'mfs'
  | 'vfs'
  | 'backends'
  | 'journal'
  | 'cluster'
  | 'retrieval'
  | 'ai'
  | 'monitoring'
  | 'streaming'
  | 'search'
  | 'catalog'
  | 'coordination'
  | 'system';

/** All four are always sent; none has a default. */
export interface Hints {
  readonly readOnly: boolean;
  readonly destructive: boolean;
  readonly idempotent: boolean;
  readonly openWorld: boolean;
}

/** What must be configured for the tool to work. It is listed, and callable, without. */
export interface Requirements {
  readonly services?: readonly string[];
  /** Kinds of backend. */
  readonly backends?: readonly string[];
}

/** How long a call may take when it does not say: 10 s, 30 s, 300 s. */
export type DeadlineClass = 'local' | 'remote' | 'job';

/**
 * What a call changes, and so what keeps it from changing that twice when it is sent again under its
 * idempotency key.
 * - `nothing`: it is run again.
 * - `journal`: one transaction makes all of the change that anybody can see, and the answer is kept
 *   in it (`ToolContext.keep`). What goes before may be done twice: it brings bytes here, or holds
 *   blocks. What follows is `afterwards`. Cut short before the transaction, it is run from its start.
 * - `process`: what lives in this process and dies with it. Run again, it is as if run once.
 */
export type Changes = 'nothing' | 'journal' | 'process';

/** The other end of the connection, as the kernel vouches for it. */
export interface Peer {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly pid: number;
}

/** One connection to an agent. */
export interface Session {
  readonly id: string;
  readonly surface: 'mcp' | 'cli';
  readonly peer: Peer;
  /** Owner of jobs and cursors: outlives the connection. */
  readonly principal: string;
  /** What the client calls itself, once it said so. Not to be trusted. */
  readonly client: { readonly name: string; readonly version: string } | undefined;
  /** What may be asked at most, whatever the rights of the peer. */
  readonly ceiling: Ceiling;
  /** Aborts when the connection closes. */
  readonly closed: AbortSignal;
}

export interface Progress {
  /** Never smaller than in the report before. */
  readonly done: number;
  readonly total?: number | undefined;
  readonly unit: 'bytes' | 'files' | 'blocks' | 'items';
  readonly message?: string | undefined;
}

/** What a tool is handed besides its arguments; one per call. */
export interface ToolContext {
  /** Acts with the rights of the peer, and is who the journal names. */
  readonly caller: Caller;
  readonly principal: string;
  readonly session: Session;
  /** Aborts at the deadline, when the call or job is cancelled, and when the connection closes. */
  readonly signal: AbortSignal;
  /** What the whole call or job may take: for a node, whose own deadline may be another. */
  readonly timeoutMs: number;
  readonly requestId: string;
  /** Cheap: may be called for every item. */
  progress(progress: Progress): void;
  /**
   * To be called once, inside the transaction that makes the change: keeps the answer with it, for
   * when the call is sent again. `tell` is asked when all rows and records are written; `seq` is
   * added.
   */
  keep(tell: () => RecordResult<unknown>): void;
  readonly ports: Ports;
}

interface Outcome {
  readonly warnings?: readonly string[] | undefined;
  /** Number of the last journal record the call wrote. */
  readonly seq?: number | undefined;
  /** The node that answered. */
  readonly node?: 'embedded' | 'kubo' | undefined;
}

export interface RecordResult<Data> extends Outcome {
  readonly data: Data;
}

/** Bytes for the caller. `encoding` is how they travel; images and sounds are shown as such. */
export interface Payload {
  readonly bytes: Buffer;
  readonly encoding: 'utf-8' | 'base64';
  readonly mime: string;
  readonly uri: string;
  /** Only for a whole object whose `mime` is image/… or audio/…. */
  readonly show?: 'image' | 'audio' | undefined;
}

/** Where the object stays readable. */
export interface Link {
  readonly uri: string;
  readonly name: string;
  readonly mime: string;
  readonly size: number;
}

export interface ContentResult extends Outcome {
  readonly header: Readonly<Record<string, unknown>>;
  /** Absent for zero bytes, and when the bytes went to `output_path`. */
  readonly payloads?: readonly Payload[] | undefined;
  readonly link?: Link | undefined;
}

export type InputSchema = z.ZodObject;

interface Definition<Input extends InputSchema> {
  readonly name: string;
  readonly title: string;
  readonly toolset: Toolset;
  /** Semantic version. */
  readonly version: string;
  readonly description: string;
  readonly hints: Hints;
  readonly changes: Changes;
  readonly requires?: Requirements;
  readonly deadline: DeadlineClass;
  /**
   * Work not finished after `wait_ms` goes on as a job; the input has the tag `job`. Of content
   * tools only the calls with an `output_path`.
   */
  readonly job?: true;
  readonly input: Input;
  /** Arguments of a typical call. */
  readonly example: z.input<Input>;
}

/** Answers with facts, of which the model sees all. */
export interface RecordDefinition<Input extends InputSchema, Output extends z.ZodType>
  extends Definition<Input> {
  /** Schema of `data` of an ordinary success. Jobs and plans of dry runs are added to it. */
  readonly output: Output;
  /** @throws OpError whose failure the error table turns into a code. */
  run(
    input: z.output<Input>,
    context: ToolContext,
  ): RecordAnswer<Output> | Promise<RecordAnswer<Output>>;
  /**
   * What a call that changed something owes after its transaction: stable storage. Also done before
   * a kept answer is given again, because the daemon may have died in between. Answers the data as
   * they are then.
   */
  afterwards?(
    data: z.input<Output>,
    input: z.output<Input>,
    context: ToolContext,
  ): Promise<z.input<Output>>;
}

/** What a record tool may answer: its data, or with `dry_run` the plan. */
export type RecordAnswer<Output extends z.ZodType> =
  | RecordResult<z.input<Output>>
  | RecordResult<DryRun>;

/** Answers with bytes: a header in one line, then the bytes, then a link. */
export interface ContentDefinition<Input extends InputSchema> extends Definition<Input> {
  /** @throws OpError whose failure the error table turns into a code. */
  run(input: z.output<Input>, context: ToolContext): ContentResult | Promise<ContentResult>;
}

export interface RecordTool<Input extends InputSchema, Output extends z.ZodType>
  extends RecordDefinition<Input, Output> {
  readonly kind: 'record';
}

export interface ContentTool<Input extends InputSchema> extends ContentDefinition<Input> {
  readonly kind: 'content';
}

/** Any tool, its types forgotten: what the registry holds. */
export type Tool = RecordTool<InputSchema, z.ZodType> | ContentTool<InputSchema>;

/** Only for inference. */
export function recordTool<Input extends InputSchema, Output extends z.ZodType>(
  definition: RecordDefinition<Input, Output>,
): RecordTool<Input, Output> {
  return { kind: 'record', ...definition };
}

/** Only for inference. */
export function contentTool<Input extends InputSchema>(
  definition: ContentDefinition<Input>,
): ContentTool<Input> {
  return { kind: 'content', ...definition };
}
