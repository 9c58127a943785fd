/** What is looked at while syncs are killed, and in the end: files that tell whether they are whole, rungs, pins. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import Database from 'better-sqlite3';
import { CID } from 'multiformats/cid';
import * as raw from 'multiformats/codecs/raw';
import { expect } from 'vitest';
import { cidOfBytes } from '../../src/content/content.ts';
import type { TestDaemon } from '../integration/daemon.ts';
import type { KuboNode } from '../services/kubo.ts';

const COMMAND_MS_MAX = 120_000;

/** What the journal says of a store, and of what it holds. */
export interface Held {
  readonly state: string;
  readonly tree: string | undefined;
  /** The record; there when the tree is. */
  readonly snapshot: string;
  readonly isWanted: boolean;
  /** Whether nothing is to be done, or cleared away but what an attempt that was cut off may do late. */
  readonly isSettled: boolean;
}

interface Row {
  state: string;
  held_tree: Buffer | null;
  held_snapshot: Buffer | null;
  wanted_tree: Buffer;
  sent: string;
  due_s: number | null;
}

export function heldOf(state: string): readonly Held[] {
  const db = new Database(join(state, 'journal.db'), { readonly: true });
  try {
    const rows = db.prepare('SELECT * FROM sync_target').all() as Row[];
    return rows.map((row) => {
      const tree = row.held_tree ?? undefined;
      return {
        state: row.state,
        tree: tree === undefined ? undefined : cidOfBytes(tree).toString(),
        snapshot: row.held_snapshot === null ? '' : cidOfBytes(row.held_snapshot).toString(),
        isWanted: tree !== undefined && row.wanted_tree.equals(tree),
        isSettled: row.due_s === null && !/"\w+"/.test(row.sent),
      };
    });
  } finally {
    db.close();
  }
}

/** Pins that are no consequence of others, as `CID name`. */
export async function pinsOf(kubo: KuboNode): Promise<readonly string[]> {
  const pins = [];
  for (const type of ['recursive', 'direct']) {
    const listed = await kubo.cli(['pin', 'ls', `--type=${type}`, '--names', '--stream']);
    pins.push(...listed.split('\n').filter((line) => line !== ''));
  }
  return pins.sort();
}

const digestOf = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex');

/** The version that the writer gave it; 0: it is empty, as one that was opened and not closed yet. */
function versionOf(name: string, bytes: Buffer): number | 'torn' {
  if (bytes.length === 0) return 0;
  const end = bytes.indexOf('\n');
  const [inside, version, digest] = bytes.subarray(0, end).toString().split(' ');
  const isWhole = inside === name && digest === digestOf(bytes.subarray(end + 1));
  return isWhole ? Number(version) : 'torn';
}

/** Files of trees that a node has, as they follow each other. */
export class Versions {
  readonly #newest = new Map<string, number>();
  looks = 0;
  files = 0;
  empty = 0;

  /** Each file is one version that its writer made, and none is older than the last time. */
  look(directory: string): void {
    const wrong: string[] = [];
    for (const found of readdirSync(directory, { recursive: true, withFileTypes: true })) {
      if (!found.isFile()) continue;
      const path = join(found.parentPath, found.name);
      const name = basename(path, '.new');
      const version = versionOf(name, readFileSync(path));
      this.files += 1;
      if (version === 0) this.empty += 1;
      const known = this.#newest.get(path) ?? 0;
      if (version === 'torn') wrong.push(`${path} is torn`);
      else if (version !== 0 && version < known) wrong.push(`${path} went back to ${version}`);
      else if (version !== 0) this.#newest.set(path, version);
    }
    expect(wrong).toEqual([]);
    this.looks += 1;
  }
}

/**
 * A snapshot is whole on a node that asks nobody: the record, and all below what it names but the one before. Resolves
 * with the roots that are to be pinned.
 */
export async function expectWhole(
  kubo: KuboNode,
  { tree, snapshot }: Held,
): Promise<readonly string[]> {
  type Link = { readonly '/': string };
  const record = await kubo.rpc.json<{ tree: Link; manifest: Link }>(
    `dag/get?arg=${snapshot}&offline=true`,
  );
  expect(record.tree['/']).toBe(tree);
  for (const { '/': cid } of [record.tree, record.manifest]) {
    await kubo.rpc.bytes(`dag/export?arg=${cid}&progress=false&offline=true`);
  }
  const recorded = CID.createV1(raw.code, CID.parse(snapshot).multihash);
  return [record.tree['/'], record.manifest['/'], recorded.toString()];
}

/** Fetches a tree from a node that may ask nobody else. Resolves with where it lies. */
export async function fetched(kubo: KuboNode, tree: string, below: string): Promise<string> {
  const directory = join(below, 'got');
  rmSync(directory, { recursive: true, force: true });
  await kubo.cli(['get', '--offline', '-o', directory, tree]);
  return directory;
}

/** Files of the mount that the ladder calls safe outside: their CIDs and the SHA-256 of their bytes. */
export async function safeFiles(daemon: TestDaemon, path: string) {
  const read = (script: string) => daemon.shell(script, { in: path, timeoutMs: COMMAND_MS_MAX });
  /** Neither is listed; one that is not sealed yet has no CID. */
  const attribute = async (name: string) => {
    const text = await read(`find . -type f -exec getfattr -n ${name} {} + 2>/dev/null || true`);
    const pairs = text.matchAll(/^# file: (.*)\n.*?="(.*)"$/gm);
    return new Map([...pairs].map(([, file = '', value = '']) => [file, value]));
  };
  const rungs = await attribute('user.kitfs.durability');
  const cids = await attribute('user.ipfs.cid');
  const lines = (await read('find . -type f -exec sha256sum {} +')).trim().split('\n');
  const digests = new Map(
    lines.map((line) => {
      const [digest = '', name = ''] = line.split('  ./');
      return [name, digest];
    }),
  );
  const safe = [...rungs].filter(([, rung]) => ['stored', 'pinned', 'replicated'].includes(rung));
  return safe.map(([name]) => ({ name, cid: cids.get(name), digest: digests.get(name) }));
}

/** Each of these is whole on a node that asks nobody. */
export async function expectThere(
  kubo: KuboNode,
  files: Awaited<ReturnType<typeof safeFiles>>,
): Promise<void> {
  for (const { name, cid, digest } of files) {
    expect(cid, `${name} is safe, and has a CID`).toBeDefined();
    const bytes = await kubo.rpc.bytes(`cat?arg=${cid}&offline=true`);
    expect(digestOf(bytes), name).toBe(digest);
  }
}

/** The root that Kubo itself gives the tree as it is on the mount. */
export async function rootByKubo(kubo: KuboNode, directory: string): Promise<string> {
  const root = await kubo.cli([
    ...['add', '-r', '-H', '-Q', '--only-hash', '--cid-version=1', '--raw-leaves'],
    ...['--hash=sha2-256', '--chunker=size-1048576', '--max-file-links=1024'],
    ...['--max-directory-links=0', '--max-hamt-fanout=256', directory],
  ]);
  return root.trim();
}
