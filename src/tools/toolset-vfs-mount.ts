/**
 * Toolset vfs, the mount table: vfs_mount, vfs_list_mounts; the way back is in
 * `toolset-vfs-unmount.ts`. Who may change it is the owner of the root: the user the daemon runs as,
 * or uid 0.
 */
import { z } from 'zod';
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import type { TreePlan } from '../base/graft.ts';
import { type Ino, type Name, nameOfText, ROOT_INO, textOf } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import { isPublishedIn } from '../base/published.ts';
import { cidOfBytes } from '../content/content.ts';
import {
  CONTROL_INO_FROM,
  fillCopy,
  type Inode,
  type Mounted,
  mount,
  plantInside,
  type Staged,
  stage,
  unstage,
  type Vfs,
} from '../vfs/vfs.ts';
import { withoutName } from './content-paths.ts';
import { parseMode } from './entries.ts';
import { isOwner } from './owner.ts';
import { type IpfsPath, parseIpfsPath } from './paths.ts';
import { type Asker, about, askerOf, change, find } from './places.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';
import { localPathOf } from './toolset-vfs.ts';

const COMMON = { toolset: 'vfs', version: '1.0.0' } as const;
const ROOT_MODE = 0o755;
const NAMES_POINT = '/ipns';

/** Backends that are always there, by name. Of the others only the name is known. */
const KINDS: Readonly<Record<string, { readonly kind: string; readonly volatile: boolean }>> = {
  ipfs: { kind: 'ipfs', volatile: false },
  ipns: { kind: 'ipns', volatile: false },
  mfs: { kind: 'mfs', volatile: false },
  memory: { kind: 'memory', volatile: true },
};
/** Built in by name, and of no use until they are configured. */
const UNCONFIGURED: ReadonlySet<string> = new Set(['local']);

/** What a tree of these kinds can do. */
const CAPABILITIES = ['posix', 'hardlinks', 'symlinks', 'special-files', 'xattrs', 'history'];
/** What MFS holds has one name, and is a file, a directory or a link. */
const MFS_CAPABILITIES = ['posix', 'symlinks', 'xattrs', 'history'];

const options = z.strictObject({
  refresh_s: schema.int(1, 86_400).default(60),
  cache_bytes: schema.int(0).optional(),
  sync_ms: schema.int(0, 86_400_000).optional().describe('default: sync.debounce_ms'),
  uid: schema.int(0, 2 ** 32 - 2).optional(),
  gid: schema.int(0, 2 ** 32 - 2).optional(),
  umask: schema.mode().optional(),
});

const mountShape = {
  mount_id: z.string(),
  mount_point: z.string(),
  backend: z.string(),
  kind: z.string(),
  source: z.string(),
  read_only: z.boolean(),
  local_path: z.string().optional(),
  root_cid: z.string().optional(),
  capabilities: z.array(z.string()),
  state: z.enum(['ready', 'degraded']),
};

const mountInput = schema.input({
  backend: schema.backend(),
  source: schema.source(),
  mount_point: schema.path(),
  read_only: schema.flag(),
  parents: schema.parents(true),
  options: options.prefault({}),
  ...schema.timeout,
});
type MountInput = z.output<typeof mountInput>;

