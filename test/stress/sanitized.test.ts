/**
 * The native parts under AddressSanitizer and UBSan: all their unit tests, and a real mount. A report of either fails
 * the test, wherever it was written; of leaks those count whose allocation one of our sources asked for, because V8
 * leaves everything to the end of its process.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TREE = join(ROOT, 'dist/sanitized');
const BUILD_MS_MAX = 300_000;
const RUN_MS_MAX = 600_000;

beforeAll(() => {
  execFileSync(process.execPath, [join(ROOT, 'native/build.mjs'), 'sanitized'], {
    stdio: 'pipe',
    timeout: BUILD_MS_MAX,
  });
}, BUILD_MS_MAX);

let reports = '';
beforeEach(() => {
  reports = mkdtempSync(join(tmpdir(), 'kitfs-sanitized-'));
});
afterEach(() => rmSync(reports, { recursive: true, force: true }));

const library = (name: string): string =>
  execFileSync('gcc', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();

/** What makes both sanitizers write to `reports`, whichever process of the run meets a fault. */
function watched(leaks: boolean): NodeJS.ProcessEnv {
  const { NODE_V8_COVERAGE: _, KITFS_TEST_CHILD_COVERAGE: __, ...environment } = process.env;
  const log = `log_path=${join(reports, 'report')}`;
  // Enough to find who allocates for others, and a third of what the leaks of V8 else cost at each end.
  const depth = 'malloc_context_size=12';
  return {
    ...environment,
    // What UBSan finds is a trap, which AddressSanitizer reports as the signal it is.
    ASAN_OPTIONS: `detect_leaks=${leaks ? 1 : 0}:${depth}:handle_sigill=1:handle_sigtrap=1:${log}`,
    // Whether a leak is ours is decided here, and not by how a process ends.
    LSAN_OPTIONS: 'exitcode=0',
  };
}

/** Vitest in the tree whose native parts are sanitized. */
function runs(project: string, words: readonly string[], leaks: boolean) {
  const vitest = join(TREE, 'node_modules/vitest/vitest.mjs');
  const config = ['--config', 'test/vitest.config.ts', '--project', project];
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [vitest, 'run', ...config, '--testTimeout', '300000', ...words],
    {
      cwd: TREE,
      encoding: 'utf8',
      timeout: RUN_MS_MAX,
      env: {
        ...watched(leaks),
        LD_PRELOAD: library('libasan.so'),
      },
    },
  );
  return { status, output: `${stdout}\n${stderr}`.slice(-8000) };
}

const LEAK = /^(?:Direct|Indirect) leak of /;
/** Who allocates for others. */
const ALLOCATOR =
  / in (?:operator new|(?:__interceptor_)?(?:malloc|calloc|realloc|memalign|strdup)|std::|__gnu_cxx::|void std::)/;
/** A source of ours, as it is named where it is compiled. */
const OURS = / \.\.\/[\w-]+\.(?:cc|c|h):\d+/;

function isOurs(leak: string): boolean {
  const frames = leak.split('\n').filter((line) => /^\s+#\d+ /.test(line));
  return OURS.test(frames.find((frame) => !ALLOCATOR.test(frame)) ?? '');
}

/** Every fault that was reported, and the leaks of ours. */
function faults(): string[] {
  return readdirSync(reports).flatMap((name) => {
    const blocks = readFileSync(join(reports, name), 'utf8').split(/\n\n+/);
    const leaks = blocks.filter((block) => LEAK.test(block) && isOurs(block));
    const others = blocks.filter((block) => /ERROR: AddressSanitizer/.test(block));
    return [...others, ...leaks];
  });
}

test('the parts are sanitized, all of them', () => {
  const folder = join(TREE, 'native/build/Release');
  for (const name of ['kitfs.node', 'kitfs-libfuse2.node', 'wal_vfs.so']) {
    const options = ['--wide', '--string-dump=.GCC.command.line', join(folder, name)];
    const lines = execFileSync('readelf', options, { encoding: 'utf8' })
      .split('\n')
      .filter((line) => line.includes(' -O'));
    expect(lines.length).toBeGreaterThan(0);
    for (const line of lines) {
      expect(line).toContain('-fsanitize=address,undefined ');
      expect(line).toContain('-fsanitize-undefined-trap-on-error');
    }
  }
});

test.each(['leak', 'overflow', 'undefined'])('a planted fault is seen: %s', (fault) => {
  const place = mkdtempSync(join(tmpdir(), 'kitfs-planted-'));
  try {
    const build = join(place, 'build');
    mkdirSync(build);
    copyFileSync(new URL('sanitized/planted.c', import.meta.url), join(place, 'planted.c'));
    const options = [
      '-g',
      '-O0',
      '-fsanitize=address,undefined',
      '-fsanitize-undefined-trap-on-error',
    ];
    execFileSync('gcc', [...options, '-o', 'planted', '../planted.c'], { cwd: build });
    spawnSync(join(build, 'planted'), [fault], { env: watched(true) });
    expect(faults()).toHaveLength(1);
  } finally {
    rmSync(place, { recursive: true, force: true });
  }
});

/** All but one: what the parts are hardened with is not what they are sanitized with. */
const nativeTests = (): string[] =>
  readdirSync(join(ROOT, 'test/native'))
    .filter((name) => name.endsWith('.test.ts') && name !== 'hardening.test.ts')
    .map((name) => `test/native/${name}`);
const MOUNT = ['test/integration/fuse-mount.test.ts', '--testNamePattern', 'the driver native'];

describe('no fault is reported', () => {
  test(
    'by any unit test of the native parts, nor a leak of ours',
    () => {
      const { status, output } = runs('unit', nativeTests(), true);
      expect(faults()).toEqual([]);
      expect(output).toMatch(/Tests .*\d+ passed/);
      expect(status, output).toBe(0);
    },
    RUN_MS_MAX,
  );

  test(
    'while a mount is used',
    () => {
      const { status, output } = runs('integration', MOUNT, false);
      expect(faults()).toEqual([]);
      expect(output).toMatch(/Tests .*\d+ passed/);
      expect(status, output).toBe(0);
    },
    RUN_MS_MAX,
  );
});
