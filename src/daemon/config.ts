/**
 * Where everything lies and how it shall behave: flags over environment over configuration file
 * over defaults. The only file that reads the environment and files of settings.
 *
 * Invariants: all paths are absolute and normal; nothing is made, changed or even looked at here but
 * the configuration file. Whether the places can be used is for `state.ts` and `mountpoint.ts`.
 */
import { readFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { delimiter, isAbsolute, join, resolve } from 'node:path';
import { asOpError, codeOf, OpError } from '../base/errors.ts';
import type { Secret, SecretReference } from '../base/secrets.ts';
import { readSecret } from './secrets.ts';
import type { Settings } from './settings.ts';
import type { Supervision } from './systemd.ts';

/** What the process was given, apart from its arguments. */
export interface Environment {
  readonly variables: Readonly<Record<string, string | undefined>>;
  readonly uid: number;
  readonly pid: number;
  readonly home: string;
  /** Relative paths of flags and variables start here; it is asked for when there is one. */
  readonly directory: string;
}

const hostEnvironment = (): Environment => ({
  variables: process.env,
  uid: process.getuid?.() ?? 0,
  pid: process.pid,
  home: homedir(),
  get directory() {
    return workingDirectory();
  },
});

/** @throws OpError not-found: it was removed. */
function workingDirectory(): string {
  try {
    return process.cwd();
  } catch (error) {
    const hint = 'it was removed: name absolute paths';
    throw new OpError('not-found', 'start at the working directory', { cause: error, hint });
  }
}

/** What the command line said. */
export interface Flags {
  readonly state?: string | undefined;
  readonly config?: string | undefined;
  readonly run?: string | undefined;
  readonly mountPoint?: string | undefined;
  readonly readOnly?: boolean | undefined;
  readonly allowOther?: boolean | undefined;
  readonly driver?: Settings['mount']['driver'] | undefined;
  /** What an empty state directory begins with; see `first-tree.ts`. */
  readonly from?: string | undefined;
}

/** What can be chosen of it. */
export interface PlaceNames {
  readonly state: string;
  readonly run: string;
  readonly mountPoint: string;
}

/** Where everything lies. */
export interface Places extends PlaceNames {
  readonly uid: number;
  /** Whether commands find it without being told. */
  readonly isDefaultRun: boolean;
  /** The file that was read; undefined when there is none at the default place. */
  readonly file: string | undefined;
  readonly controlSocket: string;
  readonly mcpSocket: string;
  /** Where only tools that change nothing are listed and run. */
  readonly mcpReadOnlySocket: string;
  /** @throws OpError configuration: see `readSecret`. */
  readonly secretOf: (reference: SecretReference) => Secret;
  /** The folders of PATH, where programs are looked for. */
  readonly programFolders: readonly string[];
}

export interface Config extends Places {
  readonly settings: Settings;
  /** What an empty state directory begins with. */
  readonly from: string | undefined;
  /** What `settings` were made of. */
  readonly said: LastGood;
  /** Why that is not what the file says now; undefined: it is. */
  readonly fault: OpError | undefined;
  /** Which places are not the ones that were said, but those of the mount that is gone on with. */
  readonly unheeded: readonly (keyof PlaceNames)[];
  /** Who started the daemon and wants to hear of it; undefined: nobody. */
  readonly supervision: Supervision | undefined;
}

/** What the configuration file said at a start that went well, or that there was none. */
export interface LastGood {
  readonly file?: string | undefined;
  readonly text?: string | undefined;
}

/** `sun_path` of unix(7), without its NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/**
 * Everything the daemon needs to know. With `lastGood` it goes on with that where the file cannot be
 * used: a mount that lives is worth more than to hear of a mistake.
 * @throws OpError configuration: the file cannot be used, or a socket's path would be too long.
 */
export async function loadConfig(
  flags: Flags,
  environment: Environment = hostEnvironment(),
  lastGood?: LastGood,
): Promise<Config> {
  try {
    const said = await readSaid(flags, environment);
    const config = await configOf(flags, environment, said);
    // What did not change is gone on with, though something that it names may have gone.
    if (lastGood !== undefined && !isSame(said, lastGood)) await demandUsable(config);
    return config;
  } catch (error) {
    const isFault = error instanceof OpError && error.failure === 'configuration';
    if (!isFault || lastGood === undefined) throw error;
    return { ...(await configOf(flags, environment, lastGood)), fault: error };
  }
}

const isSame = (one: LastGood, other: LastGood): boolean =>
  one.file === other.file && one.text === other.text;

/** What a start would find out when it has the mount already. @throws OpError configuration. */
async function demandUsable({ settings, uid, secretOf }: Config): Promise<void> {
  const { demandUsable: demand } = await import('./access.ts');
  const { TOOL_NAMES } = await import('./toolbox.ts');
  demand(settings.access, uid, { read: secretOf, tools: TOOL_NAMES });
}

async function configOf(flags: Flags, environment: Environment, said: LastGood): Promise<Config> {
  const settings = await settingsOf(said);
  const { defaultSettings } = await import('./settings.ts');
  return {
    ...placesOf(flags, environment, said.file, settings),
    settings: withFlags(settings ?? defaultSettings(), flags),
    supervision: supervisionOf(environment),
    from: flags.from,
    said,
    fault: undefined,
    unheeded: [],
  };
}

/** The same at other places: those of a mount that is there. */
export function movedTo(config: Config, places: PlaceNames): Config {
  const { state, run, mountPoint } = places;
  const names = ['state', 'run', 'mountPoint'] as const;
  return {
    ...config,
    ...{ state, run, mountPoint },
    ...socketsIn(run),
    isDefaultRun: config.isDefaultRun && run === config.run,
    unheeded: names.filter((name) => places[name] !== config[name]),
  };
}

/**
 * What a short command needs, with nothing heavy loaded unless there is a file to be read.
 * @throws as `loadConfig`.
 */
export async function loadPlaces(
  flags: Flags,
  environment: Environment = hostEnvironment(),
): Promise<Places> {
  const said = await readSaid(flags, environment);
  return placesOf(flags, environment, said.file, await settingsOf(said));
}

function placesOf(
  flags: Flags,
  environment: Environment,
  file: string | undefined,
  settings: Settings | undefined,
): Places {
  const choose = chooser(environment);
  const state = choose(flags.state, 'KITFS_STATE', settings?.state, defaultState);
  const run = choose(flags.run, 'KITFS_RUN', settings?.run, defaultRun);
  const mountPoint = choose(flags.mountPoint, 'KITFS_MOUNT', settings?.mount_point, ({ home }) =>
    join(home, 'kitfs'),
  );
  const places: Places = {
    uid: environment.uid,
    state,
    run,
    isDefaultRun: run === defaultRun(environment),
    mountPoint,
    file,
    ...socketsIn(run),
    secretOf: (reference) => readSecret(reference, environment),
    programFolders: (environment.variables['PATH'] ?? '').split(delimiter).filter(isAbsolute),
  };
  demandShortSockets(places);
  return places;
}

const socketsIn = (run: string) => ({
  controlSocket: join(run, 'control.sock'),
  mcpSocket: join(run, 'mcp.sock'),
  mcpReadOnlySocket: join(run, 'mcp-ro.sock'),
});

async function readSaid(flags: Flags, environment: Environment): Promise<LastGood> {
  const named = flags.config ?? nonEmpty(environment.variables['KITFS_CONFIG']);
  const path = absolute(named ?? defaultFile(environment), environment);
  const text = await readText(path, named !== undefined);
  return text === undefined ? {} : { file: path, text };
}

async function settingsOf({ file, text }: LastGood): Promise<Settings | undefined> {
  if (file === undefined || text === undefined) return undefined;
  // Loaded here, because the schema is heavy.
  const { parseSettings } = await import('./settings.ts');
  return parseSettings(text, file);
}

/**
 * undefined: there is no such file. Whoever names one (`isNamed`) means that it is there: without it
 * everybody might get in whom it keeps out.
 */
async function readText(path: string, isNamed: boolean): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT' && !isNamed) return undefined;
    const { failure } = asOpError(error, 'read');
    throw new OpError('configuration', `read the configuration ${path}`, {
      cause: error,
      hint: failure === 'not-found' ? 'there is no such file' : `it cannot be read: ${failure}`,
    });
  }
}

