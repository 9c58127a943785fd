/**
 * Toolset vfs, trees into IPFS: vfs_sync_to_ipfs. A tree is published in the own store, and brought
 * to the nodes that shall have it; the answers say how far that is.
 */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { type Name, textOf } from '../base/ids.ts';
import { blockKey, cidOfBytes } from '../content/content.ts';
import type { Outcome, Published, Sent } from '../sync/sync.ts';
import { CONTROL_INO_FROM, climbed, type Inode } from '../vfs/vfs.ts';
import { gateOf } from './content-paths.ts';
import { type Durability, durabilitySchema, replicaObject } from './entries.ts';
import { namingOf, publishNamed } from './named.ts';
import { syncedAfterwards } from './pins.ts';
import { type Asker, about, absent, askerOf, find } from './places.ts';
import type { Plan } from './results.ts';
import * as schema from './schema.ts';
import { type Progress, recordTool, type ToolContext } from './tool.ts';

const COMMON = {
  toolset: 'vfs',
  version: '1.0.0',
  deadline: 'job',
  job: true,
  changes: 'journal',
} as const;

/** Skipped entries that an answer lists. */
const SHOWN = 50;

const toInput = schema.input({
  path: schema.path('a directory inside one mount').default('/ipfs'),
  message: schema.text(0, 1024).optional(),
  pin: schema.flag(true),
  targets: z
    .array(schema.backend())
    .max(8)
    .optional()
    .describe('backends; [] = none; default: what the mount has'),
  unixfs_metadata: schema.flag().describe('mode and mtime in UnixFS too; other CIDs'),
  publish_key: schema.text(1, 64).optional(),
  wait_for: z.enum(['local', 'stored', 'pinned', 'replicated']).default('stored'),
  expected_version: schema.expectedVersion().describe('root CID of the last sync'),
  ...schema.job,
  ...schema.dryRun,
});
type ToInput = z.output<typeof toInput>;

export const vfsSyncToIpfs = recordTool({
  ...COMMON,
  name: 'vfs_sync_to_ipfs',
  title: 'Publish a tree',
  description:
    'Freeze a directory of the tree as a UnixFS root CID and a snapshot record with ' +
    'owners, modes, times, xattrs and links; unchanged trees give the same CIDs. For ' +
    'single files ipfs_add is enough.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: true },
  input: toInput,
  example: { path: '/ipfs', message: 'before the change' },
  output: z.object({
    path: z.string(),
    root_cid: z.string(),
    snapshot_cid: z.string(),
    previous_root_cid: z.string().optional(),
    changed: z.boolean(),
    counts: z.object({
      files: z.int(),
      directories: z.int(),
      symlinks: z.int(),
      bytes: z.int(),
      new_blocks: z.int(),
      reused_blocks: z.int(),
      deleted: z.int(),
    }),
    skipped: z.array(z.object({ path: z.string(), type: z.string() })),
    durability: durabilitySchema,
    ipns_name: z.string().optional(),
  }),
  run: async (input, context) => {
    const asker = askerOf(context, 'vfs_sync_to_ipfs');
    const { path } = input;
    const { publisher } = context.ports.ipfs;
    const at = await directory(asker, path);
    const targets = targetsOf(input, context);
    demandReachable(asker.tool, { ...input, targets }, context);
    const { publish_key: key } = input;
    const naming = key === undefined ? undefined : await namingOf(context, key, asker.tool);
    const request = { ...publishRequest(asker, input, at), targets };
    if (input.dry_run) {
      const plan = about(asker, path, () => publisher.plan(request));
      return { data: { dry_run: true, plan: publicationPlan(path, plan.bytes) } };
    }
    const tell = (published: Published) => {
      const skipped = published.skipped.length;
      return {
        data: publishedObject(context, path, published, at.path),
        seq: published.seq,
        warnings: skipped > SHOWN ? [`skipped ${skipped} in all`] : [],
      };
    };
    // Whoever sends the call again is told the name too, or publishes it then.
    const onRecord = (published: Published) =>
      naming === undefined ? context.keep(() => tell(published)) : undefined;
    const published = await about(asker, path, () =>
      publisher.publish(
        { ...request, onRecord },
        {
          signal: context.signal,
          progress: ({ files: done, filesTotal: total }) => {
            context.progress({ done, total, unit: 'files' });
          },
        },
      ),
    );
    await carried(context, at.path, published, { targets, waitFor: input.wait_for });
    if (naming === undefined) return tell(published);
    return await publishNamed(context, naming, published.root, (ipns_name) => {
      const told = tell(published);
      return { ...told, data: { ...told.data, ipns_name } };
    });
  },
  afterwards: syncedAfterwards,
});

