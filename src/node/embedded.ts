/**
 * The engine of this machine as a node: who it is, what it holds, the names it publishes. It is
 * offline: whatever would need another node, it does not have.
 */
import type {
  CallOptions,
  Identity,
  NodeVersion,
  RepoOptions,
  RepoStat,
  StatsFacet,
} from '../backend/backend.ts';
import { OpError } from '../base/errors.ts';
import type { CID } from '../content/content.ts';
import { cidOfBytes } from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import type { Keys } from './keys.ts';
import { EmbeddedMfs, type MfsParts } from './mfs.ts';
import { EmbeddedNames } from './names.ts';
import { isPeerId } from './peer-id.ts';

/** Of the state directory; there is one so far. */
const REPOSITORY = 'kitfs-state@1';

export interface EmbeddedOptions extends MfsParts {
  readonly keys: Keys;
  /** Of kitfs. */
  readonly version: string;
  /** Bytes that the disk of the block store has in all. */
  diskBytes(): number;
}

export interface HeldBlock {
  readonly cid: CID;
  readonly size: number;
}

export class EmbeddedNode {
  readonly kind = 'embedded';
  readonly names: EmbeddedNames;
  readonly mfs: EmbeddedMfs;
  readonly stats: StatsFacet;
  readonly #journal: Journal;

  constructor(options: EmbeddedOptions) {
    this.#journal = options.journal;
    this.names = new EmbeddedNames(options);
    this.mfs = new EmbeddedMfs(options);
    this.stats = new EmbeddedStats(options);
  }

  /** How many blocks are held; each counts once, wherever it lies. */
  get blockCount(): number {
    return this.#journal.contents.blockTotals().blocks;
  }

  /** At most `limit` blocks in bytewise order of their CIDs, behind `after`. */
  blocks(after: CID | undefined, limit: number): readonly HeldBlock[] {
    const from = after === undefined ? Buffer.alloc(0) : Buffer.from(after.bytes);
    return this.#journal.contents
      .blocks(from, limit)
      .map(({ cid, size }) => ({ cid: cidOfBytes(cid), size }));
  }
}

class EmbeddedStats implements StatsFacet {
  readonly #options: EmbeddedOptions;

  constructor(options: EmbeddedOptions) {
    this.#options = options;
  }

  /** @throws OpError invalid-argument: no peer id; node-offline: somebody else's. */
  async id(peerId: string | undefined, _options: CallOptions): Promise<Identity> {
    const op = `id ${peerId ?? 'self'}`;
    if (peerId !== undefined && !isPeerId(peerId)) {
      const issue = { argument: 'peer_id', reason: 'format', expected: 'a peer id' };
      throw new OpError('invalid-argument', op, { details: { issues: [issue] } });
    }
    const self = await this.#options.keys.self();
    if (peerId !== undefined && !self.isNamed(peerId)) {
      throw new OpError('node-offline', op, { hint: 'other peers are known to an online node' });
    }
    return {
      peerId: self.peerId,
      publicKey: self.publicKeyText,
      addresses: [],
      agentVersion: `kitfs/${this.#options.version}`,
      protocols: [],
      online: false,
    };
  }

  async version(_options: CallOptions): Promise<NodeVersion> {
    const { version } = this.#options;
    return {
      version,
      repo: REPOSITORY,
      system: `${process.arch}/${process.platform}`,
      minVersion: version,
      compatible: true,
    };
  }

  async repo({ countObjects = false }: RepoOptions): Promise<RepoStat> {
    const { blocks, bytes } = this.#options.journal.contents.blockTotals();
    return {
      repoSize: bytes,
      storageMax: this.#options.diskBytes(),
      ...(countObjects ? { objects: blocks } : {}),
      version: REPOSITORY,
    };
  }
}
