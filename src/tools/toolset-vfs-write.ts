/** Toolset vfs, the tools that change one place: vfs_write, vfs_mkdir, vfs_rm, vfs_rmdir. */
import { z } from 'zod';
import { OpError } from '../base/errors.ts';
import { type Ino, NO_CONTENT } from '../base/ids.ts';
import { DELETED_UNASKED_MAX } from '../base/limits.ts';
import { isDirectory, isRegular, S_IFREG } from '../base/posix.ts';
import {
  type Caller,
  type Inode,
  mountsInside,
  patchBytes,
  rehearseWrite,
  removeTree,
  replaceBytes,
  versionOf,
  walk,
} from '../vfs/vfs.ts';
import { durabilityObject, durabilitySchema, octal, parseMode } from './entries.ts';
import { treeUri } from './paths.ts';
import {
  type Asker,
  absent,
  askerOf,
  change,
  demandVersion,
  find,
  type Place,
  place,
  placeWithParents,
  prepareWrite,
  umasked,
  whenFree,
  whenHere,
} from './places.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';
import { localPathOf } from './toolset-vfs.ts';

const COMMON = { toolset: 'vfs', version: '1.0.0', deadline: 'local' } as const;
const DESTROY = { readOnly: false, destructive: true, openWorld: false } as const;

const FILE_MODE = 0o644;

const writeInput = schema.input({
  path: schema.path(),
  ...schema.content,
  offset: schema.int(0).optional().describe('write here, keep the rest'),
  append: schema.flag(),
  overwrite: schema.overwrite(true).describe('false: must not exist'),
  parents: schema.parents(),
  mode: schema.mode().optional(),
  expected_version: schema.expectedVersion(),
  sync: schema.flag().describe('fsync'),
  ...schema.dryRun,
});
type WriteInput = z.output<typeof writeInput>;

export const vfsWrite = recordTool({
  ...COMMON,
  name: 'vfs_write',
  title: 'Write a file',
  description:
    'Replace the whole content of a file of the tree, or make it; with offset or append ' +
    'change only that part. Atomic; the old bytes stay in the journal. Links are followed. To ' +
    'add content without a name use ipfs_add.',
  hints: { ...DESTROY, idempotent: false },
  changes: 'journal',
  input: writeInput,
  example: { path: '/ipfs/notes.txt', content: 'remember this' },
  output: z.object({
    path: z.string(),
    local_path: z.string().optional(),
    uri: z.string(),
    bytes_written: z.int(),
    size: z.int(),
    version: z.string(),
    inode: z.int(),
    created: z.boolean(),
    durability: durabilitySchema,
  }),
  run: async (input, context) => {
    const asker = askerOf(context, 'vfs_write');
    const { path } = input;
    if (input.append && input.offset !== undefined) {
      throw schema.combination(`vfs_write ${path}`, 'append', 'offset or append, not both');
    }
    const bytes = schema.decodeContent(input.content, input.encoding, `vfs_write ${path}`);
    await whenFree(asker, context, path);
    const isPart = input.append || input.offset !== undefined;
    if (isPart && !input.dry_run) await whenHere(asker, context, path);
    if (!input.dry_run) prepareWrite(asker, path);
    return change(asker, context, {
      path,
      dryRun: input.dry_run,
      make: () => writeAt(asker, input, bytes),
      tell: ({ inode, created }) => ({
        data: {
          path,
          ...localPathOf(context, path),
          uri: treeUri(path),
          bytes_written: bytes.length,
          size: inode.size,
          version: versionOf(inode),
          inode: inode.ino,
          created,
          durability: durabilityObject(context.ports.vfs, context.caller, inode),
        },
      }),
    });
  },
  afterwards: async (data, { sync }, context) => {
    if (!sync) return data;
    const { vfs } = context.ports;
    const ino = data.inode as Ino;
    await makeDurable(context, ino);
    const inode = vfs.core.inodes.find(ino);
    // Removed since it was written, by somebody who was faster.
    if (inode === undefined) return data;
    return { ...data, durability: durabilityObject(vfs, context.caller, inode) };
  },
});

