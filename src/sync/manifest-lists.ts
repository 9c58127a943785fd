/**
 * Writing a manifest: the list of every directory that was looked at, children first; the lists of
 * the others are there since they were published. And what is gone between two manifests.
 *
 * A long list is in parts, which end at names chosen by a hash of the name, so that a change of the
 * directory changes the part it is in and leaves the others as they are.
 */
import type { Instant } from '../base/clock.ts';
import { bytesOf, type Ino, isUtf8Name, type Name, nameOf } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import { turn } from '../base/turn.ts';
import {
  type BlockStore,
  blockKey,
  type CID,
  cidOfBytes,
  type Dag,
  type StoredBlock,
} from '../content/content.ts';
import type { Assembled } from './assemble.ts';
import { cborBlock, Field } from './cbor.ts';
import type { Frozen, FrozenEntry } from './freeze.ts';
import {
  encodedEntry,
  MANIFEST_VERSION,
  type ManifestEntry,
  plain,
  readManifest,
  VALUE_BYTES_INLINE_MAX,
} from './manifest.ts';
import { isSpecial, typeOf } from './types.ts';

/** A part ends behind one name in so many, on average. */
const ENTRIES_PER_PART = 512;
/** And not later than here, well below the largest block. */
const PART_BYTES_MAX = 256 * 1024;
/** Bytes of an entry beside its name and its attributes, about. */
const ENTRY_BYTES = 160;
/** Blocks gathered before they are stored. */
const PENDING_BYTES_MAX = 256 * 1024;
/** Names encoded before other work gets its turn. */
const NAMES_PER_TURN = 128;

/** The names of a directory. */
export interface StoredList {
  /** undefined: there are none. */
  readonly cid: CID | undefined;
  /** In and below it. */
  readonly entries: number;
}

export interface StoredManifest {
  readonly cid: CID;
  /** Of the directories that were looked at. */
  readonly lists: ReadonlyMap<FrozenEntry, StoredList>;
}

/**
 * Stores the manifest of a frozen tree. `atime`: of the root, in place of its own.
 * @throws OpError no-space; the signal's reason.
 */
export async function storeManifest(
  blocks: Pick<BlockStore, 'putAll'>,
  { frozen, assembled }: { readonly frozen: Frozen; readonly assembled: Assembled },
  { atime }: { readonly atime?: Instant | undefined },
  signal: AbortSignal,
): Promise<StoredManifest> {
  const writer = new ListWriter(blocks, frozen, assembled);
  let names = 0;
  for (const entry of [...frozen.entries].reverse()) {
    if (!isDirectory(entry.row.mode) || entry.published !== undefined) continue;
    names += entry.children.length;
    const isLong = writer.add(entry) || names >= NAMES_PER_TURN;
    if (isLong) {
      names = 0;
      await turn();
    }
    signal.throwIfAborted();
  }
  return writer.end(atime);
}

class ListWriter {
  readonly #blocks: Pick<BlockStore, 'putAll'>;
  readonly #top: FrozenEntry | undefined;
  readonly #assembled: Assembled;
  /** The first path of every file that has several names. */
  readonly #first = new Map<Ino, Name>();
  readonly #lists = new Map<FrozenEntry, StoredList>();
  #pending: StoredBlock[] = [];
  #bytes = 0;

  constructor(blocks: Pick<BlockStore, 'putAll'>, { entries }: Frozen, assembled: Assembled) {
    this.#blocks = blocks;
    this.#assembled = assembled;
    this.#top = entries[0];
    for (const { row, path } of entries) {
      if (row.nlink > 1 && !isDirectory(row.mode) && !this.#first.has(row.ino)) {
        this.#first.set(row.ino, path);
      }
    }
  }