export const vfsMount = recordTool({
  ...COMMON,
  deadline: 'remote',
  name: 'vfs_mount',
  title: 'Mount a tree',
  description:
    'Show a tree of a backend at a mount point, also in the live kernel mount: ipfs (empty, ' +
    'or started from an IPFS path), ipns (read-only, follows a name), mfs (a directory of ' +
    'MFS, both ways) or memory (gone at unmount). The same mount again is no error.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: true },
  changes: 'journal',
  requires: { backends: ['ipfs', 'ipns', 'mfs', 'memory'] },
  input: mountInput,
  example: { backend: 'memory', mount_point: '/scratch' },
  output: z.object({
    ...mountShape,
    options: z.record(z.string(), z.unknown()),
    existed: z.boolean(),
  }),
  run: async (given, context) => {
    const asker = askerOf(context, 'vfs_mount');
    const { mount_point: point } = given;
    demandOwner(asker, point);
    const { kind, volatile } = kindOf(asker, given);
    const input = { ...given, source: sourceOf(asker.tool, kind, given) };
    const existing = identicalMount(asker, input);
    if (existing !== undefined) {
      return {
        data: { ...mountedObject(context, existing), ...optionsOf(existing), existed: true },
        warnings: withoutEffect(input, context),
      };
    }
    if (kind === 'ipns' && input.source !== '') return follow(asker, input, context);
    if (kind === 'mfs') return showMfs(asker, input, context);
    const staged = await stageSource(asker, input, volatile, context);
    try {
      return await change(asker, context, {
        path: point,
        dryRun: false,
        make: () => {
          const path = realPoint(asker, point);
          const fill =
            staged && ((root: Ino) => plantInside(asker.vfs.core, asker.caller, staged, root));
          return mountTree(asker, input, { path, fill }, context);
        },
        tell: (made) => ({
          data: { ...mountedObject(context, made), ...optionsOf(made), existed: false },
          warnings: withoutEffect(input, context),
        }),
      });
    } finally {
      if (staged !== undefined) unstage(asker.vfs.core, staged);
    }
  },
});

/** As it is kept. @throws OpError invalid-argument, unsupported, not-permitted. */
function sourceOf(tool: string, kind: string, input: MountInput): string {
  if (kind === 'ipns') return nameIn(tool, input);
  if (kind !== 'mfs') return input.source;
  const parsed = schema.mfsPath().safeParse(input.source === '' ? '/' : input.source);
  if (parsed.success && isPublishedIn(parsed.data)) {
    const hint = 'what is published is mounted where it is';
    throw new OpError('not-permitted', `${tool} ${parsed.data}`, { hint });
  }
  if (parsed.success) return parsed.data;
  const issue = { argument: 'source', reason: 'format', expected: 'an absolute path in MFS' };
  throw new OpError('invalid-argument', tool, { details: { issues: [issue] } });
}

/** A tree of MFS, which shows what is there when the answer comes; without an answer, later. */
async function showMfs(asker: Asker, input: MountInput, context: ToolContext) {
  const { source, mount_point: point } = input;
  const { nodes, mfsTrees } = context.ports.ipfs;
  const { mfs } = nodes.state(undefined, asker.tool);
  const there = await mfs.stat(source, { signal: context.signal });
  const details = { kind: 'path', path: source };
  if (there === undefined) throw new OpError('not-found', `${asker.tool} ${source}`, { details });
  if (there.type !== 'directory') {
    throw new OpError('not-directory', `${asker.tool} ${source}`, { details });
  }
  const tell = (made: Mounted) => ({
    data: { ...mountedObject(context, made), ...optionsOf(made), existed: false },
    warnings: withoutEffect(input, context),
  });
  let mounted: Mounted | undefined;
  const answer = await change(asker, context, {
    path: point,
    dryRun: false,
    make: () => {
      const path = realPoint(asker, point);
      mounted = mountTree(asker, input, { path, fill: undefined }, context);
      return mounted;
    },
    tell,
  });
  if (mounted === undefined) return answer;
  // What keeps it from being shown is in the state of the mount.
  await mfsTrees.settle(context.signal, mounted.mountPoint).catch(() => undefined);
  return { ...answer, ...tell(mounted) };
}

/** A tree that follows a name: mounted when all of what the name means is there. */
async function follow(asker: Asker, input: MountInput, context: ToolContext) {
  const { vfs, caller } = asker;
  const { source, mount_point: point } = input;
  const path = realPoint(asker, point);
  let made: Mounted | undefined;
  const tell = () => {
    assert(made !== undefined, 'it is mounted when that is told');
    const data = { ...mountedObject(context, made), ...optionsOf(made), existed: false };
    return { data, warnings: withoutEffect(input, context) };
  };
  const request = {
    ...{ source, path, actor: () => caller.actor() },
    onRecord: () => context.keep(tell),
    mount: (plan: TreePlan, shown: string) => {
      const fill = (root: Ino) => fillCopy(vfs.core, caller, root, plan);
      made = about(asker, point, () => mountTree(asker, input, { path, shown, fill }, context));
    },
  };
  const restored = await context.ports.ipfs.follower.begin(request, context.signal);
  await vfs.core.invalidator.settled();
  return { ...tell(), seq: restored.seq?.last };
}

