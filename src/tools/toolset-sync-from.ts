/**
 * Trees of content merged into a directory, the tool vfs_sync_from_ipfs; or restored to it whatever was
 * changed here, the command snapshot_restore.
 */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { type Ino, type Name, nameOfText, textOf } from '../base/ids.ts';
import { isDirectory, R_OK } from '../base/posix.ts';
import type { CID } from '../content/content.ts';
import {
  type OnConflict,
  placeOf,
  type Restored,
  type Conflict as SyncConflict,
} from '../sync/sync.ts';
import { CONTROL_INO_FROM, isPermitted } from '../vfs/vfs.ts';
import { gateOf, located } from './content-paths.ts';
import { type Asker, about, askerOf, find } from './places.ts';
import { planOf } from './plans.ts';
import { type Conflict, conflictSchema } from './results.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';

/** Conflicts, and devices left out, that an answer lists. */
const SHOWN = 50;

const fields = {
  ipfs_path: schema.ipfsPath('UnixFS directory or snapshot record'),
  path: schema.path('the directory that shall show it'),
  on_conflict: schema.onConflict().default('fail'),
  apply_deletions: schema.flag(true).describe('remove what the last sync had and this lacks'),
  parents: schema.parents(),
  expected_version: schema.expectedVersion().describe('root CID of the last sync'),
  ...schema.node,
  ...schema.job,
  ...schema.dryRun,
};
const fromInput = schema.input(fields);
type FromInput = z.output<typeof fromInput>;

const terms = {
  toolset: 'vfs',
  version: '1.0.0',
  deadline: 'job',
  job: true,
  changes: 'journal',
  hints: { readOnly: false, destructive: true, idempotent: false, openWorld: true },
  example: {
    ipfs_path: 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354',
    path: '/ipfs/restored',
  },
  output: z.object({
    path: z.string(),
    root_cid: z.string(),
    base_cid: z.string().optional(),
    counts: z.object({
      created: z.int(),
      updated: z.int(),
      deleted: z.int(),
      unchanged: z.int(),
      conflicts: z.int(),
    }),
    bytes: z.int(),
    conflicts: z.array(conflictSchema),
    seq_first: z.int(),
    seq_last: z.int(),
  }),
} as const;

export const vfsSyncFromIpfs = recordTool({
  ...terms,
  name: 'vfs_sync_from_ipfs',
  title: 'Restore a tree',
  description:
    'Merge a UnixFS directory or a snapshot record into a directory of the tree, verified, ' +
    'at one moment or not at all. What one side changed since both had the same is taken; of ' +
    'what both changed on_conflict decides, undoably.',
  input: fromInput,
  run: (input, context) => {
    const { on_conflict: policy } = input;
    return applied('vfs_sync_from_ipfs', input, context, { how: 'merge', policy });
  },
});

/** What `kitfs snapshot restore` calls; no list of tools has it. */
export const snapshotRestore = recordTool({
  ...terms,
  name: 'snapshot_restore',
  title: 'Restore a snapshot',
  description:
    'Make a directory what a snapshot says, also where it was only changed here since the last sync: ' +
    'that is kept first, as a snapshot.',
  input: schema.input({
    ...fields,
    on_conflict: z.enum(['fail', 'keep_remote']).default('keep_remote'),
    keep_first: schema.flag(true).describe('make a snapshot of what is there'),
  }),
  run: (input, context) => {
    const { on_conflict: policy, keep_first: keepsFirst } = input;
    const how = { how: 'restore', policy } as const;
    return applied('snapshot_restore', input, context, how, keepsFirst);
  },
});

async function applied(
  tool: string,
  input: FromInput,
  context: ToolContext,
  conflicts: OnConflict,
  keepsFirst = false,
) {
  const asker = askerOf(context, tool);
  const { path } = input;
  const { signal, ports } = context;
  const { cid, reach } = await located(context, input, asker.tool);
  await reach.stat(cid, signal);
  const at = destination(asker, input);
  const onRecord = (made: Restored) => context.keep(() => toldOf(asker, path, made));
  const isKept = keepsFirst && conflicts.policy !== 'fail' && !input.dry_run;
  const restored = await about(asker, path, async () => {
    const kept = isKept ? await keepFirst(asker, context, at, input) : undefined;
    const expected_version = kept ?? input.expected_version;
    const wanted = { ...at, cid, conflicts, input: { ...input, expected_version }, onRecord };
    return restore(asker, context, wanted);
  });
  await ports.vfs.core.invalidator.settled();
  return toldOf(asker, path, restored);
}

