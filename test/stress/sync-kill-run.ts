/**
 * kitfs, Kubo, or both are killed while a tree that is written to is brought from the one to the other, and Kubo
 * collects its garbage at any moment. Whatever the ladder calls safe is whole on Kubo, always; in the end all of it is
 * there, pinned once, every file as somebody closed it. KITFS_TEST_SEED does again what was seen before.
 *
 * A kill aims at a phase: it waits for a call of that phase to come to a proxy before the node, and a random moment
 * more. What it met is counted.
 */
import type { ChildProcess } from 'node:child_process';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { pinNameOf } from '../../src/sync/upload.ts';
import { call, connectAgent } from '../integration/agent.ts';
import { TestDaemon } from '../integration/daemon.ts';
import { SEED } from '../model/seed.ts';
import { FaultyProxy } from '../services/faulty-proxy.ts';
import { KuboNode } from '../services/kubo.ts';
import { randomFrom } from './busy-agent.ts';
import { Hearing } from './killer.ts';
import {
  expectThere,
  expectWhole,
  fetched,
  type Held,
  heldOf,
  pinsOf,
  rootByKubo,
  safeFiles,
  Versions,
} from './sync-kill-checks.ts';

const WRITER = fileURLToPath(new URL('kill/writer.mjs', import.meta.url));
const PATH = '/ipfs';
const FILES = 60;
const SYNC_MS_MAX = 120_000;
const CONNECT_MS_MAX = 30_000;
const POLL_MS = 10;
/** Calls shown with a failure. */
const SHOWN = 120;

/** What happens to whom in a round. */
const TROUBLES = ['kitfs', 'kubo', 'both', 'collection'] as const;
type Trouble = (typeof TROUBLES)[number];

/** What a sync does, in its order, by what the node is asked. */
const PHASES = {
  publishing: undefined,
  asking: /^(files\/stat|pin\/ls)/,
  sending: /^dag\/import/,
  pinning: /^pin\/add/,
  placing: /^files\/(cp|mv|rm|mkdir)/,
  clearing: /^pin\/rm/,
} as const;
type Phase = keyof typeof PHASES;
const PHASE_NAMES = Object.keys(PHASES) as readonly Phase[];

/** How long after it began a phase is hit, at the latest. Publishing takes some tens of milliseconds. */
const DELAY_MS_MAX: Readonly<Record<Phase, number>> = {
  ...{ publishing: 60, asking: 10, sending: 60, pinning: 10, placing: 10, clearing: 10 },
};

const phaseOf = (path: string | undefined): Phase | 'other' =>
  PHASE_NAMES.find((name) => path !== undefined && PHASES[name]?.test(path)) ?? 'other';

/** Each trouble in each phase once, in some order; then again. */
function* dealt(random: () => number): Generator<readonly [Phase, Trouble], never> {
  for (;;) {
    const deck = PHASE_NAMES.flatMap((phase) =>
      TROUBLES.map((trouble) => ({ at: random(), what: [phase, trouble] as const })),
    );
    for (const { what } of deck.sort((one, other) => one.at - other.at)) yield what;
  }
}

interface World {
  readonly daemon: TestDaemon;
  readonly kubo: KuboNode;
  readonly proxy: FaultyProxy;
  readonly hearing: Hearing;
  readonly writer: ChildProcess;
}

class Run {
  readonly #world: World;
  readonly #random = randomFrom(SEED);
  readonly #deal: Generator<readonly [Phase, Trouble], never> = dealt(this.#random);
  readonly versions = new Versions();
  /** How often which phase met which trouble. */
  readonly met = new Map<string, number>();
  rounds = 0;
  kills = 0;
  cut = 0;
  safe = 0;

  constructor(world: World) {
    this.#world = world;
  }

