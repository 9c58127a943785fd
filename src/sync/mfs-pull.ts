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
import type { InodeRow, Journal, SeenRow, SeenState } from '../journal/journal.ts';
import { keptName } from './kept-name.ts';
import { grantedTo } from './metadata.ts';
import { judge, lastOf, rootRow, settledRow, stateOf, unlike } from './mfs-judge.ts';
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
  /** Whether a name there is none of what the tree shows. */
  isHidden(parent: Ino, name: Name): boolean;
  /** What the node has at the place of the tree. */
  readonly cid: CID;
  /** Directories with names of which something is under way, and those above them. */
  readonly unsure: ReadonlySet<Ino>;
  /** Whether what is under way for a name, and is seen there, was brought long enough ago. */
  isConfirmed(parent: Ino, name: Name): boolean;
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
  /** What had names that are sure to be gone there: of directories, with all below. */
  readonly gone: readonly Ino[];
  /** Names that were changed on both sides. */
  readonly conflicts: number;
}

export interface MadeName {
  readonly parent: Ino;
  readonly making: PlannedMaking;
  readonly entry: MadeEntry;
}

export interface MadeEntry extends RemoteEntry {
  readonly children: readonly MadeEntry[];
  /** What is there in it, and is not made: it was removed here. */
  readonly removed?: readonly DagLink[];
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
  /** What else is there. */
  readonly links: ReadonlyMap<Name, DagLink>;
  /** On either side, and of what is kept in this look. */
  readonly taken: Set<Name>;
}

const WAITS: Looked = { entries: [], isComplete: false };
const SETTLED: Looked = { entries: [], isComplete: true };

