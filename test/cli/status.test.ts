import { expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { Asked } from './asking.ts';

const STATUS = {
  pid: 7,
  keeper: 6 as number | null,
  version: '1.2.3',
  uptime_s: 59,
  health: { state: 'degraded', because: [{ error_code: 'IO_ERROR', text: 'the disk fails' }] },
  mounts: [
    {
      mount_point: '/srv/tree',
      read_only: true,
      trees: [
        { path: '/ipfs', kind: 'ipfs', read_only: true, volatile: false },
        { path: '/mem', kind: 'memory', read_only: false, volatile: true },
      ],
    },
  ],
  driver: 'native',
  driver_reason: 'it works',
  passthrough: { in_use: false, reason: 'the daemon is not root' } as object,
  dirty: { files: 2, bytes: 2048 },
  uploads: [] as object[],
  unpublished: [] as object[],
  space: undefined as object | undefined,
  journal: { seq: 12 },
  kernel: { requests: 5, handles: 1 },
  agents: 3,
  errors_last_hour: { IO_ERROR: 2, NOT_FOUND: 1 },
  paths: { state: '/s', mcp_socket: '/r/mcp.sock' },
};

async function shown(changed: Partial<typeof STATUS> = {}): Promise<string> {
  await using asked = await Asked.open({ status: async () => ({ ...STATUS, ...changed }) });
  const { code, stdout, stderr } = await asked.kitfs(['status']);
  expect([code, stderr]).toEqual([0, '']);
  return stdout;
}

test('what may not be written to, and what does not last, is marked', async () => {
  const text = await shown();
  expect(text).toMatch(/^mounted +\/srv\/tree, read-only$/m);
  expect(text).toMatch(/^ +\/ipfs: ipfs, read-only$/m);
  expect(text).toMatch(/^ +\/mem: memory, gone when the daemon stops$/m);
  const [mount] = STATUS.mounts.map((one) => ({ ...one, read_only: false, trees: [] }));
  expect(await shown({ mounts: mount === undefined ? [] : [mount] })).toMatch(
    /^mounted +\/srv\/tree$/m,
  );
});

test('whether the kernel reads and writes files by itself is said, and why not', async () => {
  expect(await shown()).toMatch(/^passthrough +not in use: the daemon is not root$/m);
  expect(await shown({ passthrough: { in_use: true } })).toMatch(/^passthrough +in use$/m);
});

test('whether a keeper would start it again is said', async () => {
  expect(await shown()).toMatch(/^keeper +pid 6$/m);
  expect(await shown({ keeper: null })).toMatch(/^keeper +none: a kill ends the mount$/m);
});

test('doctor says of a daemon that answers whether it is in use, and nothing without one', async () => {
  const passthrough = { in_use: false, reason: 'mount.passthrough is false' };
  let isReady = true;
  const status = async () => {
    if (!isReady) throw new OpError('not-ready', 'test');
    return { ...STATUS, passthrough };
  };
  await using asked = await Asked.open({ status });
  const line = async () => {
    const { stdout } = await asked.kitfs(['doctor']);
    return /^.*passthrough {2}.*$/m.exec(stdout)?.[0];
  };
  expect(await line()).toMatch(/^limited +passthrough +not in use: mount.passthrough is false$/);
  isReady = false;
  expect(await line()).toBeUndefined();
});

test('why it is not well is said below the health, and errors are counted by their code', async () => {
  const text = await shown();
  expect(text).toMatch(/^health +degraded\n +IO_ERROR: the disk fails$/m);
  expect(text).toMatch(/^errors +2 IO_ERROR, 1 NOT_FOUND$/m);
  expect(text).toMatch(/^dirty +2 files, 2.0 KiB$/m);
});

test.each([
  [59, '59 s'],
  [60, '1 min'],
  [3599, '59 min'],
  [3600, '1 h 0 min'],
  [47 * 3600 + 60, '47 h 1 min'],
  [48 * 3600, '2 days'],
])('up for %d seconds is up %s', async (uptime_s, text) => {
  expect(await shown({ uptime_s })).toContain(`1.2.3, pid 7, up ${text}\n`);
});

test('what files take here is shown once somebody limits or pins it, and why nothing can go', async () => {
  expect(await shown()).not.toMatch(/^space/m);
  const space = { cached_bytes: 3072, evictable_bytes: 2048, pinned_bytes: 1024 };
  expect(await shown({ space })).toMatch(
    /^space +3.0 KiB of files here, 2.0 KiB may go, 1.0 KiB pinned$/m,
  );
  const error_code = 'IPFS_DAEMON_NOT_RUNNING';
  expect(await shown({ space: { ...space, quota_bytes: 4096, error_code } })).toMatch(
    /here, 4.0 KiB may be, .* pinned, the store cannot be asked: IPFS_DAEMON_NOT_RUNNING$/m,
  );
});

const ROOT = { root_cid: 'bafynew', snapshot_cid: 'bafysnap' };

test('stores are shown with what they have, how far they are and why not', async () => {
  const time = '2026-11-23T10:00:00.000000000Z';
  const upload = { path: '/ipfs', target: 'ipfs', wanted: ROOT, attempts: 0 };
  const old = { ...ROOT, root_cid: 'bafyold' };
  const text = await shown({
    uploads: [
      { ...upload, state: 'pinned', held: ROOT, checked: time },
      { ...upload, state: 'uploading', held: old, progress: { blocks: 2, bytes: 2048 } },
      { ...upload, state: 'uploading', progress: { blocks: 2, bytes: 1024, bytes_total: 4096 } },
      { ...upload, path: '/a\nb', state: 'failed', attempts: 3, error_code: 'TIMEOUT', due: time },
      { ...upload, state: 'failed', attempts: 1, error_code: 'SYNC_CONFLICT' },
    ],
  });
  const at = new Date(time).toLocaleTimeString('en-GB');
  expect(text).toContain(`stores       /ipfs → ipfs: bafynew pinned, as it said at ${at}\n`);
  expect(text).toContain('bafynew uploading, 2.0 KiB sent, has bafyold still\n');
  expect(text).toContain('bafynew uploading, 1.0 KiB sent of 4.0 KiB\n');
  expect(text).toContain(
    `/a\\x0ab → ipfs: bafynew failed, TIMEOUT, tried 3 times, again at ${at}\n`,
  );
  expect(text).toContain('bafynew failed, SYNC_CONFLICT, tried 1 times\n');
});

test('trees that are not published yet are shown with when they will be', async () => {
  const due = '2026-11-23T10:00:00.000000000Z';
  const at = new Date(due).toLocaleTimeString('en-GB');
  const text = await shown({
    unpublished: [
      { path: '/ipfs', due },
      { path: '/other', due, error_code: 'NO_SPACE' },
    ],
  });
  expect(text).toContain(`unpublished  /ipfs: is published at ${at}\n`);
  expect(text).toContain(`/other: NO_SPACE, is published at ${at}\n`);
});
