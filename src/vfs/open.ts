/** open, release, fsync of managed files. */
import { OpError } from '../base/errors.ts';
import { type ContentId, type Ino, NO_CONTENT } from '../base/ids.ts';
import {
  isDirectory,
  isRegular,
  O_ACCMODE,
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
  R_OK,
  W_OK,
  writes,
} from '../base/posix.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import { isReadDue } from './access-times.ts';
import { clearSetId, isWrittenInPlace, openInPlace, truncate } from './bytes.ts';
import type { Asking, Awaitable, Caller } from './contract.ts';
import { attributesOf, type Core } from './core.ts';
import {
  type DirectPlan,
  demandSpare,
  enterDirect,
  isRead,
  leave,
  planOf,
  rest,
  upgradeHere,
} from './direct.ts';
import { bring, isHere } from './elsewhere.ts';
import type { OpenFile } from './handles.ts';
import type { Live } from './live.ts';
import { demand } from './permissions.ts';
import { endSession, insertSession } from './sessions.ts';
import { ascertain, isDoubtful } from './unclean.ts';
import { clearCapability } from './xattr.ts';

/** Flags that mean something to open(2) only, not to the handle. */
const OPENING_FLAGS = O_CREAT | O_EXCL | O_TRUNC;

/**
 * Nothing is changed for who has stopped waiting.
 * @throws OpError is-directory, unsupported, denied, read-only, no-space; content-missing for who
 *   writes to what is elsewhere; the signal's reason.
 */
export function open(
  core: Core,
  caller: Caller,
  ino: Ino,
  flags: number,
  killSetId: boolean,
  asking?: Asking,
): Awaitable<OpenFile> {
  const row = core.inodes.get(ino);
  demandOpenable(core, caller, row, flags);
  const after = (wait: (signal: AbortSignal | undefined) => Promise<void>) => {
    // Asked for now: who asks may be another one afterwards.
    const signal = asking?.signal;
    return wait(signal).then(() => {
      signal?.throwIfAborted();
      return open(core, caller, ino, flags, killSetId, signal && { signal });
    });
  };
  // Who writes needs the bytes beside those he writes, and who empties the file none.
  const keepsBytes = writes(flags) && (flags & O_TRUNC) === 0;
  if (keepsBytes && !isHere(core, row)) return after((signal) => bring(core, ino, signal));
  if (isDoubtful(core, row.content)) {
    // The kernel holds nothing while it waits for this answer that an invalidation waits for.
    return after(() => ascertain(core, row.content).then(() => core.invalidator.settled()));
  }
  const plan = planOf(core, caller, row, flags);
  if (isTrustEnding(core, row, plan, flags)) return after(() => endTrust(core, row.content));
  if (plan?.isLargeCopy === true && plan.aside !== undefined) {
    const { version } = row;
    const signal = asking?.signal;
    return openLater(core, caller, ino, { flags, killSetId, aside: plan.aside, version, signal });
  }
  return openPlanned(core, caller, row, { flags, killSetId, plan });
}

/** Whether bytes may change where they lie of which nobody would think so after a loss of power. */
function isTrustEnding(
  core: Core,
  row: InodeRow,
  plan: DirectPlan | undefined,
  flags: number,
): boolean {
  const content = core.content.row(row.content);
  if (content === undefined || !writes(flags) || !core.content.losses.isTrusted(content))
    return false;
  return plan === undefined ? isWrittenInPlace(core, row) : plan.source === 'here';
}

function endTrust(core: Core, id: ContentId): Promise<void> {
  return new Promise((resolve, reject) => {
    // It was trusted: nobody needs to look at it because of what is written now.
    core.doubt?.settle(id);
    core.journal.commitFreeing((tx) => {
      core.content.losses.distrust(id);
      tx.afterCommit(() => void core.syncJournal().then(resolve, reject));
      // Whoever opens it then asks again.
      tx.onRollback(resolve);
    });
  });
}

/** As `open`, whatever is to be copied; permissions are `caller`'s, the handle is `asker`'s. */
export function openNow(
  core: Core,
  caller: Caller,
  ino: Ino,
  given: { readonly flags: number; readonly killSetId: boolean; readonly asker?: Caller },
): OpenFile {
  const { flags, killSetId, asker = caller } = given;
  const row = core.inodes.get(ino);
  demandOpenable(core, caller, row, flags);
  const plan = planOf(core, asker, row, flags);
  return openPlanned(core, asker, row, { flags, killSetId, plan });
}

interface Opening {
  readonly flags: number;
  readonly killSetId: boolean;
  readonly plan: DirectPlan | undefined;
}

function openPlanned(core: Core, caller: Caller, row: InodeRow, opening: Opening): OpenFile {
  const { plan, flags, killSetId } = opening;
  if (plan === undefined) return openCached(core, caller, row, flags, killSetId);
  const { direct } = core.content;
  let slot: number | undefined;
  try {
    slot = plan.aside === undefined ? undefined : direct.copyAside(plan.aside);
  } catch (error) {
    demandSpare(plan, error);
  }
  return openDirect(core, caller, row, { flags, killSetId, plan, slot });
}

