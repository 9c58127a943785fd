/**
 * The five projects of the test suite. Each runs alone: `npm run test:smoke`, which builds first and writes reports,
 * or `npx vitest run --config test/vitest.config.ts --project smoke`. `test/run.mjs` runs them all, in order.
 *
 * Unit tests run in process, on the sources. The other projects start `dist/` in child processes, which must
 * therefore be built. Each world of a test has directories, mounts and ports of its own, and mostly waits, so files of
 * `integration` and `stress` run beside each other; what measures the machine has it for itself, in `performance`.
 */
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

/** Where children leave V8 coverage; set by test/run.mjs when it collects any. */
const childCoverage = process.env['KITFS_TEST_CHILD_COVERAGE'];

/**
 * Children and worker threads of a test inherit this; the test's own process does not act on it, because Node reads it
 * at start only. Projects that measure go without: counting slows what they measure.
 */
const counted = childCoverage === undefined ? {} : { NODE_V8_COVERAGE: childCoverage };

const SECOND_MS = 1000;
const SPANNING = ['integration', 'smoke', 'performance', 'stress'] as const;

/** For what hangs, and not for a slow machine. */
const TIMEOUT_MS: Readonly<Record<(typeof SPANNING)[number], number>> = {
  integration: 180 * SECOND_MS,
  smoke: 180 * SECOND_MS,
  performance: 180 * SECOND_MS,
  stress: 240 * SECOND_MS,
};

/** Set by test/run.mjs: the stress project is then what was named, at its full size. */
const isFullSize = process.env['KITFS_TEST_FULL'] !== undefined;

/** How long what is asked again and again may take to come: the limit is for what never does. */
const expected = { poll: { timeout: 15 * SECOND_MS } };

const folder = (name: string) => `test/${name}/**/*.test.ts`;

/** They are held to how long programs wait. */
const MEASURING = ['test/stress/kill.test.ts'];

function included(name: (typeof SPANNING)[number]): string[] {
  if (name === 'stress' && isFullSize) return ['test/stress/*.full.ts'];
  return name === 'performance' ? [folder(name), ...MEASURING] : [folder(name)];
}

export default defineConfig({
  root: ROOT,
  test: {
    pool: 'forks',
    maxWorkers: 2,
    allowOnly: false,
    passWithNoTests: false,
    coverage: {
      provider: 'v8',
      include: ['src/**/*.ts'],
      // One map for each project; test/coverage.mjs joins them, holds the threshold and writes the report to read.
      reporter: ['json'],
      reportOnFailure: true,
    },
    projects: [
      {
        test: {
          name: 'unit',
          root: ROOT,
          include: ['test/**/*.test.ts'],
          exclude: SPANNING.map(folder),
          testTimeout: 60 * SECOND_MS,
          hookTimeout: 60 * SECOND_MS,
          expect: expected,
          env: counted,
        },
      },
      ...SPANNING.map((name) => ({
        test: {
          name,
          root: ROOT,
          include: included(name),
          exclude: name === 'performance' ? [] : MEASURING,
          fileParallelism: name === 'integration' || (name === 'stress' && !isFullSize),
          testTimeout: TIMEOUT_MS[name],
          hookTimeout: TIMEOUT_MS[name],
          teardownTimeout: 20 * SECOND_MS,
          expect: expected,
          env: name === 'integration' || name === 'smoke' ? counted : {},
        },
      })),
    ],
  },
});
