/** The embedded engine, assembled for the tools over the core's journal and content. */

import type { KuboNode, NodeKind } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import type { Name } from '../base/ids.ts';
import type { Log } from '../base/log.ts';
import { Pace } from '../base/pace.ts';
import {
  type BlockStore,
  Builder,
  type ContentStore,
  type Dag,
  type Filling,
  type Sealer,
} from '../content/content.ts';
import type { Actor, Journal } from '../journal/journal.ts';
import { EmbeddedNode, Keys, type NameResolver, Nodes } from '../node/node.ts';
import {
  Background,
  Follower,
  hindranceOf,
  Ladder,
  MfsTrees,
  Publisher,
  Restorer,
  Uploads,
} from '../sync/sync.ts';
import type { IpfsPorts } from '../tools/ports-ipfs.ts';
import { Subscriptions } from '../tools/tools.ts';
import {
  bringFromMfs,
  bringUpToDate,
  type Caller,
  followings,
  isWrittenTo,
  mfsMounts,
  type Vfs,
} from '../vfs/vfs.ts';
import { journalIdOf } from './identity.ts';
import type { Loops } from './loops.ts';
import { meaningOf } from './meaning.ts';
import { mfsEndOf } from './mfs-end.ts';
import { paceOf, type Settings } from './settings.ts';

export interface EngineParts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly dag: Dag;
  readonly sealer: Sealer;
  readonly filling: Filling;
  readonly vfs: Vfs;
  /** Is told of the home node here. */
  readonly names: NameResolver;
  readonly clock: Clock;
  /** undefined: none is configured. */
  readonly kubo: KuboNode | undefined;
  readonly home: NodeKind;
  /** Where the engine keeps its keys. */
  readonly keys: string;
  /** Of kitfs. */
  readonly version: string;
  /** Bytes that the disk of the content has in all. */
  diskBytes(): number;
  readonly log: Log;
  readonly loops: Pick<Loops, 'start'>;
  readonly sync: Settings['sync'];
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
}

/** The name of the Kubo that is configured, as a store. */
export const KUBO_TARGET = 'ipfs';

export function ipfsPorts(parts: EngineParts): IpfsPorts {
  const { blocks, clock, dag, filling, home, journal, kubo } = parts;
  const builder = new Builder(parts);
  const nodeOf = (target: string) => (target === KUBO_TARGET ? kubo : undefined);
  const pace = paceOf(parts);
  const { bytesPerS, checkS, storesAtOnce: atOnce } = pace;
  const limit = bytesPerS === undefined ? undefined : new Pace(bytesPerS, clock);
  // What is not here any more the node may lack at another place of the tree.
  const journalId = journalIdOf(parts.journal);
  const sources = { ...parts, journalId, dag: filling.dag, nodeOf };
  const uploads = new Uploads(sources, { atOnce, checkS, pace: limit });
  const onOwed = () => uploads.notify();
  const ports = { ...parts, builder, onOwed, syncJournal: () => parts.syncJournal() };
  const publisher = new Publisher(ports);
  const targets = home === 'kubo' ? [KUBO_TARGET] : [];
  const stores = kubo === undefined ? [] : [KUBO_TARGET];
  const background = new Background(
    { ...parts, publisher, actor: daemonActor },
    { ...pace, targets },
  );
  const ladder = new Ladder(parts, pace);
  parts.loops.start('uploads', (signal) => uploads.run(signal));
  parts.loops.start('publishing', (signal) => background.run(signal));
  parts.loops.start('ladder', (signal) => ladder.run(signal));
  const nodes = new Nodes({ home, kubo, dag, embedded: embeddedNode({ ...parts, builder }) });
  parts.names.attach(() => nodes.state(undefined, 'resolve a name').names);
  const restorer = new Restorer(ports);
  const follower = followerOf(parts, restorer);
  parts.loops.start('following', (signal) => follower.run(signal));
  const mfsTrees = mfsTreesOf({ ...parts, builder }, nodes, limit);
  parts.loops.start('mutable trees', (signal) => mfsTrees.run(signal));
  const publishOne = async (path: Name, signal: AbortSignal): Promise<void> => {
    if (!pace.isAtUnmount) return;
    await background.finish(signal, path);
    const late = background.unpublished.find((one) => one.path === path);
    if (late !== undefined) throw late.error ?? new OpError('busy', `publish ${path}`);
    await uploads.settle(path, signal);
  };
  const publishAll = async (signal: AbortSignal): Promise<void> => {
    if (!pace.isAtUnmount) return;
    await background.finish(signal);
    const rows = parts.journal.targets.all();
    const owed = rows.filter(({ state }) => state === 'queued' || state === 'uploading');
    // What does not arrive by then is owed: whoever is the next daemon goes on with it.
    await Promise.allSettled(owed.map((row) => uploads.outcome(row, signal)));
  };
  return {
    ipfs: {
      nodes,
      subscriptions: new Subscriptions(clock),
      ...{ blocks, dag, builder, publisher, restorer, follower, mfsTrees, uploads, ladder },
      unpublished: () => background.unpublished,
      hindrance: (ino, rung) => hindranceOf({ journal, background, ladder, stores }, ino, rung),
      settle: publishOne,
      owes: async (path, signal) =>
        uploads.owedBelow(path).length > 0 || (await background.isUnpublished(path, signal)),
      finish: async (signal) => {
        // Neither waits for the other: a node that is slow with one has all the time for both.
        // What does not arrive is told of by who unmounts, and goes on with the next daemon.
        const shown = mfsTrees.settle(signal).catch(() => undefined);
        try {
          await publishAll(signal);
        } finally {
          await shown;
        }
      },
    },
  };
}