/**
 * A snapshot of a directory that something is in, here and in no store: the way back. Without a pin, because
 * it stays as long as other snapshots do.
 * @returns the root of the last sync, if another one was expected before.
 * @throws OpError as `Publisher.publish`, with a hint how to do without.
 */
async function keepFirst(
  asker: Asker,
  { ports, signal }: ToolContext,
  { existing: root, missing, treePath }: Destination,
  { path, expected_version: expectedRoot }: FromInput,
): Promise<string | undefined> {
  const { caller, vfs } = asker;
  if (missing.length > 0 || vfs.core.journal.dentries.isEmpty(root)) return undefined;
  const message = 'before another one was restored';
  const how = { message, pin: false, unixfsMetadata: false, expectedRoot };
  const who = { gate: gateOf(asker), actor: () => caller.actor(), group: caller.group };
  try {
    const request = { root, path: treePath, ...who, ...how };
    const kept = await ports.ipfs.publisher.publish(request, { signal, progress: () => {} });
    return expectedRoot === undefined ? undefined : kept.root.toString();
  } catch (error) {
    signal.throwIfAborted();
    if (!(error instanceof OpError) || error.failure === 'version-conflict') throw error;
    const hint = `${path} cannot be kept first: with --discard what was not published is lost`;
    throw new OpError(error.failure, error.op, { hint, details: error.details, cause: error });
  }
}

/** The answer: what was done or, when nothing was recorded, the plan. */
function toldOf(asker: Asker, path: string, restored: Restored) {
  const { seq, rehearsed } = restored;
  const conflicts = conflictsOf(asker, path, restored.conflicts);
  const warnings = restored.skipped.slice(0, SHOWN).map((name) => {
    return `left out ${path}/${textOf(name)}: only root makes devices`;
  });
  if (seq === undefined) {
    const plan = { ...planOf(rehearsed, warnings), conflicts };
    return { data: { dry_run: true as const, plan } };
  }
  return { data: restoredObject(path, restored, conflicts, seq), seq: seq.last, warnings };
}

interface Destination {
  /** The deepest directory on the way that exists. */
  readonly existing: Ino;
  readonly missing: readonly Name[];
  /** Links followed as far as there is something. */
  readonly treePath: Name;
}

/** @throws OpError not-found, not-directory, read-only; as resolving does. */
function destination(asker: Asker, { path, parents }: FromInput): Destination {
  const missing: Name[] = [];
  for (let at = path; ; at = at.slice(0, at.lastIndexOf('/')) || '/') {
    const found = foundAt(asker, at, parents);
    if (found === undefined) {
      missing.unshift(nameOfText(at.slice(at.lastIndexOf('/') + 1)));
      continue;
    }
    if (found.inode === undefined) missing.unshift(found.name);
    const existing = found.inode?.ino ?? found.parent;
    if (existing >= CONTROL_INO_FROM) throw readOnly(asker, path);
    const row = asker.vfs.core.inodes.get(existing);
    if (!isDirectory(row.mode)) {
      throw new OpError('not-directory', `${asker.tool} ${path}`, { details: { path } });
    }
    about(asker, path, () => asker.vfs.core.demandWritable(row, asker.tool));
    const behind = found.inode === undefined ? missing.slice(1) : missing;
    return { existing, missing, treePath: [found.path, ...behind].join('/') as Name };
  }
}

/** undefined: a directory above it is missing, and may be made. */
function foundAt(asker: Asker, path: string, parents: boolean) {
  try {
    const found = find(asker, path, true);
    if (!(found instanceof Promise)) return found;
    found.catch(() => {}); // Whatever it means, it cannot be changed.
    throw readOnly(asker, path);
  } catch (error) {
    const isMissing = error instanceof OpError && error.failure === 'not-found';
    if (parents && isMissing) return undefined;
    throw error;
  }
}

const readOnly = ({ tool }: Asker, path: string): OpError =>
  new OpError('read-only', `${tool} ${path}`, {
    hint: 'content by CID and control files never change',
    details: { path },
  });

