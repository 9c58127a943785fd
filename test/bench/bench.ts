/**
 * `npm run bench`: the bars of the design as ratios to a native directory of the same disk, and to bindfs over the
 * same disk where it is installed. Each part is measured in every place in turn, and that in every round; a ratio is
 * of one round, and the table shows the median, the least and the greatest.
 *
 *   npm run bench [-- --rounds N] [--only PATTERN] [--files N] [--against DIR] [--json FILE] [--no-bindfs]
 *
 * `--only` takes a regular expression and runs the parts that have a row of such a name. `--against` measures a
 * directory of another mounted file system in place of ours; TMPDIR says which disk is native.
 */
import { mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { release, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Commands, isInstalled } from './commands.ts';
import { Mounted } from './mounted.ts';
import { type Part, partsOf } from './parts.ts';
import { Bindfs, type Place } from './places.ts';
import { Programs } from './programs.ts';
import { Rates } from './rates.ts';
import { type Figure, formatTable, type Round, type Sample, type Subject } from './table.ts';
import { toolFigures } from './tool-rates.ts';

const CLEAN_MS_MAX = 120_000;

interface Plan {
  readonly rounds: number;
  readonly files: number;
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
      files: { type: 'string', default: '4000' },
      only: { type: 'string', default: '' },
      against: { type: 'string' },
      json: { type: 'string' },
      'no-bindfs': { type: 'boolean', default: false },
    },
  });
  const [rounds, files] = [Number(values.rounds), Number(values.files)];
  if (!(rounds >= 1 && files >= 20)) throw new Error('--rounds is 1 at least, --files 20');
  return {
    rounds,
    files,
    only: new RegExp(values.only),
    against: values.against === undefined ? undefined : realpathSync(values.against),
    json: values.json,
    withBindfs: !values['no-bindfs'] && isInstalled('bindfs'),
  };
}

/** A part in one place, in a directory of its own that is gone afterwards. Seconds per operation. */
async function measure(commands: Commands, part: Part, place: Place): Promise<Sample> {
  const inside = join(place.directory, `bench-${process.pid}`);
  await commands.run('/', 'mkdir', inside);
  try {
    return await part.measure(place, inside);
  } finally {
    // Also when we are interrupted.
    await new Commands(AbortSignal.timeout(CLEAN_MS_MAX)).run('/', 'rm', '-rf', inside);
  }
}

async function measureRounds(
  commands: Commands,
  { parts, places, rounds }: { parts: readonly Part[]; places: readonly Place[]; rounds: number },
): Promise<Round[]> {
  const all: Round[] = [];
  for (let i = 0; i < rounds; i++) {
    const round: Partial<Record<Subject, Sample>> = {};
    // Who comes first finds another machine than who comes last; each is first once.
    const turned = [...places.slice(i % places.length), ...places.slice(0, i % places.length)];
    for (const part of parts) {
      const isDue = ({ subject }: Place) =>
        i < (part.roundsMax ?? rounds) &&
        (subject !== 'bindfs' || i < (part.bindfsRoundsMax ?? rounds));
      for (const place of turned.filter(isDue)) {
        const start = performance.now();
        const sample = await measure(commands, part, place);
        round[place.subject] = { ...round[place.subject], ...sample };
        const took = ((performance.now() - start) / 1000).toFixed(1);
        process.stderr.write(`round ${i + 1}/${rounds} ${part.name} ${place.subject}: ${took} s\n`);
      }
    }
    all.push(round);
  }
  return all;
}

/** Small enough to keep: of each row the seconds per operation of each round. */
function jsonOf(rounds: readonly Round[], figures: readonly Figure[], how: object): string {
  const rows: Record<string, Partial<Record<Subject, number[]>>> = {};
  for (const round of rounds) {
    for (const [subject, sample] of Object.entries(round) as [Subject, Sample][]) {
      for (const [name, seconds] of Object.entries(sample)) {
        rows[name] ??= {};
        rows[name][subject] ??= [];
        rows[name][subject].push(Number(seconds.toPrecision(4)));
      }
    }
  }
  const text = (value: unknown) => JSON.stringify(value);
  const lines = Object.entries(rows).map(([name, row]) => `    ${text(name)}: ${text(row)}`);
  const told = Object.fromEntries(figures.map(({ name, value }) => [name, value]));
  return `{\n  "how": ${text(how)},\n  "rows": {\n${lines.join(',\n')}\n  },\n  "figures": ${text(told)}\n}\n`;
}

async function bench(plan: Plan, base: string, commands: Commands): Promise<void> {
  const rates = new Rates(base, commands);
  const programs = new Programs(base, commands);
  const parts = partsOf({ rates, programs, files: plan.files })
    .map((part) => ({ ...part, rows: part.rows.filter(({ name }) => plan.only.test(name)) }))
    .filter(({ rows }) => rows.length > 0);
  await rates.prepare();
  for (const part of parts) await part.prepare?.();

  const native = join(base, 'native');
  mkdirSync(native);
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
  const rounds = await measureRounds(commands, { parts, places, rounds: plan.rounds });
  const figures = mounted === undefined ? [] : await toolFigures(mounted, plan.only);
  const specs = parts.flatMap(({ rows }) => rows);
  const ourTitle = plan.against === undefined ? 'kitfs' : 'other';
  process.stdout.write(`${formatTable({ specs, rounds, figures, ourTitle })}\n`);
  const how = { kernel: release(), node: process.version, data: rates.dataBy, ...plan };
  if (plan.json !== undefined) writeFileSync(plan.json, jsonOf(rounds, figures, how));
}

async function main(): Promise<void> {
  const plan = planOf(process.argv.slice(2));
  const interrupted = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => interrupted.abort());
  }
  const base = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-bench-'));
  try {
    await bench(plan, base, new Commands(interrupted.signal));
  } finally {
    rmSync(base, { recursive: true, force: true });
  }
}

await main();
