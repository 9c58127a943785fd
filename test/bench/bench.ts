/**
 * `npm run bench`: the bars of the design as ratios to a native directory of the same disk, and to bindfs over the
 * same disk where it is installed. Each part is measured in every place in turn, and that in every round; a ratio is
 * of one round, and the table shows the median, the least and the greatest.
 *
 *   npm run bench [-- --rounds N] [--minutes N] [--only PATTERN] [--files N] [--against DIR] [--json FILE]
 *                    [--disk directory|image] [--no-bindfs]
 *
 * `--only` takes a regular expression and shows the rows of such a name, or of a part of such a name; the names
 * are those of parts.ts and of the JSON. `--against` measures a directory of another mounted file system in place of
 * ours. `--minutes` begins no round that would not end in that time. TMPDIR says which disk is native; disk.ts says
 * when it is an image on that.
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { loadavg, release } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Commands, isInstalled } from './commands.ts';
import { DISKS, Disk, type DiskChoice } from './disk.ts';
import { Mounted } from './mounted.ts';
import { type Part, partsOf } from './parts.ts';
import { Bindfs, type Place } from './places.ts';
import { Programs } from './programs.ts';
import { Rates } from './rates.ts';
import {
  formatTable,
  type Round,
  type Sample,
  SUBJECTS,
  type Subject,
  secondsOf,
  type Table,
} from './table.ts';
import { toolFigures } from './tool-rates.ts';

const CLEAN_MS_MAX = 120_000;
/** So that each of four threads has some in every phase. */
const FILES_MIN = 80;

interface Plan {
  readonly rounds: number;
  readonly minutes: number;
  readonly files: number;
  readonly disk: DiskChoice;
  readonly only: RegExp;
  readonly against: string | undefined;
  readonly json: string | undefined;
  readonly withBindfs: boolean;
}

function planOf(args: readonly string[]): Plan {
  const { values } = parseArgs({
    args: [...args],
    options: {
      rounds: { type: 'string', default: '3' },
      minutes: { type: 'string', default: '6' },
      files: { type: 'string', default: '4000' },
      disk: { type: 'string' },
      only: { type: 'string', default: '' },
      against: { type: 'string' },
      json: { type: 'string' },
      'no-bindfs': { type: 'boolean', default: false },
    },
  });
  const [rounds, files, minutes] = [values.rounds, values.files, values.minutes].map(Number) as [
    number,
    number,
    number,
  ];
  if (!(rounds >= 1 && minutes > 0)) throw new Error('--rounds and --minutes are numbers');
  if (!(files >= FILES_MIN)) throw new Error(`--files is ${FILES_MIN} at least`);
  // What lies behind another file system is not ours to place; it is compared with the disk as it is.
  const wanted = values.disk ?? (values.against === undefined ? 'auto' : 'directory');
  const disk = DISKS.find((choice) => choice === wanted);
  if (disk === undefined) throw new Error(`--disk is one of ${DISKS.join(', ')}`);
  return {
    rounds,
    files,
    disk,
    minutes,
    only: new RegExp(values.only),
    against: values.against === undefined ? undefined : realpathSync(values.against),
    json: values.json,
    withBindfs: !values['no-bindfs'] && isInstalled('bindfs'),
  };
}

/** A part in one place, in directories of its own that are gone afterwards. Seconds per operation. */
async function measure(commands: Commands, part: Part, place: Place): Promise<Sample> {
  const made: string[] = [];
  const fresh = async () => {
    const directory = join(place.directory, `bench-${randomUUID()}`);
    await commands.run('/', 'mkdir', directory);
    made.push(directory);
    return directory;
  };
  try {
    return await part.measure(place, fresh);
  } finally {
    // Also when we are interrupted.
    await new Commands(AbortSignal.timeout(CLEAN_MS_MAX)).run('/', 'rm', '-rf', ...made);
  }
}

interface Course {
  readonly parts: readonly Part[];
  readonly places: readonly Place[];
  /** On the disk of every place. */
  readonly base: string;
  readonly plan: Plan;
}

async function measureRound(commands: Commands, course: Course, index: number): Promise<Round> {
  const { parts, places, base, plan } = course;
  const round: Partial<Record<Subject, Sample>> = {};
  // Who comes first finds another machine than who comes last; each is first once.
  const first = index % places.length;
  const turned = [...places.slice(first), ...places.slice(0, first)];
  for (const part of parts) {
    const isDue = ({ subject }: Place) =>
      index < (part.roundsMax ?? plan.rounds) &&
      (subject !== 'bindfs' || index < (part.bindfsRoundsMax ?? plan.rounds));
    for (const place of turned.filter(isDue)) {
      // What one place has left to be written must not slow the next.
      await commands.run('/', 'sync', '-f', base);
      const start = performance.now();
      const sample = await measure(commands, part, place);
      round[place.subject] = { ...round[place.subject], ...sample };
      const took = ((performance.now() - start) / 1000).toFixed(1);
      process.stderr.write(`round ${index + 1} ${part.name} ${place.subject}: ${took} s\n`);
    }
  }
  return round;
}

