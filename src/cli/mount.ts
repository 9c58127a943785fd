/** `kitfs mount`: the daemon, in the foreground or detached. */
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { OpError } from '../base/errors.ts';
import { KEEPER_WATCHDOG_S } from '../base/limits.ts';
import { keeperProgram, loadNative } from '../base/native.ts';
import {
  type Config,
  connectKeeper,
  DAEMON_NODE_OPTIONS,
  type Flags,
  type Keeper,
  leaveDirectory,
  loadConfig,
  prepareRunDirectory,
} from '../daemon/daemon.ts';
import { announce } from './announce.ts';
import {
  type Ending,
  type JsonOption,
  type PlaceOptions,
  runs,
  withExamples,
  withJson,
  withPlaces,
} from './command.ts';
import { openLog, toldBy } from './detached.ts';
import { EXIT } from './output.ts';
import { serve, serveDetached } from './serve.ts';

interface MountOptions extends PlaceOptions, JsonOption {
  readonly background?: boolean;
  readonly readOnly?: boolean;
  readonly allowOther?: boolean;
  readonly driver?: Driver;
  readonly from?: string;
  /**
   * Absent: a keeper starts the daemon, and starts it again when it dies. A path: the keeper that
   * listens there keeps for a daemon that somebody else starts. False: nobody keeps.
   */
  readonly keeper?: string | false;
  /** A descriptor on which a detached daemon says that it is ready, or why it is not. */
  readonly readyFd?: string;
}

type Driver = NonNullable<Flags['driver']>;

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
/** Where a detached daemon finds the pipe to whoever waits for it. */
const READY_FD = 4;

export function addMount(program: Command, ending: Ending): void {
  const command = program
    .command('mount')
    .description('run the daemon and mount the tree, until Ctrl-C')
    .argument('[dir]', 'where to mount; ~/kitfs when absent')
    .option('--background', 'return when the tree is mounted, and leave the daemon running')
    .option('--read-only', 'let programs on the mount only read')
    .option('--allow-other', 'let other users in (only root does so by itself)')
    .option('--no-allow-other', 'keep other users out')
    .option('--from <cid>', 'begin an empty state directory with a snapshot; also /ipns/<name>')
    .option('--keeper <socket>', 'leave the mount to the kitfs-keeper that listens there')
    .option('--no-keeper', 'run the daemon alone: when it is killed, the mount is dead');
  command.addOption(
    command
      .createOption('--driver <driver>', 'what speaks to the kernel')
      .choices(['auto', 'native', 'fuse-native'] satisfies Driver[]),
  );
  // For our own use: see `startDetached`. A daemon that a keeper starts is in kept.ts.
  command.addOption(command.createOption('--ready-fd <fd>').hideHelp());
  withJson(withPlaces(command), 'where everything is');
  withExamples(command, [
    ['kitfs mount', 'mount at ~/kitfs'],
    ['kitfs mount /srv/tree --background', 'mount there and return'],
    ['kitfs mount --from <cid>', 'the tree of a snapshot; bytes come when read'],
    ['kitfs mount --state /tmp/try/state --run /tmp/try/run /tmp/try/tree', 'a second one, apart'],
  ]);
  runs<[string | undefined], MountOptions>(command, ending, async (given, givenDir) => {
    const { state, config, run, keeper } = given;
    const socket = typeof keeper === 'string' ? keeper : undefined;
    const { dir, ...paths } = leaveDirectory({ state, config, run, keeper: socket, dir: givenDir });
    const options = { ...given, ...paths };
    const { readOnly, allowOther, driver, from } = options;
    const flags = { ...paths, mountPoint: dir, readOnly, allowOther, driver, from };
    if (typeof options.keeper === 'string' && options.background !== true) {
      const followed = await connectKeeper(options.keeper, flags);
      return serveHere(followed.config, followed.keeper, options);
    }
    const loaded = await loadConfig(flags);
    if (options.background === true) return startDetached(loaded, options, dir);
    if (options.keeper === undefined) becomeKeeper(options, dir);
    return serveHere(loaded, undefined, options);
  });
}

function serveHere(
  config: Config,
  keeper: Keeper | undefined,
  options: MountOptions,
): Promise<number> {
  const { readyFd } = options;
  return readyFd === undefined
    ? serve(config, keeper, (daemon) => announce(daemon.config, daemon.mountPoint, options))
    : serveDetached(config, keeper, Number(readyFd));
}

/** This process becomes the keeper, so that whoever started it ends both. */
function becomeKeeper(options: MountOptions, dir: string | undefined): never {
  const json = options.json === true ? ['--json'] : [];
  const [program, ...args] = keptCommand([...json, ...argumentsOf(options, dir)]);
  return loadNative().replaceProcess(program, args);
}

/** A daemon with those arguments of `kitfs mount`, started by a keeper. */
const keptCommand = (args: readonly string[], passedFd?: number): [string, ...string[]] => [
  keeperProgram(),
  ...['--watchdog', String(KEEPER_WATCHDOG_S), '--made-of', MAIN],
  ...(passedFd === undefined ? [] : ['--pass', String(passedFd)]),
  '--',
  ...daemonCommand(['--keeper-fd', '3', ...args]),
];

const daemonCommand = (args: readonly string[]): [string, ...string[]] => [
  process.execPath,
  ...process.execArgv,
  ...DAEMON_NODE_OPTIONS,
  ...[MAIN, 'mount', ...args],
];

/** Starts a daemon of its own session, and returns when it is ready or has failed. */
async function startDetached(
  config: Config,
  options: MountOptions,
  dir: string | undefined,
): Promise<number> {
  prepareRunDirectory(config.run, config.uid);
  const logPath = join(config.run, 'daemon.log');
  const log = await openLog(logPath);
  // First: a directory ends the options.
  const args = ['--ready-fd', String(READY_FD), ...argumentsOf(options, dir)];
  const [program, ...words] =
    options.keeper === undefined ? keptCommand(args, READY_FD) : daemonCommand(args);
  const child = spawn(program, words, {
    detached: true,
    // The keeper puts its conversation where nothing is.
    stdio: ['ignore', log.fd, log.fd, 'ignore', 'pipe'],
  });
  await log.close();
  const told = await toldBy(child.stdio[READY_FD] as Readable);
  child.unref();
  if (told?.error !== undefined) {
    const { failure, op, hint, details } = told.error;
    throw new OpError(failure, op, { ...(hint === undefined ? {} : { hint }), details });
  }
  if (told === undefined) {
    throw new OpError('mount-failed', 'start kitfs', {
      hint: `it ended before it was ready: see ${logPath}`,
    });
  }
  await announce(config, told.mountPoint, options);
  return EXIT.done;
}

/** @param options with absolute paths. */
function argumentsOf(options: MountOptions, dir: string | undefined): string[] {
  const { state, config, run, readOnly, allowOther, driver, keeper, from } = options;
  const places = Object.entries({ state, config, run, driver, from }).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, value],
  );
  if (readOnly === true) places.push('--read-only');
  if (keeper === false) places.push('--no-keeper');
  if (typeof keeper === 'string') places.push('--keeper', keeper);
  if (allowOther !== undefined) places.push(allowOther ? '--allow-other' : '--no-allow-other');
  return dir === undefined ? places : [...places, '--', dir];
}
