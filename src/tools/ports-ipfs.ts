/** What the tools of IPFS and of sync reach for, besides the tree. */
import type { BlockStore, Builder, Dag } from '../content/content.ts';
import type { EmbeddedNode, Nodes } from '../node/node.ts';
import type { Publisher, Restorer, Uploads } from '../sync/sync.ts';
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
    /** Settles what is owed to stores outside. */
    readonly uploads: Uploads;
    /** Topics that agents listen to. */
    readonly subscriptions: Subscriptions;
  };
}
