/** Ordinary programs that work on the mount, again and again, until they are told to end. */
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { TestDaemon } from '../integration/daemon.ts';
import { bridgeTo, randomFrom, recordsOf, Tally, Worker } from './busy-agent.ts';

/** Works until the signal aborts; resolves with how much was done, in words. */
export type Bystander = (daemon: TestDaemon, ended: AbortSignal) => Promise<string>;

const ROUND_MS_MAX = 240_000;
const LEDGER = fileURLToPath(new URL('kill/ledger.mjs', import.meta.url));
const FILES = 150;
/** Calls that one agent has in flight. */
const WORKERS = 3;

async function roundsOf(ended: AbortSignal, round: (number: number) => Promise<void>) {
  let rounds = 0;
  do {
    await round(rounds);
    rounds += 1;
  } while (!ended.aborted);
  return rounds;
}

/** A tree off the mount, with files of many sizes. */
function plant(directory: string): void {
  const random = randomFrom(FILES);
  for (let i = 0; i < FILES; i++) {
    const folder = join(directory, `d${i % 10}`);
    mkdirSync(folder, { recursive: true });
    const sizeBytes = Math.floor(random() ** 4 * 300_000);
    writeFileSync(join(folder, `f${i}`), `${random()} `.repeat(sizeBytes / 20));
  }
}

export const clone: Bystander = async (daemon, ended) => {
  const source = join(daemon.directory, 'source');
  plant(source);
  const identity = '-c user.name=t -c user.email=t@localhost';
  await daemon.shell(
    `git init -q -b main; git add -A; git ${identity} commit -q -m one
     echo more >> d1/f1; git ${identity} commit -q -a -m two`,
    { in: source },
  );
  const rounds = await roundsOf(ended, async () => {
    await daemon.shell(
      `git clone -q --no-local ${source} clone; cd clone
       git fsck --strict --no-progress; test -z "$(git status --porcelain)"
       git checkout -q HEAD~1; git checkout -q main; test -z "$(git status --porcelain)"
       cd ..; rm -rf clone`,
      { in: 'ipfs', timeoutMs: ROUND_MS_MAX },
    );
  });
  return `${rounds} clones`;
};

export const synchronise: Bystander = async (daemon, ended) => {
  const source = join(daemon.directory, 'tree');
  plant(source);
  const rounds = await roundsOf(ended, async (round) => {
    writeFileSync(join(source, `d${round % 10}`, 'changed'), `${round} `.repeat(10_000));
    await daemon.shell(
      `rsync -a --checksum --delete ${source}/ copy
       test -z "$(rsync -ain --checksum --delete ${source}/ copy)"
       test ${round % 3} != 2 || rm -rf copy`,
      { in: 'ipfs', timeoutMs: ROUND_MS_MAX },
    );
  });
  return `${rounds} rsyncs`;
};

export const keepLedgers: Bystander = async (daemon, ended) => {
  await daemon.run('mkdir', ['ledgers'], { in: 'ipfs' });
  const child = daemon.spawn(process.execPath, [LEDGER], { in: 'ipfs/ledgers' });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
    });
  }
  ended.addEventListener('abort', () => child.stdin?.end());
  const [code] = (await once(child, 'close')) as [number | null];
  if (code !== 0 || !ended.aborted) throw new Error(`the ledgers ended with ${code}: ${said}`);
  return `transactions: ${said.trim()}`;
};

/** One client of the bridge, which asks several things at once. */
export const ask: Bystander = async (daemon, ended) => {
  const client = await bridgeTo(daemon);
  const before = await recordsOf(client);
  const tally = new Tally();
  const isOver = () => ended.aborted;
  const workers = Array.from({ length: WORKERS }, (_, n) => new Worker(client, tally, n));
  await Promise.all(workers.map((worker) => worker.work(isOver)));
  const records = await recordsOf(client);
  for (const [kind, count] of Object.entries(tally.records)) {
    expect((records[kind] ?? 0) - (before[kind] ?? 0), kind).toBe(count);
  }
  await client.close();
  return `${tally.calls} tool calls, the slowest took ${Math.round(tally.slowestMs)} ms`;
};
