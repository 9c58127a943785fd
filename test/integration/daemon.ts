/**
 * A built daemon on directories of its own, for tests that need the real thing: it mounts, serves its sockets, can be
 * killed, stopped and started again, and leaves nothing behind, whatever happened to it.
 *
 *     await using daemon = await TestDaemon.start();
 *     await daemon.run('git', ['init', 'repository'], { in: 'ipfs' });
 *     await daemon.crash(); // its keeper starts the next one
 *     await daemon.kill(); // and the keeper
 *     await daemon.restart();
 *
 * Invariants: this process never touches the mount, so that a mount that hangs hangs a child with a time limit, and
 * not the test; every child is the leader of a process group that `close` ends; the directory is removed only when
 * nothing is mounted in it. Children inherit the environment, and with it NODE_V8_COVERAGE.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  realpathSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createConnection } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

/** From the sources, or, when it was built with them, from `dist/`. */
const ROOT = new URL(
  import.meta.url.includes('/dist/test/') ? '../../../' : '../../',
  import.meta.url,
);
/** What is installed; where children are counted, the modules that it was made of. */
const PROGRAM = process.env['NODE_V8_COVERAGE']
  ? 'dist/src/cli/main.js'
  : 'dist/bundle/cli/main.js';
export const KITFS = fileURLToPath(new URL(PROGRAM, ROOT));

const READY_MS_MAX = 20_000;
const READY_POLL_MS = 20;
/** More than a daemon gives itself. */
const STOP_MS_MAX = 35_000;
const COMMAND_MS_MAX = 30_000;
/** How long a killed process may take to go away: it may sit in the kernel. */
const REAP_MS_MAX = 5_000;
const UNMOUNT_MS_MAX = 10_000;
/** What is kept of a daemon's output, for the message of a failure. */
const OUTPUT_CHARS_MAX = 16_384;

/**
 * Enters the directory only after exec: spawn(2) with a directory on a mount that hangs would hang this process.
 */
const ENTER = 'cd -- "$1" && shift && exec "$@"';

export interface DaemonOptions {
  /** TOML. Nothing of the machine's own configuration is read. */
  readonly configuration?: string;
  /** Further arguments of `kitfs mount`. */
  readonly args?: readonly string[];
  /** Variables added to the environment of the daemon and of every command. */
  readonly env?: Readonly<Record<string, string>>;
  /** What starts the daemon, given its command line; it must become the daemon. */
  readonly launcher?: readonly string[];
  /** Runs before the first start, with the path of the state directory, which is not there yet. */
  readonly prepare?: (state: string) => void;
  /** Hears each line of the daemon, and of those that follow it. */
  readonly onLine?: (line: string) => void;
}

export interface CommandOptions {
  /** Where it runs, from the mount point; the mount point itself when absent. An absolute path stays. */
  readonly in?: string;
  readonly timeoutMs?: number;
  readonly input?: string | Buffer;
  readonly env?: Readonly<Record<string, string>>;
}

/** How a command ended. */
export interface Ending {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One line of /proc/self/mountinfo; proc(5). */
interface MountLine {
  readonly point: string;
  readonly minor: number;
  readonly type: string;
}

/** Reading the table touches no mount. */
function mountsBelow(directory: string): MountLine[] {
  return readFileSync('/proc/self/mountinfo', 'latin1')
    .split('\n')
    .map((line) => line.split(' '))
    .map((words) => ({
      point: (words[4] ?? '').replaceAll('\\040', ' '),
      minor: Number(words[2]?.split(':')[1]),
      type: words[words.indexOf('-') + 1] ?? '',
    }))
    .filter(({ point }) => point === directory || point.startsWith(`${directory}/`));
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // It has just ended.
  }
}

/** How the process was called; nothing when it has ended. */
function wordsOf(pid: number): readonly string[] {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0');
  } catch {
    return [];
  }
}

/** Kills a process that is not our child, and waits until it has gone. */
async function killProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGKILL');
  const deadline = performance.now() + REAP_MS_MAX;
  // What has ended and was not waited for has no words any more.
  while (wordsOf(pid).join('') !== '') {
    if (performance.now() > deadline) throw new Error(`process ${pid} survived SIGKILL`);
    await wait(READY_POLL_MS);
  }
}

