/**
 * A frozen subtree → UnixFS: files by the CIDs of their content objects, directories bottom-up.
 * Nothing is copied where the content has the CID that is asked for already.
 */
import { setMaxListeners } from 'node:events';
import { assert } from '../base/assert.ts';
import { OpError } from '../base/errors.ts';
import { type ContentId, isUtf8Name, NO_CONTENT, textOf } from '../base/ids.ts';
import { PUBLISHED_FILES_AT_ONCE, RESTORED_PIECE_BYTES } from '../base/limits.ts';
import { isDirectory, isRegular, isSymlink } from '../base/posix.ts';
import { together } from '../base/together.ts';
import { turn } from '../base/turn.ts';
import {
  type Builder,
  type Built,
  blockKey,
  type CID,
  CONTENT_PROFILE,
  type ContentStore,
  cidOfBytes,
  type Dag,
  type Profile,
  RAW_CODEC,
  type Sealer,
} from '../content/content.ts';
import type { Journal, PublishedRow } from '../journal/journal.ts';
import type { Frozen, FrozenEntry } from './freeze.ts';
import { isSpecial, typeOf } from './types.ts';

export interface AssemblePorts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly dag: Dag;
  readonly builder: Builder;
  readonly sealer: Pick<Sealer, 'seal' | 'sealTogether'>;
}

export interface AssembleOptions {
  readonly profile: Profile;
  /** Store mode and mtime in UnixFS, which changes the CIDs. */
  readonly metadata: boolean;
  /** Compute, and store nothing. */
  readonly dryRun: boolean;
}

export interface AssembleProgress {
  readonly files: number;
  readonly bytes: number;
  readonly filesTotal: number;
  readonly bytesTotal: number;
}

export interface Counts {
  files: number;
  directories: number;
  symlinks: number;
  bytes: number;
  newBlocks: number;
  reusedBlocks: number;
}

/** An entry that UnixFS cannot show, with the reason. */
export interface Skipped {
  readonly entry: FrozenEntry;
  readonly why: 'special' | 'name';
}

export interface Assembled {
  readonly root: Parts;
  /** Of all entries that have one. */
  readonly built: ReadonlyMap<FrozenEntry, Parts>;
  readonly counts: Readonly<Counts>;
  readonly skipped: readonly Skipped[];
  /** Files made here that are no content object of one CID. */
  readonly made: readonly CID[];
  /** Objects with the bytes of the others. */
  readonly contents: ReadonlySet<ContentId>;
}

export interface Parts extends Pick<Built, 'cid' | 'size' | 'cumulativeSize'> {
  /** Of its DAG; of a directory that was built those of its own nodes. */
  readonly blocks: number;
}

/**
 * Builds a frozen tree. A root that is no directory is a file or a link by itself.
 * @throws OpError unsupported for a root that is a special file; no-space, integrity, io; the
 *   signal's reason.
 */
export async function assemble(
  ports: AssemblePorts,
  frozen: Frozen,
  options: AssembleOptions,
  { signal, progress }: AssembleRun,
): Promise<Assembled> {
  return new Assembly(ports, frozen, options, { signal, progress }).run();
}

export interface AssembleRun {
  readonly signal: AbortSignal;
  readonly progress: (progress: AssembleProgress) => void;
}

