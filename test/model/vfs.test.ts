/**
 * The model against the core in process: random commands, with the daemon dying and content being sealed in between.
 * Both must answer every command alike, show the same tree at the end, and leave a journal without a fault.
 */
import fc from 'fast-check';
import { afterAll, describe, expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { HashPool, Sealer } from '../../src/content/content.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { InProcess } from '../posix/in-process.ts';
import { Fixture } from '../vfs/fixture.ts';
import { type Command, command, PRELUDE, perform } from './commands.ts';
import { Comparison, outcomeOf } from './compare.ts';
import { Reference } from './reference.ts';
import { SEED } from './seed.ts';

/** The daemon dies and another takes over; everything that nobody writes gets its CID. */
type Event = { readonly op: 'kill' } | { readonly op: 'seal' };
type Step = Command | Event;

const RUNS = 200;
/** The length is drawn evenly: 40 in the mean. */
const STEPS_MAX = 80;
/** A slow machine makes fewer runs. */
const TIME_MS_MAX = 12_000;
const TEST_MS_MAX = 120_000;
const SEALED_AT_ONCE = 1000;

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 30, arbitrary: command },
  { weight: 1, arbitrary: fc.constant<Step>({ op: 'kill' }) },
  { weight: 2, arbitrary: fc.constant<Step>({ op: 'seal' }) },
);

const hasher = new HashPool();
afterAll(() => hasher.close());

const quiet = { info() {}, warn() {}, error() {} };

async function sealAll({ journal, content }: Fixture): Promise<void> {
  const options = { journal, contents: content, hasher, clock: new SystemClock(), log: quiet };
  const sealer = new Sealer(options);
  for (const { id } of journal.contents.frozen(0, SEALED_AT_ONCE)) {
    await sealer.seal(id, new AbortController().signal);
  }
}

async function run(steps: readonly Step[]): Promise<void> {
  const f = new Fixture();
  try {
    const model = new Reference();
    const open = { model: new Map<number, number>(), real: new Map<number, number>() };
    const comparison = new Comparison();
    let real = new InProcess(f.vfs, '/ipfs');
    for (const [index, made] of [...PRELUDE, ...steps].entries()) {
      if (made.op === 'seal') {
        await sealAll(f);
      } else if (made.op === 'kill') {
        f.reopen();
        real = new InProcess(f.vfs, '/ipfs');
        model.closeAll();
        for (const slots of Object.values(open)) slots.clear();
      } else {
        const expected = await outcomeOf(perform(model, open.model, made));
        const actual = await outcomeOf(perform(real, open.real, made));
        comparison.same(expected, actual, `${index}: ${JSON.stringify(made)}`);
      }
    }
    await comparison.sameBelow(model, real, [...model.root.names.keys()]);
    expect(checkJournal(f.journal)).toEqual([]);
  } finally {
    f.close();
  }
}

/** Sequences that once failed, shrunk, each by what was wrong. */
const REGRESSIONS: readonly (readonly [string, readonly Step[]])[] = [
  [
    'a file is renamed over the directory it is in',
    [{ op: 'rename', path: 'a/a', to: 'a', flags: 0 }],
  ],
  [
    'nothing is written behind the end',
    [
      { op: 'open', slot: 0, path: 'a/a', flags: 0 },
      { op: 'write', slot: 0, at: 11, bytes: { letter: 'x', length: 0 } },
    ],
  ],
];

describe('the core does what the model does', () => {
  test(
    'in random sequences of commands',
    async () => {
      const steps = fc.noBias(fc.array(step, { maxLength: STEPS_MAX, size: 'max' }));
      const property = fc.asyncProperty(steps, run);
      // A failure prints seed, path and the shrunk sequence.
      await fc.assert(property, {
        numRuns: RUNS,
        seed: SEED,
        interruptAfterTimeLimit: TIME_MS_MAX,
      });
    },
    TEST_MS_MAX,
  );

  test.each(REGRESSIONS)('when %s', (_what, steps) => run(steps));
});