  /** The lists of the directories in it are there. True: many blocks were stored. */
  add(directory: FrozenEntry): boolean {
    const { children } = directory;
    const parts: (readonly unknown[])[] = [];
    let part: unknown[] = [];
    let bytes = 0;
    for (const child of children) {
      part.push({ name: plain(bytesOf(child.name)), ...this.#encoded(child) });
      bytes += ENTRY_BYTES + child.name.length + attributeBytes(child);
      if (bytes < PART_BYTES_MAX && !endsPart(child.name)) continue;
      parts.push(part);
      part = [];
      bytes = 0;
    }
    if (part.length > 0) parts.push(part);
    const below = children.map((child) => 1 + (this.#listOf(child)?.entries ?? 0));
    const entries = below.reduce((sum, count) => sum + count, 0);
    this.#lists.set(directory, { cid: this.#stored(entries, parts), entries });
    return this.#settle(PENDING_BYTES_MAX);
  }

  end(atime: Instant | undefined): StoredManifest {
    const top = this.#top;
    const list = top === undefined ? undefined : this.#listOf(top);
    const own = top === undefined ? {} : this.#encoded(top);
    const root = atime === undefined ? own : { ...own, atime: [atime.s, atime.ns] };
    const { cid } = this.#put(
      cborBlock({ version: MANIFEST_VERSION, entries: 1 + (list?.entries ?? 0), root }),
    );
    this.#settle(0);
    return { cid, lists: this.#lists };
  }

  #stored(entries: number, parts: readonly (readonly unknown[])[]): CID | undefined {
    const [names, ...others] = parts;
    if (names === undefined) return undefined;
    if (others.length === 0) return this.#put(cborBlock({ entries, names })).cid;
    const links = parts.map((part) => this.#put(cborBlock(part)).cid);
    return this.#put(cborBlock({ entries, parts: links })).cid;
  }

  #encoded(entry: FrozenEntry): Readonly<Record<string, unknown>> {
    const first = this.#first.get(entry.row.ino);
    const sameAs = first === entry.path ? undefined : first;
    const values: StoredBlock[] = [];
    const encoded = encodedEntry(manifestEntryOf(entry, sameAs, this.#assembled), values);
    for (const block of values) this.#put(block);
    const list = this.#listOf(entry)?.cid;
    return list === undefined ? encoded : { ...encoded, list };
  }

  #listOf(entry: FrozenEntry): StoredList | undefined {
    const { published } = entry;
    if (published === undefined) return this.#lists.get(entry);
    const { list, entries } = published;
    return { cid: list === undefined ? undefined : cidOfBytes(list), entries };
  }

  #put(block: StoredBlock): StoredBlock {
    this.#pending.push(block);
    this.#bytes += block.bytes.length;
    return block;
  }

  #settle(bytesMax: number): boolean {
    if (this.#bytes < bytesMax) return false;
    this.#blocks.putAll(this.#pending);
    this.#pending = [];
    this.#bytes = 0;
    return true;
  }
}

const attributeBytes = ({ xattrs }: FrozenEntry): number =>
  xattrs.reduce((sum, { name, value }) => {
    return sum + 48 + name.length + Math.min(value.length, VALUE_BYTES_INLINE_MAX);
  }, 0);

/** FNV-1a: cheap, and the same for ever. */
function endsPart(name: Name): boolean {
  let hash = 0x811c9dc5;
  for (let at = 0; at < name.length; at += 1) {
    hash = Math.imul(hash ^ name.charCodeAt(at), 0x01000193);
  }
  return (hash >>> 0) % ENTRIES_PER_PART === 0;
}

function manifestEntryOf(
  entry: FrozenEntry,
  sameAs: Name | undefined,
  assembled: Assembled,
): ManifestEntry {
  const { row, path, xattrs } = entry;
  const type = typeOf(row.mode);
  const isShown = path === '' || isUtf8Name(entry.name);
  return {
    path,
    type,
    mode: row.mode & 0o7777,
    uid: row.uid,
    gid: row.gid,
    atime: { s: row.atimeS, ns: row.atimeNs },
    mtime: { s: row.mtimeS, ns: row.mtimeNs },
    rdev: isSpecial(type) ? row.rdev : undefined,
    sameAs,
    xattrs,
    cid: isShown ? undefined : assembled.built.get(entry)?.cid,
  };
}

/**
 * How many paths of one manifest are not in another. Lists that both have are not read.
 * @throws OpError content-missing, integrity, unsupported, payload-too-large; the signal's reason.
 */
export async function pathsGone(
  dag: Dag,
  { from, to }: { readonly from: CID; readonly to: CID },
  signal: AbortSignal,
): Promise<number> {
  const [before, after] = [await rootOf(dag, from, signal), await rootOf(dag, to, signal)];
  const isOld = [before, after].some((root) => root.at('version').integer(1, 2) === 1);
  if (isOld) return pathsGoneInAll(dag, { from, to }, signal);
  let gone = 0;
  const waiting = [{ before: listAt(before.at('root')), after: listAt(after.at('root')) }];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    if (next.before === undefined || isSame(next.before, next.after)) continue;
    if (next.after === undefined) {
      gone += await entriesIn(dag, next.before, signal);
      continue;
    }
    const [was, is] = await namesThatDiffer(dag, { from: next.before, to: next.after }, signal);
    for (const [name, list] of was) {
      if (!is.has(name)) gone += 1;
      if (list !== undefined) waiting.push({ before: list, after: is.get(name) });
    }
  }
  return gone;
}

const rootOf = async (dag: Dag, cid: CID, signal: AbortSignal): Promise<Field> =>
  Field.ofBlock(await dag.block(cid, signal), cid);

const listAt = (entry: Field): CID | undefined => entry.at('list').optional((list) => list.cid());

const isSame = (one: CID, other: CID | undefined): boolean =>
  other !== undefined && blockKey(one).equals(blockKey(other));

const entriesIn = async (dag: Dag, list: CID, signal: AbortSignal): Promise<number> =>
  (await rootOf(dag, list, signal)).at('entries').integer(0, Number.MAX_SAFE_INTEGER);

type Lists = Map<Name, CID | undefined>;

/** Names and lists of two directories, without the parts that both have. */
async function namesThatDiffer(
  dag: Dag,
  { from, to }: { readonly from: CID; readonly to: CID },
  signal: AbortSignal,
): Promise<readonly [Lists, Lists]> {
  const blocks = [await rootOf(dag, from, signal), await rootOf(dag, to, signal)] as const;
  const [was, is] = blocks.map((block) => {
    const parts = block.at('parts').optional((field) => field.list()) ?? [];
    return new Map(parts.map((part) => [part.cid().toString(), part.cid()]));
  }) as [Map<string, CID>, Map<string, CID>];
  const read = async (block: Field, parts: Map<string, CID>, others: Map<string, CID>) => {
    const fields = block.at('names').optional((field) => field.list()) ?? [];
    for (const [key, cid] of parts) {
      if (others.has(key)) continue;
      fields.push(...(await rootOf(dag, cid, signal)).list());
      await turn();
    }
    return new Map(fields.map((field) => [nameOf(field.at('name').bytes()), listAt(field)]));
  };
  return [await read(blocks[0], was, is), await read(blocks[1], is, was)];
}

async function pathsGoneInAll(
  dag: Dag,
  { from, to }: { readonly from: CID; readonly to: CID },
  signal: AbortSignal,
): Promise<number> {
  const after = await readManifest(dag, to, signal);
  const before = await readManifest(dag, from, signal);
  return [...before.keys()].filter((path) => !after.has(path)).length;
}
