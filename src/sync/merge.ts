/**
 * A three-way merge of a directory with a tree, over the tree of the last sync, name by name: what
 * one side changed is taken, what both changed is a conflict, which a policy resolves. Nothing is
 * changed here.
 *
 * A name is changed when its kind, bytes, target, device, metadata or the names it shares an inode
 * with are; times of access never count, and times of a directory do not either. What is not known
 * of the tree of the last sync counts as changed.
 */
import type { PlannedEntry, PlannedMaking, PlannedMetadata } from '../base/graft.ts';
import type { Ino, Name } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import type { InodeRow } from '../journal/journal.ts';
import type { Comparison, Conflict } from './compare.ts';
import { keptName } from './kept-name.ts';
import { areLinkedAlike, type Links, linksHere, linksThere } from './links.ts';
import { areSameMetadata, differsFrom, grantedTo } from './metadata.ts';
import {
  countOf,
  Planning,
  type PlanningOptions,
  type PlanningPorts,
  pathOf,
  removalOf,
  seenOf,
} from './planning.ts';
import type { RemoteEntry, RemoteTree } from './remote.ts';
import { typeOf } from './types.ts';

export type Policy = 'fail' | 'keep_local' | 'keep_remote' | 'keep_both';

export interface MergeOptions extends PlanningOptions {
  readonly policy: Policy;
  /** Whether what was deleted there goes; if not, it counts as never deleted. */
  readonly applyDeletions: boolean;
  /** The tree of the last sync; undefined: there was none, or it is lost. */
  readonly base: RemoteTree | undefined;
}

/**
 * Merges the directory `root` with a tree; undefined: there is no directory yet.
 * @throws OpError content-missing, integrity; the signal's reason.
 */
export async function merge(
  ports: PlanningPorts,
  root: Ino | undefined,
  tree: RemoteTree,
  options: MergeOptions,
): Promise<Comparison> {
  return new Merging(ports, tree, options).run(root);
}

/** One name; what stands under it here, there, and stood there when they were last the same. */
interface Names {
  readonly path: Name;
  readonly name: Name;
  readonly local?: InodeRow | undefined;
  readonly remote?: RemoteEntry | undefined;
  readonly base?: RemoteEntry | undefined;
  /** All names of the directory, here and there, and those that were given away. */
  readonly taken: Set<Name>;
}

type Here = Names & { readonly local: InodeRow };
type There = Names & { readonly remote: RemoteEntry };

type Side = 'kept_local' | 'kept_remote' | 'kept_both';
/** What a policy does; `keep_both` as is said. */
const RESOLVED = { keep_local: 'kept_local', keep_remote: 'kept_remote' } as const;

class Merging {
  readonly #ports: PlanningPorts;
  readonly #tree: RemoteTree;
  readonly #options: MergeOptions;
  readonly #planning: Planning;
  readonly #conflicts: Conflict[] = [];
  readonly #counts = { updated: 0, deleted: 0, unchanged: 0 };
  /** Of each side, as far as it is known. */
  #links: { local?: Links; remote?: Links; base?: Links } = {};

  constructor(ports: PlanningPorts, tree: RemoteTree, options: MergeOptions) {
    this.#ports = ports;
    this.#tree = tree;
    this.#options = options;
    this.#planning = new Planning(ports, options);
  }

