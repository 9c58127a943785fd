/**
 * Trees of kind `mfs`: each shows the mutable tree of the home node, or a part of it, and what is
 * changed in it is brought there. The namespace is the journal's, as that of every managed tree, so
 * that everything goes on while the node is away.
 *
 * Invariants: one round at a time for each tree; what is acknowledged here is brought sooner or
 * later, whoever is killed; what was changed on both sides is kept twice; a tree whose node cannot
 * be asked stays as it is, and its state says why.
 */
import type { Clock, Instant } from '../base/clock.ts';
import { asOpError, OpError } from '../base/errors.ts';
import type { TreePlan } from '../base/graft.ts';
import type { ContentId, Ino, Name, SuperblockId } from '../base/ids.ts';
import { nameOfText, textOf } from '../base/ids.ts';
import {
  MFS_CHANGES_MAX,
  MFS_CONFIRM_MS,
  MFS_LOOK_MS,
  MFS_PUSH_MS,
  MFS_RETRY_S_MAX,
} from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { isPublishedIn } from '../base/published.ts';
import { Turns } from '../base/turns.ts';
import { blockKey, type CID, cidOfBytes, type Dag, type Sealer } from '../content/content.ts';
import type { InodeRow } from '../journal/journal.ts';
import { Bringer } from './bring.ts';
import { Dirty } from './dirty.ts';
import { retryDelayS } from './intend.ts';
import { changesOf, type MfsChanges } from './mfs-changes.ts';
import { settledRow, stateOf, unlike } from './mfs-judge.ts';
import { type MadeEntry, type MadeName, type Pulled, pull } from './mfs-pull.ts';
import { hold, type PushPorts, push } from './mfs-push.ts';

/** A tree that is mounted. */
export interface MfsTree {
  readonly mountId: string;
  readonly superblock: SuperblockId;
  readonly path: Name;
  readonly root: Ino;
  /** A directory of MFS. */
  readonly source: string;
  readonly readOnly: boolean;
}

/** Whoever has the mount table and may write the trees. */
export interface MfsMounts {
  all(): readonly MfsTree[];
  /** In a transaction. @throws OpError cancelled: it is not mounted any more; as a restoration. */
  bring(tree: MfsTree, plan: TreePlan): void;
  /** Whether somebody has it open for writing. */
  isWritten(ino: Ino): boolean;
}

export interface MfsTreesPorts extends PushPorts {
  readonly mounts: MfsMounts;
  readonly sealer: Pick<Sealer, 'seal' | 'sealTogether' | 'verify'>;
  /** Over what is here and what the node has. */
  readonly reach: () => Dag;
  readonly clock: Clock;
  readonly log: Log;
  /** Whether uid 0 runs the daemon. */
  readonly isRoot: boolean;
}

/** What is known of a tree. */
export interface MfsState extends Pick<MfsTree, 'mountId' | 'path' | 'source'> {
  /** The CID that it was, there, when it was read last, as text. */
  readonly shown: string | undefined;
  /** When the node last answered; undefined: not since the start. */
  readonly checkedAt: Instant | undefined;
  /** What the node does not have yet. */
  readonly waiting: { readonly files: number; readonly bytes: number };
  /** Why the last round failed. */
  readonly error: OpError | undefined;
}

/** What only this process knows of a tree. */
interface Known {
  /** One round at a time. */
  readonly turns: Turns;
  /** The newest record that was looked at and is brought; undefined: everything is to be looked at. */
  seq: number | undefined;
  /** Directories to be looked at again. */
  again: ReadonlySet<Ino>;
  /** Of the next look at the node, on the monotonic clock. */
  dueMs: number;
  /** When names were brought of which that is not sure yet; of others, before it began. */
  readonly brought: Map<string, number>;
  readonly begunMs: number;
  /** The newest record when it was last counted what waits. */
  countedSeq: number | undefined;
  isRunning: boolean;
  failures: number;
  checkedAt: Instant | undefined;
  waiting: MfsState['waiting'];
  error: OpError | undefined;
}

/** Everybody may wait for a round, for as long as he likes. */
const ONE = { atOnce: 1, waitingMax: Number.POSITIVE_INFINITY };
const NOTHING = { files: 0, bytes: 0 };
const MS_PER_S = 1000;
/** Rounds that go on because somebody changed the tree while its plan was made. */
const TRIES_MAX = 4;

