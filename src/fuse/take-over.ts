/**
 * Going on with a connection to the kernel that a daemon before this one had: what the kernel was
 * told is in the handle table, and what it asked and was not answered it is asked to ask again.
 */
import type { Clock } from '../base/clock.ts';
import type { Ino } from '../base/ids.ts';
import { ORPHANS_ASKED_MS, POISON_DEATHS_MAX } from '../base/limits.ts';
import type { FileSystem, HandleTable, Inherited } from '../vfs/vfs.ts';
import { Callers } from './callers.ts';
import { putU32 } from './encode.ts';
import { type Features, featuresOf } from './handshake.ts';
import { NOTIFY, OUT_HEADER } from './layout.ts';
import type { KernelInvalidator } from './notify.ts';
import type { KernelReferences } from './references.ts';

/** What was agreed with the kernel; undefined before there was a mount. */
export function agreedIn(table: HandleTable): Features | undefined {
  const { agreement } = table;
  return agreement === undefined ? undefined : featuresOf(agreement);
}

/** The handles of the table, for the file system to go on with. */
export function inheritedFrom(table: HandleTable, clock: Clock): Inherited[] {
  const callers = new Callers(clock);
  return table.handles().map(({ fh, ino, flags, backing, isRevoked, pid, uid, gid }) => {
    return { fh, ino, flags, backing, isRevoked, opener: callers.of(pid, uid, gid) };
  });
}

/**
 * Counts the death of the daemon before against the request that it served or, if it served none,
 * against those that were under way: after the first death that is one, as a rule.
 */
export function blame(table: HandleTable, diedOfItself: boolean): ReadonlySet<number> {
  const awaited = table.takeAwaited();
  const blamed = table.served === 0 ? awaited : [table.served];
  if (diedOfItself) for (const unique of blamed) table.addDeath(unique);
  table.serving(0, 0);
  return new Set(table.poisonous(POISON_DEATHS_MAX));
}

/** FUSE_NOTIFY_RESEND: what was read and not answered is queued again. Linux 6.9. */
export function resendMessage(): Buffer {
  const message = Buffer.alloc(OUT_HEADER.bytes);
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  putU32(view, OUT_HEADER.len, message.length);
  view.setInt32(OUT_HEADER.error, NOTIFY.resend, true);
  return message;
}

/**
 * A FORGET that the daemon before read went with it. Inodes without a name would stay for it, so the
 * kernel is asked about them now and then, until the signal aborts.
 */
export async function askForOrphans(
  {
    fileSystem,
    references,
    invalidator,
    clock,
  }: {
    readonly fileSystem: FileSystem;
    readonly references: KernelReferences;
    readonly invalidator: KernelInvalidator;
    readonly clock: Clock;
  },
  forget: (ino: Ino) => void,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    await clock.sleep(ORPHANS_ASKED_MS, signal);
    for (const ino of fileSystem.unnamed()) {
      if (signal.aborted) return;
      if (!references.isInherited(ino) || references.isCounted(ino)) continue;
      if (!(await invalidator.has(ino))) forget(ino);
    }
  }
}
