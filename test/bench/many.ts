/**
 * A tree of many files on a mount, measured: for `npm run bench:scale`, which prints, and for the performance tests,
 * which compare. What is cold is asked right after a start: the kernel knows nothing of a mount that is new.
 */
import { once } from 'node:events';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { TestDaemon } from '../integration/daemon.ts';
import { plantFiles } from './planted.ts';

const SOURCE = fileURLToPath(
  new URL(
    import.meta.url.includes('/dist/test/') ? '../../../test/bench/scale.c' : 'scale.c',
    import.meta.url,
  ),
);
const COMMAND_MS_MAX = 3_600_000;
const THREADS = '4';
const MIB = 1024 * 1024;
const MICROSECONDS = 1e6;

export interface Memory {
  readonly residentMib: number;
  readonly peakMib: number;
}

export class ManyFiles implements AsyncDisposable {
  readonly daemon: TestDaemon;
  readonly #program: string;
  readonly #tree: string;

  static async start(): Promise<ManyFiles> {
    const daemon = await TestDaemon.start();
    try {
      const program = join(daemon.directory, 'scale');
      const built = ['-O2', '-pthread', '-o', program, SOURCE];
      await daemon.run('gcc', built, { in: daemon.directory });
      return new ManyFiles(daemon, program);
    } catch (error) {
      await daemon.close();
      throw error;
    }
  }

  private constructor(daemon: TestDaemon, program: string) {
    this.daemon = daemon;
    this.#program = program;
    this.#tree = daemon.path('ipfs');
  }

  /** Makes the files of these numbers; files per second. */
  async make(from: number, to: number): Promise<number> {
    const seconds = await this.#run('make', this.#tree, String(from), String(to), THREADS);
    return (to - from) / Number(seconds);
  }

  /** Microseconds of one lstat of a random file of the first `count`: their mean, and the median. */
  async lookup(
    count: number,
    samples: number,
    seed = 0,
  ): Promise<{ mean: number; median: number }> {
    const numbers = [count, samples, seed].map(String);
    const text = await this.#run('lookup', this.#tree, ...numbers);
    const [mean = Number.NaN, median = Number.NaN] = text.split(' ').map(Number);
    return { mean: mean * MICROSECONDS, median: median * MICROSECONDS };
  }

  /**
   * Puts the first `count` files, empty, into the journal while no daemon runs: in seconds, what takes minutes through
   * a mount. Resolves when the daemon runs again.
   */
  async plant(count: number): Promise<void> {
    await this.daemon.stop();
    plantFiles(join(this.daemon.state, 'journal.db'), count);
    await this.daemon.restart();
  }

  /** Opens, reads and closes the first `count`; files per second. */
  async read(count: number): Promise<number> {
    return count / Number(await this.#run('read', this.#tree, String(count), THREADS));
  }

  /** Runs `body` while the first `count` files are open and read. */
  async holding<T>(count: number, body: () => Promise<T>): Promise<T> {
    const program = this.daemon.spawn(this.#program, ['hold', this.#tree, String(count)]);
    if (program.stdout === null) throw new Error('the program has no output');
    const said = Promise.race([
      once(program.stdout, 'data').then(String),
      once(program, 'exit').then(([code]) => `ended with ${code}`),
    ]);
    if (!(await said).startsWith('held')) throw new Error(`${await said}\n${this.daemon.output}`);
    const result = await body();
    program.stdin?.end();
    await once(program, 'exit');
    return result;
  }

  /** Microseconds for each entry that `find` prints. */
  find(): Promise<number> {
    return this.#walk('find . -printf "%s\\n" | wc -l');
  }

  /** Microseconds for each entry that `du` sums up. */
  du(): Promise<number> {
    return this.#walk('du -a . | wc -l');
  }

  /** Stops and starts again; milliseconds until it answers. */
  async restart(): Promise<number> {
    await this.daemon.stop();
    await this.daemon.restart();
    const ready = [...this.daemon.output.matchAll(/"?readyMs"?[=:]\s*(\d+)/g)].at(-1)?.[1];
    if (ready === undefined) throw new Error(`no readyMs in:\n${this.daemon.output}`);
    return Number(ready);
  }

  memory(): Memory {
    const status = readFileSync(join('/proc', String(this.daemon.pid), 'status'), 'utf8');
    const mib = (name: string) =>
      (Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]) * 1024) / MIB;
    return { residentMib: mib('VmRSS'), peakMib: mib('VmHWM') };
  }

  /** Open in the daemon. */
  descriptors(): number {
    return readdirSync(join('/proc', String(this.daemon.pid), 'fd')).length;
  }

  /** Nanoseconds that the thread which serves has run so far. */
  busyNs(): number {
    const { pid } = this.daemon;
    const times = readFileSync(
      join('/proc', String(pid), 'task', String(pid), 'schedstat'),
      'utf8',
    );
    return Number(times.split(' ')[0]);
  }

  /** Bytes that the daemon has read from files so far. */
  bytesRead(): number {
    const counts = readFileSync(join('/proc', String(this.daemon.pid), 'io'), 'utf8');
    return Number(/^rchar: (\d+)/m.exec(counts)?.[1]);
  }

  /** Resolves when every file has its CID. */
  async sealed(): Promise<void> {
    const dirty = async () =>
      (await this.daemon.json<{ dirty: { files: number } }>(['status'])).dirty.files;
    while ((await dirty()) > 0) await new Promise((resolve) => setTimeout(resolve, 500));
  }

  async #walk(script: string): Promise<number> {
    const start = performance.now();
    const count = await this.daemon.shell(script, { in: 'ipfs', timeoutMs: COMMAND_MS_MAX });
    return ((performance.now() - start) * 1000) / Number(count);
  }

  async #run(...args: readonly string[]): Promise<string> {
    const options = { in: this.daemon.directory, timeoutMs: COMMAND_MS_MAX };
    return (await this.daemon.run(this.#program, args, options)).trim();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.daemon.close();
  }
}
