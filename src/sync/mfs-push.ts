/**
 * What was changed in a tree of kind `mfs`, brought to the mutable tree of the node.
 *
 * Invariants: what is to be put is durable here, with a row that says so, before the node hears of it;
 * a name is changed there only when it is what it was last; each step may be done twice; nothing goes
 * there before all that is put is whole there.
 */
import type { MfsStat } from '../backend/backend.ts';
import { assert } from '../base/assert.ts';
import { asOpError, type OpError } from '../base/errors.ts';
import { isDirectory } from '../base/posix.ts';
import { blockKey, CONTENT_PROFILE, carOf, cidOfBytes, parseCid } from '../content/content.ts';
import type { SeenRow } from '../journal/journal.ts';
import { type Assembled, type AssemblePorts, assemble } from './assemble.ts';
import { syncContents } from './durable.ts';
import { type FreezePorts, type Frozen, freeze, unfreeze } from './freeze.ts';
import type { MfsChange } from './mfs-changes.ts';
import type { MfsEditing, MfsEnd } from './mfs-end.ts';
import { isSameKey, lastOf, rowToward, settledRow, stateOf } from './mfs-judge.ts';
import { counted, type Lack, missingBlocks } from './missing.ts';

export interface PushPorts extends AssemblePorts, FreezePorts {
  readonly end: MfsEnd;
  /** What the bytes pass on their way: a limit of bandwidth. */
  readonly through?: ((bytes: AsyncIterable<Uint8Array>) => AsyncIterable<Uint8Array>) | undefined;
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
}

/** A change, and what it brings. */
export interface Step {
  readonly change: MfsChange;
  readonly built: { readonly frozen: Frozen; readonly assembled: Assembled } | undefined;
}

export interface PushResult {
  /** Rows of what the node said it has. */
  readonly brought: readonly SeenRow[];
  /** Why something could not be brought, though the node answers. */
  readonly error: OpError | undefined;
}

/** Takes hold of what the changes bring. With nothing in between. */
export function hold(
  ports: AssemblePorts & FreezePorts,
  changes: readonly MfsChange[],
): readonly Held[] {
  const gate = { demandReadable: () => undefined, seesTrusted: true };
  return ports.journal.commit(() =>
    changes.map((change) => {
      const { here, kind } = change;
      if (kind !== 'put' || here === undefined) return { change, frozen: undefined };
      return { change, frozen: freeze(ports, here.ino, { gate, dryRun: false }) };
    }),
  );
}

export interface Held {
  readonly change: MfsChange;
  readonly frozen: Frozen | undefined;
}

/**
 * Brings changes that were taken hold of to the directory `source` of MFS.
 * @throws OpError what asking the node throws; no-space, integrity, io; the signal's reason.
 */
export const push = (
  ports: PushPorts,
  held: readonly Held[],
  { source, signal }: { readonly source: string; readonly signal: AbortSignal },
): Promise<PushResult> => new Push(ports, source, signal).run(held);

class Push {
  readonly #ports: PushPorts;
  readonly #source: string;
  readonly #signal: AbortSignal;
  readonly #done: Step[] = [];
  /** Of what is to be put, what could not be. */
  readonly #missed: Step[] = [];
  #error: OpError | undefined;

  constructor(ports: PushPorts, source: string, signal: AbortSignal) {
    this.#ports = ports;
    this.#source = source;
    this.#signal = signal;
  }

