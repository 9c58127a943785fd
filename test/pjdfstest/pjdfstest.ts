/**
 * Upstream pjdfstest (https://github.com/pjd/pjdfstest), built elsewhere, on the real mount, as root:
 *
 *   npm run test:pjdfstest -- DIR [--variant NAME]… [--only chmod | --only chmod/00.t]… [--jobs N]
 *
 * DIR is a checkout in which the program `pjdfstest` was built; nothing is written there. One line per variant on
 * standard output; what failed, in the suite's words, on standard error. The exit code is 0 only when every test of
 * every variant passed, and the journal has no fault after it.
 */
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import type { TestDaemon } from '../integration/daemon.ts';
import { type Report, readReport } from './report.ts';
import { VARIANTS, type Variant } from './variants.ts';

const VARIANT_MS_MAX = 30 * 60_000;

/**
 * The suite asks df(1) for the type of the file system, and demands of ext4 what it demands of no other on Linux: that
 * a rename moves the ctime. kitfs promises that too, so the suite is told that it runs on ext4.
 */
const DF = `#!/bin/sh
/bin/df "$@" | sed 's/fuse\\.kitfs/ext4/'
`;

interface Wish {
  /** The `tests` of the suite. */
  readonly tests: string;
  readonly only: readonly string[];
  readonly jobs: number;
}

const failedReport = (reason: string): Report => ({
  files: 0,
  tests: 0,
  wrong: [reason],
  failedCount: 1,
  isSuccess: false,
});

async function run(variant: Variant, wish: Wish): Promise<Report> {
  let daemon: TestDaemon | undefined;
  try {
    daemon = await variant.start();
    return await runOn(daemon, wish);
  } catch (error) {
    return failedReport(error instanceof Error ? error.message : String(error));
  } finally {
    await daemon?.close();
  }
}

async function runOn(daemon: TestDaemon, { tests, only, jobs }: Wish): Promise<Report> {
  const programs = join(daemon.directory, 'programs');
  mkdirSync(programs);
  writeFileSync(join(programs, 'df'), DF);
  chmodSync(join(programs, 'df'), 0o755);
  await daemon.run('mkdir', ['ipfs/pjdfstest']);

  const paths = only.length === 0 ? [tests] : only.map((name) => join(tests, name));
  const { stdout, stderr } = await daemon.attempt(
    'prove',
    ['--recurse', '--failures', '--jobs', String(jobs), ...paths],
    {
      in: 'ipfs/pjdfstest',
      timeoutMs: VARIANT_MS_MAX,
      env: { PATH: `${programs}:${process.env['PATH'] ?? ''}` },
    },
  );
  const failures = stdout.split('\n').filter((line) => /^not ok|^\S.*\.\. $/.test(line));
  process.stderr.write(failures.map((line) => `${line}\n`).join('') + stderr);

  const report = readReport(stdout, tests);
  const { code, stdout: faults } = await daemon.kitfs(['fsck']);
  if (code === 0) return report;
  const wrong = [...report.wrong, `kitfs fsck: ${faults}`];
  return { ...report, wrong, failedCount: report.failedCount + 1, isSuccess: false };
}

function wishOf(): { readonly wish: Wish; readonly variants: readonly Variant[] } {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      variant: { type: 'string', multiple: true, default: [] },
      only: { type: 'string', multiple: true, default: [] },
      jobs: { type: 'string', default: '4' },
    },
  });
  const suite = resolve(positionals[0] ?? '.');
  if (!existsSync(join(suite, 'pjdfstest'))) {
    throw new Error(`${suite} is no built pjdfstest: give its directory as the first argument`);
  }
  if (process.getuid?.() !== 0) throw new Error('the suite becomes other users: run it as root');
  const names = VARIANTS.map(({ name }) => name);
  const unknown = values.variant.find((name) => !names.includes(name));
  if (unknown !== undefined) {
    throw new Error(`no variant ${unknown}; there are: ${names.join(' ')}`);
  }
  const variants = VARIANTS.filter(
    ({ name }) => values.variant.length === 0 || values.variant.includes(name),
  );
  const wish = { tests: join(suite, 'tests'), only: values.only, jobs: Number(values.jobs) };
  return { wish, variants };
}

async function main(): Promise<void> {
  const { wish, variants } = wishOf();
  for (const variant of variants) {
    const start = performance.now();
    const report = await run(variant, wish);
    const { files, tests, failedCount, wrong, isSuccess } = report;
    // A suite of which nothing ran has proved nothing.
    if (!isSuccess || tests === 0 || failedCount > 0) process.exitCode = 1;
    const seconds = Math.round((performance.now() - start) / 1000);
    const numbers = `${files} files, ${tests} tests, ${failedCount} failed, ${seconds} s`;
    process.stdout.write(`${variant.name}: ${numbers}\n`);
    for (const line of wrong) process.stdout.write(`  ${line}\n`);
  }
}

await main();