/** In one group. The row is copied: the live one goes on changing. */
function writeAt(
  asker: Asker,
  input: WriteInput,
  bytes: Buffer,
): { readonly inode: Inode; readonly created: boolean } {
  const { vfs, tool } = asker;
  const { path } = input;
  const at = placeWithParents(asker, path, { follow: true, parents: input.parents });
  const version = at.inode === undefined ? undefined : versionOf(at.inode);
  demandVersion(asker, path, input.expected_version, version);
  if (at.inode !== undefined && !input.overwrite) throw new OpError('exists', tool);
  const ino = at.inode?.ino ?? makeFile(asker, at, input.mode);
  // Who made a file may write it once, whatever its mode, as with open(2).
  const caller: Caller = at.inode === undefined ? { ...asker.caller, uid: 0 } : asker.caller;
  const position = input.append ? 'end' : input.offset;
  const isMadeEmpty = at.inode === undefined && bytes.length === 0;
  if (isMadeEmpty) return { inode: { ...vfs.core.inodes.get(ino) }, created: true };
  const { core } = vfs;
  let row: Inode;
  if (input.dry_run) row = rehearseWrite(core, caller, ino, bytes.length, position);
  else if (position === undefined) row = replaceBytes(core, caller, ino, bytes);
  else row = patchBytes(core, caller, ino, bytes, position);
  return { inode: { ...row }, created: at.inode === undefined };
}

function makeFile({ vfs, caller }: Asker, at: Place, mode: string | undefined): Ino {
  const asked = mode === undefined ? FILE_MODE : parseMode(mode);
  const bits = umasked(vfs, at.parent, asked);
  return vfs.mknod(caller, at.parent, at.name, S_IFREG | bits, 0).ino;
}

/** The content first, then the journal that names it. */
async function makeDurable({ ports }: ToolContext, ino: Ino): Promise<void> {
  const { core } = ports.vfs;
  const content = core.inodes.find(ino)?.content ?? NO_CONTENT;
  if (content !== NO_CONTENT) await core.content.fsync([content]);
  await core.syncJournal();
}

export const vfsMkdir = recordTool({
  ...COMMON,
  name: 'vfs_mkdir',
  title: 'Make a directory',
  description:
    'Make a directory in the tree. With parents also those above it, and one that is there ' +
    'already is no error.',
  hints: { readOnly: false, destructive: false, idempotent: true, openWorld: false },
  changes: 'journal',
  input: schema.input({
    path: schema.path(),
    parents: schema.parents(),
    mode: schema.mode().default('0755'),
  }),
  example: { path: '/ipfs/project/src', parents: true },
  output: z.object({
    path: z.string(),
    local_path: z.string().optional(),
    created: z.boolean(),
    inode: z.int(),
    mode: z.string(),
  }),
  run: async ({ path, parents, mode }, context) => {
    const asker = askerOf(context, 'vfs_mkdir');
    return change(asker, context, {
      path,
      dryRun: false,
      make: () => {
        const known = existingDirectory(asker, path, parents);
        if (known !== undefined) return { created: false, inode: known };
        const at = placeWithParents(asker, path, { follow: false, parents });
        const bits = umasked(asker.vfs, at.parent, parseMode(mode));
        const inode = asker.vfs.mkdir(asker.caller, at.parent, at.name, bits);
        return { created: true, inode };
      },
      tell: ({ created, inode }) => {
        const facts = { created, inode: inode.ino, mode: octal(inode.mode) };
        return { data: { path, ...localPathOf(context, path), ...facts } };
      },
    });
  },
});

/**
 * The directory that is there already, when that is no error.
 * @throws OpError exists.
 */
function existingDirectory(asker: Asker, path: string, parents: boolean): Inode | undefined {
  try {
    const found = find(asker, path, true);
    if (found instanceof Promise) {
      found.catch(() => {});
      return undefined;
    }
    if (found.inode === undefined) return undefined;
    if (parents && isDirectory(found.inode.mode)) return found.inode;
  } catch (error) {
    // What is wrong above is mended, or told, by who makes this one; a link in a circle is a name in use.
    if (error instanceof OpError) return undefined;
    throw error;
  }
  throw new OpError('exists', `vfs_mkdir ${path}`, { details: { path } });
}

const removed = z.object({
  path: z.string(),
  removed: z.boolean(),
  entries: z.int(),
  bytes: z.int(),
});