  /** Asks for a sync; resolves with whether it was told that all is there. */
  async #sync(): Promise<boolean> {
    const { daemon } = this.#world;
    const deadline = performance.now() + CONNECT_MS_MAX;
    for (;;) {
      // Between two daemons nobody listens.
      const agent = await connectAgent(daemon.mcpSocket).catch((error: Error) => error);
      if (!(agent instanceof Error)) {
        const values = { path: PATH, targets: ['ipfs'], wait_for: 'pinned' };
        const isThere = await call(agent, 'vfs_sync_to_ipfs', values).then(
          () => true,
          () => false,
        );
        await agent.close();
        return isThere;
      }
      if (performance.now() > deadline) throw agent;
      await wait(POLL_MS);
    }
  }

  /** Syncs, with trouble at some moment of it; then both run again. */
  async round(): Promise<void> {
    const { proxy } = this.#world;
    const [phase, trouble] = this.#deal.next().value;
    const before = proxy.passed.length;
    const calls = PHASES[phase];
    const ending = new AbortController();
    const begun = calls === undefined ? Promise.resolve() : proxy.next(calls, ending.signal);
    let isOver = false;
    const syncing = this.#sync().finally(() => {
      isOver = true;
      ending.abort();
    });
    await begun;
    // The moment is the randomness of this test, not a wait for something.
    await wait(this.#random() * DELAY_MS_MAX[phase]);
    const asked = proxy.passed.length > before ? phaseOf(proxy.passed.at(-1)?.path) : 'publishing';
    const key = `${isOver ? 'at rest' : asked} ${trouble}`;
    this.met.set(key, (this.met.get(key) ?? 0) + 1);
    this.rounds += 1;
    if (trouble !== 'collection') this.kills += 1;
    await this.#trouble(trouble);
    if (!(await syncing)) this.cut += 1;
  }

  async #trouble(trouble: Trouble): Promise<void> {
    const { kubo, daemon, hearing } = this.#world;
    if (trouble === 'collection') return void (await kubo.gc());
    const dying = trouble === 'kitfs' ? undefined : kubo.kill();
    const next = trouble === 'kubo' ? undefined : hearing.next();
    if (next !== undefined) process.kill(daemon.pid, 'SIGKILL');
    if (dying !== undefined) await dying.then(() => kubo.restart());
    await next;
  }

  /** The only store. */
  held(): Held | undefined {
    const [held, ...others] = heldOf(this.#world.daemon.state);
    expect(others).toEqual([]);
    return held;
  }

  /** Calls the look until the store held the same before and after: a sync may end meanwhile. */
  async #whileHeld(look: (held: Held, tree: string) => Promise<void>): Promise<void> {
    for (;;) {
      const held = this.held();
      const tree = held?.tree;
      if (held === undefined || tree === undefined) return;
      const wrong = await look(held, tree).then(
        () => undefined,
        (error: unknown) => ({ error }),
      );
      if (wrong === undefined) return;
      if (this.held()?.tree === tree) throw wrong.error;
    }
  }

  /** What is called safe is there after a collection, and what is held with everything below it. */
  async look(): Promise<void> {
    const { kubo, daemon, writer } = this.#world;
    const pid = writer.pid ?? 0;
    process.kill(pid, 'SIGSTOP');
    const files = await safeFiles(daemon, 'ipfs');
    await kubo.gc();
    await expectThere(kubo, files);
    this.safe += files.length;
    await this.#whileHeld(async (held, tree) => {
      await expectWhole(kubo, held);
      this.versions.look(await fetched(kubo, tree, daemon.directory));
    });
    process.kill(pid, 'SIGCONT');
  }

  /** Nobody writes any more. */
  async finish(others: readonly string[]): Promise<void> {
    const { kubo, daemon } = this.#world;
    expect(await this.#sync(), daemon.output).toBe(true);
    const held = this.held();
    expect(held).toMatchObject({ state: 'pinned', isWanted: true, isSettled: true });
    const tree = held?.tree ?? '';
    await kubo.gc();
    const roots = held === undefined ? [] : await expectWhole(kubo, held);
    const got = await fetched(kubo, tree, daemon.directory);
    this.versions.look(got);
    await daemon.shell(`diff -r . ${got}`, { in: 'ipfs', timeoutMs: SYNC_MS_MAX });
    expect(tree).toBe(await rootByKubo(kubo, daemon.path('ipfs')));
    const listed = await kubo.cli(['files', 'ls', '-l', '/kitfs']);
    expect(listed.trim().split(/\s+/).slice(0, 2)).toEqual(['ipfs/', tree]);
    expect(listed.trim().split('\n')).toHaveLength(1);
    const files = await safeFiles(daemon, 'ipfs');
    expect(files).toHaveLength(Number(await daemon.shell('find ipfs -type f | wc -l')));
    await expectThere(kubo, files);
    const pins = (await pinsOf(kubo)).filter((pin) => !others.includes(pin));
    const asked = this.#world.proxy.passed.map(({ path, status }) => `${path} ${status}`);
    const history = pins.map((pin) =>
      asked.filter((path) => path.includes(pin.split(' ')[0] ?? '')).join('\n'),
    );
    const id = /^\S+ recursive kitfs (\S+) \S+$/.exec(pins[0] ?? '')?.[1] ?? 'no journal';
    const name = pinNameOf(id, nameOfText(PATH));
    expect(pins, history.join('\n\n')).toEqual(
      roots.map((root) => `${root} recursive ${name}`).sort(),
    );
    const { findings } = await daemon.json<{ findings: unknown[] }>(['fsck'], {
      timeoutMs: SYNC_MS_MAX,
    });
    expect(findings).toEqual([]);
  }
}

