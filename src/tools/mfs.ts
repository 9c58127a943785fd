/**
 * What the tools of MFS share: looking before a change, and the change itself with its record, on
 * either engine.
 *
 * Invariants: what a call refuses it refuses before anything is written, a record too; a dry run
 * looks as the call itself does. In the journal MFS lies at `/mfs`.
 */
import type { CallOptions, MfsEdits, MfsLook, MfsStat, NodeKind } from '../backend/backend.ts';
import { within } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { nameOfText } from '../base/ids.ts';
import { MFS_SHOWN_MS_MAX } from '../base/limits.ts';
import { isPublishedIn } from '../base/published.ts';
import type { CID } from '../content/content.ts';
import type { OpKind } from '../journal/journal.ts';
import type { AskedNode } from '../node/node.ts';
import { changeOutside } from './outside.ts';
import { demandOwner } from './owner.ts';
import { placeOfMfs } from './paths.ts';
import { type PinRecord, recordPin } from './pins.ts';
import type { DryRun, Plan } from './results.ts';
import type { RecordResult, ToolContext } from './tool.ts';

/** One look at the tree before it is changed. */
export interface Look {
  readonly mfs: MfsLook;
  readonly op: string;
  readonly signal: AbortSignal;
}

export const isContentPath = (path: string): boolean => path.startsWith('/ipfs/');

/** The directory that holds a path. */
const parentOf = (path: string): string => path.slice(0, path.lastIndexOf('/')) || '/';

export const fault = (
  failure: ConstructorParameters<typeof OpError>[0],
  { op }: Pick<Look, 'op'>,
  path: string,
  hint?: string,
): OpError =>
  new OpError(failure, `${op} ${path}`, {
    ...(hint === undefined ? {} : { hint }),
    details: { path },
  });

/** @throws OpError not-found. */
export async function demandThere(look: Look, path: string): Promise<MfsStat> {
  const there = await look.mfs.stat(path, look);
  if (there === undefined) throw fault('not-found', look, path);
  return there;
}

/** @throws OpError invalid-argument: it is the root. */
export function demandNotRoot(look: Look, path: string): void {
  if (path === '/') throw fault('invalid-argument', look, path, 'name something below /');
}

/**
 * Whether there is a directory for a name, or one can be made.
 * @throws OpError not-found, not-directory.
 */
export async function demandParent(look: Look, path: string, parents: boolean): Promise<void> {
  const above = parentOf(path);
  const there = await look.mfs.stat(above, look);
  if (there?.type === 'directory') return;
  if (there !== undefined) throw fault('not-directory', look, above);
  if (!parents) throw fault('not-found', look, above);
  await demandParent(look, above, parents);
}

/**
 * Whether a name may be given to something else.
 * @returns what is there and would be replaced.
 * @throws OpError exists, is-directory, and as `demandParent`.
 */
export async function demandFree(
  look: Look,
  path: string,
  { parents, overwrite }: { readonly parents: boolean; readonly overwrite: boolean },
): Promise<MfsStat | undefined> {
  demandNotRoot(look, path);
  const there = await look.mfs.stat(path, look);
  if (there === undefined) {
    await demandParent(look, path, parents);
    return undefined;
  }
  if (!overwrite) throw fault('exists', look, path);
  if (there.type === 'directory') throw fault('is-directory', look, path);
  return there;
}

/** Everything below a directory; itself too. */
export async function countedEntries(look: Look, path: string): Promise<number> {
  let count = 1;
  for (const { name, type } of await look.mfs.ls(path, look)) {
    const below = path === '/' ? `/${name}` : `${path}/${name}`;
    count += type === 'directory' ? await countedEntries(look, below) : 1;
  }
  return count;
}

/**
 * What is published has private files in it, and whoever has the CID of the root has all of it.
 * @throws OpError denied.
 */
export function demandOpen(context: ToolContext, op: string, path: string): void {
  if (path === '/' || isPublishedIn(path)) demandOwner(context, op);
}

