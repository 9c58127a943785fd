/** The room that bytes of files take here, and snapshots of before: what keeps them within it. */
import type { IpfsNode, NodeKind } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import { PUBLISHED_PIN } from '../base/published.ts';
import { Evictor, Gatherer, type Ladder, Releaser } from '../sync/sync.ts';
import type { CoreParts } from './core.ts';
import { journalIdOf } from './identity.ts';
import { KUBO_TARGET } from './ipfs-ports.ts';
import { diskSpaceAt, isDiskFull } from './room.ts';
import { quotaBytesOf, type Settings } from './settings.ts';

export interface SpaceInputs {
  readonly core: CoreParts;
  readonly ladder: Ladder;
  readonly home: NodeKind;
  /** undefined: none is configured. */
  readonly kubo: IpfsNode | undefined;
  readonly content: Settings['content'];
  readonly sync: Settings['sync'];
  /** Where the bytes of files lie. */
  readonly contentDirectory: string;
  readonly clock: Clock;
  readonly log: Log;
}

/** Names the pins that keep at a node what is not here; each journal has its own. */
const pinNameOf = (journalId: string): string => `${PUBLISHED_PIN}content ${journalId}`;

/** Starts what keeps bytes of files within their quota, brings those that are pinned, and lets old snapshots go. */
export function openSpace(inputs: SpaceInputs): Evictor {
  const { core, ladder, home, kubo, clock, log } = inputs;
  const { journal, contents, dag, filling, vfs, journalSync, loops, isJournalBehind } = core;
  const { handles, live, pinnedHere } = vfs.core;
  const gatherer = new Gatherer({
    ...{ clock, log },
    isPinned: (ino) => pinnedHere.has(ino),
    bring: (ino, signal) => vfs.bring(ino, { signal }),
  });
  const evictor = new Evictor(
    {
      ...{ journal, contents, dag, ladder, clock, log },
      files: {
        isInUse: (ino) => handles.isOpen(ino) || live.find(ino) !== undefined,
        isPinned: (ino, known) => pinnedHere.has(ino, known),
        get pins() {
          return pinnedHere.isUsed ? pinnedHere.sets : undefined;
        },
        changed: (ino) => vfs.core.invalidator.inode(ino, false),
      },
      recent: () => filling.recent(),
      nodeOf: (target) => (target === KUBO_TARGET ? kubo : undefined),
      onAway: (files) => gatherer.want(files),
      syncJournal: () => journalSync.sync(),
      isDiskFull: () => isDiskFull(journal, diskSpaceAt(inputs.contentDirectory)),
    },
    {
      quotaBytes: quotaBytesOf(inputs),
      // What an older journal takes for its own may have gone since: its pins are not touched.
      target: home === 'kubo' && !isJournalBehind ? KUBO_TARGET : undefined,
      pinName: pinNameOf(journalIdOf(journal)),
    },
  );
  const releaser = new Releaser({ ...core, clock, log }, inputs.sync.keep_snapshots);
  loops.start('old snapshots', (signal) => releaser.run(signal));
  loops.start('eviction', (signal) => evictor.run(signal));
  loops.start('pinned files', (signal) => gatherer.run(signal));
  return evictor;
}
