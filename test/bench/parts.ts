/**
 * What is measured, in the order of the table: each part makes the rows it names, in new directories, alike in every
 * place. Parts are short, so that places are compared within seconds of each other.
 */
import type { Place } from './places.ts';
import { GIT_CHANGED, GIT_FILES, NPM_FILES, type Programs, TAR_FILES } from './programs.ts';
import { DATA_MIB, type Rates } from './rates.ts';
import type { Bar, RowSpec, Sample } from './table.ts';

const LIST_ENTRIES = 10_000;
const SEALED_MIB = 1024;

export interface Part {
  readonly name: string;
  readonly rows: readonly RowSpec[];
  /** Rounds it is measured in, at most; absent for every round. */
  readonly roundsMax?: number;
  /** The same of bindfs alone, which is slow at what no bar compares with it. */
  readonly bindfsRoundsMax?: number;
  /** Makes what it works on, once. */
  readonly prepare?: () => Promise<void>;
  readonly measure: (place: Place, fresh: Fresh) => Promise<Sample>;
}

/** Makes a new directory in the place that is measured, which is removed after the part. */
export type Fresh = () => Promise<string>;

interface Measures {
  readonly rates: Rates;
  readonly programs: Programs;
  /** Files of the metadata rows. */
  readonly files: number;
}

const toNative = (limit: number): Bar => ({ against: 'native', limit });
const toBindfs = (limit: number): Bar => ({ against: 'bindfs', limit });

const MICROSECONDS: Bar = { against: 'clock', limit: 1e-3 };

const row = (unit: RowSpec['unit'], name: string, title: string, bar?: Bar): RowSpec => ({
  name,
  title,
  unit,
  ...(bar === undefined ? {} : { bar }),
});
const rate = (name: string, title: string, bar?: Bar) => row('rate', name, title, bar);
const time = (name: string, title: string, bar?: Bar) => row('time', name, title, bar);

/** bindfs is what is at hand of libfuse in C without a journal; the bar is of libfuse's own example. */
const STAND_IN = ' (bindfs for the C example)';

function namesPart({ rates, files }: Measures, threads: 1 | 4): Part {
  const by = (title: string) => `${title}, ${threads} thread${threads === 1 ? '' : 's'}`;
  const bar = threads === 4 ? toBindfs(0.7) : undefined;
  const standIn = threads === 4 ? STAND_IN : '';
  return {
    name: `names-${threads}`,
    rows: [
      rate(`create-${threads}`, `${by('create')}${standIn}`, bar),
      rate(`stat-warm-${threads}`, by('warm stat'), threads === 4 ? toNative(0.5) : undefined),
      rate(`stat-dropped-${threads}`, by('stat after the kernel dropped names')),
      rate(`rename-${threads}`, by('rename')),
      rate(`unlink-${threads}`, `${by('unlink')}${standIn}`, bar),
      rate(`mkdir-${threads}`, by('mkdir')),
      rate(`rmdir-${threads}`, by('rmdir')),
    ],
    measure: async (_, fresh) => {
      const few = Math.ceil(files / 2);
      const sample = await rates.phases(await fresh(), 'names', files, threads);
      const folders = await rates.phases(await fresh(), 'folders', few, threads);
      return suffixed({ ...sample, ...folders }, threads);
    },
  };
}

function smallPart({ rates, files }: Measures, threads: 1 | 4): Part {
  const by = (title: string) => `${title}, ${threads} thread${threads === 1 ? '' : 's'}`;
  const alone = (bar: Bar) => (threads === 1 ? bar : undefined);
  const syncedBar = threads === 4 ? toNative(1.8) : undefined;
  return {
    name: `small-${threads}`,
    rows: [
      rate(`create-write-4k-${threads}`, by('create + write 4 KiB + close'), alone(toNative(1))),
      rate(`open-write-4k-${threads}`, by('open + write 4 KiB + close'), alone(toBindfs(1.5))),
      rate(`open-read-4k-${threads}`, by('open + read 4 KiB + close'), alone(toBindfs(2))),
      time(`create-write-4k-fsync-${threads}`, by('create + 4 KiB + fsync + close'), syncedBar),
    ],
    measure: async (_, fresh) => {
      const few = Math.ceil(files / 20);
      const plain = await rates.phases(await fresh(), 'small', files, threads);
      const synced = await rates.phases(await fresh(), 'synced', few, threads);
      return suffixed({ ...plain, ...synced }, threads);
    },
  };
}

