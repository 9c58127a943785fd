/** Programs that are run and timed. They, and not this process, touch what is measured. */
import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

const COMMAND_MS_MAX = 600_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
/** Enters the directory only after exec: spawn(2) with one on a mount that hangs would hang this process. */
const ENTER = 'cd -- "$1" && shift && exec "$@"';

export interface Ran {
  readonly text: string;
  readonly seconds: number;
}

export class Commands {
  readonly #signal: AbortSignal;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Runs a program that must succeed, in a directory, which may be on a mount. */
  run(directory: string, program: string, ...args: readonly string[]): Promise<Ran> {
    const options = {
      cwd: '/',
      timeout: COMMAND_MS_MAX,
      maxBuffer: OUTPUT_BYTES_MAX,
      killSignal: 'SIGKILL',
      signal: this.#signal,
    } as const;
    const entered = ['-c', ENTER, 'sh', directory, program, ...args];
    const start = performance.now();
    return new Promise((resolve, reject) => {
      execFile('/bin/sh', entered, options, (error, text, stderr) => {
        const seconds = (performance.now() - start) / 1000;
        if (error === null) resolve({ text, seconds });
        else reject(new Error(`${program} ${args.join(' ')}: ${stderr}`, { cause: error }));
      });
    });
  }

  /** Seconds a program that must succeed takes. */
  async seconds(directory: string, program: string, ...args: readonly string[]): Promise<number> {
    return (await this.run(directory, program, ...args)).seconds;
  }

  /** Seconds a script of sh(1) takes; every command of it must succeed. */
  shell(directory: string, script: string): Promise<number> {
    return this.seconds(directory, '/bin/sh', '-euc', script);
  }
}

/** Whether a program is installed. */
export function isInstalled(program: string): boolean {
  return (process.env['PATH'] ?? '').split(delimiter).some((directory) => {
    try {
      accessSync(join(directory, program), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}
