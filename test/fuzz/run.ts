/**
 * One storm in a process of its own: `node run.js PART COUNT SEED`. Prints a line of JSON for each
 * round, so that who watches sees which seed it was that went wrong, hung or crashed. The exit code
 * is 1 when anything was found.
 */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { bridgedStorm, nonsenseStorm } from './bridges.ts';
import { dagStorm, smallSnapshot } from './dags.ts';
import { databaseStorm, smallJournal } from './databases.ts';
import { fuseStorm } from './fuse.ts';
import { FuzzHost } from './host.ts';
import { packetStorm } from './keeper.ts';
import { CONTROL, type FrameStorm, MCP, type Speech } from './mcp.ts';
import { settingsStorm } from './settings.ts';
import { held } from './world.ts';

/** One round: its inputs, and what it found. */
interface Outcome {
  readonly count: number;
  readonly faults: readonly string[];
}

interface Part {
  /** Inputs of one round: each has a place of its own, so that what is left over stays small. */
  readonly perRound: number;
  readonly round: (seed: number, count: number) => Promise<Outcome>;
  readonly end?: () => Promise<void>;
}

/** At a server of its own, so that what one round leaves behind is the next one's too. */
async function frames(socketOf: (host: FuzzHost) => string, speech: Speech): Promise<Part> {
  const host = await FuzzHost.open();
  return {
    perRound: 2000,
    round: async (seed, count) => {
      const { isControl } = speech;
      const workerData = { path: socketOf(host), seed, count, isControl };
      const attacker = new Worker(new URL('./attacker.js', import.meta.url), { workerData });
      const [storm] = (await once(attacker, 'message')) as [FrameStorm];
      await attacker.terminate();
      const faults = [...storm.faults, ...host.faults()];
      return { ...storm, count: storm.frames, faults };
    },
    end: () => host.close(),
  };
}

const PARTS: Readonly<Record<string, () => Promise<Part>>> = {
  fuse: async () => ({
    perRound: 20_000,
    round: async (seed, count) => {
      const storm = await fuseStorm(seed, count);
      return { ...storm, count: storm.requests };
    },
  }),
  mcp: () => frames((host) => host.mcpSocket, MCP),
  control: () => frames((host) => host.controlSocket, CONTROL),
  databases: async () => {
    const files = await smallJournal();
    return { perRound: 200, round: (seed, count) => databaseStorm(files, { seed, count }) };
  },
  dags: async () => {
    const whole = await smallSnapshot();
    return { perRound: 200, round: (seed, count) => dagStorm(whole, { seed, count }) };
  },
  bridge: async () => {
    const host = await FuzzHost.open();
    return {
      perRound: 1000,
      round: async (seed, count) => {
        const storm = await bridgedStorm(host.mcpSocket, { seed, count });
        const { faults } = await nonsenseStorm({ seed, count: Math.ceil(count / 50) });
        return { ...storm, count: storm.frames, faults: [...storm.faults, ...faults] };
      },
      end: () => host.close(),
    };
  },
  keeper: async () => ({
    perRound: 20_000,
    round: (seed, count) => packetStorm({ seed, count }),
  }),
  settings: async () => ({
    perRound: 1000,
    round: (seed, count) => settingsStorm({ seed, count }),
  }),
};

async function main(name: string, total: number, seed: number): Promise<void> {
  const open = PARTS[name];
  if (open === undefined) throw new Error(`no such part: ${name}`);
  const part = await open();
  for (let done = 0, round = seed; done < total; round++) {
    const startMs = performance.now();
    const { count, ...facts } = await part.round(round, Math.min(part.perRound, total - done));
    done += count;
    const ms = Math.round(performance.now() - startMs);
    const line = { part: name, seed: round, done, ms, ...facts, held: held() };
    process.stdout.write(`${JSON.stringify(line)}\n`);
    if (facts.faults.length === 0) continue;
    process.exitCode = 1;
    break;
  }
  await part.end?.();
}

const [name = '', total = '', seed = ''] = process.argv.slice(2);
await main(name, Number(total), Number(seed));