async function restore(
  asker: Asker,
  context: ToolContext,
  wanted: Destination & {
    readonly cid: CID;
    readonly conflicts: OnConflict;
    readonly input: FromInput;
    readonly onRecord: (restored: Restored) => void;
  },
): Promise<Restored> {
  const { vfs, caller } = asker;
  const { cid, existing, missing, treePath, conflicts, input, onRecord } = wanted;
  const request = {
    cid,
    existing,
    missing,
    path: treePath,
    conflicts,
    applyDeletions: input.apply_deletions,
    gate: gateOf(asker),
    writer: { write: (plan: Parameters<typeof vfs.graft>[1]) => vfs.graft(caller, plan) },
    isRoot: caller.uid === 0,
    actor: () => caller.actor(),
    group: caller.group,
    isAlone: input.node === 'embedded',
    placedAt: placedAt(context, input, treePath),
    expectedRoot: input.expected_version,
    dryRun: input.dry_run,
    onRecord,
  };
  try {
    return await context.ports.ipfs.restorer.restore(request, {
      signal: context.signal,
      progress: ({ bytes: done, bytesTotal: total }) => {
        context.progress({ done, total, unit: 'bytes' });
      },
    });
  } catch (error) {
    throw withConflicts(asker, asWithNode(error), input.path);
  }
}

/** What the node has at the place of the path; whoever cannot say has nothing there. */
function placedAt({ ports, signal }: ToolContext, { node }: FromInput, path: Name) {
  const { kubo } = ports.ipfs.nodes;
  if (kubo === undefined || node === 'embedded') return undefined;
  return async (target: string): Promise<CID | undefined> => {
    if (target !== 'ipfs') return undefined;
    try {
      return (await kubo.mfs.stat(placeOf(path), { signal }))?.cid;
    } catch {
      signal.throwIfAborted();
      return undefined;
    }
  };
}

/** What nobody could be asked for is not missing. */
function asWithNode(error: unknown): unknown {
  if (!(error instanceof OpError) || error.failure !== 'content-missing') return error;
  const { hint, details, op } = error;
  if (details['reason'] !== 'not-running') return error;
  return new OpError('not-running', op, { ...(hint === undefined ? {} : { hint }), cause: error });
}

/** The conflicts of a refusal as the contract shows them. */
function withConflicts(asker: Asker, error: unknown, path: string): unknown {
  if (!(error instanceof OpError) || error.failure !== 'sync-conflict') return error;
  const found = error.details['conflicts'] as readonly SyncConflict[];
  const partial = { conflicts: conflictsOf(asker, path, found), count: found.length };
  const { hint } = error;
  return new OpError('sync-conflict', `${asker.tool} ${path}`, {
    ...(hint === undefined ? {} : { hint }),
    details: { path, partial },
  });
}

/** CIDs of what the caller may not read are left out. */
function conflictsOf(
  { vfs, caller }: Asker,
  path: string,
  conflicts: readonly SyncConflict[],
): Conflict[] {
  return conflicts.slice(0, SHOWN).map((conflict) => {
    const { path: at, what, localIno, localCid, remoteCid, baseCid, resolution } = conflict;
    const { keptAs } = conflict;
    const local = localIno === undefined ? undefined : vfs.core.inodes.find(localIno);
    const isTold = local === undefined ? caller.uid === 0 : isPermitted(caller, local, R_OK);
    return {
      path: `${path}/${textOf(at)}`,
      what,
      ...(isTold && localCid !== undefined ? { local_cid: localCid.toString() } : {}),
      ...(remoteCid === undefined ? {} : { remote_cid: remoteCid.toString() }),
      ...(isTold && baseCid !== undefined ? { base_cid: baseCid.toString() } : {}),
      resolution,
      ...(keptAs === undefined ? {} : { kept_as: `${path}/${textOf(keptAs)}` }),
    };
  });
}

const restoredObject = (
  path: string,
  { root, base, counts, bytes }: Restored,
  conflicts: Conflict[],
  seq: NonNullable<Restored['seq']>,
) => ({
  path,
  root_cid: root.toString(),
  ...(base === undefined ? {} : { base_cid: base.toString() }),
  counts: { ...counts },
  bytes,
  conflicts,
  seq_first: seq.first,
  seq_last: seq.last,
});
