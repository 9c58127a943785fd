/** Trees that somebody made with Kubo alone, merged into the tree of kitfs by vfs_sync_from_ipfs. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import { KuboNode } from '../services/kubo.ts';
import { TestDaemon } from './daemon.ts';

interface Envelope {
  readonly status: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly error_code?: string;
}

let kubo: KuboNode;
let daemon: TestDaemon;
let source: string;

beforeAll(async () => {
  kubo = await KuboNode.start();
  daemon = await TestDaemon.start({ configuration: `[ipfs.kubo]\napi = "${kubo.api}"\n` });
});
afterAll(async () => {
  await daemon?.close();
  await kubo?.close();
});
beforeEach(() => {
  source = mkdtempSync(join(tmpdir(), 'kitfs-source-'));
});
afterEach(() => rmSync(source, { recursive: true }));

function plant(files: Readonly<Record<string, string>>): void {
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(join(source, path, '..'), { recursive: true });
    writeFileSync(join(source, path), text);
  }
}

/** The CID that `ipfs add` gives to the planted files. */
const added = async (...options: string[]): Promise<string> =>
  (await kubo.cli(['add', '-r', '-Q', '-H', ...options, source])).trim();

async function merge(values: object): Promise<Envelope> {
  const words = ['call', 'vfs_sync_from_ipfs', JSON.stringify(values), '--json'];
  return JSON.parse((await daemon.kitfs(words)).stdout) as Envelope;
}

const differences = (path: string) => daemon.run('diff', ['-r', source, '.'], { in: path });

test.each([
  ['old', ['--cid-version=0']],
  ['new', ['--cid-version=1', '--raw-leaves']],
  ['cut in small pieces', ['--cid-version=1', '--chunker=size-1000', '--trickle']],
  ['of another hash', ['--cid-version=1', '--hash=blake2b-256']],
])(
  'a tree of Kubo, %s, is there as it is, and read from the node when it is',
  async (name, options) => {
    plant({ a: 'a', 'd/e/f': 'f'.repeat(300_000), 'd/empty': '' });
    const path = `/ipfs/${name}`;
    const { data } = await merge({ ipfs_path: await added(...options), path });
    expect(data).toMatchObject({ counts: { created: 5, conflicts: 0 }, bytes: 300_001 });
    expect(await differences(path.slice(1))).toBe('');
  },
);

test('a directory in many shards is there with all its names', async () => {
  const names = Array.from({ length: 3000 }, (_, at) => `${'name'.repeat(30)}-${at}`);
  plant(Object.fromEntries(names.map((name) => [name, ''])));
  const cid = await added('--cid-version=1');
  await merge({ ipfs_path: cid, path: '/ipfs/wide', node: 'kubo' });
  expect(await daemon.shell('ls wide | wc -l', { in: 'ipfs' })).toBe('3000\n');
});

test('modes and times that UnixFS holds are those of the files', async () => {
  plant({ run: 'x', plain: 'y' });
  const times = `touch -d '2001-02-03 04:05:06.123456789Z' run && chmod 751 run && chmod 600 plain`;
  await daemon.run('/bin/sh', ['-euc', times], { in: source });
  const cid = await added('--preserve-mode', '--preserve-mtime');
  await merge({ ipfs_path: cid, path: '/ipfs/kept' });
  const shown = await daemon.run('stat', ['-c', '%a %.9Y', 'kept/run', 'kept/plain'], {
    in: 'ipfs',
  });
  expect(shown.split('\n')[0]).toBe('751 981173106.123456789');
  expect(shown.split('\n')[1]).toMatch(/^600 /);
});

test('what is no directory is refused', async () => {
  plant({ a: 'only a file' });
  const file = (await kubo.cli(['add', '-Q', '--cid-version=1', join(source, 'a')])).trim();
  const large = (
    await kubo.cli(['add', '-Q', '--chunker=size-4'], { input: 'many pieces' })
  ).trim();
  for (const ipfs_path of [file, large]) {
    const { error_code } = await merge({ ipfs_path, path: '/ipfs/no' });
    expect(error_code).toBe('NOT_SUPPORTED');
  }
});

test('a tree that changed there is merged with one that changed here, as the policy says', async () => {
  const path = '/ipfs/both';
  plant({ same: 'same', ours: '1', theirs: '1', both: '1', gone: '1', 'd/x': '1' });
  const first = await added('--cid-version=1');
  await merge({ ipfs_path: first, path });
  await daemon.shell('echo 2 > ours; echo 2 > both; echo 2 > mine', { in: 'ipfs/both' });
  plant({ theirs: '3', both: '3', 'd/y': '3' });
  rmSync(join(source, 'gone'));
  const ipfs_path = await added('--cid-version=1');
  const refused = await merge({ ipfs_path, path });
  expect(refused).toMatchObject({
    error_code: 'SYNC_CONFLICT',
    context: { partial: { conflicts: [{ path: `${path}/both`, what: 'both_changed' }] } },
  });
  expect(await merge({ ipfs_path, path, expected_version: ipfs_path })).toMatchObject({
    error_code: 'VERSION_CONFLICT',
  });
  const rehearsal = { ipfs_path, path, on_conflict: 'keep_both', dry_run: true };
  const { data: planned } = await merge(rehearsal);
  expect(planned).toMatchObject({ dry_run: true, plan: { counts: { unlink: 2 } } });
  expect(await daemon.shell('cat theirs gone', { in: 'ipfs/both' })).toBe('11');
  const both = { ipfs_path, path, on_conflict: 'keep_both', expected_version: first };
  const { data } = await merge(both);
  expect(data).toMatchObject({ base_cid: first, counts: { deleted: 1, updated: 1, conflicts: 1 } });
  const [{ kept_as } = {}] = data['conflicts'] as Record<string, string>[];
  const shown = `cat same ours theirs both mine d/x d/y '${daemon.mountPoint}${kept_as}'`;
  expect(await daemon.shell(shown, { in: 'ipfs/both' })).toBe('same2\n32\n2\n133');
  const { code } = await daemon.attempt('cat', ['gone'], { in: 'ipfs/both' });
  expect(code).toBe(1);
});

test('what takes long goes on as a job, and ends as the call would', async () => {
  plant({ a: 'a', b: 'b' });
  const values = { ipfs_path: await added('--cid-version=1'), path: '/ipfs/job', wait_ms: 0 };
  const { data } = await merge(values);
  const { job_id } = data['job'] as { job_id: string };
  const words = ['call', 'job_get', JSON.stringify({ job_id, wait_ms: 20_000 })];
  const { data: ended } = await daemon.json<Envelope>(words);
  expect(ended).toMatchObject({
    job: { state: 'done' },
    result: { status: 'success', data: { counts: { created: 2 } } },
  });
});

test('nobody is asked for it who shall not be, and whose node is down says so', async () => {
  plant({ a: 'never seen here' });
  const ipfs_path = await added('--cid-version=1');
  const alone = await merge({ ipfs_path, path: '/ipfs/down', node: 'embedded' });
  expect(alone.error_code).toBe('CONTENT_NOT_AVAILABLE');
  await kubo.stop();
  const down = await merge({ ipfs_path, path: '/ipfs/down' });
  expect(down.error_code).toBe('IPFS_DAEMON_NOT_RUNNING');
  expect((await daemon.attempt('ls', ['down'], { in: 'ipfs' })).code).toBe(2);
  await kubo.restart();
  expect(await merge({ ipfs_path, path: '/ipfs/down' })).toMatchObject({ status: 'success' });
});
