/**
 * `npm run bench:scale`: what a tree of 1,000,000 files costs, 200,000 of them in one directory, beside what one of
 * 10,000 and of 100,000 costs: what must not grow is in one row.
 *
 *   npm run bench:scale [-- --files 1000000]
 */
import { parseArgs } from 'node:util';
import { ManyFiles } from './many.ts';

const SAMPLES = 5000;
/** Of the last files, whose rate is compared with that of the first. */
const LAST = 0.1;
const HELD_MAX = 5000;
const READ_MAX = 20_000;

/** One size, measured after a start that found it. */
interface Stage {
  readonly files: number;
  readonly createRate: number;
  readonly readyMs: number;
  readonly idleMib: number;
  readonly lookupUs: number;
  readonly lookupMedianUs: number;
  readonly findUs: number;
  readonly duUs: number;
  /** After find and du, when the kernel knows every file. */
  readonly knownMib: number;
  readonly peakMib: number;
  readonly descriptors: number;
  readonly descriptorsMax: number;
}

async function measure(tree: ManyFiles, files: number, createRate: number): Promise<Stage> {
  const say = (what: string) => process.stderr.write(`${files} files: ${what}\n`);
  say(`made at ${Math.round(createRate)}/s; ${JSON.stringify(tree.memory())}; sealing`);
  await tree.sealed();
  say(`sealed; ${JSON.stringify(tree.memory())}`);
  const readyMs = await tree.restart();
  const idleMib = tree.memory().residentMib;
  const descriptors = tree.descriptors();
  const lookups = await tree.lookup(files, SAMPLES);
  say('looked up');
  await tree.restart();
  const findUs = await tree.find();
  say('found');
  await tree.restart();
  const duUs = await tree.du();
  const { residentMib: knownMib } = tree.memory();
  await tree.read(Math.min(files, READ_MAX));
  const held = Math.min(files, HELD_MAX);
  const descriptorsMax = await tree.holding(held, async () => tree.descriptors());
  const { peakMib } = tree.memory();
  const { mean: lookupUs, median: lookupMedianUs } = lookups;
  return {
    ...{ files, createRate, readyMs, idleMib, lookupUs, lookupMedianUs, findUs, duUs },
    ...{ knownMib, peakMib, descriptors, descriptorsMax },
  };
}

const ROWS: readonly [string, (stage: Stage) => number][] = [
  ['made, files/s', ({ createRate }) => createRate],
  ['ready after a start, ms', ({ readyMs }) => readyMs],
  ['resident when idle, MiB', ({ idleMib }) => idleMib],
  ['cold lookup, mean, µs', ({ lookupUs }) => lookupUs],
  ['cold lookup, median, µs', ({ lookupMedianUs }) => lookupMedianUs],
  ['cold find, µs an entry', ({ findUs }) => findUs],
  ['cold du, µs an entry', ({ duUs }) => duUs],
  ['resident, all files known to the kernel, MiB', ({ knownMib }) => knownMib],
  ['resident at most, MiB', ({ peakMib }) => peakMib],
  ['descriptors when idle', ({ descriptors }) => descriptors],
  [`descriptors, ${HELD_MAX} files open`, ({ descriptorsMax }) => descriptorsMax],
];

function table(stages: readonly Stage[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`;
  const figure = (value: number) => (value < 100 ? value.toFixed(1) : value.toFixed(0));
  return [
    line(['files', ...stages.map(({ files }) => files.toLocaleString('en'))]),
    line(['---', ...stages.map(() => '--:')]),
    ...ROWS.map(([title, value]) => line([title, ...stages.map((stage) => figure(value(stage)))])),
  ].join('\n');
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { files: { type: 'string', default: '1000000' } } });
  const all = Number(values.files);
  await using tree = await ManyFiles.start();
  const stages: Stage[] = [];
  let made = 0;
  for (const files of [all / 100, all / 10, all]) {
    const last = files - Math.round(files * LAST);
    if (made > 0) await tree.make(made, last);
    const rate = await tree.make(made === 0 ? 0 : last, files);
    made = files;
    stages.push(await measure(tree, files, rate));
  }
  process.stdout.write(`${table(stages)}\n`);
}

await main();
