/** How far long work is, for people: a bar on a terminal, a line now and then anywhere else. */
import { type Clock, SystemClock } from '../base/clock.ts';
import { ProgressLine } from './output.ts';

/** As tools and jobs tell it. */
export interface Progress {
  readonly done: number;
  readonly total?: number;
  readonly unit: string;
  readonly message?: string;
}

/** Between two lines where there is no terminal. */
const LINES_MS = 5000;
const BAR_CHARS = 24;

export class ProgressBar implements Disposable {
  readonly #clock: Clock;
  readonly #line = new ProgressLine();
  readonly #isTerminal = process.stderr.isTTY === true;
  #told = '';
  #toldMs = Number.NEGATIVE_INFINITY;

  constructor(clock: Clock = new SystemClock()) {
    this.#clock = clock;
  }

  show(progress: Progress): void {
    const text = progressText(progress);
    if (this.#isTerminal) {
      this.#line.show(`${barOf(progress)}${text}`);
      return;
    }
    const nowMs = this.#clock.monotonicMs();
    if (text === this.#told || nowMs - this.#toldMs < LINES_MS) return;
    this.#told = text;
    this.#toldMs = nowMs;
    process.stderr.write(`${text}\n`);
  }

  [Symbol.dispose](): void {
    this.#line[Symbol.dispose]();
  }
}

export function progressText({ done, total, unit, message }: Progress): string {
  const count = total === undefined ? String(done) : `${done} of ${total}`;
  return `${count} ${unit}${message === undefined ? '' : `: ${message}`}`;
}

/** Nothing when nobody knows how much it will be. */
function barOf({ done, total }: Progress): string {
  if (total === undefined || total <= 0) return '';
  const part = Math.min(1, done / total);
  const full = Math.floor(part * BAR_CHARS);
  const percent = String(Math.floor(part * 100)).padStart(3);
  return `[${'#'.repeat(full)}${'.'.repeat(BAR_CHARS - full)}] ${percent} %  `;
}
