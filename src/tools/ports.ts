/** What tools reach for. `daemon` hands in the real things; a test hands in others. */
import type { Clock, Instant } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Holding, Sealer } from '../content/content.ts';
import type { Vfs } from '../vfs/vfs.ts';
import type { Backends } from './backends.ts';
import type { Cursors } from './cursors.ts';
import type { Jobs } from './jobs.ts';
import type { KeptJobs } from './kept-jobs.ts';
import type { LockTable } from './locks.ts';
import type { IpfsPorts } from './ports-ipfs.ts';
import type { KeptCalls } from './repeats.ts';

export interface Ports extends IpfsPorts {
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly cursors: Cursors;
  readonly jobs: Jobs;
  readonly keptCalls: KeptCalls;
  readonly keptJobs: KeptJobs;
  readonly mount: MountView;
  /** The tree. */
  readonly vfs: Vfs;
  /** Gives content its CID when it is asked for. */
  readonly sealer: Pick<Sealer, 'seal' | 'sealTogether'>;
  /** Counts who stores blocks. */
  readonly holding: Pick<Holding, 'during'>;
  /** Locks that programs hold through the mount. */
  readonly locks: LockTable;
  /** Stores outside, by name. */
  readonly backends: Backends;
  readonly daemon: DaemonView;
}

export interface MountView {
  /** Host path of a path of the tree; undefined while the mount is down. */
  localPath(path: string): string | undefined;
}

/** The daemon as `system_health` tells of it. */
export interface DaemonView {
  readonly version: string;
  readonly startedAt: Instant;
  state(): 'running' | 'recovering' | 'draining';
  /** What does not work as it should, each with the code that tools answer because of it. */
  troubles(): readonly { readonly errorCode: string; readonly text: string }[];
  /** Records up to this number were verified against their hashes; 0: none yet. */
  verifiedSeq(): number;
  /** Content on its way to backends. */
  uploads(): number;
  /** Errors answered on any face in the last hour, by code. */
  errorsLastHour(): Readonly<Record<string, number>>;
}
