/**
 * `npm run bench`: the bars of the design as ratios to a native directory on the same disk, measured
 * interleaved in one run: native, mount, native, mount, …; the median of each is compared.
 *
 *   npm run bench [-- --rounds N] [-- --files N]
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Mounted } from './mounted.ts';
import { formatTable, median, type Row } from './table.ts';
import { callRows, readyRow, type Sample } from './tool-rates.ts';
import { filesSample, gitSample, tarSample, Workloads } from './workloads.ts';

interface Bar {
  readonly name: string;
  readonly title: string;
  /** 'rate': ours ÷ native's rate, more is better. 'time': ours ÷ native's time, less is better. */
  readonly unit: 'rate' | 'time';
  readonly bar: string;
}

const BARS: readonly Bar[] = [
  { name: 'create', title: 'create, 4 threads', unit: 'rate', bar: '' },
  { name: 'unlink', title: 'unlink, 4 threads', unit: 'rate', bar: '' },
  { name: 'stat-warm', title: 'warm stat, 4 threads', unit: 'rate', bar: '≥ 0.5' },
  { name: 'write-sequential', title: 'sequential write, MiB', unit: 'rate', bar: '≥ 0.9' },
  { name: 'read-sequential', title: 'sequential read, MiB', unit: 'rate', bar: '≥ 0.9' },
  { name: 'read-random-4k', title: '4 KiB random read', unit: 'rate', bar: '≥ 0.8' },
  { name: 'write-random-4k', title: '4 KiB random write', unit: 'rate', bar: '≥ 0.6' },
  {
    name: 'create-write-4k-one-thread',
    title: 'create + write 4 KiB + close, 1 thread',
    unit: 'rate',
    bar: '≥ 1.0',
  },
  {
    name: 'open-write-4k-one-thread',
    title: 'open + write 4 KiB + close, 1 thread',
    unit: 'rate',
    bar: '',
  },
  {
    name: 'open-read-4k-one-thread',
    title: 'open + read 4 KiB + close, 1 thread',
    unit: 'rate',
    bar: '',
  },
  {
    name: 'create-4k-fsync',
    title: 'create + 4 KiB + fsync, 4 threads',
    unit: 'time',
    bar: '≤ 1.8',
  },
  { name: 'git-clone', title: 'git clone, 4,000 files', unit: 'time', bar: '≤ 1.8' },
  { name: 'git-status', title: 'git status, second', unit: 'time', bar: '≤ 1.3' },
  { name: 'git-grep', title: 'git grep', unit: 'time', bar: '≤ 1.5' },
  { name: 'git-checkout', title: 'git checkout of 1,000 changed', unit: 'time', bar: '≤ 1.8' },
  { name: 'git-rm', title: 'rm -rf of the clone', unit: 'time', bar: '≤ 3.0' },
  { name: 'tar-extract', title: 'tar x of 15,000 small files', unit: 'time', bar: '≤ 1.3' },
];

/**
 * One round in one directory: seconds per operation, by name. The directory may be on the mount, so only other
 * processes touch it.
 */
async function round(workloads: Workloads, directory: string): Promise<Sample> {
  const parts = [filesSample, gitSample, tarSample];
  const sample: Record<string, number> = {};
  for (const part of parts) {
    const inside = join(directory, 'bench');
    await workloads.run('mkdir', ['-p', inside], workloads.base);
    Object.assign(sample, await part(workloads, inside));
    await workloads.run('rm', ['-rf', inside], workloads.base);
  }
  return sample;
}

function rowsOf(native: readonly Sample[], ours: readonly Sample[]): Row[] {
  return BARS.map(({ name, title, unit, bar }) => {
    const [theirs, mine] = [native, ours].map((samples) =>
      median(samples.map((sample) => sample[name] ?? Number.NaN)),
    ) as [number, number];
    const ratio = unit === 'rate' ? theirs / mine : mine / theirs;
    return { title, native: theirs, ours: mine, ratio, unit, bar };
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '3' },
      files: { type: 'string', default: '4000' },
    },
  });
  const base = mkdtempSync(join(tmpdir(), 'kitfs-bench-'));
  const native = join(base, 'native');
  mkdirSync(native);
  const workloads = new Workloads(base, Number(values.files));
  try {
    await workloads.prepare();
    await using mounted = await Mounted.start();
    const [theirs, ours]: [Sample[], Sample[]] = [[], []];
    for (let i = 0; i < Number(values.rounds); i++) {
      process.stderr.write(`round ${i + 1} of ${values.rounds}: native, then the mount\n`);
      theirs.push(await round(workloads, native));
      ours.push(await round(workloads, mounted.tree));
    }
    const extra = [...(await callRows(mounted)), await readyRow(mounted)];
    process.stdout.write(`${formatTable(rowsOf(theirs, ours), extra)}\n`);
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

await main();
