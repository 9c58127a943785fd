/** Records a run of the workload, and loses the power again and again at moments of it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brokenPromises } from './check.ts';
import { Dice, Disk, FATES, parseTrace, type TraceEvent } from './disk.ts';
import { Model } from './model.ts';
import type { Mark } from './workload.ts';

/** From the sources, or from `dist/`. */
const ROOT = fileURLToPath(
  new URL(import.meta.url.includes('/dist/test/') ? '../../../' : '../../', import.meta.url),
);
const RUN_MS_MAX = 120_000;

export interface PowerRun {
  readonly seed: number;
  /** Operations of the workload. */
  readonly operations: number;
  /** How many moments are tried, at most; each event of the trace is one, and each frame of the WAL two more. */
  readonly cuts: number;
}

export interface PowerResult {
  readonly events: number;
  readonly cuts: number;
  /** The first promises that were broken, with what it takes to see that again. */
  readonly broken: readonly string[];
}

interface Cut {
  /** Events that happened before. */
  readonly at: number;
  /** Bytes of the next event that were written. */
  readonly tornBytes: number;
}

const BROKEN_MAX = 5;
/** Header, frame header and page of the journal's WAL (sqlite.org/fileformat2.html). */
const [WAL_HEADER_BYTES, FRAME_BYTES] = [32, 24 + 2048];

/** In `scratch`, which is the caller's. */
export async function losePower(scratch: string, run: PowerRun): Promise<PowerResult> {
  const { root, events, marks, rootIno } = record(scratch, run);
  const lines = marks.map(({ mark }) => mark);
  const model = new Model(lines);
  const dice = new Dice(run.seed + 1);
  const disk = new Disk(root, rootIno);
  const cuts = chosen(cutsOf(events), run.cuts, dice);
  const broken: string[] = [];
  const moment = { done: 0, begun: 0 };
  let [applied, marked] = [0, 0];
  for (const { at, tornBytes } of cuts) {
    while (applied < at) disk.apply(events[applied++] as TraceEvent);
    for (; (marks[marked]?.event ?? Infinity) <= at; marked++) count(moment, marks[marked]?.mark);
    const next = events[at];
    const torn =
      next === undefined || tornBytes === 0 ? undefined : { event: next, bytes: tornBytes };
    const [fate, settlesFirst] = [dice.of(FATES), dice.below(2) === 0];
    const directory = mkdtempSync(join(scratch, 'cut-'));
    disk.cut(directory, dice, fate, torn);
    const found = await brokenPromises(directory, model, moment, settlesFirst);
    const where = `seed ${run.seed}, event ${at} + ${tornBytes} bytes, ${fate}`;
    broken.push(...found.map((one) => `${where}: ${one}`));
    if (found.length === 0) rmSync(directory, { recursive: true, force: true });
    if (broken.length >= BROKEN_MAX) break;
  }
  return { events: events.length, cuts: cuts.length, broken };
}

function count(moment: { done: number; begun: number }, mark: Mark | undefined): void {
  // A state's number is one more than that of the operation that led to it.
  if (mark === undefined) return;
  if ('begun' in mark) moment.begun = mark.begun + 1;
  else moment.done = mark.done + 1;
}

function record(scratch: string, { seed, operations }: PowerRun) {
  const root = join(scratch, 'state');
  mkdirSync(root, { mode: 0o700 });
  const trace = join(scratch, 'trace');
  const library = join(scratch, 'trace.so');
  const source = join(ROOT, 'test/power/trace.c');
  execFileSync('gcc', [
    '-O1',
    '-Wall',
    '-Wextra',
    '-Werror',
    '-shared',
    '-fPIC',
    '-o',
    library,
    source,
  ]);
  const program = join(ROOT, 'dist/test/power/workload.js');
  execFileSync(process.execPath, [program, root, String(seed), String(operations)], {
    env: { ...process.env, LD_PRELOAD: library, KITFS_TRACE: trace, KITFS_TRACE_ROOT: root },
    timeout: RUN_MS_MAX,
    stdio: ['ignore', 'inherit', 'inherit'],
  });
  const all = parseTrace(readFileSync(trace));
  const marksIno = statSync(join(root, 'marks')).ino;
  const events: TraceEvent[] = [];
  const marks: { readonly event: number; readonly mark: Mark }[] = [];
  for (const event of all) {
    if (event.ino !== marksIno) events.push(event);
    else if (event.kind === 'W')
      marks.push({ event: events.length, mark: JSON.parse(event.bytes.toString()) as Mark });
  }
  return { root, events, marks, rootIno: statSync(root).ino };
}

/** Before each event; within a write also after each frame that it might be, and within the frame. */
function cutsOf(events: readonly TraceEvent[]): Cut[] {
  const cuts: Cut[] = [];
  for (const [at, { kind, number, bytes }] of events.entries()) {
    cuts.push({ at, tornBytes: 0 });
    const isFrames = kind === 'W' && (number - WAL_HEADER_BYTES) % FRAME_BYTES === 0;
    if (!isFrames || bytes.length % FRAME_BYTES !== 0) continue;
    for (let end = FRAME_BYTES; end <= bytes.length; end += FRAME_BYTES) {
      cuts.push({ at, tornBytes: end - FRAME_BYTES / 2 });
      if (end < bytes.length) cuts.push({ at, tornBytes: end });
    }
  }
  cuts.push({ at: events.length, tornBytes: 0 });
  return cuts;
}

/** Some of them, in their order. */
function chosen(cuts: readonly Cut[], count: number, dice: Dice): Cut[] {
  let left = Math.min(count, cuts.length);
  return cuts.filter((_, index) => {
    const isTaken = dice.below(cuts.length - index) < left;
    left -= Number(isTaken);
    return isTaken;
  });
}