/**
 * What is followed; nothing where all names are shown, which is at `/ipns` alone: they are links to
 * what lies beside it.
 * @throws OpError invalid-argument: it is no `/ipns/<name>`; unsupported: writable.
 */
function nameIn(tool: string, input: MountInput): string {
  const { source, mount_point: point, read_only: isReadOnly } = input;
  const parsed = parseIpfsPath(source);
  const isAllNames = source === '' && point === NAMES_POINT;
  if (parsed?.kind !== 'ipns' && !isAllNames) {
    const issue = { argument: 'source', reason: 'format', expected: '/ipns/<name>' };
    throw new OpError('invalid-argument', tool, { details: { issues: [issue] } });
  }
  if (isReadOnly) {
    return parsed?.kind === 'ipns' ? ['', 'ipns', parsed.name, ...parsed.segments].join('/') : '';
  }
  throw new OpError('unsupported', `${tool} ${source}`, {
    hint: 'what follows a name is read_only: say so, or start an ipfs tree from it',
  });
}

/** @throws OpError not-permitted. */
export function demandOwner({ vfs, caller, tool }: Asker, point: string): void {
  if (caller.uid === 0 || caller.uid === vfs.core.inodes.get(ROOT_INO).uid) return;
  throw new OpError('not-permitted', `${tool} ${point}`, {
    hint: 'only the user of the daemon changes mounts',
    details: { mount_point: point },
  });
}

/** @throws OpError not-configured, not-found (backend), invalid-argument (source). */
function kindOf({ tool }: Asker, { backend, source }: MountInput) {
  if (UNCONFIGURED.has(backend)) {
    throw new OpError('not-configured', `${tool} ${backend}`, { details: { backend } });
  }
  const kind = Object.hasOwn(KINDS, backend) ? KINDS[backend] : undefined;
  if (kind === undefined) {
    const details = { kind: 'backend', backend };
    throw new OpError('not-found', `${tool} ${backend}`, { hint: 'register it first', details });
  }
  if (source !== '' && kind.kind === 'memory') {
    throw schema.combination(tool, 'source', 'nothing for a tree in memory');
  }
  return kind;
}

/**
 * Options that the contract has and this tree has no use for: kept, and said
 * to change nothing.
 */
function withoutEffect({ options: given, ...input }: MountInput, { ports }: ToolContext): string[] {
  const { refresh_s, cache_bytes } = options.parse({});
  const { nodes } = ports.ipfs;
  const isPublished = nodes.home === 'kubo' && input.backend === 'ipfs' && !input.read_only;
  const idle = [
    ...(given.refresh_s === refresh_s || input.backend === 'ipns' ? [] : ['refresh_s']),
    ...(given.cache_bytes === cache_bytes ? [] : ['cache_bytes']),
    // 0 asks for what is done anyway.
    ...(isPublished || (given.sync_ms ?? 0) === 0 ? [] : ['sync_ms']),
  ];
  if (idle.length === 0) return [];
  const how = isPublished ? '' : ', this tree is synced only by vfs_sync_to_ipfs';
  return [`${idle.join(', ')}: without effect${how}`];
}

/** Options that say who owns the root and what new files may be. */
const OWNING = ['uid', 'gid', 'umask'] as const;

/** @throws OpError mount-busy: another tree is mounted there, or this one with other options. */
function identicalMount({ vfs, tool }: Asker, input: MountInput): Mounted | undefined {
  const { mount_point: point, backend, source, read_only: readOnly, options: given } = input;
  const live = vfs.core.mounts.mountAt(nameOfText(point));
  if (live === undefined) return undefined;
  const { superblock } = live;
  const isSame =
    superblock.backend === backend &&
    superblock.source === source &&
    superblock.readOnly === readOnly &&
    OWNING.every((name) => [undefined, superblock.options[name]].includes(given[name]));
  if (isSame) return live;
  throw new OpError('mount-busy', `${tool} ${point}`, {
    hint: 'unmount it first, or choose another point',
    details: { mount_point: point, backend: superblock.backend },
  });
}

