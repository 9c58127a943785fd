/**
 * What must change in a directory so that it shows a tree of content, and where the two disagree.
 * Nothing is changed here, and nothing is copied: files wait to be given their bytes.
 *
 * There is no merge: a name that is here and differs is a conflict (`fail`), or the tree's
 * (`keep_remote`). The tree of the last sync tells deletions from names that only exist here, and
 * changes made here from changes made there.
 */

import type { PlannedEntry, PlannedMaking, PlannedRemoval, Seen, TreePlan } from '../base/graft.ts';
import { type ContentId, type Ino, type Name, NO_CONTENT, nameOfText } from '../base/ids.ts';
import { RESTORED_PIECE_BYTES } from '../base/limits.ts';
import { isDirectory } from '../base/posix.ts';
import { turn } from '../base/turn.ts';
import { blockKey, type CID, type ContentStore, cidOfBytes, type Dag } from '../content/content.ts';
import type { InodeRow, Journal } from '../journal/journal.ts';
import { differsFrom, type Grantee, grantedTo } from './metadata.ts';
import type { RemoteEntry, RemoteTree } from './remote.ts';
import { bitsOf, isSpecial, typeOf } from './types.ts';

export interface ComparePorts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly dag: Dag;
}

export interface CompareOptions {
  readonly policy: 'fail' | 'keep_remote';
  readonly applyDeletions: boolean;
  /** The directory is a copy that nobody else writes: what the tree has not goes, whoever made it. */
  readonly isCopy?: boolean | undefined;
  /** The tree of the last sync, when there was one. */
  readonly base: CID | undefined;
  readonly grantee: Grantee;
  readonly signal: AbortSignal;
}

export interface Conflict {
  /** From the directory that is compared. */
  readonly path: Name;
  readonly what: 'both_changed' | 'both_created' | 'deleted_there' | 'type_changed';
  /** What has the name here. */
  readonly localIno: Ino;
  readonly localCid: CID | undefined;
  readonly remoteCid: CID | undefined;
  readonly baseCid: CID | undefined;
  readonly resolution: 'none' | 'kept_remote';
}

/** A file that the plan makes, before it has its bytes. */
export interface WaitingFile {
  readonly remote: RemoteEntry;
  readonly node: {
    readonly type: 'file';
    content: ContentId;
    readonly size: number;
    cid: Uint8Array | undefined;
  };
}

export interface Comparison {
  readonly plan: TreePlan;
  readonly files: readonly WaitingFile[];
  readonly counts: Readonly<Record<CountName, number>>;
  /** Bytes of the files made or replaced. */
  readonly bytes: number;
  readonly conflicts: readonly Conflict[];
  /** Devices, which only uid 0 may make. */
  readonly skipped: readonly Name[];
}

export type CountName = 'created' | 'updated' | 'deleted' | 'unchanged' | 'conflicts';

/**
 * Compares the directory `root` with a tree; undefined: there is no directory yet.
 * @throws OpError content-missing, integrity; the signal's reason.
 */
export async function compare(
  ports: ComparePorts,
  root: Ino | undefined,
  tree: RemoteTree,
  options: CompareOptions,
): Promise<Comparison> {
  return new Comparing(ports, options).run(root, tree.root);
}

/** One directory on both sides. */
interface Pair {
  readonly remote: RemoteEntry;
  readonly local: Ino;
  readonly base: CID | undefined;
}

/** One name on both sides. */
interface Names {
  readonly path: Name;
  readonly name: Name;
  readonly local: InodeRow;
  readonly base: CID | undefined;
}

class Comparing {
  readonly #ports: ComparePorts;
  readonly #options: CompareOptions;
  readonly #files: WaitingFile[] = [];
  readonly #conflicts: Conflict[] = [];
  readonly #skipped: Name[] = [];
  readonly #counts = { created: 0, updated: 0, deleted: 0, unchanged: 0, conflicts: 0 };
  /** What will be there, by path: what a further name of an inode may refer to. */
  readonly #present = new Map<Name, RemoteEntry>();
  #bytes = 0;

