/**
 * A real systemd, booted in namespaces of its own by boot.sh, for tests of the units.
 *
 *     await using machine = await BootedMachine.start();
 *     await machine.shell('systemctl start kitfs');
 *
 * Invariants: nothing of this machine can be written from inside (boot.sh proves that before it boots); everything in
 * there ends when its first process does, which ends with this object, and with this process.
 */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const REPOSITORY = fileURLToPath(new URL('../..', import.meta.url));
const BOOT = fileURLToPath(new URL('boot.sh', import.meta.url));
const BOOT_MS_MAX = 30_000;
const BOOT_POLL_MS = 50;
const COMMAND_MS_MAX = 30_000;
const OUTPUT_CHARS_MAX = 16_384;
/** Of the journal, for the message of a failure. */
const JOURNAL_LINES = 60;
/** All namespaces that boot.sh makes. */
const NAMESPACES = ['--mount', '--pid', '--ipc', '--uts', '--net', '--cgroup'];

/** How a command ended. */
export interface Ran {
  /** Null when a signal ended it. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class BootedMachine implements AsyncDisposable {
  readonly #scratch = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-boot-'));
  readonly #group = `kitfs-test-${randomUUID()}`;
  readonly #children = new Set<ChildProcess>();
  #boot: ChildProcess | undefined;
  /** The first process in there, as this machine numbers it. */
  #init = 0;
  #output = '';

