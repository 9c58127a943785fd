/** The laws of vfs_sync_to_ipfs and vfs_sync_from_ipfs on the embedded engine. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { S_IFCHR, S_IFIFO } from '../../src/base/posix.ts';
import { cidOfBytes, parseCid } from '../../src/content/content.ts';
import { type Facts, Fixture, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const ABSENT = 'bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64';
const FILE = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';

const publish = (values: Facts = {}): Promise<Facts> => world.done('vfs_sync_to_ipfs', values);
const restore = (values: Facts): Promise<Facts> => world.done('vfs_sync_from_ipfs', values);

describe('vfs_sync_to_ipfs', () => {
  test('gives a root that ipfs_add gives too, a snapshot record, and no more durability than there is', async () => {
    await world.write('/ipfs/d/a', 'one');
    await world.write('/ipfs/d/sub/b', 'two');
    const { data, context } = await world.ask('vfs_sync_to_ipfs', { path: '/ipfs/d' });
    const added = await world.done('ipfs_add', { path: '/ipfs/d', recursive: true });
    expect(data).toMatchObject({
      path: '/ipfs/d',
      root_cid: added['cid'],
      changed: true,
      counts: { files: 2, directories: 2, symlinks: 0, bytes: 6, deleted: 0 },
      skipped: [],
      durability: { state: 'local', have: 0, want: 0, replicas: [], seq: context['seq'] },
    });
    expect(data).not.toHaveProperty('previous_root_cid');
    const snapshot = parseCid(String(data?.['snapshot_cid']));
    expect(world.blocks.has(snapshot)).toBe(true);
    expect(await world.text(`/ipfs/${data?.['root_cid']}/sub/b`)).toBe('two');
  });

  test('an unchanged tree is the same root and record, and no record in the journal', async () => {
    await world.write('/ipfs/a', 'one');
    const first = await publish();
    const seq = world.journal.head.seq;
    const second = await publish({ message: 'again' });
    expect(second).toMatchObject({
      changed: false,
      root_cid: first['root_cid'],
      snapshot_cid: first['snapshot_cid'],
      previous_root_cid: first['root_cid'],
    });
    expect(world.journal.head.seq).toBe(seq);
    await world.write('/ipfs/a', 'two');
    const third = await publish({ expected_version: first['root_cid'] });
    expect(third).toMatchObject({ changed: true, previous_root_cid: first['root_cid'] });
  });

  test('pins the root under its path, or not at all', async () => {
    await world.write('/ipfs/a', 'one');
    const { root_cid: root } = await publish({ pin: false });
    expect(await world.done('ipfs_pin_ls', {})).toMatchObject({ pins: [] });
    await publish();
    expect(await world.done('ipfs_pin_ls', {})).toMatchObject({
      pins: [{ cid: root, pin_name: 'sync /ipfs' }],
    });
  });

  test('special files are told as skipped, with their paths in the tree', async () => {
    await world.write('/ipfs/d/a', 'one');
    world.vfs.mknod(ROOT, world.ino('/ipfs/d'), 'p' as Name, S_IFIFO | 0o600, 0);
    expect(await publish()).toMatchObject({ skipped: [{ path: '/ipfs/d/p', type: 'fifo' }] });
  });

  test('of many that are skipped, the first are told and all are counted', async () => {
    await world.write('/ipfs/d/a', 'one');
    for (let at = 0; at < 51; at += 1) {
      world.vfs.mknod(ROOT, world.ino('/ipfs/d'), nameOfText(`p${at}`), S_IFIFO | 0o600, 0);
    }
    const { data, context } = await world.ask('vfs_sync_to_ipfs', { path: '/ipfs/d' });
    expect(data?.['skipped']).toHaveLength(50);
    expect(context['warnings']).toEqual(['skipped 51 in all']);
  });

  test('an unchanged tree that is not pinned is as durable as when it was recorded', async () => {
    await world.write('/ipfs/a', 'one');
    const first = await publish({ pin: false });
    await world.write('/mem/other', 'goes on');
    const second = await publish({ pin: false });
    expect(second).toMatchObject({ changed: false, durability: first['durability'] });
  });

  test('a dry run makes nothing', async () => {
    await world.write('/ipfs/a', 'four');
    const plan = await world.planned('vfs_sync_to_ipfs', {});
    expect(plan).toMatchObject({ counts: { sync_to: 1 }, bytes: 4 });
  });

  test('what cannot be published is refused, and nothing changes', async () => {
    await world.write('/ipfs/d/secret', 'x', { mode: '0600' });
    const cid = (await world.done('ipfs_add', { path: '/ipfs/d', recursive: true }))['cid'];
    const refused = (values: Facts, code: string, uid = 0) =>
      world.refused('vfs_sync_to_ipfs', values, code, { uid, gid: uid });
    await refused({ path: '/ipfs/none' }, 'NOT_FOUND');
    await refused({ path: '/ipfs/d/secret' }, 'NOT_A_DIRECTORY');
    await refused({ path: '/' }, 'INVALID_ARGUMENT');
    await refused({ path: `/ipfs/${cid}` }, 'INVALID_ARGUMENT');
    await refused({ path: '/ipfs/../x' }, 'INVALID_PATH');
    await refused({ path: '/mem' }, 'NOT_SUPPORTED');
    await refused({ path: '/ipfs/d' }, 'PERMISSION_DENIED', 1000);
    await refused({ path: '/ipfs/d', dry_run: true }, 'PERMISSION_DENIED', 1000);
    const conflict = await refused({ path: '/ipfs/d', expected_version: 'x' }, 'VERSION_CONFLICT');
    expect(conflict).toMatchObject({ partial: { version: null } });
    const unknown = await refused({ targets: ['archive'] }, 'NOT_FOUND');
    expect(unknown).toMatchObject({ kind: 'backend', backend: 'archive' });
    await refused({ targets: ['ipfs'] }, 'SERVICE_NOT_CONFIGURED');
    await refused({ targets: ['memory'] }, 'INVALID_ARGUMENT');
    await refused({ publish_key: 'self' }, 'IPFS_NODE_OFFLINE');
    await world.done('vfs_mount', { backend: 'memory', mount_point: '/ipfs/d/m' });
    await refused({ path: '/ipfs/d' }, 'INVALID_ARGUMENT');
  });

  test('the root of a tree is told to nobody who may not read all of it', async () => {
    await world.write('/ipfs/d/secret', 'x', { mode: '0600' });
    const { root_cid: root } = await publish({ path: '/ipfs/d' });
    const stranger = { uid: 1000, gid: 1000 };
    const guess = { expected_version: 'x' };
    for (const dry_run of [false, true]) {
      const to = { path: '/ipfs/d', dry_run, ...guess };
      const from = { ...to, ipfs_path: root };
      const refusals = [
        await world.refused('vfs_sync_to_ipfs', to, 'PERMISSION_DENIED', stranger),
        await world.refused('vfs_sync_from_ipfs', from, 'PERMISSION_DENIED', stranger),
      ];
      expect(JSON.stringify(refusals)).not.toContain('version');
    }
    await world.done('vfs_rm', { path: '/ipfs/d', recursive: true });
    const gone = { path: '/ipfs/d', ipfs_path: root, ...guess };
    const refusal = await world.refused('vfs_sync_from_ipfs', gone, 'VERSION_CONFLICT', stranger);
    expect(refusal).not.toHaveProperty('partial');
  });

  test('no targets are none', async () => {
    expect(await publish({ targets: [], wait_for: 'replicated' })).toMatchObject({
      durability: { state: 'local' },
    });
  });
});

describe('vfs_sync_from_ipfs', () => {
  async function published(): Promise<Facts> {
    await world.write('/ipfs/t/d/a', 'theirs', { mode: '0640' });
    await world.write('/ipfs/t/b', 'same');
    return publish({ path: '/ipfs/t' });
  }

  test('brings a snapshot back with its metadata, in one group of records', async () => {
    const { root_cid: root, snapshot_cid: snapshot } = await published();
    const { data, context } = await world.ask('vfs_sync_from_ipfs', {
      ipfs_path: snapshot,
      path: '/ipfs/new/place',
      parents: true,
    });
    expect(data).toMatchObject({
      path: '/ipfs/new/place',
      root_cid: root,
      counts: { created: 3, updated: 0, deleted: 0, unchanged: 0, conflicts: 0 },
      bytes: 10,
      conflicts: [],
      seq_last: context['seq'],
    });
    expect(await world.text('/ipfs/new/place/d/a')).toBe('theirs');
    expect(await world.done('vfs_stat', { path: '/ipfs/new/place/d/a' })).toMatchObject({
      mode: '0640',
    });
    const history = await world.done('fs_journal_get_history', { path: '/ipfs/new/place' });
    expect(history['entries']).toEqual(
      expect.arrayContaining([expect.objectContaining({ op: 'sync_from', cid: root })]),
    );
    const again = await publish({ path: '/ipfs/new/place' });
    expect(again).toMatchObject({ changed: false, root_cid: root, snapshot_cid: snapshot });
  });

  test('under fail a difference changes nothing and is told', async () => {
    const { root_cid: root } = await published();
    await world.write('/ipfs/here/d/a', 'ours');
    const values = { ipfs_path: root, path: '/ipfs/here' };
    const context = await world.refused('vfs_sync_from_ipfs', values, 'SYNC_CONFLICT');
    expect(context).toMatchObject({
      path: '/ipfs/here',
      partial: {
        count: 1,
        conflicts: [{ path: '/ipfs/here/d/a', what: 'both_created', resolution: 'none' }],
      },
    });
    await world.refused('vfs_sync_from_ipfs', { ...values, dry_run: true }, 'SYNC_CONFLICT');
  });

  test('a conflict names what was synced, what is there and what is here', async () => {
    const { root_cid: root } = await published();
    await world.write('/ipfs/t/b', 'changed');
    await world.write('/ipfs/t/new', 'since');
    const second = await publish({ path: '/ipfs/t' });
    await restore({ ipfs_path: second['root_cid'], path: '/ipfs/here' });
    await world.write('/ipfs/here/b', 'changed again');
    await world.write('/ipfs/here/new', 'since then');
    const values = { ipfs_path: root, path: '/ipfs/here', apply_deletions: true };
    const cidOf = async (path: string) =>
      (await world.done('vfs_stat', { path, compute_cid: true }))['cid'];
    const [b2, fresh2] = [await cidOf('/ipfs/here/b'), await cidOf('/ipfs/here/new')];
    const { partial } = await world.refused('vfs_sync_from_ipfs', values, 'SYNC_CONFLICT');
    const there = await cidOf(`/ipfs/${root}/b`);
    const b = await cidOf(`/ipfs/${second['root_cid']}/b`);
    const fresh = await cidOf(`/ipfs/${second['root_cid']}/new`);
    expect(partial).toEqual({
      count: 2,
      conflicts: [
        {
          path: '/ipfs/here/b',
          what: 'both_changed',
          local_cid: b2,
          remote_cid: there,
          base_cid: b,
          resolution: 'none',
        },
        {
          path: '/ipfs/here/new',
          what: 'deleted_there',
          local_cid: fresh2,
          base_cid: fresh,
          resolution: 'none',
        },
      ],
    });
  });

  test('a conflict names no CIDs of what the caller may not read', async () => {
    const { root_cid: root } = await published();
    await world.write('/ipfs/t/b', 'changed');
    const { root_cid: second } = await publish({ path: '/ipfs/t' });
    await restore({ ipfs_path: second, path: '/ipfs/here' });
    await world.write('/ipfs/here/b', 'changed again');
    const owner = { uid: 1000, gid: 1000 };
    void world.vfs.setattr(ROOT, world.ino('/ipfs/here'), { mode: 0o777 });
    void world.vfs.setattr(ROOT, world.ino('/ipfs/here/b'), { mode: 0o600 });
    const values = { ipfs_path: root, path: '/ipfs/here', apply_deletions: true };
    const refusal = await world.refused('vfs_sync_from_ipfs', values, 'SYNC_CONFLICT', owner);
    const [first] = (refusal['partial'] as { conflicts: object[] }).conflicts;
    expect(first).toMatchObject({ path: '/ipfs/here/b', remote_cid: expect.any(String) });
    expect(Object.keys(first ?? {})).not.toEqual(expect.arrayContaining(['local_cid']));
    expect(Object.keys(first ?? {})).not.toEqual(expect.arrayContaining(['base_cid']));
  });

  test('a merge names nothing of a directory that the caller may not read', async () => {
    const { root_cid: empty } = await publish();
    await world.done('vfs_mkdir', { path: '/ipfs/private', mode: '0700' });
    await world.write('/ipfs/private/plan', 'x');
    const { root_cid: full } = await publish();
    await restore({ ipfs_path: full, path: '/ipfs/copy' });
    void world.vfs.setattr(ROOT, world.ino('/ipfs/copy/private'), { mode: 0o700 });
    await world.write('/ipfs/copy/private/plan', 'changed since');
    const asked = [
      ['vfs_sync_from_ipfs', empty],
      ['snapshot_restore', full],
    ] as const;
    for (const [name, cid] of asked) {
      const values = { ipfs_path: cid, path: '/ipfs/copy', dry_run: true };
      const peer = { uid: 1000, gid: 1000 };
      const told = await world.refused(name, values, 'PERMISSION_DENIED', peer);
      expect(JSON.stringify(told)).not.toContain('plan');
    }
  });

  test('under keep_remote the tree wins, and the answer names what lost', async () => {
    const { root_cid: root } = await published();
    await world.write('/ipfs/here/d/a', 'ours');
    await world.write('/ipfs/here/b', 'same');
    const values = { ipfs_path: `/ipfs/${root}`, path: '/ipfs/here', on_conflict: 'keep_remote' };
    const plan = await world.planned('vfs_sync_from_ipfs', values);
    expect(plan).toMatchObject({ counts: { unlink: 1, create: 1 } });
    const data = await restore(values);
    expect(data).toMatchObject({
      counts: { created: 0, updated: 1, unchanged: 2, conflicts: 1 },
      conflicts: [{ path: '/ipfs/here/d/a', resolution: 'kept_remote' }],
    });
    expect(await world.text('/ipfs/here/d/a')).toBe('theirs');
    expect(Number(data['seq_last'])).toBeGreaterThan(Number(data['seq_first']));
  });

  test('under keep_both both are there, and the answer names where', async () => {
    const { root_cid: root } = await published();
    await world.write('/ipfs/here/d/a', 'ours');
    const values = { ipfs_path: root, path: '/ipfs/here', on_conflict: 'keep_both' };
    const { conflicts } = await restore(values);
    const [{ kept_as: kept, remote_cid: cid } = {}] = conflicts as Record<string, string>[];
    expect(kept).toBe(`/ipfs/here/d/a.conflict-${cid?.slice(-8)}`);
    expect(await world.text('/ipfs/here/d/a')).toBe('ours');
    expect(await world.text(kept ?? '')).toBe('theirs');
  });

  test('under keep_local what is here stays, and the rest comes', async () => {
    const { root_cid: root } = await published();
    await world.write('/ipfs/here/d/a', 'ours');
    const values = { ipfs_path: root, path: '/ipfs/here', on_conflict: 'keep_local' };
    const data = await restore(values);
    expect(data).toMatchObject({ counts: { created: 1, conflicts: 1 } });
    expect(await world.text('/ipfs/here/d/a')).toBe('ours');
    expect(await world.text('/ipfs/here/b')).toBe('same');
  });

  test('the command that restores makes also what was only changed here what it was', async () => {
    const { root_cid: root } = await published();
    await world.write('/ipfs/t/b', 'changed here');
    const values = { ipfs_path: root, path: '/ipfs/t', on_conflict: 'keep_remote' };
    expect(await restore(values)).toMatchObject({ counts: { updated: 0, conflicts: 0 } });
    expect(await world.text('/ipfs/t/b')).toBe('changed here');
    expect(world.registry.get('snapshot_restore')).toBeUndefined();
    await world.done('snapshot_restore', values);
    expect(await world.text('/ipfs/t/b')).toBe('same');
    for (const on_conflict of ['keep_local', 'keep_both']) {
      await world.refused('snapshot_restore', { ...values, on_conflict }, 'INVALID_ARGUMENT');
    }
  });

  test('the command that restores keeps first what was not published, or changes nothing', async () => {
    const { root_cid: root } = await published();
    await world.write('/ipfs/t/b', 'not published');
    const values = { ipfs_path: root, path: '/ipfs/t' };
    await world.refused(
      'snapshot_restore',
      { ...values, expected_version: 'x' },
      'VERSION_CONFLICT',
    );
    await world.done('snapshot_restore', { ...values, expected_version: root });
    expect(await world.text('/ipfs/t/b')).toBe('same');
    const { snapshotCid } = world.journal.superblocks.synced(nameOfText('/ipfs/t')) ?? {};
    const kept = cidOfBytes(snapshotCid ?? Buffer.alloc(0)).toString();
    await world.done('snapshot_restore', { ...values, ipfs_path: kept });
    expect(await world.text('/ipfs/t/b')).toBe('not published');
    await world.write('/mem/b', 'of no snapshot');
    const volatile = { ipfs_path: root, path: '/mem' };
    await world.refused('snapshot_restore', volatile, 'NOT_SUPPORTED');
    await world.done('snapshot_restore', { ...volatile, keep_first: false });
    expect(await world.text('/mem/b')).toBe('same');
  });

  test('a path below a root is a tree too', async () => {
    const { root_cid: root } = await published();
    await restore({ ipfs_path: `${root}/d`, path: '/ipfs/d' });
    expect(await world.text('/ipfs/d/a')).toBe('theirs');
  });

  test('the journal names the caller, and the version of the last sync is checked', async () => {
    const { root_cid: root } = await published();
    await restore({ ipfs_path: root, path: '/ipfs/here' });
    const values = { ipfs_path: root, path: '/ipfs/here', expected_version: 'other' };
    const context = await world.refused('vfs_sync_from_ipfs', values, 'VERSION_CONFLICT');
    expect(context).toMatchObject({ partial: { version: root } });
    expect(await restore({ ...values, expected_version: root })).toMatchObject({
      base_cid: root,
      counts: { unchanged: 3 },
    });
  });

  test('only root gets devices, and others are told', async () => {
    await world.write('/ipfs/t/a', 'x');
    world.vfs.mknod(ROOT, world.ino('/ipfs/t'), 'null' as Name, S_IFCHR | 0o666, 0x103);
    const { snapshot_cid: snapshot } = await publish({ path: '/ipfs/t' });
    await world.done('vfs_mkdir', { path: '/ipfs/here', mode: '0777' });
    const values = { ipfs_path: snapshot, path: '/ipfs/here/mine' };
    const { context } = await world.ask('vfs_sync_from_ipfs', values, { uid: 1000, gid: 1000 });
    expect(context['warnings']).toEqual(['left out /ipfs/here/mine/null: only root makes devices']);
    expect(await world.done('vfs_stat', { path: '/ipfs/here/mine/a' })).toMatchObject({
      uid: 1000,
    });
  });

  test('what cannot be restored is refused, and nothing changes', async () => {
    const { root_cid: root } = await published();
    await world.done('ipfs_add', { content: 'hello world' });
    const refused = (values: Facts, code: string, uid = 0) =>
      world.refused(
        'vfs_sync_from_ipfs',
        { ipfs_path: root, path: '/ipfs/here', ...values },
        code,
        { uid, gid: uid },
      );
    await refused({ ipfs_path: 'nonsense' }, 'INVALID_CID');
    await refused({ ipfs_path: ABSENT }, 'CONTENT_NOT_AVAILABLE');
    await refused({ ipfs_path: `${root}/none` }, 'NOT_FOUND');
    await refused({ ipfs_path: '/ipns/name' }, 'IPFS_NODE_OFFLINE');
    await refused({ ipfs_path: FILE }, 'NOT_SUPPORTED');
    await refused({ path: '/ipfs/x/y' }, 'NOT_FOUND');
    await refused({ path: '/ipfs/t/b' }, 'NOT_A_DIRECTORY');
    await refused({ path: '/ipfs/t/b/c', parents: true }, 'NOT_A_DIRECTORY');
    await refused({ path: '/here' }, 'READ_ONLY');
    await refused({ path: `/ipfs/${root}` }, 'READ_ONLY');
    await refused({ path: `/ipfs/${ABSENT}` }, 'READ_ONLY');
    await refused({ path: '/.kitfs' }, 'READ_ONLY');
    await refused({ path: '/ipfs/t/x' }, 'PERMISSION_DENIED', 1000);
    await refused({ path: '/ipfs/t/x', dry_run: true }, 'PERMISSION_DENIED', 1000);
    await refused({ node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
  });

  test('a damaged block changes nothing', async () => {
    await world.write('/ipfs/t/a', 'x'.repeat(1000));
    const { root_cid: root } = await publish({ path: '/ipfs/t' });
    const { content } = world.vfs.core.inodes.get(world.ino('/ipfs/t/a'));
    world.journal.commit(() => world.journal.contents.setBytes(content, Buffer.alloc(1000)));
    await world.refused(
      'vfs_sync_from_ipfs',
      { ipfs_path: root, path: '/ipfs/b' },
      'INTEGRITY_MISMATCH',
    );
  });

  test('what the tree brought is what a later publication gives', async () => {
    await world.write('/ipfs/t/ünïcode', 'x');
    const { root_cid: root } = await publish({ path: '/ipfs/t' });
    await restore({ ipfs_path: root, path: '/ipfs/copy' });
    expect(await publish({ path: '/ipfs/copy' })).toMatchObject({ root_cid: root });
    expect(world.journal.superblocks.synced(nameOfText('/ipfs/copy'))).toBeDefined();
  });
});
