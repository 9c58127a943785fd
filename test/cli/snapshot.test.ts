import { describe, expect, test } from 'vitest';
import type { JsonObject } from '../../src/mcp/frames.ts';
import { Asked, REFUSAL, success } from './asking.ts';

const SNAPSHOT = {
  snapshot_cid: 'bafysnap',
  root_cid: 'bafyroot',
  manifest_cid: 'bafymanifest',
  previous_cid: 'bafybefore',
  time: '2026-01-02T03:04:05.678901234Z',
  message: 'before the\nchange',
  cid_profile: 'unixfs-v1-2025',
  seq: 7,
};
const LINE = '2026-01-02T03:04:05Z  bafysnap  before the\\x0achange\n';

/** A daemon that has this list, and whose command answers so; what it was asked. */
async function having(list: object, envelope: object = success({})) {
  const asks: unknown[] = [];
  const asked = await Asked.open({
    snapshot_list: async (params: JsonObject) => {
      asks.push(['list', params]);
      return list;
    },
    snapshot_show: async (params: JsonObject) => {
      asks.push(['show', params]);
      return { ...SNAPSHOT, counts: { file: 2, symlink: 0 }, bytes: 2048 };
    },
    snapshot_diff: async (params, { part }) => {
      asks.push(['diff', params]);
      await part([
        { change: 'created', path: 'new\u001b', type: 'file' },
        { change: 'changed', path: '', type: 'directory', what: ['metadata'] },
      ]);
      await part([{ change: 'deleted', path: 'old', type: 'file' }]);
      return { from: 'a', to: 'b', counts: { created: 1, changed: 1, deleted: 1 } };
    },
    command: async ({ command, arguments: values }: JsonObject) => {
      asks.push([command, values]);
      return envelope;
    },
  });
  return {
    asks,
    kitfs: (...args: readonly string[]) => asked.kitfs(['snapshot', ...args]),
    [Symbol.asyncDispose]: () => asked[Symbol.asyncDispose](),
  };
}

const LIST = { path: '/ipfs', snapshots: [SNAPSHOT] };

test('a list has a line for each, whatever their messages are', async () => {
  await using daemon = await having(LIST);
  expect(await daemon.kitfs('list')).toEqual({ code: 0, stdout: LINE, stderr: '' });
  expect(daemon.asks).toEqual([['list', { path: '/ipfs', limit: 50 }]]);
});

test('a list that ends early says which one is not here', async () => {
  await using daemon = await having({ ...LIST, incomplete: 'bafybefore' });
  const { code, stdout, stderr } = await daemon.kitfs('list', '/srv/tree/ipfs/d', '--limit', '3');
  expect([code, stdout]).toEqual([0, LINE]);
  expect(stderr).toBe('kitfs: the one before is not here: bafybefore\n');
  expect(daemon.asks).toEqual([['list', { path: '/ipfs/d', limit: 3 }]]);
});

test('a limit that is no count is no call', async () => {
  await using daemon = await having(LIST);
  expect((await daemon.kitfs('list', '--limit', '0')).code).toBe(2);
  expect(daemon.asks).toEqual([]);
});

test('one is shown with what it holds, by CID as by path', async () => {
  await using daemon = await having(LIST);
  const { stdout } = await daemon.kitfs('show', 'bafysnap');
  expect(stdout.split('\n').slice(1)).toEqual([
    'tree      bafyroot  (2.0 KiB)',
    'manifest  bafymanifest',
    'before    bafybefore',
    'journal   record 7',
    'names     file 2',
    '',
  ]);
  await daemon.kitfs('show', '/ipfs/d');
  expect(daemon.asks).toEqual([
    ['show', { at: 'bafysnap' }],
    ['show', { at: '/ipfs/d' }],
  ]);
});

test('differences have a sign each, and names that a terminal cannot be told anything by', async () => {
  await using daemon = await having(LIST);
  const { stdout } = await daemon.kitfs('diff', 'bafya', 'bafyb');
  expect(stdout).toBe('+ new\\x1b\n~ .  (metadata)\n- old\n');
  const alone = await daemon.kitfs('diff', '/ipfs', '--json');
  expect(JSON.parse(alone.stdout)).toMatchObject({ from: 'a', changes: { length: 3 } });
  expect(daemon.asks).toEqual([
    ['diff', { from: 'bafya', to: 'bafyb' }],
    ['diff', { to: '/ipfs' }],
  ]);
});

describe('restoring', () => {
  const done = success({ root_cid: 'bafyroot', counts: { created: 0, updated: 2, deleted: 1 } });

  test('takes the last snapshot of the path, and says what it did', async () => {
    await using daemon = await having(LIST, done);
    const { code, stdout } = await daemon.kitfs('restore', '/ipfs');
    expect([code, stdout]).toEqual([0, '/ipfs  bafyroot  (updated 2, deleted 1)\n']);
    expect(daemon.asks.at(-1)).toEqual([
      'snapshot_restore',
      {
        ipfs_path: 'bafysnap',
        path: '/ipfs',
        on_conflict: 'keep_remote',
        apply_deletions: true,
        keep_first: true,
        parents: true,
        dry_run: false,
        wait_ms: 500,
        timeout_ms: 3_600_000,
      },
    ]);
  });

  test('takes the one that is named to where it is told, by the policy it is told', async () => {
    await using daemon = await having(LIST, done);
    const how = ['--into', '/ipfs/old', '--on-conflict', 'fail', '--keep-extra', '--discard'];
    await daemon.kitfs('restore', '/ipfs', 'bafyother', ...how);
    expect(daemon.asks).toEqual([
      [
        'snapshot_restore',
        expect.objectContaining({
          ipfs_path: 'bafyother',
          path: '/ipfs/old',
          on_conflict: 'fail',
          apply_deletions: false,
          keep_first: false,
        }),
      ],
    ]);
  });

  test('rehearsed says what would change', async () => {
    const plan = success({ dry_run: true, plan: { counts: { unlink: 3 } } });
    await using daemon = await having(LIST, plan);
    const { stdout } = await daemon.kitfs('restore', '/ipfs', 'bafyother', '--dry-run');
    expect(stdout).toBe('/ipfs would change: unlink 3\n');
  });

  test('names what was lost here, and what would be', async () => {
    const conflicts = [{ path: '/ipfs/f\n', what: 'both_changed', resolution: 'kept_remote' }];
    const counts = { updated: 1, conflicts: 1 };
    const told = success({ root_cid: 'bafyroot', counts, conflicts });
    const planned = success({ dry_run: true, plan: { counts: { unlink: 1 }, conflicts } });
    for (const answer of [told, planned]) {
      await using daemon = await having(LIST, answer);
      const { stdout } = await daemon.kitfs('restore', '/ipfs', 'bafyother');
      expect(stdout.split('\n')[1]).toBe('conflict  /ipfs/f\\x0a  (both_changed)');
    }
  });

  test('that is refused fails, with the envelope where JSON is wanted', async () => {
    await using daemon = await having(LIST, REFUSAL);
    const told = await daemon.kitfs('restore', '/ipfs');
    expect([told.code, told.stderr.split('\n')[0]]).toEqual([1, `kitfs: ${REFUSAL.error}`]);
    const json = await daemon.kitfs('restore', '/ipfs', '--json');
    expect([json.code, JSON.parse(json.stdout)]).toEqual([1, REFUSAL]);
  });
});
