/**
 * A real server of S3 (versitygw) on a directory of its own, for tests:
 *
 *     await using server = await S3Server.start();
 *     const bucket = server.makeBucket(); // a directory of `server.data`
 *     await server.kill(); // as a power cut would
 *     await server.restart();
 *
 * Invariants: it listens on one port of 127.0.0.1 only, which stays the same over restarts; every wait has a
 * deadline; it does not outlive the process that started it (prctl(2), PR_SET_PDEATHSIG); its directory is gone after
 * `close`.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { endsWithin, hasEnded } from '../integration/daemon.ts';
import { freePort } from './process.ts';

/** From the sources, or, when it was built with them, from `dist/`. */
const BUILD = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/test/') ? '../../../test/services/build.mjs' : 'build.mjs',
    import.meta.url,
  ),
);

const READY_MS_MAX = 30_000;
/** Measured: 1.3 s. */
const TERM_MS_MAX = 10_000;
const REAP_MS_MAX = 5_000;
const POLL_MS = 20;
const OUTPUT_CHARS_MAX = 16_384;

/** Of the server's only user. */
export const KEYS = { accessKeyId: 'kitfs-test', secretAccessKey: 'kitfs-test-secret' };

/** Where the command is. Throws when it is not built. */
async function findProgram(): Promise<string> {
  const { stdout } = await promisify(execFile)(process.execPath, [BUILD, 'where', 'versitygw']);
  return join(stdout.trim(), 'versitygw');
}

export class S3Server implements AsyncDisposable {
  /** Holds everything else. */
  readonly directory: string;
  /** A bucket is a directory in it, an object a file. */
  readonly data: string;
  /** `http://127.0.0.1:PORT` */
  readonly endpoint: string;
  readonly #program: string;
  #buckets = 0;
  #child: ChildProcess | undefined;
  #output = '';

  /** Starts one and waits until it answers; nothing is left when that fails. */
  static async start(): Promise<S3Server> {
    const server = new S3Server(await findProgram(), await freePort());
    try {
      await server.restart();
    } catch (error) {
      await server.close();
      throw error;
    }
    return server;
  }

  private constructor(program: string, port: number) {
    this.#program = program;
    this.directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-s3-'));
    this.data = join(this.directory, 'data');
    mkdirSync(this.data);
    this.endpoint = `http://127.0.0.1:${port}`;
  }

  get pid(): number {
    const pid = this.#child?.pid;
    if (pid === undefined) throw new Error('the server was not started');
    return pid;
  }

  get isRunning(): boolean {
    return this.#child !== undefined && !hasEnded(this.#child);
  }

  /** The end of what it wrote, both streams. */
  get output(): string {
    return this.#output;
  }

  /** Another empty bucket, by its name. */
  makeBucket(): string {
    this.#buckets += 1;
    const name = `bucket-${this.#buckets}`;
    mkdirSync(join(this.data, name));
    return name;
  }

  /** Starts it on the same directory and port; the one before must have ended. Waits until it answers. */
  async restart(): Promise<void> {
    if (this.isRunning) throw new Error('the server before it is still running');
    const foreign = /^(VGW|ROOT|AWS)_/;
    const env = Object.fromEntries(
      Object.entries(process.env).filter(([name]) => !foreign.test(name)),
    );
    const address = this.endpoint.slice('http://'.length);
    const words = ['--port', address, '--health', '/health', '--quiet', '--keep-alive'];
    const child = spawn(
      'setpriv',
      ['--pdeathsig', 'KILL', this.#program, ...words, 'posix', this.data],
      {
        cwd: this.directory,
        env: {
          ...env,
          HOME: this.directory,
          ROOT_ACCESS_KEY: KEYS.accessKeyId,
          ROOT_SECRET_KEY: KEYS.secretAccessKey,
        },
        // Of its own: Ctrl-C is for the test, which then ends it in order.
        detached: true,
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        this.#output = `${this.#output}${line}\n`.slice(-OUTPUT_CHARS_MAX);
      });
    }
    const deadline = performance.now() + READY_MS_MAX;
    while (!(await this.#isHealthy())) {
      if (hasEnded(child)) throw new Error(`the server ended:\n${this.#output}`);
      if (performance.now() > deadline) throw new Error(`not ready:\n${this.#output}`);
      await wait(POLL_MS);
    }
  }

  async #isHealthy(): Promise<boolean> {
    const signal = AbortSignal.timeout(READY_MS_MAX);
    const answer = await fetch(`${this.endpoint}/health`, { signal }).catch(() => undefined);
    await answer?.text();
    return answer?.status === 200 && this.isRunning;
  }

  /** Ends it as a power cut would. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || hasEnded(child)) throw new Error('the server is not running');
    child.kill('SIGKILL');
    if (!(await endsWithin(child, REAP_MS_MAX))) throw new Error('the server survived SIGKILL');
  }

  /** Ends it in order. Throws when it had to be killed. */
  async stop(): Promise<void> {
    const child = this.#child;
    if (child === undefined || hasEnded(child)) throw new Error('the server is not running');
    child.kill('SIGTERM');
    if (await endsWithin(child, TERM_MS_MAX)) return;
    await this.kill();
    throw new Error(`the server did not stop, and was killed:\n${this.#output}`);
  }

  /** Stops a server that still runs, and removes everything, in any case. Throws what `stop` throws. */
  async close(): Promise<void> {
    try {
      if (this.isRunning) await this.stop();
    } finally {
      rmSync(this.directory, { recursive: true, force: true });
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