interface MfsChange<T, Data> {
  readonly op: string;
  readonly kind: OpKind;
  /** In MFS; of two ends the destination. */
  readonly path: string;
  readonly source?: string | undefined;
  /** Bytes that are given. */
  readonly bytes?: number | undefined;
  /** To disk before the answer. */
  readonly flush: boolean;
  /** What else the record keeps of it. */
  readonly after: Readonly<Record<string, unknown>>;
  /** Looks, and refuses; what it gives is the answer of a call that has nothing to do. */
  readonly check: (look: Look) => Promise<Data | undefined>;
  readonly make: (mfs: MfsEdits, options: CallOptions) => Promise<T>;
  /** What is at the path then, and was before. */
  readonly outcome: (made: T) => { readonly cid?: CID; readonly oldCid?: CID | undefined };
  readonly tell: (made: T) => Data;
}

interface MfsInput {
  readonly node?: AskedNode;
  readonly dry_run?: boolean | undefined;
}

/** Makes a change with its record; of a dry run only the plan. @throws OpError denied. */
export async function changeMfs<T, Data>(
  context: ToolContext,
  { node: asked, dry_run: dryRun = false }: MfsInput,
  change: MfsChange<T, Data>,
): Promise<RecordResult<Data> | RecordResult<DryRun>> {
  const { ports, signal } = context;
  const { op, check, make, tell, outcome } = change;
  for (const path of [change.path, change.source ?? change.path]) demandOpen(context, op, path);
  const node = ports.ipfs.nodes.state(asked, op);
  const kind: NodeKind = node.kind;
  const record = recordOf(change);
  const plan = (isChange: boolean) => ({
    data: { dry_run: true as const, plan: planOf(change, isChange) },
    node: kind,
  });
  if (node.kind === 'kubo') {
    const settled = await check({ mfs: node.mfs, op, signal });
    if (dryRun) return plan(settled === undefined);
    if (settled !== undefined) return { data: settled, node: kind };
    const answer = await changeOutside(context, {
      record,
      make: () => make(node.mfs, { signal }),
      outcome,
      tell: (made) => ({ data: tell(made), node: kind }),
    });
    await shown(context, kind);
    return answer;
  }
  const { journal } = ports.vfs.core;
  const answer = await node.mfs.edit(op, signal, async (draft) => {
    const settled = await check({ mfs: draft, op, signal });
    if (settled !== undefined) return dryRun ? plan(false) : { data: settled, node: kind };
    const made = await make(draft, { signal });
    if (dryRun) return plan(true);
    await draft.prepare({ flush: change.flush, signal });
    const told = { data: tell(made), node: kind };
    const seq = journal.group(() => {
      context.keep(() => told);
      draft.commit();
      return journal.commit((tx) => recordPin(context, tx, { ...record, ...outcome(made) }));
    });
    return { ...told, seq };
  });
  if (!dryRun) await shown(context, kind);
  return answer;
}

/** Mounts of MFS show it by then; one that cannot says why in its state. */
async function shown({ ports, signal }: ToolContext, kind: NodeKind): Promise<void> {
  const { nodes, mfsTrees } = ports.ipfs;
  if (kind !== nodes.home) return;
  const patience = within(ports.clock, MFS_SHOWN_MS_MAX, signal);
  await mfsTrees.settle(patience).catch(() => undefined);
}

const recordOf = <T, Data>(change: MfsChange<T, Data>): PinRecord => {
  const { kind, path, source, bytes, after } = change;
  return {
    kind,
    cid: undefined,
    path: nameOfText(placeOfMfs(path)),
    oldPath: source === undefined ? undefined : nameOfText(placeOfSource(source)),
    size: bytes,
    after,
  };
};

const placeOfSource = (source: string): string =>
  isContentPath(source) ? source : placeOfMfs(source);

function planOf<T, Data>(change: MfsChange<T, Data>, isChange: boolean): Plan {
  const { kind, path, source, bytes = 0 } = change;
  const action = {
    op: kind,
    ...(source === undefined ? { path } : { path: source, destination: path }),
    backend: 'mfs',
    ...(bytes === 0 ? {} : { bytes }),
  };
  const counts: Readonly<Record<string, number>> = isChange ? { [kind]: 1 } : {};
  return { actions: isChange ? [action] : [], counts, bytes, conflicts: [], warnings: [] };
}
