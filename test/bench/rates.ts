/** Rates of single calls: of files.c, which prints them, and of fio, where it is installed. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { type Commands, isInstalled } from './commands.ts';
import type { Sample } from './table.ts';

const FILES_C = fileURLToPath(new URL('../../../test/bench/files.c', import.meta.url));
export const DATA_MIB = 256;
const FIO_MS = 400;

/** Name of a row → fio's words for it. Reads first: they find the pages that the untimed job has cached. */
const ACCESSES = {
  'read-sequential-1m': ['read', '1m'],
  'read-sequential-4k': ['read', '4k'],
  'read-random-1m': ['randread', '1m'],
  'read-random-4k': ['randread', '4k'],
  'write-sequential-1m': ['write', '1m'],
  'write-sequential-4k': ['write', '4k'],
  'write-random-1m': ['randwrite', '1m'],
  'write-random-4k': ['randwrite', '4k'],
} as const;

/**
 * One file, all jobs in a row. Unless told, fio drops a file's pages before each job: the disk would then be read
 * natively, and elsewhere the host's page cache behind the daemon, which is no comparison.
 */
const FIO_JOBS = [
  '[global]',
  ...['ioengine=psync', 'thread=1', `size=${DATA_MIB}m`, 'invalidate=0', 'fallocate=none'],
  ...['stonewall=1', 'filename=large'],
  ...['[fill]', 'rw=write', 'bs=1m', 'end_fsync=1'],
  ...['[warm]', 'rw=read', 'bs=1m'],
  ...Object.entries(ACCESSES).flatMap(([name, [rw, bs]]) => [
    ...[`[${name}]`, `rw=${rw}`, `bs=${bs}`],
    ...['time_based=1', `runtime=${FIO_MS}ms`],
  ]),
  '',
].join('\n');

interface FioReport {
  readonly jobs: readonly {
    readonly jobname: string;
    readonly read: { readonly iops: number };
    readonly write: { readonly iops: number };
  }[];
}

/** Seconds per operation of the jobs that bear the name of a row. Throws when one did nothing. */
export function parseFio(text: string): Sample {
  const { jobs } = JSON.parse(text) as FioReport;
  const named = jobs.filter(({ jobname }) => Object.hasOwn(ACCESSES, jobname));
  const entries = named.map(({ jobname, read, write }) => {
    const rate = jobname.startsWith('read') ? read.iops : write.iops;
    if (!(rate > 0)) throw new Error(`fio: ${jobname} did nothing`);
    return [jobname, 1 / rate] as const;
  });
  return Object.fromEntries(entries);
}

/** Lines `name operations seconds` as seconds per operation. */
export function parsePhases(text: string): Sample {
  const lines = text.trim().split('\n').filter(Boolean);
  const entries = lines.map((line) => {
    const [name = '', operations, seconds] = line.split(' ');
    return [name, Number(seconds) / Number(operations)] as const;
  });
  return Object.fromEntries(entries);
}

export class Rates {
  readonly #commands: Commands;
  readonly #program: string;
  readonly #jobs: string;
  /** What measures the data rows. */
  readonly dataBy = isInstalled('fio') ? 'fio' : 'files.c';

  constructor(base: string, commands: Commands) {
    this.#commands = commands;
    this.#program = join(base, 'rates', 'files');
    this.#jobs = join(base, 'rates', 'jobs.fio');
    mkdirSync(join(base, 'rates'));
  }

  async prepare(): Promise<void> {
    await this.#commands.run('/', 'gcc', '-O2', '-pthread', '-o', this.#program, FILES_C);
    writeFileSync(this.#jobs, FIO_JOBS);
  }

  /** One run of files.c; its head says what the phases are. */
  async phases(
    directory: string,
    phases: string,
    ...args: readonly (string | number)[]
  ): Promise<Sample> {
    const rest = args.map(String);
    const { text } = await this.#commands.run('/', this.#program, phases, directory, ...rest);
    return parsePhases(text);
  }

  async data(directory: string): Promise<Sample> {
    if (this.dataBy !== 'fio') return this.phases(directory, 'data', DATA_MIB);
    const args = ['--output-format=json', this.#jobs];
    const { text } = await this.#commands.run(directory, 'fio', ...args);
    return parseFio(text);
  }
}