/**
 * The content a new tree starts with.
 * @throws OpError invalid-argument, not-found, not-directory, content-missing, integrity; of a name
 *   name-not-resolved, node-offline.
 */
async function stageSource(
  asker: Asker,
  { source }: MountInput,
  volatile: boolean,
  context: ToolContext,
): Promise<Staged | undefined> {
  if (source === '') return undefined;
  const { vfs, caller, tool } = asker;
  const parsed = parseIpfsPath(await withoutName(context, { ipfs_path: source }, tool));
  if (parsed === undefined) {
    const issue = { argument: 'source', reason: 'format', expected: 'an IPFS path, or nothing' };
    throw new OpError('invalid-argument', tool, { details: { issues: [issue] } });
  }
  const op = `${tool} ${source}`;
  if (parsed.kind === 'ipns') throw new OpError('name-not-resolved', op);
  const inode = await contentOf(asker, parsed, op);
  if (!isDirectory(inode.mode))
    throw new OpError('not-directory', op, { hint: 'mount a directory' });
  return stage(vfs.core, vfs, caller, inode, { volatile, signal: context.signal });
}

async function contentOf(
  { vfs, caller }: Asker,
  { cid, segments }: Extract<IpfsPath, { kind: 'ipfs' }>,
  op: string,
): Promise<Inode> {
  try {
    let inode = await vfs.content(cid.toString());
    for (const segment of segments) {
      const child = await vfs.lookup(caller, inode.ino, nameOfText(segment));
      if (child === undefined) throw new OpError('not-found', op);
      inode = child;
    }
    return inode;
  } catch (error) {
    if (!(error instanceof OpError)) throw error;
    const { failure } = error;
    const isMissing = isForMissingContent(error);
    const details = isMissing ? { cid: cid.toString() } : { kind: 'link', cid: cid.toString() };
    throw new OpError(isMissing ? 'content-missing' : failure, op, { details });
  }
}

/** The tree says not-found of what is not kept here, and names the cause. */
function isForMissingContent(error: unknown): boolean {
  if (!(error instanceof OpError)) return false;
  return error.failure === 'content-missing' || isForMissingContent(error.cause);
}

interface NewTree {
  /** Its mount point, all links followed. */
  readonly path: Name;
  /** Of a tree that follows a name: what it shows. */
  readonly shown?: string;
  readonly fill: ((root: Ino) => void) | undefined;
}

/** In one group. */
function mountTree(
  asker: Asker,
  input: MountInput,
  { path, shown, fill }: NewTree,
  { ports }: ToolContext,
): Mounted {
  const { vfs, caller } = asker;
  const { backend, source, parents, options: given } = input;
  const { kind, volatile } = kindOf(asker, input);
  return mount(vfs.core, caller, {
    mountId: ports.random.token(),
    mountPoint: path,
    kind,
    backend,
    source,
    readOnly: input.read_only,
    volatile,
    options: shown === undefined ? given : { ...given, shown },
    uid: given.uid ?? caller.uid,
    gid: given.gid ?? caller.gid,
    mode: given.umask === undefined ? ROOT_MODE : 0o777 & ~parseMode(given.umask),
    parents,
    fill,
  });
}

/**
 * The mount point with all links followed.
 * @throws OpError read-only: below content by CID or control files; as `resolve`.
 */
