/**
 * Which content objects keep the blocks of DAGs: those that have to stay held, and those that may be let go
 * unless something else needs them. An object stands for its blocks: one that is a file for all of its DAG.
 *
 * Invariants: of every block that was marked as kept one object is, which is held if any is; what is not
 * known to be kept whole is an error, never a guess.
 */
import { OpError } from '../base/errors.ts';
import type { ContentId } from '../base/ids.ts';
import { NumberSet } from '../base/number-set.ts';
import { turn } from '../base/turn.ts';
import { type BlockStore, blockKey, type CID, type Dag, RAW_CODEC } from '../content/content.ts';
import type { Journal, PlaceRow } from '../journal/journal.ts';

export interface MarksPorts {
  readonly journal: Journal;
  readonly blocks: Pick<BlockStore, 'sizeOf'>;
  /** Of what is here. */
  readonly dag: Pick<Dag, 'links'>;
}

interface Waiting {
  readonly cid: CID;
  /** What is not here of it was never here. */
  readonly mayLack: boolean;
}

/** Blocks looked at before other work gets its turn. */
const BLOCKS_PER_TURN = 64;

export class Marks {
  readonly #ports: MarksPorts;
  /** With all that is below. */
  readonly #kept = new NumberSet();
  /** Without. */
  readonly #alone = new NumberSet();
  readonly #dropped = new NumberSet();
  #looked = 0;

  constructor(ports: MarksPorts) {
    this.#ports = ports;
  }

  isKept(id: ContentId): boolean {
    return this.#kept.has(id) || this.#alone.has(id);
  }

  /** What may be let go unless it is kept. */
  dropped(): Iterable<ContentId> {
    return this.#dropped.values() as Iterable<ContentId>;
  }

  /**
   * Keeps a DAG.
   * @throws OpError content-missing, integrity, unsupported: nobody knows what is below a block; the
   *   signal's reason.
   */
  async keep(root: CID, { mayLack = false }, signal: AbortSignal): Promise<void> {
    const waiting: Waiting[] = [{ cid: root, mayLack }];
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      await this.#pause(signal);
      const below = this.#keepOne(next);
      if (below === undefined) continue;
      const links = await this.#ports.dag.links(next.cid, signal);
      for (const cid of links.toReversed()) waiting.push({ cid, ...below });
    }
  }

  /** Keeps a block, and nothing of what it links to. */
  keepAlone(cid: CID): void {
    for (const { id } of this.#placesOf(cid)) this.#alone.add(id);
  }

  /** Lets an object go unless it is kept. */
  dropObject(id: ContentId): void {
    this.#dropped.add(id);
  }

  /**
   * What is below a damaged block, or one of an unknown codec, stays. Unless `isAll`, what is kept whole is
   * not looked into: none of it can go.
   * @throws the signal's reason.
   */
  async drop(root: CID, { isAll = false }, signal: AbortSignal): Promise<void> {
    const waiting = [root];
    for (let cid = waiting.pop(); cid !== undefined; cid = waiting.pop()) {
      await this.#pause(signal);
      if (!this.#dropOne(cid, isAll)) continue;
      try {
        waiting.push(...(await this.#ports.dag.links(cid, signal)));
      } catch (error) {
        signal.throwIfAborted();
        if (!(error instanceof OpError)) throw error;
      }
    }
  }

  /** undefined: there is nothing to be looked at below. */
  #keepOne({ cid, mayLack }: Waiting): Pick<Waiting, 'mayLack'> | undefined {
    const places = this.#placesOf(cid);
    if (places.length === 0) return this.#isBelowNowhere(cid, mayLack) ? { mayLack } : undefined;
    const key = blockKey(cid);
    const isFile = ({ cid: own }: PlaceRow) => own?.equals(key) === true;
    const elsewhere = places.filter(({ state }) => state === 'remote');
    for (const { id } of elsewhere) this.#alone.add(id);
    const [files, own] = [places.filter(isWhole), places.filter(isBlock)];
    const areOwnHeld = own.some(isHeld) && !files.some(isHeld);
    const best = areOwnHeld ? undefined : this.#bestOf(files, isFile);
    if (best !== undefined) {
      this.#kept.add(best.id);
      // The same file once more: nobody needs it because of its blocks.
      const others = isFile(best) ? files.filter((place) => place !== best && isFile(place)) : [];
      for (const { id } of others) this.#dropped.add(id);
      return undefined;
    }
    const kept = areOwnHeld ? own.filter(isHeld) : own;
    const isNew = kept.map(({ id }) => this.#kept.add(id)).includes(true);
    for (const { id } of own.length > 0 ? [] : places) this.#alone.add(id);
    // What is below a file that is elsewhere is elsewhere, but for what its object has.
    if (cid.code === RAW_CODEC || elsewhere.some(isFile)) return undefined;
    return isNew || own.length === 0 ? { mayLack: mayLack || own.length === 0 } : undefined;
  }

  /** Whether a block that lies nowhere has something below. @throws OpError content-missing, unsupported. */
  #isBelowNowhere(cid: CID, mayLack: boolean): boolean {
    if (cid.code === RAW_CODEC) return false;
    // Some CIDs say all of their block.
    if (this.#ports.blocks.sizeOf(cid) !== undefined) return true;
    if (mayLack) return false;
    throw new OpError('content-missing', `look below ${cid}`, {
      hint: 'a block of what is kept is lost, and with it what it links to',
      details: { cid: cid.toString() },
    });
  }

  /** That costs least, of those that are held if any is. */
  #bestOf(files: readonly PlaceRow[], isFile: (place: PlaceRow) => boolean): PlaceRow | undefined {
    const [best] = [...files].sort(
      (one, other) =>
        other.held - one.held ||
        Number(this.#kept.has(other.id)) - Number(this.#kept.has(one.id)) ||
        Number(isFile(other)) - Number(isFile(one)) ||
        Number(other.refs > 0) - Number(one.refs > 0) ||
        other.id - one.id,
    );
    return best;
  }

  /** Whether what it links to is to be looked at. */
  #dropOne(cid: CID, isAll: boolean): boolean {
    const key = blockKey(cid);
    const all = this.#placesOf(cid);
    // A file that has it among others may be anybody's.
    const places = all.filter((place) => isBlock(place) || place.cid?.equals(key) === true);
    const isNew = places.map(({ id }) => this.#dropped.add(id)).includes(true);
    if (!isNew || cid.code === RAW_CODEC) return false;
    return places.every((place) => isBlock(place) && (isAll || !this.#kept.has(place.id)));
  }

  #placesOf(cid: CID): PlaceRow[] {
    return this.#ports.journal.contents.keepersOf(blockKey(cid));
  }

  async #pause(signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    this.#looked += 1;
    if (this.#looked % BLOCKS_PER_TURN === 0) await turn();
  }
}

/** A file, and so all blocks of its DAG. */
const isWhole = ({ state, cid }: PlaceRow): boolean => state === 'sealed' && cid !== null;

const isHeld = ({ held }: PlaceRow): boolean => held === 1;

/** A block that is no file. */
const isBlock = ({ state, cid }: PlaceRow): boolean => state === 'sealed' && cid === null;
