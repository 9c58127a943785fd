/** Toolset vfs, the tools that take two places: vfs_copy, vfs_move. */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { nameOfText, textOf } from '../base/ids.ts';
import { DELETED_UNASKED_MAX } from '../base/limits.ts';
import { isDirectory, isRegular, isSymlink, R_OK } from '../base/posix.ts';
import {
  CONTROL_INO_FROM,
  type Copied,
  copyTree,
  type Inode,
  isLeaving,
  isPermitted,
  mountsInside,
  plant,
  removeTree,
  type Staged,
  stage,
  unstage,
  versionOf,
  walk,
} from '../vfs/vfs.ts';
import {
  type Asker,
  about,
  absent,
  askerOf,
  change,
  demandVersion,
  find,
  isWithin,
  type Place,
  place,
  placeWithParents,
  resolveQuietly,
  treeOf,
  whenFree,
} from './places.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';
import { localPathOf } from './toolset-vfs.ts';
import { countBelow } from './toolset-vfs-write.ts';

const COMMON = {
  changes: 'journal',
  toolset: 'vfs',
  version: '1.0.0',
  deadline: 'job',
  job: true,
} as const;
const DESTROY = { readOnly: false, destructive: true, openWorld: false } as const;

const copyInput = schema.input({
  source: schema.path(),
  destination: schema.path('full new name'),
  recursive: schema.recursive(),
  overwrite: schema.overwrite(),
  parents: schema.parents(),
  preserve_metadata: schema.flag(true).describe('mode, times, xattrs'),
  expected_version: schema.expectedVersion().describe('of destination'),
  ...schema.job,
  ...schema.dryRun,
});
type CopyInput = z.output<typeof copyInput>;

export const vfsCopy = recordTool({
  ...COMMON,
  name: 'vfs_copy',
  title: 'Copy a file or tree',
  description:
    'Copy a file, or with recursive a directory, to a full new name in the tree; also from ' +
    'content by CID (/ipfs/<cid>/…). Copies share their bytes. To rename use vfs_move.',
  hints: { ...DESTROY, idempotent: true },
  input: copyInput,
  example: { source: '/ipfs/a.txt', destination: '/ipfs/b.txt' },
  output: z.object({
    source: z.string(),
    destination: z.string(),
    local_path: z.string().optional(),
    files: z.int(),
    directories: z.int(),
    symlinks: z.int(),
    bytes: z.int(),
    linked_bytes: z.int(),
    version: z.string().optional(),
    skipped: z.array(z.object({ path: z.string(), error_code: z.string() })),
  }),
  run: async (input, context) => {
    const asker = askerOf(context, 'vfs_copy');
    const { source, destination } = input;
    await whenFree(asker, context, destination);
    await whenLeft(asker, context, { ...input, follow: !input.recursive });
    const staged = await stageForeign(asker, input, context);
    try {
      return await change(asker, context, {
        path: destination,
        dryRun: input.dry_run,
        make: () => copy(asker, input, staged),
        tell: ({ copied, version }) => ({
          data: {
            source,
            destination,
            ...localPathOf(context, destination),
            files: copied.files,
            directories: copied.directories,
            symlinks: copied.symlinks,
            bytes: copied.bytes,
            linked_bytes: copied.linkedBytes,
            version,
            skipped: copied.skipped.map((path) => ({
              path: textOf(path),
              error_code: 'NOT_SUPPORTED',
            })),
          },
        }),
      });
    } finally {
      if (staged !== undefined) unstage(asker.vfs.core, staged);
    }
  },
});

interface Made {
  readonly copied: Copied;
  readonly version: string;
}

/** From where, to where, and what may be there. */
type CopyTarget = Omit<CopyInput, 'preserve_metadata' | 'wait_ms' | 'timeout_ms' | 'dry_run'>;

/** In one group. */
function copy(asker: Asker, input: CopyInput, staged: Staged | undefined): Made {
  const { vfs, caller } = asker;
  const top = staged?.inode ?? presentSource(asker, input);
  const at = destinationPlace(asker, input, top);
  const to = { parent: at.parent, name: at.name };
  const copied =
    staged === undefined
      ? about(asker, input.source, () =>
          copyTree(vfs.core, caller, top.ino, to, input.preserve_metadata),
        )
      : plant(vfs.core, caller, staged, to, input.preserve_metadata);
  if (!input.dry_run) demandLeft(asker, copied);
  return { copied, version: versionOf(vfs.core.inodes.get(copied.ino)) };
}

/**
 * What leaves a tree of MFS, where its only copy may be, is brought here first: there it may be
 * removed before the other tree is kept anywhere.
 * @throws OpError content-missing, integrity, denied; the signal's reason.
 */