  constructor(ports: ComparePorts, options: CompareOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  async run(root: Ino | undefined, remote: RemoteEntry): Promise<Comparison> {
    const { base, policy, grantee } = this.#options;
    const isEmpty = root === undefined || this.#ports.journal.dentries.isEmpty(root);
    const children =
      root === undefined
        ? await this.#makings(remote)
        : await this.#directory({ remote, local: root, base });
    // The directory itself is the caller's, unless nothing is in it that the tree did not bring.
    const metadata = isEmpty || policy === 'keep_remote' ? grantedTo(grantee, remote) : {};
    return {
      plan: { root: root ?? (0 as Ino), linksFrom: [], metadata, children },
      files: this.#files,
      counts: { ...this.#counts, conflicts: this.#conflicts.length },
      bytes: this.#bytes,
      conflicts: this.#conflicts,
      skipped: this.#skipped,
    };
  }

  async #directory({ remote, local, base }: Pair): Promise<PlannedEntry[]> {
    await this.#pause();
    const here = namesIn(this.#ports.journal, local);
    const before = await this.#baseNames(base);
    const planned: PlannedEntry[] = [];
    for (const child of remote.children) {
      const { name, path } = child;
      const row = here.get(name);
      here.delete(name);
      const entry =
        row === undefined
          ? await this.#make(child)
          : await this.#both({ name, path, local: row, base: before?.get(name) }, child);
      if (entry !== undefined) planned.push(entry);
    }
    if (!this.#options.applyDeletions) return planned;
    for (const [name, row] of here) {
      const baseCid = before?.get(name);
      if (baseCid === undefined && this.#options.isCopy !== true) continue;
      const path = (remote.path === '' ? name : `${remote.path}/${name}`) as Name;
      const removal = await this.#deletion({ name, path, local: row, base: baseCid });
      if (removal !== undefined) planned.push(removal);
    }
    return planned;
  }

  /** In the tree only. */
  async #make(remote: RemoteEntry, replaces?: PlannedRemoval): Promise<PlannedMaking | undefined> {
    const node = this.#nodeOf(remote);
    if (node === undefined) return undefined;
    this.#present.set(remote.path, remote);
    if (replaces === undefined) this.#counts.created += 1;
    const { name } = remote;
    const children = node.type === 'directory' ? await this.#makings(remote) : [];
    const metadata = grantedTo(this.#options.grantee, remote);
    return { action: 'make', name, replaces, node, metadata, children };
  }

  async #makings(remote: RemoteEntry): Promise<PlannedMaking[]> {
    await this.#pause();
    const made: PlannedMaking[] = [];
    for (const child of remote.children) {
      const entry = await this.#make(child);
      if (entry !== undefined) made.push(entry);
    }
    return made;
  }

  #nodeOf(remote: RemoteEntry): PlannedMaking['node'] | undefined {
    const { type, path, sameAs, target, size, rdev } = remote;
    if ((type === 'char' || type === 'block') && !this.#options.grantee.isRoot) {
      this.#skipped.push(path);
      return undefined;
    }
    if (type === 'directory') return { type };
    const first = sameAs === undefined ? undefined : this.#present.get(sameAs);
    if (first?.type === type && isSameContent(first, remote)) {
      return { type: 'link', to: first.path.split('/') as Name[] };
    }
    if (target !== undefined) return { type: 'symlink', target };
    if (isSpecial(type)) return { type: 'special', mode: bitsOf(type), rdev };
    const node = { type: 'file', content: NO_CONTENT, size, cid: undefined } as const;
    const waiting = { remote, node: { ...node, content: NO_CONTENT as ContentId } };
    this.#files.push(waiting);
    this.#bytes += size;
    return waiting.node;
  }

  /** On both sides. */
  async #both(names: Names, remote: RemoteEntry): Promise<PlannedEntry | undefined> {
    const { local, name, base } = names;
    const type = typeOf(local.mode);
    if (type !== remote.type) return this.#differing(names, remote, 'type_changed');
    if (type === 'directory') {
      const metadata = this.#metadataChange(names, remote);
      if (metadata === 'conflict') return undefined;
      this.#present.set(remote.path, remote);
      const children = await this.#directory({ remote, local: local.ino, base });
      if (children.length === 0 && metadata === undefined) return undefined;
      const seen = seenOf(local);
      return { action: 'adjust', name, seen, metadata: metadata ?? this.#kept(remote), children };
    }
    const isSame = this.#isBrought(base, remote) || (await this.#isSame(local, remote));
    if (!isSame) return this.#differing(names, remote, undefined);
    const metadata = this.#metadataChange(names, remote);
    if (metadata === 'conflict') return undefined;
    this.#present.set(remote.path, remote);
    if (metadata === undefined) return undefined;
    return { action: 'adjust', name, seen: seenOf(local), metadata, children: [] };
  }

  /** Of a directory that has it: what changes in it would leave it other times. */
  #kept(remote: RemoteEntry) {
    const { policy, grantee } = this.#options;
    return policy === 'keep_remote' ? grantedTo(grantee, remote) : {};
  }

  /** The metadata to be set on what stays; undefined: none. Counts the name. */
  #metadataChange(names: Names, remote: RemoteEntry) {
    const { policy, grantee } = this.#options;
    const wanted = grantedTo(grantee, remote);
    const xattrs = this.#ports.journal.xattrs.all(names.local.ino);
    const isRemote = policy === 'keep_remote';
    if (
      !differsFrom(wanted, names.local, xattrs, {
        withTimes: isRemote || !isDirectory(names.local.mode),
      })
    ) {
      this.#counts.unchanged += 1;
      return undefined;
    }
    if (isRemote) {
      this.#counts.updated += 1;
      return wanted;
    }
    this.#conflict(names, remote, 'both_changed', 'none');
    return 'conflict' as const;
  }

