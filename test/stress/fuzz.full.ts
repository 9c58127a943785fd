/**
 * Storms of bad input at full size: `npm run test:stress -- fuzz`. Each runs in a process of its own,
 * which says what it has done; one that says nothing for too long hangs, and the seed of the round
 * is the one behind the last it told of. KITFS_TEST_SEED sets the first.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { SEED } from '../model/seed.ts';

const RUN = fileURLToPath(new URL('../../dist/test/fuzz/run.js', import.meta.url));
const SILENT_MS_MAX = 120_000;
const STORM_MS_MAX = 30 * 60_000;
/** What one process may come to hold above what it held after its first round. */
const GROWTH_MIB_MAX = 200;
const GROWTH_FDS_MAX = 64;

const STORMS: readonly (readonly [part: string, count: number])[] = [
  ['fuse', 1_000_000],
  ['mcp', 100_000],
  ['control', 10_000],
  ['databases', 5000],
  ['dags', 2000],
  ['settings', 3000],
  ['bridge', 10_000],
  ['keeper', 100_000],
];

interface Told {
  readonly seed: number;
  readonly done: number;
  readonly faults: readonly string[];
  readonly held: { readonly heapMib: number; readonly rssMib: number; readonly fds: number };
}

/** Every round the storm told of, and how it ended. */
async function rounds(part: string, count: number) {
  const child = spawn(process.execPath, [RUN, part, String(count), String(SEED)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const told: Told[] = [];
  const kill = () => child.kill('SIGKILL');
  let watch = setTimeout(kill, SILENT_MS_MAX);
  createInterface({ input: child.stdout }).on('line', (line) => {
    told.push(JSON.parse(line) as Told);
    clearTimeout(watch);
    watch = setTimeout(kill, SILENT_MS_MAX);
    console.log(line.slice(0, 400));
  });
  const end = await new Promise((resolve) => {
    child.once('close', (code, signal) => resolve(signal ?? code));
  });
  clearTimeout(watch);
  return { told, end };
}

for (const [part, count] of STORMS) {
  test(
    `${count} ${part}: no crash, no hang, no leak`,
    async () => {
      console.log(`${part}: seed ${SEED}`);
      const { told, end } = await rounds(part, count);
      const [first, last] = [told[0], told.at(-1)];
      const faults = told.flatMap((round) => round.faults.map((fault) => [round.seed, fault]));
      expect({ end, done: last?.done, faults }).toEqual({ end: 0, done: count, faults: [] });
      const grown = (last?.held.rssMib ?? 0) - (first?.held.rssMib ?? 0);
      expect(grown).toBeLessThan(GROWTH_MIB_MAX);
      expect((last?.held.fds ?? 0) - (first?.held.fds ?? 0)).toBeLessThan(GROWTH_FDS_MAX);
    },
    STORM_MS_MAX,
  );
}
