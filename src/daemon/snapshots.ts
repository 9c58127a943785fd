/**
 * What the command line asks about snapshots: those of a path, what one holds, what two differ in.
 *
 * A path leads to its last snapshot for who may read the state directory only: in what root
 * published others may see names they could not read in the tree. A CID is known to who was told it.
 */
import { OpError } from '../base/errors.ts';
import { nameOfText, textOf } from '../base/ids.ts';
import { type CID, cidOfBytes, type Dag, parseCid } from '../content/content.ts';
import type { Journal } from '../journal/journal.ts';
import {
  chainOf,
  type Difference,
  differences,
  ENTRY_TYPES,
  readManifest,
  readSnapshot,
  type Snapshot,
} from '../sync/sync.ts';
import type { ControlCall } from './control.ts';

/** Differences in one part of an answer. */
const DIFFERENCES_PER_PART = 256;

export interface SnapshotPorts {
  readonly journal: Journal;
  readonly dag: Dag;
}

/** One of a listing. Times are RFC 3339; `seq` is the last record of the journal before it. */
export interface ListedSnapshot {
  readonly snapshot_cid: string;
  readonly root_cid: string;
  readonly manifest_cid: string;
  readonly previous_cid?: string;
  readonly time: string;
  readonly message?: string;
  readonly cid_profile: string;
  readonly seq: number;
}

/** `incomplete`: the CID of the next one before, which is not here. */
export interface SnapshotList {
  readonly path: string;
  readonly snapshots: readonly ListedSnapshot[];
  readonly incomplete?: string;
}

/** How many names of each type it has, and the bytes of its blocks, as its links say. */
export interface ShownSnapshot extends ListedSnapshot {
  readonly counts: Readonly<Record<string, number>>;
  readonly bytes: number;
}

/** Parts of a comparison are lists of these. */
export interface ListedDifference {
  readonly change: Difference['change'];
  readonly path: string;
  readonly type: string;
  readonly what?: readonly string[];
}

export interface Compared {
  readonly from: string;
  readonly to: string;
  readonly counts: Readonly<Record<Difference['change'], number>>;
}

/**
 * The snapshots of a path, newest first, as far as they are here.
 * @throws OpError not-found when the path was never published.
 */
export async function listSnapshots(
  ports: SnapshotPorts,
  path: string,
  limit: number,
  signal: AbortSignal,
): Promise<SnapshotList> {
  const newest = lastSnapshot(ports.journal, path);
  const snapshots: ListedSnapshot[] = [];
  try {
    for await (const { cid, record } of chainOf(ports.dag, newest, signal)) {
      snapshots.push(listed(cid, record));
      if (snapshots.length === limit) break;
    }
  } catch (error) {
    const isGone = error instanceof OpError && error.failure === 'content-missing';
    if (!isGone) throw error;
    return { path, snapshots, incomplete: snapshots.at(-1)?.previous_cid ?? newest.toString() };
  }
  return { path, snapshots };
}

/** @throws OpError not-found, content-missing, integrity, unsupported. */
export async function showSnapshot(
  { journal, dag }: SnapshotPorts,
  at: string,
  signal: AbortSignal,
): Promise<ShownSnapshot> {
  const cid = snapshotNamed(journal, at);
  const record = await readSnapshot(dag, cid, signal);
  const entries = await readManifest(dag, record.manifest, signal);
  const counts: Record<string, number> = {};
  for (const type of ENTRY_TYPES) counts[type] = 0;
  for (const { type } of entries.values()) counts[type] = (counts[type] ?? 0) + 1;
  const { cumulativeSize: bytes } = await dag.entryOf(record.tree, signal);
  return { ...listed(cid, record), counts, bytes };
}

/**
 * What `to` has that `from` has not; without `from`: that the snapshot before `to` has not.
 * @throws OpError as `showSnapshot`; not-found when there is none before.
 */
export async function compareSnapshots(
  { journal, dag }: SnapshotPorts,
  named: { readonly from?: string | undefined; readonly to: string },
  { signal, part }: Pick<ControlCall, 'signal' | 'part'>,
): Promise<Compared> {
  const to = snapshotNamed(journal, named.to);
  const after = await readSnapshot(dag, to, signal);
  const from = named.from === undefined ? after.previous : snapshotNamed(journal, named.from);
  if (from === undefined) {
    throw new OpError('not-found', `compare ${to}`, { hint: 'no snapshot was made before it' });
  }
  const before = await readSnapshot(dag, from, signal);
  const found = await differences(dag, { before, after }, signal);
  const counts = { created: 0, changed: 0, deleted: 0 };
  for (const { change } of found) counts[change] += 1;
  for (let at = 0; at < found.length; at += DIFFERENCES_PER_PART) {
    await part(found.slice(at, at + DIFFERENCES_PER_PART).map(listedDifference));
  }
  return { from: from.toString(), to: to.toString(), counts };
}

function listedDifference({ change, path, type, what }: Difference): ListedDifference {
  return { change, path: textOf(path), type, ...(what.length === 0 ? {} : { what }) };
}

/** A CID, or the last snapshot of a path. */
const snapshotNamed = (journal: Journal, at: string): CID =>
  at.startsWith('/') ? lastSnapshot(journal, at) : parseCid(at);

function lastSnapshot(journal: Journal, path: string): CID {
  const cid = journal.superblocks.synced(nameOfText(path))?.snapshotCid ?? undefined;
  if (cid !== undefined) return cidOfBytes(cid);
  throw new OpError('not-found', `find the snapshots of ${path}`, {
    hint: 'kitfs sync makes one',
    details: { path },
  });
}

function listed(cid: CID, record: Snapshot): ListedSnapshot {
  const { tree, manifest, previous, time, message, cidProfile, journal } = record;
  return {
    snapshot_cid: cid.toString(),
    root_cid: tree.toString(),
    manifest_cid: manifest.toString(),
    ...(previous === undefined ? {} : { previous_cid: previous.toString() }),
    time,
    ...(message === undefined ? {} : { message }),
    cid_profile: cidProfile,
    seq: journal.seq,
  };
}
