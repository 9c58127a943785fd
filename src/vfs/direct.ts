/**
 * Opening files so that the kernel reads and writes their bytes itself, and bringing them to rest
 * when nobody holds them any more.
 *
 * A file that is opened for writing gets bytes of its own first: in a slot when it is new or small,
 * where they lie when they are large. In that case the bytes before are copied aside, so that
 * they can be undone to, unless they are too many.
 */
import { OpError } from '../base/errors.ts';
import { type ContentId, type Ino, NO_CONTENT } from '../base/ids.ts';
import { COPY_ON_MAIN_BYTES_MAX, HISTORY_COPY_BYTES_MAX } from '../base/limits.ts';
import { O_ACCMODE, O_RDWR, O_TRUNC, writes } from '../base/posix.ts';
import type { InodeRow, Tx } from '../journal/journal.ts';
import type { Caller } from './contract.ts';
import type { Core } from './core.ts';
import { isFull, isSameRead, type Live } from './live.ts';

/** Where the bytes of a file come from that is opened for the kernel to read and write. */
type Source =
  /** There are none, or none are wanted. */
  | 'empty'
  /** Packed ones are copied to a slot. */
  | 'packed'
  /** They stay where they are. */
  | 'here'
  /** Others show them too: a copy is made. */
  | 'shared';

export interface DirectPlan {
  readonly source: Source;
  readonly isWritable: boolean;
  /** The object whose bytes are to be copied aside, because they are about to change. */
  readonly aside: ContentId | undefined;
  readonly isLargeCopy: boolean;
}

/** Whether, and how, the kernel may have the file to itself; undefined when not. */
export function planOf(
  core: Core,
  caller: Caller,
  row: InodeRow,
  flags: number,
): DirectPlan | undefined {
  if (!caller.checked || !core.live.isOffered || !mayBeDirect(core, row)) return undefined;
  const isWritable = writes(flags) || (flags & O_TRUNC) !== 0;
  const live = core.live.find(row.ino);
  if (live === undefined && core.handles.isOpen(row.ino)) return undefined;
  const isEmptied = live === undefined && (flags & O_TRUNC) !== 0;
  // What comes as it is read comes through the daemon.
  if (!isEmptied && core.content.row(row.content)?.state === 'remote') return undefined;
  const source = isEmptied ? 'empty' : sourceOf(core, row);
  const isBusy = live?.isWritable === true;
  const plan = { source, isWritable, aside: undefined, isLargeCopy: false };
  // On a full disk small bytes are changed where they lie, as far as the journal has room.
  if (source === 'packed' && !core.content.direct.hasRoom(row.size)) return undefined;
  // All opens of a file are of one kind.
  if (!isWritable) return live !== undefined || source === 'here' ? plan : undefined;
  if (isBusy || source === 'empty' || source === 'packed') return plan;
  const content = core.content.row(row.content);
  const size = content?.size ?? 0;
  const isLargeCopy = size > COPY_ON_MAIN_BYTES_MAX;
  if (source === 'shared') {
    if (live === undefined) return isLargeCopy ? undefined : plan;
    // Somebody reads where they lie: the copy is for the others that show them.
    return { ...plan, aside: row.content, isLargeCopy };
  }
  // What was written a moment ago and is not sealed yet is no version anybody wants back.
  if (content?.state !== 'sealed' || size > HISTORY_COPY_BYTES_MAX) return plan;
  return { ...plan, aside: row.content, isLargeCopy };
}

/** The daemon counts what goes into a tree with a limit, and one in memory is gone with it. */
function mayBeDirect(core: Core, row: InodeRow): boolean {
  const { volatile, sizeBytesMax, readOnly } = core.superblockOf(row);
  return !volatile && sizeBytesMax === undefined && !readOnly;
}

function sourceOf(core: Core, row: InodeRow): Source {
  if (row.content === NO_CONTENT) return 'empty';
  const content = core.content.row(row.content);
  if (content?.place === 'packed') return 'packed';
  return isAlone(core, row) ? 'here' : 'shared';
}

/** Whether only this inode shows the object, and neither history nor the block store keeps it. */
export function isAlone(core: Core, row: InodeRow): boolean {
  const content = core.content.row(row.content);
  if (content === undefined || content.refs > 1 || content.held === 1) return false;
  return content.released_s === null;
}

/**
 * Makes the file live, or lets one more open share in it; `slot` holds the bytes `plan.aside` asks
 * for. Inside a transaction unless nothing is to be written.
 * @returns the object with the bytes before, for the session; NO_CONTENT when they are not kept.
 */
