/**
 * What must change in a tree of kind `mfs` so that it shows what the mutable tree of the node has,
 * name by name against what both had last. Nothing is changed here.
 *
 * Invariants: a directory that is there what it was is not read; a name that somebody writes to at
 * the moment waits; of a name that was changed on both sides both are kept.
 */
import { assert } from '../base/assert.ts';
import type { PlannedEntry, PlannedMaking, PlannedRemoval, TreePlan } from '../base/graft.ts';
import { type ContentId, type Ino, type Name, NO_CONTENT, nameOfText } from '../base/ids.ts';
import { NAME_BYTES_MAX } from '../base/limits.ts';
import { isDirectory, isRegular, isSymlink } from '../base/posix.ts';
import { turn } from '../base/turn.ts';
import { blockKey, type CID, type Dag, type DagEntry, type DagLink } from '../content/content.ts';
import type { InodeRow, Journal, SeenRow } from '../journal/journal.ts';
import { grantedTo } from './metadata.ts';
import { conflictName, judge, rootRow, stateOf } from './mfs-judge.ts';
import { namesIn, removalOf, type WaitingFile } from './planning.ts';
import { linked, type RemoteEntry, readLink } from './remote.ts';

export interface PullPorts {
  readonly journal: Journal;
  /** Of the node: what is not here is fetched. */
  readonly dag: Dag;
  /** Whether somebody has it open for writing. */
  isWritten(ino: Ino): boolean;
  /** The CID of a file at rest. @throws OpError integrity, io; the signal's reason. */
  cidOf(row: InodeRow, signal: AbortSignal): Promise<CID>;
  /** Set-id bits and owners are for uid 0. */
  readonly isRoot: boolean;
}

export interface PullRequest {
  readonly root: Ino;
  /** What the node has at the place of the tree. */
  readonly cid: CID;
  /** Directories with names of which something is under way, and those above them. */
  readonly unsure: ReadonlySet<Ino>;
  /** What is under way and is seen there has been there for long enough. */
  readonly isConfirmed: boolean;
  readonly signal: AbortSignal;
}

export interface Pulled {
  readonly plan: TreePlan;
  /** They wait for their bytes. */
  readonly files: readonly WaitingFile[];
  readonly bytes: number;
  /** Rows of names that need no change. */
  readonly rows: readonly SeenRow[];
  /** Of names that the plan makes: their rows are known when it was carried out. */
  readonly made: readonly MadeName[];
  /** Names that were changed on both sides. */
  readonly conflicts: number;
}

export interface MadeName {
  readonly parent: Ino;
  readonly making: PlannedMaking;
  readonly entry: RemoteEntry;
}

/**
 * @throws OpError content-missing, integrity, unsupported (what is there is no UnixFS), not-directory;
 *   what asking the node throws; the signal's reason.
 */
export const pull = (ports: PullPorts, request: PullRequest): Promise<Pulled> =>
  new Pull(ports, request).run();

interface Looked {
  readonly entries: readonly PlannedEntry[];
  /** Nothing of it waits. */
  readonly isComplete: boolean;
}

/** One name. */
interface Names {
  readonly parent: Ino;
  readonly name: Name;
  readonly row: SeenRow | undefined;
  readonly here: InodeRow | undefined;
  readonly link: DagLink | undefined;
  /** What else is here. */
  readonly siblings: ReadonlyMap<Name, InodeRow>;
}

const WAITS: Looked = { entries: [], isComplete: false };
const SETTLED: Looked = { entries: [], isComplete: true };

class Pull {
  readonly #ports: PullPorts;
  readonly #request: PullRequest;
  readonly #files: WaitingFile[] = [];
  readonly #rows: SeenRow[] = [];
  readonly #made: MadeName[] = [];
  #bytes = 0;
  #conflicts = 0;

  constructor(ports: PullPorts, request: PullRequest) {
    this.#ports = ports;
    this.#request = request;
  }

  async run(): Promise<Pulled> {
    const { root, cid } = this.#request;
    const row = this.#ports.journal.mfsSeen.get(root, '' as Name);
    const { entries, isComplete } = await this.#directory(root, cid, row?.agreed?.cid);
    if (isComplete) this.#rows.push(rootRow(root, blockKey(cid)));
    return {
      plan: { root, linksFrom: [], metadata: {}, children: entries },
      ...{ files: this.#files, bytes: this.#bytes, rows: this.#rows, made: this.#made },
      conflicts: this.#conflicts,
    };
  }

  /** `seen`: block key of what the directory was there when it was read last. */
  async #directory(ino: Ino, cid: CID | undefined, seen: Buffer | undefined): Promise<Looked> {
    const { unsure, signal } = this.#request;
    const isRead = cid !== undefined && seen?.equals(blockKey(cid)) === true;
    if (isRead && !unsure.has(ino)) return SETTLED;
    await turn();
    const links = cid === undefined ? new Map<Name, DagLink>() : await this.#links(cid, signal);
    const { journal } = this.#ports;
    const rows = journal.mfsSeen.of(ino);
    const siblings = namesIn(journal, ino);
    const entries: PlannedEntry[] = [];
    let isComplete = true;
    for (const name of new Set([...links.keys(), ...rows.keys(), ...siblings.keys()])) {
      signal.throwIfAborted();
      const names = {
        ...{ parent: ino, name, siblings },
        ...{ row: rows.get(name), here: siblings.get(name), link: links.get(name) },
      };
      const looked = await this.#name(names);
      entries.push(...looked.entries);
      isComplete &&= looked.isComplete;
    }
    return { entries, isComplete };
  }