export class MfsTrees {
  readonly #ports: MfsTreesPorts;
  readonly #bringer: Bringer;
  readonly #known = new Map<SuperblockId, Known>();

  constructor(ports: MfsTreesPorts) {
    this.#ports = ports;
    this.#bringer = new Bringer(ports);
  }

  /** In the order of their paths. */
  states(): readonly MfsState[] {
    const { mounts, journal } = this.#ports;
    return mounts.all().map((tree) => {
      const { mountId, path, source, root } = tree;
      const { checkedAt, waiting, error } = this.#knownOf(tree);
      const cid = journal.mfsSeen.get(root, '' as Name)?.agreed?.cid;
      const shown = cid === undefined ? undefined : cidOfBytes(cid).toString();
      return { mountId, path, source, shown, checkedAt, waiting, error };
    });
  }

  /** Keeps all there are in step with the node, until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const works = new Set<Promise<void>>();
    try {
      for (;;) {
        for (const tree of this.#ports.mounts.all()) {
          if (!this.#isDue(tree)) continue;
          const work = this.#attempt(tree, signal).finally(() => works.delete(work));
          works.add(work);
        }
        await this.#ports.clock.sleep(MFS_PUSH_MS, signal);
      }
    } finally {
      await Promise.all(works);
    }
  }

  /**
   * Brings the trees in step with the node now: the one mounted at `path`, or all.
   * @throws OpError why one of them could not be; the signal's reason.
   */
  async settle(signal: AbortSignal, path?: Name): Promise<void> {
    const trees = this.#ports.mounts
      .all()
      .filter((tree) => path === undefined || tree.path === path);
    const ends = await Promise.allSettled(trees.map((tree) => this.#inTurn(tree, signal)));
    signal.throwIfAborted();
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    const late = trees.find((tree) => this.#knownOf(tree).waiting.files > 0);
    if (late === undefined) return;
    throw new OpError('busy', `bring ${textOf(late.path)} to the node`, {
      hint: 'it changes all the time, or the node has another file there',
    });
  }

  #knownOf({ superblock }: MfsTree): Known {
    let known = this.#known.get(superblock);
    if (known === undefined) {
      const nowMs = this.#ports.clock.monotonicMs();
      known = {
        ...{
          turns: new Turns(ONE),
          seq: undefined,
          again: new Set<Ino>(),
          dueMs: nowMs,
          failures: 0,
        },
        ...{ begunMs: nowMs, isRunning: false, checkedAt: undefined, waiting: NOTHING },
        ...{ brought: new Map<string, number>(), countedSeq: undefined, error: undefined },
      };
      this.#known.set(superblock, known);
    }
    return known;
  }

  #isDue(tree: MfsTree): boolean {
    const { isRunning, failures, dueMs, seq, again } = this.#knownOf(tree);
    if (isRunning) return false;
    const isTime = dueMs <= this.#ports.clock.monotonicMs();
    // Nothing is ever brought from a tree that is read-only.
    if (isTime || failures > 0 || tree.readOnly) return isTime;
    return seq !== this.#ports.journal.head.seq || again.size > 0;
  }

  /** Never rejects. */
  async #attempt(tree: MfsTree, signal: AbortSignal): Promise<void> {
    const known = this.#knownOf(tree);
    known.isRunning = true;
    try {
      await this.#inTurn(tree, signal);
    } catch (thrown) {
      const { log } = this.#ports;
      if (signal.aborted) return;
      if (known.failures === 1) {
        log.warn({ err: thrown, path: textOf(tree.path) }, 'a tree of MFS stays as it is');
      }
    } finally {
      known.isRunning = false;
    }
  }

  /** Waiting for the round under way ends with the signal, too. */
  async #inTurn(tree: MfsTree, signal: AbortSignal): Promise<void> {
    const { clock, contents } = this.#ports;
    const known = this.#knownOf(tree);
    const op = `show ${tree.source} of MFS at ${textOf(tree.path)}`;
    const end = await known.turns.enter(op, signal);
    try {
      await contents.holding.during(() => this.#round(tree, known, signal));
      known.failures = 0;
      known.error = undefined;
      known.dueMs = clock.monotonicMs() + MFS_LOOK_MS;
    } catch (thrown) {
      if (signal.aborted) throw signal.reason;
      known.error = asOpError(thrown, op);
      known.failures += 1;
      const delayS = Math.min(retryDelayS(known.failures), MFS_RETRY_S_MAX);
      known.dueMs = clock.monotonicMs() + delayS * MS_PER_S;
      throw known.error;
    } finally {
      end();
    }
  }

