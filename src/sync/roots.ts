/**
 * What has to stay of all that the block store holds: pins, mutable trees, what publications remember, and of each
 * published path the newest snapshots. Read anew each time.
 */
import { OpError } from '../base/errors.ts';
import type { Ino, Name } from '../base/ids.ts';
import { turn } from '../base/turn.ts';
import { type CID, cidOfBytes, type Dag } from '../content/content.ts';
import type { Journal, PublishedRow } from '../journal/journal.ts';
import { chainOf, readSnapshot } from './snapshot.ts';

export interface RootsPorts {
  readonly journal: Journal;
  /** Of what is here. */
  readonly dag: Dag;
}

export interface KeptRoot {
  readonly cid: CID;
  /** Somebody else's content, of which only a part may have come here. */
  readonly mayLack: boolean;
  /** Nothing below it. */
  readonly isAlone?: boolean;
}

/** A snapshot that stays. */
interface KeptSnapshot {
  readonly cid: CID;
  readonly tree: CID;
  readonly manifest: CID;
  readonly mayLack: boolean;
}

export interface Snapshots {
  /** By the text of their CIDs. */
  readonly kept: ReadonlyMap<string, KeptSnapshot>;
  /** Those behind the newest of their paths, oldest first; another path, or a store, may still have them. */
  readonly older: readonly CID[];
}

/** Records of snapshots, and rows, read before other work gets its turn. */
const RECORDS_PER_TURN = 64;
const ROWS_PER_TURN = 256;

/**
 * The snapshots of all paths, as far as they are here. Without `isWhole` only those that stay.
 * @throws OpError integrity, unsupported: what one of these keeps is not known; the signal's reason.
 */
export async function snapshotsOf(
  { journal, dag }: RootsPorts,
  { keep, isWhole }: { readonly keep: number; readonly isWhole: boolean },
  signal: AbortSignal,
): Promise<Snapshots> {
  const kept = new Map<string, KeptSnapshot>();
  const older = new Map<string, CID>();
  const isOurs = managedPaths(journal);
  const take = (
    cid: CID,
    { tree, manifest }: Pick<KeptSnapshot, 'tree' | 'manifest'>,
    path: Name,
  ) => kept.set(cid.toString(), { cid, tree, manifest, mayLack: !isOurs(path) });
  for (const { path, snapshotCid } of journal.superblocks.allSynced()) {
    if (snapshotCid === null) continue;
    let count = 0;
    try {
      for await (const { cid, record } of chainOf(dag, cidOfBytes(snapshotCid), signal)) {
        if (count < keep) take(cid, record, path);
        else older.set(cid.toString(), cid);
        count += 1;
        if (count === keep && !isWhole) break;
        if (count % RECORDS_PER_TURN === 0) await turn();
      }
    } catch (error) {
      signal.throwIfAborted();
      // A chain ends where a record is gone. What a damaged one keeps nobody knows.
      if (!isGone(error) && count < keep) throw error;
    }
  }
  for (const { path, wanted, held } of journal.targets.all()) {
    for (const root of held === undefined ? [wanted] : [wanted, held]) {
      const cid = cidOfBytes(root.snapshot);
      const record = await unlessGone(readSnapshot(dag, cid, signal));
      if (record !== undefined) take(cid, record, path);
    }
  }
  return { kept, older: [...older.values()].reverse() };
}

/**
 * Everything that is named by something that stays. What is kept with nothing below comes last.
 * @throws as `snapshotsOf`.
 */
export async function* rootsKept(
  ports: RootsPorts,
  keep: number,
  signal: AbortSignal,
): AsyncGenerator<KeptRoot> {
  const { journal } = ports;
  const pins = journal.contents.pins().map(({ cid, type }) => ({ cid: cidOfBytes(cid), type }));
  for (const { cid, type } of pins) if (type === 'recursive') yield { cid, mayLack: false };
  const mfs = journal.meta.get('mfs_root');
  if (mfs !== undefined) yield { cid: cidOfBytes(Buffer.from(mfs, 'hex')), mayLack: false };
  const isOurs = managedPaths(journal);
  const trees = [
    ...journal.superblocks.allSynced().map(({ path, rootCid }) => ({ path, key: rootCid })),
    ...journal.targets
      .all()
      .flatMap(({ path, wanted, held }) =>
        [wanted, held ?? wanted].map(({ tree }) => ({ path, key: tree })),
      ),
  ];
  for (const { path, key } of trees) yield { cid: cidOfBytes(key), mayLack: !isOurs(path) };
  const { kept } = await snapshotsOf(ports, { keep, isWhole: false }, signal);
  for (const { tree, manifest, mayLack } of kept.values()) {
    yield { cid: tree, mayLack };
    yield { cid: manifest, mayLack };
  }
  for await (const key of remembered(journal)) yield { cid: cidOfBytes(key), mayLack: false };
  for await (const key of seen(journal)) yield { cid: cidOfBytes(key), mayLack: true };
  for (const { cid } of kept.values()) yield { cid, mayLack: true, isAlone: true };
  for (const { cid, type } of pins) {
    if (type === 'direct') yield { cid, mayLack: true, isAlone: true };
  }
}

/** Of directories that were published, what the next publication does not make again. */
async function* remembered({ published }: Journal): AsyncGenerator<Buffer> {
  let last: PublishedRow | undefined;
  do {
    const rows = published.page(last, ROWS_PER_TURN);
    last = rows.at(-1);
    for (const { cid, list } of rows) {
      yield cid;
      if (list !== undefined) yield list;
    }
    await turn();
  } while (last !== undefined);
}

/** What trees of kind `mfs` and the node agreed on, and what is being brought there. */
async function* seen({ mfsSeen }: Journal): AsyncGenerator<Buffer> {
  let after: Ino | 0 | undefined = 0;
  while (after !== undefined) {
    const directories: readonly Ino[] = mfsSeen.directoriesAfter(after, ROWS_PER_TURN);
    for (const ino of directories) {
      const root = mfsSeen.get(ino, '' as Name);
      for (const { agreed, former, next } of [...mfsSeen.of(ino).values(), root ?? []].flat()) {
        yield* [agreed?.cid, ...former, next?.to?.cid].filter((key) => key !== undefined);
      }
      await turn();
    }
    after = directories.at(-1);
  }
}

/** Whether a path is in a tree that is published from here, and not a copy of somebody's. */
function managedPaths({ superblocks }: Journal): (path: Name) => boolean {
  const managed = new Set(superblocks.all().flatMap(({ id, kind }) => (kind === 'ipfs' ? id : [])));
  const points = superblocks
    .mounts()
    .flatMap(({ mountPoint, superblock }) => (managed.has(superblock) ? mountPoint : []));
  return (path) => points.some((point) => path === point || path.startsWith(`${point}/`));
}

const isGone = (error: unknown): boolean =>
  error instanceof OpError && error.failure === 'content-missing';

async function unlessGone<T>(reading: Promise<T>): Promise<T | undefined> {
  try {
    return await reading;
  } catch (error) {
    if (isGone(error)) return undefined;
    throw error;
  }
}
