/**
 * The laws of the tools of ipfs_core over a real Kubo: what is asked of it, what is checked of it, and
 * what is told of it.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { openKubo } from '../../src/backend/backend.ts';
import { SystemClock } from '../../src/base/clock.ts';
import { nameOfText } from '../../src/base/ids.ts';
import { SystemRandom } from '../../src/base/random.ts';
import { TOOLS } from '../../src/tools/inventory.ts';
import { noise } from '../content/fixture.ts';
import { KuboNode } from '../services/kubo.ts';
import { type Facts, Fixture, ROOT } from '../tools/fixture.ts';

let kubo: KuboNode;
let world: Fixture;

const open = (api: string) =>
  new Fixture(
    TOOLS,
    openKubo({
      api,
      requestsMax: 8,
      deadlineMs: 15_000,
      clock: new SystemClock(),
      random: new SystemRandom(),
    }),
  );

beforeAll(async () => {
  kubo = await KuboNode.start();
});
afterAll(() => kubo[Symbol.asyncDispose]());
beforeEach(async () => {
  world = open(kubo.api);
  return () => world.close();
});

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
/** Puts a file into Kubo alone. */
const foreign = async (bytes: Uint8Array): Promise<string> => {
  const path = 'add?cid-version=1&raw-leaves=true&chunker=size-1048576&max-file-links=1024';
  return (await kubo.rpc.json<{ Hash: string }>(path, Buffer.from(bytes))).Hash;
};

describe('what is added', () => {
  test('goes to Kubo, with the CID that it has here, in a record before and one after', async () => {
    const bytes = noise(3 * 1024 * 1024 + 7, 1);
    const { seq } = world.journal.head;
    const values = { content: base64(bytes), encoding: 'base64', pin_name: 'mine' };
    const { data, context } = await world.ask('ipfs_add', values);
    expect(context).toMatchObject({ node: 'kubo', seq: world.journal.head.seq });
    const rows = world.journal.ops.page(seq, 9);
    expect(rows.map(({ kind, state }) => [kind, state])).toEqual([
      ['add', 'pending'],
      ['add', 'done'],
    ]);
    const own = await world.done('ipfs_add', { ...values, node: 'embedded', dry_run: true });
    const plan = own['plan'] as { actions: Facts[] };
    expect(plan.actions[0]).toMatchObject({ identifier: data?.['cid'] });
    expect(data).toMatchObject({ blocks: 5 });
    const path = { ipfs_path: data?.['cid'] };
    expect(await world.done('ipfs_pin_ls', path)).toMatchObject({
      pins: [{ cid: data?.['cid'], pin_type: 'recursive', pin_name: 'mine' }],
    });
    // Nothing of it is here.
    await world.refused('ipfs_cat', { ...path, node: 'embedded' }, 'CONTENT_NOT_AVAILABLE');
  });

  test.each(['unixfs-v1-2025', 'unixfs-v0-2015'])(
    'is a tree with one root on both (%s)',
    async (cid_profile) => {
      await world.write('/ipfs/d/a', 'hello world', { mode: '0600' });
      await world.write('/ipfs/d/sub/b', 'b'.repeat(2_000_000));
      await world.done('vfs_mkdir', { path: '/ipfs/d/empty' });
      world.symlink('/ipfs/d/l', 'a');
      for (const more of [{}, { wrap_with_directory: true }]) {
        const values = { path: '/ipfs/d', recursive: true, cid_profile, ...more };
        const there = await world.done('ipfs_add', values);
        const here = await world.done('ipfs_add', { ...values, node: 'embedded' });
        // How many blocks that are, only a walk tells: its files may share some.
        expect(there).toEqual({ ...here, blocks: undefined });
      }
    },
  );
});

describe('a directory of a size at which not all agree whether it is sharded', () => {
  const NAMES = Array.from({ length: 4500 }, (_, at) => `${at}`.padStart(20, 'n'));
  const values = { path: '/ipfs/d', recursive: true, timeout_ms: 60_000 };
  const plant = async (at: Fixture) => {
    await at.done('vfs_mkdir', { path: '/ipfs/d' });
    const parent = at.ino('/ipfs/d');
    at.journal.commit(() => {
      for (const name of NAMES) at.vfs.symlink(ROOT, parent, nameOfText(name), nameOfText('x'));
    });
  };

  test('is refused with what to do when Kubo measures it as it does by default', async () => {
    await plant(world);
    const answer = await world.ask('ipfs_add', values);
    expect(answer).toMatchObject({ status: 'error', error_code: 'INTEGRITY_MISMATCH' });
    expect(answer.error).toContain('Import.UnixFSHAMTDirectorySizeEstimation');
  });

  test('has one root on both when Kubo measures blocks', async () => {
    const settings = { 'Import.UnixFSHAMTDirectorySizeEstimation': 'block' };
    await using measuring = await KuboNode.start({ settings });
    const at = open(measuring.api);
    try {
      await plant(at);
      const { cid } = await at.done('ipfs_add', values);
      expect(await at.done('ipfs_add', { ...values, node: 'embedded' })).toMatchObject({ cid });
    } finally {
      await at.close();
    }
  });
});