async function measureRounds(commands: Commands, course: Course): Promise<Round[]> {
  const all: Round[] = [];
  const { rounds, minutes } = course.plan;
  let expectedMs = 0;
  while (all.length < rounds && performance.now() + expectedMs < minutes * 60_000) {
    const start = performance.now();
    all.push(await measureRound(commands, course, all.length));
    expectedMs = performance.now() - start;
  }
  return all;
}

/** Small enough to keep: of each row the seconds per operation of each round. */
function jsonOf({ specs, rounds, figures }: Table, how: object): string {
  const rows = specs.map(({ name }) => {
    const measured = SUBJECTS.map((subject) => {
      const seconds = secondsOf(rounds, subject, name).map((value) => Number(value.toPrecision(4)));
      return [subject, seconds] as const;
    });
    return [name, Object.fromEntries(measured.filter(([, { length }]) => length > 0))] as const;
  });
  // A row a line, so that two runs can be laid side by side.
  const lines = rows.map(([name, row]) => `    ${JSON.stringify(name)}: ${JSON.stringify(row)}`);
  const told = Object.fromEntries(figures.map(({ name, value }) => [name, value]));
  return [
    '{',
    `  "how": ${JSON.stringify(how)},`,
    `  "rows": {\n${lines.join(',\n')}\n  },`,
    `  "figures": ${JSON.stringify(told)}`,
    '}\n',
  ].join('\n');
}

async function bench(plan: Plan, commands: Commands): Promise<void> {
  const loadBefore = loadavg()[0]?.toFixed(1);
  await using disk = await Disk.make(plan.disk, commands);
  const { base } = disk;
  const rates = new Rates(base, commands);
  const programs = new Programs(base, commands);
  const parts = partsOf({ rates, programs, files: plan.files })
    .map((part) => {
      const isWanted = plan.only.test(part.name);
      return { ...part, rows: part.rows.filter(({ name }) => isWanted || plan.only.test(name)) };
    })
    .filter(({ rows }) => rows.length > 0);
  await rates.prepare();
  for (const part of parts) await part.prepare?.();

  const native = join(base, 'native');
  mkdirSync(native);
  // Where the daemon keeps its state: on the same disk.
  process.env['TMPDIR'] = base;
  await using bindfs = plan.withBindfs ? await Bindfs.start(base) : undefined;
  await using mounted = plan.against === undefined ? await Mounted.start() : undefined;
  const all: Place[] = [
    { subject: 'native', directory: native, sealedXattr: '' },
    { subject: 'bindfs', directory: bindfs?.mountPoint ?? '', sealedXattr: '' },
    {
      subject: 'kitfs',
      directory: mounted?.tree ?? plan.against ?? '',
      sealedXattr: mounted === undefined ? '' : 'user.ipfs.cid',
    },
  ];
  const places = all.filter(({ directory }) => directory !== '');
  const rounds = await measureRounds(commands, { parts, places, base, plan });
  const figures = mounted === undefined ? [] : await toolFigures(mounted, plan.only);
  const specs = parts.flatMap(({ rows }) => rows);
  const ourTitle = plan.against === undefined ? 'kitfs' : 'other';
  const table = { specs, rounds, figures, ourTitle };
  const head = [
    `On ${disk.title}; ${rounds.length} of ${plan.rounds} rounds`,
    `Linux ${release()}, Node ${process.version}; load before the run ${loadBefore}`,
  ].join('; ');
  process.stdout.write(`${head}\n\n${formatTable(table)}\n`);
  const how = {
    disk: disk.title,
    load: loadBefore,
    kernel: release(),
    node: process.version,
    data: rates.dataBy,
    only: plan.only.source,
    against: plan.against,
  };
  if (plan.json !== undefined) writeFileSync(plan.json, jsonOf(table, how));
}

async function main(): Promise<void> {
  const plan = planOf(process.argv.slice(2));
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => interrupted.abort());
  }
  try {
    await bench(plan, new Commands(interrupted.signal));
  } catch (error) {
    if (!interrupted.signal.aborted) throw error;
    process.exitCode = 130;
  }
}

await main();