/** The bytes before are copied while others are served. */
async function openLater(
  core: Core,
  caller: Caller,
  ino: Ino,
  given: {
    readonly flags: number;
    readonly killSetId: boolean;
    readonly aside: ContentId;
    readonly version: number;
    readonly signal: AbortSignal | undefined;
  },
): Promise<OpenFile> {
  const { direct } = core.content;
  const { flags, killSetId, aside, version, signal } = given;
  let slot: number | undefined;
  let full: unknown;
  try {
    slot = await direct.copyAsideLater(aside);
  } catch (error) {
    full = error;
  }
  const row = core.inodes.find(ino);
  const plan = row === undefined ? undefined : planOf(core, caller, row, flags);
  if (full !== undefined) demandSpare(plan, full);
  // Who wrote meanwhile, and closed, may have left the same object sealed again with other bytes.
  const isSame = row?.version === version && plan?.aside === aside;
  const isWanted = signal?.aborted !== true;
  if (row !== undefined && plan !== undefined && isSame && isWanted) {
    return openDirect(core, caller, row, { flags, killSetId, plan, slot });
  }
  // Somebody else opened or changed it meanwhile, or nobody waits any more.
  if (slot !== undefined) direct.dropAside(slot);
  signal?.throwIfAborted();
  return open(core, caller, ino, flags, killSetId, signal && { signal });
}

interface DirectOpening extends Opening {
  readonly plan: DirectPlan;
  /** Holds the copy that `plan.aside` asks for. */
  readonly slot: number | undefined;
}

function openDirect(core: Core, caller: Caller, row: InodeRow, opening: DirectOpening): OpenFile {
  const { flags, plan, slot } = opening;
  const path = core.pathnames.ofInode(row.ino);
  const kept = flags & ~OPENING_FLAGS;
  if (!plan.isWritable) {
    const { live } = enterDirect(core, undefined, row, plan, { flags, isNew: false, slot });
    const backing = registered(core, row, live);
    const file = core.handles.add(row.ino, kept, path, caller);
    file.backing = backing;
    return file;
  }
  let isBegun = false;
  const { direct } = core.content;
  try {
    // On a full disk too: it is how a file is cut, and what it adds goes with the last close.
    return core.journal.commitFreeing((tx) => {
      isBegun = true;
      if (slot !== undefined) tx.onRollback(() => direct.dropAside(slot));
      return openToWrite(core, tx, caller, row, opening);
    });
  } catch (error) {
    if (!isBegun && slot !== undefined) direct.dropAside(slot);
    throw error;
  }
}

function openToWrite(
  core: Core,
  tx: Tx,
  caller: Caller,
  row: InodeRow,
  { flags, killSetId, plan, slot }: DirectOpening,
): OpenFile {
  const path = core.pathnames.ofInode(row.ino);
  const isEmptied = (flags & O_TRUNC) !== 0;
  const wasLive = core.live.find(row.ino) !== undefined;
  if (isEmptied && !wasLive) truncate(core, tx, caller, row, 0);
  dropPrivileges(core, tx, caller, row, killSetId);
  const begun = { oldSize: row.size, before: attributesOf(row) };
  const { live, oldContent } = enterDirect(core, tx, row, plan, { flags, isNew: false, slot });
  expectRead(core, row, live, flags);
  if (isEmptied && wasLive) truncate(core, tx, caller, row, 0);
  const file = core.handles.add(row.ino, flags & ~OPENING_FLAGS, path, caller);
  tx.onRollback(() => core.handles.remove(file.fh));
  shareOut(core, tx, file, live, { ...begun, oldContent, version: row.version });
  // The kernel keeps attributes from before, and says nothing of what a mapping changes.
  if (live.isMappable) tx.afterCommit(() => core.invalidator.inode(row.ino, false));
  return file;
}

/** A read that is to move the access time will not be missed. */
function expectRead(core: Core, row: InodeRow, live: Live, flags: number): void {
  const isReader = (flags & O_ACCMODE) !== O_WRONLY;
  if (isReader && isReadDue(row, core.clock.now())) core.live.expectRead(live);
}

/** @throws OpError io, after which the file is what it was before. */
function registered(core: Core, row: InodeRow, live: Live): number {
  try {
    expectRead(core, row, live, O_RDONLY);
    return core.live.backingOf(live);
  } catch (error) {
    if (!core.handles.isOpen(live.ino)) leave(core, live);
    throw error;
  }
}

/** The handle is one of a live file; one that writes begins its session. */
export function shareOut(
  core: Core,
  tx: Tx,
  file: OpenFile,
  live: Live,
  begun: Parameters<typeof insertSession>[3],
): void {
  const open = core.handles.openInode(file.ino);
  if (open !== undefined) {
    const was = open.isPrivate;
    open.isPrivate = true;
    tx.onRollback(() => {
      open.isPrivate = was;
    });
  }
  if (writes(file.flags)) insertSession(core, tx, file, begun);
  file.backing = core.live.backingOf(live);
}

/**
 * Whoever writes past us takes set-id bits and capabilities away, as inode(7) and capabilities(7)
 * have it, and the kernel forgets to (fs/fuse/passthrough.c): so the open does.
 */
