/** A registry of a few tools that exist only here, over ports that can be turned. */
import { z } from 'zod';
import type { Clock } from '../../src/base/clock.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { OpError } from '../../src/base/errors.ts';
import { Redactor } from '../../src/base/redaction.ts';
import { Holding } from '../../src/content/holding.ts';
import { UNLIMITED } from '../../src/tools/ceiling.ts';
import { Cursors } from '../../src/tools/cursors.ts';
import { type Envelope, sliceResult } from '../../src/tools/envelope.ts';
import { Jobs } from '../../src/tools/jobs.ts';
import type { KeptJob, KeptJobCall, KeptJobs } from '../../src/tools/kept-jobs.ts';
import type { Ports } from '../../src/tools/ports.ts';
import { Registry } from '../../src/tools/registry.ts';
import type { KeptAnswer, KeptCall, KeptCalls, Ticket } from '../../src/tools/repeats.ts';
import * as schema from '../../src/tools/schema.ts';
import {
  contentTool,
  recordTool,
  type Session,
  type Tool,
  type ToolContext,
} from '../../src/tools/tool.ts';
import { RememberedLog } from '../fakes/log.ts';
import { CountingRandom } from '../fakes/random.ts';

const READ = { readOnly: true, destructive: false, idempotent: true, openWorld: false };
const WRITE = { readOnly: false, destructive: true, idempotent: false, openWorld: false };
const COMMON = { toolset: 'vfs', version: '1.0.0', deadline: 'local' } as const;
const READS = { hints: READ, changes: 'nothing' } as const;

/** What a test lets the tool `sample_wait` do, and what it saw. */
export class Waiting {
  readonly started: ToolContext[] = [];
  #waiters: (() => void)[] = [];
  readonly #failers: ((reason: Error) => void)[] = [];
  #isOpen = false;