class Assembly {
  readonly #ports: AssemblePorts;
  readonly #frozen: Frozen;
  readonly #options: AssembleOptions;
  readonly #run: AssembleRun;
  readonly #built = new Map<FrozenEntry, Parts>();
  readonly #made: CID[] = [];
  readonly #contents = new Set<ContentId>();
  readonly #counts: Counts = {
    files: 0,
    directories: 0,
    symlinks: 0,
    bytes: 0,
    newBlocks: 0,
    reusedBlocks: 0,
  };

  constructor(ports: AssemblePorts, frozen: Frozen, options: AssembleOptions, run: AssembleRun) {
    this.#ports = ports;
    this.#frozen = frozen;
    this.#options = options;
    // Every file that is hashed at the moment listens.
    const signal = AbortSignal.any([run.signal]);
    setMaxListeners(0, signal);
    this.#run = { ...run, signal };
  }

  async run(): Promise<Assembled> {
    const [top] = this.#frozen.entries;
    assert(top !== undefined, 'what is frozen has a root');
    if (isSpecial(typeOf(top.row.mode))) {
      throw new OpError('unsupported', 'make content of a special file');
    }
    await this.#files();
    const skipped = await this.#directories();
    const root = this.#built.get(top);
    assert(root !== undefined, 'the root of a tree is built last');
    const [built, counts] = [this.#built, this.#counts];
    return { root, built, counts, skipped, made: this.#made, contents: this.#contents };
  }

  /** Some files at a time, each content once. */
  async #files(): Promise<void> {
    const files = this.#frozen.entries.filter(({ row }) => isRegular(row.mode));
    const bytesTotal = files.reduce((sum, { row }) => sum + row.size, 0);
    const known = new Map<string, Parts>();
    for (let at = 0; at < files.length; at += PUBLISHED_FILES_AT_ONCE) {
      this.#run.signal.throwIfAborted();
      const batch = files.slice(at, at + PUBLISHED_FILES_AT_ONCE);
      const wanted = new Map<string, FrozenEntry>();
      for (const entry of batch) {
        const key = this.#keyOf(entry);
        if (!known.has(key)) wanted.set(key, entry);
      }
      await this.#seal([...wanted.values()]);
      await together(
        [...wanted].map(async ([key, entry]) => known.set(key, await this.#file(entry))),
      );
      for (const entry of batch) {
        const parts = known.get(this.#keyOf(entry));
        assert(parts !== undefined, 'every file of the batch was made');
        this.#built.set(entry, parts);
        this.#counts.files += 1;
        this.#counts.bytes += entry.row.size;
      }
      const { files: done, bytes } = this.#counts;
      this.#run.progress({ files: done, bytes, filesTotal: files.length, bytesTotal });
      await turn();
    }
  }

  /** Most small files are not hashed yet: together it costs them a tenth. */
  async #seal(entries: readonly FrozenEntry[]): Promise<void> {
    if (!this.#isPlain || this.#options.dryRun) return;
    const ids = entries.map(({ content }) => content);
    await this.#ports.sealer.sealTogether(ids, this.#run.signal);
  }

  /** The CIDs of content objects are those of the files. */
  get #isPlain(): boolean {
    return !this.#options.metadata && this.#options.profile === CONTENT_PROFILE;
  }

  /** Files of one key are one DAG. */
  #keyOf({ row, content }: FrozenEntry): string {
    return this.#options.metadata ? `inode ${row.ino}` : `content ${content} ${row.size}`;
  }

  async #file(entry: FrozenEntry): Promise<Parts> {
    const { content, row } = entry;
    const isPlain = this.#isPlain;
    const known = content === NO_CONTENT ? undefined : this.#ports.contents.row(content);
    const hasCid = known?.state === 'sealed' || known?.state === 'remote';
    if (isPlain && hasCid && known.cid !== null) return this.#sealed(entry, cidOfBytes(known.cid));
    if (isPlain && content !== NO_CONTENT && !this.#options.dryRun) {
      return this.#sealed(entry, await this.#ports.sealer.seal(content, this.#run.signal));
    }
    const { builder, contents } = this.#ports;
    const pieces = piecesOf(contents, content, row.size);
    const built = await builder.addStream(pieces, this.#how(entry), this.#run.signal);
    this.#made.push(built.cid);
    return this.#count(built);
  }

  async #sealed(entry: FrozenEntry, cid: CID): Promise<Parts> {
    const { journal, dag } = this.#ports;
    const content = this.#options.dryRun ? entry.content : this.#keepOne(entry.content, cid);
    const { size } = entry.row;
    // A block that is elsewhere, and all of the file, has as many bytes as that.
    const isBlock = cid.code === RAW_CODEC;
    const cumulativeSize = isBlock
      ? size
      : (await dag.entryOf(cid, this.#run.signal)).cumulativeSize;
    const blocks = isBlock ? 1 : journal.contents.blocksOf(content).length;
    this.#contents.add(content);
    // What an earlier publication kept was not copied, and is not carried anywhere again.
    const isKept = this.#frozen.kept.has(content);
    if (isKept) this.#counts.reusedBlocks += blocks;
    else this.#counts.newBlocks += blocks;
    return { cid, size, cumulativeSize, blocks };
  }

  /** A copy whose bytes were here before is let go; answers the object that is kept. */
  #keepOne(content: ContentId, cid: CID): ContentId {
    if (!this.#frozen.copies.has(content)) return content;
    const { journal, contents } = this.#ports;
    const older = journal.contents.byCid(blockKey(cid));
    if (older === undefined || older.id === content || older.place === 'memory') return content;
    journal.commit(() => {
      contents.hold(older.id);
      contents.discard(content);
    });
    return older.id;
  }

  /** Everything that is no file, children before their directory. */
  async #directories(): Promise<Skipped[]> {
    const skipped: Skipped[] = [];
    const { signal } = this.#run;
    const [top] = this.#frozen.entries;
    for (const entry of [...this.#frozen.entries].reverse()) {
      signal.throwIfAborted();
      if (entry !== top && !isUtf8Name(entry.name)) skipped.push({ entry, why: 'name' });
      if (isSymlink(entry.row.mode)) {
        const { target } = entry;
        assert(target !== undefined, 'a symbolic link has a target');
        this.#add(entry, this.#ports.builder.buildSymlink(target, this.#how(entry)));
        this.#counts.symlinks += 1;
      } else if (entry.published !== undefined) {
        this.#take(entry, entry.published);
      } else if (isDirectory(entry.row.mode)) {
        this.#add(entry, await this.#directory(entry));
        this.#counts.directories += 1;
      } else if (!isRegular(entry.row.mode)) {
        skipped.push({ entry, why: 'special' });
      }
    }
    return skipped.reverse();
  }

  #directory(entry: FrozenEntry): Promise<Built> {
    const children = entry.children.flatMap((child) => {
      const parts = this.#built.get(child);
      if (parts === undefined || !isUtf8Name(child.name)) return [];
      const { cid, cumulativeSize } = parts;
      return [{ name: textOf(child.name), cid, cumulativeSize }];
    });
    return this.#ports.builder.buildDirectory(children, this.#how(entry), this.#run.signal);
  }

  #add(entry: FrozenEntry, built: Built): void {
    this.#built.set(entry, this.#count(built));
  }

  /** All of it was built when it was published last. */
  #take(entry: FrozenEntry, row: PublishedRow): void {
    const { cumulativeSize, blocks } = row;
    this.#built.set(entry, { cid: cidOfBytes(row.cid), size: 0, cumulativeSize, blocks });
    this.#counts.files += row.files;
    this.#counts.directories += row.directories;
    this.#counts.symlinks += row.symlinks;
    this.#counts.bytes += row.bytes;
    this.#counts.reusedBlocks += blocks;
  }

  #count({ cid, size, cumulativeSize, blocksNew, blocksReused }: Built): Parts {
    this.#counts.newBlocks += blocksNew;
    this.#counts.reusedBlocks += blocksReused;
    return { cid, size, cumulativeSize, blocks: blocksNew + blocksReused };
  }

  #how({ row }: FrozenEntry) {
    const { profile, dryRun, metadata } = this.#options;
    if (!metadata) return { profile, dryRun };
    const mtime = { s: row.mtimeS, ns: row.mtimeNs };
    return { profile, dryRun, mode: row.mode & 0o7777, mtime };
  }
}

function* piecesOf(
  contents: ContentStore,
  content: ContentId,
  size: number,
): Generator<Uint8Array> {
  for (let at = 0; at < size; at += RESTORED_PIECE_BYTES) {
    const piece = Buffer.alloc(Math.min(RESTORED_PIECE_BYTES, size - at));
    if (content !== NO_CONTENT) contents.read(content, piece, 0, piece.length, at);
    yield piece;
  }
}
