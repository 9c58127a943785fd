/**
 * Daemons are killed at random moments under programs that must not notice. `kill/` does mixed operations and compares
 * every answer with a copy in memory; beside it work git, rsync, SQLite and an agent. In the end the whole tree is
 * compared, the records are, and fsck finds nothing. KITFS_TEST_SEED does again what was seen before.
 */
import { once } from 'node:events';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import { expect } from 'vitest';
import { call, connectAgent } from '../integration/agent.ts';
import { TestDaemon } from '../integration/daemon.ts';
import { SEED } from '../model/seed.ts';
import { ask, clone, keepLedgers, synchronise } from './bystanders.ts';
import { Hearing, killDaemons, medianOf } from './killer.ts';
import { buildProgram } from './program.ts';

const CLIENTS = 4;
/** The directory in which each client has one of its own. */
const TREES = 'work';
const STALL_MS_MAX = 500;
const BYSTANDERS = [clone, synchronise, keepLedgers, ask];

export interface KillRun {
  readonly kills: number;
  readonly runMsMax: number;
  /**
   * The longest that a kill may delay a system call, in times that Node itself takes to start meanwhile. Before the
   * next daemon has answered a call it may be killed too.
   */
  readonly stallStartsMax: number;
}

/** Immutable bytes, by CID and by a path below one, and a file that is made when it is opened. */
async function plantHeld(daemon: TestDaemon): Promise<string[]> {
  const agent = await connectAgent(daemon.mcpSocket);
  await call(agent, 'vfs_mkdir', { path: '/ipfs/held/inner', parents: true });
  const path = '/ipfs/held/inner/numbers';
  const content = Array.from({ length: 60_000 }, (_, i) => i).join(' ');
  await call(agent, 'vfs_write', { path, content });
  const stat = await call(agent, 'vfs_stat', { path, compute_cid: true });
  const options = { path: '/ipfs/held', targets: [], wait_for: 'local' };
  const { root_cid: root } = await call(agent, 'vfs_sync_to_ipfs', options);
  await agent.close();
  return [
    daemon.path('ipfs', String(stat['cid'])),
    daemon.path('ipfs', String(root), 'inner/numbers'),
    daemon.path('.kitfs/status.json'),
  ];
}

/** The clients, from their begin to their end. */
class Clients {
  readonly begun: Promise<void>;
  readonly #child: ReturnType<TestDaemon['spawn']>;
  readonly #closed: Promise<unknown[]>;
  #said = '';

  constructor(daemon: TestDaemon, program: string, args: readonly string[]) {
    this.#child = daemon.spawn(program, args, { in: 'ipfs' });
    this.#closed = once(this.#child, 'close');
    this.begun = new Promise((resolve) => {
      for (const stream of [this.#child.stdout, this.#child.stderr]) {
        stream?.setEncoding('utf8').on('data', (text: string) => {
          this.#said += text;
          if (this.#said.includes('begun\n')) resolve();
        });
      }
      this.#child.once('close', () => resolve());
    });
    this.#child.stdin?.on('error', () => {}); // It has ended; `ended` says how.
  }

  tell(what: 'kill' | 'next'): void {
    this.#child.stdin?.write(`${what}\n`);
  }

  /** Tells them to come to their end. */
  end(): void {
    this.#child.stdin?.end();
  }

  /** Resolves with what they said once they have ended, however that was. */
  async ended(): Promise<string> {
    const [code, signal] = await this.#closed;
    return code === 0 ? this.#said : `${this.#said}ended with ${signal ?? code}`;
  }
}

const KINDS = 'create mkdir rmdir unlink rename link symlink chmod setxattr removexattr'.split(' ');

/** What the journal says of the names and attributes of a client's tree, in order. */
function recordsOf(state: string, tree: string): string[] {
  const db = new Database(join(state, 'journal.db'), { readonly: true });
  const marks = KINDS.map(() => '?').join(', ');
  const rows = db
    .prepare(
      `SELECT kind, ino, path, old_path, mode FROM op
       WHERE kind IN (${marks}) AND path > ? AND path < ? ORDER BY seq`,
    )
    .all(...KINDS, Buffer.from(`${tree}/`), Buffer.from(`${tree}0`)) as {
    readonly kind: string;
    readonly ino: number;
    readonly path: Buffer;
    readonly old_path: Buffer | null;
    readonly mode: number | null;
  }[];
  db.close();
  const below = (path: Buffer | null) => String(path).slice(tree.length);
  return rows.map(({ kind, ino, path, old_path: oldPath, mode }) => {
    if (kind === 'rename') return `rename ${below(oldPath)} ${below(path)}`;
    if (kind === 'chmod') return `chmod ${ino} ${((mode ?? 0) & 0o7777).toString(8)}`;
    return `${kind} ${kind.endsWith('xattr') ? ino : below(path)}`;
  });
}

const worstIn = (said: string): number =>
  Math.max(...[...said.matchAll(/worst (\d+) ms/g)].map(([, ms]) => Number(ms)));

/** No program notices more than a pause, nothing is lost, and nothing is done twice. */
export async function surviveKills({ kills, runMsMax, stallStartsMax }: KillRun): Promise<void> {
  console.log(`seed ${SEED}`);
  const hearing = new Hearing();
  await using daemon = await TestDaemon.start({ onLine: hearing.hear });
  const program = buildProgram('kill', daemon.directory);
  const records = join(daemon.directory, 'records');
  mkdirSync(records);
  const held = await plantHeld(daemon);
  const args = [TREES, records, String(SEED), String(CLIENTS), ...held];
  const clients = new Clients(daemon, program, args);
  await clients.begun;

  const ending = new AbortController();
  const end = () => ending.abort();
  const said = clients.ended().finally(end);
  const beside = BYSTANDERS.map((bystander) => bystander(daemon, ending.signal).finally(end));
  const { signal } = ending;
  const tellKills = {
    onKill: () => clients.tell('kill'),
    onNext: () => clients.tell('next'),
  };
  const how = { kills, seed: SEED, signal, ...tellKills };
  const killing = killDaemons(daemon, hearing, how).finally(() => {
    end();
    clients.end();
  });
  const outcomes = await Promise.allSettled([said, killing, ...beside]);

  const text = await said;
  const done = outcomes.map((each) => (each.status === 'fulfilled' ? each.value : each.reason));
  console.log([text, ...done.slice(2)].join('\n'));
  expect(text).toMatch(/^done$/m);
  const { absencesMs, startsMs } = await killing;
  const [start, absence] = [medianOf(startsMs), medianOf(absencesMs)].map(Math.round);
  const worst = worstIn(text);
  console.log(
    `${kills} kills; worst stall ${worst} ms; a daemon was away for ${absence} ms (median), ` +
      `${Math.round(Math.max(...absencesMs))} ms (most); Node starts in ${start} ms`,
  );
  await Promise.all(beside);
  expect(hearing.takenOver).toBe(kills);
  expect(hearing.errors).toEqual([]);
  const { findings } = await daemon.json<{ findings: unknown[] }>(['fsck'], {
    timeoutMs: runMsMax,
  });
  expect(findings).toEqual([]);
  await daemon.stop();
  for (let client = 0; client < CLIENTS; client++) {
    const lines = readFileSync(join(records, `${client}.txt`), 'utf8')
      .trimEnd()
      .split('\n');
    expect(recordsOf(daemon.state, join('/ipfs', TREES, `client${client}`, 'tree'))).toEqual(lines);
  }
  expect(worst).toBeLessThan(Math.max(STALL_MS_MAX, stallStartsMax * (start ?? 0)));
}
