/** A bench on which every harm is done to every call of a method, and what must hold then. */
import { setTimeout as wait } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { expect } from 'vitest';
import type { IpfsNode } from '../../src/backend/backend.ts';
import { OpError } from '../../src/base/errors.ts';
import { NODE_TRANSFER_MS } from '../../src/base/limits.ts';
import { settle, TurnedClock } from '../fakes/clock.ts';
import { FaultyProxy, type Passed } from '../services/faulty-proxy.ts';
import { all, engineAt } from './engine.ts';
import { type Harm, harmsAgainOf, harmsOf, harmsOfPlaceOf } from './harm.ts';
import { FIXED, type Method, type Trial } from './trials.ts';

/** Of a clock that is turned: no test waits for it. */
const DEADLINE_MS = 60_000;
/** Longer than any pause before a repeat, shorter than the deadline. */
const PAUSE_MS_MAX = 5_000;
/** A call that has not ended by then, on the clock of the host, never will. */
const ENDED_MS_MAX = 15_000;
/** The least: one connection for each lane. */
const REQUESTS_MAX = 2;

/** Turned by the tests, but for pauses before repeats: those are over at once. */
class HastyClock extends TurnedClock {
  override sleep(delayMs: number, signal: AbortSignal): Promise<void> {
    const slept = super.sleep(delayMs, signal);
    if (delayMs < PAUSE_MS_MAX) void this.turn(delayMs);
    return slept;
  }
}

const calling = () => ({ signal: new AbortController().signal, deadlineMs: DEADLINE_MS });

type Outcome = { readonly value: unknown } | { readonly error: unknown } | 'it did not end';

const outcomeOf = (running: Promise<unknown>): Promise<Outcome> =>
  running.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );

async function ended(outcome: Promise<Outcome>): Promise<Outcome> {
  const over = new AbortController();
  const late = wait(ENDED_MS_MAX, 'it did not end' as const, { signal: over.signal });
  try {
    return await Promise.race([outcome, late.catch(() => 'it did not end' as const)]);
  } finally {
    over.abort();
  }
}

/** What a call ended with, where that is wrong. */
function faultOf(outcome: Outcome, wanted: unknown, harm: Harm, lasts: boolean): string[] {
  if (outcome === 'it did not end') return [outcome];
  if ('value' in outcome) {
    const isRight = isDeepStrictEqual(outcome.value, wanted);
    if (!isRight) return [`it gave ${JSON.stringify(outcome.value)}`];
    return harm.mayMend ? [] : ['it succeeded'];
  }
  const { error } = outcome;
  if (!(error instanceof OpError)) return [`it threw ${String(error)}`];
  if (harm.failures.includes(error.failure)) return [];
  // The deadline of what lasts ends when it has begun; then there is only the signal.
  if (lasts && error.failure === 'cancelled') return [];
  return [`it failed with ${error.failure} (${String(error.cause)})`];
}

/** What the node holds, where that is wrong. */
async function stateFault({ states }: Method, trial: Trial, outcome: Outcome): Promise<string[]> {
  if (states === undefined || trial.state === undefined) return [];
  const { before, after, between = [] } = states;
  const isDone = outcome !== 'it did not end' && 'value' in outcome;
  const legal = isDone ? [after] : [before, after, ...between];
  const found = await trial.state();
  const how =
    outcome !== 'it did not end' && 'error' in outcome ? String(outcome.error) : 'its end';
  return legal.includes(found) ? [] : [`the node holds after ${how}: ${found}`];
}

/** A stream and a change, which take the turns that there are of each kind. @returns what does not work any more. */
async function plainFaults(node: IpfsNode): Promise<string[]> {
  const asked = [
    all(node.content.exportCar(FIXED.cid, calling())),
    node.mfs.mkdir('/fixed', { ...calling(), parents: true }),
  ];
  const outcome = await ended(outcomeOf(Promise.all<unknown>(asked)));
  if (outcome === 'it did not end') return ['the next calls did not end'];
  return 'error' in outcome ? [`the next calls: ${String(outcome.error)}`] : [];
}

export interface Reference {
  readonly calls: readonly Passed[];
  readonly value: unknown;
}

/** A call that was stopped on its way. */
export interface Held {
  /** Resolves when it has ended with what then asks the node. @returns what went wrong. */
  ended(): Promise<() => Promise<string[]>>;
}

/** An engine behind a proxy, for one method. */
export class Bench implements AsyncDisposable {
  /** Of all benches: no trial is on the things of another. */
  static #trials = 0;
  readonly #name: string;
  readonly #method: Method;
  readonly #proxy: FaultyProxy;
  readonly #clock = new HastyClock();
  readonly #node: IpfsNode;

