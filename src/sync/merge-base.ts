/**
 * The tree over which a merge is decided: the newest that is known to have been on both sides. What was
 * published here counts only where it is known that somebody had it; over any other tree, what is new
 * here would look deleted there, and what was changed here changed there.
 */
import type { Name } from '../base/ids.ts';
import { MERGE_RECORDS_MAX, MERGE_SNAPSHOTS_MAX } from '../base/limits.ts';
import { blockKey, type CID, cidOfBytes, type Dag, parseCid } from '../content/content.ts';
import type { Journal, SyncRecord } from '../journal/journal.ts';
import { type RemoteTree, readRemote } from './remote.ts';
import { chainOf, readSnapshot } from './snapshot.ts';

export interface MergeBasePorts {
  readonly journal: Journal;
  readonly dag: Dag;
}

/** What a store shows of a path now; undefined: nothing, or it could not be asked. */
export type PlacedAt = (target: string, signal: AbortSignal) => Promise<CID | undefined>;

export interface Merged {
  readonly path: Name;
  readonly tree: RemoteTree;
  /** The store that shows this tree at the place of the path. */
  readonly placedAt: string | undefined;
}

export interface SharedTree {
  /** With its metadata where that is known. */
  readonly tree: RemoteTree;
  /** It is the last snapshot here, and the tree comes after it. */
  readonly isHead: boolean;
}

/** @returns undefined: there is none, or it is lost. @throws the signal's reason. */
export async function mergeBase(
  ports: MergeBasePorts,
  merged: Merged,
  signal: AbortSignal,
): Promise<SharedTree | undefined> {
  const { journal, dag } = ports;
  const { path, tree } = merged;
  try {
    const known = new Known(journal.ops.syncsOf(path, MERGE_RECORDS_MAX));
    const head = journal.superblocks.synced(path)?.snapshotCid ?? undefined;
    const last = head === undefined ? undefined : cidOfBytes(head);
    const cid =
      tree.snapshot === undefined
        ? plainBase(journal, merged, known)
        : await recordBase(dag, tree.snapshot.cid, { known, last }, signal);
    if (cid === undefined) return undefined;
    const base = await readRemote(dag, cid, { mayLackBytes: true, signal });
    return { tree: base, isHead: last?.equals(cid) === true };
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** The store at whose place for the path the tree is, of those that held one of ours. @throws the signal's reason. */
export async function placeOfTree(
  journal: Journal,
  { path, cid }: { readonly path: Name; readonly cid: CID },
  placedAt: PlacedAt,
  signal: AbortSignal,
): Promise<string | undefined> {
  for (const { path: at, target, held } of journal.targets.all()) {
    if (at !== path || held === undefined) continue;
    if ((await placedAt(target, signal))?.equals(cid) === true) return target;
  }
  return undefined;
}

/** The newest record of its past that was here too, published or brought. */
async function recordBase(
  dag: Dag,
  newest: CID,
  { known, last }: { readonly known: Known; readonly last: CID | undefined },
  signal: AbortSignal,
): Promise<CID | undefined> {
  const ours = await pastOf(dag, last, signal);
  let cid: CID | undefined = newest;
  for (let looked = 0; cid !== undefined && looked < MERGE_SNAPSHOTS_MAX; looked += 1) {
    if (ours.has(cid.toString()) || known.snapshots.has(cid.toString())) return cid;
    ({ previous: cid } = await readSnapshot(dag, cid, signal));
  }
  return undefined;
}

/** The snapshots before one, and it, as far as they can be had. */
async function pastOf(
  dag: Dag,
  last: CID | undefined,
  signal: AbortSignal,
): Promise<ReadonlySet<string>> {
  const past = new Set<string>();
  if (last === undefined) return past;
  try {
    for await (const { cid } of chainOf(dag, last, signal)) {
      past.add(cid.toString());
      if (past.size === MERGE_SNAPSHOTS_MAX) break;
    }
  } catch {
    signal.throwIfAborted();
  }
  return past;
}

/** Of a tree that says nothing of its past. */
function plainBase(journal: Journal, merged: Merged, known: Known): CID | undefined {
  const { path, tree, placedAt } = merged;
  if (placedAt !== undefined) {
    // Whoever put it there did so over what the store held of us, or over what was brought from there.
    const held = journal.targets.get(path, placedAt)?.held;
    const brought = known.broughtFrom(placedAt);
    if (brought !== undefined && brought.seq > (held?.seq ?? 0)) return cidOf(brought);
    if (held !== undefined) return cidOfBytes(held.snapshot);
  }
  const own = known.published(tree.cid) ?? known.brought();
  return own === undefined ? undefined : cidOf(own);
}

/** What the journal says was published of a path, and brought there, newest first. */
class Known {
  readonly #records: readonly SyncRecord[];
  readonly snapshots: ReadonlySet<string>;

  constructor(records: readonly SyncRecord[]) {
    this.#records = records;
    this.snapshots = new Set(records.flatMap(({ snapshot }) => snapshot ?? []));
  }

  published(tree: CID): SyncRecord | undefined {
    return this.#records.find((record) => record.kind === 'sync_to' && isOf(record, tree));
  }

  /** The last one that did not come from here, as an old one of our own does when it is restored. */
  brought(): SyncRecord | undefined {
    const first = new Map<string, number>();
    for (const { kind, root, seq } of this.#records) {
      if (kind === 'sync_to') first.set(nameOf(root), seq);
    }
    return this.#records.find(
      ({ kind, root, seq }) =>
        kind === 'sync_from' && (first.get(nameOf(root)) ?? Number.POSITIVE_INFINITY) > seq,
    );
  }

  broughtFrom(target: string): SyncRecord | undefined {
    return this.#records.find((record) => record.placedAt === target);
  }
}

const nameOf = (root: Buffer): string => root.toString('latin1');
const isOf = ({ root }: SyncRecord, tree: CID): boolean =>
  blockKey(cidOfBytes(root)).equals(blockKey(tree));
const cidOf = ({ root, snapshot }: SyncRecord): CID =>
  snapshot === undefined ? cidOfBytes(root) : parseCid(snapshot);
