/**
 * A real Lassie daemon, for tests:
 *
 *     await using lassie = await Lassie.start();
 *     await fetch(`${lassie.url}/ipfs/${cid}?providers=${node.gateway}`);
 *
 * Invariants: it listens on 127.0.0.1, and asks nobody but the providers that a request names: where it would look
 * for others, nobody listens.
 */
import { mkdtempSync, realpathSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort, programOf, RunningProgram } from './process.ts';

export interface LassieOptions {
  /** Whoever does not show it is refused. */
  readonly accessToken?: string;
  /** How long it looks for content. */
  readonly globalTimeoutS?: number;
}

export class Lassie implements AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly url: string;
  readonly #directory: string;
  readonly #process: RunningProgram;

  /** Starts one and waits until it answers; nothing is left when that fails. */
  static async start(options: LassieOptions = {}): Promise<Lassie> {
    const program = await programOf('lassie', 'lassie');
    const lassie = new Lassie(program, await freePort(), await freePort(), options);
    try {
      await lassie.#process.ready(async () =>
        fetch(lassie.url).then(
          async (answer) => (await answer.text()) !== undefined,
          () => false,
        ),
      );
    } catch (error) {
      await lassie[Symbol.asyncDispose]();
      throw error;
    }
    return lassie;
  }

  private constructor(program: string, port: number, nobody: number, options: LassieOptions) {
    const { accessToken, globalTimeoutS = 10 } = options;
    this.url = `http://127.0.0.1:${port}`;
    this.#directory = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-lassie-'));
    this.#process = new RunningProgram({
      program,
      args: [
        'daemon',
        ...['--address', '127.0.0.1', '--port', String(port)],
        ...['--tempdir', this.#directory],
        ...['--ipni-endpoint', `http://127.0.0.1:${nobody}`],
        ...['--global-timeout', `${globalTimeoutS}s`, '--provider-timeout', '5s'],
        ...(accessToken === undefined ? [] : ['--access-token', accessToken]),
      ],
      directory: this.#directory,
      foreign: /^(LASSIE|LIBP2P|GOLOG)_/,
    });
  }

  get pid(): number {
    return this.#process.pid;
  }

  get directory(): string {
    return this.#directory;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#process.stop();
    } finally {
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }
}
