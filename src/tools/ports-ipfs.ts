/** What the tools of IPFS and of sync reach for, besides the tree. */
import type { Ino, Name } from '../base/ids.ts';
import type { Rung } from '../base/rungs.ts';
import type { BlockStore, Builder, Dag } from '../content/content.ts';
import type { EmbeddedNode, Nodes } from '../node/node.ts';
import type {
  Follower,
  Ladder,
  MfsTrees,
  Publisher,
  Restorer,
  Unpublished,
  Uploads,
} from '../sync/sync.ts';
import type { Subscriptions } from './subscriptions.ts';

export interface IpfsPorts {
  readonly ipfs: {
    /** The engines, and which of them answers. */
    readonly nodes: Nodes<EmbeddedNode>;
    readonly blocks: BlockStore;
    readonly dag: Dag;
    readonly builder: Builder;
    readonly publisher: Publisher;
    readonly restorer: Restorer;
    /** Keeps copies of what names mean current. */
    readonly follower: Follower;
    /** Keeps trees that show the mutable tree of the home node in step with it. */
    readonly mfsTrees: MfsTrees;
    /** Settles what is owed to stores outside. */
    readonly uploads: Uploads;
    /** What stores have of the tree. */
    readonly ladder: Ladder;
    /** Why a file cannot come to a rung as things are set up; undefined: nothing is in its way. */
    hindrance(ino: Ino, rung: Rung): string | undefined;
    /** Trees that changed, and wait for their time to be published by themselves. */
    unpublished(): readonly Unpublished[];
    /**
     * Publishes what changed of the trees that are published by themselves, because kitfs ends, and
     * waits until that has arrived or cannot.
     * @throws the signal's reason.
     */
    finish(signal: AbortSignal): Promise<void>;
    /**
     * The same of the mount at `path`, because that goes, and of what is owed of it already.
     * @throws OpError why it does not arrive; the signal's reason.
     */
    settle(path: Name, signal: AbortSignal): Promise<void>;
    /** Whether anything of the mount at `path` is to go to a store, and is not there. */
    owes(path: Name, signal: AbortSignal): Promise<boolean>;
    /** Topics that agents listen to. */
    readonly subscriptions: Subscriptions;
  };
}
