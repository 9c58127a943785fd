/** `kitfs wait`: until a file is as safe as it shall be. */
import type { Command } from 'commander';
import { SystemClock } from '../base/clock.ts';
import { OpError } from '../base/errors.ts';
import { isAtLeast, isRung, RUNGS, type Rung } from '../base/rungs.ts';
import type { ControlClient } from '../daemon/daemon.ts';
import { callTool } from './call.ts';
import {
  type Ending,
  interruptible,
  type JsonOption,
  type PlaceOptions,
  runs,
  withDaemon,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import { complainOf, EXIT, ProgressLine, print, printJson, UsageError } from './output.ts';
import { treePath } from './tree-path.ts';

interface WaitOptions extends PlaceOptions, JsonOption {
  readonly until: string;
  readonly timeout?: string;
}

/** Between two looks. */
const LOOK_MS = 200;
const MS_PER_S = 1000;

/** Of what vfs_stat says. */
interface Safety {
  readonly state: Rung;
  readonly have: number;
  readonly want: number;
  readonly replicas: readonly {
    readonly backend: string;
    readonly state: string;
    readonly error_code?: string;
  }[];
}

interface Looked {
  readonly type: string;
  readonly inode: number;
  readonly durability: Safety;
}

interface Reach {
  /** Why it will not be, however long one waits. */
  readonly hindrance?: string;
}

export function addWait(program: Command, ending: Ending): void {
  const command = program
    .command('wait')
    .description('wait until a file, or all that is in a directory, is as safe as it shall be')
    .argument('<path>', 'in the tree, or of this host below the mount point')
    .option('--until <rung>', `one of ${RUNGS.join(', ')}`, 'stored')
    .option('--timeout <seconds>', 'give up after so long');
  withJson(withPlaces(command), 'how safe it is');
  withExamples(command, [
    ['kitfs wait --until pinned /ipfs/thesis.pdf', 'before the laptop is closed'],
    ['kitfs wait --until stored --timeout 60 /ipfs', 'all of a tree, for a minute at most'],
  ]);
  runs<[string], WaitOptions>(command, ending, (options, path) => {
    const { until } = options;
    if (!isRung(until)) throw new UsageError(`--until is one of ${RUNGS.join(', ')}`);
    const ms = timeoutMsOf(options);
    return withDaemon(options, (daemon) => waitUntil(daemon, path, until, { ...options, ms }));
  });
}

function timeoutMsOf({ timeout }: WaitOptions): number | undefined {
  if (timeout === undefined) return undefined;
  const seconds = Number(timeout);
  if (timeout === '' || !(seconds >= 0)) throw new UsageError('--timeout is a number of seconds');
  return seconds * MS_PER_S;
}

async function waitUntil(
  daemon: ControlClient,
  path: string,
  until: Rung,
  { json, ms = Number.POSITIVE_INFINITY }: JsonOption & { readonly ms: number | undefined },
): Promise<number> {
  using line = new ProgressLine();
  const signal = interruptible();
  const clock = new SystemClock();
  const asked = { path: await treePath(daemon, path) };
  const lastMs = clock.monotonicMs() + ms;
  for (;;) {
    const envelope = await callTool(daemon, 'vfs_stat', asked, signal);
    if (envelope.status === 'error') {
      if (json === true) printJson(envelope);
      else complainOf(envelope);
      return EXIT.failed;
    }
    const { type, inode, durability } = envelope.data as unknown as Looked;
    if (type === 'directory' && !isAtLeast(until, 'stored')) {
      throw new UsageError(`a directory is asked of stores only: --until is no ${until} of one`);
    }
    const { state } = durability;
    if (isAtLeast(state, until)) {
      line[Symbol.dispose]();
      if (json === true) printJson({ ...asked, durability });
      else print(`${asked.path}  ${state}`);
      return EXIT.done;
    }
    const asking = { inode, rung: until };
    const { hindrance } = (await daemon.ask('reach', asking, { signal })) as Reach;
    if (hindrance !== undefined) {
      const op = `wait until ${asked.path} is ${until}`;
      throw new OpError('unsupported', op, { hint: hindrance });
    }
    if (clock.monotonicMs() >= lastMs) {
      const hint = `it is ${textOf(durability)}`;
      throw new OpError('timeout', `wait until ${asked.path} is ${until}`, { hint });
    }
    line.show(`${asked.path}: ${textOf(durability)}`);
    await clock.sleep(LOOK_MS, signal);
  }
}

function textOf({ state, have, want, replicas }: Safety): string {
  const stores = replicas.map(({ backend, state: there, error_code: code }) =>
    [backend, there, ...(code === undefined ? [] : [code])].join(' '),
  );
  return [state, `${have} of ${want} stores`, ...stores].join(', ');
}
