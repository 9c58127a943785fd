/** What `status` and health tell of publishing: what is owed to stores, and what is not published. */
import { rfc3339 } from '../base/clock.ts';
import { textOf } from '../base/ids.ts';
import { cidOfBytes } from '../content/content.ts';
import type { Journal, Root, TargetRow } from '../journal/journal.ts';
import type { MfsState, UnderWay, Unpublished } from '../sync/sync.ts';
import type { ErrorCode } from '../tools/codes.ts';
import { CODE_OF } from '../tools/errors.ts';
import type { TreeStatus } from './trees.ts';

/** What only the loops know. */
export interface Syncing {
  readonly underWay: readonly UnderWay[];
  readonly unpublished: readonly Unpublished[];
  readonly mfs: readonly MfsState[];
}

interface RootStatus {
  readonly root_cid: string;
  readonly snapshot_cid: string;
}

/** A tree and a store that it is brought to. */
export interface UploadStatus {
  readonly path: string;
  readonly target: string;
  readonly state: TargetRow['state'];
  readonly wanted: RootStatus;
  /** What the store said it has whole. */
  readonly held?: RootStatus;
  /** Of what is sent just now; totals are absent until they are known. */
  readonly progress?: {
    readonly blocks: number;
    readonly bytes: number;
    readonly blocks_total?: number;
    readonly bytes_total?: number;
  };
  /** Failures in a row, and the last one. */
  readonly attempts: number;
  readonly error_code?: ErrorCode;
  /** When it is tried next; absent: there is nothing to do, or somebody has to ask. */
  readonly due?: string;
  /** When the store last said that it has it. */
  readonly checked?: string;
}

/** A tree that changed, and is published by itself when it is due. */
export interface UnpublishedStatus {
  readonly path: string;
  readonly due: string;
  readonly error_code?: ErrorCode;
}

export interface SyncStatus {
  readonly uploads: readonly UploadStatus[];
  readonly unpublished: readonly UnpublishedStatus[];
}

export function syncStatusOf(
  { targets }: Journal,
  { underWay, unpublished }: Omit<Syncing, 'mfs'>,
): SyncStatus {
  return {
    uploads: targets.all().map((row) => uploadOf(row, underWay)),
    unpublished: unpublished.map(({ path, dueS, error }) => ({
      path: textOf(path),
      due: timeOf(dueS),
      ...(error === undefined ? {} : { error_code: CODE_OF[error.failure] }),
    })),
  };
}

interface WithTrees {
  readonly mounts: readonly { readonly trees: readonly TreeStatus[] }[];
}

/** Without the CIDs, by which anybody could read what not everybody may see. */
export const withoutRoots = <T extends SyncStatus & WithTrees>(status: T) => ({
  ...status,
  uploads: status.uploads.map(({ wanted: _wanted, held: _held, ...upload }) => upload),
  mounts: status.mounts.map((mount) => ({ ...mount, trees: mount.trees.map(withoutShown) })),
});

/** What a followed name means anybody may ask; what is in MFS, not. */
function withoutShown({ mfs, ...tree }: TreeStatus): TreeStatus {
  if (mfs === undefined) return tree;
  const { shown: _shown, ...rest } = mfs;
  return { ...tree, mfs: rest };
}

/** What of it does not work as it should. A store that is not configured any more is nobody's trouble. */
export const syncTroublesOf = (
  { targets }: Journal,
  { unpublished, mfs }: Omit<Syncing, 'underWay'>,
) => [
  ...targets.all().flatMap(({ path, target, failure, attempts }) => {
    if (failure === undefined || failure === 'not-configured') return [];
    const times = attempts === 1 ? 'once' : `${attempts} times`;
    const text = `${textOf(path)} could not be brought to ${target}, tried ${times}`;
    return [{ error_code: CODE_OF[failure], text }];
  }),
  ...unpublished.flatMap(({ path, error }) => {
    if (error === undefined) return [];
    const text = `${textOf(path)} could not be published, and is tried again`;
    return [{ error_code: CODE_OF[error.failure], text }];
  }),
  ...mfs.flatMap(({ path, error, waiting: { files } }) => {
    if (error === undefined) return [];
    const text = `${textOf(path)} is not in step with MFS, ${files} names wait, and is tried again`;
    return [{ error_code: CODE_OF[error.failure], text }];
  }),
];

/** Trees that are on their way, or wait for it. */
export const uploadsOwed = ({ targets }: Journal): number =>
  targets.all().filter(({ state }) => state !== 'stored' && state !== 'pinned').length;

function uploadOf(row: TargetRow, underWay: readonly UnderWay[]): UploadStatus {
  const { path, target, state, wanted, held, attempts, failure, dueS, checkedS } = row;
  const sent = underWay.find((one) => one.path === path && one.target === target)?.sent;
  return {
    ...{ path: textOf(path), target, state, wanted: rootOf(wanted) },
    ...(held === undefined ? {} : { held: rootOf(held) }),
    ...(sent === undefined ? {} : { progress: progressOf(sent) }),
    attempts,
    ...(failure === undefined ? {} : { error_code: CODE_OF[failure] }),
    ...(dueS === undefined ? {} : { due: timeOf(dueS) }),
    ...(checkedS === undefined ? {} : { checked: timeOf(checkedS) }),
  };
}

const progressOf = ({ blocks, bytes, total }: UnderWay['sent']) => ({
  ...{ blocks, bytes },
  ...(total === undefined ? {} : { blocks_total: total.blocks, bytes_total: total.bytes }),
});

const rootOf = ({ tree, snapshot }: Root): RootStatus => ({
  root_cid: cidOfBytes(tree).toString(),
  snapshot_cid: cidOfBytes(snapshot).toString(),
});

const timeOf = (s: number): string => rfc3339({ s, ns: 0 });
