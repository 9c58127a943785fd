/**
 * What a plan that makes a directory show a tree is put together from: entries made, names removed,
 * and whether what is here is what is there. Nothing is changed here, and nothing is copied: files
 * wait to be given their bytes.
 */
import type {
  PlannedMaking,
  PlannedMetadata,
  PlannedRemoval,
  Seen,
  SetAside,
} from '../base/graft.ts';
import { type ContentId, type Ino, type Name, NO_CONTENT } from '../base/ids.ts';
import { RESTORED_PIECE_BYTES } from '../base/limits.ts';
import { isDirectory } from '../base/posix.ts';
import { turn } from '../base/turn.ts';
import { blockKey, type CID, type ContentStore, cidOfBytes, type Dag } from '../content/content.ts';
import type { InodeRow, Journal } from '../journal/journal.ts';
import type { Gate } from './freeze.ts';
import { type Grantee, grantedTo } from './metadata.ts';
import type { RemoteEntry } from './remote.ts';
import { bitsOf, isSpecial } from './types.ts';

export interface PlanningPorts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly dag: Dag;
}

export interface PlanningOptions {
  /** Asked before the names of a directory here are looked at. */
  readonly gate: Pick<Gate, 'demandReadable'>;
  readonly grantee: Grantee;
  /** What was set aside for an entry, by its path; absent: nothing for any. */
  readonly numbers?: ReadonlyMap<Name, SetAside> | undefined;
  readonly signal: AbortSignal;
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

/** How an entry is made, where it is not made as it is called and free. */
export interface Making {
  readonly replaces?: PlannedRemoval | undefined;
  /** Absent: its own. */
  readonly name?: Name | undefined;
  /** Where it comes, from the root of the plan; absent: at its own path. */
  readonly at?: readonly Name[] | undefined;
  /** Absent: its own, as far as it is granted. */
  readonly metadata?: PlannedMetadata | undefined;
}

export class Planning {
  readonly files: WaitingFile[] = [];
  /** Devices, which only uid 0 may make. */
  readonly skipped: Name[] = [];
  /** Bytes of the files made or replaced. */
  bytes = 0;
  created = 0;
  readonly #ports: PlanningPorts;
  readonly #options: PlanningOptions;
  /** What will be there, by its path in the tree: what a further name of an inode may refer to. */
  readonly #present = new Map<
    Name,
    { readonly entry: RemoteEntry; readonly at: readonly Name[] }
  >();

  constructor(ports: PlanningPorts, options: PlanningOptions) {
    this.#ports = ports;
    this.#options = options;
  }

  /** The entry is there already, as the tree has it, or will be. */
  isPresent(entry: RemoteEntry, at: readonly Name[] = pathOf(entry)): void {
    this.#present.set(entry.path, { entry, at });
  }

  /** An entry and all below it; undefined: it may not be made. */
  async make(remote: RemoteEntry, how: Making = {}): Promise<PlannedMaking | undefined> {
    const making = this.#makingOf(remote, how);
    if (making?.node.type !== 'directory') return making;
    return { ...making, children: await this.makings(remote, how.at) };
  }

  /** The entry alone. */
  #makingOf(remote: RemoteEntry, how: Making): PlannedMaking | undefined {
    const { replaces, name = remote.name, at = pathOf(remote) } = how;
    const node = this.#nodeOf(remote);
    if (node === undefined) return undefined;
    this.isPresent(remote, at);
    if (replaces === undefined) this.created += 1;
    const metadata = how.metadata ?? grantedTo(this.#options.grantee, remote);
    const numbers = this.#options.numbers?.get(remote.path);
    return { action: 'make', name, replaces, node, metadata, children: [], numbers };
  }

  async makings(
    remote: RemoteEntry,
    at: readonly Name[] = pathOf(remote),
  ): Promise<PlannedMaking[]> {
    await this.pause();
    const made: PlannedMaking[] = [];
    for (const child of remote.children) {
      const how = { at: [...at, child.name] };
      const isTree = child.type === 'directory';
      const entry = isTree ? await this.make(child, how) : this.#makingOf(child, how);
      if (entry !== undefined) made.push(entry);
    }
    return made;
  }

  #nodeOf(remote: RemoteEntry): PlannedMaking['node'] | undefined {
    const { type, path, sameAs, target, size, rdev } = remote;
    if ((type === 'char' || type === 'block') && !this.#options.grantee.isRoot) {
      this.skipped.push(path);
      return undefined;
    }
    if (type === 'directory') return { type };
    const first = sameAs === undefined ? undefined : this.#present.get(sameAs);
    if (first?.entry.type === type && isSameContent(first.entry, remote)) {
      return { type: 'link', to: first.at };
    }
    if (target !== undefined) return { type: 'symlink', target };
    if (isSpecial(type)) return { type: 'special', mode: bitsOf(type), rdev };
    const node = { type: 'file', content: NO_CONTENT, size, cid: undefined } as const;
    const waiting = { remote, node: { ...node, content: NO_CONTENT as ContentId } };
    this.files.push(waiting);
    this.bytes += size;
    return waiting.node;
  }

  /** The CID of a file's bytes as they are, if it is known. */
  cidOf({ content }: InodeRow): CID | undefined {
    const row = content === NO_CONTENT ? undefined : this.#ports.contents.row(content);
    const isKnown = row?.state === 'sealed' || row?.state === 'remote';
    return isKnown && row.cid !== null ? cidOfBytes(row.cid) : undefined;
  }

  /** Whether what is here, of the same type, has the bytes, the target or the device. */
  async isSame(local: InodeRow, remote: RemoteEntry): Promise<boolean> {
    if (remote.type === 'symlink') {
      return this.#ports.journal.symlinks.get(local.ino) === remote.target;
    }
    if (remote.type !== 'file' || remote.cid === undefined) return local.rdev === remote.rdev;
    if (local.size !== remote.size) return false;
    const cid = this.cidOf(local);
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
      await this.pause();
    }
    return true;
  }

  /** What is in a directory here, by its name. @throws OpError denied. */
  namesIn(directory: Ino): Map<Name, InodeRow> {
    this.#options.gate.demandReadable(directory);
    return namesIn(this.#ports.journal, directory);
  }

  async pause(): Promise<void> {
    await turn();
    this.#options.signal.throwIfAborted();
  }
}

export const pathOf = ({ path }: RemoteEntry): Name[] =>
  path === '' ? [] : (path.split('/') as Name[]);

function isSameContent(one: RemoteEntry, other: RemoteEntry): boolean {
  if (one.cid === undefined || other.cid === undefined) return one.rdev === other.rdev;
  return one.cid.equals(other.cid);
}

export const seenOf = ({ ino, version }: InodeRow): Seen => ({ ino, version });

/** Entries for one page of a directory. */
const NAMES_PER_PAGE = 1024;

/** In bytewise order. */
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

/** Of a name and, when it is a directory, of all below it. */
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

/** Names that go with it, its own included. */
export const countOf = ({ children }: PlannedRemoval): number =>
  children.reduce((sum, child) => sum + countOf(child), 1);
