/**
 * What must change in a directory so that it shows a tree of content, and where the two disagree.
 * Nothing is changed here, and nothing is copied: files wait to be given their bytes.
 *
 * This is no merge (`merge.ts` is): a name that is here and differs is a conflict (`fail`), or the tree's
 * (`keep_remote`). The tree of the last sync tells deletions from names that only exist here, and
 * changes made here from changes made there.
 */

import type { PlannedEntry, PlannedRemoval, TreePlan } from '../base/graft.ts';
import { type Ino, type Name, nameOfText } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import { blockKey, type CID } from '../content/content.ts';
import type { InodeRow } from '../journal/journal.ts';
import { differsFrom, type Grantee, grantedTo } from './metadata.ts';
import {
  countOf,
  Planning,
  type PlanningOptions,
  type PlanningPorts,
  removalOf,
  seenOf,
  type WaitingFile,
} from './planning.ts';
import type { RemoteEntry, RemoteTree } from './remote.ts';
import { typeOf } from './types.ts';

export interface CompareOptions {
  readonly policy: 'fail' | 'keep_remote';
  readonly applyDeletions: boolean;
  /** The directory is a copy that nobody else writes: what the tree has not goes, whoever made it. */
  readonly isCopy?: boolean | undefined;
  /** The tree of the last sync, when there was one. */
  readonly base: CID | undefined;
  readonly grantee: Grantee;
  readonly gate: PlanningOptions['gate'];
  readonly numbers?: PlanningOptions['numbers'];
  readonly signal: AbortSignal;
}

export interface Conflict {
  /** From the directory that is compared. */
  readonly path: Name;
  readonly what:
    | 'both_changed'
    | 'both_created'
    | 'deleted_here'
    | 'deleted_there'
    | 'type_changed';
  /** What has the name here; undefined: nothing any more. */
  readonly localIno: Ino | undefined;
  readonly localCid: CID | undefined;
  readonly remoteCid: CID | undefined;
  readonly baseCid: CID | undefined;
  readonly resolution: 'none' | 'kept_local' | 'kept_remote' | 'kept_both';
  /** Where the tree's is, when both were kept; from the directory, too. */
  readonly keptAs?: Name | undefined;
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
  ports: PlanningPorts,
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
  readonly #ports: PlanningPorts;
  readonly #options: CompareOptions;
  readonly #planning: Planning;
  readonly #conflicts: Conflict[] = [];
  readonly #counts = { updated: 0, deleted: 0, unchanged: 0 };

  constructor(ports: PlanningPorts, options: CompareOptions) {
    this.#ports = ports;
    this.#options = options;
    this.#planning = new Planning(ports, options);
  }

  async run(root: Ino | undefined, remote: RemoteEntry): Promise<Comparison> {
    const { base, policy, grantee } = this.#options;
    const isEmpty = root === undefined || this.#ports.journal.dentries.isEmpty(root);
    const children =
      root === undefined
        ? await this.#planning.makings(remote)
        : await this.#directory({ remote, local: root, base });
    // The directory itself is the caller's, unless nothing is in it that the tree did not bring.
    const metadata = isEmpty || policy === 'keep_remote' ? grantedTo(grantee, remote) : {};
    const { files, created, bytes, skipped } = this.#planning;
    return {
      plan: { root: root ?? (0 as Ino), linksFrom: [], metadata, children },
      files,
      counts: { ...this.#counts, created, conflicts: this.#conflicts.length },
      bytes,
      conflicts: this.#conflicts,
      skipped,
    };
  }

  async #directory({ remote, local, base }: Pair): Promise<PlannedEntry[]> {
    await this.#planning.pause();
    const here = this.#planning.namesIn(local);
    const before = await this.#baseNames(base);
    const planned: PlannedEntry[] = [];
    for (const child of remote.children) {
      const { name, path } = child;
      const row = here.get(name);
      here.delete(name);
      const entry =
        row === undefined
          ? await this.#planning.make(child)
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

  /** On both sides. */
  async #both(names: Names, remote: RemoteEntry): Promise<PlannedEntry | undefined> {
    const { local, name, base } = names;
    const type = typeOf(local.mode);
    if (type !== remote.type) return this.#differing(names, remote, 'type_changed');
    if (type === 'directory') {
      const metadata = this.#metadataChange(names, remote);
      if (metadata === 'conflict') return undefined;
      this.#planning.isPresent(remote);
      const children = await this.#directory({ remote, local: local.ino, base });
      if (children.length === 0 && metadata === undefined) return undefined;
      const seen = seenOf(local);
      return { action: 'adjust', name, seen, metadata: metadata ?? this.#kept(remote), children };
    }
    const isSame = this.#isBrought(base, remote) || (await this.#planning.isSame(local, remote));
    if (!isSame) return this.#differing(names, remote, undefined);
    const metadata = this.#metadataChange(names, remote);
    if (metadata === 'conflict') return undefined;
    this.#planning.isPresent(remote);
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
    const replaces = removalOf(this.#ports.journal, name, local);
    const making = await this.#planning.make(remote, { replaces });
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
      localCid: this.#planning.cidOf(local),
      remoteCid: remote?.cid,
      baseCid: base,
      resolution,
    });
  }

  /** Known to be what was synced: a file whose CID is known, and is that one. */
  #isAsInBase(local: InodeRow, base: CID | undefined): boolean {
    const cid = this.#planning.cidOf(local);
    return cid !== undefined && base !== undefined && blockKey(cid).equals(blockKey(base));
  }

  /** Of a copy: it was brought when the name meant the tree of the last sync, and nobody changed it. */
  #isBrought(base: CID | undefined, { cid }: RemoteEntry): boolean {
    return this.#options.isCopy === true && base !== undefined && cid?.equals(base) === true;
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
}
