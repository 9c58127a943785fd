/**
 * Restoring: a tree of content becomes what a directory shows. Read, verified and built aside
 * first; then swapped in at one moment, or not at all.
 *
 * Invariants: no byte that was not verified reaches a file; a failure leaves the tree as it was; a
 * tree that changed while the plan was made is not touched.
 */

import { OpError } from '../base/errors.ts';
import type { PlannedEntry, SetAside, TreePlan } from '../base/graft.ts';
import type { ContentId, Ino, Name, Seq } from '../base/ids.ts';
import {
  type CID,
  type ContentStore,
  cidOfBytes,
  type Dag,
  type Filling,
  type Sealer,
} from '../content/content.ts';
import type { Actor, Journal, OpRow, SyncedRow } from '../journal/journal.ts';
import { Bringer } from './bring.ts';
import { type Comparison, type Conflict, type CountName, compare } from './compare.ts';
import { demandRoot } from './expected.ts';
import { type Foreseen, foresee } from './foresee.ts';
import type { Gate } from './freeze.ts';
import { merge, type Policy } from './merge.ts';
import { mergeBase, type PlacedAt, placeOfTree, type SharedTree } from './merge-base.ts';
import type { Grantee } from './metadata.ts';
import { type RemoteTree, readRemote } from './remote.ts';

/** Whoever may write the tree. Called inside the transaction that records the restoration. */
export interface TreeWriter {
  /**
   * Carries out all of a plan, or throws.
   * @throws OpError version-conflict when the tree is not what it was when the plan was made.
   */
  write(plan: TreePlan): void;
}

export interface RestorerPorts {
  readonly journal: Journal;
  readonly contents: ContentStore;
  readonly dag: Dag;
  readonly sealer: Pick<Sealer, 'verify'>;
  /** What is not here is shown all the same when somebody can be asked for it later. */
  readonly filling: Pick<Filling, 'isOffered' | 'gathering'>;
}

export interface RestoreRequest {
  /** A UnixFS directory or a snapshot record. */
  readonly cid: CID;
  /** The deepest directory that exists on the way to `path`, and the names from there on. */
  readonly existing: Ino;
  readonly missing: readonly Name[];
  /** Absolute path of the directory that shall show the tree. */
  readonly path: Name;
  readonly conflicts: OnConflict;
  readonly applyDeletions: boolean;
  /** As `compare` has it. */
  readonly isCopy?: boolean | undefined;
  /** Names here are told only of directories that it lets be read. */
  readonly gate: Gate;
  readonly writer: TreeWriter;
  /** As `compare` has it. */
  readonly numbers?: ReadonlyMap<Name, SetAside> | undefined;
  /** Nobody is asked for what is not here. */
  readonly isAlone?: boolean | undefined;
  /** Who can be asked what stores show of the path: what is merged may have been published there. */
  readonly placedAt?: PlacedAt | undefined;
  /** Whether uid 0 asks. */
  readonly isRoot: boolean;
  actor(): Actor;
  readonly group?: string | undefined;
  /** The root of the last sync, as text; the call fails when it is another one. */
  readonly expectedRoot?: string | undefined;
  /** All checks, and nothing changed. */
  readonly dryRun: boolean;
  /** Called in the transaction that changes the tree, with what `restore` will answer. */
  readonly onRecord?: ((restored: Restored) => void) | undefined;
}

/**
 * `restore`: the directory becomes the tree, and every difference in a name is a conflict or the
 * tree's. `merge`: what only one side changed since both were the same is taken.
 */
export type OnConflict =
  | { readonly how: 'restore'; readonly policy: 'fail' | 'keep_remote' }
  | { readonly how: 'merge'; readonly policy: Policy };

export interface Restored {
  readonly root: CID;
  readonly base: CID | undefined;
  readonly counts: Readonly<Record<CountName, number>>;
  readonly bytes: number;
  readonly conflicts: readonly Conflict[];
  /** Devices that the caller may not make. */
  readonly skipped: readonly Name[];
  /** First and last record; undefined for a dry run. */
  readonly seq: { readonly first: Seq; readonly last: Seq } | undefined;
  /** Of a dry run: the records that the tree would have got. */
  readonly rehearsed: readonly OpRow[];
}

