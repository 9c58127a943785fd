/** What `kitfs status` and `/.kitfs/status.json` show: one object, made when it is asked for. */
import { type Clock, type Instant, rfc3339 } from '../base/clock.ts';
import type { ChosenStatus } from '../fuse/chosen.ts';
import type { MountStatus } from '../fuse/fuse.ts';
import type { Journal } from '../journal/journal.ts';
import type { Space } from '../sync/sync.ts';
import type { ErrorCode } from '../tools/tools.ts';
import type { Core } from '../vfs/vfs.ts';
import type { Config } from './config.ts';
import type { ErrorRing } from './errors.ts';
import { type Health, healthOf, type Phase } from './health.ts';
import type { Loops } from './loops.ts';
import { diskSpaceAt, type Reserve } from './room.ts';
import { type SpaceStatus, spaceStatusOf } from './status-space.ts';
import { type Syncing, type SyncStatus, syncStatusOf, syncTroublesOf } from './status-sync.ts';
import { type Stepping, type TreeStatus, treesOf } from './trees.ts';

export interface StatusSources {
  readonly config: Config;
  readonly version: string;
  readonly clock: Clock;
  readonly startedAt: Instant;
  readonly startedMs: number;
  readonly phase: () => Phase;
  readonly journal: Journal;
  readonly core: Core;
  readonly errors: ErrorRing;
  readonly loops: Loops;
  readonly reserve: Reserve;
  readonly syncing: () => Syncing;
  readonly space: () => Space | undefined;
  readonly arriving: () => ArrivingStatus | undefined;
  readonly driver: () => ChosenStatus;
  /** Copies that follow a name, and trees of MFS. */
  readonly stepping: () => Stepping;
  /** Connections of agents. */
  readonly connections: () => number;
  /** Process id; undefined: nobody would start this daemon again. */
  readonly keeper: () => number | undefined;
}

/** Scripts rely on `pid`, `keeper`, `mounts`, `driver`, `dirty`, `services` and `health`. */
export interface Status extends SyncStatus {
  /** Of the process that serves requests. */
  readonly pid: number;
  /** Of the process that holds the mount when that one dies; null: it would die with it. */
  readonly keeper: number | null;
  readonly version: string;
  readonly health: Health;
  readonly mounts: readonly {
    readonly mount_point: string;
    readonly read_only: boolean;
    readonly trees: readonly TreeStatus[];
  }[];
  readonly driver: string;
  /** Why it is this driver, in a sentence for people. */
  readonly driver_reason: string;
  /** Whether the kernel reads and writes files by itself; if not, why, for people. */
  readonly passthrough: { readonly in_use: boolean; readonly reason?: string };
  /** Files whose bytes have no CID yet. */
  readonly dirty: { readonly files: number; readonly bytes: number };
  /** Absent when nothing is on its way. */
  readonly arriving?: ArrivingStatus;
  /** Absent while nobody asked for a quota or a pin. */
  readonly space?: SpaceStatus;
  readonly services: readonly never[];
  readonly journal: { readonly seq: number; readonly hash: string };
  readonly kernel: {
    readonly protocol?: string;
    readonly inodes: number;
    readonly handles: number;
    readonly requests: number;
    readonly waiting: number;
  };
  readonly agents: number;
  readonly errors_last_hour: Readonly<Partial<Record<ErrorCode, number>>>;
  readonly started_at: string;
  readonly uptime_s: number;
  readonly paths: {
    readonly state: string;
    readonly run: string;
    readonly config?: string;
    readonly control_socket: string;
    readonly mcp_socket: string;
  };
}

/** A tree that is shown before all of it is there. */
export interface ArrivingStatus {
  readonly path: string;
  readonly from: string;
  /** Read so far. */
  readonly names: number;
  readonly names_total: number;
}

export function statusOf(sources: StatusSources): Status {
  const { config, version, journal, core, errors } = sources;
  const driver = sources.driver();
  const { seq, hash } = journal.head;
  return {
    pid: process.pid,
    keeper: sources.keeper() ?? null,
    version,
    health: currentHealth(sources),
    mounts: mountsOf(driver, config, treesOf(core, sources.stepping())),
    driver: driver.driver,
    driver_reason: driver.reason,
    passthrough: passthroughOf(driver),
    dirty: journal.contents.unsealed(),
    ...syncStatusOf(journal, sources.syncing()),
    ...arrivingIn(sources.arriving()),
    ...spaceStatusOf(sources.space()),
    services: [],
    journal: { seq, hash: hash.toString('hex') },
    kernel: kernelOf(driver),
    agents: sources.connections(),
    errors_last_hour: errors.lastHour(),
    started_at: rfc3339(sources.startedAt),
    uptime_s: Math.floor((sources.clock.monotonicMs() - sources.startedMs) / 1000),
    paths: {
      state: config.state,
      run: config.run,
      ...(config.file === undefined ? {} : { config: config.file }),
      control_socket: config.controlSocket,
      mcp_socket: config.mcpSocket,
    },
  };
}

const arrivingIn = (arriving: ArrivingStatus | undefined): Pick<Status, 'arriving'> =>
  arriving === undefined ? {} : { arriving };

function currentHealth(sources: StatusSources): Health {
  const { phase, loops, errors, config, journal, reserve } = sources;
  return healthOf({
    syncTroubles: syncTroublesOf(journal, sources.syncing()),
    phase: phase(),
    failedLoops: loops.failures(),
    errorsLastHour: errors.lastHour(),
    freeBytes: diskSpaceAt(config.state).freeBytes,
    journalFailure: journal.failure,
    isReserveWhole: reserve.isWhole && !journal.isShortOfRoom,
  });
}

function mountsOf(
  { mountPoint }: MountStatus,
  config: Config,
  trees: readonly TreeStatus[],
): Status['mounts'] {
  if (mountPoint === undefined) return [];
  const { read_only } = config.settings.mount;
  return [{ mount_point: mountPoint, read_only, trees }];
}

const passthroughOf = ({ noPassthrough: reason }: MountStatus): Status['passthrough'] =>
  reason === undefined ? { in_use: true } : { in_use: false, reason };

function kernelOf({ protocolMinor, inodes, handles, requests, waiting }: MountStatus) {
  const protocol = protocolMinor === undefined ? {} : { protocol: `7.${protocolMinor}` };
  return { ...protocol, inodes, handles, requests, waiting };
}
