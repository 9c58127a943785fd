/**
 * Random operations on files (`io/`), each answer held against a copy in memory; first on a directory of the machine,
 * because a checker that is wrong there is wrong.
 */
import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { importer } from 'ipfs-unixfs-importer';
import type { CID } from 'multiformats/cid';
import { afterAll, describe, expect, test } from 'vitest';
import { call, connectAgent, textOf } from '../integration/agent.ts';
import { type Ending, TestDaemon } from '../integration/daemon.ts';
import { buildProgram } from './program.ts';

/** A tenth of the full size, `io.full.ts`. */
const SHARE = process.env['KITFS_TEST_FULL'] === undefined ? 0.1 : 1;
/** On `/ipfs`, over all seeds. */
const OPERATIONS = 1_000_000 * SHARE;
/** Printed by the program, so that a failure can be done again. */
const SEEDS_ALONE = [1, 2];
/** At once: they are each other's second client. */
const SEEDS_TOGETHER = [3, Date.now() % 1_000_000_000];
/** In each of the runs that only show that something can be done at all. */
const BRIEF_OPERATIONS = 20_000;
const MEMORY_OPERATIONS = 100_000 * SHARE;
const READ_ALONG_OPERATIONS = 100_000 * SHARE;
/** More would only take the time of the others. */
const TOOL_WRITES_MAX = 2000;
const RUN_MS_MAX = 900_000;

const base = mkdtempSync(join(tmpdir(), 'kitfs-io-'));
const program = buildProgram('io', base);
let directories = 0;

afterAll(() => rmSync(base, { recursive: true, force: true }));

function nativeDirectory(): string {
  directories += 1;
  const directory = join(base, `native${directories}`);
  mkdirSync(directory);
  return directory;
}

/** What is wrong in a run: nothing when it came to its end. */
function wrongIn({ code, signal, stdout, stderr }: Ending): string | undefined {
  const isDone = code === 0 && /^done /m.test(stdout);
  return isDone ? undefined : `ended with ${signal ?? code}\n${stdout}${stderr}`;
}

describe('the checker itself', () => {
  const runNatively = (operations: number, ...options: string[]) => {
    const args = [nativeDirectory(), String(operations), '7', ...options];
    return spawnSync(program, args, { encoding: 'utf8', timeout: RUN_MS_MAX });
  };

  test('finds nothing wrong with a directory of this machine', () => {
    for (const options of [[], ['--reader']]) {
      const { status, stdout } = runNatively(BRIEF_OPERATIONS, ...options);
      expect(stdout).toMatch(/^done /m);
      expect(status).toBe(0);
    }
  });

  test.each([
    ['flip', 'read', 'read'],
    ['flip', 'direct-read', 'direct read'],
    ['flip', 'send-out', 'sendfile'],
    ['flip', 'map-read', 'the mapping'],
    ['flip', 'map-briefly', 'a brief mapping'],
    ['flip', 'whole', 'the whole'],
    ['punch', 'seek', 'a hole'],
    ['grow', 'stat', 'st_size'],
    ['grow', 'whole', 'the whole'],
  ])(
    'tells of a file changed behind its back (%s) when all it does is %s',
    (damage, does, told) => {
      const at = 200;
      const { status, stdout } = runNatively(1000, '--damage', `${damage}:${at}:${does}`);
      expect(status).toBe(1);
      expect(stdout).toMatch(new RegExp(`MISMATCH: ${told}`));
      const number = Number(/operation (\d+);/.exec(stdout)?.[1]);
      expect(number).toBeGreaterThanOrEqual(at);
      expect(stdout).toMatch(new RegExp(`^  ${number} ${does} `, 'm'));
    },
  );
});

