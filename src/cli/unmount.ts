/** `kitfs unmount`: ends the daemon, or removes what a dead one has left. */
import { access } from 'node:fs/promises';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { OpError } from '../base/errors.ts';
import {
  ControlClient,
  loadPlaces,
  type Places,
  realMountPlace,
  removeDeadMount,
  type Status,
} from '../daemon/daemon.ts';
import {
  type Ending,
  type JsonOption,
  type PlaceOptions,
  runs,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import { EXIT, print, printJson } from './output.ts';

/** How long a daemon is given to say what it has mounted; one that was killed is replaced sooner. */
const ANSWER_MS_MAX = 5000;

interface UnmountOptions extends PlaceOptions, JsonOption {
  readonly force?: boolean;
}

export function addUnmount(program: Command, ending: Ending): void {
  const command = program
    .command('unmount')
    .alias('umount')
    .description('flush, unmount and stop the daemon; also removes the mount of a killed one')
    .argument('[dir]', 'what is mounted there; what the daemon has mounted when absent')
    .option('--force', 'also when programs use it: they get errors from then on');
  withJson(withPlaces(command), 'what was unmounted');
  withExamples(command, [
    ['kitfs unmount', 'stop the daemon'],
    ['kitfs unmount /srv/tree', 'the same, if that is its mount point'],
  ]);
  runs<[string | undefined], UnmountOptions>(command, ending, async (options, dir) => {
    const places = await loadPlaces(options);
    const daemon = await connected(places);
    const status = daemon === undefined ? undefined : await statusOf(daemon);
    const unmounted =
      daemon === undefined || status === undefined
        ? await removed(places)
        : await stopped(daemon, status, { dir, force: options.force === true });
    if (options.json === true) printJson({ unmounted });
    else print(`unmounted ${unmounted}`);
    return EXIT.done;
  });
}

async function connected({ controlSocket }: Places): Promise<ControlClient | undefined> {
  try {
    return await ControlClient.connect(controlSocket);
  } catch (error) {
    if (error instanceof OpError && error.failure === 'not-running') return undefined;
    throw error;
  }
}

/** Undefined when nobody answers: a keeper listens, and its daemons die. The connection is closed then. */
async function statusOf(daemon: ControlClient): Promise<Status | undefined> {
  const late = AbortSignal.timeout(ANSWER_MS_MAX);
  try {
    return (await daemon.ask('status', {}, { signal: late })) as Status;
  } catch (error) {
    await daemon[Symbol.asyncDispose]();
    if (late.aborted) return undefined;
    throw error;
  }
}

/** @returns what was unmounted. */
async function stopped(
  client: ControlClient,
  { mounts }: Status,
  { dir, force }: { readonly dir: string | undefined; readonly force: boolean },
): Promise<string> {
  await using daemon = client;
  const mounted = mounts[0]?.mount_point ?? '';
  if (dir !== undefined && (await realMountPlace(resolve(dir))) !== mounted) {
    throw new OpError('not-found', `unmount ${dir}`, {
      hint: `this daemon has its tree at ${mounted}: name that, or another daemon with --run`,
    });
  }
  await daemon.ask('stop', { force });
  // The process has let go of everything when it hangs up.
  await daemon.closed;
  return mounted;
}

/** Without a daemon: the mount that one left when it was killed. */
async function removed(places: Places): Promise<string> {
  const isThere = await access(places.state).then(
    () => true,
    () => false,
  );
  const dir = isThere ? await removeDeadMount(places) : undefined;
  if (dir !== undefined) return dir;
  throw new OpError('not-running', `ask the daemon at ${places.controlSocket}`, {
    hint: 'nothing of its state directory is mounted; --run says where another one is',
  });
}