/** A directory of a managed tree, and its path with links followed. */
async function directory(asker: Asker, path: string): Promise<{ inode: Inode; path: Name }> {
  const found = await find(asker, path, true);
  if (found.inode === undefined) throw absent(asker, path);
  if (found.inode.ino >= CONTROL_INO_FROM) {
    const issue = { argument: 'path', reason: 'range', expected: 'a writable tree' };
    throw new OpError('invalid-argument', `${asker.tool} ${path}`, {
      details: { path, issues: [issue] },
    });
  }
  return { inode: found.inode, path: found.path };
}

/** Trees that are kept in no store of that kind. */
const NO_TARGETS: ReadonlySet<string> = new Set(['ipns', 'mfs', 'local', 'memory']);

/**
 * Stores that shall have the tree.
 * @throws OpError not-configured, not-found (backend), invalid-argument.
 */
function targetsOf(input: ToInput, { ports }: ToolContext): readonly string[] {
  const { home, kubo } = ports.ipfs.nodes;
  const { targets = home === 'kubo' ? ['ipfs'] : [] } = input;
  const op = 'vfs_sync_to_ipfs';
  for (const backend of targets) {
    if (NO_TARGETS.has(backend)) {
      const issue = {
        argument: 'targets',
        reason: 'range',
        expected: 'ipfs, s3, storacha, cluster',
      };
      throw new OpError('invalid-argument', op, { details: { backend, issues: [issue] } });
    }
    if (backend === 'ipfs' && kubo !== undefined) continue;
    if (backend === 'ipfs') {
      throw new OpError('not-configured', `${op} to ${backend}`, {
        hint: 'no Kubo is configured: the own store has the tree without a target',
        details: { backend, service: 'kubo' },
      });
    }
    throw new OpError('not-found', `${op} to ${backend}`, {
      hint: 'no backend has that name',
      details: { kind: 'backend', backend },
    });
  }
  return [...new Set(targets)];
}

/** @throws OpError invalid-argument: no store that gets it reaches the rung waited for. */
function demandReachable(
  tool: string,
  {
    wait_for: rung,
    pin,
    targets,
  }: Pick<ToInput, 'wait_for' | 'pin'> & { targets: readonly string[] },
  { ports }: ToolContext,
): void {
  if (targets.length === 0) return;
  if (rung === 'pinned' && !pin) throw schema.combination(tool, 'wait_for', 'stored without pin');
  const { want = Number.POSITIVE_INFINITY } = ports.ipfs.ladder;
  if (rung === 'replicated' && want > targets.length) {
    throw schema.combination(tool, 'wait_for', 'no more than pinned: sync.want is not met');
  }
}

/** Waits until a store has it, if it shall. @throws OpError what all of them failed with, and what was made here. */
async function carried(
  { ports, signal, progress }: ToolContext,
  path: Name,
  published: Published,
  { targets, waitFor }: { readonly targets: readonly string[]; readonly waitFor: string },
): Promise<void> {
  if (waitFor === 'local' || targets.length === 0) return;
  const { root, snapshot, counts } = published;
  const wanted = { tree: blockKey(root), snapshot: blockKey(snapshot) };
  const sending = new Map<string, Sent>();
  const ends = await Promise.all(
    targets.map((target) => {
      const tell = (sent: Sent) => progress(sentSoFar(counts.files, sending.set(target, sent)));
      return ports.ipfs.uploads.outcome({ path, target, wanted, progress: tell }, signal);
    }),
  );
  const [first] = ends;
  if (first?.error !== undefined && ends.every(({ error }) => error !== undefined)) {
    throw asHereOnly(first.error, first.row, published);
  }
}

