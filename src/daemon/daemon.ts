/**
 * The face of the module: what the command line needs of it. Importing it loads nothing heavy; what
 * serves is loaded when it is started.
 */

import { dirname } from 'node:path';
import { SystemClock } from '../base/clock.ts';
import type { OpError } from '../base/errors.ts';
import { loadNative } from '../base/native.ts';
import { type Config, type Flags, loadConfig, type Places } from './config.ts';
import { takeEnd } from './ended.ts';
import type { FsckOptions } from './fsck.ts';
import type { FsckReport } from './fsck-report.ts';
import { firstWord, Keeper, keeperAt } from './keeper.ts';
import { takeConfig } from './kept-config.ts';
import { atKeptPlaces } from './kept-places.ts';
import type { Daemon, DaemonOptions } from './serve.ts';

export {
  type Config,
  type Flags,
  leaveDirectory,
  loadConfig,
  loadPlaces,
  type Places,
  userUnitFolder,
} from './config.ts';
export { ControlClient } from './control-client.ts';
export { HANDED_OVER_STATUS } from './ended.ts';
export type { FsckFinding, FsckReport } from './fsck-report.ts';
export { DAEMON_NODE_OPTIONS } from './heap.ts';
export { checkHost, type HostCheck, programAt } from './host.ts';
export type { Keeper } from './keeper.ts';
export { realMountPlace } from './mountpoint.ts';
export { prepareRunDirectory } from './run-directory.ts';
export type { Daemon } from './serve.ts';
export type {
  Compared,
  ListedDifference,
  ListedSnapshot,
  ShownSnapshot,
  SnapshotList,
} from './snapshots.ts';
export type { Status } from './status.ts';
export type { FollowStatus, MfsStatus } from './trees.ts';
export { packageVersion } from './version.ts';

/**
 * Resolves when the tree is mounted and the sockets answer.
 * @throws OpError what keeps it from starting; nothing is left behind then.
 */
export async function startDaemon(config: Config, options: DaemonOptions): Promise<Daemon> {
  const serve = await import('./serve.ts');
  return serve.Daemon.start(config, options);
}

/**
 * Meets the keeper at the other end of the descriptor that it gave this process, once it needs this
 * daemon: one that is started before its time loads meanwhile what it is made of.
 * @returns undefined: it has ended, and needed none. @throws OpError timeout, io: that is no keeper.
 */
export async function meetKeeper(fd: number): Promise<Keeper | undefined> {
  const native = loadNative();
  const loadTables = async () => (await import('../journal/journal.ts')).loadEngine();
  const loadCore = () => import('./serve.ts');
  // What only agents need: a daemon that is needed before has it later, beside what it serves.
  const loadFaces = () => import('./faces.ts');
  const loadProtocol = async () => (await loadFaces()).prepareFaces();
  const steps = [loadTables, loadCore, loadFaces, loadProtocol];
  const hello = await firstWord(fd, native, steps);
  return hello === undefined
    ? undefined
    : new Keeper({ fd, native, clock: new SystemClock(), hello });
}

/** A daemon that goes on with a mount, and how it shall behave. */
interface Following {
  readonly keeper: Keeper;
  readonly config: Config;
}

/**
 * Meets the keeper that listens at `socket`, and keeps for daemons that somebody else starts, who may
 * have left word of the last one's end beside it.
 * @throws OpError not-running: none listens; busy: it has a daemon; timeout, io; as `loadConfig`.
 */
export async function connectKeeper(socket: string, flags: Flags): Promise<Following> {
  const native = loadNative();
  const keeper = new Keeper({ fd: keeperAt(socket, native), native, clock: new SystemClock() });
  const config = await loadKeptConfig(flags, keeper);
  keeper.learn(takeEnd(dirname(socket)));
  return { keeper, config };
}

/**
 * As `loadConfig`, for a daemon that may have a mount to go on with, whatever the file says now.
 * @throws OpError not-found: the state directory of the mount is gone.
 */
export const loadKeptConfig = async (flags: Flags, keeper: Keeper): Promise<Config> =>
  atKeptPlaces(await loadConfig(flags, undefined, takeConfig(keeper)), keeper);

/** Checks journal, namespace and bytes, and repairs them. @throws OpError as `fsck`. */
export async function checkState(options: FsckOptions): Promise<FsckReport> {
  const { fsck } = await import('./fsck.ts');
  return fsck(options);
}

/**
 * Removes the mount that a killed daemon of this state directory left, and ends the keeper that
 * would start it again.
 * @returns where it was; undefined: there was none.
 * @throws OpError busy: the daemon lives; timeout: its keeper does not end; mount-failed.
 */
export async function removeDeadMount(places: Places): Promise<string | undefined> {
  const { endKeeper } = await import('./keeper-process.ts');
  const { openState, statePaths } = await import('./state.ts');
  const { clearDeadMount } = await import('./mountpoint.ts');
  const [native, clock] = [loadNative(), new SystemClock()];
  const kept = await endKeeper(statePaths(places.state).keeper, clock);
  using state = openState(places.state, native);
  const options = { dir: places.mountPoint, recordPath: state.mounted, native, clock };
  return (await clearDeadMount(options)) ?? kept;
}

/** The envelope that tells an error of the command line itself. */
export async function errorEnvelopeOf(error: OpError): Promise<unknown> {
  const { errorEnvelope } = await import('../tools/tools.ts');
  const { SystemRandom } = await import('../base/random.ts');
  return errorEnvelope(error, new SystemRandom().token());
}
