/** What the tools of IPFS and of sync reach for, besides the tree: the embedded engine. */
import type { BlockStore, Builder, Dag } from '../content/content.ts';
import type { Publisher, Restorer } from '../sync/sync.ts';

export interface IpfsPorts {
  readonly ipfs: {
    readonly blocks: BlockStore;
    readonly dag: Dag;
    readonly builder: Builder;
    readonly publisher: Publisher;
    readonly restorer: Restorer;
  };
}