/** The newest calls that came to a node. */
const asked = ({ passed }: FaultyProxy) =>
  passed
    .slice(-SHOWN)
    .map(({ path, status }) => `${path} ${status}`)
    .join('\n');

/** So many rounds with a kill in them, and those with a collection that fall between them. */
export async function surviveSyncKills(kills: number): Promise<void> {
  console.log(`seed ${SEED}`);
  const hearing = new Hearing();
  const conflicts: string[] = [];
  const hear = (line: string) => {
    hearing.hear(line);
    if (line.includes('sync-conflict')) conflicts.push(line);
  };
  // Half of all runs speak to a Unix socket.
  await using kubo = await KuboNode.start({ api: SEED % 2 === 0 ? 'tcp' : 'unix' });
  await using proxy = await FaultyProxy.start(kubo.api);
  await using daemon = await TestDaemon.start({
    configuration: `[ipfs.kubo]\napi = "${proxy.api}"\n[sync]\ndebounce_ms = 500\ninterval_s = 2\n`,
    onLine: hear,
  });
  const others = await pinsOf(kubo);
  const words = [WRITER, '.', String(SEED), String(FILES)];
  const writer = daemon.spawn(process.execPath, words, { in: 'ipfs' });
  let said = '';
  for (const stream of [writer.stdout, writer.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  const ended = new Promise<number | null>((resolve) => writer.once('close', resolve));
  const run = new Run({ daemon, kubo, proxy, hearing, writer });
  while (run.kills < kills) {
    await run.round();
    await run.look();
    // Nobody else publishes there, so what is there is ours.
    expect(conflicts, asked(proxy)).toEqual([]);
  }
  writer.stdin?.end();
  expect(await ended, said).toBe(0);
  await run.finish(others);
  const { versions, met, rounds, cut, safe } = run;
  const table = [...met].sort().map(([what, count]) => `${what} ${count}`);
  console.log(
    `${kills} kills in ${rounds} rounds (${table.join(', ')}), ${cut} syncs cut off, ${said.trim()} files written, ` +
      `${versions.looks} looks at ${versions.files} files, ${versions.empty} of them empty, ${safe} rungs proved`,
  );
  // The run would prove little if it had not met anything.
  expect(safe).toBeGreaterThan(0);
  expect(cut).toBeGreaterThan(0);
  const struck = new Set([...met.keys()].map((what) => what.split(' ')[0]));
  expect(struck.size).toBeGreaterThan(Math.min(rounds / 4, PHASE_NAMES.length - 1));
}
