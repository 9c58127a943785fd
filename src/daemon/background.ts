/** What goes on while nobody asks for anything. */
import { readFileSync } from 'node:fs';
import type { Clock } from '../base/clock.ts';
import { LINGERING_INTERVAL_MS, READS_PENDING_MS, RETENTION_INTERVAL_MS } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { turn } from '../base/turn.ts';
import { type ContentStore, removeStrays } from '../content/content.ts';
import type { Retention } from '../journal/journal.ts';
import { ascertain, type Core, restLingering } from '../vfs/vfs.ts';
import type { JournalSync } from './stable.ts';

/** Lets old history go, until the signal aborts. */
export async function retain(
  { retention, clock }: { readonly retention: Retention; readonly clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    // Others have their turn between the steps, each of which is short.
    while (!signal.aborted && retention.step()) await turn();
    await clock.sleep(RETENTION_INTERVAL_MS, signal);
  }
}

/** Brings files to rest that nobody has open and somebody had mapped, until the signal aborts. */
export async function restMapped(
  { core, clock }: { readonly core: Core; readonly clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  while (!signal.aborted) {
    if (core.live.lingering.size > 0) restLingering(core);
    await clock.sleep(LINGERING_INTERVAL_MS, signal);
  }
}

/** Writes access times, which wait for a transaction, until the signal aborts; then the last ones. */
export async function saveReads(
  { core, clock }: { readonly core: Core; readonly clock: Clock },
  signal: AbortSignal,
): Promise<void> {
  do {
    await clock.sleep(READS_PENDING_MS, signal).catch(() => {}); // The end.
    core.inodes.saveReads();
  } while (!signal.aborted);
}

/**
 * Once: removes what a kill left without an owner. Beside a journal that is older than the content
 * that is nothing: files without a row may be all that there is of what was written since.
 */
export async function removeLeftovers(
  {
    contents,
    journalSync,
    isJournalBehind,
    log,
  }: {
    readonly contents: ContentStore;
    readonly journalSync: Pick<JournalSync, 'sync'>;
    readonly isJournalBehind: boolean;
    readonly log: Log;
  },
  signal: AbortSignal,
): Promise<void> {
  if (isJournalBehind) {
    await removeStrays(contents, signal, ['memory']);
    return;
  }
  await journalSync.sync();
  contents.direct.removeStraySlots();
  const files = await removeStrays(contents, signal);
  if (files > 0) log.info({ files }, 'removed content files that a kill had left');
}

/** Another one after each start of the machine (random(4)). */
export const bootId = (): string => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();

/** Once: looks at what a loss of power may have taken. */
export async function settleDoubt(core: Core, signal: AbortSignal): Promise<void> {
  await core.doubt?.run(async (id) => {
    await ascertain(core, id);
    await core.invalidator.settled();
  }, signal);
}