function realPoint(asker: Asker, point: string): Name {
  try {
    const found = find(asker, point, true);
    if (found instanceof Promise) {
      found.catch(() => {});
      throw new OpError('read-only', asker.tool, { hint: 'content by CID never changes' });
    }
    const { parent, name, inode, path } = found;
    if (name === '.') throw new OpError('busy', asker.tool, { hint: 'the root is taken' });
    if (inode === undefined || inode.ino < CONTROL_INO_FROM) {
      asker.vfs.demandNewName(parent, name, asker.tool);
    }
    return path;
  } catch (error) {
    // Directories above may be made: without links on the way the path is the real one.
    if (error instanceof OpError && error.failure === 'not-found') return nameOfText(point);
    throw error;
  }
}

/** A mount as it is listed. */
function mountedObject(context: ToolContext, { mountId, mountPoint, superblock }: Mounted) {
  const { journal } = context.ports.vfs.core;
  const { backend, kind, source, readOnly } = superblock;
  const point = textOf(mountPoint);
  const root =
    kind === 'mfs'
      ? journal.mfsSeen.get(superblock.root, '' as Name)?.agreed?.cid
      : journal.superblocks.synced(mountPoint)?.rootCid;
  // What a name means anybody may ask.
  const isTold = kind === 'ipns' || isOwner(context);
  return {
    mount_id: mountId,
    mount_point: point,
    backend,
    kind,
    source,
    read_only: readOnly,
    ...localPathOf(context, point),
    ...(isTold && root !== undefined ? { root_cid: cidOfBytes(root).toString() } : {}),
    capabilities: kind === 'mfs' ? MFS_CAPABILITIES : CAPABILITIES,
    state: isDegraded(context, mountId) ? ('degraded' as const) : ('ready' as const),
  };
}

/** It is to be in step with something else, and what that is now is not known, or cannot be had. */
const isDegraded = ({ ports: { ipfs } }: ToolContext, mountId: string): boolean =>
  [...ipfs.follower.states(), ...ipfs.mfsTrees.states()].some(
    (one) => one.mountId === mountId && one.error !== undefined,
  );

function optionsOf({ superblock }: Mounted): { options: Record<string, unknown> } {
  const { mount_point: _, shown: __, ...given } = superblock.options;
  return { options: given };
}

/** How much of something. */
export const amount = z.object({ files: z.int(), bytes: z.int() });

export const vfsListMounts = recordTool({
  ...COMMON,
  deadline: 'local',
  name: 'vfs_list_mounts',
  title: 'List mounts',
  description:
    'The trees that are mounted: where, of which backend, what they can do, what is not ' +
    'hashed yet; and where the kernel shows all of it on this host.',
  hints: { readOnly: true, destructive: false, idempotent: true, openWorld: false },
  changes: 'nothing',
  input: schema.input({ ...schema.page }),
  example: {},
  output: z.object({
    mounts: z.array(z.object({ ...mountShape, dirty: amount, open_files: z.int() })),
    kernel: z.object({ mounted: z.boolean(), dir: z.string().optional() }),
    ...schema.pageFields,
  }),
  run: async (input, context) => {
    const { cursors, mount: view, vfs } = context.ports;
    const request = { tool: 'vfs_list_mounts', principal: context.principal, arguments: input };
    const { items, ...fields } = await cursors.page(request, () => listMounts(context, vfs));
    const dir = view.localPath('/');
    const kernel = { mounted: dir !== undefined, ...(dir === undefined ? {} : { dir }) };
    return { data: { mounts: [...items], kernel, ...fields } };
  },
});

function listMounts(context: ToolContext, vfs: Vfs) {
  const { core } = vfs;
  const dirty = new Map(
    core.journal.contents
      .unsealedBySuperblock()
      .map(({ superblock, ...facts }) => [superblock, facts]),
  );
  return core.mounts.mounts().map((mounted) => ({
    ...mountedObject(context, mounted),
    dirty: dirty.get(mounted.superblock.id) ?? { files: 0, bytes: 0 },
    open_files: handlesIn(vfs, mounted).length,
  }));
}

/** Open files and directories of a mount. */
export const handlesIn = ({ core }: Vfs, { superblock }: Mounted) =>
  [...core.handles.all()].filter(
    ({ ino }) => ino < CONTROL_INO_FROM && core.inodes.find(ino)?.superblock === superblock.id,
  );
