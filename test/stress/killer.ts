/** Kills daemons at random moments, each once it has taken over from the one before. */
import { execFile } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { TestDaemon } from '../integration/daemon.ts';
import { randomFrom } from './busy-agent.ts';

const DELAY_MS_MAX = 1000;
const TAKE_OVER_MS_MAX = 30_000;
/** Every so many kills the machine is asked how long Node takes to start. */
const KILLS_PER_START = 5;
/** pino's `error`; what a daemon logs at this level, or above, nobody should have to read. */
const ERROR_LEVEL = 50;

/** What the daemons say. */
export class Hearing {
  /** Lines of an error, or worse. */
  readonly errors: string[] = [];
  #takenOver = 0;
  #onTakenOver: () => void = () => {};

  readonly hear = (line: string): void => {
    const level = Number(/"level":(\d+)/.exec(line)?.[1] ?? 0);
    if (level >= ERROR_LEVEL) this.errors.push(line);
    if (!line.includes('"msg":"taken over"')) return;
    this.#takenOver += 1;
    this.#onTakenOver();
  };

  /** How many daemons took over from another one. */
  get takenOver(): number {
    return this.#takenOver;
  }

  async next(): Promise<void> {
    const before = this.#takenOver;
    const late = new AbortController();
    const heard = new Promise<void>((resolve) => {
      this.#onTakenOver = resolve;
    });
    const limit = wait(TAKE_OVER_MS_MAX, undefined, { signal: late.signal }).catch(() => {});
    await Promise.race([heard, limit]);
    late.abort();
    if (this.#takenOver === before) throw new Error('no daemon took over');
  }
}

export const medianOf = (numbers: readonly number[]): number =>
  [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)] ?? Number.NaN;

export interface Killed {
  /** From a kill to the next daemon's first word to the kernel. */
  readonly absencesMs: readonly number[];
  /** `node -e 0`, while all this went on. */
  readonly startsMs: readonly number[];
}

/** Kills so many daemons, unless the signal aborts. */
export async function killDaemons(
  daemon: TestDaemon,
  hearing: Hearing,
  {
    kills,
    seed,
    signal,
    onKill,
    onNext,
  }: {
    readonly kills: number;
    readonly seed: number;
    readonly signal: AbortSignal;
    readonly onKill: () => void;
    /** Another one has taken over. */
    readonly onNext: () => void;
  },
): Promise<Killed> {
  const random = randomFrom(seed);
  const absencesMs: number[] = [];
  const startsMs: number[] = [];
  for (let kill = 0; kill < kills && !signal.aborted; kill++) {
    // The delay is the randomness of this test, not a wait for something.
    await wait(random() * DELAY_MS_MAX);
    const { pid } = daemon;
    const taken = hearing.next();
    const beganMs = performance.now();
    onKill();
    process.kill(pid, 'SIGKILL');
    await taken;
    absencesMs.push(performance.now() - beganMs);
    onNext();
    if (kill % KILLS_PER_START === 0) startsMs.push(await startNode());
  }
  return { absencesMs, startsMs };
}

async function startNode(): Promise<number> {
  const beganMs = performance.now();
  await promisify(execFile)(process.execPath, ['-e', '0']);
  return performance.now() - beganMs;
}
