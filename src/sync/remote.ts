/**
 * A tree as content has it: a UnixFS directory, and for a snapshot record what its manifest adds.
 * Written by strangers: names that are no names are refused, and so are trees too large to be.
 */

import type { Instant } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type Name, nameOfText } from '../base/ids.ts';
import { FETCHES_AT_ONCE_MAX, NAME_BYTES_MAX, RESTORED_ENTRIES_MAX } from '../base/limits.ts';
import { inTurns } from '../base/together.ts';
import { turn } from '../base/turn.ts';
import { type CID, type Dag, type DagEntry, type DagLink, RAW_CODEC } from '../content/content.ts';
import { isCbor } from './cbor.ts';
import { type ManifestEntry, readManifest } from './manifest.ts';
import { readSnapshot, type Snapshot } from './snapshot.ts';
import { type EntryType, isSpecial } from './types.ts';

export interface RemoteEntry {
  readonly name: Name;
  /** From the root of the tree; '' is the root itself. */
  readonly path: Name;
  readonly type: EntryType;
  /** Of everything but special files. */
  readonly cid: CID | undefined;
  /** Bytes of a file. */
  readonly size: number;
  readonly target: Name | undefined;
  /** What the manifest says of it, or UnixFS, if either does. */
  readonly metadata: RemoteMetadata | undefined;
  readonly rdev: number;
  /** An earlier path of the same inode. */
  readonly sameAs: Name | undefined;
  readonly children: readonly RemoteEntry[];
}

export interface RemoteMetadata {
  readonly mode: number | undefined;
  readonly uid: number | undefined;
  readonly gid: number | undefined;
  readonly atime: Instant | undefined;
  readonly mtime: Instant | undefined;
  /** Only of a snapshot, whose manifest names all there are. */
  readonly xattrs: ManifestEntry['xattrs'] | undefined;
}

export interface RemoteTree {
  readonly cid: CID;
  /** The record, when the tree was named by one. */
  readonly snapshot: { readonly cid: CID; readonly record: Snapshot } | undefined;
  readonly root: RemoteEntry;
}

/** Links of a directory whose blocks are looked at together. */
const LINKS_AT_ONCE = 256;
/** Missing blocks that are named. */
const MISSING_SHOWN = 20;

export interface ReadRemoteOptions {
  /** Whether bytes of files may be elsewhere; if not, all blocks must be here before one is read. */
  readonly mayLackBytes: boolean;
  /** Told of how many names were read so far. */
  readonly read?: ((names: number) => void) | undefined;
  readonly signal: AbortSignal;
}

/**
 * Reads a whole tree, every block that it reads verified; bytes of files are not looked at.
 * @throws OpError content-missing with details {cid, partial: {missing}}; integrity (also for a
 *   name with `/`, `.`, `..` or NUL); unsupported when `cid` is no directory and no snapshot
 *   record; name-too-long; payload-too-large; the signal's reason.
 */
export async function readRemote(
  dag: Dag,
  cid: CID,
  { signal: asked, ...options }: ReadRemoteOptions,
): Promise<RemoteTree> {
  // Of blocks that are fetched together, the others are not waited for when one cannot be had.
  const ended = new AbortController();
  try {
    const signal = AbortSignal.any([asked, ended.signal]);
    return await readTree(dag, cid, { ...options, signal });
  } finally {
    ended.abort(new OpError('cancelled', `restore ${cid}`));
  }
}

async function readTree(
  dag: Dag,
  cid: CID,
  { mayLackBytes, read, signal }: ReadRemoteOptions,
): Promise<RemoteTree> {
  const snapshot = isCbor(cid) ? await snapshotAt(dag, cid, signal) : undefined;
  const tree = snapshot?.record.tree ?? cid;
  const roots = snapshot === undefined ? [tree] : [tree, snapshot.record.manifest];
  if (!mayLackBytes) await demandComplete(dag, roots, signal);
  const manifest =
    snapshot === undefined
      ? new Map<Name, ManifestEntry>()
      : await readManifest(dag, snapshot.record.manifest, signal);
  const entry = await dag.entryOf(tree, signal);
  if (entry.type !== 'directory') {
    throw new OpError('unsupported', `restore ${cid}`, {
      hint: 'name a directory, or a snapshot record',
      details: { cid: cid.toString() },
    });
  }
  const reader = new Reader(dag, manifest, signal, read);
  return { cid: tree, snapshot, root: await reader.read(tree, entry) };
}

