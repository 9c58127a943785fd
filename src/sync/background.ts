/**
 * Publishes trees by themselves: each when it rests after a change, at the latest an interval after
 * the first one, and when it is told to finish.
 *
 * Invariants: which trees changed is read from the journal's records, so a kill forgets nothing; a
 * tree that cannot be published keeps no other waiting, and is tried again; nothing is merged: what
 * somebody else published at a store stays there.
 */
import type { Clock } from '../base/clock.ts';
import { asOpError, type OpError } from '../base/errors.ts';
import { type Ino, type Name, NO_CONTENT, type SuperblockId } from '../base/ids.ts';
import { PUBLICATIONS_WAITING_MAX, SYNC_COPIED_BYTES_MAX, SYNC_LOOK_MS } from '../base/limits.ts';
import type { Log } from '../base/log.ts';
import { turn } from '../base/turn.ts';
import { Turns } from '../base/turns.ts';
import type { Actor, Change, Journal, SuperblockRow, WriteSessionRow } from '../journal/journal.ts';
import { OPEN_GATE } from './freeze.ts';
import { retryDelayS } from './intend.ts';
import type { Publisher } from './publish.ts';
import { dueAtMs, type Unrest } from './rest.ts';
import { tooLarge } from './writing.ts';

export interface BackgroundPorts {
  readonly journal: Journal;
  readonly clock: Clock;
  readonly log: Log;
  readonly publisher: Pick<Publisher, 'publish'>;
  /** The daemon, as the journal names it. */
  actor(): Actor;
}

export interface BackgroundPolicy {
  /** Stores that every tree is brought to; where there is none, nothing is published by itself. */
  readonly targets: readonly string[];
  /** Of mounts that do not say it (`sync_ms`); 0: never, whatever they say. */
  readonly quietMs: number;
  readonly intervalMs: number;
}

/** A tree that changed since it was published. */
export interface Unpublished {
  readonly path: Name;
  /** Wall seconds at which it is published if nothing changes any more. */
  readonly dueS: number;
  /** Why it could not be published the last time. */
  readonly error: OpError | undefined;
}

interface Tree {
  readonly path: Name;
  readonly root: Ino;
  readonly superblock: SuperblockId;
  readonly quietMs: number;
  /** The newest record that was looked at. */
  seq: number;
  /** undefined: nothing changed since. */
  unrest: Unrest | undefined;
  /** The newest record that changed it; Infinity: nobody knows. */
  changedSeq: number;
  /** Failures in a row, and the time before which it is not tried again. */
  failures: number;
  notBeforeMs: number;
  error: OpError | undefined;
}

/** Records looked at before other work gets its turn. */
const CHANGES_PER_TURN = 512;
const MS_PER_S = 1000;

export class Background {
  readonly #ports: BackgroundPorts;
  readonly #policy: BackgroundPolicy;
  #trees: readonly Tree[] = [];
  /** The newest record when it was looked last. */
  #seq: number | undefined;
  /** One round at a time. */
  readonly #rounds = new Turns({ atOnce: 1, waitingMax: PUBLICATIONS_WAITING_MAX });
  /** Ends the round under way when whoever wants to finish cannot wait any longer. */
  readonly #late = new AbortController();

  constructor(ports: BackgroundPorts, policy: BackgroundPolicy) {
    this.#ports = ports;
    this.#policy = policy;
  }

