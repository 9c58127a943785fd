/** The links of a DAG, depth first, in the same order every time, from blocks that were verified. */
import { type Failure, OpError } from '../base/errors.ts';
import { turn } from '../base/turn.ts';
import type { CID, Dag } from '../content/content.ts';

/** Links told before other work gets its turn. */
const REFS_PER_TURN = 64;
/** What keeps one block from being read, and not the walk from going on. */
const PASSED_OVER: ReadonlySet<Failure> = new Set(['content-missing', 'integrity', 'unsupported']);

export type Ref =
  | { readonly cid: CID; readonly parent: CID }
  /** A block whose links nobody can tell. */
  | { readonly failed: CID; readonly failure: Failure };

export interface RefsOptions {
  /** Links below the first level too. */
  readonly recursive: boolean;
  /** Each CID once. */
  readonly unique: boolean;
  /** Levels below the root; 1: its own links. */
  readonly depthMax: number;
}

/** A block whose links are being told. */
interface Step {
  readonly cid: CID;
  readonly links: readonly CID[];
  /** Of the links: 1 for those of the root. */
  readonly depth: number;
  next: number;
}

/** @throws what reading the root throws; not-running, timeout and the like of any block. */
export async function* refsOf(
  dag: Dag,
  root: CID,
  { recursive, unique, depthMax }: RefsOptions,
  signal: AbortSignal,
): AsyncGenerator<Ref> {
  const levels = recursive ? depthMax : 1;
  /** How far up each was met, for whoever wants each once. */
  const known = new Map<string, number>();
  const steps: Step[] = [{ cid: root, links: await dag.links(root, signal), depth: 1, next: 0 }];
  let count = 0;
  for (let step = steps.at(-1); step !== undefined; step = steps.at(-1)) {
    signal.throwIfAborted();
    const link = step.links[step.next];
    step.next += 1;
    if (link === undefined) {
      steps.pop();
      continue;
    }
    count += 1;
    if (count % REFS_PER_TURN === 0) await turn();
    const { depth } = step;
    const knownAt = unique ? known.get(link.toString()) : undefined;
    if (knownAt !== undefined && knownAt <= depth) continue;
    if (unique) known.set(link.toString(), depth);
    // One that was met further down may have been too far down for its links.
    if (knownAt === undefined) yield { cid: link, parent: step.cid };
    if (depth >= levels) continue;
    const links = await linksOrFailure(dag, link, signal);
    if (typeof links === 'string') yield { failed: link, failure: links };
    else steps.push({ cid: link, links, depth: depth + 1, next: 0 });
  }
}

async function linksOrFailure(
  dag: Dag,
  cid: CID,
  signal: AbortSignal,
): Promise<readonly CID[] | Failure> {
  try {
    return await dag.links(cid, signal);
  } catch (error) {
    if (error instanceof OpError && PASSED_OVER.has(error.failure)) return error.failure;
    throw error;
  }
}
