/**
 * Making UnixFS: bytes → files, known children → directories, bottom-up, by the parameters of one
 * CID profile. The result equals what Kubo makes of the same tree.
 *
 * A directory is built from its finished children, one level at a time: its size, which decides
 * whether it is sharded, then counts directories among them as Kubo does. (The importer, given a
 * whole tree at once, does not count children that are not finished yet.)
 */

import { decode, encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import type { ImporterOptions } from 'ipfs-unixfs-importer';
import { CID } from 'multiformats/cid';
import { assert } from '../base/assert.ts';
import { bytesOf, type ContentId, type Name } from '../base/ids.ts';
import { turn } from '../base/turn.ts';
import type { Journal } from '../journal/journal.ts';
import type { BlockStore } from './blocks.ts';
import { blockKey, DAG_PB_CODEC, RAW_CODEC } from './cid.ts';
import type { ContentStore } from './content.ts';
import { type Profile, rawCid } from './hash.ts';
import { type BlockTaker, PendingBlocks } from './pending.ts';
import type { Sealer } from './seal.ts';

/** Children given to the importer before other work gets its turn. */
const CHILDREN_PER_TURN = 1024;

const CHUNK_BYTES_OF: Readonly<Record<Profile, number>> = {
  'unixfs-v0-2015': 256 * 1024,
  'unixfs-v1-2025': 1024 * 1024,
};

export interface BuildOptions {
  readonly profile: Profile;
  /** Kept in the root node only when given; they change the CID. */
  readonly mode?: number | undefined;
  readonly mtime?: { readonly s: number; readonly ns: number } | undefined;
  /** Compute, and store nothing. */
  readonly dryRun?: boolean | undefined;
  /** Where blocks go instead of the store. */
  readonly into?: BlockTaker | undefined;
}

export interface Built {
  readonly cid: CID;
  /** Bytes of the file; 0 for a directory. */
  readonly size: number;
  /** Bytes of all blocks of the DAG: what a link to it carries as Tsize. */
  readonly cumulativeSize: number;
  /** Blocks made now, those of known children not counted. */
  readonly blocksNew: number;
  readonly blocksReused: number;
}

/** A finished child of a directory. Its name is text: UnixFS knows no other names. */
export interface Child {
  readonly name: string;
  readonly cid: CID;
  readonly cumulativeSize: number;
}

/** One line of a tree to be built; directories on the way to an entry need no line of their own. */
export type TreeEntry =
  | ({ readonly path: string; readonly type: 'file' } & Omit<Child, 'name'>)
  | ({ readonly path: string; readonly type: 'symlink'; readonly target: Name } & Metadata)
  | ({ readonly path: string; readonly type: 'directory' } & Metadata);

type Metadata = Pick<BuildOptions, 'mode' | 'mtime'>;

/** A directory being gathered: its children by name. */
interface Gathered {
  metadata: Metadata;
  readonly files: Map<string, Omit<Child, 'name'>>;
  readonly symlinks: Map<string, { readonly target: Name } & Metadata>;
  readonly directories: Map<string, Gathered>;
}

export interface BuilderOptions {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly blocks: BlockStore;
  readonly sealer: Pick<Sealer, 'seal'>;
}

export class Builder {
  readonly #journal: Journal;
  readonly #contents: ContentStore;
  readonly #blocks: BlockStore;
  readonly #sealer: Pick<Sealer, 'seal'>;

  constructor({ journal, contents, blocks, sealer }: BuilderOptions) {
    this.#journal = journal;
    this.#contents = contents;
    this.#blocks = blocks;
    this.#sealer = sealer;
  }

  /** As `addStream`, for bytes at hand. */
  addBytes(bytes: Uint8Array, options: BuildOptions, signal: AbortSignal): Promise<Built> {
    return this.addStream([bytes], options, signal);
  }

  /**
   * Makes a file of bytes and keeps its blocks. The pieces must not be reused before the end.
   * With `unixfs-v1-2025` the bytes become one held content object, of which the blocks are ranges.
   * @throws OpError no-space, io; what `source` throws; the signal's reason.
   */
  async addStream(
    source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
    options: BuildOptions,
    signal: AbortSignal,
  ): Promise<Built> {
    const pieces = paced(source, signal);
    const chunkBytes = CHUNK_BYTES_OF[options.profile];
    const head: Uint8Array[] = [];
    let size = 0;
    for (let next = await pieces.next(); !next.done; next = await pieces.next()) {
      head.push(next.value);
      size += next.value.length;
      if (size > chunkBytes) break;
    }
    if (size <= chunkBytes) return this.#addChunk(Buffer.concat(head), options);
    const all = joined(head, pieces);
    const isPlain = options.mode === undefined && options.mtime === undefined;
    const isStored = options.dryRun !== true && options.into === undefined;
    const isRange = isPlain && options.profile === 'unixfs-v1-2025' && isStored;
    return isRange ? this.#addContent(all, signal) : this.#import(all, options);
  }

  /** A symbolic link. */
  buildSymlink(target: Name, options: BuildOptions): Built {
    const data = bytesOf(target);
    return this.#addNode(new UnixFS({ type: 'symlink', data, ...metadataOf(options) }), options);
  }

  /**
   * A directory of finished children, sharded when the profile says so.
   * @throws OpError no-space; the signal's reason.
   */
  async buildDirectory(
    children: readonly Child[],
    options: BuildOptions,
    signal: AbortSignal,
  ): Promise<Built> {
    const metadata = metadataOf(options);
    const unixfs = new UnixFS({ type: 'directory', ...metadata });
    if (children.length === 0) return this.#addNode(unixfs, options);
    const { importer } = await import('ipfs-unixfs-importer');
    const root = { cid: nodeOf(unixfs, options.profile).cid, unixfs, size: 0n, path: ROOT };
    const pending = new PendingBlocks(options.into ?? this.#blocks, options);
    const dagBuilder: NonNullable<ImporterOptions['dagBuilder']> = async function* () {
      yield async () => ({ ...root, originalPath: ROOT });
      for (const [index, { name, cid, cumulativeSize }] of children.entries()) {
        assert(name !== '' && !name.includes('/'), 'a child has a name');
        if (index % CHILDREN_PER_TURN === 0) await turn();
        signal.throwIfAborted();
        const path = `${ROOT}/${name}`;
        yield async () => ({ cid, size: BigInt(cumulativeSize), path, originalPath: path });
      }
    };
    let built: { readonly cid: CID; readonly size: bigint } | undefined;
    const how = { profile: options.profile, dagBuilder };
    for await (const entry of importer([], pending.store, how)) built = entry;
    assert(built !== undefined, 'the importer ends with the root');
    return { cid: built.cid, size: 0, cumulativeSize: Number(built.size), ...pending.settle() };
  }

  /**
   * A whole tree from a list of its entries, in any order; `''` is the path of the root itself.
   * `visit` hears of every directory and link that was built, children first.
   * @throws OpError no-space; the signal's reason.
   */
  async buildTree(
    entries: Iterable<TreeEntry>,
    options: Omit<BuildOptions, 'mode' | 'mtime'>,
    signal: AbortSignal,
    visit: (path: string, built: Built) => void = () => undefined,
  ): Promise<Built> {
    const build = async (path: string, directory: Gathered): Promise<Built> => {
      const at = (name: string) => (path === '' ? name : `${path}/${name}`);
      const children: Child[] = [...directory.files].map(([name, file]) => ({ name, ...file }));
      const counts = { blocksNew: 0, blocksReused: 0 };
      const add = (name: string, built: Built) => {
        children.push({ name, cid: built.cid, cumulativeSize: built.cumulativeSize });
        counts.blocksNew += built.blocksNew;
        counts.blocksReused += built.blocksReused;
      };
      for (const [name, { target, mode, mtime }] of directory.symlinks) {
        const built = this.buildSymlink(target, { ...options, mode, mtime });
        visit(at(name), built);
        add(name, built);
      }
      for (const [name, below] of directory.directories) add(name, await build(at(name), below));
      const own = { ...options, ...directory.metadata };
      const built = await this.buildDirectory(children, own, signal);
      counts.blocksNew += built.blocksNew;
      counts.blocksReused += built.blocksReused;
      visit(path, { ...built, ...counts });
      return { ...built, ...counts };
    };
    return build('', gather(entries));
  }

  /** At most one chunk: a raw block, or one node with the bytes in it. */
  #addChunk(bytes: Buffer, options: BuildOptions): Built {
    const metadata = metadataOf(options);
    const isPlain = Object.keys(metadata).length === 0;
    if (options.profile !== 'unixfs-v1-2025' || !isPlain) {
      const node = new UnixFS({ type: 'file', data: bytes, ...metadata });
      return { ...this.#addNode(node, options), size: bytes.length };
    }
    const pending = new PendingBlocks(options.into ?? this.#blocks, options);
    const cid = rawCid(bytes);
    pending.add(cid, bytes);
    const { length: size } = bytes;
    return { cid, size, cumulativeSize: size, ...pending.settle() };
  }

  #addNode(unixfs: UnixFS, options: BuildOptions): Built {
    const { cid, bytes } = nodeOf(unixfs, options.profile);
    const pending = new PendingBlocks(options.into ?? this.#blocks, options);
    pending.add(cid, bytes);
    return { cid, size: 0, cumulativeSize: bytes.length, ...pending.settle() };
  }

  /** Many chunks, each a block of its own: leaves with a wrapping are no ranges of the bytes. */
  async #import(source: AsyncIterable<Uint8Array>, options: BuildOptions): Promise<Built> {
    const { importFile } = await import('ipfs-unixfs-importer');
    const pending = new PendingBlocks(options.into ?? this.#blocks, options);
    const metadata = metadataOf(options);
    // As Kubo: a file with metadata has no raw leaves.
    const leaves = Object.keys(metadata).length === 0 ? {} : { rawLeaves: false };
    const how = { profile: options.profile, blockWriteConcurrency: 1, ...leaves };
    const file = { content: source, ...metadata };
    const { cid, size, unixfs } = await importFile(file, pending.store, how);
    const bytes = Number(unixfs?.fileSize() ?? size);
    return { cid, size: bytes, cumulativeSize: Number(size), ...pending.settle() };
  }

  async #addContent(source: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<Built> {
    const id = this.#journal.commit(() => {
      const made = this.#contents.create('local');
      this.#contents.hold(made);
      return made;
    });
    try {
      let size = 0;
      for await (const piece of source) {
        const bytes = Buffer.from(piece.buffer, piece.byteOffset, piece.length);
        this.#journal.commit(() => this.#contents.write(id, bytes, size));
        size += piece.length;
      }
      this.#journal.commit(() => this.#contents.freeze(id));
      const cid = await this.#sealer.seal(id, signal);
      const counts = this.#countBlocks(id);
      this.#keepOne(id, cid);
      return { cid, size, cumulativeSize: this.#cumulativeSize(cid, size), ...counts };
    } catch (error) {
      this.#journal.commit(() => this.#contents.discard(id));
      throw error;
    }
  }

  /** Of the blocks of a sealed object: how many lie nowhere else. */
  #countBlocks(id: ContentId): Pick<Built, 'blocksNew' | 'blocksReused'> {
    const { contents } = this.#journal;
    const rows = contents.blocksOf(id);
    const isNew = (cid: Buffer) => contents.blockPlaces(cid).length === 1;
    const blocksNew = rows.filter(({ cid }) => isNew(cid)).length;
    return { blocksNew, blocksReused: rows.length - blocksNew };
  }

  /** Equal bytes that were all here before are held instead of the new ones. */
  #keepOne(id: ContentId, cid: CID): void {
    const places = this.#journal.contents.blockPlaces(blockKey(cid));
    const older = places
      .map(({ content }) => this.#contents.row(content))
      .find((row) => row?.state === 'sealed' && row.id !== id && row.cid?.equals(cid.bytes));
    if (older === undefined) return;
    this.#journal.commit(() => {
      this.#contents.hold(older.id);
      this.#contents.discard(id);
    });
  }

  #cumulativeSize(cid: CID, size: number): number {
    if (cid.code === RAW_CODEC) return size;
    const root = this.#blocks.get(cid);
    assert(root !== undefined, 'the root of what was sealed is here');
    return decode(root).Links.reduce((sum, { Tsize }) => sum + (Tsize ?? 0), root.length);
  }
}

