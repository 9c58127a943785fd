/** What the tools of IPFS and of sync reach for, besides the tree. */
import type { Name } from '../base/ids.ts';
import type { BlockStore, Builder, Dag } from '../content/content.ts';
import type { EmbeddedNode, Nodes } from '../node/node.ts';
import type { Publisher, Restorer, Unpublished, Uploads } from '../sync/sync.ts';

export interface IpfsPorts {
  readonly ipfs: {
    /** The engines, and which of them answers. */
    readonly nodes: Nodes<EmbeddedNode>;
    readonly blocks: BlockStore;
    readonly dag: Dag;
    readonly builder: Builder;
    readonly publisher: Publisher;
    readonly restorer: Restorer;
    /** Settles what is owed to stores outside. */
    readonly uploads: Uploads;
    /** Trees that changed, and wait for their time to be published by themselves. */
    unpublished(): readonly Unpublished[];
    /** Publishes the tree of a mount that is to go, if it changed and is published by itself. */
    finish(path: Name, signal: AbortSignal): Promise<void>;
  };
}