  /** Ends all calls that wait, and those to come. */
  open(): void {
    this.#isOpen = true;
    for (const waiter of this.#waiters.splice(0)) waiter();
  }

  /** All calls that wait now fail of themselves. */
  fail(reason: Error): void {
    for (const failer of this.#failers.splice(0)) failer(reason);
  }

  /** Resolves at `open`; rejects when the signal aborts, unless it is stubborn. */
  wait(context: ToolContext, isStubborn: boolean): Promise<void> {
    this.started.push(context);
    return new Promise((resolve, reject) => {
      if (this.#isOpen) resolve();
      this.#waiters.push(resolve);
      this.#failers.push(reject);
      const { signal } = context;
      if (!isStubborn) signal.addEventListener('abort', () => reject(signal.reason));
    });
  }
}

const echo = recordTool({
  ...COMMON,
  name: 'sample_echo',
  title: 'Echo',
  description: 'Gives back what it is given.',
  ...READS,
  input: schema.input({
    path: schema.path(),
    limit: schema.int(1, 500).default(50),
    note: schema.text(0, 8).optional(),
    cid: schema.cid().optional(),
  }),
  example: { path: '/ipfs/a' },
  output: z.object({ path: z.string(), limit: z.int(), note: z.string().optional() }),
  run: ({ path, limit, note }) => ({
    data: { path, limit, note },
    seq: 7,
    warnings: ['only a sample'],
  }),
});

const fail = recordTool({
  ...COMMON,
  name: 'sample_fail',
  title: 'Fail',
  description: 'Fails as it is told.',
  hints: WRITE,
  changes: 'journal',
  input: schema.input({ how: z.enum(['not-found', 'untyped', 'large']), ...schema.dryRun }),
  example: { how: 'not-found' },
  output: z.object({ text: z.string() }),
  run: ({ how }) => {
    if (how === 'large') return { data: { text: 'x'.repeat(300_000) } };
    if (how === 'untyped') throw new TypeError('/root/secret: cannot read properties');
    throw new OpError('not-found', 'stat /ipfs/none', {
      details: { path: '/ipfs/none', inner: 'not for the caller' },
      cause: new Error('password=hunter2 \u0000 https://me:pw@host/x'),
    });
  },
});

const bytes = contentTool({
  ...COMMON,
  name: 'sample_bytes',
  title: 'Bytes',
  description: 'Gives bytes.',
  ...READS,
  input: schema.input({ text: z.string(), ...schema.slice }),
  example: { text: 'abc' },
  run: ({ text, offset, length, encoding }) => {
    const all = Buffer.from(text, 'utf8');
    return sliceResult({
      op: 'sample_bytes',
      bytes: all.subarray(offset, offset + length),
      offset,
      size: all.length,
      encoding,
      mime: 'text/plain',
      uri: 'kitfs://tree/a',
      name: 'a',
    });
  },
});

const waitInput = {
  stubborn: z.boolean().default(false),
  steps: z.int().default(0),
  ...schema.job,
};

const waits = (waiting: Waiting, name: string, hints: typeof READ, isJob: boolean): Tool =>
  recordTool({
    ...COMMON,
    name,
    title: 'Wait',
    description: 'Waits until the test lets it go on.',
    hints,
    changes: hints.readOnly ? 'nothing' : 'journal',
    deadline: isJob ? 'job' : 'local',
    ...(isJob ? { job: true as const } : {}),
    input: schema.input(waitInput),
    example: {},
    output: z.object({ waited: z.boolean() }),
    run: async ({ stubborn, steps }, context) => {
      for (let done = 1; done <= steps; done += 1) {
        context.progress({ done, total: steps, unit: 'items' });
      }
      await waiting.wait(context, stubborn);
      context.keep(() => ({ data: { waited: true } }));
      return { data: { waited: true } };
    },
  });

/** Answers kept in memory, by whoever outlives the registries that share it. */
export class RememberedCalls implements KeptCalls {
  readonly #kept = new Map<string, KeptCall>();

  find(principal: string, key: string): KeptCall | undefined {
    return this.#kept.get(`${principal} ${key}`);
  }

  keep({ principal, key, digest }: Ticket, answer: (seq: number | undefined) => KeptAnswer): void {
    this.#kept.set(`${principal} ${key}`, { digest, answer: answer(undefined) });
  }
}

/** Jobs kept in memory, likewise. */
export class RememberedJobs implements KeptJobs {
  readonly jobs = new Map<string, KeptJob>();
  readonly #nowS: () => number;

  constructor(nowS: () => number = () => 0) {
    this.#nowS = nowS;
  }

  all = (): readonly KeptJob[] => [...this.jobs.values()];

  keep(id: string, call: KeptJobCall): void {
    this.jobs.set(id, { id, call, starts: 1, end: undefined });
  }

  started(id: string): void {
    this.#change(id, (job) => ({ ...job, starts: job.starts + 1 }));
  }

  ended(id: string, result: Envelope): void {
    this.#change(id, (job) => ({ ...job, end: { result, atS: this.#nowS() } }));
  }

  forget(id: string): void {
    this.jobs.delete(id);
  }

  #change(id: string, change: (job: KeptJob) => KeptJob): void {
    const job = this.jobs.get(id);
    if (job === undefined) throw new Error(`no job ${id} is kept`);
    this.jobs.set(id, change(job));
  }
}

export interface Sample {
  readonly registry: Registry;
  readonly ports: Ports;
  readonly log: RememberedLog;
  readonly holding: Holding;
  readonly waiting: Waiting;
}

export function sample(
  clock: Clock = new SystemClock(),
  keptCalls: KeptCalls = new RememberedCalls(),
  keptJobs: KeptJobs = new RememberedJobs(),
): Sample {
  const random = new CountingRandom();
  const log = new RememberedLog();
  const waiting = new Waiting();
  const jobs = new Jobs({ clock, random });
  const cursors = new Cursors({ clock, random });
  const mount = { localPath: (path: string) => `/mnt${path}` };
  const holding = new Holding();
  const own = { clock, random, log, jobs, cursors, mount, holding };
  const ports = { ...own, keptCalls, keptJobs } as unknown as Ports;
  const tools = [
    echo,
    fail,
    bytes,
    waits(waiting, 'sample_wait', READ, false),
    waits(waiting, 'sample_change', WRITE, false),
    waits(waiting, 'sample_job', WRITE, true),
  ];
  return {
    registry: new Registry({ tools, ports, redactor: new Redactor() }),
    ports,
    log,
    holding,
    waiting,
  };
}

export const session = (uid = 0): Session => ({
  id: 'session-1',
  surface: 'mcp',
  peer: { uid, gid: uid, groups: [uid], pid: 1 },
  principal: `uid:${uid}`,
  client: { name: 'test', version: '1' },
  ceiling: UNLIMITED,
  closed: new AbortController().signal,
});
