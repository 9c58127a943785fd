/**
 * Publishing a subtree: frozen, built as plain UnixFS in the own store, recorded as a snapshot with
 * what UnixFS cannot hold. Nothing leaves this machine here.
 *
 * Invariants: what a snapshot names is in the block store, and stays; the snapshot becomes the last
 * one of its path in the transaction that records it; an unchanged tree makes nothing new.
 */
import pLimit from 'p-limit';
import { type Clock, rfc3339 } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { type ActorId, type Ino, isUtf8Name, type Name, type Seq } from '../base/ids.ts';
import { isDirectory } from '../base/posix.ts';
import {
  type BlockStore,
  blockKey,
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
import { syncBlocks } from './durable.ts';
import { type Frozen, type FrozenEntry, freeze, type Gate } from './freeze.ts';
import { type ManifestEntry, readManifest, storeManifest } from './manifest.ts';
import { readSnapshot, type Snapshot, snapshotBlock } from './snapshot.ts';
import { type EntryType, isSpecial, typeOf } from './types.ts';

export interface PublisherPorts extends AssemblePorts {
  readonly blocks: BlockStore;
  readonly clock: Clock;
  /** Puts every committed record on stable storage. */
  syncJournal(): Promise<void>;
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
  readonly #queue = pLimit(1);

  constructor(ports: PublisherPorts) {
    this.#ports = ports;
  }

  /**
   * @throws OpError invalid-argument (`/`, or a mount inside), not-directory, unsupported (a tree
   *   in memory), denied, version-conflict, no-space, integrity, io; the signal's reason.
   */
  publish(request: PublishRequest, run: Run): Promise<Published> {
    return this.#queue(() => this.#publish(request, run));
  }

  /** All checks of `publish`, and nothing changed. */
  plan(request: PublishRequest): PublicationPlan {
    this.#demandPublishable(request);
    const { entries } = freeze(this.#ports, request.root, { gate: request.gate, dryRun: true });
    const files = entries.filter(({ row }) => typeOf(row.mode) === 'file');
    return { files: files.length, bytes: files.reduce((sum, { row }) => sum + row.size, 0) };
  }

  async #publish(request: PublishRequest, run: Run): Promise<Published> {
    run.signal.throwIfAborted();
    this.#demandPublishable(request);
    const { journal, blocks } = this.#ports;
    const synced = journal.superblocks.synced(request.path);
    const frozen = freeze(this.#ports, request.root, { gate: request.gate, dryRun: false });
    try {
      const options: AssembleOptions = {
        profile: CONTENT_PROFILE,
        metadata: request.unixfsMetadata,
        dryRun: false,
      };
      const assembled = await assemble(this.#ports, frozen, options, run);
      const entries = manifestOf(frozen, assembled);
      const manifest = await storeManifest(blocks, entries, run.signal);
      const made = { frozen, assembled, manifest, synced };
      return await this.#finish(request, made, run.signal);
    } catch (error) {
      this.#abandon(frozen);
      throw error;
    }
  }

  #demandPublishable({ root, path, expectedRoot }: PublishRequest): void {
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
    demandRoot(journal.superblocks.synced(path), expectedRoot, op);
  }

  async #finish(request: PublishRequest, made: Made, signal: AbortSignal): Promise<Published> {
    const { dag, journal } = this.#ports;
    const { assembled, manifest, synced } = made;
    const last = synced?.snapshotCid ?? undefined;
    const previous = last === undefined ? undefined : cidOfBytes(last);
    const before =
      previous === undefined ? undefined : await unlessLost(readSnapshot(dag, previous, signal));
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
      return request.pin ? this.#pinAgain(request, same) : same;
    }
    const deleted = await this.#deletedSince(before?.manifest, made.frozen, signal);
    await syncBlocks(this.#ports, [root.cid, manifest], signal);
    signal.throwIfAborted();
    if (!isSameRow(synced, journal.superblocks.synced(request.path))) {
      throw new OpError('version-conflict', `publish ${request.path}`, {
        hint: 'it was synced meanwhile; try again',
      });
    }
    const counts = { ...assembled.counts, deleted };
    const published = this.#record(request, made, previous, { ...facts, changed: true, counts });
    await this.#ports.syncJournal();
    return published;
  }

  /** The snapshot, the row of the path, the pin and the record: one transaction. */
  #record(
    request: PublishRequest,
    made: Made,
    previous: CID | undefined,
    facts: Omit<Published, 'snapshot' | 'seq'>,
  ): Published {
    const { journal, blocks, clock } = this.#ports;
    const { assembled, manifest, synced, frozen } = made;
    const { path } = request;
    const now = clock.now();
    const snapshot: Snapshot = {
      tree: assembled.root.cid,
      manifest,
      previous,
      journal: frozen.journal,
      cidProfile: CONTENT_PROFILE,
      time: rfc3339(now),
      message: request.message,
    };
    const block = snapshotBlock(snapshot);
    const rootCid = Buffer.from(assembled.root.cid.bytes);
    return journal.commit((tx) => {
      blocks.put(block.cid, block.bytes);
      if (request.pin) this.#pin(request, assembled.root.cid, synced);
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
      const published = { ...facts, snapshot: block.cid, seq };
      request.onRecord?.(published);
      return published;
    });
  }

  /** Pins the new root, and drops the pin that the last publication of this path made. */
  #pin(request: PublishRequest, root: CID, synced: SyncedRow | undefined): void {
    const { contents } = this.#ports.journal;
    const name = pinNameOf(request.path);
    const key = blockKey(root);
    const now = this.#ports.clock.now();
    if (contents.pin(key)?.type !== 'recursive') {
      contents.setPin({ cid: key, type: 'recursive', name, time_s: now.s, time_ns: now.ns });
    }
    if (synced === undefined) return;
    const old = blockKey(cidOfBytes(synced.rootCid));
    if (!old.equals(key) && contents.pin(old)?.name === name) contents.deletePin(old);
  }

  /** The tree is as it was, but its pin may be gone. */
  #pinAgain(request: PublishRequest, same: Published): Published {
    const { journal } = this.#ports;
    const { root } = same;
    if (journal.contents.pin(blockKey(root))?.type === 'recursive') return same;
    return journal.commit((tx) => {
      this.#pin(request, root, undefined);
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

  async #deletedSince(
    manifest: CID | undefined,
    { entries }: Frozen,
    signal: AbortSignal,
  ): Promise<number> {
    if (manifest === undefined) return 0;
    const left = new Set(entries.map(({ path }) => path));
    const before = await unlessLost(readManifest(this.#ports.dag, manifest, signal));
    return [...(before?.keys() ?? [])].filter((path) => !left.has(path)).length;
  }

  /** Copies nobody has named yet go; what is sealed may be somebody's block by now, and stays. */
  #abandon({ copies }: Frozen): void {
    const { journal, contents } = this.#ports;
    journal.commit(() => {
      for (const id of copies) {
        const row = contents.row(id);
        if (row !== undefined && row.state !== 'sealed' && row.refs === 0) contents.discard(id);
      }
    });
  }
}

interface Made {
  readonly frozen: Frozen;
  readonly assembled: Assembled;
  readonly manifest: CID;
  readonly synced: SyncedRow | undefined;
}

/** @throws OpError version-conflict, with the root of the last sync in `partial.version`. */
export function demandRoot(
  synced: SyncedRow | undefined,
  expected: string | undefined,
  op: string,
): void {
  if (expected === undefined) return;
  const version = synced === undefined ? undefined : cidOfBytes(synced.rootCid).toString();
  if (version === expected) return;
  throw new OpError('version-conflict', op, {
    hint: 'expected_version is not the root of the last sync',
    details: { partial: { version: version ?? null } },
  });
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
const pinNameOf = (path: Name): string =>
  `sync ${isUtf8Name(path) ? Buffer.from(path, 'latin1').toString('utf8') : path}`;

function* manifestOf(frozen: Frozen, assembled: Assembled): Generator<ManifestEntry> {
  const first = new Map<Ino, Name>();
  for (const entry of frozen.entries) {
    const { row, path } = entry;
    const sameAs = isDirectory(row.mode) ? undefined : first.get(row.ino);
    first.set(row.ino, sameAs ?? path);
    yield manifestEntryOf(entry, sameAs, assembled);
  }
}

function manifestEntryOf(
  entry: FrozenEntry,
  sameAs: Name | undefined,
  assembled: Assembled,
): ManifestEntry {
  const { row, path, xattrs } = entry;
  const type = typeOf(row.mode);
  const isShown = path === '' || isUtf8Name(entry.name);
  return {
    path,
    type,
    mode: row.mode & 0o7777,
    uid: row.uid,
    gid: row.gid,
    atime: { s: row.atimeS, ns: row.atimeNs },
    mtime: { s: row.mtimeS, ns: row.mtimeNs },
    rdev: isSpecial(type) ? row.rdev : undefined,
    sameAs,
    xattrs,
    cid: isShown ? undefined : assembled.built.get(entry)?.cid,
  };
}
