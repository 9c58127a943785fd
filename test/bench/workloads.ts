/** What is measured: rates of small calls, git, tar; each in a directory it is given. */
import { execFile } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Sample } from './tool-rates.ts';

const COMMAND_MS_MAX = 300_000;
const FILES_C = fileURLToPath(new URL('../../../test/bench/files.c', import.meta.url));
/** Files of the repository that is cloned, as in the measurements of other file systems. */
const GIT_FILES = 4000;
const GIT_CHANGED = 1000;
const TAR_FILES = 15_000;
const LARGE_MIB = 128;

export class Workloads {
  readonly base: string;
  readonly files: number;
  readonly program: string;
  readonly repository: string;
  readonly archive: string;

  constructor(base: string, files: number) {
    this.base = base;
    this.files = files;
    this.program = join(base, 'files');
    this.repository = join(base, 'repository');
    this.archive = join(base, 'small.tar');
  }

  /** Builds the program, the repository and the archive, off the mount. */
  async prepare(): Promise<void> {
    await this.run('gcc', ['-O2', '-pthread', '-o', this.program, FILES_C], this.base);
    await this.#makeRepository();
    await this.#makeArchive();
  }

  /** Output of a command that must succeed. Its seconds are in `seconds`. */
  run(
    command: string,
    args: readonly string[],
    cwd: string,
  ): Promise<{ readonly text: string; readonly seconds: number }> {
    const start = performance.now();
    return new Promise((resolve, reject) => {
      const options = { cwd, timeout: COMMAND_MS_MAX, maxBuffer: 64 * 1024 * 1024 };
      execFile(command, args, options, (error, text, stderr) => {
        const seconds = (performance.now() - start) / 1000;
        if (error === null) resolve({ text, seconds });
        else reject(new Error(`${command} ${args.join(' ')}: ${stderr}`, { cause: error }));
      });
    });
  }

  async git(cwd: string, ...args: string[]): Promise<number> {
    const identity = ['-c', 'user.name=bench', '-c', 'user.email=bench@localhost'];
    return (await this.run('git', [...identity, ...args], cwd)).seconds;
  }

  async #makeRepository(): Promise<void> {
    mkdirSync(this.repository);
    for (let i = 0; i < GIT_FILES; i++) {
      const directory = join(this.repository, `d${i % 100}`, `e${i % 7}`);
      mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `f${i}.txt`), `file ${i}\n`.repeat(50 + (i % 400)));
    }
    await this.git(this.repository, 'init', '-q', '-b', 'main');
    await this.git(this.repository, 'add', '-A');
    await this.git(this.repository, 'commit', '-q', '-m', 'one');
    await this.git(this.repository, 'checkout', '-q', '-b', 'other');
    for (let i = 0; i < GIT_CHANGED; i++) {
      const path = join(this.repository, `d${i % 100}`, `e${i % 7}`, `f${i}.txt`);
      writeFileSync(path, `changed ${i}\n`.repeat(60));
    }
    await this.git(this.repository, 'commit', '-q', '-a', '-m', 'two');
    await this.git(this.repository, 'checkout', '-q', 'main');
  }

  async #makeArchive(): Promise<void> {
    const source = join(this.base, 'small');
    for (let i = 0; i < TAR_FILES; i++) {
      const directory = join(source, `d${i % 300}`);
      if (i < 300) mkdirSync(directory, { recursive: true });
      writeFileSync(join(directory, `f${i}`), 'x'.repeat(200 + (i % 5000)));
    }
    await this.run('tar', ['cf', this.archive, '-C', this.base, 'small'], this.base);
    await this.run('rm', ['-rf', source], this.base);
  }
}

export async function filesSample(workloads: Workloads, directory: string): Promise<Sample> {
  const args = [directory, String(workloads.files), '4', String(LARGE_MIB)];
  const { text } = await workloads.run(workloads.program, args, workloads.base);
  const entries = text
    .trim()
    .split('\n')
    .map((line) => {
      const [name = '', operations, seconds] = line.split(' ');
      return [name, Number(seconds) / Number(operations)] as const;
    });
  return Object.fromEntries(entries);
}

export async function gitSample(workloads: Workloads, directory: string): Promise<Sample> {
  const clone = join(directory, 'clone');
  const local = ['clone', '-q', '--no-hardlinks', workloads.repository, clone];
  const sample: Record<string, number> = {};
  sample['git-clone'] = await workloads.git(workloads.base, ...local);
  await workloads.git(workloads.base, '-C', clone, 'status', '--short');
  sample['git-status'] = await workloads.git(workloads.base, '-C', clone, 'status', '--short');
  sample['git-grep'] = await workloads.git(workloads.base, '-C', clone, 'grep', '-c', 'file 39');
  sample['git-checkout'] = await workloads.git(
    workloads.base,
    ...['-C', clone, 'checkout', '-q', '-b', 'other', 'origin/other'],
  );
  sample['git-rm'] = (await workloads.run('rm', ['-rf', clone], workloads.base)).seconds;
  return sample;
}

export async function tarSample(workloads: Workloads, directory: string): Promise<Sample> {
  const args = ['xf', workloads.archive, '-C', directory];
  return { 'tar-extract': (await workloads.run('tar', args, workloads.base)).seconds };
}
