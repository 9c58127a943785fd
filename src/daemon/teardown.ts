/**
 * What was started is stopped in reverse. Each step is written down when its counterpart has
 * started, so a start that fails half way is undone by the same list as a stop.
 *
 * Invariants: every step is tried, whatever happened to those before; a step that fails is logged.
 */
import type { Log } from '../base/log.ts';

type Step = () => Promise<void> | void;

export class Teardown {
  readonly #log: Log;
  readonly #steps: { readonly name: string; readonly step: Step }[] = [];

  constructor(log: Log) {
    this.#log = log;
  }

  push(name: string, step: Step): void {
    this.#steps.push({ name, step });
  }

  /** Runs all steps, the newest first. Returns the names of those that failed. */
  async run(): Promise<readonly string[]> {
    const failed: string[] = [];
    for (let next = this.#steps.pop(); next !== undefined; next = this.#steps.pop()) {
      try {
        await next.step();
      } catch (error) {
        failed.push(next.name);
        this.#log.error({ err: error, step: next.name }, 'a step of the stop failed');
      }
    }
    return failed;
  }
}
