/** Toolset vfs: vfs_unmount. */
import { z } from 'zod';
import { within } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type Ino, NO_CONTENT, nameOfText, textOf } from '../base/ids.ts';
import { UNMOUNT_MS_MAX } from '../base/limits.ts';
import { isRegular } from '../base/posix.ts';
import { turn } from '../base/turn.ts';
import {
  type Inode,
  isHeldByKernel,
  type Mounted,
  mountsInside,
  type UnmountResult,
  unmount,
  type Vfs,
} from '../vfs/vfs.ts';
import { type Asker, askerOf, change } from './places.ts';
import * as schema from './schema.ts';
import { recordTool, type ToolContext } from './tool.ts';
import { amount, demandOwner, handlesIn } from './toolset-vfs-mount.ts';

export const vfsUnmount = recordTool({
  toolset: 'vfs',
  version: '1.0.0',
  deadline: 'job',
  job: true,
  name: 'vfs_unmount',
  title: 'Unmount a tree',
  description:
    'Take a tree out of sight; its files stay and are back when it is mounted there again, ' +
    'but a memory tree is discarded (force). What is to be in a store and is not yet is brought ' +
    'there first, or, with force, soon; with force also open files are closed.',
  hints: { readOnly: false, destructive: true, idempotent: true, openWorld: false },
  changes: 'journal',
  input: schema.input({
    mount_point: schema.path(),
    force: schema.force(),
    ...schema.job,
    ...schema.dryRun,
  }),
  example: { mount_point: '/scratch' },
  output: z.object({
    mount_point: z.string(),
    unmounted: z.boolean(),
    flushed: amount,
    pending: amount,
    closed: z.array(
      z.object({ path: z.string(), pid: z.int().optional(), exe: z.string().optional() }),
    ),
    discarded: amount,
  }),
  run: async ({ mount_point: point, force, dry_run: dryRun }, context) => {
    const asker = askerOf(context, 'vfs_unmount');
    demandOwner(asker, point);
    const mounted = mountedAt(asker, point);
    if (!dryRun) {
      demandIdle(asker, mounted, force);
      await bringAway(asker, mounted, force, context);
    }
    const pending = await pendingOf(mounted, context);
    const flushed = dryRun ? { files: 0, bytes: 0 } : await flush(asker.vfs, mounted);
    return change(asker, context, {
      path: point,
      dryRun,
      make: () => detach(asker, point, force),
      tell: ({ closed, discarded: { discardedFiles: files, discardedBytes: bytes } }) => ({
        data: {
          mount_point: point,
          unmounted: true,
          flushed,
          pending,
          closed: [...closed],
          discarded: { files, bytes },
        },
      }),
    });
  },
});

/** @throws OpError not-found (mount). */
function mountedAt({ vfs, tool }: Asker, point: string): Mounted {
  const mounted = vfs.core.mounts.mountAt(nameOfText(point));
  if (mounted !== undefined) return mounted;
  throw new OpError('not-found', `${tool} ${point}`, {
    hint: 'see vfs_list_mounts',
    details: { kind: 'mount', mount_point: point },
  });
}

/**
 * Brings to its stores what they do not have yet, up to the deadline of the call; with `force` it may
 * stay here, and goes on later.
 * @throws OpError io: it cannot leave.
 */
async function bringAway(
  { tool }: Asker,
  mounted: Mounted,
  force: boolean,
  context: ToolContext,
): Promise<void> {
  const { signal } = context;
  const { mfsTrees, settle } = context.ports.ipfs;
  const { mountPoint, superblock } = mounted;
  const isMfs = superblock.kind === 'mfs';
  const patience = force ? within(context.ports.clock, UNMOUNT_MS_MAX, signal) : signal;
  try {
    await (isMfs ? mfsTrees.settle(patience, mountPoint) : settle(mountPoint, patience));
  } catch (cause) {
    signal.throwIfAborted();
    if (force) return;
    const partial = await pendingOf(mounted, context);
    if (isMfs && partial.files === 0) return;
    throw new OpError('io', `${tool} ${textOf(mountPoint)}`, {
      hint: isMfs
        ? 'what is not in MFS yet stays here with force, until it is mounted again'
        : 'what its store has not yet is brought there later with force',
      details: { backend: superblock.backend, partial },
      cause,
    });
  }
}

