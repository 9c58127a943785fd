/**
 * The gate: runs the steps named on the command line, or all of them, in order, and ends with one line
 * `tests: N passed, N failed`. The exit code is 0 only when nothing failed.
 *
 * What counts: every test of every project, and each other step (a check) as one. A test that is skipped, a test
 * file that does not load, an error outside every test, a step that crashes, overstays its time or leaves a mount or
 * a process behind: each counts as failed. After a failed `provision` or `build` nothing else can be trusted, so the
 * steps that would have followed are not run, and count as failed.
 *
 * A word that names a `test/stress/WORD.full.ts` runs that file in the place of the others of its project, at its full
 * size: `npm run test:stress -- fuzz`.
 *
 * Invariants: every step runs in a process group of its own, so that ending it ends what it started; all scratch files
 * lie in one directory, which is gone at the end; reports lie in reports/<step>/ and are those of the last run.
 */
import { spawn, spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import {
  createWriteStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const REPORTS = join(ROOT, 'reports');
/** Read, and then removed, by test/coverage.mjs. */
const CHILD_COVERAGE = join(REPORTS, 'child-coverage');
const MINUTE_MS = 60_000;

/** Provisioning has its own limit; everything after it must fit in this. */
const SUITE_MS_MAX = 60 * MINUTE_MS;
/** How long processes of a finished step may take to go away by themselves. */
const LEAVE_MS_MAX = 5_000;
const LEAVE_POLL_MS = 100;
/** How long to wait for the last output of a command that has ended. */
const DRAIN_MS_MAX = 2_000;

const LINTED = ['src', 'test', 'native/prerequisites.mjs', 'native/build.mjs', 'native/start.cjs'];
const SETTINGS = ['package.json', 'tsconfig.json'];

const check = (limitMin, ...command) => ({ limitMs: limitMin * MINUTE_MS, command });
const project = (limitMin, isCounted) => ({ limitMs: limitMin * MINUTE_MS, isCounted });

/** In the order in which they run. `isCounted`: whether the project's runs add to the coverage. */
const STEPS = {
  // The first time on a machine it builds the services.
  provision: check(40, 'node', 'test/provision/provision.mjs'),
  build: check(5, 'npm', 'run', '--silent', 'build'),
  biome: check(2, 'biome', 'check', '--config-path=test/tidy/lint.json', ...LINTED, ...SETTINGS),
  knip: check(2, 'knip'),
  unit: project(8, true),
  integration: project(20, true),
  smoke: project(6, true),
  performance: project(8, false),
  stress: project(30, false),
  coverage: check(2, 'node', 'test/coverage.mjs'),
};
/** A run at full size takes what it takes. */
const FULL_MS_MAX = 180 * MINUTE_MS;
const isFullSize = (word) => existsSync(join(ROOT, 'test/stress', `${word}.full.ts`));

const NEEDED_BY_ALL = ['provision', 'build'];
const GROUPS = { static: ['biome', 'knip'] };

/** Marks every process of this run, so that one that outlives its step is found and no other is taken for it. */
const MARK = `KITFS_TEST_RUN=${randomUUID()}`;
const passed = { count: 0 };
const failures = [];
let running;

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`;

function kill(pid, signal) {
  try {
    process.kill(pid, signal);
  } catch {
    // It has just ended.
  }
}

/** Runs one command; its output is ours, and goes to `textFile`. Resolves with what went wrong, or undefined. */
async function run(command, { limitMs, env, textFile }) {
  mkdirSync(dirname(textFile), { recursive: true });
  const text = createWriteStream(textFile);
  const [program, ...args] = command;
  const child = spawn(program, args, {
    cwd: ROOT,
    env,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running = child;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk) => {
      process.stdout.write(chunk);
      text.write(chunk);
    });
  }
  let isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    kill(-child.pid, 'SIGKILL');
  }, limitMs);
  const [code, signal] = await new Promise((resolve) => {
    child.once('error', (error) => resolve([error.message, null]));
    child.once('close', (...end) => resolve(end));
    // A process left behind may keep the pipes open for ever.
    child.once('exit', (...end) => wait(DRAIN_MS_MAX).then(() => resolve(end)));
  });
  clearTimeout(timer);
  running = undefined;
  child.stdout.destroy();
  child.stderr.destroy();
  await new Promise((resolve) => text.end(resolve));
  if (isLate) return `took longer than ${seconds(limitMs)}`;
  return code === 0 ? undefined : `ended with ${signal ?? code}`;
}

/** The processes of this run that are alive, ourselves apart. */
function alive() {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => {
      try {
        // A zombie has no environment left, so it does not count.
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(MARK);
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** The mount points below the scratch directory. */
function mounted() {
  return readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' ')[1] ?? '')
    .filter((point) => point.startsWith(`${scratch}/`));
}

/** Ends what a step left behind, and names it. */
async function sweep() {
  const deadline = performance.now() + LEAVE_MS_MAX;
  while (alive().length > 0 && performance.now() < deadline) await wait(LEAVE_POLL_MS);
  const left = [];
  for (const pid of alive()) {
    let what = '';
    try {
      what = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ');
    } catch {
      // It has just ended.
    }
    left.push(`process ${pid} (${what.trim()})`);
    kill(pid, 'SIGKILL');
  }
  for (const point of mounted()) {
    left.push(`mount ${point}`);
    spawnSync('umount', ['-l', point], { stdio: 'inherit', timeout: 10_000 });
  }
  return left;
}

/** What vitest wrote about a project: tests that passed, and a line for each thing that did not. */
function readReport(path) {
  if (!existsSync(path)) return { passedCount: 0, wrong: ['no report'] };
  const report = JSON.parse(readFileSync(path, 'utf8'));
  const wrong = [];
  for (const { name, status, assertionResults } of report.testResults) {
    const notPassed = assertionResults.filter((test) => test.status !== 'passed');
    for (const test of notPassed) wrong.push(`${test.fullName}: ${test.status}`);
    if (status === 'failed' && notPassed.length === 0) wrong.push(`${name}: did not load`);
  }
  if (report.numPassedTests + wrong.length === 0) wrong.push('no test ran');
  return { passedCount: report.numPassedTests, wrong };
}

function commandOf(name, { isCollecting }) {
  const step = STEPS[name];
  if (step.command) return step.command;
  const folder = join(REPORTS, name);
  return [
    ...['vitest', 'run', '--config', 'test/vitest.config.ts', '--project', name],
    ...(name === 'stress' ? fullSize.map((word) => `test/stress/${word}.full.ts`) : []),
    ...['--reporter=default', '--reporter=json', '--reporter=html'],
    `--outputFile.json=${join(folder, 'report.json')}`,
    `--outputFile.html=${join(folder, 'html/index.html')}`,
    ...(isCollecting && step.isCounted
      ? ['--coverage.enabled', `--coverage.reportsDirectory=${join(folder, 'coverage')}`]
      : []),
  ];
}

/** Runs one step and books what came of it. Resolves with whether all went well. */
async function take(name, { isCollecting, deadline }) {
  const step = STEPS[name];
  const folder = join(REPORTS, name);
  rmSync(folder, { recursive: true, force: true });
  const [markName, markValue] = MARK.split('=');
  const env = { ...process.env, TMPDIR: scratch, [markName]: markValue };
  env.PATH = [join(ROOT, 'node_modules/.bin'), env.PATH].join(delimiter);
  if (isCollecting && step.isCounted) env.KITFS_TEST_CHILD_COVERAGE = CHILD_COVERAGE;

  console.log(`\n== ${name}`);
  const start = performance.now();
  const isFull = name === 'stress' && fullSize.length > 0;
  const limitMs = isFull ? FULL_MS_MAX : Math.max(1, Math.min(step.limitMs, deadline - start));
  if (isFull) env.KITFS_TEST_FULL = 'yes';
  const command = commandOf(name, { isCollecting });
  const trouble = await run(command, { limitMs, env, textFile: join(folder, 'report.txt') });
  const { passedCount, wrong } = step.command
    ? { passedCount: trouble ? 0 : 1, wrong: trouble ? [trouble] : [] }
    : readReport(join(folder, 'report.json'));
  if (trouble && wrong.length === 0) wrong.push(trouble);
  for (const left of await sweep()) wrong.push(`left behind: ${left}`);

  passed.count += passedCount;
  for (const line of wrong) failures.push(`${name}: ${line}`);
  const took = seconds(performance.now() - start);
  console.log(`== ${name}: ${passedCount} passed, ${wrong.length} failed, in ${took}`);
  return wrong.length === 0;
}

function stepsOf(args) {
  const names = args.flatMap((name) => GROUPS[name] ?? [name]);
  const unknown = names.find((name) => !Object.hasOwn(STEPS, name));
  if (unknown !== undefined) {
    console.error(`no such step: ${unknown}; there are: ${Object.keys(STEPS).join(' ')} static`);
    process.exit(2);
  }
  return Object.keys(STEPS).filter((name) => names.length === 0 || names.includes(name));
}

function close() {
  rmSync(scratch, { recursive: true, force: true });
  if (failures.length > 0) console.log(`\nfailed:\n${failures.join('\n')}`);
  console.log(`tests: ${passed.count} passed, ${failures.length} failed`);
  process.exit(failures.length === 0 ? 0 : 1);
}

const words = process.argv.slice(2);
const fullSize = words.filter(isFullSize);
const names = stepsOf(words.filter((word) => !isFullSize(word)));
const scratch = mkdtempSync(join(realpathSync(tmpdir()), 'kitfs-'));
const isCollecting = names.includes('coverage');
if (isCollecting) rmSync(CHILD_COVERAGE, { recursive: true, force: true });
let isInterrupted = false;
for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    isInterrupted = true;
    if (running) kill(-running.pid, 'SIGKILL');
  });
}

let blocked;
let deadline = Number.POSITIVE_INFINITY;
for (const name of names) {
  if (name !== 'provision' && deadline === Number.POSITIVE_INFINITY) {
    deadline = performance.now() + SUITE_MS_MAX;
  }
  if (isInterrupted || blocked) {
    failures.push(`${name}: not run (${isInterrupted ? 'interrupted' : `${blocked} failed`})`);
    continue;
  }
  const isGood = await take(name, { isCollecting, deadline });
  if (!isGood && NEEDED_BY_ALL.includes(name)) blocked = name;
}
close();