export const hasEnded = (child: ChildProcess): boolean =>
  child.exitCode !== null || child.signalCode !== null || child.pid === undefined;

/** Whether the child ended by itself within the time. */
export async function endsWithin(child: ChildProcess, ms: number): Promise<boolean> {
  if (hasEnded(child)) return true;
  const timer = new AbortController();
  const ended = once(child, 'exit').then(() => true);
  const late = wait(ms, false, { signal: timer.signal }).catch(() => false);
  const result = await Promise.race([ended, late]);
  timer.abort();
  return result;
}

export class TestDaemon implements AsyncDisposable {
  /** Holds everything else. */
  readonly directory: string;
  readonly mountPoint: string;
  readonly state: string;
  readonly runDirectory: string;
  readonly #options: DaemonOptions;
  readonly #children = new Set<ChildProcess>();
  #daemon: ChildProcess | undefined;
  #output = '';

  /** Starts one and waits until it is ready; nothing is left when that fails. */
  static async start(options: DaemonOptions = {}): Promise<TestDaemon> {
    const daemon = new TestDaemon(options);
    try {
      options.prepare?.(daemon.state);
      await daemon.restart();
    } catch (error) {
      await daemon.close();
      throw error;
    }
    return daemon;
  }

  private constructor(options: DaemonOptions) {
    this.#options = options;
    this.directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-daemon-'));
    this.mountPoint = join(this.directory, 'mnt');
    this.state = join(this.directory, 'state');
    this.runDirectory = join(this.directory, 'run');
    // Commands may become other users, who must reach the mount.
    chmodSync(this.directory, 0o755);
    mkdirSync(this.mountPoint);
    writeFileSync(join(this.directory, 'config.toml'), options.configuration ?? '');
  }

  /** The process that serves, as its lock says. The one that was started is its keeper. */
  get pid(): number {
    const pid = this.#lockedPid();
    if (pid === undefined) throw new Error('the daemon was not started');
    return pid;
  }