async function whenLeft(
  asker: Asker,
  { signal }: ToolContext,
  input: Pick<CopyInput, 'source' | 'destination' | 'dry_run'> & { readonly follow: boolean },
): Promise<void> {
  const { vfs, caller } = asker;
  const { source } = input;
  const into = input.dry_run ? undefined : treeOf(asker, input.destination);
  const top = resolveQuietly(asker, source, input.follow);
  if (into === undefined || top === undefined || top.ino >= CONTROL_INO_FROM) return;
  await about(asker, source, async () => {
    const below = isDirectory(top.mode) ? [...walk(vfs.core, caller, top.ino)] : [];
    for (const ino of [top.ino, ...below.map(({ row }) => row.ino)]) {
      const row = vfs.core.inodes.find(ino);
      if (row === undefined || !isLeaving(vfs.core, row, into)) continue;
      // Who may not read is told so by the copy, and has nothing fetched for him.
      if (isPermitted(caller, row, R_OK)) await vfs.bring(ino, { signal });
    }
  });
}

/** @throws OpError content-missing: something came into the tree after it was looked at. */
function demandLeft({ tool }: Asker, { leaving }: Copied): void {
  if (leaving === 0) return;
  throw new OpError('content-missing', tool, { hint: 'MFS changed meanwhile: do it again' });
}

/**
 * What lies in no managed tree is brought here first; undefined: the source is in a managed tree.
 * @throws OpError not-found, is-directory, content-missing.
 */
async function stageForeign(
  asker: Asker,
  { source, destination, recursive }: CopyInput,
  { signal }: ToolContext,
): Promise<Staged | undefined> {
  const { vfs, caller } = asker;
  // As cp(1): a link is copied as what it leads to, unless a tree is.
  const { inode } = await find(asker, source, !recursive);
  if (inode === undefined) throw absent(asker, source);
  if (inode.ino < CONTROL_INO_FROM) return undefined;
  demandCopyable(asker, source, inode, recursive);
  const volatile = isVolatile(asker, destination);
  return about(asker, source, () => stage(vfs.core, vfs, caller, inode, { volatile, signal }));
}

/** Whether a path lies in a tree that is gone with the daemon. */
export function isVolatile({ vfs }: Asker, path: string): boolean {
  const mounted = vfs.core.mounts.mountOf(nameOfText(path));
  return mounted?.superblock.volatile === true;
}

/** @throws OpError not-found; unsupported: the way to it leads through content by CID. */
function presentSource(asker: Asker, { source, recursive }: CopyInput): Inode {
  const found = find(asker, source, !recursive);
  if (found instanceof Promise) {
    found.catch(() => {});
    throw new OpError('unsupported', asker.tool, {
      hint: 'name the file itself, not a link to it',
    });
  }
  if (found.inode === undefined) throw absent(asker, source);
  return found.inode;
}

function demandCopyable({ tool }: Asker, path: string, inode: Inode, recursive: boolean): void {
  const details = { path };
  if (isDirectory(inode.mode)) {
    if (recursive) return;
    throw new OpError('is-directory', `${tool} ${path}`, { hint: 'add recursive', details });
  }
  if (isRegular(inode.mode) || isSymlink(inode.mode)) return;
  throw new OpError('unsupported', `${tool} ${path}`, { hint: 'it is no file', details });
}

/**
 * The place of the copy, free: what was there is removed, in the same group, when it may be.
 * @throws OpError exists, is-directory, not-directory, invalid, version-conflict, busy.
 */
export function destinationPlace(asker: Asker, input: CopyTarget, top: Inode): Place {
  const { source, destination, parents, overwrite, recursive } = input;
  demandCopyable(asker, source, top, recursive);
  const at = placeWithParents(asker, destination, { follow: false, parents });
  const { inode } = at;
  const version = inode === undefined ? undefined : versionOf(inode);
  demandVersion(asker, destination, input.expected_version, version);
  if (inode === undefined) return at;
  if (inode.ino === top.ino) throw intoItself(asker, destination);
  if (!overwrite) throw new OpError('exists', asker.tool);
  demandReplaceable(asker, top, inode);
  clear(asker, at, inode, top);
  return at;
}

const intoItself = ({ tool }: Asker, path: string): OpError =>
  new OpError('invalid', `${tool} ${path}`, {
    hint: 'source and destination must not hold each other',
    details: { path },
  });

/** A directory takes the place of a directory only, and nothing else does. */
function demandReplaceable({ tool }: Asker, top: Inode, inode: Inode): void {
  if (isDirectory(inode.mode) && !isDirectory(top.mode)) {
    throw new OpError('is-directory', tool, { hint: 'give the full new name of the copy' });
  }
  if (!isDirectory(inode.mode) && isDirectory(top.mode)) {
    throw new OpError('not-directory', tool, { hint: 'remove the file first' });
  }
}