const daemonActor = (): Actor => ({
  surface: 'daemon',
  uid: process.getuid?.() ?? 0,
  gid: process.getgid?.() ?? 0,
  pid: process.pid,
});

const ownerOf = () => ({ uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 });

/** The daemon, where it changes trees by itself. */
const daemonCaller = (): Caller => {
  const owner = ownerOf();
  const actor = (): Actor => ({ surface: 'daemon', ...owner });
  return { ...{ ...owner, groups: [], checked: false }, actor };
};

function mfsTreesOf(
  parts: EngineParts & { readonly builder: Builder },
  nodes: IpfsPorts['ipfs']['nodes'],
  pace: Pace | undefined,
): MfsTrees {
  const { vfs, filling, dag, home, journal } = parts;
  const { core } = vfs;
  const caller = daemonCaller();
  const end = mfsEndOf(nodes.state(undefined, 'show the tree of the home node'), journal);
  return new MfsTrees({
    ...parts,
    ...{ end, isRoot: caller.uid === 0 },
    reach: () => (home === 'kubo' && filling.isOffered ? filling.keeping() : dag),
    through: pace?.through(filling.signal),
    syncJournal: () => parts.syncJournal(),
    mounts: {
      all: () => mfsMounts(core),
      bring: (tree, plan) => bringFromMfs(core, caller, tree, plan),
      isWritten: (ino) => isWrittenTo(core, ino),
    },
  });
}

function followerOf(parts: EngineParts, restorer: Restorer): Follower {
  const { vfs, names, filling, dag, clock, log } = parts;
  const { core } = vfs;
  const owner = ownerOf();
  const caller = daemonCaller();
  return new Follower({
    ...{ restorer, clock, log, owner },
    copies: {
      all: () => followings(core),
      bring: (copy, plan, shown) => bringUpToDate(core, caller, copy, { plan, shown }),
    },
    meaningOf: (source, signal) => meaningOf({ names, filling, dag }, source, signal),
  });
}

const embeddedNode = (parts: EngineParts & { readonly builder: Builder }): EmbeddedNode =>
  new EmbeddedNode({
    ...parts,
    keys: new Keys(parts.keys),
    diskBytes: () => parts.diskBytes(),
    syncJournal: () => parts.syncJournal(),
  });