export function enterDirect(
  core: Core,
  tx: Tx | undefined,
  row: InodeRow,
  plan: DirectPlan,
  options: { readonly flags: number; readonly isNew: boolean; readonly slot: number | undefined },
): { readonly live: Live; readonly oldContent: ContentId } {
  const isMappable = plan.isWritable && (options.flags & O_ACCMODE) === O_RDWR;
  const live = core.live.find(row.ino);
  if (live !== undefined) {
    core.live.lingering.delete(row.ino);
    live.isMappable ||= isMappable;
    if (!plan.isWritable || tx === undefined) return { live, oldContent: NO_CONTENT };
    const oldContent = live.isWritable ? keptBefore(live) : upgrade(core, tx, live, options);
    return { live, oldContent };
  }
  if (!plan.isWritable || tx === undefined) {
    const given = { isWritable: false, isMappable: false, isNew: false };
    return { live: core.live.add(tx, row, given), oldContent: NO_CONTENT };
  }
  return begin(core, tx, row, plan, { ...options, isMappable });
}

/** The object with a live file's bytes that was kept when it was opened for writing, if they are those. */
export function keptBefore({ isChanged, before, copiedFrom }: Live): ContentId {
  return isChanged ? NO_CONTENT : (before?.aside ?? copiedFrom);
}

function begin(
  core: Core,
  tx: Tx,
  row: InodeRow,
  plan: DirectPlan,
  { slot, isMappable, isNew }: { slot: number | undefined; isMappable: boolean; isNew: boolean },
): { readonly live: Live; readonly oldContent: ContentId } {
  const { direct } = core.content;
  const given = { isWritable: true, isMappable, isNew };
  const old = row.content;
  if (plan.source === 'here') {
    const live = core.live.add(tx, row, { ...given, isWritable: false });
    return { live, oldContent: upgrade(core, tx, live, { slot }) };
  }
  const content = contentFor(core, row, plan.source);
  core.content.retain(content);
  if (old !== NO_CONTENT) core.content.release(old);
  if (plan.source === 'shared') direct.enter(content);
  row.content = content;
  core.inodes.change(tx, row);
  const copiedFrom = plan.source === 'empty' ? NO_CONTENT : old;
  return { live: core.live.add(tx, row, { ...given, copiedFrom }), oldContent: old };
}

function contentFor(core: Core, { content }: InodeRow, source: Source): ContentId {
  if (source === 'empty') return core.content.direct.create();
  if (source === 'packed') return core.content.direct.unpack(content);
  const fork = core.content.fork(content);
  if (fork === undefined) throw new OpError('no-space', 'open');
  return fork;
}

/**
 * Bytes at rest may change from now on, where they lie; `slot` holds a copy of them. An object that
 * somebody else names keeps them, in the copy. One that nobody else does is opened, and its CID taken
 * away, before the first of them changes.
 */
function upgrade(
  core: Core,
  tx: Tx,
  live: Live,
  { slot }: { readonly slot: number | undefined },
): ContentId {
  const was = { ...live };
  tx.onRollback(() => {
    const { content, copiedFrom, before, isWritable } = was;
    Object.assign(live, { content, copiedFrom, before, isWritable });
  });
  live.isWritable = true;
  if (isAlone(core, live.row)) return reopen(core, live, slot);
  part(core, tx, live, slot);
  return was.content;
}

function reopen(core: Core, live: Live, slot: number | undefined): ContentId {
  const { content } = core;
  const row = content.row(live.content);
  const aside = setAside(core, live.content, slot);
  const wasSealed = row?.state === 'sealed' && row.cid !== null && row.profile !== null;
  if (wasSealed) live.before = { sealing: { cid: row.cid, profile: row.profile }, aside };
  core.reopen(live.content);
  content.direct.enter(live.content);
  return aside;
}

/**
 * The kernel goes on with the file it reads, which is another object's from now on. @throws OpError busy.
 */
function part(core: Core, tx: Tx, live: Live, slot: number | undefined): void {
  const { content } = core;
  if (slot === undefined) {
    throw new OpError('busy', 'open', { hint: 'too many files are open for writing' });
  }
  const row = core.inodes.get(live.ino);
  const old = live.content;
  const made = content.direct.part(old, slot);
  content.retain(made);
  content.release(old);
  row.content = made;
  core.inodes.change(tx, row);
  live.content = made;
  live.copiedFrom = old;
}

const setAside = (
  { content, clock }: Pick<Core, 'content' | 'clock'>,
  id: ContentId,
  slot: number | undefined,
): ContentId =>
  slot === undefined ? NO_CONTENT : content.direct.setAside(id, slot, clock.now().s);

