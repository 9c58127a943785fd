/**
 * Publishing a subtree: frozen, built as plain UnixFS in the own store, recorded as a snapshot with
 * what UnixFS cannot hold. Nothing leaves this machine here.
 *
 * Invariants: what a snapshot names is in the block store, and stays; the snapshot becomes the last
 * one of its path in the transaction that records it; an unchanged tree makes nothing new.
 */
import { type Clock, type Instant, rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import {
  type ActorId,
  type ContentId,
  type Ino,
  isUtf8Name,
  type Name,
  NO_CONTENT,
  type Seq,
} from '../base/ids.ts';
import { PUBLICATIONS_WAITING_MAX, SYNC_SETTLE_LOOK_MS, SYNC_SETTLE_S } from '../base/limits.ts';
import { isDirectory, isRegular } from '../base/posix.ts';
import { PUBLISHED_PIN_HERE } from '../base/published.ts';
import { Turns } from '../base/turns.ts';
import {
  type BlockStore,
  blockKey,
  blockName,
  type CID,
  CONTENT_PROFILE,
  cidOfBytes,
} from '../content/content.ts';
import type { Actor, SyncedRow } from '../journal/journal.ts';
import {
  type Assembled,
  type AssembleOptions,
  type AssemblePorts,
  type AssembleProgress,
  assemble,
  type Counts,
} from './assemble.ts';
import { syncBlocks, syncContents } from './durable.ts';
import { demandRoot } from './expected.ts';
import {
  type FreezeOptions,
  type Frozen,
  freeze,
  type Gate,
  type Known,
  unfreeze,
} from './freeze.ts';
import { intended } from './intend.ts';
import { rootAtimeOf } from './manifest.ts';
import { pathsGone, type StoredManifest, storeManifest } from './manifest-lists.ts';
import { recall, remember } from './remember.ts';
import { readSnapshot, type Snapshot, snapshotBlock } from './snapshot.ts';
import { type EntryType, typeOf } from './types.ts';
import { noteUnfinished } from './unfinished.ts';

export interface PublisherPorts extends AssemblePorts {
  readonly blocks: BlockStore;
  readonly clock: Clock;
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
  /** Told when something is owed to a store; absent: nobody settles it. */
  readonly onOwed?: (() => void) | undefined;
}

export interface PublishRequest {
  /** A directory of a managed tree, and its absolute path. */
  readonly root: Ino;
  readonly path: Name;
  readonly gate: Gate;
  actor(): Actor;
  /** Operations of one tool call share it in the journal. */
  readonly group?: string | undefined;
  readonly message?: string | undefined;
  readonly pin: boolean;
  /** Stores that shall have it too: owed to them in the transaction that records the publication. */
  readonly targets?: readonly string[] | undefined;
  /** Also in UnixFS itself: mode and mtime. */
  readonly unixfsMetadata: boolean;
  /** The root of the last sync, as text; the call fails when it is another one. */
  readonly expectedRoot?: string | undefined;
  /** Called in the transaction that records the publication, with what `publish` will answer. */
  readonly onRecord?: ((published: Published) => void) | undefined;
}

export interface Published {
  readonly root: CID;
  readonly snapshot: CID;
  readonly previousRoot: CID | undefined;
  readonly changed: boolean;
  readonly counts: Readonly<Counts> & { readonly deleted: number };
  /** In the snapshot record only. */
  readonly skipped: readonly { readonly path: Name; readonly type: EntryType }[];
  /** The record; undefined when nothing changed. */
  readonly seq: Seq | undefined;
}

/** What a publication would do. */
export interface PublicationPlan {
  readonly files: number;
  readonly bytes: number;
}

export interface Run {
  readonly signal: AbortSignal;
  readonly progress: (progress: AssembleProgress) => void;
}

export class Publisher {
  readonly #ports: PublisherPorts;
  /** One at a time: the second of two would publish what the first does. */
  readonly #turns = new Turns({ atOnce: 1, waitingMax: PUBLICATIONS_WAITING_MAX });

  constructor(ports: PublisherPorts) {
    this.#ports = ports;
  }

  /**
   * @throws OpError invalid-argument (`/`, or a mount inside), not-directory, unsupported (a tree
   *   in memory), denied, version-conflict, locked, no-space, integrity, io, rate-limited; the
   *   signal's reason, also while others are published.
   */
  publish(request: PublishRequest, run: Run): Promise<Published> {
    const op = `publish ${request.path}`;
    const { holding } = this.#ports.contents;
    return this.#turns.run(op, run.signal, () => holding.during(() => this.#publish(request, run)));
  }

  /** All checks of `publish`, and nothing changed. */
  plan(request: PublishRequest): PublicationPlan {
    this.#demandPublishable(request);
    const { entries } = freeze(this.#ports, request.root, { gate: request.gate, dryRun: true });
    const files = entries.filter(({ row }) => isRegular(row.mode));
    return { files: files.length, bytes: files.reduce((sum, { row }) => sum + row.size, 0) };
  }

  async #publish(request: PublishRequest, run: Run): Promise<Published> {
    this.#demandPublishable(request);
    const { journal, blocks } = this.#ports;
    const synced = journal.superblocks.synced(request.path);
    const known = await recall(this.#ports, rememberedBy(request), run.signal);
    const { frozen, unfinished } = await this.#frozen(request, known, run.signal);
    try {
      const options: AssembleOptions = {
        profile: CONTENT_PROFILE,
        metadata: request.unixfsMetadata,
        dryRun: false,
      };
      const assembled = await assemble(this.#ports, frozen, options, run);
      const before = await this.#lastSnapshot(synced, run.signal);
      const how = { atime: await this.#atimeOf(frozen, before, run.signal) };
      const manifest = await storeManifest(blocks, { frozen, assembled }, how, run.signal);
      const made = { frozen, unfinished, assembled, manifest, synced, before };
      return await this.#finish(request, made, run.signal);
    } catch (error) {
      unfreeze(this.#ports, frozen);
      throw error;
    }
  }

  /**
   * Waits for what the kernel has still to tell of files that are closed already, and a while for whoever
   * writes to a file whose bytes of before are not kept.
   */
  async #frozen(
    request: PublishRequest,
    known: Known,
    signal: AbortSignal,
  ): Promise<Pick<Made, 'frozen' | 'unfinished'>> {
    const { clock } = this.#ports;
    const { root, gate } = request;
    const endMs = clock.monotonicMs() + SYNC_SETTLE_S * 1000;
    if (this.#ports.journal.sessions.all().length > 0)
      await clock.sleep(SYNC_SETTLE_LOOK_MS, signal);
    for (let isLate = false; ; ) {
      this.#demandPublishable(request);
      try {
        return this.#freeze(root, { gate, dryRun: false, known, isPatient: !isLate });
      } catch (error) {
        const isLocked = error instanceof OpError && error.failure === 'locked';
        if (!isLocked || isLate) throw error;
      }
      await clock.sleep(SYNC_SETTLE_LOOK_MS, signal);
      isLate = clock.monotonicMs() >= endMs;
    }
  }

  /** What is held by it is noted until a snapshot names it: a failure, or a kill, leaves nothing held for ever. */
  #freeze(root: Ino, options: FreezeOptions): Pick<Made, 'frozen' | 'unfinished'> {
    const { journal } = this.#ports;
    return journal.commit(() => {
      const frozen = freeze(this.#ports, root, options);
      const files = frozen.entries.map(({ content }) => content);
      const isFresh = (id: ContentId) => id !== NO_CONTENT && !frozen.kept.has(id);
      return { frozen, unfinished: noteUnfinished(journal, files.filter(isFresh)) };
    });
  }

  #demandPublishable(request: PublishRequest): void {
    const { root, path } = request;
    const op = `publish ${path}`;
    const { journal } = this.#ports;
    const row = journal.inodes.get(root);
    if (row === undefined) throw new OpError('not-found', op);
    if (!isDirectory(row.mode)) throw new OpError('not-directory', op);
    const superblock = journal.superblocks.all().find(({ id }) => id === row.superblock);
    const inside = journal.superblocks
      .mounts()
      .some(({ mountPoint }) => mountPoint.startsWith(path === '/' ? path : `${path}/`));
    if (superblock?.kind === 'root' || inside) {
      throw new OpError('invalid-argument', op, {
        hint: 'name a directory inside one mounted tree',
        details: { issues: [{ argument: 'path', reason: 'range', expected: 'inside one mount' }] },
      });
    }
    if (superblock?.volatile === true) {
      throw new OpError('unsupported', op, { hint: 'a tree in memory stays there' });
    }
    demandRoot(journal, request, op);
  }

  async #lastSnapshot(
    synced: SyncedRow | undefined,
    signal: AbortSignal,
  ): Promise<Snapshot | undefined> {
    const last = synced?.snapshotCid ?? undefined;
    if (last === undefined) return undefined;
    return unlessLost(readSnapshot(this.#ports.dag, cidOfBytes(last), signal));
  }

  /** Reading a tree is no change of it: the root keeps the access time that was published. */
  async #atimeOf(
    { entries }: Frozen,
    before: Snapshot | undefined,
    signal: AbortSignal,
  ): Promise<Instant | undefined> {
    const isUnchanged = entries[0]?.published !== undefined;
    if (!isUnchanged || before === undefined) return undefined;
    return unlessLost(rootAtimeOf(this.#ports.dag, before.manifest, signal));
  }

  async #finish(request: PublishRequest, made: Made, signal: AbortSignal): Promise<Published> {
    const { dag, journal } = this.#ports;
    const { assembled, synced, before } = made;
    const manifest = made.manifest.cid;
    const last = synced?.snapshotCid ?? undefined;
    const previous = last === undefined ? undefined : cidOfBytes(last);
    const { root } = assembled;
    const facts = {
      root: root.cid,
      previousRoot: synced === undefined ? undefined : cidOfBytes(synced.rootCid),
      skipped: assembled.skipped.map(({ entry }) => ({
        path: entry.path,
        type: typeOf(entry.row.mode),
      })),
    };
    const isSame =
      before?.tree.equals(root.cid) === true &&
      before.manifest.equals(manifest) &&
      facts.previousRoot?.equals(root.cid) === true;
    if (isSame && previous !== undefined) {
      const counts = { ...assembled.counts, newBlocks: 0, deleted: 0 };
      counts.reusedBlocks += assembled.counts.newBlocks;
      const same = { ...facts, snapshot: previous, changed: false, counts, seq: undefined };
      await this.#remember(request, made, signal);
      await this.#oweAgain(request, {
        tree: root.cid,
        snapshot: previous,
        seq: made.frozen.journal.seq,
      });
      return request.pin ? this.#pinAgain(request, same) : same;
    }
    const deleted =
      before === undefined
        ? 0
        : await unlessLost(pathsGone(dag, { from: before.manifest, to: manifest }, signal));
    await this.#remember(request, made, signal);
    signal.throwIfAborted();
    if (!isSameRow(synced, journal.superblocks.synced(request.path))) {
      throw new OpError('version-conflict', `publish ${request.path}`, {
        hint: 'it was synced meanwhile; try again',
      });
    }
    const counts = { ...assembled.counts, deleted: deleted ?? 0 };
    const published = this.#record(request, made, previous, { ...facts, changed: true, counts });
    await this.#ports.syncJournal();
    if (request.targets !== undefined) this.#ports.onOwed?.();
    return published;
  }

  /** Makes the blocks durable; then the next publication need not look at what was looked at. */
  async #remember(request: PublishRequest, made: Made, signal: AbortSignal): Promise<void> {
    const { frozen, assembled, manifest } = made;
    const known = knownBlocks(made, request.unixfsMetadata);
    await syncContents(this.#ports, assembled.contents, signal);
    const roots = [...assembled.made, assembled.root.cid, manifest.cid];
    await syncBlocks(this.#ports, roots, signal, known);
    const { gate } = request;
    await remember(
      this.#ports,
      rememberedBy(request),
      { frozen, assembled, manifest, gate },
      signal,
    );
  }

  /** The snapshot, the row of the path, the pin and the record: one transaction. */
  #record(
    request: PublishRequest,
    made: Made,
    previous: CID | undefined,
    facts: Omit<Published, 'snapshot' | 'seq'>,
  ): Published {
    const { journal, blocks, clock } = this.#ports;
    const { assembled, manifest, synced, frozen, unfinished } = made;
    const { path } = request;
    const now = clock.now();
    const snapshot: Snapshot = {
      tree: assembled.root.cid,
      manifest: manifest.cid,
      previous,
      journal: frozen.journal,
      cidProfile: CONTENT_PROFILE,
      time: rfc3339(now),
      message: request.message,
    };
    const block = snapshotBlock(snapshot);
    const root = assembled.root.cid;
    const rootCid = Buffer.from(root.bytes);
    return journal.commit((tx) => {
      blocks.put(block.cid, block.bytes);
      journal.meta.set('unfinished', unfinished);
      if (request.pin) this.#pin(request, assembled.root.cid);
      const seq = tx.record({
        kind: 'sync_to',
        actor: journal.actors.intern(request.actor()) as ActorId,
        ino: request.root,
        parent: 0,
        name: '' as Name,
        path,
        group: request.group,
        cid: rootCid,
        oldCid: synced?.rootCid,
        after: { snapshot: block.cid.toString(), pinned: request.pin },
      });
      journal.superblocks.setSynced({
        path,
        rootCid,
        snapshotCid: Buffer.from(block.cid.bytes),
        seq,
        timeS: now.s,
        timeNs: now.ns,
      });
      this.#owe(request, { tree: root, snapshot: block.cid, seq: frozen.journal.seq });
      const published = { ...facts, snapshot: block.cid, seq };
      request.onRecord?.(published);
      return published;
    });
  }

  /** Nothing changed here; a store may still not have it. */
  async #oweAgain(request: PublishRequest, root: Whole): Promise<void> {
    const { journal, syncJournal, onOwed } = this.#ports;
    if (!journal.commit(() => this.#owe(request, root))) return;
    await syncJournal();
    onOwed?.();
  }

  /** Whether anything is owed now. Inside a transaction. */
  #owe({ path, root: ino, targets = [], pin }: PublishRequest, whole: Whole): boolean {
    const { journal, clock } = this.#ports;
    const { tree, snapshot, seq } = whole;
    const wanted = { tree: blockKey(tree), snapshot: blockKey(snapshot), ino, seq };
    const nowS = clock.now().s;
    let isOwed = false;
    for (const target of targets) {
      const intention = { path, target, wanted, pin, nowS };
      const row = intended(journal.targets.get(path, target), intention);
      if (row !== undefined) journal.targets.put(row);
      isOwed ||= row?.dueS !== undefined;
    }
    return isOwed;
  }

  /** Pins the new root, and drops the pins that publications of this path made before. */
  #pin(request: PublishRequest, root: CID): void {
    const { contents } = this.#ports.journal;
    const name = pinNameOf(request.path);
    const key = blockKey(root);
    const now = this.#ports.clock.now();
    if (contents.pin(key)?.type !== 'recursive') {
      contents.setPin({ cid: key, type: 'recursive', name, time_s: now.s, time_ns: now.ns });
    }
    // What was restored or merged in between is no publication, so the last one is not all there may be.
    for (const { cid, name: known } of contents.pins()) {
      if (known === name && !cid.equals(key)) contents.deletePin(cid);
    }
  }

  /** The tree is as it was, but its pin may be gone. */
  #pinAgain(request: PublishRequest, same: Published): Published {
    const { journal } = this.#ports;
    const { root } = same;
    if (journal.contents.pin(blockKey(root))?.type === 'recursive') return same;
    return journal.commit((tx) => {
      this.#pin(request, root);
      const seq = tx.record({
        kind: 'pin_add',
        actor: journal.actors.intern(request.actor()),
        ino: 0,
        parent: 0,
        name: '' as Name,
        path: `/ipfs/${root}` as Name,
        group: request.group,
        cid: Buffer.from(root.bytes),
        after: { type: 'recursive', name: pinNameOf(request.path) },
      });
      const published = { ...same, seq };
      request.onRecord?.(published);
      return published;
    });
  }
}

/** A snapshot, and its tree. */
interface Whole {
  readonly tree: CID;
  readonly snapshot: CID;
  /** The newest record that it includes. */
  readonly seq: number;
}

interface Made {
  readonly frozen: Frozen;
  /** What others before it left unfinished. */
  readonly unfinished: string;
  readonly assembled: Assembled;
  readonly manifest: StoredManifest;
  readonly synced: SyncedRow | undefined;
  /** The last snapshot, when it can be read. */
  readonly before: Snapshot | undefined;
}

/** undefined: it is damaged, incomplete or not what it should be, and is not compared with. */
async function unlessLost<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    const isLost =
      error instanceof OpError &&
      ['content-missing', 'integrity', 'unsupported'].includes(error.failure);
    if (isLost) return undefined;
    throw error;
  }
}

const isSameRow = (one: SyncedRow | undefined, other: SyncedRow | undefined): boolean =>
  one?.seq === other?.seq;

/** How `ipfs_pin_ls` tells that the pin belongs to a path. */
export const pinNameOf = (path: Name): string =>
  `${PUBLISHED_PIN_HERE}${isUtf8Name(path) ? Buffer.from(path, 'latin1').toString('utf8') : path}`;

const rememberedBy = ({ root, unixfsMetadata: hasMetadata }: PublishRequest) => ({
  root,
  hasMetadata,
});

/** What is durable already, or is so by itself: directories published before, and sealed files. */
function knownBlocks({ frozen, assembled }: Made, hasMetadata: boolean): Set<string> {
  const known = new Set<string>();
  for (const entry of frozen.entries) {
    const { published, content } = entry;
    const isSealed = content !== NO_CONTENT && !hasMetadata;
    const built = published !== undefined || isSealed ? assembled.built.get(entry) : undefined;
    if (built !== undefined) known.add(blockName(built.cid));
    if (published?.list !== undefined) known.add(blockName(cidOfBytes(published.list)));
  }
  return known;
}
