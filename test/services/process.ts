/**
 * A service as a child process of a test: started, waited for, ended in order or killed.
 *
 * Invariants: it does not outlive the process that started it (prctl(2), PR_SET_PDEATHSIG); every wait has a
 * deadline; what it said last is in every error about it.
 */
import type { ChildProcess } from 'node:child_process';
import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { endsWithin, hasEnded } from '../integration/daemon.ts';

/** From the sources, or, when it was built with them, from `dist/`. */
const BUILD = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/test/') ? '../../../test/services/build.mjs' : 'build.mjs',
    import.meta.url,
  ),
);

const READY_MS_MAX = 30_000;
const TERM_MS_MAX = 15_000;
const REAP_MS_MAX = 5_000;
const POLL_MS = 20;
const OUTPUT_CHARS_MAX = 16_384;

/**
 * Ports below the range from which the kernel takes those of connections: one of these is still free when a service
 * that was killed wants it again.
 */
const PORTS = { min: 10_240, end: 32_768 };

/** A port of 127.0.0.1 on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer();
  for (;;) {
    server.listen({ host: '127.0.0.1', port: randomInt(PORTS.min, PORTS.end) });
    const isFree = await once(server, 'listening').then(
      () => true,
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EADDRINUSE') throw error;
        return false;
      },
    );
    if (!isFree) continue;
    const address = server.address();
    server.close();
    await once(server, 'close');
    if (address !== null && typeof address === 'object') return address.port;
  }
}

/** Where a program of a service is. Throws when it is not built. */
export async function programOf(service: string, program: string): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [BUILD, 'where', service]);
  return join(stdout.trim(), program);
}

/** Resolves when it is so; throws at the deadline, or what `trouble` says before it. */
export async function until(
  what: string,
  isSo: () => Promise<boolean>,
  trouble: () => string | undefined = () => undefined,
): Promise<void> {
  const deadline = performance.now() + READY_MS_MAX;
  while (!(await isSo())) {
    const wrong = trouble();
    if (wrong !== undefined) throw new Error(`${what}: ${wrong}`);
    if (performance.now() > deadline) throw new Error(`${what}: not in ${READY_MS_MAX} ms`);
    await wait(POLL_MS);
  }
}

export interface Launch {
  readonly program: string;
  readonly args: readonly string[];
  readonly directory: string;
  /** Besides the test's own, without those that begin with one of `foreign`. */
  readonly environment?: Readonly<Record<string, string>>;
  readonly foreign?: RegExp;
}

export class RunningProgram {
  readonly #launch: Launch;
  readonly #child: ChildProcess;
  #output = '';

  constructor(launch: Launch) {
    this.#launch = launch;
    const { program, args, directory, environment = {}, foreign } = launch;
    const own = Object.entries(process.env).filter(([name]) => foreign?.test(name) !== true);
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', program, ...args], {
      cwd: directory,
      env: { ...Object.fromEntries(own), HOME: directory, ...environment },
      // Of its own: Ctrl-C is for the test, which then ends it in order.
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child.on('error', (error) => {
      this.#output += error.message;
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#output = `${this.#output}${text}`.slice(-OUTPUT_CHARS_MAX);
      });
    }
  }

  get pid(): number {
    const { pid } = this.#child;
    if (pid === undefined) throw new Error('it was not started');
    return pid;
  }

  get isRunning(): boolean {
    return !hasEnded(this.#child);
  }

  /** The end of what it wrote, both streams. */
  get output(): string {
    return this.#output;
  }

  /** Waits until it is so, or the process has ended. */
  async ready(isSo: () => Promise<boolean>): Promise<void> {
    const { program, args } = this.#launch;
    const trouble = () => (this.isRunning ? undefined : 'it ended');
    try {
      await until(`${program} ${args.join(' ')}`, isSo, trouble);
    } catch (error) {
      throw new Error(`it is not ready:\n${this.#output}`, { cause: error });
    }
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    if (!(await endsWithin(this.#child, REAP_MS_MAX))) throw new Error('it survived SIGKILL');
  }

  /** Ends it in order. Throws when it had to be killed. */
  async stop(): Promise<void> {
    if (!this.isRunning) return;
    this.#child.kill('SIGTERM');
    if (await endsWithin(this.#child, TERM_MS_MAX)) return;
    await this.kill();
    throw new Error(`it did not stop, and was killed:\n${this.#output}`);
  }
}

/** Local addresses on which a process takes connections, `127.0.0.1:80` each. */
export async function listeningAt(pid: number): Promise<string[]> {
  const { stdout } = await promisify(execFile)('ss', ['-H', '-t', '-l', '-n', '-p']);
  return stdout
    .split('\n')
    .filter((line) => line.includes(`pid=${pid},`))
    .map((line) => line.trim().split(/\s+/)[3] ?? '');
}