/** What the importer calls the directory that is built; its name is nowhere in the result. */
const ROOT = 'd';

function nodeOf(
  unixfs: UnixFS,
  profile: Profile,
): { readonly cid: CID; readonly bytes: Uint8Array } {
  const bytes = encode(prepare({ Data: unixfs.marshal(), Links: [] }));
  const { multihash } = rawCid(bytes);
  const isV0 = profile === 'unixfs-v0-2015';
  const v1 = CID.createV1(DAG_PB_CODEC, multihash);
  const cid = isV0 ? v1.toV0() : v1;
  return { cid, bytes };
}

/** In the importer's words; empty when there is none. */
function metadataOf({ mode, mtime }: Metadata) {
  return {
    ...(mode === undefined ? {} : { mode }),
    ...(mtime === undefined ? {} : { mtime: mtimeOf(mtime) }),
  };
}

function mtimeOf({ s, ns }: { readonly s: number; readonly ns: number }) {
  return ns === 0 ? { secs: BigInt(s) } : { secs: BigInt(s), nsecs: ns };
}

function gather(entries: Iterable<TreeEntry>): Gathered {
  const root = emptyDirectory();
  for (const entry of entries) {
    const names = entry.path.split('/').filter((name) => name !== '');
    const last = entry.type === 'directory' ? undefined : names.pop();
    let directory = root;
    for (const name of names) {
      const below = directory.directories.get(name) ?? emptyDirectory();
      directory.directories.set(name, below);
      directory = below;
    }
    if (entry.type === 'directory') {
      directory.metadata = { mode: entry.mode, mtime: entry.mtime };
      continue;
    }
    assert(last !== undefined, 'a file has a name');
    if (entry.type === 'file') directory.files.set(last, entry);
    else directory.symlinks.set(last, entry);
  }
  return root;
}

const emptyDirectory = (): Gathered => ({
  metadata: {},
  files: new Map(),
  symlinks: new Map(),
  directories: new Map(),
});

/** Lets other work and an abort in between two pieces. */
async function* paced(
  source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array> {
  for await (const piece of source) {
    signal.throwIfAborted();
    yield piece;
    await turn();
  }
}

async function* joined(
  head: readonly Uint8Array[],
  rest: AsyncIterable<Uint8Array>,
): AsyncGenerator<Uint8Array> {
  yield* head;
  yield* rest;
}
