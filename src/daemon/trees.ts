/**
 * The trees of a start: what a new state directory gets, and the tree in memory, which is as the
 * configuration says at every start because nothing in it outlives a daemon.
 */
import { rfc3339 } from '../base/clock.ts';
import { type Name, ROOT_INO, textOf } from '../base/ids.ts';
import type { Random } from '../base/random.ts';
import type { FollowState, MfsState } from '../sync/sync.ts';
import { CODE_OF } from '../tools/errors.ts';
import type { ErrorCode } from '../tools/tools.ts';
import { type Caller, type Core, type MountRequest, mount, unmount } from '../vfs/vfs.ts';
import { memoryBytesMax, type Settings } from './settings.ts';

const IPFS_POINT = '/ipfs' as Name;
const MEMORY_POINT = '/mem' as Name;
const NAMES = 'ipns' as Name;
const MFS = 'mfs' as Name;
const MFS_MODE = 0o755;
const NAMES_MODE = 0o555;
/** As /tmp: everybody may make files, and remove their own only. */
const MEMORY_MODE = 0o1777;
const IPFS_MODE = 0o755;

export interface TreesOptions {
  readonly core: Core;
  readonly settings: Settings;
  readonly random: Random;
  /** Owns the roots of the trees. */
  readonly owner: { readonly uid: number; readonly gid: number };
}

/** After `recover`. A tree that was unmounted by somebody stays unmounted. */
export function mountFirstTrees(options: TreesOptions): void {
  const { core } = options;
  const isKnown = [...core.mounts.superblocks()].some(({ kind }) => kind === 'ipfs');
  if (!isKnown) mount(core, daemonCaller(options.owner), ipfsRequest(options));
  settleMemory(options);
  mountNames(options);
  if (options.settings.mounts.mfs) mountMfs(options);
}

/** `/mfs`, unless that name is taken, or it was unmounted by somebody. It is filled when the node answers. */
function mountMfs(options: TreesOptions): void {
  const { core } = options;
  const mountPoint = `/${MFS}` as Name;
  const isKnown = [...core.mounts.superblocks()].some(
    ({ kind, options: given }) => kind === 'mfs' && given['mount_point'] === mountPoint,
  );
  const isTaken =
    core.mounts.covered(ROOT_INO, MFS) !== undefined || core.child(ROOT_INO, MFS) !== undefined;
  if (isKnown || isTaken) return;
  mount(core, daemonCaller(options.owner), {
    ...request(options, 'mfs', mountPoint),
    source: '/',
    volatile: false,
    mode: MFS_MODE,
  });
}

/** `/ipns`, also in a state directory of before there was any, unless that name is taken. */
function mountNames(options: TreesOptions): void {
  const { core } = options;
  const isKnown = [...core.mounts.superblocks()].some(
    ({ kind, source }) => kind === 'ipns' && source === '',
  );
  const isTaken =
    core.mounts.covered(ROOT_INO, NAMES) !== undefined || core.child(ROOT_INO, NAMES) !== undefined;
  if (isKnown || isTaken) return;
  mount(core, daemonCaller(options.owner), {
    ...request(options, 'ipns', `/${NAMES}` as Name),
    readOnly: true,
    volatile: false,
    mode: NAMES_MODE,
  });
}

function settleMemory(options: TreesOptions): void {
  const { core, settings, owner } = options;
  const sizeBytesMax = memoryBytesMax(settings);
  const there = core.mounts.mountAt(MEMORY_POINT);
  const isRight = there?.superblock.sizeBytesMax === sizeBytesMax && settings.memory.enabled;
  if (there?.superblock.kind === 'memory' && !isRight) {
    unmount(core, daemonCaller(owner), MEMORY_POINT);
  }
  if (!settings.memory.enabled || core.mounts.mountAt(MEMORY_POINT) !== undefined) return;
  mount(core, daemonCaller(owner), {
    ...request(options, 'memory', MEMORY_POINT),
    volatile: true,
    mode: MEMORY_MODE,
    sizeBytesMax,
  });
}

const ipfsRequest = (options: TreesOptions): MountRequest => ({
  ...request(options, 'ipfs', IPFS_POINT),
  volatile: false,
  mode: IPFS_MODE,
});

const request = ({ random, owner }: TreesOptions, kind: string, mountPoint: Name) => ({
  mountId: random.token(),
  mountPoint,
  kind,
  backend: kind,
  source: '',
  readOnly: false,
  options: {},
  ...owner,
});

/** The daemon itself, in the journal. */
const daemonCaller = (owner: { readonly uid: number; readonly gid: number }): Caller => ({
  ...owner,
  groups: [],
  checked: true,
  actor: () => ({ surface: 'daemon', ...owner, pid: process.pid }),
});

/** A tree as `status` shows it. */
export interface TreeStatus {
  readonly path: string;
  readonly kind: string;
  readonly backend: string;
  readonly read_only: boolean;
  readonly volatile: boolean;
  /** Of a copy that follows a name. */
  readonly follows?: FollowStatus;
  /** Of a tree that shows the mutable tree of the home node. */
  readonly mfs?: MfsStatus;
}

export interface MfsStatus {
  /** A directory of MFS. */
  readonly source: string;
  /** CID of what it was, there, when it was read last. */
  readonly shown?: string;
  /** When the node last answered; absent: not since the start. */
  readonly checked_at?: string;
  /** What the node does not have yet. */
  readonly waiting: { readonly files: number; readonly bytes: number };
  /** Why it is as it was. */
  readonly error?: { readonly error_code: ErrorCode; readonly text: string };
}

export interface FollowStatus {
  /** `/ipns/<name>…` */
  readonly name: string;
  /** CID of what it shows. */
  readonly shown?: string;
  readonly interval_s: number;
  /** When its name was last asked for with success; absent: not since the start. */
  readonly checked_at?: string;
  /** Why it is as it was. */
  readonly error?: { readonly error_code: ErrorCode; readonly text: string };
}

/** What the loops know of trees that are kept in step with something else. */
export interface Stepping {
  readonly followed: readonly FollowState[];
  readonly mfs: readonly MfsState[];
}

export function treesOf(core: Core, { followed, mfs }: Stepping): readonly TreeStatus[] {
  const follows = new Map(followed.map((state) => [state.mountId, followStatus(state)]));
  const shows = new Map(mfs.map((state) => [state.mountId, mfsStatus(state)]));
  return core.mounts.mounts().map(({ mountId, mountPoint, superblock }) => {
    const [follow, show] = [follows.get(mountId), shows.get(mountId)];
    return {
      path: textOf(mountPoint),
      kind: superblock.kind,
      backend: superblock.backend,
      read_only: superblock.readOnly,
      volatile: superblock.volatile,
      ...(follow === undefined ? {} : { follows: follow }),
      ...(show === undefined ? {} : { mfs: show }),
    };
  });
}

const followStatus = (state: FollowState): FollowStatus => {
  const { source, intervalS } = state;
  return { name: source, interval_s: intervalS, ...lookStatus(state) };
};

const mfsStatus = (state: MfsState): MfsStatus => {
  const { source, waiting } = state;
  return { source, waiting, ...lookStatus(state) };
};

const lookStatus = ({
  shown,
  checkedAt,
  error,
}: Pick<FollowState, 'shown' | 'checkedAt' | 'error'>) => ({
  ...(shown === undefined ? {} : { shown }),
  ...(checkedAt === undefined ? {} : { checked_at: rfc3339(checkedAt) }),
  ...(error === undefined
    ? {}
    : { error: { error_code: CODE_OF[error.failure], text: error.message } }),
});
