/**
 * What the block store has to keep whatever stores have: what is pinned in the embedded node, and its
 * mutable tree. Found by walking it, and walked again when another root is there. A tree that is
 * pinned because it was published is what a store is asked for.
 */
import { OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { BLOCKS_NEEDED_HERE_MAX } from '../base/limits.ts';
import { blockName, cidOfBytes, type Dag } from '../content/content.ts';
import type { BlockRow, Journal } from '../journal/journal.ts';
import { pinNameOf } from './publish.ts';

export interface NeededPorts {
  readonly journal: Journal;
  /** Of what is here. */
  readonly dag: Dag;
}

interface Roots {
  readonly recursive: readonly Buffer[];
  readonly direct: readonly Buffer[];
  /** Says whether they are the same. */
  readonly key: string;
}

/** By their `blockName`; undefined: any may be. */
type Blocks = ReadonlySet<string> | undefined;

export class NeededHere {
  readonly #ports: NeededPorts;
  #key: string | undefined;
  #blocks: Blocks;

  constructor(ports: NeededPorts) {
    this.#ports = ports;
  }

  /** Learns what is needed now. @throws the signal's reason. */
  async learn(signal: AbortSignal): Promise<void> {
    const roots = this.#roots();
    if (roots.key === this.#key) return;
    this.#key = undefined;
    this.#blocks = await this.#walk(roots, signal);
    this.#key = roots.key;
  }

  /** Whether any of these may be needed, as it was learned, or something else is needed since. */
  hasAny(blocks: readonly BlockRow[]): boolean {
    const known = this.#blocks;
    if (known === undefined || this.#roots().key !== this.#key) return true;
    return known.size > 0 && blocks.some(({ cid }) => known.has(blockName(cidOfBytes(cid))));
  }

  /** How it was when it was learned, for who only counts. */
  has(content: ContentId): boolean {
    const known = this.#blocks;
    if (known === undefined) return true;
    if (known.size === 0) return false;
    const blocks = this.#ports.journal.contents.blocksOf(content);
    return blocks.some(({ cid }) => known.has(blockName(cidOfBytes(cid))));
  }

  #roots(): Roots {
    const { contents, meta } = this.#ports.journal;
    const published = this.#published();
    const pins = contents
      .pins()
      .filter((pin) => published.get(blockName(cidOfBytes(pin.cid))) !== pin.name);
    const root = meta.get('mfs_root');
    const of = (kind: 'recursive' | 'direct') =>
      pins.filter(({ type }) => type === kind).map(({ cid }) => cid);
    const recursive = of('recursive');
    if (root !== undefined) recursive.push(Buffer.from(root, 'hex'));
    const direct = of('direct');
    const text = (keys: readonly Buffer[]) => keys.map((key) => key.toString('hex')).join();
    return { recursive, direct, key: `${text(recursive)};${text(direct)}` };
  }

  /** Trees that stores hold or shall hold, with the names of their pins here: of these, stores are asked. */
  #published(): ReadonlyMap<string, string> {
    const published = new Map<string, string>();
    for (const { path, wanted, held } of this.#ports.journal.targets.all()) {
      for (const root of held === undefined ? [wanted] : [wanted, held]) {
        published.set(blockName(cidOfBytes(root.tree)), pinNameOf(path));
      }
    }
    return published;
  }

  async #walk({ recursive, direct }: Roots, signal: AbortSignal): Promise<Blocks> {
    const found = new Set(direct.map((key) => blockName(cidOfBytes(key))));
    try {
      for (const root of recursive) {
        const walked = this.#ports.dag.walk(cidOfBytes(root), signal, found);
        for await (const { cid } of walked) {
          found.add(blockName(cid));
          if (found.size > BLOCKS_NEEDED_HERE_MAX) return undefined;
        }
      }
    } catch (error) {
      signal.throwIfAborted();
      // Nobody knows what a damaged block links to, or one of an unknown codec.
      if (error instanceof OpError) return undefined;
      throw error;
    }
    return found;
  }
}