describe('on the mount', () => {
  let printed = 0;

  /** A run that must come to its end; seed and rate are printed. */
  async function demandRun(
    daemon: TestDaemon,
    tree: string,
    operations: number,
    seed: number,
    ...options: string[]
  ): Promise<string> {
    const name = `io${printed++}`;
    await daemon.run('mkdir', [name], { in: tree });
    const args = [name, String(operations), String(seed), ...options];
    const ending = await daemon.attempt(program, args, { in: tree, timeoutMs: RUN_MS_MAX });
    console.log(
      `${tree}, ${options.join(' ')}: ${ending.stdout.split('\n').slice(0, 3).join('; ')}`,
    );
    expect(wrongIn(ending)).toBeUndefined();
    // Nothing was left out: the file system has it all.
    expect(ending.stdout).not.toContain('without');
    return name;
  }

  async function cidOf(bytes: Buffer): Promise<string> {
    const store = { put: (cid: CID): CID => cid };
    const options = { profile: 'unixfs-v1-2025', wrapWithDirectory: false } as const;
    let root = '';
    for await (const { cid } of importer([{ content: bytes }], store, options))
      root = cid.toString();
    return root;
  }

  /** The CID a closed file tells is that of the bytes it shows; nothing is found wrong. */
  async function demandSound(daemon: TestDaemon, directories: readonly string[]): Promise<void> {
    const agent = await connectAgent(daemon.mcpSocket);
    for (const directory of directories) {
      const names = (await daemon.run('ls', [directory], { in: 'ipfs' })).trim().split('\n');
      expect(names.length).toBe(2);
      for (const name of names) {
        const path = `${directory}/${name}`;
        const text = await daemon.run('base64', ['-w0', path], { in: 'ipfs' });
        const cid = await cidOf(Buffer.from(text, 'base64'));
        const stat = await call(agent, 'vfs_stat', { path: `/ipfs/${path}`, compute_cid: true });
        expect(stat['cid'], path).toBe(cid);
        const script = `import os; print(os.getxattr('${path}', 'user.ipfs.cid').decode())`;
        expect(await daemon.run('python3', ['-c', script], { in: 'ipfs' })).toBe(`${cid}\n`);
      }
    }
    await agent.close();
    const { findings } = await daemon.json<{ findings: unknown[] }>(['fsck'], {
      timeoutMs: RUN_MS_MAX,
    });
    expect(findings).toEqual([]);
  }

  /** A tool writes a file of its own, again and again, until it is told to end or has done enough. */
  async function writeByTool(daemon: TestDaemon, ended: AbortSignal): Promise<number> {
    const agent = await connectAgent(daemon.mcpSocket);
    const path = '/ipfs/of the tool';
    let writes = 0;
    while (!ended.aborted && writes < TOOL_WRITES_MAX) {
      const content = `${writes} `.repeat(1 + ((writes * 977) % 30_000));
      await call(agent, 'vfs_write', { path, content });
      if (writes % 50 === 0) {
        expect(await daemon.run('cat', ['of the tool'], { in: 'ipfs' })).toBe(content);
        const length = Math.min(content.length, 1000);
        const read = await textOf(agent, 'vfs_read', { path, length });
        expect(read).toBe(content.slice(0, length));
      }
      writes += 1;
    }
    await agent.close();
    return writes;
  }

  test(
    `${OPERATIONS} random operations are answered as by a copy in memory, while a tool and a second client work`,
    async () => {
      await using daemon = await TestDaemon.start();
      const share = OPERATIONS / (SEEDS_ALONE.length + SEEDS_TOGETHER.length);
      const made: string[] = [];
      for (const seed of SEEDS_ALONE) made.push(await demandRun(daemon, 'ipfs', share, seed));
      const ended = new AbortController();
      const writing = writeByTool(daemon, ended.signal);
      const together = SEEDS_TOGETHER.map((seed) => demandRun(daemon, 'ipfs', share, seed));
      made.push(...(await Promise.all(together).finally(() => ended.abort())));
      expect(await writing).toBeGreaterThan(0);
      await demandSound(daemon, made);
    },
    RUN_MS_MAX,
  );

  test(
    'they are while another process opens and reads the same files',
    async () => {
      await using daemon = await TestDaemon.start();
      const made = await demandRun(daemon, 'ipfs', READ_ALONG_OPERATIONS, 5, '--reader');
      await demandSound(daemon, [made]);
      await demandRun(daemon, 'mem', READ_ALONG_OPERATIONS, 6, '--reader');
    },
    RUN_MS_MAX,
  );

  test(
    'they are in a tree that is in memory',
    async () => {
      await using daemon = await TestDaemon.start();
      await demandRun(daemon, 'mem', MEMORY_OPERATIONS, 4);
    },
    RUN_MS_MAX,
  );
});