  async #links(cid: CID, signal: AbortSignal): Promise<Map<Name, DagLink>> {
    const links = new Map<Name, DagLink>();
    for await (const link of this.#ports.dag.list(cid, signal)) {
      const name = nameOfText(link.name);
      if (isName(name)) links.set(name, link);
    }
    return links;
  }

  async #name(names: Names): Promise<Looked> {
    const { here, link, row } = names;
    const there = link === undefined ? undefined : blockKey(link.cid);
    const judged = judge(row, here, there);
    if (!judged.isChangedThere) {
      this.#settle(names, judged.isBrought, judged.base);
      const isUnsure = here !== undefined && this.#request.unsure.has(here.ino);
      if (!isUnsure || !isDirectory(here.mode) || link === undefined) return SETTLED;
      return this.#both(names, link);
    }
    if (here !== undefined && isDirectory(here.mode)) return this.#overDirectory(names);
    if (here !== undefined && this.#ports.isWritten(here.ino)) return WAITS;
    if (here === undefined)
      return link === undefined ? this.#forget(names) : this.#make(names, link);
    if (judged.isChangedHere) return this.#conflict(names, here);
    const removal = removalOf(this.#ports.journal, names.name, here);
    if (link !== undefined) return this.#make(names, link, removal);
    this.#rows.push(emptied(names));
    return { entries: [removal], isComplete: true };
  }

  /** Nothing is to be done here; what is under way may be over. */
  #settle({ parent, name, row }: Names, isBrought: boolean, base: SeenRow['agreed']): void {
    if (row?.next === undefined) return;
    if (!isBrought) this.#rows.push({ parent, name, agreed: base, next: undefined });
    else if (this.#request.isConfirmed) this.#rows.push({ ...row, agreed: base, next: undefined });
    else if (!row.next.isDone) this.#rows.push({ ...row, next: { ...row.next, isDone: true } });
  }

  #forget(names: Names): Looked {
    this.#rows.push(emptied(names));
    return SETTLED;
  }

  /** A directory is here, and something else, or another directory, is there. */
  async #overDirectory(names: Names): Promise<Looked> {
    const { link, here, name } = names;
    assert(here !== undefined, 'a directory is here');
    if (link !== undefined) {
      const node = await linked(this.#ports.dag, link, this.#request.signal);
      if (node.type === 'directory') return this.#both(names, link);
    }
    const below = await this.#directory(here.ino, undefined, undefined);
    if (!below.isComplete) return { ...WAITS, entries: this.#adjusted(names, below.entries) };
    const removal = removalOf(this.#ports.journal, name, here);
    if (removal.children.length === countRemoved(below.entries)) {
      if (link !== undefined) return this.#make(names, link, removal);
      this.#rows.push(emptied(names));
      return { entries: [removal], isComplete: true };
    }
    // Something in it was changed here: that stays, and what is there has another name.
    const entries = [...this.#adjusted(names, below.entries)];
    this.#rows.push(this.#replaced(names));
    if (link !== undefined) entries.push(...(await this.#beside(names, link)));
    return { entries, isComplete: true };
  }

  /** Directories on both sides. */
  async #both(names: Names, link: DagLink): Promise<Looked> {
    const { here, row, parent, name } = names;
    assert(here !== undefined, 'a directory is here');
    const seen = row?.agreed?.ino === here.ino ? row.agreed.cid : undefined;
    const below = await this.#directory(here.ino, link.cid, seen);
    if (below.isComplete && row?.next === undefined) {
      const agreed = stateOf(blockKey(link.cid), here);
      this.#rows.push({ parent, name, agreed, next: undefined });
    }
    // What is under way for the directory itself is over: it is there.
    else if (below.isComplete && row?.next?.isDone === true) {
      const agreed = stateOf(blockKey(link.cid), here);
      const next = this.#request.isConfirmed ? undefined : { isDone: true, to: agreed };
      this.#rows.push({ parent, name, agreed: next === undefined ? agreed : row.agreed, next });
    }
    return { ...below, entries: this.#adjusted(names, below.entries) };
  }

  #adjusted({ here, name }: Names, children: readonly PlannedEntry[]): readonly PlannedEntry[] {
    if (children.length === 0 || here === undefined) return [];
    const seen = { ino: here.ino, version: here.version };
    return [{ action: 'adjust', name, seen, metadata: {}, children }];
  }

  /** A file that was changed here, and there. */
  async #conflict(names: Names, here: InodeRow): Promise<Looked> {
    const { parent, name, link } = names;
    if (link === undefined) {
      this.#rows.push(emptied(names));
      return SETTLED;
    }
    const node = await linked(this.#ports.dag, link, this.#request.signal);
    if (await this.#isSame(here, link, node)) {
      this.#rows.push({ parent, name, agreed: stateOf(blockKey(link.cid), here), next: undefined });
      return SETTLED;
    }
    this.#rows.push(this.#replaced(names));
    return { entries: await this.#beside(names, link), isComplete: true };
  }

  /** What is there is known, and what is here is brought over it. */
  #replaced({ parent, name, link, here }: Names): SeenRow {
    const cid = link === undefined ? undefined : blockKey(link.cid);
    const agreed =
      cid === undefined ? undefined : { cid, ino: here?.ino ?? (0 as Ino), version: -1 };
    return { parent, name, agreed, next: undefined };
  }

  async #isSame(here: InodeRow, link: DagLink, node: DagEntry): Promise<boolean> {
    const { journal } = this.#ports;
    if (isSymlink(here.mode)) return journal.symlinks.get(here.ino) === node.target;
    if (!isRegular(here.mode) || node.type === 'symlink' || here.size !== node.size) return false;
    if (here.size === 0) return true;
    const cid = await this.#ports.cidOf(here, this.#request.signal);
    return blockKey(cid).equals(blockKey(link.cid));
  }

  /** What is there, under the name of a conflict; nothing when it is kept there already. */
  async #beside(names: Names, link: DagLink): Promise<readonly PlannedEntry[]> {
    this.#conflicts += 1;
    const name = conflictName(names.name, link.cid.toString());
    if (names.siblings.has(name) || name.length > NAME_BYTES_MAX) return [];
    const entry = await readLink(this.#ports.dag, link, this.#request.signal);
    return [this.#making({ ...entry, name }, undefined, {})];
  }

  async #make(names: Names, link: DagLink, replaces?: PlannedRemoval): Promise<Looked> {
    const { here, name, parent } = names;
    const entry = await readLink(this.#ports.dag, link, this.#request.signal);
    const kept = here === undefined ? {} : this.#metadataOf(here, entry);
    const making = this.#making({ ...entry, name }, replaces, kept);
    this.#made.push({ parent, making, entry });
    return { entries: [making], isComplete: true };
  }

  /** MFS holds none: a file that got other bytes keeps what it had here. */
  #metadataOf(here: InodeRow, entry: RemoteEntry) {
    const isSameType = isDirectory(here.mode) === (entry.type === 'directory');
    if (!isSameType || isSymlink(here.mode)) return {};
    const { mode, uid, gid, ino } = here;
    return { mode: mode & 0o7777, uid, gid, xattrs: this.#ports.journal.xattrs.all(ino) };
  }

  #making(
    entry: RemoteEntry,
    replaces: PlannedRemoval | undefined,
    kept: PlannedMaking['metadata'],
  ): PlannedMaking {
    const root = this.#ports.journal.inodes.get(this.#request.root);
    const owner = { uid: root?.uid, gid: root?.gid };
    const given = grantedTo(this.#ports, entry);
    return {
      ...{ action: 'make', name: entry.name, replaces, node: this.#nodeOf(entry) },
      metadata: { ...owner, ...defined(given), ...kept },
      children: entry.children.map((child) => this.#making(child, undefined, {})),
    };
  }

  #nodeOf(entry: RemoteEntry): PlannedMaking['node'] {
    const { type, target, size } = entry;
    if (type === 'directory') return { type };
    if (target !== undefined) return { type: 'symlink', target };
    const node: WaitingFile['node'] = {
      ...{ type: 'file', content: NO_CONTENT as ContentId, size, cid: undefined },
    };
    this.#files.push({ remote: entry, node });
    this.#bytes += size;
    return node;
  }
}

const emptied = ({ parent, name }: Names): SeenRow => ({
  ...{ parent, name, agreed: undefined, next: undefined },
});

/** What POSIX takes for a name; MFS takes more. */
const isName = (name: Name): boolean =>
  name.length > 0 && name.length <= NAME_BYTES_MAX && !/^\.{1,2}$|[/\0]/.test(name);

const countRemoved = (entries: readonly PlannedEntry[]): number =>
  entries.filter(({ action }) => action === 'remove').length;

const defined = (metadata: PlannedMaking['metadata']): PlannedMaking['metadata'] =>
  Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined));