  /** Those that are waiting for rest, or for another try. */
  get unpublished(): readonly Unpublished[] {
    const nowMs = this.#ports.clock.monotonicMs();
    const { s } = this.#ports.clock.now();
    return this.#trees.flatMap((tree) => {
      const { path, error } = tree;
      const atMs = this.#dueMs(tree);
      if (atMs === undefined || this.#isPublished(tree)) return [];
      return [{ path, error, dueS: s + Math.max(0, Math.ceil((atMs - nowMs) / MS_PER_S)) }];
    });
  }

  /** Publishes what is due until the signal aborts. @throws its reason; what the journal throws. */
  async run(signal: AbortSignal): Promise<void> {
    if (this.#policy.targets.length === 0) return;
    const either = AbortSignal.any([signal, this.#late.signal]);
    try {
      for (;;) {
        await this.#rounds.run('publish what changed', either, () => this.#round(either));
        await this.#ports.clock.sleep(SYNC_LOOK_MS, either);
      }
    } catch (error) {
      if (!this.#late.signal.aborted) throw error;
    }
  }

  /**
   * Publishes now what changed: of the mount at `path`, or of all. What cannot be published is told
   * in the log and stays owed.
   * @throws the signal's reason.
   */
  async finish(signal: AbortSignal, path?: Name): Promise<void> {
    if (this.#policy.targets.length === 0) return;
    const hasten = () => this.#late.abort(signal.reason);
    if (path === undefined) signal.addEventListener('abort', hasten, { once: true });
    try {
      await this.#rounds.run('finish publishing', signal, () =>
        this.#round(signal, (tree) => path === undefined || tree.path === path),
      );
    } finally {
      signal.removeEventListener('abort', hasten);
    }
  }

  /** Whether the mount at `path` changed since it was published, as of now. @throws the signal's reason. */
  async isUnpublished(path: Name, signal: AbortSignal): Promise<boolean> {
    if (this.#policy.targets.length === 0) return false;
    await this.#rounds.run('look for changes', signal, () => this.#look(signal));
    return this.#trees.some((tree) => tree.path === path && tree.unrest !== undefined);
  }

  /** One look, and the publications that follow from it. */
  async #round(signal: AbortSignal, isMeant = (tree: Tree) => this.#isDue(tree)): Promise<void> {
    await this.#look(signal);
    for (const tree of this.#trees) {
      const { unrest } = tree;
      if (unrest === undefined || !isMeant(tree)) continue;
      const written = this.#tooLarge(tree);
      if (written !== undefined) tree.error = tooLarge(written);
      else await this.#publish(tree, unrest, signal);
    }
  }

  #dueMs(tree: Pick<Tree, 'unrest' | 'quietMs' | 'notBeforeMs'>): number | undefined {
    if (tree.unrest === undefined) return undefined;
    const { intervalMs } = this.#policy;
    return Math.max(dueAtMs(tree.unrest, { quietMs: tree.quietMs, intervalMs }), tree.notBeforeMs);
  }

  #isDue(tree: Tree): boolean {
    const dueMs = this.#dueMs(tree);
    return dueMs !== undefined && dueMs <= this.#ports.clock.monotonicMs();
  }

  /**
   * The file with which there is too much to copy of what is being written: of files whose bytes of before are not
   * kept. Nobody has a turn while they are copied.
   */
  #tooLarge({ superblock }: Tree): WriteSessionRow | undefined {
    const { journal } = this.#ports;
    const seen = new Set<Ino>();
    let bytes = 0;
    return journal.sessions.all().find(({ ino, oldContent, oldSize }) => {
      const row = journal.inodes.get(ino);
      const isCopied = oldContent === NO_CONTENT && oldSize > 0 && !seen.has(ino);
      if (!isCopied || row?.superblock !== superblock) return false;
      seen.add(ino);
      bytes += row.size;
      return bytes > SYNC_COPIED_BYTES_MAX;
    });
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { journal } = this.#ports;
    const { seq } = journal.head;
    if (seq !== this.#seq) {
      this.#trees = this.#known();
      await this.#readBack(seq, signal);
      this.#seq = seq;
    }
    // Whoever has a file open for writing changes it, perhaps.
    for (const { ino } of journal.sessions.all()) this.#mark(this.#treeOf(ino));
    for (const tree of this.#trees) {
      if (tree.unrest === undefined || !this.#isPublished(tree)) continue;
      Object.assign(tree, { unrest: undefined, failures: 0, notBeforeMs: 0, error: undefined });
    }
  }

  /** Whether somebody published it since its newest change, as would be done here. */
  #isPublished({ path, root, changedSeq }: Tree): boolean {
    return this.#policy.targets.every((target) => {
      const row = this.#ports.journal.targets.get(path, target);
      if (row === undefined || !row.pin || row.wanted.ino !== root) return false;
      return changedSeq <= row.wanted.seq;
    });
  }

  /** The mounted trees that are published by themselves, with what is known of them. */
  #known(): readonly Tree[] {
    const { superblocks } = this.#ports.journal;
    const byId = new Map(superblocks.all().map((row) => [row.id, row]));
    return superblocks.mounts().flatMap(({ mountPoint: path, superblock: id }) => {
      const row = byId.get(id);
      const quietMs = row === undefined ? 0 : this.#quietMsOf(row);
      if (row === undefined || quietMs === 0) return [];
      const known = this.#trees.find((tree) => tree.superblock === id && tree.path === path);
      if (known !== undefined) return [known];
      const { root } = row;
      const changedSeq = Number.POSITIVE_INFINITY;
      const fresh = {
        ...{ failures: 0, notBeforeMs: 0, unrest: undefined, changedSeq, error: undefined },
      };
      return [
        { path, root, superblock: id, quietMs, seq: this.#publishedSeq(path, root), ...fresh },
      ];
    });
  }

  /** Whether a tree is published by itself, where it is mounted. */
  publishes(tree: SuperblockRow): boolean {
    return this.#policy.targets.length > 0 && this.#quietMsOf(tree) > 0;
  }

  /** 0: never by itself. */
  #quietMsOf({ kind, volatile, readOnly, options }: SuperblockRow): number {
    const { quietMs } = this.#policy;
    if (quietMs === 0 || kind !== 'ipfs' || volatile || readOnly) return 0;
    const { sync_ms: own } = options;
    return typeof own === 'number' ? own : quietMs;
  }

  /** The newest record that is published, and owed to every store; 0: none. */
  #publishedSeq(path: Name, root: Ino): number {
    const { journal } = this.#ports;
    const isOwed = this.#policy.targets.every((target) => journal.targets.get(path, target));
    if (!isOwed || journal.superblocks.synced(path) === undefined) return 0;
    return Math.max(...[false, true].map((how) => journal.published.get(root, how)?.seq ?? 0));
  }

  /** Looks for the newest change of each tree, backwards: usually the first record tells. */
  async #readBack(head: number, signal: AbortSignal): Promise<void> {
    const { changes } = this.#ports.journal;
    const open = new Set(this.#trees);
    for (const tree of this.#trees) {
      if (changes.reaches(tree.seq)) continue;
      // Retention was at the records before they were read.
      open.delete(tree);
      this.#mark(tree);
    }
    let to = head;
    while (open.size > 0) {
      const from = Math.min(...[...open].map(({ seq }) => seq));
      const page = changes.newest(from, to, CHANGES_PER_TURN);
      for (const change of page) this.#take(change, open);
      to = (page.at(-1)?.seq ?? 0) - 1;
      for (const tree of open) if (tree.seq >= to) open.delete(tree);
      await turn();
      signal.throwIfAborted();
    }
    for (const tree of this.#trees) tree.seq = head;
  }

  #take({ seq, kind, inos, directories }: Change, open: Set<Tree>): void {
    // What a repair put in order it tells of, but not all that it did for that.
    const trees =
      kind === 'repair' ? [...open] : [...inos, ...directories].map((ino) => this.#treeOf(ino));
    for (const tree of trees) {
      if (tree === undefined || seq <= tree.seq || !open.delete(tree)) continue;
      this.#mark(tree, seq);
    }
  }

  #treeOf(ino: Ino): Tree | undefined {
    const row = this.#ports.journal.inodes.get(ino);
    return this.#trees.find(({ superblock }) => superblock === row?.superblock);
  }

  #mark(tree: Tree | undefined, seq = Number.POSITIVE_INFINITY): void {
    if (tree === undefined) return;
    tree.changedSeq = seq;
    const lastMs = this.#ports.clock.monotonicMs();
    tree.unrest = { firstMs: tree.unrest?.firstMs ?? lastMs, lastMs };
  }

  async #publish(tree: Tree, unrest: Unrest, signal: AbortSignal): Promise<void> {
    const { publisher, log, clock, actor } = this.#ports;
    const { path, root } = tree;
    // What changes from here on is seen again, though some of it is in what is frozen now.
    tree.unrest = undefined;
    try {
      const published = await publisher.publish(
        {
          ...{ root, path, actor, pin: true, targets: this.#policy.targets },
          unixfsMetadata: this.#hasMetadata(root),
          gate: OPEN_GATE,
        },
        { signal, progress: () => undefined },
      );
      Object.assign(tree, { failures: 0, notBeforeMs: 0, error: undefined });
      if (published.changed) log.info({ path, cid: published.root.toString() }, 'published a tree');
    } catch (error) {
      const failures = tree.failures + 1;
      const notBeforeMs = clock.monotonicMs() + retryDelayS(failures) * MS_PER_S;
      tree.unrest = unrest;
      signal.throwIfAborted();
      Object.assign(tree, { failures, notBeforeMs, error: asOpError(error, `publish ${path}`) });
      log.warn({ path, err: error }, 'a tree could not be published');
    }
  }

  /** As it was published last. */
  #hasMetadata(root: Ino): boolean {
    const [plain, rich] = [false, true].map((how) => this.#ports.journal.published.get(root, how));
    return (rich?.seq ?? -1) > (plain?.seq ?? -1);
  }
}