/** What a link of a directory leads to: a tree of its own, without a manifest. */
export async function readLink(dag: Dag, link: DagLink, signal: AbortSignal): Promise<RemoteEntry> {
  return new Reader(dag, new Map(), signal).read(link.cid, await linked(dag, link, signal));
}

/** A raw block that is elsewhere is a file of as many bytes as its link says, or is damaged. */
export async function linked(
  dag: Dag,
  { cid, cumulativeSize }: DagLink,
  signal: AbortSignal,
): Promise<DagEntry> {
  const isHere = dag.sizeOf(cid) !== undefined;
  if (isHere || cid.code !== RAW_CODEC) return dag.entryOf(cid, signal);
  const plain = { cid, mode: undefined, mtime: undefined, target: undefined };
  return { ...plain, type: 'raw', size: cumulativeSize, cumulativeSize };
}

async function snapshotAt(dag: Dag, cid: CID, signal: AbortSignal) {
  return { cid, record: await readSnapshot(dag, cid, signal) };
}

/** Every block is here; those of file bytes are not looked into yet. */
async function demandComplete(dag: Dag, roots: readonly CID[], signal: AbortSignal): Promise<void> {
  const missing: string[] = [];
  for (const root of roots) {
    for await (const { cid, size } of dag.walk(root, signal)) {
      if (size === undefined) missing.push(cid.toString());
      if (missing.length === MISSING_SHOWN) break;
    }
  }
  const [first] = missing;
  if (first === undefined) return;
  throw new OpError('content-missing', `read ${roots[0]}`, {
    hint: 'add the content, or fetch it from a node that has it',
    details: { cid: first, partial: { missing } },
  });
}

interface Directory {
  readonly entry: RemoteEntry & { readonly children: RemoteEntry[] };
  readonly cid: CID;
}

class Reader {
  readonly #dag: Dag;
  readonly #manifest: ReadonlyMap<Name, ManifestEntry>;
  readonly #signal: AbortSignal;
  readonly #read: (names: number) => void;
  /** Entries of the manifest that the tree does not show, by the directory they are in. */
  readonly #hidden: ReadonlyMap<string, readonly ManifestEntry[]>;
  #count = 0;

  constructor(
    dag: Dag,
    manifest: ReadonlyMap<Name, ManifestEntry>,
    signal: AbortSignal,
    read: ReadRemoteOptions['read'] = () => {},
  ) {
    this.#read = read;
    this.#dag = dag;
    this.#manifest = manifest;
    this.#signal = signal;
    this.#hidden = hiddenOf(manifest);
  }

  async read(cid: CID, node: DagEntry): Promise<RemoteEntry> {
    const root = this.#entryOf('' as Name, '' as Name, cid, node);
    const directories: Directory[] = root.type === 'directory' ? [{ entry: root, cid }] : [];
    // Side by side: of each of them a block may have to be fetched.
    const read = (directory: Directory) => this.#directory(directory);
    for (let level = directories; level.length > 0; ) {
      level = (await inTurns(level, FETCHES_AT_ONCE_MAX, read)).flat();
    }
    return root;
  }

