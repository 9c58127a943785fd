/**
 * kitfs, Kubo, or both are killed while a tree that is written to is brought from the one to the other, and Kubo
 * collects its garbage at any moment. Whatever the row of the store calls held is whole on Kubo, always; in the end
 * all of it is there, pinned once, every file as somebody closed it. KITFS_TEST_SEED does again what was seen before.
 */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import Database from 'better-sqlite3';
import { expect } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { cidOfBytes } from '../../src/content/content.ts';
import { pinNameOf } from '../../src/sync/upload.ts';
import { TestDaemon } from '../integration/daemon.ts';
import { SEED } from '../model/seed.ts';
import { KuboNode } from '../services/kubo.ts';
import { randomFrom } from './busy-agent.ts';

const WRITER = fileURLToPath(new URL('kill/writer.mjs', import.meta.url));
const PATH = '/ipfs/t';
const FILES = 60;
/** A sync that meets nothing takes about so long. */
const DELAY_MS_MAX = 800;
const SYNC_MS_MAX = 120_000;
/** Rounds between two looks at every byte that Kubo has. */
const ROUNDS_PER_LOOK = 10;

/** What happens to whom in a round. */
const TROUBLES = ['kitfs', 'kubo', 'both', 'collection'] as const;

interface Held {
  readonly state: string;
  readonly tree: string | undefined;
  readonly isWanted: boolean;
}

class Run {
  readonly daemon: TestDaemon;
  readonly kubo: KuboNode;
  readonly #random = randomFrom(SEED);
  looks = 0;
  cut = 0;

  constructor(daemon: TestDaemon, kubo: KuboNode) {
    this.daemon = daemon;
    this.kubo = kubo;
  }

  /** What the journal says of the store. */
  held(): Held {
    const db = new Database(join(this.daemon.state, 'journal.db'), { readonly: true });
    const row = db.prepare('SELECT state, held_tree, wanted_tree FROM sync_target').get() as
      | { state: string; held_tree: Buffer | null; wanted_tree: Buffer }
      | undefined;
    db.close();
    const tree = row?.held_tree ?? undefined;
    return {
      state: row?.state ?? 'none',
      tree: tree === undefined ? undefined : cidOfBytes(tree).toString(),
      isWanted: tree !== undefined && row?.wanted_tree.equals(tree) === true,
    };
  }

  /** Syncs, with trouble at some moment of it; then both run again. */
  async round(): Promise<void> {
    const trouble = TROUBLES[Math.floor(this.#random() * TROUBLES.length)];
    const delayMs = this.#random() * DELAY_MS_MAX;
    const values = JSON.stringify({ path: PATH, targets: ['ipfs'], wait_for: 'pinned' });
    const syncing = this.daemon.kitfs(['call', 'vfs_sync_to_ipfs', values], {
      timeoutMs: SYNC_MS_MAX,
    });
    // The moment is the randomness of this test, not a wait for something.
    await wait(delayMs);
    const isKubo = trouble === 'kubo' || trouble === 'both';
    if (isKubo) await this.kubo.kill();
    if (trouble === 'kitfs' || trouble === 'both') process.kill(this.daemon.pid, 'SIGKILL');
    if (trouble === 'collection') await this.kubo.gc();
    if (isKubo) await this.kubo.restart();
    const { code } = await syncing;
    if (code !== 0) this.cut += 1;
  }

  /** What is called held is there after a collection, with everything below it. */
  async lookAtHeld(): Promise<string | undefined> {
    const { tree } = this.held();
    if (tree === undefined) return undefined;
    await this.kubo.gc();
    await this.kubo.cli(['refs', '-r', '-u', '--offline', tree]);
    return tree;
  }

  /** Every file of a tree that Kubo has is one that somebody closed. Resolves with where it lies. */
  async lookAtBytes(tree: string): Promise<string> {
    const directory = join(this.daemon.directory, 'got');
    rmSync(directory, { recursive: true, force: true });
    await this.kubo.cli(['get', '--offline', '-o', directory, tree]);
    const torn = readdirSync(directory).filter((name) => !isWhole(join(directory, name)));
    expect(torn).toEqual([]);
    this.looks += 1;
    return directory;
  }
}

function isWhole(path: string): boolean {
  const bytes = readFileSync(path);
  if (bytes.length === 0) return true; // Opened, and not closed yet.
  const end = bytes.indexOf('\n');
  const digest = createHash('sha256')
    .update(bytes.subarray(end + 1))
    .digest('hex');
  return bytes.subarray(0, end).toString() === digest;
}

/** Nothing is pinned twice: the tree, its manifest and the record are, under one name. */
async function pinsOf(kubo: KuboNode): Promise<readonly string[]> {
  const name = pinNameOf(nameOfText(PATH));
  const listed = await kubo.cli(['pin', 'ls', '--type=recursive', '--names', '--stream']);
  return listed.split('\n').filter((line) => line.endsWith(` ${name}`));
}

export async function surviveSyncKills({ rounds }: { readonly rounds: number }): Promise<void> {
  console.log(`seed ${SEED}`);
  await using kubo = await KuboNode.start();
  await using daemon = await TestDaemon.start({
    configuration: `[ipfs.kubo]\napi = "${kubo.api}"\n`,
  });
  await daemon.shell('mkdir -p ipfs/t', {});
  const run = new Run(daemon, kubo);
  const writer = daemon.spawn(process.execPath, [WRITER, '.', String(SEED), String(FILES)], {
    in: 'ipfs/t',
  });
  let written = '';
  writer.stdout?.setEncoding('utf8').on('data', (text: string) => {
    written += text;
  });
  const ended = new Promise<number | null>((resolve) => writer.once('close', resolve));
  for (let round = 1; round <= rounds; round += 1) {
    await run.round();
    const tree = await run.lookAtHeld();
    if (tree !== undefined && round % ROUNDS_PER_LOOK === 0) await run.lookAtBytes(tree);
  }
  writer.stdin?.end();
  expect(await ended).toBe(0);
  const values = JSON.stringify({ path: PATH, targets: ['ipfs'], wait_for: 'pinned' });
  const last = await daemon.kitfs(['call', 'vfs_sync_to_ipfs', values], { timeoutMs: SYNC_MS_MAX });
  expect(last.code, `${last.stdout}${last.stderr}`).toBe(0);
  expect(run.held()).toMatchObject({ state: 'pinned', isWanted: true });
  const tree = await run.lookAtHeld();
  const got = await run.lookAtBytes(tree ?? '');
  await daemon.shell(`diff -r . ${got}`, { in: 'ipfs/t', timeoutMs: SYNC_MS_MAX });
  expect(await pinsOf(kubo)).toHaveLength(3);
  console.log(
    `${rounds} rounds, ${run.cut} syncs cut off, ${written.trim()} files written, ${run.looks} looks at all bytes`,
  );
  const { findings } = await daemon.json<{ findings: unknown[] }>(['fsck'], {
    timeoutMs: SYNC_MS_MAX,
  });
  expect(findings).toEqual([]);
}
