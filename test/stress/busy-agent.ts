/** An agent that works through the real bridge, and knows what every answer, file and record is to be. */
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { expect } from 'vitest';
import { call, textOf } from '../integration/agent.ts';
import { KITFS, type TestDaemon } from '../integration/daemon.ts';
import { SEED } from '../model/seed.ts';

/** Numbers from 0 to below 1, the same for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed % 2_147_483_648;
  return () => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648;
    return state / 2_147_483_648;
  };
}

export async function bridgeTo(daemon: TestDaemon): Promise<Client> {
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
export class Tally {
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
export class Worker {
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
export async function recordsOf(client: Client): Promise<Record<string, number>> {
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