/** Data that is to go elsewhere, and is only here. */
async function pendingOf({ mountId, mountPoint, superblock }: Mounted, context: ToolContext) {
  const { ports, signal } = context;
  const state = ports.ipfs.mfsTrees.states().find((one) => one.mountId === mountId);
  const pending = { files: state?.waiting.files ?? 0, bytes: state?.waiting.bytes ?? 0 };
  if (state !== undefined || !(await ports.ipfs.owes(mountPoint, signal))) return pending;
  for (const page of pagesOf(ports.vfs, superblock)) {
    for (const { ino, mode, size } of page) {
      if (!isRegular(mode) || ports.ipfs.ladder.holding(ino) !== undefined) continue;
      pending.files += 1;
      pending.bytes += size;
    }
    await turn();
    signal.throwIfAborted();
  }
  return pending;
}

interface Opened {
  readonly path: string;
  readonly pid?: number;
  readonly exe?: string;
}

/** In one group, because nothing may be opened between the look and the end. */
function detach(
  asker: Asker,
  point: string,
  force: boolean,
): { readonly closed: readonly Opened[]; readonly discarded: UnmountResult } {
  const { vfs, caller } = asker;
  const mounted = mountedAt(asker, point);
  const closed = demandIdle(asker, mounted, force);
  for (const { fh } of handlesIn(vfs, mounted)) vfs.revoke(fh);
  return { closed, discarded: unmount(vfs.core, caller, mounted.mountPoint) };
}

/**
 * What is open in the mount, which only `force` closes.
 * @throws OpError mount-busy, confirmation-required (a memory tree with content).
 */
function demandIdle({ vfs, tool }: Asker, mounted: Mounted, force: boolean): readonly Opened[] {
  const { superblock } = mounted;
  const point = textOf(mounted.mountPoint);
  const nested = mountsInside(vfs.core, superblock.root).map(({ mountPoint }) =>
    textOf(mountPoint),
  );
  const open = handlesIn(vfs, mounted).map(({ path, opener }): Opened => {
    const { pid, exe } = opener.actor();
    return {
      path: textOf(path),
      ...(pid === undefined ? {} : { pid }),
      ...(exe === undefined ? {} : { exe }),
    };
  });
  // Handles the kernel serves by itself cannot be taken from their holders.
  const isHeld = handlesIn(vfs, mounted).some(({ ino }) => isHeldByKernel(vfs.core, ino));
  if (nested.length > 0 || isHeld || (open.length > 0 && !force)) {
    throw new OpError('mount-busy', `${tool} ${point}`, {
      hint: nested.length > 0 ? 'unmount what is mounted inside first' : 'close the files listed',
      details: { mount_point: point, partial: { open, nested } },
    });
  }
  const isEmpty = vfs.core.journal.dentries.isEmpty(superblock.root);
  if (superblock.volatile && !isEmpty && !force) {
    const { files, bytes } = vfs.core.journal.superblocks.filesOf(superblock.id);
    throw new OpError('confirmation-required', `${tool} ${point}`, {
      hint: 'what is in memory is gone with the mount: repeat with force',
      details: { mount_point: point, partial: { files, bytes } },
    });
  }
  return open;
}

/** Inodes looked at before other work gets its turn. */
const INODES_PER_TURN = 1024;

/** All inodes of a tree, those first that are older. */
function* pagesOf({ core }: Vfs, { id }: Mounted['superblock']): Generator<readonly Inode[]> {
  for (let after: Ino | 0 = 0; ; ) {
    const page: readonly Inode[] = core.journal.inodes.ofSuperblock(id, after, INODES_PER_TURN);
    yield page;
    const last = page.at(-1);
    if (last === undefined || page.length < INODES_PER_TURN) return;
    after = last.ino;
  }
}

/** Puts the bytes and the records of a tree on stable storage. */
async function flush(vfs: Vfs, { superblock }: Mounted) {
  const { core } = vfs;
  const flushed = { files: 0, bytes: 0 };
  if (superblock.volatile) return flushed;
  for (const page of pagesOf(vfs, superblock)) {
    const unstable = page.filter(
      ({ content }) => content !== NO_CONTENT && (core.content.row(content)?.stable ?? 1) !== 1,
    );
    await core.content.fsync(unstable.map(({ content }) => content));
    flushed.files += unstable.length;
    flushed.bytes += unstable.reduce((sum, { size }) => sum + size, 0);
  }
  await core.syncJournal();
  return flushed;
}