  async run(held: readonly Held[]): Promise<PushResult> {
    const steps = await this.#build(held);
    await this.#intend(steps);
    await this.#send(steps);
    const skipped = new Set<Step>(steps);
    await this.#ports.end.edit(this.#signal, async (edits) => {
      this.#done.length = 0;
      this.#missed.length = 0;
      for (const step of steps) {
        if (await this.#step(edits, step)) this.#done.push(step);
        else if (step.change.kind !== 'rm') this.#missed.push(step);
      }
    });
    for (const step of this.#done) skipped.delete(step);
    return { error: this.#error, brought: this.#note(this.#done, [...skipped]) };
  }

  async #build(held: readonly Held[]): Promise<readonly Step[]> {
    const options = { profile: CONTENT_PROFILE, metadata: false, dryRun: false } as const;
    const run = { signal: this.#signal, progress: () => undefined };
    try {
      const steps: Step[] = [];
      for (const { change, frozen } of held) {
        const built = frozen && {
          ...{ frozen, assembled: await assemble(this.#ports, frozen, options, run) },
        };
        if (built !== undefined) await this.#keep(built.assembled);
        steps.push({ change, built });
      }
      return steps;
    } catch (error) {
      for (const { frozen } of held) if (frozen !== undefined) unfreeze(this.#ports, frozen);
      throw error;
    }
  }

  #keep(assembled: Assembled): Promise<void> {
    return syncContents(this.#ports, assembled.contents, this.#signal);
  }

  /** The rows of all that is to be, before the node hears of it. */
  async #intend(steps: readonly Step[]): Promise<void> {
    const { journal } = this.#ports;
    journal.commit(() => {
      for (const step of steps) for (const row of rowsOf(step, false)) journal.mfsSeen.put(row);
    });
    await this.#ports.syncJournal();
  }

  async #send(steps: readonly Step[]): Promise<void> {
    const pairs = steps.flatMap(({ change, built }) => {
      if (built === undefined) return [];
      const base = lastOf(change.row)?.cid;
      return [{ root: built.assembled.root.cid, base: base && cidOfBytes(base) }];
    });
    await this.#sendAll(pairs);
  }

  /** What is not here came from there. */
  async #sendAll(pairs: readonly Lack[]): Promise<void> {
    const { dag, end, through = (bytes) => bytes } = this.#ports;
    const [first] = pairs;
    if (end.send === undefined || first === undefined) return;
    const sent = { blocks: 0, bytes: 0 };
    const signal = this.#signal;
    const blocks = async function* () {
      for (const pair of pairs) yield* missingBlocks(dag, pair, signal);
    };
    const car = carOf([first.root], counted(blocks(), sent));
    await end.send(through(car), () => sent, { signal: this.#signal });
  }

  /** Whether the name is there what it shall be. */
  async #step(edits: MfsEditing, step: Step): Promise<boolean> {
    this.#signal.throwIfAborted();
    const { change, built } = step;
    const path = pathOf(this.#source, change.path);
    try {
      const there = await edits.stat(path);
      const wanted = built?.assembled.root.cid;
      const key = there && blockKey(there.cid);
      const isThere = wanted === undefined ? false : key?.equals(blockKey(wanted)) === true;
      if (change.kind === 'rm' && there === undefined) return true;
      if (!isThere && !isSameKey(key, lastOf(change.row)?.cid)) return false;
      if (!isThere && !this.#mayGo(change, there)) return false;
      if (change.kind === 'rm') await edits.remove(path);
      else if (change.kind === 'mkdir') {
        if (there !== undefined) await edits.remove(path);
        await edits.mkdir(path);
      } else if (wanted !== undefined) {
        if (!isThere) await edits.link(path, wanted, there);
        // From here on the node keeps it; what was collected before comes again.
        if (!(await edits.isWhole(path))) await this.#sendAll([{ root: wanted, base: undefined }]);
      }
      return true;
    } catch (thrown) {
      const error = asOpError(thrown, `bring ${path}`);
      if (this.#signal.aborted || !isOfOneName(error)) throw error;
      this.#error ??= error;
      return false;
    }
  }

  /** Whether what is there is nothing that could not be put: it may be the only copy. */
  #mayGo({ kind }: MfsChange, there: MfsStat | undefined): boolean {
    if (this.#missed.length === 0 || there === undefined) return true;
    if (kind === 'rm' || there.type === 'directory') return false;
    const key = blockKey(there.cid);
    return !this.#missed.some((step) =>
      [...rowsOf(step, true)].some(({ next }) => isSameKey(next?.to?.cid, key)),
    );
  }

  #note(done: readonly Step[], skipped: readonly Step[]): readonly SeenRow[] {
    const { journal } = this.#ports;
    const brought = done.flatMap((step) => [...rowsOf(step, true)]);
    journal.commit(() => {
      for (const row of brought) journal.mfsSeen.put(row);
      // As if it had never been tried: the next look finds out what is there.
      for (const { change, built } of skipped) {
        for (const { parent, name } of built === undefined ? [] : below(built, false)) {
          journal.mfsSeen.delete(parent, name);
        }
        journal.mfsSeen.put(change.row ?? settledRow(change, undefined));
      }
    });
    return brought;
  }
}

/** Not of the node as a whole: the others are tried. A change may be undone by somebody's at once. */
const isOfOneName = ({ failure }: OpError): boolean =>
  [
    'not-found',
    'exists',
    'not-directory',
    'is-directory',
    'content-missing',
    'unsupported',
    'response-invalid',
    'api-error',
  ].includes(failure);

/** `/` and `/a` → `/a`. */
const pathOf = (source: string, path: string): string =>
  source === '/' ? path : `${source}${path}`;

/** What `mkdir` makes there. */
const EMPTY_DIRECTORY = blockKey(
  parseCid('bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354'),
);

/** The row of a name that is brought, and of all that comes with it. */
function* rowsOf({ change, built }: Step, isDone: boolean): Generator<SeenRow> {
  const { here, row, kind } = change;
  if (kind === 'rm') {
    yield rowToward(change, row, { isDone, to: undefined });
    return;
  }
  assert(here !== undefined, 'what is put is here');
  const cid = built === undefined ? EMPTY_DIRECTORY : blockKey(built.assembled.root.cid);
  const [top] = built?.frozen.entries ?? [];
  yield rowToward(change, row, { isDone, to: stateOf(cid, top?.row ?? here) });
  if (built !== undefined) yield* below(built, isDone);
}

/** Names in directories that came as a whole: nothing was there before. */
function* below(
  { frozen, assembled }: NonNullable<Step['built']>,
  isDone: boolean,
): Generator<SeenRow> {
  for (const { row: directory, children } of frozen.entries) {
    if (!isDirectory(directory.mode)) continue;
    for (const child of children) {
      const parts = assembled.built.get(child);
      if (parts === undefined) continue;
      const to = stateOf(blockKey(parts.cid), child.row);
      const { ino: parent } = directory;
      yield rowToward({ parent, name: child.name }, undefined, { isDone, to });
    }
  }
}