/** It is published, and in no store yet: whoever is told why is told what was made, too. */
function asHereOnly(error: OpError, row: Outcome['row'], { root, snapshot }: Published): OpError {
  const { failure, details, hint, cause } = error;
  const known = details['partial'] as object | undefined;
  const partial = { ...known, root_cid: root.toString(), snapshot_cid: snapshot.toString() };
  const itself = 'it is published here, and goes there by itself when that can be done';
  const told = row.dueS === undefined ? hint : itself;
  return new OpError(failure, `sync ${textOf(row.path)} to ${row.target}`, {
    ...(told === undefined ? {} : { hint: told }),
    details: { ...details, partial },
    cause,
  });
}

/** Blocks, counted on from the files that were read, because progress never goes back. */
function sentSoFar(files: number, sending: ReadonlyMap<string, Sent>): Progress {
  const all = [...sending.values()];
  const sum = (of: (sent: Sent) => number) => all.reduce((total, sent) => total + of(sent), 0);
  const bytes = sum((sent) => sent.bytes);
  const bytesTotal = sum(({ total }) => total?.bytes ?? 0);
  return {
    done: files + sum((sent) => sent.blocks),
    total: files + sum(({ total, blocks }) => total?.blocks ?? blocks),
    unit: 'items',
    message: `${bytes} of ${bytesTotal} bytes sent to ${[...sending.keys()].join(', ')}`,
  };
}

/** How safe what was published is: here, and at the stores that shall have it. */
function durabilityOfTree(
  { vfs, ipfs }: ToolContext['ports'],
  path: Name,
  seq: number,
): Durability {
  const rows = vfs.core.journal.targets.all().filter((row) => row.path === path);
  const there = rows.map(({ target: store, ...row }) => ({ ...row, store }));
  // The blocks are complete here, and on stable storage.
  const { replicas: _, ...rung } = climbed('local', there, ipfs.ladder.want);
  const replicas = there.map((one) => replicaObject(one, cidOfBytes(one.wanted.tree).toString()));
  return { ...rung, seq, replicas };
}

function publishRequest(asker: Asker, input: ToInput, at: { inode: Inode; path: Name }) {
  const { caller } = asker;
  return {
    root: at.inode.ino,
    path: at.path,
    gate: gateOf(asker),
    actor: () => caller.actor(),
    group: caller.group,
    message: input.message,
    pin: input.pin,
    unixfsMetadata: input.unixfs_metadata,
    expectedRoot: input.expected_version,
  };
}

const publicationPlan = (path: string, bytes: number): Plan => ({
  actions: [{ op: 'sync_to', path, bytes }],
  counts: { sync_to: 1 },
  bytes,
  conflicts: [],
  warnings: [],
});

function publishedObject(
  context: ToolContext,
  path: string,
  { root, snapshot, previousRoot, changed, counts, skipped, seq }: Published,
  treePath: Name,
) {
  const synced = context.ports.vfs.core.journal.superblocks.synced(treePath);
  return {
    path,
    root_cid: root.toString(),
    snapshot_cid: snapshot.toString(),
    ...(previousRoot === undefined ? {} : { previous_root_cid: previousRoot.toString() }),
    changed,
    counts: {
      files: counts.files,
      directories: counts.directories,
      symlinks: counts.symlinks,
      bytes: counts.bytes,
      new_blocks: counts.newBlocks,
      reused_blocks: counts.reusedBlocks,
      deleted: counts.deleted,
    },
    skipped: skipped
      .slice(0, SHOWN)
      .map((entry) => ({ path: `${path}/${textOf(entry.path)}`, type: entry.type })),
    durability: durabilityOfTree(context.ports, treePath, seq ?? synced?.seq ?? 0),
  };
}