function chooser(environment: Environment) {
  const { variables } = environment;
  return (
    flag: string | undefined,
    variable: PlaceVariable,
    setting: string | undefined,
    otherwise: (environment: Environment) => string,
  ): string =>
    absolute(
      nonEmpty(flag) ?? nonEmpty(variables[variable]) ?? setting ?? otherwise(environment),
      environment,
    );
}

const absolute = (path: string, environment: Pick<Environment, 'directory'>): string =>
  isAbsolute(path) ? resolve(path) : resolve(environment.directory, path);

/** Those with paths in them. */
const PLACE_VARIABLES = ['KITFS_STATE', 'KITFS_CONFIG', 'KITFS_RUN', 'KITFS_MOUNT'] as const;
type PlaceVariable = (typeof PLACE_VARIABLES)[number];

/**
 * Goes to `/`, because a daemon and its keeper outlive the directory where they were started: it may
 * be removed, or lie on what is to be unmounted. The variables mean the same places afterwards.
 * @returns the paths, of a command line, that are there, as absolute ones.
 * @throws OpError not-found: one starts at the working directory, and that was removed.
 */
export function leaveDirectory<Name extends string>(
  paths: Readonly<Record<Name, string | undefined>>,
): Partial<Record<Name, string>> {
  const environment = hostEnvironment();
  const absolutes: Partial<Record<Name, string>> = {};
  for (const name of Object.keys(paths) as Name[]) {
    const path = nonEmpty(paths[name]);
    if (path !== undefined) absolutes[name] = absolute(path, environment);
  }
  for (const name of PLACE_VARIABLES) {
    const path = nonEmpty(environment.variables[name]);
    if (path !== undefined) process.env[name] = absolute(path, environment);
  }
  process.chdir('/');
  return absolutes;
}