/** Removes what a copy takes the place of. */
function clear(asker: Asker, at: Place, inode: Inode, top: Inode): void {
  const { vfs, caller, tool } = asker;
  const { core } = vfs;
  if (core.mounts.covered(at.parent, at.name) !== undefined) {
    throw new OpError('busy', tool, { hint: 'it is a mount point' });
  }
  if (isDirectory(inode.mode)) {
    const holdsSource = top.ino < CONTROL_INO_FROM && isWithin(vfs, top.ino, inode.ino);
    if (holdsSource) throw intoItself(asker, textOf(at.path));
    const { entries } = countBelow(core, caller, inode);
    if (entries > DELETED_UNASKED_MAX) {
      throw new OpError('confirmation-required', tool, {
        hint: 'remove the destination first: vfs_rm with expected_count',
        details: { partial: { count: entries } },
      });
    }
  }
  removeTree(core, caller, at.parent, at.name);
}

const moveInput = schema.input({
  source: schema.path(),
  destination: schema.path('full new name'),
  overwrite: schema.overwrite(),
  parents: schema.parents(),
  cross_mount: schema.flag().describe('copy, then remove'),
  expected_version: schema.expectedVersion().describe('of source'),
  ...schema.job,
  ...schema.dryRun,
});
type MoveInput = z.output<typeof moveInput>;

export const vfsMove = recordTool({
  ...COMMON,
  name: 'vfs_move',
  title: 'Move or rename',
  description:
    'Rename a file or directory to a full new name, atomically; between mounts with ' +
    'cross_mount. A link is moved itself. To keep the source use vfs_copy.',
  hints: { ...DESTROY, idempotent: false },
  input: moveInput,
  example: { source: '/ipfs/draft.md', destination: '/ipfs/final.md' },
  output: z.object({
    source: z.string(),
    destination: z.string(),
    local_path: z.string().optional(),
    version: z.string(),
    overwritten: z.boolean(),
    method: z.enum(['rename', 'copy_delete']),
  }),
  run: async (input, context) => {
    const asker = askerOf(context, 'vfs_move');
    const { source, destination } = input;
    await whenFree(asker, context, source);
    await whenFree(asker, context, destination);
    if (input.cross_mount) await whenLeft(asker, context, { ...input, follow: false });
    return change(asker, context, {
      path: source,
      dryRun: input.dry_run,
      make: () => move(asker, input),
      tell: (moved) => ({
        data: { source, destination, ...localPathOf(context, destination), ...moved },
      }),
    });
  },
});

interface Moved {
  readonly version: string;
  readonly overwritten: boolean;
  readonly method: 'rename' | 'copy_delete';
}

function move(asker: Asker, input: MoveInput): Moved {
  const { vfs, caller, tool } = asker;
  const { core } = vfs;
  const { source, destination, parents, overwrite } = input;
  const from = place(asker, source, false);
  const { inode } = from;
  if (inode === undefined) throw absent(asker, source);
  demandVersion(asker, source, input.expected_version, versionOf(inode));
  const to = placeWithParents(asker, destination, { follow: false, parents });
  const overwritten = to.inode !== undefined;
  if (overwritten && !overwrite) {
    throw new OpError('exists', `${tool} ${destination}`, { details: { path: destination } });
  }
  // The directories made on the way are new, and the rows may be other objects since.
  const superblock = (ino: Place['parent']) => core.inodes.get(ino).superblock;
  const isMount = core.mounts.covered(from.parent, from.name) !== undefined;
  const isAcross = superblock(from.parent) !== superblock(to.parent);
  if (isMount || !isAcross || !input.cross_mount) {
    vfs.rename(caller, from, to, { noReplace: !overwrite, exchange: false });
    const version = versionOf(core.inodes.get(inode.ino));
    return { version, overwritten, method: 'rename' };
  }
  return {
    version: moveAcross(asker, { from, to, inode }, input),
    overwritten,
    method: 'copy_delete',
  };
}

/** Copies and removes in the group of the call, so that nobody ever sees both or neither. */
function moveAcross(
  asker: Asker,
  { from, to, inode }: { readonly from: Place; readonly to: Place; readonly inode: Inode },
  { dry_run: isDryRun }: Pick<MoveInput, 'dry_run'>,
): string {
  const { vfs, caller, tool } = asker;
  const { core } = vfs;
  if (isDirectory(inode.mode) && mountsInside(core, inode.ino).length > 0) {
    throw new OpError('mount-busy', tool, { hint: 'unmount what is mounted inside first' });
  }
  if (to.inode !== undefined) {
    demandReplaceable(asker, inode, to.inode);
    const remove = isDirectory(to.inode.mode) ? vfs.rmdir : vfs.unlink;
    remove.call(vfs, caller, to.parent, to.name);
  }
  const copied = copyTree(core, caller, inode.ino, { parent: to.parent, name: to.name }, true);
  if (!isDryRun) demandLeft(asker, copied);
  const [lost] = copied.skipped;
  if (lost !== undefined) {
    throw new OpError('unsupported', tool, {
      hint: 'special files stay in their mount: remove them first',
      details: { path: textOf(lost) },
    });
  }
  removeTree(core, caller, from.parent, from.name);
  return versionOf(core.inodes.get(copied.ino));
}