export interface RestoreRun {
  readonly signal: AbortSignal;
  readonly progress: (done: { readonly bytes: number; readonly bytesTotal: number }) => void;
  /** Told of how many names of the tree were read. */
  readonly read?: ((names: number) => void) | undefined;
}

export class Restorer {
  readonly #ports: RestorerPorts;
  readonly #bringer: Bringer;

  constructor(ports: RestorerPorts) {
    this.#ports = ports;
    this.#bringer = new Bringer(ports);
  }

  /**
   * @throws OpError sync-conflict with details {conflicts}; content-missing, integrity, unsupported
   *   (no directory), version-conflict, no-space, io; what the writer throws; the signal's reason.
   */
  restore(request: RestoreRequest, run: RestoreRun): Promise<Restored> {
    return this.#ports.contents.holding.during(() => this.#restore(request, run));
  }

  /**
   * What the root of a tree will show; its blocks stay here.
   * @throws OpError as `foresee`.
   */
  foresee(cid: CID, grantee: Grantee, signal: AbortSignal): Promise<Foreseen | undefined> {
    const { contents, filling } = this.#ports;
    return contents.holding.during(async () => {
      const { dag, keep } = filling.gathering();
      const foreseen = await foresee(dag, cid, grantee, signal);
      keep();
      return foreseen;
    });
  }

  async #restore(request: RestoreRequest, run: RestoreRun): Promise<Restored> {
    const { journal, filling } = this.#ports;
    const op = `restore ${request.cid}`;
    const mayLackBytes = filling.isOffered && request.isAlone !== true;
    const { dag, keep } = filling.gathering({ isAlone: !mayLackBytes });
    const synced = journal.superblocks.synced(request.path);
    const root = request.missing.length === 0 ? request.existing : undefined;
    demandRoot(journal, { ...request, root }, op);
    const { signal, read } = run;
    const made = new Set<ContentId>();
    try {
      const tree = await readRemote(dag, request.cid, { mayLackBytes, signal, read });
      const over = await this.#over(request, { dag, tree }, signal);
      const last = synced === undefined ? undefined : cidOfBytes(synced.rootCid);
      const base = request.conflicts.how === 'merge' ? over.base?.tree.cid : last;
      const compared = await this.#compared(request, { dag, tree, root, last, over }, signal);
      demandNoConflict(request, compared);
      const plan = planFrom(request, compared.plan);
      const facts = { ...compared, root: tree.cid, base };
      const profile = tree.snapshot?.record.cidProfile;
      const into = { made, profile, dryRun: request.dryRun };
      const makeRest = await this.#bringer.bring(compared, into, run);
      signal.throwIfAborted();
      if (request.dryRun) {
        const rehearsed = journal.rehearse(() => request.writer.write(plan));
        return { ...facts, seq: undefined, rehearsed };
      }
      keep();
      const found = { tree, plan, compared, makeRest, over };
      return this.#swap(request, found, { ...facts, rehearsed: [] });
    } catch (error) {
      this.#bringer.abandon(made);
      throw error;
    } finally {
      // Who tries again need not fetch it again.
      if (!signal.aborted) keep();
    }
  }

  async #compared(
    { conflicts, applyDeletions, isCopy, isRoot, gate, numbers }: RestoreRequest,
    { dag, tree, root, last, over }: Found,
    signal: AbortSignal,
  ): Promise<Comparison> {
    const ports = { ...this.#ports, dag };
    const common = { applyDeletions, grantee: { isRoot }, gate, signal };
    if (conflicts.how === 'merge') {
      const how = { ...common, policy: conflicts.policy, base: over.base?.tree };
      return merge(ports, root, tree, how);
    }
    const { policy } = conflicts;
    return compare(ports, root, tree, { ...common, policy, isCopy, base: last, numbers });
  }

  /** Over what it is merged, where it is. */
  async #over(
    { conflicts, path, placedAt }: RestoreRequest,
    { dag, tree }: Pick<Found, 'dag' | 'tree'>,
    signal: AbortSignal,
  ): Promise<Over> {
    if (conflicts.how !== 'merge') return {};
    const { journal } = this.#ports;
    const at = { path, cid: tree.cid };
    const place = placedAt && (await placeOfTree(journal, at, placedAt, signal));
    const merged = { path, tree, placedAt: place };
    return { base: await mergeBase({ journal, dag }, merged, signal), placedAt: place };
  }

  /** The tree, the row of the path and the record: one transaction, with nothing in between. */
  #swap(
    request: RestoreRequest,
    { tree, plan, compared, makeRest, over }: Swapped,
    facts: Omit<Restored, 'seq'>,
  ): Restored {
    const { journal } = this.#ports;
    const { path } = request;
    return journal.commit((tx) => {
      const first = (journal.head.seq + 1) as Seq;
      const before = journal.superblocks.synced(path);
      makeRest();
      request.writer.write(plan);
      const rootCid = Buffer.from(tree.cid.bytes);
      const snapshot = tree.snapshot?.cid;
      const last = tx.record({
        kind: 'sync_from',
        actor: journal.actors.intern(request.actor()),
        ino: request.existing,
        parent: 0,
        name: '' as Name,
        path,
        group: request.group,
        cid: rootCid,
        oldCid: before?.rootCid,
        after: {
          counts: compared.counts,
          ...(snapshot === undefined ? {} : { snapshot: snapshot.toString() }),
          ...(over.placedAt === undefined ? {} : { placed_at: over.placedAt }),
        },
      });
      journal.superblocks.setSynced({
        path,
        rootCid,
        snapshotCid: headAfter(request, tree, { before, over }),
        seq: last,
        timeS: tx.now.s,
        timeNs: tx.now.ns,
      });
      const restored = { ...facts, seq: { first, last } };
      request.onRecord?.(restored);
      return restored;
    });
  }
}

