/**
 * Bytes for files that are to be made: shared with what is here, copied out of blocks, or left
 * elsewhere and fetched when they are read.
 *
 * Invariants: no byte that was not verified reaches a file. What no file shows yet counts as old
 * bytes, which retention ends.
 */
import { OpError } from '../base/errors.ts';
import { type ContentId, NO_CONTENT } from '../base/ids.ts';
import { RESTORED_PIECE_BYTES } from '../base/limits.ts';
import { turn } from '../base/turn.ts';
import {
  blockKey,
  type CID,
  type ContentStore,
  type Dag,
  filledRuns,
  type Sealer,
} from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import type { Comparison } from './compare.ts';
import type { WaitingFile } from './planning.ts';

/** Files looked for before other work gets its turn. */
const FILES_PER_TURN = 1024;

export interface BringerPorts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly dag: Dag;
  readonly sealer: Pick<Sealer, 'verify'>;
}

/** What files get their bytes with. */
export interface Into {
  /** Objects made for it. */
  readonly made: Set<ContentId>;
  /** That made the CIDs, if it is known. */
  readonly profile: string | undefined;
  readonly dryRun: boolean;
}

export interface BringRun {
  readonly signal: AbortSignal;
  readonly progress: (done: { readonly bytes: number; readonly bytesTotal: number }) => void;
}

export class Bringer {
  readonly #ports: BringerPorts;

  constructor(ports: BringerPorts) {
    this.#ports = ports;
  }

  /**
   * Gives every file its bytes, verified; each content once. What it answers makes the objects of those
   * whose bytes are elsewhere: to be called in the transaction that shows them, but for a dry run.
   * @throws OpError content-missing, integrity, no-space, io; version-conflict when retention took
   *   what was made; the signal's reason.
   */
  async bring(
    { files, bytes: bytesTotal }: Pick<Comparison, 'files' | 'bytes'>,
    { made, profile, dryRun }: Into,
    run: BringRun,
  ): Promise<() => void> {
    let bytes = 0;
    const give = ({ nodes, cid, size }: Bytes, id: ContentId) => {
      for (const node of nodes) {
        node.content = id;
        if (id !== NO_CONTENT && !made.has(id)) node.cid = blockKey(cid);
      }
      bytes += size * nodes.length;
      run.progress({ bytes, bytesTotal });
    };
    const elsewhere: Bytes[] = [];
    for (const one of bytesOf(files)) {
      const id = this.#isUnknown(one)
        ? undefined
        : await this.#here(one, dryRun ? undefined : made, run.signal);
      if (id === undefined && elsewhere.push(one) % FILES_PER_TURN === 0) await turn();
      run.signal.throwIfAborted();
      give(one, id ?? NO_CONTENT);
    }
    const { remote } = this.#ports.contents;
    return () => {
      for (const { nodes, cid, size } of elsewhere) {
        const id = remote.create({ cid, size, profile });
        for (const node of nodes) node.content = id;
      }
    };
  }

  /** Nothing of it was ever here. */
  #isUnknown({ cid }: Bytes): boolean {
    const { journal, contents, dag } = this.#ports;
    if (journal.contents.byCid(blockKey(cid)) !== undefined) return false;
    return contents.remote.find(cid) === undefined && dag.sizeOf(cid) === undefined;
  }

  /** undefined: not every block of it is here, and nobody shows it yet. */
  async #here(
    { cid, size }: Bytes,
    made: Set<ContentId> | undefined,
    signal: AbortSignal,
  ): Promise<ContentId | undefined> {
    const { contents, dag } = this.#ports;
    const shared = await this.#shared(cid, size, signal);
    if (shared !== undefined) return shared;
    const shown = contents.remote.find(cid);
    if (shown?.size === size) return shown.id;
    return (await isHere(dag, cid, signal)) ? this.#copied(cid, size, made, signal) : undefined;
  }

  /** An object that is here already, and is what it should be. */
  async #shared(cid: CID, size: number, signal: AbortSignal): Promise<ContentId | undefined> {
    const row = this.#ports.journal.contents.byCid(blockKey(cid));
    if (row === undefined || row.size !== size || row.place === 'memory') return undefined;
    return (await this.#ports.sealer.verify(row.id, signal)) ? row.id : undefined;
  }

  /** A new object with the bytes of a file; without `made` they are only read, and verified. */
  async #copied(
    cid: CID,
    size: number,
    made: Set<ContentId> | undefined,
    signal: AbortSignal,
  ): Promise<ContentId> {
    const { journal, contents, dag } = this.#ports;
    const id = made === undefined ? NO_CONTENT : this.#makeEmpty(size);
    made?.add(id);
    for (let at = 0; at < size; at += RESTORED_PIECE_BYTES) {
      const length = Math.min(RESTORED_PIECE_BYTES, size - at);
      const bytes = await dag.readRange(cid, { position: at, length }, signal);
      if (bytes.length !== length) {
        throw new OpError('integrity', `read ${cid}`, { hint: 'its sizes do not add up' });
      }
      if (id !== NO_CONTENT) this.#demandStill(id);
      for (const { from, to } of id === NO_CONTENT ? [] : filledRuns(bytes)) {
        journal.commit(() => contents.write(id, bytes.subarray(from, to), at + from));
      }
      // With the last bytes: while others work it may be let go.
      const isLast = at + length === size;
      if (isLast && id !== NO_CONTENT) journal.commit(() => contents.freeze(id));
      await turn();
    }
    return id;
  }

  /** An object of zeros, which are left out of what is written: holes. */
  #makeEmpty(size: number): ContentId {
    const { journal, contents } = this.#ports;
    return journal.commit(() => {
      const id = contents.create('local');
      contents.truncate(id, size);
      return this.#old(id);
    });
  }

  /** Counts as old bytes until a file shows it, so that a kill before that leaves nothing of nobody. */
  #old(id: ContentId): ContentId {
    const { contents } = this.#ports;
    contents.retain(id);
    contents.release(id);
    return id;
  }

  /** @throws OpError version-conflict: retention took it. */
  #demandStill(id: ContentId): void {
    if (this.#ports.contents.row(id) !== undefined) return;
    throw new OpError('version-conflict', 'restore', {
      hint: 'the bytes went meanwhile; try again',
    });
  }

  /** What nobody shows goes; what is sealed may be somebody's block by now: retention ends it. */
  abandon(made: ReadonlySet<ContentId>): void {
    if (made.size === 0) return;
    const { journal, contents } = this.#ports;
    journal.commit(() => {
      for (const id of made) {
        const row = contents.row(id);
        if (row !== undefined && row.state !== 'sealed' && row.refs + row.held === 0) {
          contents.discard(id);
        }
      }
    });
  }
}

/** Bytes that are to be shown, by which files. */
interface Bytes {
  readonly cid: CID;
  readonly size: number;
  readonly nodes: WaitingFile['node'][];
}

function bytesOf(files: readonly WaitingFile[]): Iterable<Bytes> {
  const known = new Map<string, Bytes>();
  for (const { remote, node } of files) {
    const { cid, size } = remote;
    if (cid === undefined || size === 0) continue;
    const key = `${size} ${blockKey(cid).toString('latin1')}`;
    const one = known.get(key) ?? { cid, size, nodes: [] };
    one.nodes.push(node);
    known.set(key, one);
  }
  return known.values();
}

async function isHere(dag: Dag, cid: CID, signal: AbortSignal): Promise<boolean> {
  if (dag.sizeOf(cid) === undefined) return false;
  for await (const { size } of dag.walk(cid, signal)) if (size === undefined) return false;
  return true;
}
