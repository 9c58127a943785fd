/** The embedded engine, assembled for the tools over the core's journal and content. */
import type { Clock } from '../base/clock.ts';
import {
  type BlockStore,
  Builder,
  type ContentStore,
  type Dag,
  type Filling,
  type Sealer,
} from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import { Publisher, Restorer } from '../sync/sync.ts';
import type { IpfsPorts } from '../tools/ports-ipfs.ts';

export interface EngineParts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly dag: Dag;
  readonly sealer: Sealer;
  readonly filling: Filling;
  readonly clock: Clock;
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
}

export function ipfsPorts(parts: EngineParts): IpfsPorts {
  const { blocks, dag } = parts;
  const builder = new Builder(parts);
  const ports = { ...parts, builder, syncJournal: () => parts.syncJournal() };
  return {
    ipfs: {
      blocks,
      dag,
      builder,
      publisher: new Publisher(ports),
      restorer: new Restorer(ports),
    },
  };
}