const suffixed = (sample: Sample, threads: number): Sample =>
  Object.fromEntries(Object.entries(sample).map(([name, value]) => [`${name}-${threads}`, value]));

function listPart({ rates }: Measures): Part {
  const entries = LIST_ENTRIES.toLocaleString('en');
  return {
    name: 'list',
    rows: [rate('readdir', `readdir of a directory of ${entries}, entries`)],
    measure: async (_, fresh) => rates.phases(await fresh(), 'list', LIST_ENTRIES),
  };
}

function dataPart({ rates }: Measures): Part {
  const warm = (title: string) => `${title}, cached (${rates.dataBy})`;
  return {
    name: 'data',
    rows: [
      rate(
        'write-new-1m',
        `sequential write of a new file and fsync, MiB (files.c)`,
        toNative(0.9),
      ),
      rate('read-sequential-1m', warm('sequential read, 1 MiB'), toNative(0.9)),
      rate('read-sequential-4k', warm('sequential read, 4 KiB')),
      rate('read-random-1m', warm('random read, 1 MiB')),
      rate('read-random-4k', warm('random read, 4 KiB'), toNative(0.8)),
      rate('write-sequential-1m', warm('sequential write, 1 MiB'), toNative(0.9)),
      rate('write-sequential-4k', warm('sequential write, 4 KiB')),
      rate('write-random-1m', warm('random write, 1 MiB')),
      rate('write-random-4k', warm('random write, 4 KiB'), toNative(0.6)),
    ],
    measure: async (_, fresh) => {
      const written = await rates.phases(await fresh(), 'new', DATA_MIB);
      return { ...written, ...(await rates.data(await fresh())) };
    },
  };
}

function sealedPart({ rates }: Measures): Part {
  return {
    name: 'sealed',
    roundsMax: 1,
    rows: [
      time(
        'open-rdwr-first',
        'open O_RDWR + close of a sealed 1 GiB file, the first',
        MICROSECONDS,
      ),
      time('open-rdwr-next', 'open O_RDWR + close of a sealed 1 GiB file, the next', MICROSECONDS),
    ],
    measure: async (place, fresh) =>
      rates.phases(await fresh(), 'reopen', SEALED_MIB, place.sealedXattr),
  };
}

function gitPart({ programs }: Measures): Part {
  const [files, changed] = [GIT_FILES.toLocaleString('en'), GIT_CHANGED.toLocaleString('en')];
  return {
    name: 'git',
    bindfsRoundsMax: 1,
    rows: [
      time('git-clone', `git clone, ${files} files`, toNative(1.8)),
      time('git-status-first', 'git status, the first'),
      time('git-status', 'git status, the second', toNative(1.3)),
      time('git-grep', 'git grep', toNative(1.5)),
      time('git-checkout', `git checkout of ${changed} changed`, toNative(1.8)),
      time('git-fsck', 'git fsck'),
      time('git-rm', 'rm -rf of the clone', toNative(3)),
    ],
    prepare: () => programs.prepareGit(),
    measure: async (_, fresh) => programs.git(await fresh()),
  };
}

function tarPart({ programs }: Measures): Part {
  const files = TAR_FILES.toLocaleString('en');
  return {
    name: 'tar',
    bindfsRoundsMax: 1,
    rows: [
      time('tar-extract', `tar x of ${files} small files`, toNative(1.3)),
      time('tar-cat', 'cat of them all'),
      time('tar-find', 'find'),
      time('tar-du', 'du'),
      time('tar-rm', 'rm -rf'),
    ],
    prepare: () => programs.prepareTar(),
    measure: async (_, fresh) => programs.tar(await fresh()),
  };
}

function npmPart({ programs }: Measures): Part {
  const files = NPM_FILES.toLocaleString('en');
  return {
    name: 'npm',
    bindfsRoundsMax: 1,
    rows: [time('npm-ci', `npm ci, ${files} files`, toNative(1.5))],
    prepare: () => programs.prepareNpm(),
    measure: async (_, fresh) => programs.npm(await fresh()),
  };
}

export function partsOf(measures: Measures): Part[] {
  return [
    namesPart(measures, 1),
    namesPart(measures, 4),
    listPart(measures),
    smallPart(measures, 1),
    smallPart(measures, 4),
    dataPart(measures),
    gitPart(measures),
    tarPart(measures),
    npmPart(measures),
    sealedPart(measures),
  ];
}