/** As `upgrade`, for a change that comes from us while others only read. */
export function upgradeHere(core: Core, tx: Tx, live: Live): ContentId {
  if (live.isWritable) return NO_CONTENT;
  const size = core.content.size(live.content);
  const isKept = size > 0 && size <= HISTORY_COPY_BYTES_MAX;
  const isWanted = !isAlone(core, live.row);
  const slot = isKept || isWanted ? copyAside(core, tx, live, isWanted) : undefined;
  return upgrade(core, tx, live, { slot });
}

/** A copy of what the file is now, for history; NO_CONTENT when that is nothing, or too much. */
export function keepAside(core: Core, tx: Tx, live: Live): ContentId {
  const size = core.content.size(live.content);
  const isKept = size > 0 && size <= HISTORY_COPY_BYTES_MAX;
  return setAside(core, live.content, isKept ? copyAside(core, tx, live, false) : undefined);
}

/** Undefined when too many are in use and, unless others want the bytes, on a full disk. */
function copyAside(core: Core, tx: Tx, live: Live, isWanted: boolean): number | undefined {
  const { direct } = core.content;
  let slot: number | undefined;
  try {
    slot = direct.copyAside(live.content);
  } catch (error) {
    if (isWanted || !isFull(error)) throw error;
  }
  if (slot !== undefined) tx.onRollback(() => direct.dropAside(slot));
  return slot;
}

/**
 * Nobody has the file open any more. False when somebody may still write through a mapping: then it
 * lingers, and is looked at again.
 */
export function rest(core: Core, tx: Tx, live: Live): boolean {
  const { direct } = core.content;
  const openers = live.isWritable ? direct.openers(live.content) : 'readers';
  if (openers === 'writers') {
    core.live.lingering.add(live.ino);
    return false;
  }
  // Nobody writes any more: this is what it stays.
  const row = core.inodes.get(live.ino);
  if (live.isWritable) settle(core, tx, live, row, openers === 'none');
  else core.inodes.change(tx, row);
  core.live.remove(tx, live);
  tx.afterCommit(() => {
    core.live.lingering.delete(live.ino);
    if (live.isChanged && !live.isNew) core.live.stalePages.add(live.ino);
    core.live.letGo(live);
  });
  return true;
}

/** Whether reading changed its access time. */
export const isRead = ({ seen, saved }: Live): boolean => !isSameRead(seen, saved);

/** Nobody has a file open any more that was only read: nothing is to be written. */
export function leave(core: Core, live: Live): void {
  core.live.remove(undefined, live);
  core.live.letGo(live);
}

function settle(core: Core, tx: Tx, live: Live, row: InodeRow, isAlone: boolean): void {
  const { content } = core;
  core.inodes.change(tx, row);
  if (!live.isChanged && live.before !== undefined) {
    const { sealing, aside } = live.before;
    content.resume(live.content, sealing);
    // Unless others have it.
    if (content.row(aside)?.refs === 0 && content.row(aside)?.held === 0) content.discard(aside);
    return;
  }
  const isCopy = !live.isChanged && live.copiedFrom !== NO_CONTENT;
  // Unless history has let go of it: somebody had the file mapped for long.
  if (isCopy && content.row(live.copiedFrom) !== undefined) {
    row.content = live.copiedFrom;
    content.retain(live.copiedFrom);
    content.drop(live.content);
    return;
  }
  if (row.size === 0) {
    row.content = NO_CONTENT;
    content.drop(live.content);
    return;
  }
  content.direct.settle(live.content, isAlone);
  content.freeze(live.content);
}

/** Looks again at files that nobody has open. How many came to rest. */
export function restLingering(core: Core): number {
  let rested = 0;
  for (const ino of [...core.live.lingering]) {
    const live = core.live.find(ino);
    if (live === undefined || core.handles.isOpen(ino)) {
      core.live.lingering.delete(ino);
      continue;
    }
    const isRested = core.journal.commitFreeing((tx) => {
      const done = rest(core, tx, live);
      const row = core.inodes.find(ino);
      if (done && row !== undefined) core.reapIfUnused(tx, row);
      return done;
    });
    rested += Number(isRested);
  }
  return rested;
}

/**
 * Bytes could not be copied aside. On a full disk who writes them where they lie does without: they
 * are not kept. @throws `error`, when there is another reason, or others want the bytes.
 */
export function demandSpare(plan: DirectPlan | undefined, error: unknown): void {
  if (plan?.source === 'here' && isFull(error)) return;
  throw error;
}

/** Whether some of them are open in a way that cannot be taken back (fs/fuse/passthrough.c). */
export const isHeldByKernel = (core: Core, ino: Ino): boolean =>
  core.live.find(ino) !== undefined && core.handles.isOpen(ino);
