/** The mutable tree as it is under one root. */
import type { MfsEntry, MfsLook, MfsStat } from '../backend/backend.ts';
import { OpError } from '../base/errors.ts';
import { type CID, type Dag, type DagEntry, parseCid } from '../content/content.ts';

/** The names of a path that was checked; none for `/`. */
export const namesOf = (path: string): readonly string[] =>
  path.split('/').slice(1).filter(Boolean);

export class MfsReader implements MfsLook {
  readonly #dag: Dag;
  readonly #root: CID;

  constructor(dag: Dag, root: CID) {
    this.#dag = dag;
    this.#root = root;
  }

  /** Of content too, when the path begins with `/ipfs/`. */
  stat: MfsLook['stat'] = async (path, { signal, withLocal = false }) => {
    const cid = await this.#find(path, signal);
    if (cid === undefined) return undefined;
    const entry = await this.#dag.entryOf(cid, signal);
    const { size, cumulativeSize } = entry;
    const blocks = (await this.#dag.children(cid, signal)).length;
    const stat = { cid, type: typeOf(entry), size, cumulativeSize, blocks, ...metadataOf(entry) };
    return withLocal ? { ...stat, local: await this.#local(cid, signal) } : stat;
  };

  ls: MfsLook['ls'] = async (path, { signal }) => {
    const cid = await this.#find(path, signal);
    if (cid === undefined) throw new OpError('not-found', `ls ${path}`, { details: { path } });
    const own = await this.#dag.entryOf(cid, signal);
    if (own.type !== 'directory') return [entryOf(namesOf(path).at(-1) ?? '', own)];
    const entries: MfsEntry[] = [];
    for await (const { name, cid: child } of this.#dag.list(cid, signal)) {
      entries.push(entryOf(name, await this.#dag.entryOf(child, signal)));
    }
    return entries.sort((one, other) =>
      Buffer.compare(Buffer.from(one.name, 'utf8'), Buffer.from(other.name, 'utf8')),
    );
  };

  async #find(path: string, signal: AbortSignal): Promise<CID | undefined> {
    const [, cid, ...below] = path.startsWith('/ipfs/') ? namesOf(path) : [];
    const root = cid === undefined ? this.#root : parseCid(cid);
    try {
      return await this.#dag.resolve(root, cid === undefined ? namesOf(path) : below, signal);
    } catch (error) {
      if (error instanceof OpError && error.failure === 'not-found') return undefined;
      throw error;
    }
  }

  async #local(root: CID, signal: AbortSignal) {
    let [complete, bytes] = [true, 0];
    for await (const { size } of this.#dag.walk(root, signal)) {
      if (size === undefined) complete = false;
      else bytes += size;
    }
    return { complete, size: bytes };
  }
}

/** @throws OpError unsupported: it is no UnixFS. */
function typeOf({ type, cid }: DagEntry): MfsStat['type'] {
  if (type !== 'other') return type === 'directory' ? 'directory' : 'file';
  throw new OpError('unsupported', `look at ${cid}`, {
    hint: 'MFS holds files and directories of UnixFS',
    details: { cid: cid.toString() },
  });
}

const metadataOf = ({ mode, mtime }: DagEntry) => ({
  ...(mode === undefined ? {} : { mode }),
  ...(mtime === undefined ? {} : { mtime }),
});

const entryOf = (name: string, entry: DagEntry): MfsEntry => ({
  name,
  type: typeOf(entry),
  size: entry.size,
  cid: entry.cid,
  ...metadataOf(entry),
});