  /** Reads the names of one directory; answers the directories among them. */
  async #directory({ entry, cid }: Directory): Promise<Directory[]> {
    const below: Directory[] = [];
    const names = new Set<Name>();
    const add = (name: Name, childCid: CID | undefined, node: DagEntry | undefined) => {
      demandName(name, names, cid);
      this.#count += 1;
      if (this.#count > RESTORED_ENTRIES_MAX) {
        throw new OpError('payload-too-large', `restore ${cid}`, {
          hint: `a tree of more than ${RESTORED_ENTRIES_MAX} names is not restored`,
        });
      }
      const path = (entry.path === '' ? name : `${entry.path}/${name}`) as Name;
      const child =
        childCid === undefined || node === undefined
          ? this.#special(name, path)
          : this.#entryOf(name, path, childCid, node);
      entry.children.push(child);
      if (child.type === 'directory' && childCid !== undefined) {
        below.push({ entry: child, cid: childCid });
      }
    };
    let some: DagLink[] = [];
    const addSome = async () => {
      // Together: a block of each may have to be fetched.
      const nodes = await Promise.all(some.map((link) => linked(this.#dag, link, this.#signal)));
      for (const [at, { name, cid: child }] of some.entries()) {
        add(nameOfText(name), child, nodes[at]);
      }
      some = [];
    };
    for await (const link of this.#dag.list(cid, this.#signal)) {
      if (some.push(link) === LINKS_AT_ONCE) await addSome();
    }
    await addSome();
    for (const { path, cid: own } of this.#hidden.get(entry.path) ?? []) {
      const node = own === undefined ? undefined : await this.#dag.entryOf(own, this.#signal);
      add(lastOf(path), own, node);
    }
    entry.children.sort((one, other) => (one.name < other.name ? -1 : 1));
    this.#read(this.#count);
    await turn();
    return below;
  }

  #entryOf(name: Name, path: Name, cid: CID, node: DagEntry) {
    if (node.type === 'other') {
      throw new OpError('unsupported', `restore ${cid}`, { hint: 'it is no UnixFS' });
    }
    const type = node.type === 'raw' ? 'file' : node.type;
    if (type === 'symlink' && (node.target === '' || node.target?.includes('\0') !== false)) {
      throw new OpError('integrity', `read ${cid}`, { hint: 'it is a link to nothing' });
    }
    const known = this.#manifest.get(path);
    const told = known?.type === type ? known : undefined;
    return {
      name,
      path,
      type,
      cid,
      size: node.size,
      target: node.target,
      metadata: told === undefined ? metadataOf(node) : told,
      rdev: 0,
      sameAs: told?.sameAs,
      children: [] as RemoteEntry[],
    };
  }

  #special(name: Name, path: Name) {
    const known = this.#manifest.get(path);
    if (known === undefined || !isSpecial(known.type)) {
      throw new OpError('integrity', `restore ${name}`, {
        hint: 'the manifest contradicts itself',
      });
    }
    const { type, rdev = 0, sameAs } = known;
    const plain = { cid: undefined, size: 0, target: undefined };
    return { ...plain, name, path, type, metadata: known, rdev, sameAs, children: [] };
  }
}

function metadataOf({ mode, mtime }: DagEntry): RemoteMetadata | undefined {
  if (mode === undefined && mtime === undefined) return undefined;
  return {
    mode,
    mtime,
    uid: undefined,
    gid: undefined,
    atime: undefined,
    xattrs: undefined,
  };
}

function hiddenOf(manifest: ReadonlyMap<Name, ManifestEntry>): Map<string, ManifestEntry[]> {
  const hidden = new Map<string, ManifestEntry[]>();
  for (const entry of manifest.values()) {
    if (!isSpecial(entry.type) && entry.cid === undefined) continue;
    const above = entry.path.slice(0, Math.max(0, entry.path.lastIndexOf('/')));
    const list = hidden.get(above) ?? [];
    list.push(entry);
    hidden.set(above, list);
  }
  return hidden;
}

const lastOf = (path: Name): Name => path.slice(path.lastIndexOf('/') + 1) as Name;

/** @throws OpError integrity, name-too-long. */
export function demandName(name: Name, names: Set<Name>, directory: CID): void {
  const isName = name !== '' && name !== '.' && name !== '..' && !/[/\0]/.test(name);
  if (!isName || names.has(name)) {
    throw new OpError('integrity', `read ${directory}`, {
      hint: isName ? 'two of its links have one name' : 'a link in it has a name that is none',
      details: { cid: directory.toString() },
    });
  }
  if (name.length > NAME_BYTES_MAX) throw new OpError('name-too-long', `read ${directory}`);
  names.add(name);
}