const nonEmpty = (text: string | undefined): string | undefined => (text === '' ? undefined : text);

/** A relative path in an XDG variable is to be ignored (XDG Base Directory Specification). */
function xdg({ variables }: Environment, name: string): string | undefined {
  const path = variables[name];
  return path !== undefined && isAbsolute(path) ? path : undefined;
}

function defaultState(environment: Environment): string {
  if (environment.uid === 0) return '/var/lib/kitfs';
  return join(
    xdg(environment, 'XDG_STATE_HOME') ?? join(environment.home, '.local/state'),
    'kitfs',
  );
}

function defaultRun(environment: Environment): string {
  if (environment.uid === 0) return '/run/kitfs';
  const folder = xdg(environment, 'XDG_RUNTIME_DIR');
  return folder === undefined ? `/tmp/kitfs-${environment.uid}` : join(folder, 'kitfs');
}

function defaultFile(environment: Environment): string {
  if (environment.uid === 0) return '/etc/kitfs/config.toml';
  return join(configFolder(environment), 'kitfs/config.toml');
}

const configFolder = (environment: Environment): string =>
  xdg(environment, 'XDG_CONFIG_HOME') ?? join(environment.home, '.config');

/** Where a user's systemd looks for units of the user: systemd.unit(5). */
export const userUnitFolder = (environment: Environment = hostEnvironment()): string =>
  join(configFolder(environment), 'systemd/user');

/** What a manager of services said: sd_notify(3), sd_watchdog_enabled(3). */
function supervisionOf({ variables, pid }: Environment): Supervision | undefined {
  const socket = nonEmpty(variables['NOTIFY_SOCKET']);
  if (socket === undefined) return undefined;
  const watchdogMs = Number(variables['WATCHDOG_USEC']) / 1000;
  // Without a number it is meant for whoever reads it.
  const isOurs = Number(variables['WATCHDOG_PID'] ?? pid) === pid;
  return { socket, watchdogMs: isOurs && watchdogMs > 0 ? watchdogMs : undefined };
}

function withFlags(settings: Settings, flags: Flags): Settings {
  const { readOnly, allowOther, driver } = flags;
  const mount = {
    ...settings.mount,
    ...(readOnly === undefined ? {} : { read_only: readOnly }),
    ...(allowOther === undefined ? {} : { allow_other: allowOther }),
    ...(driver === undefined ? {} : { driver }),
  };
  return { ...settings, mount };
}

function demandShortSockets({ controlSocket, run }: Places): void {
  const excess = Buffer.byteLength(controlSocket) - SOCKET_PATH_BYTES_MAX;
  if (excess <= 0) return;
  throw new OpError('configuration', `use the run directory ${run}`, {
    hint: `its path is ${excess} bytes too long for a socket: choose a shorter one with --run`,
  });
}
