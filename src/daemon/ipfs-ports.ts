/** The embedded engine, assembled for the tools over the core's journal and content. */

import type { KuboNode, NodeKind } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import {
  type BlockStore,
  Builder,
  type ContentStore,
  type Dag,
  type Sealer,
} from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import { EmbeddedNode, Keys, Nodes } from '../node/node.ts';
import { Publisher, Restorer, Uploads } from '../sync/sync.ts';
import type { IpfsPorts } from '../tools/ports-ipfs.ts';
import { Subscriptions } from '../tools/tools.ts';

import type { Loops } from './loops.ts';

export interface EngineParts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly dag: Dag;
  readonly sealer: Sealer;
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
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
}

/** The name of the Kubo that is configured, as a store. */
const KUBO_TARGET = 'ipfs';
/** Stores that are written to at once. */
const UPLOADS_AT_ONCE = 2;

export function ipfsPorts(parts: EngineParts): IpfsPorts {
  const { blocks, dag, home, kubo } = parts;
  const builder = new Builder(parts);
  const nodeOf = (target: string) => (target === KUBO_TARGET ? kubo : undefined);
  const uploads = new Uploads({ ...parts, nodeOf }, { atOnce: UPLOADS_AT_ONCE });
  parts.loops.start('uploads', (signal) => uploads.run(signal));
  const onOwed = () => uploads.notify();
  const ports = { ...parts, builder, onOwed, syncJournal: () => parts.syncJournal() };
  return {
    ipfs: {
      nodes: new Nodes({ home, kubo, dag, embedded: embeddedNode({ ...parts, builder }) }),
      blocks,
      dag,
      builder,
      publisher: new Publisher(ports),
      restorer: new Restorer(ports),
      uploads,
      subscriptions: new Subscriptions(parts.clock),
    },
  };
}

const embeddedNode = (parts: EngineParts & { readonly builder: Builder }): EmbeddedNode =>
  new EmbeddedNode({
    ...parts,
    keys: new Keys(parts.keys),
    diskBytes: () => parts.diskBytes(),
    syncJournal: () => parts.syncJournal(),
  });
