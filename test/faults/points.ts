/**
 * Fault points (points.c): a daemon that dies at a named stage of an operation, as often as it is told to. The
 * daemon's own code has no part in it.
 */
import { spawnSync } from 'node:child_process';
import { closeSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const BUILD_MS_MAX = 60_000;
const SOURCE = fileURLToPath(new URL('points.c', import.meta.url));

/** As `struct control` and `struct step` have it. */
const MODE = { off: 0, trace: 1, raise: 2 } as const;
const HEADER = { mode: 0, step: 4, raised: 12, passedCount: 16, steps: 64 } as const;
const NAME_BYTES = 32;
const PART_BYTES = 64;
const STEP = { part: NAME_BYTES, signal: 96, passing: 100, times: 104, bytes: 112 } as const;
const STEPS_MAX = 8;
const PASSED_AT = HEADER.steps + STEPS_MAX * STEP.bytes;
const PASSED_MAX = 65_536;

/** The end of a daemon. */
export interface Death {
  /** Name of the point, as points.c lists them. */
  readonly point: string;
  /** At which passing since the one before, or since `arm`; the first when absent. */
  readonly passing?: number;
  /** Only where this, at most 63 bytes, is among what is read or written there. */
  readonly part?: string;
  readonly signal?: 'SIGKILL' | 'SIGSEGV' | 'SIGSTOP';
  /** How many daemons die of it before the next one's turn: one when absent, 0 for ever. */
  readonly times?: number;
}

/** The library, and what a daemon started with `env` is told by it. */
export class FaultPoints implements Disposable {
  readonly env: Readonly<Record<string, string>>;
  readonly #directory: string;
  readonly #fd: number;

  constructor() {
    this.#directory = mkdtempSync(join(tmpdir(), 'kitfs-points-'));
    const library = join(this.#directory, 'points.so');
    const gcc = ['-shared', '-fPIC', '-O1', '-Wall', '-Werror', '-o', library, SOURCE];
    const { status, stderr } = spawnSync('gcc', gcc, { timeout: BUILD_MS_MAX, encoding: 'utf8' });
    if (status !== 0) throw new Error(`cannot build ${SOURCE}: ${stderr}`);
    const control = join(this.#directory, 'control');
    this.#fd = openSync(control, 'w+');
    writeSync(this.#fd, Buffer.alloc(PASSED_AT + PASSED_MAX * NAME_BYTES), 0, undefined, 0);
    this.env = { LD_PRELOAD: library, KITFS_FAULT_POINTS: control };
  }

  /** From now on the points passed are noted. */
  trace(): void {
    this.#put(HEADER.mode, MODE.off);
    this.#put(HEADER.passedCount, 0);
    this.#put(HEADER.mode, MODE.trace);
  }

  /** Those passed since `trace`, in order; nothing is noted any more. */
  traced(): string[] {
    this.off();
    const count = this.#get(HEADER.passedCount);
    if (count > PASSED_MAX) throw new Error(`${count} points were passed`);
    const bytes = Buffer.alloc(count * NAME_BYTES);
    readSync(this.#fd, bytes, 0, bytes.length, PASSED_AT);
    return Array.from({ length: count }, (_, at) =>
      textOf(bytes.subarray(at * NAME_BYTES, (at + 1) * NAME_BYTES)),
    );
  }

  /** Daemons die of these, one after the other. */
  arm(...deaths: readonly Death[]): void {
    if (deaths.length > STEPS_MAX) throw new Error(`at most ${STEPS_MAX} deaths`);
    this.off();
    const bytes = Buffer.alloc(PASSED_AT);
    for (const [at, { point, passing, part, signal, times }] of deaths.entries()) {
      const step = HEADER.steps + at * STEP.bytes;
      bytes.write(point, step, NAME_BYTES - 1, 'latin1');
      bytes.write(part ?? '', step + STEP.part, PART_BYTES - 1, 'latin1');
      bytes.writeUInt32LE(constants.signals[signal ?? 'SIGKILL'], step + STEP.signal);
      bytes.writeUInt32LE(passing ?? 1, step + STEP.passing);
      bytes.writeUInt32LE(times ?? 1, step + STEP.times);
    }
    writeSync(this.#fd, bytes, 0, bytes.length, 0);
    this.#put(HEADER.mode, MODE.raise);
  }

  /** How many of the deaths since `arm` were died, as often as was said. */
  get died(): number {
    return this.#get(HEADER.step);
  }

  /** How many daemons died of the one whose turn it is. */
  get deaths(): number {
    return this.#get(HEADER.raised);
  }

  off(): void {
    this.#put(HEADER.mode, MODE.off);
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
    rmSync(this.#directory, { recursive: true });
  }

  #put(at: number, number: number): void {
    const word = Buffer.alloc(4);
    word.writeUInt32LE(number);
    writeSync(this.#fd, word, 0, 4, at);
  }

  #get(at: number): number {
    const word = Buffer.alloc(4);
    readSync(this.#fd, word, 0, 4, at);
    return word.readUInt32LE();
  }
}

const textOf = (bytes: Buffer): string =>
  bytes.toString('latin1', 0, Math.max(0, bytes.indexOf(0)));
