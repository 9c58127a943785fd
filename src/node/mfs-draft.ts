/**
 * A change of the mutable tree being made: a root that nobody sees yet, over blocks that are not stored.
 *
 * Invariants: nothing that is stored changes until `commit`; a directory is made anew with the form that
 * its CID has, and what is made below it has that form too; a name is in the tree or is not, and what
 * the tree leads to was here when it was put there.
 */
import type { MfsCopied, MfsEdits, MfsLook, MfsStat } from '../backend/backend.ts';
import type { Clock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { turn } from '../base/turn.ts';
import {
  type BlockStore,
  type Builder,
  blockKey,
  type CID,
  Dag,
  type StoredBlock,
} from '../content/content.ts';
import {
  type CidForm,
  directoryOf,
  formFrom,
  formOf,
  type Metadata,
  type NamedPart,
  type Part,
  PLAIN_FORM,
} from './forms.ts';
import { MfsReader, namesOf } from './mfs-reader.ts';
import { rewritten } from './rewrite.ts';

/** Blocks held in one transaction. */
const BLOCKS_PER_COMMIT = 256;

type Entry = Omit<Part, 'size'>;

interface DraftParts {
  readonly clock: Clock;
  readonly blocks: BlockStore;
  readonly builder: Builder;
}

/** What becomes of one name: undefined is nothing. */
type Change = (old: Entry | undefined, form: CidForm) => Promise<Entry | undefined>;

interface Walk {
  readonly signal: AbortSignal;
  /** Makes directories that are missing, with this form, or with that of the one above. */
  readonly parents: { readonly form?: CidForm } | undefined;
  readonly op: string;
}

export class MfsDraft implements MfsLook, MfsEdits {
  readonly #parts: DraftParts;
  readonly #dag: Dag;
  readonly #made = new Map<string, StoredBlock>();
  /** Blocks that were here, and must stay. */
  readonly #kept = new Set<CID>();
  #root: CID;

  constructor(root: CID, parts: DraftParts, empty: StoredBlock) {
    this.#root = root;
    this.#parts = parts;
    const { blocks } = parts;
    const made = (cid: CID) => this.#made.get(keyOf(cid))?.bytes;
    this.#made.set(keyOf(empty.cid), empty);
    this.#dag = new Dag({
      get: (cid) => made(cid) ?? blocks.get(cid),
      sizeOf: (cid) => made(cid)?.length ?? blocks.sizeOf(cid),
    });
  }

  get root(): CID {
    return this.#root;
  }

  get #reader(): MfsReader {
    return new MfsReader(this.#dag, this.#root);
  }

  stat: MfsLook['stat'] = (path, options) => this.#reader.stat(path, options);
  ls: MfsLook['ls'] = (path, options) => this.#reader.ls(path, options);

  mkdir: MfsEdits['mkdir'] = async (path, options) => {
    const { parents = false, cidVersion = 1, hash, signal } = options;
    const op = `mkdir ${path}`;
    const there = await this.stat(path, { signal });
    if (there !== undefined) {
      if (parents && there.type === 'directory') return { created: false, cid: there.cid };
      throw new OpError('exists', op, { details: { path } });
    }
    const form = formFrom(cidVersion, hash);
    const made = await this.#directory([], {}, form, signal);
    const walk = { signal, op, parents: parents ? { form } : undefined };
    await this.#change(path, walk, async () => made);
    return { created: true, cid: made.cid };
  };

  write: MfsEdits['write'] = async (path, content, options) => {
    const { offset = 0, truncate = false, create = false, parents = false, signal } = options;
    const op = `write ${path}`;
    const before = await this.stat(path, { signal });
    if (before?.type === 'directory') throw new OpError('is-directory', op, { details: { path } });
    if (before === undefined && !create) throw absent(op, path);
    if (options.expected !== undefined && before?.cid.equals(options.expected) !== true) {
      throw new OpError('version-conflict', op, { details: { path } });
    }
    const pieces: Uint8Array[] = [];
    for await (const piece of content) pieces.push(piece);
    const edit = { offset, truncate, bytes: Buffer.concat(pieces), signal };
    const mtime = before?.mtime && this.#parts.clock.now();
    const metadata = { mode: before?.mode, mtime };
    const walk = { signal, op, parents: parents ? {} : undefined };
    let made: Part | undefined;
    await this.#change(path, walk, async (old, form) => {
      const [dag, sink] = [this.#dag, this.#sink];
      made = await rewritten({ ...edit, dag, old: old?.cid, metadata, form, sink });
      return made;
    });
    const after = await this.#demand(path, op, signal);
    return { ...after, created: before === undefined, previous: before?.cid };
  };

  cp: MfsEdits['cp'] = async (source, destination, options) => {
    const { parents = false, overwrite = false, signal } = options;
    const op = `cp ${source} ${destination}`;
    const isContent = source.startsWith('/ipfs/');
    const there = await this.#demand(source, op, signal);
    const previous = await this.#freed(destination, op, { overwrite, signal });
    // What the tree has was kept when it came into it.
    const complete = isContent ? await this.#keepAll(there.cid, signal) : undefined;
    const walk = { signal, op, parents: parents ? {} : undefined };
    await this.#change(destination, walk, async () => entryOf(there));
    const known = complete ?? (await this.#isComplete(there.cid, signal));
    return { ...copied(there.cid, previous), complete: known };
  };

  mv: MfsEdits['mv'] = async (source, destination, options) => {
    const { parents = false, overwrite = false, signal } = options;
    const op = `mv ${source} ${destination}`;
    const there = await this.#demand(source, op, signal);
    const previous = await this.#freed(destination, op, { overwrite, signal });
    const walk = { signal, op, parents: parents ? {} : undefined };
    await this.#change(destination, walk, async () => entryOf(there));
    await this.#change(source, { signal, op, parents: undefined }, async () => undefined);
    return copied(there.cid, previous);
  };

  rm: MfsEdits['rm'] = async (path, { recursive = false, signal }) => {
    const op = `rm ${path}`;
    const there = await this.#demand(path, op, signal);
    if (there.type === 'directory' && !recursive) {
      throw new OpError('is-directory', op, { details: { path } });
    }
    await this.#change(path, { signal, op, parents: undefined }, async () => undefined);
    return there;
  };

  chcid: MfsEdits['chcid'] = async (path, { cidVersion, hash, signal }) => {
    const op = `chcid ${path}`;
    const { cid: previous, type } = await this.#demand(path, op, signal);
    if (type !== 'directory') throw new OpError('not-directory', op, { details: { path } });
    const form = formFrom(cidVersion, hash);
    let cid = previous;
    await this.#change(path, { signal, op, parents: undefined }, async () => {
      const made = await this.#rebuilt(previous, form, signal, () => {});
      cid = made.cid;
      return made;
    });
    return { previous, cid };
  };

  /** Stores what was made, and holds what stays: outside of every transaction, and in small ones. */
  async store(signal: AbortSignal): Promise<readonly CID[]> {
    const { blocks } = this.#parts;
    const made = [...this.#made.values()];
    blocks.putAll(made);
    const kept = [...this.#kept];
    for (const [index, cid] of kept.entries()) {
      if (index % BLOCKS_PER_COMMIT === 0) await turn();
      signal.throwIfAborted();
      blocks.hold(cid);
    }
    return [...made.map(({ cid }) => cid), ...kept];
  }

  readonly #sink = {
    put: (cid: CID, bytes: Uint8Array) => {
      this.#made.set(keyOf(cid), { cid, bytes });
    },
  };

  /** Of content that comes into the tree: all that is here is kept; whether that is all. */
  async #keepAll(root: CID, signal: AbortSignal): Promise<boolean> {
    let isComplete = true;
    for await (const { cid, size } of this.#dag.walk(root, signal)) {
      if (size === undefined) isComplete = false;
      else this.#kept.add(cid);
    }
    return isComplete;
  }

  async #isComplete(root: CID, signal: AbortSignal): Promise<boolean> {
    for await (const { size } of this.#dag.walk(root, signal)) if (size === undefined) return false;
    return true;
  }

  /** @throws OpError not-found; of content what its blocks throw, and unsupported: no UnixFS. */
  async #demand(path: string, op: string, signal: AbortSignal): Promise<MfsStat> {
    const there = await this.stat(path, { signal });
    if (there === undefined) throw absent(op, path);
    return there;
  }

  async #freed(
    path: string,
    op: string,
    { overwrite, signal }: { readonly overwrite: boolean; readonly signal: AbortSignal },
  ): Promise<CID | undefined> {
    const there = await this.stat(path, { signal });
    if (there === undefined) return undefined;
    if (!overwrite) throw new OpError('exists', op, { details: { path } });
    if (there.type === 'directory') throw new OpError('is-directory', op, { details: { path } });
    return there.cid;
  }

  /** Gives a name its other meaning, from the root down and up again. */
  async #change(path: string, walk: Walk, change: Change): Promise<void> {
    const names = namesOf(path);
    this.#root = (await this.#changed(this.#root, names, { ...walk, change })).cid;
  }

  async #changed(
    directory: CID,
    [name = '', ...rest]: readonly string[],
    walk: Walk & { readonly change: Change },
  ): Promise<Entry> {
    const { signal, change, parents, op } = walk;
    const form = formOf(directory);
    return this.#rebuilt(directory, form, signal, async (entries) => {
      const old = entries.get(name);
      if (rest.length === 0) {
        const next = await change(old, form);
        if (next === undefined) entries.delete(name);
        else entries.set(name, next);
        return;
      }
      if (old === undefined && parents === undefined) throw absent(op, name);
      const made = parents?.form ?? form;
      const below = old ?? (await this.#directory([], {}, made, signal));
      entries.set(name, await this.#changed(below.cid, rest, walk));
    });
  }

  /** A directory with other entries, or another form. */
  async #rebuilt(
    cid: CID,
    form: CidForm,
    signal: AbortSignal,
    edit: (entries: Map<string, Entry>) => Promise<void> | void,
  ): Promise<Entry> {
    const { mode, mtime } = await this.#dag.entryOf(cid, signal);
    const entries = new Map<string, Entry>();
    for await (const { name, cid: child, cumulativeSize } of this.#dag.list(cid, signal)) {
      entries.set(name, { cid: child, totalSize: cumulativeSize });
    }
    await edit(entries);
    const named = [...entries].map(([name, entry]) => ({ name, ...entry }));
    return this.#directory(named, { mode, mtime }, form, signal);
  }

  async #directory(
    entries: readonly NamedPart[],
    metadata: Metadata,
    form: CidForm,
    signal: AbortSignal,
  ): Promise<Entry> {
    if (form.hash !== PLAIN_FORM.hash) return directoryOf(entries, metadata, form, this.#sink);
    const { blocks, builder } = this.#parts;
    const children = entries.map(({ totalSize, ...entry }) => ({
      ...entry,
      cumulativeSize: totalSize,
    }));
    const into = {
      has: (cid: CID) => this.#made.has(keyOf(cid)) || blocks.has(cid),
      putAll: (made: Iterable<StoredBlock>) => {
        const all = [...made];
        for (const { cid, bytes } of all) this.#sink.put(cid, bytes);
        return all.length;
      },
    };
    const profile = form.version === 0 ? 'unixfs-v0-2015' : 'unixfs-v1-2025';
    const built = await builder.buildDirectory(children, { profile, into, ...metadata }, signal);
    return { cid: built.cid, totalSize: built.cumulativeSize };
  }
}

const keyOf = (cid: CID): string => blockKey(cid).toString('latin1');

const entryOf = ({ cid, cumulativeSize }: MfsStat): Entry => ({ cid, totalSize: cumulativeSize });

const copied = (cid: CID, previous: CID | undefined): MfsCopied => ({
  cid,
  overwritten: previous !== undefined,
  previous,
});

const absent = (op: string, path: string): OpError =>
  new OpError('not-found', op, { details: { path, kind: 'path' } });