/** What is swapped in. */
interface Swapped {
  readonly tree: RemoteTree;
  readonly plan: TreePlan;
  readonly compared: Comparison;
  readonly makeRest: () => void;
  readonly over: Over;
}

/** What a restoration is about. */
interface Found {
  readonly dag: Dag;
  readonly tree: RemoteTree;
  /** undefined: it is still to be made. */
  readonly root: Ino | undefined;
  /** The root of the last sync. */
  readonly last: CID | undefined;
  readonly over: Over;
}

/** What a merge goes out from. */
interface Over {
  readonly base?: SharedTree | undefined;
  /** The store that had the tree at the place of the path. */
  readonly placedAt?: string | undefined;
}

/**
 * What the next snapshot follows: the last one, so that what was published stays within reach, whatever is
 * restored or merged; a record that comes after it; of a copy what it shows.
 */
function headAfter(
  { isCopy }: RestoreRequest,
  { snapshot }: RemoteTree,
  { before, over }: { readonly before: SyncedRow | undefined; readonly over: Over },
): Buffer | null {
  const last = before?.snapshotCid ?? null;
  if (snapshot === undefined) return last;
  const isNext = isCopy === true || last === null || over.base?.isHead === true;
  return isNext ? Buffer.from(snapshot.cid.bytes) : last;
}

function demandNoConflict(
  { conflicts: { policy }, cid }: RestoreRequest,
  { conflicts }: Comparison,
): void {
  if (policy !== 'fail' || conflicts.length === 0) return;
  throw new OpError('sync-conflict', `restore ${cid}`, {
    hint: 'choose another on_conflict; nothing was changed',
    details: { conflicts },
  });
}

/** The plan from the directory that exists: with those above the tree that do not yet. */
function planFrom({ existing, missing }: RestoreRequest, plan: TreePlan): TreePlan {
  if (missing.length === 0) return plan;
  let { metadata } = plan;
  let children: readonly PlannedEntry[] = plan.children;
  for (const name of [...missing].reverse()) {
    children = [
      {
        action: 'make',
        name,
        replaces: undefined,
        node: { type: 'directory' },
        metadata,
        // Where nothing is, everything is made.
        children: children.filter((child) => child.action === 'make'),
      },
    ];
    metadata = {};
  }
  return { root: existing, linksFrom: missing, metadata: {}, children };
}