  /** Before the node at `api`. */
  static async start(api: string, name: string, method: Method): Promise<Bench> {
    const bench = new Bench(name, method, await FaultyProxy.start(api));
    // From here on the node's version is known, in every trial.
    expect(await plainFaults(bench.#node)).toEqual([]);
    return bench;
  }

  private constructor(name: string, method: Method, proxy: FaultyProxy) {
    this.#name = name;
    this.#method = method;
    this.#proxy = proxy;
    const options = { requestsMax: REQUESTS_MAX, deadlineMs: DEADLINE_MS, clock: this.#clock };
    this.#node = engineAt(proxy.api, options);
  }

  async #begin(): Promise<Trial> {
    return await this.#method.begin(`${this.#name.replaceAll(/\W/g, '-')}-${Bench.#trials++}`);
  }

  /** What is called, and what it gives, when nothing is harmed. */
  async reference(): Promise<Reference> {
    const first = this.#proxy.passed.length;
    const trial = await this.#begin();
    const value = await trial.run(this.#node, calling());
    const calls = this.#proxy.passed.slice(first);
    if ('value' in trial) expect(value).toEqual(trial.value);
    if (trial.state !== undefined) expect(await trial.state()).toBe(this.#method.states?.after);
    return { calls, value };
  }

  /** Does every harm to every call. @returns what went wrong. */
  async faults(): Promise<string[]> {
    const { calls, value } = await this.reference();
    const wrong: string[] = [];
    const seen = new Set<string>();
    for (const [at, passed] of calls.entries()) {
      const command = passed.path.split('?')[0] ?? '';
      // The place of a look in a method matters only for how far the method had come.
      const again = this.#method.isLong ? harmsOfPlaceOf(passed) : harmsAgainOf(passed);
      for (const harm of seen.has(command) ? again : harmsOf(passed)) {
        const faults = await this.#harmed(at, harm, value);
        const what = `call ${at} (${command}), ${harm.title}`;
        wrong.push(...faults.map((fault) => `${what}: ${fault}`));
      }
      seen.add(command);
    }
    return wrong;
  }

  async #harmed(at: number, harm: Harm, reference: unknown): Promise<string[]> {
    const trial = await this.#begin();
    const planted = this.#proxy.fault(/./, harm.fault, { skip: at, times: harm.times });
    const lasts = this.#method.lasts === true;
    const controller = new AbortController();
    const options = { ...calling(), signal: controller.signal };
    const running = outcomeOf(trial.run(this.#node, options));
    if (harm.fault.kind === 'hang') {
      await Promise.race([running, planted.struck]);
      // Longer than any deadline, those too that nobody named.
      await this.#clock.turn(NODE_TRANSFER_MS);
      if (lasts) controller.abort();
    }
    const outcome = await ended(running);
    planted.lift();
    return [
      ...(planted.hits === 0 ? ['it was never harmed'] : []),
      ...faultOf(outcome, 'value' in trial ? trial.value : reference, harm, lasts),
      ...(await this.#openFaults()),
      ...(await stateFault(this.#method, trial, outcome)),
      ...(await plainFaults(this.#node)),
    ];
  }

  /** What a call that has ended left open. */
  async #openFaults(): Promise<string[]> {
    const quiet = await ended(outcomeOf(this.#proxy.quiet()));
    await settle();
    const { sleeping } = this.#clock;
    return [
      ...(quiet === 'it did not end' ? ['its connection is open'] : []),
      ...(sleeping === 0 ? [] : [`${sleeping} timers go on`]),
    ];
  }

  /** Begins a trial and stops it at one call. */
  async hold(at: number, harm: Harm, reference: unknown): Promise<Held> {
    const trial = await this.#begin();
    const planted = this.#proxy.fault(/./, harm.fault, { skip: at, times: 1 });
    const running = outcomeOf(trial.run(this.#node, calling()));
    const found = await Promise.race([ended(running), planted.struck]);
    if (found !== undefined) throw new Error(`${this.#name} ended before call ${at}`);
    const wanted = 'value' in trial ? trial.value : reference;
    return {
      ended: async () => {
        const outcome = await ended(running);
        const wrong = [...faultOf(outcome, wanted, harm, false), ...(await this.#openFaults())];
        return async () => [
          ...wrong,
          ...(await stateFault(this.#method, trial, outcome)),
          ...(await plainFaults(this.#node)),
        ];
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Idle ones only; the engine keeps no more than it may use.
    expect(this.#proxy.connections).toBeLessThanOrEqual(REQUESTS_MAX);
    await this.#node[Symbol.asyncDispose]();
    expect(await ended(outcomeOf(this.#proxy.deserted()))).toEqual({ value: undefined });
    await this.#proxy.close();
  }
}