export const vfsRm = recordTool({
  ...COMMON,
  deadline: 'job',
  job: true,
  name: 'vfs_rm',
  title: 'Remove a file',
  description:
    'Remove a file or symbolic link (never its target); with recursive also a directory with ' +
    'everything in it. Journaled, so it can be undone. More than 1000 entries need ' +
    'expected_count, which dry_run or the error tells.',
  hints: { ...DESTROY, idempotent: true },
  changes: 'journal',
  input: schema.input({
    path: schema.path(),
    recursive: schema.recursive(),
    missing_ok: schema.flag(),
    expected_version: schema.expectedVersion(),
    expected_count: schema.expectedCount(),
    ...schema.job,
    ...schema.dryRun,
  }),
  example: { path: '/ipfs/old.txt' },
  output: removed,
  run: async (input, context) => {
    const asker = askerOf(context, 'vfs_rm');
    const { path } = input;
    await whenFree(asker, context, path);
    return change(asker, context, {
      path,
      dryRun: input.dry_run,
      make: () => {
        const at = presentPlace(asker, path, input.missing_ok);
        if (at === undefined) return NOTHING;
        demandVersion(asker, path, input.expected_version, versionOf(at.inode));
        if (isDirectory(at.inode.mode) && !input.recursive) {
          throw new OpError('is-directory', 'vfs_rm');
        }
        return remove(asker, at, input.expected_count);
      },
      tell: (made) => ({ data: { path, ...made } }),
    });
  },
});

export const vfsRmdir = recordTool({
  ...COMMON,
  deadline: 'job',
  job: true,
  name: 'vfs_rmdir',
  title: 'Remove a directory',
  description:
    'Remove an empty directory; with recursive everything in it too, as one journal group. ' +
    'For files use vfs_rm. More than 1000 entries, the directory itself among them, need ' +
    'expected_count.',
  hints: { ...DESTROY, idempotent: true },
  changes: 'journal',
  input: schema.input({
    path: schema.path(),
    recursive: schema.recursive(),
    expected_count: schema.expectedCount(),
    ...schema.job,
    ...schema.dryRun,
  }),
  example: { path: '/ipfs/project/empty' },
  output: removed,
  run: async ({ path, recursive, expected_count: expected, dry_run: dryRun }, context) => {
    const asker = askerOf(context, 'vfs_rmdir');
    return change(asker, context, {
      path,
      dryRun,
      make: () => {
        const at = presentPlace(asker, path, false) as Present;
        if (!isDirectory(at.inode.mode)) {
          throw new OpError('not-directory', 'vfs_rmdir', { hint: 'use vfs_rm' });
        }
        if (recursive) return remove(asker, at, expected);
        asker.vfs.rmdir(asker.caller, at.parent, at.name);
        return { removed: true, entries: 1, bytes: 0 };
      },
      tell: (made) => ({ data: { path, ...made } }),
    });
  },
});

const NOTHING = { removed: false, entries: 0, bytes: 0 };

type Present = Place & { readonly inode: Inode };

/** @throws OpError not-found, unless it may be missing; as `place`. */
function presentPlace(asker: Asker, path: string, missingOk: boolean): Present | undefined {
  try {
    const at = place(asker, path, false);
    const { inode } = at;
    if (inode === undefined) throw absent(asker, path);
    return { ...at, inode };
  } catch (error) {
    if (missingOk && error instanceof OpError && error.failure === 'not-found') return undefined;
    throw error;
  }
}

/** Removes a name and everything below it, when there is not more of it than the caller knows. */
function remove(
  { vfs, caller, tool }: Asker,
  at: Present,
  expected: number | undefined,
): { readonly removed: boolean; readonly entries: number; readonly bytes: number } {
  const { core } = vfs;
  if (core.mounts.covered(at.parent, at.name) !== undefined) {
    throw new OpError('busy', tool, { hint: 'it is a mount point: use vfs_unmount' });
  }
  const counted = countBelow(vfs.core, caller, at.inode);
  const isAsked = expected === undefined ? counted.entries > DELETED_UNASKED_MAX : false;
  if (isAsked || (expected !== undefined && expected !== counted.entries)) {
    throw new OpError('confirmation-required', tool, {
      hint: 'repeat with expected_count equal to partial.count',
      details: { partial: { count: counted.entries } },
    });
  }
  removeTree(core, caller, at.parent, at.name);
  return { removed: true, ...counted };
}

/** Names that would go, the top one among them, and the bytes of regular files. */
export function countBelow(
  core: Asker['vfs']['core'],
  caller: Caller,
  inode: Inode,
): { readonly entries: number; readonly bytes: number } {
  if (!isDirectory(inode.mode)) {
    return { entries: 1, bytes: isRegular(inode.mode) ? inode.size : 0 };
  }
  if (mountsInside(core, inode.ino).length > 0) {
    throw new OpError('mount-busy', 'count', { hint: 'unmount what is mounted inside first' });
  }
  let entries = 1;
  let bytes = 0;
  for (const { row } of walk(core, caller, inode.ino)) {
    entries += 1;
    if (isRegular(row.mode)) bytes += row.size;
  }
  return { entries, bytes };
}
