/**
 * Bytes for files that are to be made: shared with what is here, copied out of blocks, or left
 * elsewhere and fetched when they are read.
 *
 * Invariant: no byte that was not verified reaches a file.
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
  type Sealer,
} from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import type { WaitingFile } from './compare.ts';

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
   * Gives every file its bytes, verified; each content once.
   * @throws OpError content-missing, integrity, no-space, io; the signal's reason.
   */
  async bring(
    {
      files,
      bytes: bytesTotal,
    }: { readonly files: readonly WaitingFile[]; readonly bytes: number },
    { made, profile, dryRun }: Into,
    run: BringRun,
  ): Promise<void> {
    const known = new Map<string, ContentId>();
    let bytes = 0;
    for (const { remote, node } of files) {
      const { cid, size } = remote;
      if (cid === undefined || size === 0) continue;
      const key = cid.toString();
      const content =
        known.get(key) ??
        (await this.#shared(cid, size, run.signal)) ??
        (await this.#elsewhere({ cid, size, profile }, dryRun ? undefined : made, run.signal)) ??
        (await this.#copied(cid, size, dryRun ? undefined : made, run.signal));
      known.set(key, content);
      node.content = content;
      if (!made.has(content)) node.cid = blockKey(cid);
      bytes += size;
      run.progress({ bytes, bytesTotal });
    }
  }

  /** An object that is here already, and is what it should be. */
  async #shared(cid: CID, size: number, signal: AbortSignal): Promise<ContentId | undefined> {
    const row = this.#ports.journal.contents.byCid(blockKey(cid));
    if (row === undefined || row.size !== size || row.place === 'memory') return undefined;
    return (await this.#ports.sealer.verify(row.id, signal)) ? row.id : undefined;
  }

  /**
   * An object for a file of which not every block is here; undefined when all are. Without `made`
   * none is made.
   */
  async #elsewhere(
    file: Parameters<ContentStore['remote']['create']>[0],
    made: Set<ContentId> | undefined,
    signal: AbortSignal,
  ): Promise<ContentId | undefined> {
    const { journal, contents, dag } = this.#ports;
    const shown = contents.remote.find(file.cid);
    if (shown?.size === file.size) return shown.id;
    if (await isHere(dag, file.cid, signal)) return undefined;
    if (made === undefined) return NO_CONTENT;
    const id = journal.commit(() => contents.remote.create(file));
    made.add(id);
    return id;
  }

  /** A new object with the bytes of a file; without `made` they are only read, and verified. */
  async #copied(
    cid: CID,
    size: number,
    made: Set<ContentId> | undefined,
    signal: AbortSignal,
  ): Promise<ContentId> {
    const { journal, contents, dag } = this.#ports;
    const id = made === undefined ? NO_CONTENT : journal.commit(() => contents.create('local'));
    made?.add(id);
    for (let at = 0; at < size; at += RESTORED_PIECE_BYTES) {
      const length = Math.min(RESTORED_PIECE_BYTES, size - at);
      const bytes = await dag.readRange(cid, { position: at, length }, signal);
      if (bytes.length !== length) {
        throw new OpError('integrity', `read ${cid}`, { hint: 'its sizes do not add up' });
      }
      if (id !== NO_CONTENT) journal.commit(() => contents.write(id, bytes, at));
      await turn();
    }
    if (id !== NO_CONTENT) journal.commit(() => contents.freeze(id));
    return id;
  }

  /** What nobody shows goes; what is sealed may be somebody's block by now, and stays. */
  abandon(made: ReadonlySet<ContentId>): void {
    const { journal, contents } = this.#ports;
    journal.commit(() => {
      for (const id of made) {
        const row = contents.row(id);
        if (row !== undefined && row.state !== 'sealed' && row.refs === 0) contents.discard(id);
      }
    });
  }
}

async function isHere(dag: Dag, cid: CID, signal: AbortSignal): Promise<boolean> {
  if (dag.sizeOf(cid) === undefined) return false;
  for await (const { size } of dag.walk(cid, signal)) if (size === undefined) return false;
  return true;
}