  async #differing(
    names: Names,
    remote: RemoteEntry,
    what: 'type_changed' | undefined,
  ): Promise<PlannedEntry | undefined> {
    const { local, name, base } = names;
    const kind = what ?? (base === undefined ? 'both_created' : 'both_changed');
    if (this.#options.policy === 'fail') {
      this.#conflict(names, remote, kind, 'none');
      return undefined;
    }
    const isOurs = this.#options.isCopy === true || this.#isAsInBase(local, base);
    if (!isOurs) this.#conflict(names, remote, kind, 'kept_remote');
    const making = await this.#make(remote, removalOf(this.#ports.journal, name, local));
    if (making !== undefined) this.#counts.updated += 1;
    return making;
  }

  /** Here, in the tree of the last sync, but no longer in the tree. */
  async #deletion(names: Names): Promise<PlannedRemoval | undefined> {
    const { local, name, base } = names;
    if (this.#options.policy === 'fail') {
      this.#conflict(names, undefined, 'deleted_there', 'none');
      return undefined;
    }
    if (this.#options.isCopy !== true && !this.#isAsInBase(local, base)) {
      this.#conflict(names, undefined, 'deleted_there', 'kept_remote');
    }
    const removal = removalOf(this.#ports.journal, name, local);
    this.#counts.deleted += countOf(removal);
    return removal;
  }

  #conflict(
    { path, local, base }: Names,
    remote: RemoteEntry | undefined,
    what: Conflict['what'],
    resolution: Conflict['resolution'],
  ): void {
    this.#conflicts.push({
      path,
      what,
      localIno: local.ino,
      localCid: this.#cidOf(local),
      remoteCid: remote?.cid,
      baseCid: base,
      resolution,
    });
  }

  /** Known to be what was synced: a file whose CID is known, and is that one. */
  #isAsInBase(local: InodeRow, base: CID | undefined): boolean {
    const cid = this.#cidOf(local);
    return cid !== undefined && base !== undefined && blockKey(cid).equals(blockKey(base));
  }

  #cidOf({ content }: InodeRow): CID | undefined {
    const row = content === NO_CONTENT ? undefined : this.#ports.contents.row(content);
    const isKnown = row?.state === 'sealed' || row?.state === 'remote';
    return isKnown && row.cid !== null ? cidOfBytes(row.cid) : undefined;
  }

  /** Of a copy: it was brought when the name meant the tree of the last sync, and nobody changed it. */
  #isBrought(base: CID | undefined, { cid }: RemoteEntry): boolean {
    return this.#options.isCopy === true && base !== undefined && cid?.equals(base) === true;
  }

  async #isSame(local: InodeRow, remote: RemoteEntry): Promise<boolean> {
    if (remote.type === 'symlink') {
      return this.#ports.journal.symlinks.get(local.ino) === remote.target;
    }
    if (remote.type !== 'file' || remote.cid === undefined) return local.rdev === remote.rdev;
    if (local.size !== remote.size) return false;
    const cid = this.#cidOf(local);
    if (cid !== undefined && blockKey(cid).equals(blockKey(remote.cid))) return true;
    // What is not here is not fetched to be compared: other CIDs are other bytes.
    const isHere = this.#ports.contents.remote.has(local.content, 0, local.size);
    return isHere && this.#hasSameBytes(local, remote.cid);
  }

  /** Two CIDs may stand for the same bytes, cut differently. */
  async #hasSameBytes({ content, size }: InodeRow, remote: CID): Promise<boolean> {
    for (let at = 0; at < size; at += RESTORED_PIECE_BYTES) {
      const length = Math.min(RESTORED_PIECE_BYTES, size - at);
      const { dag, contents } = this.#ports;
      const there = await dag.readRange(remote, { position: at, length }, this.#options.signal);
      const here = Buffer.alloc(length);
      // Since the last piece somebody may have exchanged the bytes: the plan is void then anyway.
      if (content !== NO_CONTENT && contents.row(content) === undefined) return false;
      if (content !== NO_CONTENT) contents.read(content, here, 0, length, at);
      if (!here.equals(there)) return false;
      await this.#pause();
    }
    return true;
  }

  async #baseNames(base: CID | undefined): Promise<Map<Name, CID> | undefined> {
    if (base === undefined) return undefined;
    const names = new Map<Name, CID>();
    try {
      for await (const { name, cid } of this.#ports.dag.list(base, this.#options.signal)) {
        names.set(nameOfText(name), cid);
      }
    } catch {
      this.#options.signal.throwIfAborted();
      // What was synced is not here any more: then nothing is known about it.
      return undefined;
    }
    return names;
  }

  async #pause(): Promise<void> {
    await turn();
    this.#options.signal.throwIfAborted();
  }
}