class Pull {
  readonly #ports: PullPorts;
  readonly #request: PullRequest;
  readonly #files: WaitingFile[] = [];
  readonly #rows: SeenRow[] = [];
  readonly #made: MadeName[] = [];
  readonly #gone: Ino[] = [];
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
      ...{ gone: this.#gone, conflicts: this.#conflicts },
    };
  }

  /**
   * `seen`: block key of what the directory was there when it was read last. `before`: the directory
   * here that had its name then.
   */
  async #directory(
    ino: Ino,
    cid: CID | undefined,
    seen: Buffer | undefined,
    before = ino,
  ): Promise<Looked> {
    const { unsure, signal } = this.#request;
    const isRead = cid !== undefined && seen?.equals(blockKey(cid)) === true;
    if (isRead && !unsure.has(ino)) return SETTLED;
    await turn();
    const links = cid === undefined ? new Map<Name, DagLink>() : await this.#links(cid, signal);
    for (const name of links.keys()) {
      if (this.#request.isHidden(ino, name)) links.delete(name);
    }
    const { journal } = this.#ports;
    const rows = journal.mfsSeen.of(ino);
    if (before !== ino) this.#adopt(ino, rows, journal.mfsSeen.of(before));
    const siblings = namesIn(journal, ino);
    const entries: PlannedEntry[] = [];
    let isComplete = true;
    const all = [...links.keys(), ...rows.keys(), ...siblings.keys()];
    const taken = new Set(all);
    for (const name of new Set(all)) {
      signal.throwIfAborted();
      const names = {
        ...{ parent: ino, name, siblings, links, taken },
        ...{ row: rows.get(name), here: siblings.get(name), link: links.get(name) },
      };
      const looked = await this.#name(names);
      entries.push(...looked.entries);
      isComplete &&= looked.isComplete;
    }
    return { entries, isComplete };
  }

  /** What was there then is known, though nothing here is the same any more. */
  #adopt(parent: Ino, rows: Map<Name, SeenRow>, before: ReadonlyMap<Name, SeenRow>): void {
    for (const [name, row] of before) {
      if (rows.has(name)) continue;
      const adopted = settledRow({ parent, name }, unlike(lastOf(row)?.cid));
      rows.set(name, adopted);
      this.#rows.push(adopted);
    }
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
      return link === undefined ? this.#forget(names) : this.#revive(names, link, judged.base);
    if (judged.isChangedHere) return this.#conflict(names, here);
    const removal = removalOf(this.#ports.journal, names.name, here);
    if (link !== undefined) return this.#make(names, link, removal);
    this.#rows.push(emptied(names));
    return { entries: [removal], isComplete: true };
  }

  /** Nothing is to be done here; what is under way may be over. */
  #settle({ parent, name, row }: Names, isBrought: boolean, base: SeenRow['agreed']): void {
    if (row?.next === undefined) return;
    const isOver = !isBrought || this.#request.isConfirmed(parent, name);
    if (isOver) {
      this.#rows.push(settledRow({ parent, name }, base));
      for (const ino of [row.agreed?.ino, row.next.went]) {
        if (ino !== undefined && ino !== 0 && ino !== base?.ino) this.#gone.push(ino);
      }
    } else if (!row.next.isDone) this.#rows.push({ ...row, next: { ...row.next, isDone: true } });
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
    const before = lastOf(row)?.ino;
    const below = await this.#directory(here.ino, link.cid, seen, before === 0 ? here.ino : before);
    const agreed = stateOf(blockKey(link.cid), here);
    const isBrought = row?.next?.isDone === true;
    if (below.isComplete && (row?.next === undefined || isBrought)) {
      const isOver = !isBrought || this.#request.isConfirmed(parent, name);
      // What was brought as a whole has changed since, by what is in it.
      const next = { isDone: true, to: agreed, went: 0 as const };
      this.#rows.push(isOver ? settledRow(names, agreed) : { ...rowOf(names), next });
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
    const { link } = names;
    if (link === undefined) {
      this.#rows.push(emptied(names));
      return SETTLED;
    }
    const node = await linked(this.#ports.dag, link, this.#request.signal);
    if (await this.#isSame(here, link, node)) {
      this.#rows.push(settledRow(names, stateOf(blockKey(link.cid), here)));
      return SETTLED;
    }
    this.#rows.push(this.#replaced(names));
    return { entries: await this.#beside(names, link), isComplete: true };
  }

  /** What is there is known, and what is here is brought over it. */
  #replaced(names: Names): SeenRow {
    const { link } = names;
    return settledRow(names, unlike(link === undefined ? undefined : blockKey(link.cid)));
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
    if (await this.#isKept(names, link)) return [];
    const name = keptName(names.name, link.cid, names.taken);
    const entry = await readLink(this.#ports.dag, link, this.#request.signal);
    return [this.#making({ ...entry, name }, undefined, {})];
  }

  /** Under the name it has first, with those bytes, on both sides. */
  async #isKept({ name, siblings, links }: Names, link: DagLink): Promise<boolean> {
    const kept = keptName(name, link.cid, new Set());
    const here = siblings.get(kept);
    if (here === undefined || links.get(kept)?.cid.equals(link.cid) !== true) return false;
    return this.#isSame(here, link, await linked(this.#ports.dag, link, this.#request.signal));
  }

  /**
   * It was removed here, and changed there. Of a directory only what was changed comes back: what was
   * not goes there too.
   */
  async #revive(names: Names, link: DagLink, base: SeenState | undefined): Promise<Looked> {
    const node = await linked(this.#ports.dag, link, this.#request.signal);
    if (node.type !== 'directory' || base === undefined) return this.#make(names, link);
    const entry = await this.#changedIn(link, base.ino);
    const { name, parent } = names;
    if (entry === undefined) {
      this.#rows.push(settledRow(names, { ...base, cid: blockKey(link.cid) }));
      return SETTLED;
    }
    const making = this.#making({ ...entry, name }, undefined, {});
    this.#made.push({ parent, making, entry });
    return { entries: [making], isComplete: true };
  }

  /** A directory there, with what in it is not what it was; undefined: all of it is. */
  async #changedIn(link: DagLink, before: Ino): Promise<MadeEntry | undefined> {
    const { dag, journal } = this.#ports;
    const { signal } = this.#request;
    const rows = journal.mfsSeen.of(before);
    const children: MadeEntry[] = [];
    const removed: DagLink[] = [];
    for (const [name, child] of await this.#links(link.cid, signal)) {
      const { base, isChangedThere } = judge(rows.get(name), undefined, blockKey(child.cid));
      const node = isChangedThere ? await linked(dag, child, signal) : undefined;
      const isDirectory = node?.type === 'directory' && base !== undefined;
      const entry = isDirectory
        ? await this.#changedIn(child, base.ino)
        : node && (await readLink(dag, child, signal));
      if (entry === undefined) removed.push(child);
      else children.push({ ...entry, name });
    }
    if (children.length === 0) return undefined;
    const own = { name: '' as Name, path: '' as Name, type: 'directory', cid: link.cid } as const;
    const plain = { size: 0, target: undefined, metadata: undefined, rdev: 0, sameAs: undefined };
    return { ...own, ...plain, children, removed };
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

const emptied = (names: Names): SeenRow => settledRow(names, undefined);

const rowOf = ({ parent, name, row }: Names): SeenRow =>
  row ?? settledRow({ parent, name }, undefined);

/** What POSIX takes for a name; MFS takes more. */
const isName = (name: Name): boolean =>
  name.length > 0 && name.length <= NAME_BYTES_MAX && !/^\.{1,2}$|[/\0]/.test(name);

const countRemoved = (entries: readonly PlannedEntry[]): number =>
  entries.filter(({ action }) => action === 'remove').length;

const defined = (metadata: PlannedMaking['metadata']): PlannedMaking['metadata'] =>
  Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined));