  /** Boots, and waits until systemd says that it runs. `given`: files, by name, to be found in /given. */
  static async start(given: Readonly<Record<string, Buffer>> = {}): Promise<BootedMachine> {
    const machine = new BootedMachine();
    try {
      await machine.#start(given);
      return machine;
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  }

  private constructor() {}

  async #start(given: Readonly<Record<string, Buffer>>): Promise<void> {
    mkdirSync(join(this.#scratch, 'given'));
    for (const [name, bytes] of Object.entries(given)) {
      writeFileSync(join(this.#scratch, 'given', name), bytes);
    }
    const prefix = dirname(dirname(realpathSync(process.execPath)));
    const boot = spawn('/bin/sh', [BOOT, this.#scratch, this.#group, REPOSITORY, prefix], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#boot = boot;
    for (const stream of [boot.stdout, boot.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => {
        this.#output = `${this.#output}${text}`.slice(-OUTPUT_CHARS_MAX);
      });
    }
    const deadline = performance.now() + BOOT_MS_MAX;
    while (!(await this.#isRunning(boot))) {
      if (boot.exitCode !== null || performance.now() > deadline) {
        throw new Error(`systemd did not boot:\n${this.#output}`);
      }
      await wait(BOOT_POLL_MS);
    }
  }

  async #isRunning(boot: ChildProcess): Promise<boolean> {
    if (this.#init === 0) {
      const first = firstOf(boot);
      const name = first === undefined ? '' : readFileSync(`/proc/${first}/comm`, 'latin1').trim();
      if (first === undefined || name !== 'systemd') return false;
      this.#init = first;
    }
    // It cannot be asked at first.
    const { stdout } = await this.attempt('systemctl', ['is-system-running', '--wait']);
    return stdout.trim() === 'running';
  }

  /** Starts a program in there, as a child with its streams as pipes. */
  spawn(program: string, args: readonly string[] = []): ChildProcess {
    const enter = ['--target', String(this.#init), ...NAMESPACES, '--'];
    const child = spawn('nsenter', [...enter, program, ...args], {
      cwd: '/',
      env: {
        PATH: `${dirname(realpathSync(process.execPath))}:/usr/sbin:/usr/bin:/sbin:/bin`,
        HOME: '/root',
        SYSTEMD_PAGER: '',
        SYSTEMD_COLORS: '0',
      },
      detached: true,
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.#children.add(child);
    child.once('close', () => this.#children.delete(child));
    return child;
  }

  /** Runs a program to its end, however it ends. Rejects only when it takes too long; it is killed then. */
  attempt(program: string, args: readonly string[] = [], timeoutMs = COMMAND_MS_MAX): Promise<Ran> {
    const child = this.spawn(program, args);
    child.stdin?.end();
    let [stdout, stderr] = ['', ''];
    child.stdout?.setEncoding('utf8').on('data', (text: string) => {
      stdout += text;
    });
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        killGroup(child);
        const what = [program, ...args].join(' ');
        reject(new Error(`${what}: took longer than ${timeoutMs} ms\n${stdout}${stderr}`));
      }, timeoutMs);
      child.once('error', reject);
      child.once('close', (code) => {
        clearTimeout(timer);
        resolve({ code, stdout, stderr });
      });
    });
  }

  /** Runs a program that must succeed; resolves with its standard output. A failure brings the journal. */
  async run(program: string, args: readonly string[] = [], timeoutMs?: number): Promise<string> {
    const { code, stdout, stderr } = await this.attempt(program, args, timeoutMs);
    if (code === 0) return stdout;
    const what = [program, ...args].join(' ');
    throw new Error(`${what}: ended with ${code}\n${stdout}${stderr}\n${await this.journal()}`);
  }

  /** Runs a script of sh(1) in which every command must succeed. */
  shell(script: string, timeoutMs?: number): Promise<string> {
    return this.run('/bin/sh', ['-euc', script], timeoutMs);
  }

  /** The end of what kitfs, and systemd about it, have logged in there. */
  async journal(): Promise<string> {
    const units = ['--unit=kitfs', '--unit=kitfs-keeper'];
    const args = [...units, '--no-pager', '--output=short-precise', `--lines=${JOURNAL_LINES}`];
    const { stdout, stderr } = await this.attempt('journalctl', args);
    return `${stdout}${stderr}`;
  }

  /** Properties of a unit, by name: systemctl(1), show. */
  async show(unit: string, ...properties: readonly string[]): Promise<Record<string, string>> {
    const text = await this.run('systemctl', ['show', unit, `--property=${properties.join()}`]);
    const pairs = text
      .trimEnd()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]);
    return Object.fromEntries(pairs) as Record<string, string>;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const boot = this.#boot;
    if (boot !== undefined && boot.exitCode === null && boot.signalCode === null) {
      const ended = once(boot, 'exit');
      // The kernel ends whatever runs in there before its first process has ended, for which unshare(1) waits.
      const first = firstOf(boot);
      if (first === undefined) killGroup(boot);
      else process.kill(first, 'SIGKILL');
      await ended;
    }
    for (const child of this.#children) killGroup(child);
    removeGroup(this.#scratch, this.#group);
    rmSync(this.#scratch, { recursive: true, force: true });
  }
}

/** The first process in the namespaces: unshare(1) has no other child, and the stages before it have short ones. */
function firstOf({ pid }: ChildProcess): number | undefined {
  if (readFileSync(`/proc/${pid}/comm`, 'latin1').trim() !== 'unshare') return undefined;
  const child = readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim();
  return child === '' ? undefined : Number(child);
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It has just ended.
  }
}

/** Removes a control group and those below it. The processes in them have ended. */
function removeGroup(scratch: string, group: string): void {
  const script = `mount -t cgroup2 none "$1" && [ ! -d "$1/$2" ] ||
    find "$1/$2" -depth -type d -exec rmdir -- {} +`;
  const place = join(scratch, 'groups');
  mkdirSync(place, { recursive: true });
  const args = ['--mount', '--propagation', 'private', '--', '/bin/sh', '-euc', script];
  const { status, stderr } = spawnSync('unshare', [...args, 'sh', place, group]);
  if (status !== 0) throw new Error(`the control group ${group} is still there: ${stderr}`);
}

/** The package as npm would publish it: the bytes of its archive. */
export function packedPackage(): Buffer {
  const folder = mkdtempSync(join(tmpdir(), 'kitfs-pack-'));
  try {
    const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', folder];
    const told = execFileSync('npm', args, {
      cwd: REPOSITORY,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [{ filename }] = JSON.parse(told.toString()) as [{ filename: string }];
    return readFileSync(join(folder, filename));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
