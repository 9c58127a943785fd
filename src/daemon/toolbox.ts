/** The tools of a daemon: the registry, and the real things behind its ports. */
import { join } from 'node:path';
import type { Clock } from '../base/clock.ts';
import type { Log } from '../base/log.ts';
import type { Random } from '../base/random.ts';
import type { Redactor } from '../base/redaction.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import type { Space } from '../sync/sync.ts';
import { COMMANDS, TOOLS } from '../tools/inventory.ts';
import { KernelLocks } from '../tools/locks.ts';
import {
  Backends,
  Cursors,
  Jobs,
  JournaledCalls,
  JournaledJobs,
  type Ports,
  Registry,
} from '../tools/tools.ts';
import type { CoreParts } from './core.ts';
import { type Phase, troublesOf } from './health.ts';
import { ipfsPorts } from './ipfs-ports.ts';
import { LocalRoots } from './local-roots.ts';
import type { ConfiguredNodes } from './nodes.ts';
import { diskSpaceAt } from './room.ts';
import type { Settings } from './settings.ts';
import { openSpace } from './space.ts';
import type { StateDirectory } from './state.ts';
import type { StatusSources } from './status.ts';
import { type Syncing, syncTroublesOf, uploadsOwed } from './status-sync.ts';
import type { Stepping } from './trees.ts';

export interface ToolInputs {
  readonly core: CoreParts;
  readonly clock: Clock;
  readonly random: Random;
  readonly log: Log;
  readonly sources: StatusSources;
  readonly mountPoint: () => string | undefined;
  readonly redactor: Redactor;
  readonly nodes: ConfiguredNodes;
  readonly state: Pick<StateDirectory, 'directory' | 'keys' | 'content'>;
  /** Directories of the host that backends may lie in. */
  readonly local: Settings['local'];
  /** @throws OpError configuration. */
  readonly readSecret: (reference: SecretReference) => Secret;
  readonly sync: Settings['sync'];
  readonly content: Settings['content'];
  /** Told of every call that got its answer. */
  readonly onAnswered: () => void;
}

/** All there are. */
export const TOOL_NAMES: ReadonlySet<string> = new Set(TOOLS.map(({ name }) => name));

export interface ToolParts {
  readonly registry: Registry;
  readonly jobs: Jobs;
  readonly backends: Backends;
  readonly syncing: () => Syncing;
  readonly finish: Ports['ipfs']['finish'];
  readonly hindrance: Ports['ipfs']['hindrance'];
  readonly stepping: () => Stepping;
  /** What is known of the room of files. */
  readonly space: () => Space | undefined;
}

export function openTools(inputs: ToolInputs): ToolParts {
  const { clock, random } = inputs;
  const jobs = new Jobs({ clock, random });
  const cursors = new Cursors({ clock, random });
  const ports = portsOf(inputs, jobs, cursors);
  inputs.core.vfs.core.replicas = ports.ipfs.ladder;
  const { redactor, onAnswered } = inputs;
  const registry = new Registry({ tools: TOOLS, commands: COMMANDS, ports, redactor, onAnswered });
  registry.resume();
  const { follower, ladder, mfsTrees, uploads, unpublished, finish, hindrance } = ports.ipfs;
  const mfs = () => mfsTrees.states();
  const stepping = () => ({ followed: follower.states(), mfs: mfs() });
  const syncing = () => ({
    ...{ underWay: uploads.underWay, unpublished: unpublished(), mfs: mfs() },
  });
  const contentDirectory = inputs.state.content;
  const evictor = openSpace({ ...inputs, ...inputs.nodes, ladder, contentDirectory });
  const space = () => evictor.space;
  const { backends } = ports;
  return { registry, jobs, backends, stepping, syncing, finish, hindrance, space };
}

function portsOf(inputs: ToolInputs, jobs: Jobs, cursors: Cursors): Ports {
  const { core, clock, random, log, sources, mountPoint, nodes, state, sync } = inputs;
  return {
    clock,
    random,
    log,
    cursors,
    jobs,
    keptCalls: new JournaledCalls(core.journal),
    keptJobs: new JournaledJobs(core.journal),
    vfs: core.vfs,
    sealer: core.sealer,
    holding: core.contents.holding,
    backends: backendsOf(inputs),
    ...ipfsPorts({
      ...core,
      ...nodes,
      ...{ clock, log, sync },
      keys: state.keys,
      version: sources.version,
      diskBytes: () => diskSpaceAt(state.content).sizeBytes,
      syncJournal: () => core.journalSync.sync(),
    }),
    mount: {
      localPath: (path) => {
        const dir = mountPoint();
        return dir === undefined || path === '/' ? dir : join(dir, path);
      },
    },
    locks: new KernelLocks({ mountDir: mountPoint, proc: '/proc' }),
    daemon: daemonView(sources),
  };
}

const backendsOf = ({ core, clock, random, readSecret, local, state }: ToolInputs): Backends =>
  new Backends({
    ...{ journal: core.journal, clock, random, readSecret },
    roots: new LocalRoots(local.roots, state.directory),
  });

const STATE: Readonly<Record<Phase, 'recovering' | 'running' | 'draining'>> = {
  starting: 'recovering',
  running: 'running',
  stopping: 'draining',
};

const daemonView = (sources: StatusSources) => {
  const { version, startedAt, phase, loops, errors, journal, syncing } = sources;
  return {
    version,
    startedAt,
    state: () => STATE[phase()],
    troubles: () =>
      troublesOf({
        failedLoops: loops.failures(),
        errorsLastHour: errors.lastHour(),
        syncTroubles: syncTroublesOf(journal, syncing()),
      }).map(({ error_code, text }) => ({ errorCode: error_code, text })),
    // Nothing verifies the chain while the daemon runs: that is `kitfs fsck`.
    verifiedSeq: () => 0,
    uploads: () => uploadsOwed(journal),
    errorsLastHour: () => errors.lastHour(),
  };
};
