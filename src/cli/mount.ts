/** `kitfs mount`: the daemon, in the foreground or detached. */
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { asOpError, OpError } from '../base/errors.ts';
import { KEEPER_WATCHDOG_S } from '../base/limits.ts';
import { keeperProgram, loadNative } from '../base/native.ts';
import {
  type Config,
  connectKeeper,
  type Daemon,
  type Flags,
  HANDED_OVER_STATUS,
  type Keeper,
  loadConfig,
  meetKeeper,
  packageVersion,
  prepareRunDirectory,
  programAt,
  startDaemon,
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
import { openLog, type Told, toldBy } from './detached.ts';
import { leave } from './leave.ts';
import { complain, EXIT, print, printJson, report, sentenceOf } from './output.ts';

interface MountOptions extends PlaceOptions, JsonOption {
  readonly background?: boolean;
  readonly readOnly?: boolean;
  readonly allowOther?: boolean;
  readonly driver?: Driver;
  /**
   * Absent: a keeper starts the daemon, and starts it again when it dies. A path: the keeper that
   * listens there keeps for a daemon that somebody else starts. False: nobody keeps.
   */
  readonly keeper?: string | false;
  /** The descriptor on which a keeper that started us talks to us. */
  readonly keeperFd?: string;
  /** A descriptor on which a detached daemon says that it is ready, or why it is not. */
  readonly readyFd?: string;
}

type Driver = NonNullable<Flags['driver']>;

const MAIN = fileURLToPath(new URL('./main.js', import.meta.url));
const PACKAGE = fileURLToPath(new URL('../../..', import.meta.url));
/** Where a detached daemon finds the pipe to whoever waits for it. */
const READY_FD = 4;
/** Signals this close together are one: Ctrl-C reaches us from the terminal and from npm. */
const SAME_SIGNAL_MS = 500;

export function addMount(program: Command, ending: Ending): void {
  const command = program
    .command('mount')
    .description('run the daemon and mount the tree, until Ctrl-C')
    .argument('[dir]', 'where to mount; ~/kitfs when absent')
    .option('--background', 'return when the tree is mounted, and leave the daemon running')
    .option('--read-only', 'let programs on the mount only read')
    .option('--allow-other', 'let other users in (only root does so by itself)')
    .option('--no-allow-other', 'keep other users out')
    .option('--keeper <socket>', 'leave the mount to the kitfs-keeper that listens there')
    .option('--no-keeper', 'run the daemon alone: when it is killed, the mount is dead');
  command.addOption(
    command
      .createOption('--driver <driver>', 'what speaks to the kernel')
      .choices(['auto', 'native', 'fuse-native'] satisfies Driver[]),
  );
  // For our own use: see `daemonArguments`.
  command.addOption(command.createOption('--keeper-fd <fd>').hideHelp());
  command.addOption(command.createOption('--ready-fd <fd>').hideHelp());
  withJson(withPlaces(command), 'where everything is');
  withExamples(command, [
    ['kitfs mount', 'mount at ~/kitfs'],
    ['kitfs mount /srv/tree --background', 'mount there and return'],
    ['kitfs mount --state /tmp/try/state --run /tmp/try/run /tmp/try/tree', 'a second one, apart'],
  ]);
  runs<[string | undefined], MountOptions>(command, ending, async (options, dir) => {
    const { state, config, run, readOnly, allowOther, driver } = options;
    const places = { state, config, run, mountPoint: dir };
    const loaded = await loadConfig({ ...places, readOnly, allowOther, driver });
    if (options.background === true) return startDetached(loaded, options, dir);
    const { keeperFd, readyFd } = options;
    const isStarted = keeperFd !== undefined || readyFd !== undefined;
    if (options.keeper === undefined && !isStarted) becomeKeeper(options, dir);
    const keeper = keeperOf(options, loaded);
    return readyFd === undefined
      ? serve(loaded, keeper, (daemon) => announce(daemon.config, daemon.mountPoint, options))
      : serveDetached(loaded, keeper, Number(readyFd));
  });
}

function keeperOf({ keeper, keeperFd }: MountOptions, config: Config): Keeper | undefined {
  if (keeperFd !== undefined) return meetKeeper(Number(keeperFd));
  return typeof keeper === 'string' ? connectKeeper(resolve(keeper), config.run) : undefined;
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
  ...['--watchdog', String(KEEPER_WATCHDOG_S)],
  ...(passedFd === undefined ? [] : ['--pass', String(passedFd)]),
  '--',
  ...daemonCommand(['--keeper-fd', '3', ...args]),
];

const daemonCommand = (args: readonly string[]): [string, ...string[]] => [
  ...([process.execPath, ...process.execArgv] as [string, ...string[]]),
  ...[MAIN, 'mount', ...args],
];

/** Runs the daemon to its end. */
async function serve(
  config: Config,
  keeper: Keeper | undefined,
  onReady: (daemon: Daemon) => Promise<void>,
): Promise<number> {
  const stop = new Stop(keeper);
  const isTerminal = process.stderr.isTTY === true;
  const daemon = await startDaemon(config, { isTerminal, keeper });
  stop.attach(daemon);
  // Whoever waited for the first daemon has been told.
  const isFirst = keeper === undefined || keeper.generation === 1;
  // A manager of services is told by other means, and tries nothing in another terminal.
  const isWaitedFor = isFirst && config.supervision === undefined;
  if (isWaitedFor && !stop.isAsked) await onReady(daemon);
  const { why, troubles } = await daemon.ended;
  print(`kitfs: unmounted ${config.mountPoint}`);
  if (why === 'unmounted') complain('somebody else unmounted the tree, so the daemon has stopped');
  if (why === 'broken') complain('the kernel ended the connection, so the daemon has stopped');
  for (const trouble of troubles) complain(`while stopping: ${trouble} failed`);
  return why === 'broken' || troubles.length > 0 ? EXIT.failed : EXIT.done;
}

/** What Ctrl-C and systemd do: the first signal stops, the second hurries, the third ends. */
class Stop {
  #daemon: Daemon | undefined;
  readonly #keeper: Keeper | undefined;
  #count = 0;
  #atMs = Number.NEGATIVE_INFINITY;

  constructor(keeper: Keeper | undefined) {
    this.#keeper = keeper;
    for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      process.on(name, () => this.#signalled());
    }
    process.on('SIGUSR2', () => this.#handOver());
  }

  get isAsked(): boolean {
    return this.#count > 0;
  }

  attach(daemon: Daemon): void {
    this.#daemon = daemon;
    if (this.isAsked) this.#stop(daemon);
  }

  #signalled(): void {
    const nowMs = process.uptime() * 1000;
    if (nowMs - this.#atMs < SAME_SIGNAL_MS) return;
    this.#atMs = nowMs;
    this.#count += 1;
    if (this.#count === 1 && this.#daemon !== undefined) this.#stop(this.#daemon);
    if (this.#count === 2) this.#daemon?.hurry();
    if (this.#count <= 2) return;
    this.#keeper?.done();
    leave(EXIT.failed);
  }

  /**
   * What `systemctl restart` does: ends between two turns of the event loop, when all that was
   * answered is in the journal, and leaves the mount to the next daemon. That one takes over as it
   * would after a crash; there is no second way that could be wrong by itself.
   */
  #handOver(): void {
    if (this.#keeper?.isAlive !== true) {
      this.#signalled();
      return;
    }
    this.#daemon?.log.info({}, 'leaves the mount to the next daemon');
    leave(HANDED_OVER_STATUS);
  }

  #stop(daemon: Daemon): void {
    const onBusy = ({ details, failure }: OpError) => {
      const why = details['users'] ?? failure;
      complain(`the mount is in use by ${why}: it is taken away all the same`);
    };
    // What goes wrong is in the daemon's end.
    daemon.stop({ force: true, onBusy }).catch((error: unknown) => {
      complain(sentenceOf(asOpError(error, 'stop')));
    });
  }
}

/** In the detached process: tells who waits, on `fd`. */
async function serveDetached(
  config: Config,
  keeper: Keeper | undefined,
  fd: number,
): Promise<number> {
  const tell = (told: Told) => void createWriteStream('', { fd }).end(JSON.stringify(told));
  let isTold = false;
  try {
    return await serve(config, keeper, async ({ mountPoint }) => {
      isTold = true;
      tell({ mountPoint });
    });
  } catch (error) {
    // The pipe is gone with the first daemon of a keeper.
    if (isTold || (keeper !== undefined && keeper.generation > 1)) throw error;
    const { failure, op, hint, details } = asOpError(error, 'start kitfs');
    tell({ error: { failure, op, hint, details } });
    return report(error, false);
  }
}

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

function argumentsOf(options: MountOptions, dir: string | undefined): string[] {
  const { state, config, run, readOnly, allowOther, driver, keeper } = options;
  const places = Object.entries({ state, config, run, driver }).flatMap(([name, value]) =>
    value === undefined ? [] : [`--${name}`, value],
  );
  if (readOnly === true) places.push('--read-only');
  if (typeof keeper === 'string') places.push('--keeper', resolve(keeper));
  if (allowOther !== undefined) places.push(allowOther ? '--allow-other' : '--no-allow-other');
  return dir === undefined ? places : [...places, '--', dir];
}

/** The last lines of a start: that it works, and what to do with it. */
async function announce(
  config: Config,
  mountPoint: string | undefined,
  options: MountOptions,
): Promise<void> {
  const dir = mountPoint ?? config.mountPoint;
  const { state, run, mcpSocket, controlSocket } = config;
  if (options.json === true) {
    const sockets = { mcp_socket: mcpSocket, control_socket: controlSocket };
    printJson({ version: packageVersion(), mount_point: dir, state, run, ...sockets });
    return;
  }
  const kitfs = await ownName(config);
  const runOption = options.run === undefined ? '' : ` --run ${shellWord(run)}`;
  const file = join(dir, 'ipfs/hello.txt');
  const shown = shellWord(file);
  const getfattr = await programAt('getfattr', config.programFolders);
  const stat = `${kitfs} call vfs_stat '{"path":"/ipfs/hello.txt"}'${runOption}`;
  print(`kitfs ${packageVersion()} is mounted at ${dir}`);
  print(`Agents reach it at ${mcpSocket} (or through: ${kitfs} mcp${runOption})`);
  print('');
  print('Three things to try in another terminal:');
  print(`  echo hello > ${shown}`);
  print(`  ${kitfs} log /ipfs/hello.txt${runOption}`);
  print(`  ${getfattr === undefined ? stat : `getfattr -n user.ipfs.cid ${shown}`}`);
  print('');
  if (kitfs !== 'kitfs') print(`\`npm link\` in ${PACKAGE} makes that just \`kitfs\`.`);
  const stop = `${kitfs} unmount${runOption}`;
  print(options.background === true ? `\`${stop}\` unmounts.` : 'Ctrl-C unmounts.');
}

/** How this command is called from where the user is. */
async function ownName({ programFolders }: Config): Promise<string> {
  if ((await programAt('kitfs', programFolders)) !== undefined) return 'kitfs';
  const near = relative(process.cwd(), MAIN);
  return `node ${shellWord(near.startsWith('..') ? MAIN : near)}`;
}

/** Quoted when a shell would take it apart. */
const shellWord = (text: string): string =>
  /^[\w@%+=:,./~-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