  async #round(tree: MfsTree, known: Known, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    // Told also while the node does not answer.
    if (!tree.readOnly && known.countedSeq !== this.#ports.journal.head.seq) {
      const looked = await this.#changes(tree, known, signal);
      Object.assign(known, { waiting: amountOf(looked), countedSeq: looked.seq });
    }
    await this.#pull(tree, known, signal);
    for (let pushes = 0; !tree.readOnly && pushes < TRIES_MAX; pushes += 1) {
      const isBrought = await this.#push(tree, known, signal);
      if (!isBrought) return;
      await this.#pull(tree, known, signal);
    }
  }

  async #there({ source }: MfsTree, known: Known, signal: AbortSignal): Promise<CID> {
    const op = `look at ${source} of MFS`;
    const there = await this.#ports.end.stat(source, { signal });
    known.checkedAt = this.#ports.clock.now();
    if (there?.type === 'directory') return there.cid;
    const details = { path: source, kind: 'path' };
    if (there !== undefined) throw new OpError('not-directory', op, { details });
    throw new OpError('not-found', op, { hint: 'make the directory in MFS again', details });
  }

  async #pull(tree: MfsTree, known: Known, signal: AbortSignal): Promise<void> {
    const { journal, clock } = this.#ports;
    for (let tries = 1; ; tries += 1) {
      const cid = await this.#there(tree, known, signal);
      const unsure = this.#unsure(tree.root);
      const seen = journal.mfsSeen.get(tree.root, '' as Name)?.agreed?.cid;
      if (seen?.equals(blockKey(cid)) === true && unsure.size === 0) return;
      const sinceMs = clock.monotonicMs() - (this.#ports.end.isSure ? 0 : MFS_CONFIRM_MS);
      const isConfirmed = (parent: Ino, name: Name) =>
        (known.brought.get(keyOf(parent, name)) ?? known.begunMs) <= sinceMs;
      const { root } = tree;
      const isHidden = (parent: Ino, name: Name) => isHiddenIn(tree, parent, name);
      const request = { root, cid, unsure, isConfirmed, isHidden, signal };
      const pulled = await pull(this.#pullPorts, request);
      try {
        await this.#take(tree, known, pulled, signal);
        return;
      } catch (error) {
        const isMoved = error instanceof OpError && error.failure === 'version-conflict';
        if (!isMoved || tries === TRIES_MAX) throw error;
      }
    }
  }

  get #pullPorts() {
    const { journal, mounts, isRoot } = this.#ports;
    return {
      ...{ journal, isRoot, dag: this.#ports.reach() },
      isWritten: (ino: Ino) => mounts.isWritten(ino),
      cidOf: (row: InodeRow, signal: AbortSignal) => this.#cidOf(row, signal),
    };
  }

  async #cidOf({ content }: InodeRow, signal: AbortSignal): Promise<CID> {
    const { contents, sealer } = this.#ports;
    const known = contents.row(content);
    const hasCid = known?.state === 'sealed' || known?.state === 'remote';
    if (hasCid && known.cid !== null) return cidOfBytes(known.cid);
    return sealer.seal(content, signal);
  }

  /** Directories with names of which something is under way, and those above them. */
  #unsure(root: Ino): ReadonlySet<Ino> {
    const { mfsSeen } = this.#ports.journal;
    const unsure = new Set<Ino>();
    for (const parent of mfsSeen.pending()) {
      const way = this.#wayUp(parent);
      if (way.at(-1) === root) for (const ino of way) unsure.add(ino);
    }
    return unsure;
  }

  /** The directory, and those above it, the root of its tree last. */
  #wayUp(from: Ino): readonly Ino[] {
    const way: Ino[] = [];
    for (let ino: Ino | 0 = from; ino !== 0; ) {
      way.push(ino);
      ino = this.#ports.journal.inodes.get(ino)?.parent ?? 0;
    }
    return way;
  }

  /** Bytes first; then names, rows and records at one moment. */
  async #take(tree: MfsTree, known: Known, pulled: Pulled, signal: AbortSignal): Promise<void> {
    const { journal, mounts, log } = this.#ports;
    const { plan, rows, conflicts } = pulled;
    const made = new Set<ContentId>();
    try {
      const into = { made, profile: undefined, dryRun: false };
      const makeRest = await this.#bringer.bring(pulled, into, {
        signal,
        progress: () => undefined,
      });
      signal.throwIfAborted();
      journal.commit((tx) => {
        makeRest();
        if (plan.children.length > 0) mounts.bring(tree, plan);
        // The rows of the inodes are written before it.
        tx.beforeCommit(() => {
          for (const row of rows) journal.mfsSeen.put(row);
          for (const ino of pulled.gone) {
            if (journal.inodes.get(ino) === undefined) journal.mfsSeen.forget(ino);
          }
          for (const one of pulled.made) this.#noteMade(one);
        });
      });
    } catch (error) {
      this.#bringer.abandon(made);
      throw error;
    }
    const again = new Set(known.again);
    for (const { parent, name, next } of rows) {
      if (next === undefined) known.brought.delete(keyOf(parent, name));
    }
    for (const { parent } of rows) for (const ino of this.#wayUp(parent)) again.add(ino);
    known.again = again;
    const path = textOf(tree.path);
    if (conflicts > 0) log.warn({ path, conflicts }, 'changed here and in MFS: both are kept');
  }

  #noteMade({ parent, making, entry }: MadeName): void {
    this.#noteEntry(parent, making.name, entry);
  }

  #noteEntry(parent: Ino, name: Name, { cid, children, removed = [] }: MadeEntry): void {
    const { dentries, inodes, mfsSeen } = this.#ports.journal;
    const ino = dentries.find(parent, name);
    const row = ino === undefined ? undefined : inodes.get(ino);
    if (row === undefined || cid === undefined) return;
    mfsSeen.put(settledRow({ parent, name }, stateOf(blockKey(cid), row)));
    for (const child of children) this.#noteEntry(row.ino, child.name, child);
    for (const link of removed) {
      const at = { parent: row.ino, name: nameOfText(link.name) };
      mfsSeen.put(settledRow(at, unlike(blockKey(link.cid))));
    }
  }

  /** What there is to be brought, as it is at this moment, without a turn in between. */
  async #changes(tree: MfsTree, known: Known, signal: AbortSignal): Promise<Looked> {
    const { journal, mounts } = this.#ports;
    const dirty = new Dirty(journal, known.seq);
    await dirty.readAhead(signal);
    dirty.finish();
    const { seq } = journal.head;
    const { again } = known;
    const isDirty = (ino: Ino) => dirty.has(ino) || again.has(ino);
    const ports = { journal, isWritten: (ino: Ino) => mounts.isWritten(ino) };
    const isHidden = (parent: Ino, name: Name) => isHiddenIn(tree, parent, name);
    const found = changesOf(ports, tree.root, { isDirty, isHidden, limit: MFS_CHANGES_MAX });
    return { ...found, seq };
  }

  /** Whether anything was brought. */
  async #push(tree: MfsTree, known: Known, signal: AbortSignal): Promise<boolean> {
    const { clock } = this.#ports;
    const looked = await this.#changes(tree, known, signal);
    const { changes, seq, again, isCut } = looked;
    known.waiting = amountOf(looked);
    if (changes.length === 0) {
      Object.assign(known, { seq, again });
      return false;
    }
    const held = hold(this.#ports, changes);
    const { source } = tree;
    const { error, brought } = await push(this.#ports, held, { source, signal });
    const nowMs = clock.monotonicMs();
    for (const { parent, name } of brought) known.brought.set(keyOf(parent, name), nowMs);
    // Looked at once more: what could not be brought stays changed.
    const ways = changes.flatMap(({ parent }) => this.#wayUp(parent));
    Object.assign(known, { seq: isCut ? known.seq : seq, again: new Set([...again, ...ways]) });
    if (error !== undefined) throw error;
    return true;
  }
}

interface Looked extends MfsChanges {
  readonly seq: number;
}

const amountOf = ({ changes }: MfsChanges): MfsState['waiting'] => ({
  files: changes.length,
  bytes: changes.reduce((sum, { here }) => sum + (here?.size ?? 0), 0),
});

/** What is published is no part of a tree, whatever has its name. */
const isHiddenIn = ({ root, source }: MfsTree, parent: Ino, name: Name): boolean =>
  parent === root && source === '/' && isPublishedIn(`/${name}`);

const keyOf = (parent: Ino, name: Name): string => `${parent}/${name}`;
