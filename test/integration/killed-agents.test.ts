/**
 * Agents whose daemon is killed at random instants, through the real bridge: every call succeeds, as if nothing had
 * been, and every change is made once.
 */
import { join } from 'node:path';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { expect, test } from 'vitest';
import { SystemClock } from '../../src/base/clock.ts';
import { ControlClient } from '../../src/daemon/control-client.ts';
import { SEED } from '../model/seed.ts';
import { call, textOf } from './agent.ts';
import { KITFS, TestDaemon } from './daemon.ts';

const KILLS = 10;
/** Every how many of them the keeper is killed too. */
const KILLS_WITH_KEEPER = 4;
/** Times a keeper starts a daemon that answers nobody, as `native/keeper.cc` has it. */
const STARTS_MAX = 10;
const WORKERS = 8;
/** Longest a daemon is left alone after it is ready; the shortest lives end before it has answered any agent. */
const LIFE_MS_MAX = 1500;

/** Numbers from 0 to below 1, the same for the same seed. */
function randomFrom(seed: number): () => number {
  let state = seed % 2_147_483_648;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

async function bridgeTo(daemon: TestDaemon): Promise<Client> {
  const env = Object.fromEntries(
    Object.entries(daemon.environment).map(([name, value]) => [name, value ?? '']),
  );
  const client = new Client({ name: 'killed', version: '1.0.0' });
  await client.connect(
    new StdioClientTransport({ command: process.execPath, args: [KITFS, 'mcp'], env }),
  );
  return client;
}

/** How many records of each kind there are to be, and how long the slowest call took. */
class Tally {
  readonly records: Record<string, number> = {};
  calls = 0;
  slowestMs = 0;

  add(kind: string): void {
    this.records[kind] = (this.records[kind] ?? 0) + 1;
  }

  async timed<T>(asking: Promise<T>): Promise<T> {
    const startedMs = performance.now();
    const answer = await asking;
    this.calls += 1;
    this.slowestMs = Math.max(this.slowestMs, performance.now() - startedMs);
    return answer;
  }
}

/** Works in a directory of its own, and knows what is to be in it: name → text. */
class Worker {
  readonly #client: Client;
  readonly #tally: Tally;
  readonly #random: () => number;
  readonly #files = new Map<string, string>();
  readonly #directories: string[];
  #made = 0;

  constructor(client: Client, tally: Tally, number: number) {
    this.#client = client;
    this.#tally = tally;
    this.#random = randomFrom(SEED + number);
    this.#directories = [`/ipfs/w${number}`];
  }

  async work(isOver: () => boolean): Promise<void> {
    await this.#change('vfs_mkdir', { path: this.#directories[0] }, 'mkdir');
    while (!isOver()) await this.#step();
    for (const [path, text] of this.#files) {
      expect(await textOf(this.#client, 'vfs_read', { path })).toBe(text);
    }
    for (const directory of this.#directories) await this.#list(directory);
  }

  async #step(): Promise<void> {
    const chosen = this.#random();
    const path = this.#some([...this.#files.keys()]);
    if (path === undefined || chosen < 0.25) await this.#create();
    else if (chosen < 0.5) await this.#append(path);
    else if (chosen < 0.65) await this.#move(path);
    else if (chosen < 0.75) await this.#remove(path);
    else if (chosen < 0.8) await this.#makeDirectory();
    else if (chosen < 0.9) await this.#read(path);
    else await this.#list(this.#some(this.#directories) ?? '');
  }

  #some<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.#random() * items.length)];
  }

  #newPath(): string {
    this.#made += 1;
    return `${this.#some(this.#directories)}/n${this.#made}`;
  }

  #change(tool: string, args: Record<string, unknown>, ...kinds: readonly string[]) {
    for (const kind of kinds) this.#tally.add(kind);
    return this.#tally.timed(call(this.#client, tool, args));
  }

  async #create(): Promise<void> {
    const path = this.#newPath();
    const content = `${path} `.repeat(1 + Math.floor(this.#random() * 200));
    const args = { path, content, overwrite: false };
    expect(await this.#change('vfs_write', args, 'create', 'write')).toMatchObject({
      created: true,
      size: content.length,
    });
    this.#files.set(path, content);
  }

  async #append(path: string): Promise<void> {
    const text = `${this.#files.get(path)}+`;
    const args = { path, content: '+', append: true };
    expect(await this.#change('vfs_write', args, 'write')).toMatchObject({ size: text.length });
    this.#files.set(path, text);
  }

  async #move(source: string): Promise<void> {
    const destination = this.#newPath();
    await this.#change('vfs_move', { source, destination }, 'rename');
    this.#files.set(destination, this.#files.get(source) ?? '');
    this.#files.delete(source);
  }

  async #remove(path: string): Promise<void> {
    expect(await this.#change('vfs_rm', { path }, 'unlink')).toMatchObject({ removed: true });
    this.#files.delete(path);
  }

  async #makeDirectory(): Promise<void> {
    const path = this.#newPath();
    expect(await this.#change('vfs_mkdir', { path }, 'mkdir')).toMatchObject({ created: true });
    this.#directories.push(path);
  }

  async #read(path: string): Promise<void> {
    const reading = textOf(this.#client, 'vfs_read', { path, length: 1_048_576 });
    expect(await this.#tally.timed(reading)).toBe(this.#files.get(path));
  }

  async #list(directory: string): Promise<void> {
    const listing = call(this.#client, 'vfs_ls', { path: directory, limit: 500 });
    const { entries } = (await this.#tally.timed(listing)) as { entries: { name: string }[] };
    const inside = [...this.#files.keys(), ...this.#directories]
      .filter((path) => path.startsWith(`${directory}/`))
      .map((path) => path.slice(directory.length + 1))
      .filter((name) => !name.includes('/'));
    expect(entries.map(({ name }) => name).sort()).toEqual(inside.sort());
  }
}

/** How many records of each kind agents have made. */
async function recordsOf(client: Client): Promise<Record<string, number>> {
  const records: Record<string, number> = {};
  let cursor: unknown;
  do {
    const page = (await call(client, 'fs_journal_get_history', {
      path: '/ipfs',
      recursive: true,
      surface: 'mcp',
      limit: 500,
      ...(cursor === undefined ? {} : { cursor }),
    })) as { entries: { op: string }[]; next_cursor?: string };
    for (const { op } of page.entries) records[op] = (records[op] ?? 0) + 1;
    cursor = page.next_cursor;
  } while (cursor !== undefined);
  return records;
}

test('kills at random instants are nothing but slowness to an agent, and every change is made once', async () => {
  await using daemon = await TestDaemon.start();
  const client = await bridgeTo(daemon);
  const tally = new Tally();
  const random = randomFrom(SEED);
  let isOver = false;
  const workers = Promise.all(
    Array.from({ length: WORKERS }, (_, n) => new Worker(client, tally, n).work(() => isOver)),
  );
  const failed = workers.then(() => undefined);
  for (let kill = 0; kill < KILLS; kill += 1) {
    // The delay is the randomness of this test, not a wait for something.
    const lifeMs = Math.floor(random() * LIFE_MS_MAX);
    await Promise.race([new Promise((resolve) => setTimeout(resolve, lifeMs)), failed]);
    // Most kills spare the keeper, which starts the next one; the others leave it to whoever comes.
    if (kill % KILLS_WITH_KEEPER === 0) {
      await daemon.kill();
      await daemon.restart();
    } else await daemon.crash();
  }
  isOver = true;
  await workers;
  const facts = `seed ${SEED}, ${tally.calls} calls, slowest ${Math.round(tally.slowestMs)} ms`;
  console.log(facts);
  expect(await recordsOf(client), facts).toEqual(tally.records);
  await client.close();
  expect(await daemon.json(['fsck'])).toMatchObject({ findings: [] });
});

test('a job whose handle an agent has goes on in the next daemon, to its end', async () => {
  await using daemon = await TestDaemon.start();
  const client = await bridgeTo(daemon);
  const content = 'x'.repeat(1_000_000);
  for (let n = 0; n < 16; n += 1) {
    await call(client, 'vfs_write', {
      path: `/ipfs/tree/${n}`,
      content: `${n}${content}`,
      parents: true,
    });
  }
  const args = { path: '/ipfs/tree', wait_ms: 0 };
  const { job } = (await call(client, 'vfs_sync_to_ipfs', args)) as { job: { job_id: string } };
  await daemon.crash();
  const asked = { job_id: job.job_id, wait_ms: 20_000 };
  expect(await call(client, 'job_get', asked)).toMatchObject({
    job: { job_id: job.job_id, state: 'done', tool: 'vfs_sync_to_ipfs' },
    result: { status: 'success', data: { changed: true, counts: { files: 16 } } },
  });
  expect((await recordsOf(client))['sync_to']).toBe(1);
  await client.close();
});

test('what a command asked for is done once, by the next daemon if its own is killed', async () => {
  await using daemon = await TestDaemon.start();
  const times = 5;
  for (let n = 0; n < times; n += 1) {
    await using asking = await ControlClient.connect(join(daemon.runDirectory, 'control.sock'));
    const append = { path: '/ipfs/a', content: '+', append: true };
    const params = { tool: 'vfs_write', arguments: append, key: `append ${n}` };
    const answer = asking.askAgain('call', params, { clock: new SystemClock() });
    // Before it is read, while it is run, or before its answer is written: the delay decides.
    await new Promise((resolve) => setTimeout(resolve, 2 * n));
    await daemon.crash();
    expect(await answer).toMatchObject({ status: 'success', data: { size: n + 1 } });
  }
  expect(await daemon.run('cat', ['a'], { in: 'ipfs' })).toBe('+'.repeat(times));
});

test('crashes between which agents are answered are forgiven, whoever looks at the mount', async () => {
  await using daemon = await TestDaemon.start();
  const client = await bridgeTo(daemon);
  // One more than a daemon that answers nobody is started.
  for (let n = 0; n <= STARTS_MAX; n += 1) {
    const append = { path: '/ipfs/a', content: '+', append: true };
    expect(await call(client, 'vfs_write', append)).toMatchObject({ size: n + 1 });
    process.kill(daemon.pid, 'SIGKILL');
  }
  expect(await textOf(client, 'vfs_read', { path: '/ipfs/a' })).toHaveLength(STARTS_MAX + 1);
  await client.close();
});