function isSameContent(one: RemoteEntry, other: RemoteEntry): boolean {
  if (one.cid === undefined || other.cid === undefined) return one.rdev === other.rdev;
  return one.cid.equals(other.cid);
}

const seenOf = ({ ino, version }: InodeRow): Seen => ({ ino, version });

/** Entries for one page of a directory. */
const NAMES_PER_PAGE = 1024;

export function namesIn(journal: Journal, directory: Ino): Map<Name, InodeRow> {
  const rows = new Map<Name, InodeRow>();
  let after = '' as Name;
  for (;;) {
    const page = journal.dentries.namesAfter(directory, after, NAMES_PER_PAGE);
    for (const { name, ino } of page) {
      after = name;
      const row = journal.inodes.get(ino);
      if (row !== undefined) rows.set(name, row);
    }
    if (page.length < NAMES_PER_PAGE) return rows;
  }
}

export function removalOf(journal: Journal, name: Name, row: InodeRow): PlannedRemoval {
  const hasNames = isDirectory(row.mode);
  const below = hasNames ? namesIn(journal, row.ino) : new Map<Name, InodeRow>();
  return {
    action: 'remove',
    name,
    seen: seenOf(row),
    isDirectory: hasNames,
    children: [...below].map(([child, childRow]) => removalOf(journal, child, childRow)),
  };
}

const countOf = ({ children }: PlannedRemoval): number =>
  children.reduce((sum, child) => sum + countOf(child), 1);