  /** Undefined also while the next one writes its number. */
  #lockedPid(): number | undefined {
    const path = join(this.state, 'lock');
    const pid = existsSync(path) ? Number(readFileSync(path, 'utf8')) : 0;
    return pid > 1 ? pid : undefined;
  }

  /** The process that was started last: the keeper, or a daemon without one. */
  get startedPid(): number {
    const pid = this.#daemon?.pid;
    if (pid === undefined) throw new Error('nothing was started');
    return pid;
  }

  get isRunning(): boolean {
    return this.#daemon !== undefined && !hasEnded(this.#daemon);
  }

  /** The end of what the daemon wrote, both streams. */
  get output(): string {
    return this.#output;
  }

  get mcpSocket(): string {
    return join(this.runDirectory, 'mcp.sock');
  }

  /** A path on the mount. */
  path(...names: readonly string[]): string {
    return join(this.mountPoint, ...names);
  }

  /** What the daemon and every command find in their environment. */
  get environment(): NodeJS.ProcessEnv {
    return {
      ...process.env,
      KITFS_CONFIG: join(this.directory, 'config.toml'),
      KITFS_STATE: this.state,
      KITFS_RUN: this.runDirectory,
      KITFS_MOUNT: this.mountPoint,
      ...this.#options.env,
    };
  }

  /** Starts a daemon on the same directories; the one before must have ended. Waits until it is ready. */
  async restart(): Promise<void> {
    if (!existsSync(KITFS)) throw new Error(`${KITFS} is not built: run \`npm run build\``);
    if (this.isRunning) throw new Error('the daemon before it is still running');
    const where = [this.mountPoint, '--state', this.state, '--run', this.runDirectory];
    const command = [process.execPath, KITFS, 'mount', ...where, ...(this.#options.args ?? [])];
    const [program = '', ...words] = [...(this.#options.launcher ?? []), ...command];
    const daemon = spawn(program, words, {
      cwd: this.directory,
      env: this.environment,
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#daemon = daemon;
    for (const stream of [daemon.stdout, daemon.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output = `${this.#output}${text}`.slice(-OUTPUT_CHARS_MAX);
      });
      const { onLine } = this.#options;
      if (onLine !== undefined) createInterface({ input: stream }).on('line', onLine);
    }
    await this.#ready(daemon);
  }

  async #ready(daemon: ChildProcess): Promise<void> {
    const deadline = performance.now() + READY_MS_MAX;
    while (!(await this.#answers())) {
      if (hasEnded(daemon)) {
        const end = daemon.signalCode ?? daemon.exitCode;
        throw new Error(`the daemon ended with ${end} before it was ready:\n${this.#output}`);
      }
      if (performance.now() > deadline) {
        throw new Error(`the daemon was not ready in ${READY_MS_MAX} ms:\n${this.#output}`);
      }
      await wait(READY_POLL_MS);
    }
  }

  /**
   * Whether socket and mount answer. The mount table alone would not do: after a kill the dead mount is still in it,
   * and answers ENOTCONN.
   */
  async #answers(): Promise<boolean> {
    if (mountsBelow(this.mountPoint).length === 0) return false;
    const socket = createConnection(this.mcpSocket);
    const connects = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (!connects) return false;
    // Statistics are never cached, attributes are: a dead mount would go on showing them.
    const { code } = await this.attempt('stat', ['-f', this.mountPoint], {
      in: this.directory,
      timeoutMs: 5_000,
    });
    return code === 0;
  }

  /** Starts a program as a child with its streams as pipes. `close` ends it with all it started. */
  spawn(program: string, args: readonly string[] = [], options: CommandOptions = {}): ChildProcess {
    const where = options.in?.startsWith('/') ? options.in : this.path(options.in ?? '.');
    const child = spawn('/bin/sh', ['-c', ENTER, 'sh', where, program, ...args], {
      cwd: '/',
      env: { ...this.environment, ...options.env },
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    return child;
  }

  /** Runs a program to its end, however it ends. Rejects only when it takes too long; it is killed then. */
  async attempt(
    program: string,
    args: readonly string[] = [],
    options: CommandOptions = {},
  ): Promise<Ending> {
    const child = this.spawn(program, args, options);
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout?.on('data', (bytes: Buffer) => out.push(bytes));
    child.stderr?.on('data', (bytes: Buffer) => err.push(bytes));
    // A program that does not read its input may end before all of it is written.
    child.stdin?.on('error', () => {});
    child.stdin?.end(options.input ?? '');
    const limitMs = options.timeoutMs ?? COMMAND_MS_MAX;
    const ending = () => ({
      stdout: Buffer.concat(out).toString(),
      stderr: Buffer.concat(err).toString(),
    });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        signalGroup(child, 'SIGKILL');
        const { stdout, stderr } = ending();
        const text = `${stdout}${stderr}`.slice(-OUTPUT_CHARS_MAX);
        const what = [program, ...args].join(' ');
        reject(new Error(`${what}: took longer than ${limitMs} ms\n${text}\n${this.#output}`));
      }, limitMs);
      child.once('error', reject);
      child.once('close', (code, signal) => {
        clearTimeout(timer);
        resolve({ code, signal, ...ending() });
      });
    });
  }

  /** Runs a program that must succeed; resolves with its standard output. */
  async run(
    program: string,
    args: readonly string[] = [],
    options: CommandOptions = {},
  ): Promise<string> {
    const { code, signal, stdout, stderr } = await this.attempt(program, args, options);
    if (code === 0) return stdout;
    const what = [program, ...args].join(' ');
    const text = `${stdout}${stderr}`.slice(-OUTPUT_CHARS_MAX);
    throw new Error(`${what}: ended with ${signal ?? code}\n${text}\n${this.#output}`);
  }

  /** Runs a script of sh(1) in which every command must succeed. */
  shell(script: string, options: CommandOptions = {}): Promise<string> {
    return this.run('/bin/sh', ['-euc', script], options);
  }

  /** Runs `kitfs …` against this daemon, however it ends. It does not run on the mount. */
  kitfs(args: readonly string[], options: CommandOptions = {}): Promise<Ending> {
    return this.attempt(process.execPath, [KITFS, ...args], { in: this.directory, ...options });
  }

  /** The document a `kitfs … --json` prints; the command must succeed. */
  async json<T>(args: readonly string[], options: CommandOptions = {}): Promise<T> {
    const { code, signal, stdout, stderr } = await this.kitfs([...args, '--json'], options);
    if (code !== 0) {
      throw new Error(`kitfs ${args.join(' ')}: ended with ${signal ?? code}\n${stdout}${stderr}`);
    }
    return JSON.parse(stdout) as T;
  }

  /** Ends keeper and daemon as a power cut would. The mount stays behind, dead. */
  async kill(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined || hasEnded(daemon)) throw new Error('the daemon is not running');
    const pid = this.pid;
    daemon.kill('SIGKILL');
    if (!(await endsWithin(daemon, REAP_MS_MAX))) throw new Error('the keeper survived SIGKILL');
    if (pid !== daemon.pid) await killProcess(pid);
  }

  /** Until the daemon has told its keeper that it serves: one that never did is not followed by another one. */
  async #kept(): Promise<void> {
    const deadline = performance.now() + READY_MS_MAX;
    while ((await this.run('cat', ['.kitfs/status.json'])).includes('"recovering"')) {
      if (performance.now() > deadline) throw new Error(`not ready:\n${this.#output}`);
      await wait(READY_POLL_MS);
    }
  }

  /** Ends the process that serves, as a crash would, and waits until another one does. */
  async crash(): Promise<void> {
    const [daemon, before] = [this.#daemon, this.pid];
    if (daemon === undefined || hasEnded(daemon)) throw new Error('the daemon is not running');
    await this.#kept();
    await killProcess(before);
    const deadline = performance.now() + READY_MS_MAX;
    while ((this.#lockedPid() ?? before) === before) {
      if (hasEnded(daemon) || performance.now() > deadline) {
        throw new Error(`the daemon was not started again:\n${this.#output}`);
      }
      await wait(READY_POLL_MS);
    }
    await this.#ready(daemon);
  }

  /** Ends the daemon as Ctrl-C does, and throws unless it unmounted and ended with 0. */
  async stop(): Promise<void> {
    const daemon = this.#daemon;
    if (daemon === undefined || hasEnded(daemon)) throw new Error('the daemon is not running');
    daemon.kill('SIGINT');
    if (!(await endsWithin(daemon, STOP_MS_MAX))) {
      throw new Error(`the daemon did not stop in ${STOP_MS_MAX} ms:\n${this.#output}`);
    }
    if (daemon.exitCode !== 0) {
      const end = daemon.signalCode ?? daemon.exitCode;
      throw new Error(`the daemon ended with ${end} when it was stopped:\n${this.#output}`);
    }
    if (mountsBelow(this.mountPoint).length > 0) {
      throw new Error(`the daemon stopped and left its mount:\n${this.#output}`);
    }
  }

  /** Stops a daemon that still runs, and removes everything, in any case. Throws what `stop` throws. */
  async close(): Promise<void> {
    let wrong: unknown;
    for (const child of this.#children) signalGroup(child, 'SIGKILL');
    for (const child of this.#children) await endsWithin(child, REAP_MS_MAX);
    if (this.isRunning) await this.stop().catch((error: unknown) => (wrong = error));
    if (this.#daemon !== undefined) {
      signalGroup(this.#daemon, 'SIGKILL');
      await endsWithin(this.#daemon, REAP_MS_MAX);
      // One that its keeper did not take along.
      const left = this.#lockedPid();
      if (left !== undefined && wordsOf(left).includes(this.state)) await killProcess(left);
    }
    this.#unmount();
    if (mountsBelow(this.directory).length > 0) {
      throw new Error(`cannot unmount below ${this.directory}`, { cause: wrong });
    }
    rmSync(this.directory, { recursive: true, force: true });
    if (wrong !== undefined) throw wrong;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** Aborts what is still connected and takes it out of the tree. For what a daemon left behind. */
  #unmount(): void {
    const control = '/sys/fs/fuse/connections';
    for (const { point, minor, type } of mountsBelow(this.directory).reverse()) {
      const abort = join(control, String(minor), 'abort');
      if (!existsSync(abort)) attemptQuickly(['mount', '-t', 'fusectl', 'none', control]);
      if (type.startsWith('fuse') && existsSync(abort)) writeFileSync(abort, '1');
      const isRoot = process.getuid?.() === 0;
      attemptQuickly(isRoot ? ['umount', '-l', point] : ['fusermount3', '-uz', point]);
    }
  }
}

/** Whether it succeeded shows in what is mounted after it. */
function attemptQuickly([program, ...args]: readonly [string, ...string[]]): void {
  spawnSync(program, args, { timeout: UNMOUNT_MS_MAX, killSignal: 'SIGKILL' });
}