  async run(root: Ino | undefined): Promise<Comparison> {
    const { journal } = this.#ports;
    const { base, grantee } = this.#options;
    const remote = this.#tree.root;
    const local = root === undefined ? undefined : journal.inodes.get(root);
    const told = (tree: RemoteTree | undefined) =>
      tree?.snapshot === undefined ? {} : { links: linksThere(tree.root) };
    const [there, before] = [told(this.#tree).links, told(base).links];
    this.#links = {
      ...(local === undefined ? {} : { local: linksHere(journal, local.ino) }),
      ...(there === undefined ? {} : { remote: there }),
      ...(before === undefined ? {} : { base: before }),
    };
    const isEmpty = local === undefined || journal.dentries.isEmpty(local.ino);
    const children =
      local === undefined
        ? await this.#planning.makings(remote)
        : await this.#entries('' as Name, { local, remote, base: base?.root });
    const isTaken = isEmpty || this.#isTaken(local, remote, base?.root, children.length > 0);
    const metadata = isTaken ? grantedTo(grantee, remote) : {};
    const { files, created, bytes, skipped } = this.#planning;
    const conflicts = this.#conflicts;
    return {
      plan: { root: root ?? (0 as Ino), linksFrom: [], metadata, children },
      ...{ files, bytes, conflicts, skipped },
      counts: { ...this.#counts, created, conflicts: conflicts.length },
    };
  }

  /** The directory itself, which is never in conflict: it is the caller's in doubt. */
  #isTaken(
    local: InodeRow,
    remote: RemoteEntry,
    base: RemoteEntry | undefined,
    hasChanges: boolean,
  ): boolean {
    // Its times follow its names.
    if (!this.#differs(local, remote)) return hasChanges;
    const { isHere, isThere } = this.#metadataChanges(local, remote, base);
    return isThere && (!isHere || this.#options.policy === 'keep_remote');
  }

  async #entries(
    path: Name,
    { local, remote, base }: Pick<Names, 'local' | 'remote' | 'base'>,
  ): Promise<PlannedEntry[]> {
    await this.#planning.pause();
    const here = local === undefined ? undefined : this.#planning.namesIn(local.ino);
    const [there, before] = [childrenOf(remote), childrenOf(base)];
    const taken = new Set([...(here?.keys() ?? []), ...there.keys()]);
    const planned: PlannedEntry[] = [];
    for (const name of [...taken].sort()) {
      const sides = { local: here?.get(name), remote: there.get(name), base: before.get(name) };
      planned.push(...(await this.#name({ path: below(path, name), name, ...sides, taken })));
    }
    return planned;
  }

  async #name(names: Names): Promise<PlannedEntry[]> {
    const { local, remote } = names;
    if (local === undefined)
      return remote === undefined ? [] : this.#onlyThere({ ...names, remote });
    if (remote === undefined) return this.#onlyHere({ ...names, local });
    const areDirectories = isDirectory(local.mode) && remote.type === 'directory';
    const both = { ...names, local, remote };
    return areDirectories ? this.#directories(both) : this.#both(both);
  }

  async #onlyThere(names: There): Promise<PlannedEntry[]> {
    const { path, remote, base } = names;
    if (base === undefined) return this.#made(remote);
    if (remote.type === 'directory' && base.type === 'directory') {
      const children = await this.#entries(path, { remote, base });
      // Deleted here; what was made or changed in it there has to be in something.
      return children.length === 0 ? [] : [this.#around(remote, children)];
    }
    if (await this.#isUnchangedThere(remote, base)) return [];
    const end = this.#conflict(names, 'deleted_here', 'kept_remote');
    return end === 'kept_remote' ? this.#made(remote) : [];
  }

  #around(remote: RemoteEntry, children: readonly PlannedEntry[]): PlannedMaking {
    this.#planning.created += 1;
    return {
      action: 'make',
      name: remote.name,
      replaces: undefined,
      node: { type: 'directory' },
      metadata: grantedTo(this.#options.grantee, remote),
      // Where nothing is, everything is made.
      children: children.filter((child) => child.action === 'make'),
    };
  }

  async #made(remote: RemoteEntry): Promise<PlannedEntry[]> {
    const making = await this.#planning.make(remote);
    return making === undefined ? [] : [making];
  }

  async #onlyHere(names: Here): Promise<PlannedEntry[]> {
    const { local, base } = names;
    if (base === undefined || !this.#options.applyDeletions) return [];
    if (isDirectory(local.mode) && base.type === 'directory') return this.#gone(names, base);
    const isUnchanged = await this.#isUnchangedHere(names.path, local, base);
    if (!isUnchanged && this.#conflict(names, 'deleted_there', 'kept_local') !== 'kept_remote') {
      return [];
    }
    const removal = removalOf(this.#ports.journal, names.name, local);
    this.#counts.deleted += countOf(removal);
    return [removal];
  }

  /** A directory that was deleted there goes when all that is in it goes. */
  async #gone(names: Here, base: RemoteEntry): Promise<PlannedEntry[]> {
    const { path, name, local } = names;
    const children = await this.#entries(path, { local, base });
    const removals = children.filter((child) => child.action === 'remove');
    const seen = seenOf(local);
    const isEmptied = removals.length === this.#planning.namesIn(local.ino).size;
    const isKept =
      isEmptied &&
      this.#metadataChanges(local, base, base).isHere &&
      this.#conflict(names, 'deleted_there', 'kept_local') !== 'kept_remote';
    if (isEmptied && !isKept) {
      this.#counts.deleted += 1;
      return [{ action: 'remove', name, seen, isDirectory: true, children: removals }];
    }
    return children.length === 0 ? [] : [{ action: 'adjust', name, seen, metadata: {}, children }];
  }

  async #directories(names: Here & There): Promise<PlannedEntry[]> {
    const { path, name, local, remote } = names;
    const base = names.base?.type === 'directory' ? names.base : undefined;
    const metadata = this.#directoryMetadata({ ...names, base });
    const children = await this.#entries(path, { local, remote, base });
    if (children.length === 0 && metadata.set === undefined) return [];
    const set = metadata.set ?? (metadata.isSame ? grantedTo(this.#options.grantee, remote) : {});
    return [{ action: 'adjust', name, seen: seenOf(local), metadata: set, children }];
  }

  /** What is to be set whatever is in it; where it is the same, only what follows its names. */
  #directoryMetadata(names: Here & There): { set?: PlannedMetadata; isSame: boolean } {
    const { local, remote, base } = names;
    const set = grantedTo(this.#options.grantee, remote);
    const isSame = !this.#differs(local, remote);
    const { isHere, isThere } = this.#metadataChanges(local, remote, base);
    const isConflict = !isSame && isHere && isThere;
    const what = base === undefined ? 'both_created' : 'both_changed';
    const end = isConflict ? this.#conflict(names, what, 'kept_local') : undefined;
    if (!isSame && isThere && (!isConflict || end === 'kept_remote')) {
      this.#counts.updated += 1;
      return { set, isSame };
    }
    if (!isConflict) this.#counts.unchanged += 1;
    return { isSame };
  }

  async #both(names: Here & There): Promise<PlannedEntry[]> {
    const { path, local, remote, base } = names;
    const type = typeOf(local.mode);
    const { local: here, remote: there } = this.#links;
    const isAlike =
      type === remote.type &&
      areLinkedAlike(path, here, there) &&
      (await this.#planning.isSame(local, remote));
    if (isAlike) this.#planning.isPresent(remote);
    const isKnown = base?.metadata !== undefined || remote.metadata === undefined;
    const isUnchangedThere = base !== undefined && (await this.#isUnchangedThere(remote, base));
    if (isUnchangedThere || (isAlike && !this.#differs(local, remote))) {
      this.#counts.unchanged += 1;
      return [];
    }
    if (base !== undefined && isKnown && (await this.#isUnchangedHere(path, local, base))) {
      return this.#take(names, isAlike);
    }
    const created = base === undefined ? 'both_created' : 'both_changed';
    const what = type === remote.type ? created : 'type_changed';
    switch (this.#conflict(names, what, 'kept_both')) {
      case 'kept_remote':
        return this.#take(names, isAlike);
      case 'kept_both':
        return this.#beside(names);
      default:
        return [];
    }
  }

  async #take(names: Here & There, isAlike: boolean): Promise<PlannedEntry[]> {
    const { name, local, remote } = names;
    const { grantee } = this.#options;
    if (isAlike) {
      this.#counts.updated += 1;
      const metadata = grantedTo(grantee, remote);
      return [{ action: 'adjust', name, seen: seenOf(local), metadata, children: [] }];
    }
    const { journal } = this.#ports;
    const replaces = removalOf(journal, name, local);
    // A tree without metadata says nothing of what the file has.
    const isPlain = remote.metadata === undefined && typeOf(local.mode) === remote.type;
    const { mode, uid, gid, ino } = local;
    const own = { mode: mode & 0o7777, uid, gid, xattrs: journal.xattrs.all(ino) };
    const known = { ...own, atime: undefined, mtime: undefined };
    const metadata = isPlain ? grantedTo(grantee, { ...remote, metadata: known }) : undefined;
    const making = await this.#planning.make(remote, { replaces, metadata });
    if (making === undefined) return [];
    this.#counts.updated += 1;
    return [making];
  }

  /** Under the name that the conflict tells. */
  async #beside({ remote }: There): Promise<PlannedEntry[]> {
    const keptAs = this.#conflicts.at(-1)?.keptAs ?? remote.path;
    const at = keptAs.split('/') as Name[];
    const making = await this.#planning.make(remote, { name: at.at(-1) ?? remote.name, at });
    return making === undefined ? [] : [making];
  }

  /** How it ends, and what `keep_both` makes of it. */
  #conflict(names: Names, what: Conflict['what'], both: Side): Conflict['resolution'] {
    const { path, name, local, remote, base, taken } = names;
    const { policy } = this.#options;
    const resolution =
      policy === 'fail' ? 'none' : policy === 'keep_both' ? both : RESOLVED[policy];
    const kept =
      resolution === 'kept_both' ? keptName(name, remote?.cid ?? this.#tree.cid, taken) : undefined;
    const above = remote === undefined ? [] : pathOf(remote).slice(0, -1);
    this.#conflicts.push({
      ...{ path, what, resolution, remoteCid: remote?.cid, baseCid: base?.cid },
      localIno: local?.ino,
      localCid: local && this.#planning.cidOf(local),
      ...(kept === undefined ? {} : { keptAs: [...above, kept].join('/') as Name }),
    });
    return resolution;
  }

  #differs(local: InodeRow, remote: RemoteEntry): boolean {
    const wanted = grantedTo(this.#options.grantee, remote);
    const xattrs = this.#ports.journal.xattrs.all(local.ino);
    return differsFrom(wanted, local, xattrs, { withTimes: !isDirectory(local.mode) });
  }

  /** On which side it differs from the base; what is not known of the base has changed. */
  #metadataChanges(local: InodeRow, remote: RemoteEntry, base: RemoteEntry | undefined) {
    const isThere = remote.metadata !== undefined && !this.#isMetadataOf(remote, base);
    const isHere = base?.metadata === undefined || this.#differs(local, base);
    return { isHere, isThere };
  }

  #isMetadataOf(remote: RemoteEntry, base: RemoteEntry | undefined): boolean {
    if (base?.metadata === undefined) return false;
    const { grantee } = this.#options;
    const [one, other] = [grantedTo(grantee, remote), grantedTo(grantee, base)];
    return areSameMetadata(one, other, { withTimes: remote.type !== 'directory' });
  }

  async #isUnchangedThere(remote: RemoteEntry, base: RemoteEntry): Promise<boolean> {
    if (remote.type !== base.type) return false;
    if (remote.metadata !== undefined && !this.#isMetadataOf(remote, base)) return false;
    if (remote.type !== 'directory') {
      const { base: before, remote: there } = this.#links;
      if (!areLinkedAlike(remote.path, before, there)) return false;
      if (remote.type === 'file') return remote.cid?.equals(base.cid) === true;
      return remote.target === base.target && remote.rdev === base.rdev;
    }
    await this.#planning.pause();
    const before = childrenOf(base);
    if (before.size !== remote.children.length) return false;
    for (const child of remote.children) {
      const was = before.get(child.name);
      if (was === undefined || !(await this.#isUnchangedThere(child, was))) return false;
    }
    return true;
  }

  async #isUnchangedHere(path: Name, local: InodeRow, base: RemoteEntry): Promise<boolean> {
    const type = typeOf(local.mode);
    if (type !== base.type) return false;
    if (base.metadata !== undefined && this.#differs(local, base)) return false;
    if (type !== 'directory') {
      const { base: before, local: here } = this.#links;
      return areLinkedAlike(path, before, here) && this.#planning.isSame(local, base);
    }
    await this.#planning.pause();
    const names = this.#planning.namesIn(local.ino);
    if (names.size !== base.children.length) return false;
    for (const was of base.children) {
      const row = names.get(was.name);
      const isSame = row && (await this.#isUnchangedHere(below(path, was.name), row, was));
      if (isSame !== true) return false;
    }
    return true;
  }
}

const childrenOf = (entry: RemoteEntry | undefined): Map<Name, RemoteEntry> =>
  new Map(entry?.children.map((child) => [child.name, child]));

const below = (path: Name, name: Name): Name => (path === '' ? name : `${path}/${name}`) as Name;