describe('what Kubo alone has', () => {
  test('is read in slices, listed and looked at, verified, and told as from Kubo', async () => {
    const bytes = noise(2 * 1024 * 1024, 2);
    const cid = await foreign(bytes);
    const values = { ipfs_path: cid, offset: 1_048_570, length: 20, encoding: 'base64' };
    const { content } = await world.call('ipfs_cat', values);
    const [, piece] = content;
    const got = piece?.type === 'resource' ? Buffer.from(piece.resource.blob, 'base64') : undefined;
    expect(got?.equals(bytes.subarray(1_048_570, 1_048_590))).toBe(true);
    const stat = await world.ask('ipfs_block_stat', { cid });
    expect(stat).toMatchObject({
      data: { codec: 'dag-pb', local: true },
      context: { node: 'kubo' },
    });
    const refs = await world.ask('ipfs_refs', { ipfs_path: cid });
    expect(refs.data).toMatchObject({ total: 2, complete: true });
    expect(refs.context).toMatchObject({ node: 'kubo' });
    const dag = await world.ask('ipfs_dag_get', { ipfs_path: `${cid}/Links/0/Tsize` });
    expect(dag).toMatchObject({ data: { value: 1_048_576 }, context: { node: 'kubo' } });
  });

  test('comes into the tree whole; a dry run brings nothing', async () => {
    const bytes = noise(2 * 1024 * 1024, 3);
    const cid = await foreign(bytes);
    const values = { ipfs_path: cid, output_path: '/ipfs/got' };
    const plan = await world.planned('ipfs_get', values);
    expect(plan).toMatchObject({ counts: { fetch: 1 } });
    expect(await world.done('ipfs_get', values)).toMatchObject({ files: 1, bytes: bytes.length });
    expect((await world.bytes('/ipfs/got')).equals(bytes)).toBe(true);
  });

  test('becomes a tree, from below its root too; our own node alone has nothing of it', async () => {
    await kubo.rpc.bytes('files/mkdir?arg=/from/sub&parents=true&cid-version=1');
    await kubo.rpc.bytes('files/write?arg=/from/sub/f&create=true', Buffer.from('far away'));
    const { Hash: root } = await kubo.rpc.json<{ Hash: string }>('files/stat?arg=/from');
    const values = { ipfs_path: `${root}/sub`, path: '/ipfs/tree' };
    await world.refused(
      'vfs_sync_from_ipfs',
      { ...values, node: 'embedded' },
      'CONTENT_NOT_AVAILABLE',
    );
    await world.refused(
      'vfs_sync_from_ipfs',
      { ...values, ipfs_path: root, node: 'embedded' },
      'CONTENT_NOT_AVAILABLE',
    );
    expect(await world.done('vfs_sync_from_ipfs', { ...values, node: 'kubo' })).toMatchObject({
      counts: { created: 1 },
    });
    expect(await world.text('/ipfs/tree/f')).toBe('far away');
  });

  test('and nobody else is not waited for when only what is local is asked for', async () => {
    const absent = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
    const values = { ipfs_path: absent, local_only: true };
    await world.refused('ipfs_cat', values, 'CONTENT_NOT_AVAILABLE');
    const context = await world.refused(
      'ipfs_cat',
      { ipfs_path: absent, timeout_ms: 500 },
      'TIMEOUT',
    );
    expect(context).toMatchObject({ retryable: true });
  });
});

test('pins are put, named, moved and taken on Kubo', async () => {
  const [one, other] = [await foreign(noise(10, 4)), await foreign(noise(10, 5))];
  for (const cid of [one, other]) await kubo.rpc.json(`pin/rm?arg=${cid}`);
  const added = await world.ask('ipfs_pin_add', { ipfs_path: one, pin_name: 'first' });
  expect(added).toMatchObject({
    data: { cid: one, pin_type: 'recursive', pin_name: 'first', already_pinned: false },
    context: { node: 'kubo' },
  });
  expect(await world.done('ipfs_pin_ls', { pin_name: 'first' })).toMatchObject({ total: 1 });
  await world.done('ipfs_pin_update', { source: one, destination: other });
  await world.refused('ipfs_pin_ls', { ipfs_path: one }, 'NOT_PINNED');
  expect(await world.planned('ipfs_pin_rm', { ipfs_path: other })).toMatchObject({
    counts: { pin_rm: 1 },
  });
  expect(await world.done('ipfs_pin_rm', { ipfs_path: other })).toMatchObject({ removed: true });
  await world.refused('ipfs_pin_rm', { ipfs_path: other }, 'NOT_PINNED');
});

