/** Blocks on their way into the store: gathered, and stored in few transactions. */
import type { CID } from 'multiformats/cid';
import type { BlockStore, StoredBlock } from './blocks.ts';

/** Bytes gathered before they are stored. */
const PENDING_BYTES_MAX = 4 * 1024 * 1024;

export type BlockTaker = Pick<BlockStore, 'has' | 'putAll'>;

export class PendingBlocks {
  readonly #blocks: BlockTaker;
  readonly #isDry: boolean;
  readonly #seen = new Set<string>();
  #pending: StoredBlock[] = [];
  #bytes = 0;
  #added = 0;

  /** With `dryRun` blocks are only counted. */
  constructor(blocks: BlockTaker, { dryRun }: { readonly dryRun?: boolean | undefined }) {
    this.#blocks = blocks;
    this.#isDry = dryRun === true;
  }

  /** As the importer wants a store. */
  get store(): { put(cid: CID, block: unknown): CID } {
    return {
      put: (cid, block) => {
        // The importer hands whole blocks, never pieces of one.
        this.add(cid, block as Uint8Array);
        return cid;
      },
    };
  }

  add(cid: CID, bytes: Uint8Array): void {
    const key = cid.toString();
    if (this.#seen.has(key)) return;
    this.#seen.add(key);
    if (this.#isDry) {
      this.#added += Number(!this.#blocks.has(cid));
      return;
    }
    this.#pending.push({ cid, bytes });
    this.#bytes += bytes.length;
    if (this.#bytes >= PENDING_BYTES_MAX) this.#flush();
  }

  /** Stores what is left. */
  settle(): { readonly blocksNew: number; readonly blocksReused: number } {
    this.#flush();
    return { blocksNew: this.#added, blocksReused: this.#seen.size - this.#added };
  }

  #flush(): void {
    this.#added += this.#blocks.putAll(this.#pending);
    this.#pending = [];
    this.#bytes = 0;
  }
}