function dropPrivileges(
  core: Core,
  tx: Tx,
  caller: Caller,
  row: InodeRow,
  killSetId: boolean,
): void {
  if (killSetId || caller.uid !== 0) clearSetId(core, tx, row, caller);
  clearCapability(core, tx, row, caller);
}

function openCached(
  core: Core,
  caller: Caller,
  row: InodeRow,
  flags: number,
  killSetId: boolean,
): OpenFile {
  const { ino } = row;
  const kept = flags & ~OPENING_FLAGS;
  const live = core.live.find(ino);
  // Neither a kill nor a rollback of its first write may find bytes changed that are at rest again.
  if (live !== undefined && writes(flags)) core.journal.commit((tx) => upgradeHere(core, tx, live));
  const isInPlace = (flags & O_TRUNC) === 0 && writes(flags) && isWrittenInPlace(core, row);
  if ((flags & O_TRUNC) === 0 && !killSetId && !isInPlace)
    return addCached(core, caller, ino, kept);
  return core.journal.commitFreeing((tx) => {
    // Also of an empty file: its times change.
    if ((flags & O_TRUNC) !== 0) truncate(core, tx, caller, row, 0);
    if (killSetId) clearSetId(core, tx, row, caller);
    const file = addCached(core, caller, ino, kept);
    tx.onRollback(() => core.handles.remove(file.fh));
    if (isInPlace) openInPlace(core, tx, row);
    return file;
  });
}

function addCached(core: Core, caller: Caller, ino: Ino, flags: number): OpenFile {
  // It would write back what a mapping changed, in the midst of a write(2) that makes the file longer:
  // Linux 6.18 then zeroes what that put behind the old end (fs/iomap/buffered-io.c).
  const isMappable = core.handles.isMappable(ino);
  const file = core.handles.add(ino, flags, core.pathnames.ofInode(ino), caller);
  const isStale = caller.checked && core.live.stalePages.has(ino);
  if (isStale) forgetStalePages(core, ino);
  // The kernel says nothing of what is read from its pages, so it may keep none when that matters.
  const isReader = (flags & O_ACCMODE) !== O_WRONLY;
  const isDue = isReader && isReadDue(core.inodes.get(ino), core.clock.now());
  file.dropsPages = isStale || (isDue && !isMappable);
  return file;
}

/** The kernel is told of them, unless that is undone. */
function forgetStalePages(core: Core, ino: Ino): void {
  core.live.stalePages.delete(ino);
  core.journal.commit((tx) => tx.onRollback(() => core.live.stalePages.add(ino)));
}

function demandOpenable(core: Core, caller: Caller, row: InodeRow, flags: number): void {
  const changes = writes(flags) || (flags & O_TRUNC) !== 0;
  if (isDirectory(row.mode)) throw new OpError('is-directory', 'open');
  if (!isRegular(row.mode)) throw new OpError('unsupported', 'open');
  if (changes) core.demandWritable(row, 'open');
  const access = flags & O_ACCMODE;
  let mask = access === O_WRONLY ? 0 : R_OK;
  if (changes) mask |= W_OK;
  demand(caller, row, mask, 'open');
}

/**
 * The last close of a handle: its session ends, and an inode without a name ends with it. When the
 * transaction is rolled back the handle is there again, and is released once more soon: who closed it
 * has his answer already.
 */
export function release(core: Core, file: OpenFile): void {
  const { handles } = core;
  const open = handles.openInode(file.ino);
  const row = core.inodes.peek(file.ino);
  const live = open?.count === 1 ? core.live.find(file.ino) : undefined;
  const ending = row?.nlink === 0 && open?.count === 1 ? row : undefined;
  const changes = file.session !== undefined || open?.isPrivate === true || ending !== undefined;
  const isAtRest = live === undefined || (!live.isWritable && !isRead(live));
  if (open === undefined || (!changes && isAtRest)) {
    handles.remove(file.fh);
    if (live !== undefined) leave(core, live);
    return;
  }
  core.journal.commitFreeing((tx) => {
    tx.onRollback(() => handles.unreleased.add(file.fh));
    tx.afterCommit(() => handles.unreleased.delete(file.fh));
    endSession(core, file, true);
    handles.remove(file.fh);
    tx.onRollback(() => handles.restore(file, open));
    if (live !== undefined) rest(core, tx, live);
    if (ending !== undefined) core.reapIfUnused(tx, ending);
  });
}

/** Releases what could not be released when it was given back. How many were. @throws OpError. */
export function releaseAgain(core: Core): number {
  const { handles } = core;
  let released = 0;
  for (const fh of [...handles.unreleased]) {
    const file = handles.find(fh);
    if (file !== undefined) release(core, file);
    handles.unreleased.delete(fh);
    released += 1;
  }
  return released;
}

/** Content first, then the journal: what is acknowledged after this survives a loss of power. */
export async function fsync(core: Core, file: OpenFile): Promise<void> {
  endSession(core, file, false);
  const row = core.inodes.find(file.ino);
  if (row !== undefined && row.content !== NO_CONTENT) await core.content.fsync([row.content]);
  await core.syncJournal();
}