test('a node of the data model has one CID on both, and is pinned where it is put', async () => {
  for (const hash of ['sha2-256', 'sha2-512', 'blake2b-256']) {
    for (const store_codec of ['dag-cbor', 'dag-json']) {
      const values = { value: { hello: hash }, hash, store_codec, pin: true };
      const there = await world.ask('ipfs_dag_put', values);
      expect(there.context).toMatchObject({ node: 'kubo' });
      const here = await world.done('ipfs_dag_put', { ...values, node: 'embedded' });
      expect(there.data).toEqual(here);
      const path = { ipfs_path: here['cid'], node: 'kubo' };
      expect(await world.done('ipfs_dag_get', path)).toMatchObject({ value: { hello: hash } });
      expect(await world.done('ipfs_pin_ls', path)).toMatchObject({ total: 1 });
    }
  }
});

test('the node tells who it is, what it has, and who it knows', async () => {
  const { data, context } = await world.ask('ipfs_id', {});
  expect(data).toMatchObject({ peer_id: kubo.id, online: true });
  expect(context).toMatchObject({ node: 'kubo' });
  expect(await world.done('ipfs_version', {})).toMatchObject({
    node: { kind: 'kubo' },
    compatible: true,
  });
  for (const stat of ['repo', 'bw', 'dht', 'bitswap', 'provide']) {
    expect(await world.done('ipfs_stats', { stat })).toHaveProperty(stat);
  }
  expect(await world.done('ipfs_swarm_peers', {})).toMatchObject({ peers: [], truncated: false });
  expect(await world.done('ipfs_refs_local', { limit: 1 })).toMatchObject({ truncated: true });
});

test('a name is published and resolved by Kubo, under a key that is made for it', async () => {
  const cid = await foreign(noise(10, 6));
  const values = { ipfs_path: cid, key: 'site', create_key: true, allow_offline: true };
  const made = await world.ask('ipfs_name_publish', values);
  expect(made).toMatchObject({ data: { ipfs_path: `/ipfs/${cid}` }, context: { node: 'kubo' } });
  const found = await world.done('ipfs_name_resolve', { ipns_name: 'site' });
  expect(found).toMatchObject({ cid, from: 'local' });
  const read = { ipfs_path: `/ipns/${made.data?.['ipns_name']}` };
  expect(await world.done('ipfs_cat', read)).toMatchObject({ size: 10 });
  await world.refused(
    'ipfs_name_publish',
    { ...values, key: 'none', create_key: false, dry_run: true },
    'NOT_FOUND',
  );
});

test('nothing is done elsewhere when Kubo is the home node and does not answer', async () => {
  await using stopped = await KuboNode.start();
  const lost = open(stopped.api);
  try {
    await stopped.kill();
    const { cid } = await lost.done('ipfs_add', { content: 'here', node: 'embedded' });
    const before = lost.journal.contents.blockTotals();
    const calls: readonly (readonly [string, Facts])[] = [
      ['ipfs_add', { content: 'x' }],
      ['ipfs_pin_add', { ipfs_path: cid }],
      ['ipfs_pin_rm', { ipfs_path: cid }],
      ['ipfs_pin_ls', {}],
      ['ipfs_pin_update', { source: cid, destination: cid }],
      ['ipfs_dag_put', { value: 1 }],
      ['ipfs_id', {}],
      ['ipfs_stats', {}],
      ['ipfs_swarm_peers', {}],
      ['ipfs_refs_local', {}],
      ['ipfs_name_resolve', {}],
    ];
    for (const [tool, values] of calls) {
      const answer = await lost.ask(tool, values);
      expect(answer.error_code, tool).toBe('IPFS_DAEMON_NOT_RUNNING');
    }
    expect(lost.journal.contents.blockTotals()).toEqual(before);
    // What is here is read without it.
    expect(await lost.done('ipfs_cat', { ipfs_path: cid })).toMatchObject({ size: 4 });
    expect(await lost.done('ipfs_version', { node: 'embedded' })).toMatchObject({
      compatible: true,
    });
  } finally {
    await lost.close();
  }
});
