/**
 * The model against a real mount and the tools at once: every command is drawn for one of the two faces, and after it
 * both show what the model says, at once. The journal has no fault at the end.
 */
import type { Client } from '@modelcontextprotocol/sdk/client/index.js';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AgentTree, asAgentsSee } from '../model/agent-tree.ts';
import {
  type Command,
  command,
  look,
  type Outcome,
  PRELUDE,
  perform,
  type ToolCommand,
  toolCommand,
} from '../model/commands.ts';
import { Comparison, outcomeOf } from '../model/compare.ts';
import { Reference } from '../model/reference.ts';
import { SEED } from '../model/seed.ts';
import { CALLER, Kernel } from '../posix/kernel.ts';
import { connectAgent } from './agent.ts';
import { TestDaemon } from './daemon.ts';

type Step =
  | { readonly face: 'mount'; readonly made: Command }
  | { readonly face: 'tool'; readonly made: ToolCommand };

const RUNS = 30;
const STEPS_MAX = 80;
/** A slow machine makes fewer runs. */
const TIME_MS_MAX = 30_000;
const TEST_MS_MAX = 240_000;

const step: fc.Arbitrary<Step> = fc.oneof(
  command.map((made): Step => ({ face: 'mount', made })),
  toolCommand.map((made): Step => ({ face: 'tool', made })),
);

let daemon: TestDaemon;
let client: Client;
let runs = 0;
beforeAll(async () => {
  daemon = await TestDaemon.start();
  client = await connectAgent(daemon.mcpSocket);
});
afterAll(async () => {
  await client.close();
  await daemon.close();
});

/** The names a command may have changed, and the directories they are in. */
function touched(made: Command): string[] {
  const paths = [...('path' in made ? [made.path] : []), ...('to' in made ? [made.to] : [])];
  const named = paths.filter((path) => typeof path === 'string');
  const above = named.filter((path) => path.includes('/'));
  return [...named, ...above.map((path) => path.slice(0, path.lastIndexOf('/')))];
}

/** Of two paths that are both wrong a tool may name the other one first. */
const isSameFailure = (made: Command, one: Outcome, other: Outcome): boolean =>
  made.op === 'rename' && 'code' in one && 'code' in other;

async function run(steps: readonly Step[]): Promise<void> {
  const root = `run-${runs++}`;
  await daemon.run('mkdir', [root], { in: 'ipfs' });
  const [program, ...args] = CALLER;
  const place = { in: `ipfs/${root}`, env: { NODE_V8_COVERAGE: '' } };
  await using mount = new Kernel(daemon.spawn(program, args, place));
  const agent = new AgentTree(client, `/ipfs/${root}`);
  const model = new Reference();
  const open = { model: new Map<number, number>(), mount: new Map<number, number>() };
  const comparison = new Comparison();
  const prelude = PRELUDE.map((made): Step => ({ face: 'mount', made }));
  for (const [index, { face, made }] of [...prelude, ...steps].entries()) {
    const what = `${index}: ${face} ${JSON.stringify(made)}`;
    const expected = await outcomeOf(perform(model, open.model, made));
    if (face === 'mount') {
      comparison.same(expected, await outcomeOf(perform(mount, open.mount, made)), what);
    } else {
      const actual = await outcomeOf(agent.perform(made));
      if (!isSameFailure(made, expected, actual)) {
        comparison.same(asAgentsSee(expected), actual, what);
      }
    }
    for (const path of touched(made)) {
      const shown = await outcomeOf(look(model, path));
      const onMount = await outcomeOf(look(mount, path));
      comparison.same(shown, onMount, `${path} on the mount after ${what}`);
      const byTool = await outcomeOf(agent.perform({ op: 'look', path }));
      comparison.same(asAgentsSee(shown), byTool, `${path} by tool after ${what}`);
    }
  }
  await comparison.sameBelow(model, mount, [...model.root.names.keys()]);
}

/** Sequences that once failed, shrunk, each by what was wrong. */
const REGRESSIONS: readonly (readonly [string, readonly Step[]])[] = [
  [
    'a tool makes a directory where a link leads in a circle',
    [
      { face: 'mount', made: { op: 'symlink', path: 'ü', target: 'ü' } },
      { face: 'tool', made: { op: 'mkdir', path: 'ü', mode: 0o755 } },
    ],
  ],
];

describe('mount and tools together do what the model does', () => {
  test(
    'in random sequences of commands on both',
    async () => {
      const steps = fc.noBias(fc.array(step, { maxLength: STEPS_MAX, size: 'max' }));
      const limits = { numRuns: RUNS, interruptAfterTimeLimit: TIME_MS_MAX };
      // A failure prints seed, path and the shrunk sequence.
      await fc.assert(fc.asyncProperty(steps, run), { seed: SEED, ...limits });
    },
    TEST_MS_MAX,
  );

  test.each(REGRESSIONS)('when %s', (_what, steps) => run(steps));

  test('and the journal has no fault after it', async () => {
    expect(await daemon.json(['fsck'])).toMatchObject({ findings: [] });
  });
});
