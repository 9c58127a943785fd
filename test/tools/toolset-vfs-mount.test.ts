import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { O_RDWR } from '../../src/base/posix.ts';
import { type Facts, Fixture, KERNEL, ROOT } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const STRANGER = { uid: 1000, gid: 1000 };
const SIGNAL = new AbortController().signal;
const MEMORY = { backend: 'memory', mount_point: '/scratch' };

const mounts = async () => {
  const { mounts: listed } = await fixture.done('vfs_list_mounts', {});
  return (listed as Facts[]).map((mounted) => mounted['mount_point']);
};

describe('vfs_mount', () => {
  test('shows a tree at once, and the same again is no error', async () => {
    const data = await fixture.done('vfs_mount', { ...MEMORY, options: { umask: '0077' } });
    expect(data).toMatchObject({
      mount_point: '/scratch',
      backend: 'memory',
      kind: 'memory',
      source: '',
      read_only: false,
      local_path: '/mnt/kitfs/scratch',
      state: 'ready',
      existed: false,
      options: { umask: '0077', refresh_s: 60 },
    });
    expect(await fixture.done('vfs_stat', { path: '/scratch' })).toMatchObject({ mode: '0700' });
    await fixture.write('/scratch/a', 'x');
    const again = await fixture.ask('vfs_mount', MEMORY);
    expect(again.data).toMatchObject({ existed: true, mount_id: data['mount_id'] });
    expect(again.context).not.toHaveProperty('seq');
    await fixture.refused('vfs_mount', { ...MEMORY, backend: 'ipfs' }, 'MOUNT_BUSY');
    await fixture.refused('vfs_mount', { ...MEMORY, read_only: true }, 'MOUNT_BUSY');
  });

  test('an option that would be ignored is never taken in silence', async () => {
    const owned = { ...MEMORY, options: { umask: '0077' } };
    expect((await fixture.ask('vfs_mount', owned)).context).not.toHaveProperty('warnings');
    expect((await fixture.ask('vfs_mount', owned)).data).toMatchObject({ existed: true });
    for (const options of [{ umask: '0022' }, { uid: 1 }, { gid: 1 }]) {
      await fixture.refused('vfs_mount', { ...MEMORY, options }, 'MOUNT_BUSY');
    }
    const options = { refresh_s: 5, cache_bytes: 0, sync_ms: 1 };
    const { context } = await fixture.ask('vfs_mount', { ...MEMORY, mount_point: '/o', options });
    expect(context['warnings']).toEqual([
      expect.stringMatching(/^refresh_s, cache_bytes, sync_ms: without effect/),
    ]);
  });

  test('two trees in memory have nothing in common', async () => {
    await fixture.done('vfs_mount', MEMORY);
    await fixture.done('vfs_mount', { ...MEMORY, mount_point: '/other' });
    await fixture.write('/scratch/a', 'x');
    await fixture.refused('vfs_read', { path: '/other/a' }, 'NOT_FOUND');
  });

  test('makes the directories above, and they go with the mount', async () => {
    const deep = { backend: 'memory', mount_point: '/x/y/z' };
    await fixture.refused('vfs_mount', { ...deep, parents: false }, 'NOT_FOUND');
    await fixture.done('vfs_mount', deep);
    await fixture.done('vfs_mount', { ...deep, mount_point: '/x/y/other' });
    await fixture.write('/x/y/z/a', 'x');
    await fixture.refused('vfs_mkdir', { path: '/x/new' }, 'READ_ONLY');
    await fixture.done('vfs_unmount', { mount_point: '/x/y/z', force: true });
    await fixture.done('vfs_stat', { path: '/x/y' });
    await fixture.done('vfs_unmount', { mount_point: '/x/y/other' });
    await fixture.refused('vfs_stat', { path: '/x' }, 'NOT_FOUND');
    expect(await fixture.done('vfs_stat', { path: '/' })).toMatchObject({ nlink: 2 });
  });

  test('nests: the longest prefix wins, and nothing is written to the tree above', async () => {
    await fixture.write('/ipfs/d/below', 'hidden?');
    const inside = { backend: 'memory', mount_point: '/ipfs/d/m' };
    await fixture.done('vfs_mount', inside);
    await fixture.write('/ipfs/d/m/a', 'in memory');
    expect(await fixture.done('vfs_stat', { path: '/ipfs/d/m/a' })).toMatchObject({
      mount: { mount_point: '/ipfs/d/m', kind: 'memory' },
    });
    const { entries } = await fixture.done('vfs_ls', { path: '/ipfs/d' });
    expect(entries).toMatchObject([{ name: 'below' }, { name: 'm', mount: true }]);
    await fixture.done('vfs_unmount', { mount_point: '/ipfs/d/m', force: true });
    const after = await fixture.done('vfs_ls', { path: '/ipfs/d' });
    expect(after['entries']).toMatchObject([{ name: 'below' }]);
  });

  test('a mount point is an empty directory or nothing, in a tree that takes it', async () => {
    await fixture.write('/ipfs/full/a', '');
    await fixture.write('/ipfs/file', '');
    await fixture.done('vfs_mkdir', { path: '/ipfs/empty' });
    const at = (point: string) => ({ backend: 'memory', mount_point: point });
    await fixture.refused('vfs_mount', at('/ipfs/full'), 'NOT_EMPTY');
    await fixture.refused('vfs_mount', at('/ipfs/file'), 'NOT_A_DIRECTORY');
    await fixture.refused('vfs_mount', at('/ipfs/file/below'), 'NOT_A_DIRECTORY');
    await fixture.refused('vfs_mount', at('/.kitfs/x'), 'READ_ONLY');
    const cid = 'bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq';
    await fixture.refused('vfs_mount', at(`/ipfs/${cid}`), 'READ_ONLY');
    await fixture.refused('vfs_mount', at('/'), 'MOUNT_BUSY');
    await fixture.done('vfs_mount', at('/ipfs/empty'));
  });

  test('a backend that is not there is told from one that is not configured', async () => {
    const at = (backend: string) => ({ backend, mount_point: '/m' });
    const unknown = await fixture.refused('vfs_mount', at('glacier'), 'NOT_FOUND');
    expect(unknown).toMatchObject({ kind: 'backend', backend: 'glacier' });
    await fixture.refused('vfs_mount', at('local'), 'SERVICE_NOT_CONFIGURED');
    await fixture.refused('vfs_mount', { ...MEMORY, source: 'x' }, 'INVALID_ARGUMENT');
    await fixture.refused('vfs_mount', { ...at('ipfs'), source: 'x' }, 'INVALID_ARGUMENT');
    const named = { ...at('ipfs'), source: '/ipns/example.org' };
    await fixture.refused('vfs_mount', named, 'IPFS_NODE_OFFLINE');
    const options = { ...MEMORY, options: { colour: 1 } };
    await fixture.refused('vfs_mount', options, 'INVALID_ARGUMENT');
  });

  test('only the user of the daemon changes mounts', async () => {
    await fixture.refused('vfs_mount', MEMORY, 'PERMISSION_DENIED', STRANGER);
    await fixture.refused('vfs_unmount', { mount_point: '/mem' }, 'PERMISSION_DENIED', STRANGER);
  });

  test('starts from content by CID, read-only when told', async () => {
    const plain = { profile: 'unixfs-v1-2025' } as const;
    const file = await fixture.builder.addBytes(Buffer.from('text'), plain, SIGNAL);
    const children = [{ name: 'a', cid: file.cid, cumulativeSize: file.cumulativeSize }];
    const { cid } = await fixture.builder.buildDirectory(children, plain, SIGNAL);
    const source = `/ipfs/${cid}`;
    const writable = { backend: 'ipfs', source, mount_point: '/task' };
    await fixture.done('vfs_mount', writable);
    await fixture.write('/task/a', 'changed');
    await fixture.done('vfs_mount', { ...writable, mount_point: '/frozen', read_only: true });
    expect(await fixture.text('/frozen/a')).toBe('text');
    await fixture.refused('vfs_write', { path: '/frozen/a', content: '' }, 'READ_ONLY');
    await fixture.refused('vfs_rm', { path: '/frozen/a' }, 'READ_ONLY');
    const point = { backend: 'ipfs', mount_point: '/m' };
    const notDirectory = { ...point, source: `${source}/a` };
    await fixture.refused('vfs_mount', notDirectory, 'NOT_A_DIRECTORY');
    await fixture.refused('vfs_mount', { ...point, source: `${source}/b` }, 'NOT_FOUND');
    const absent = 'bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq';
    await fixture.refused('vfs_mount', { ...point, source: absent }, 'CONTENT_NOT_AVAILABLE');
  });
});

describe('vfs_unmount', () => {
  test('hides a tree, which is back when it is mounted there again', async () => {
    await fixture.write('/ipfs/a', 'x'.repeat(100_000));
    const data = await fixture.done('vfs_unmount', { mount_point: '/ipfs' });
    expect(data).toEqual({
      mount_point: '/ipfs',
      unmounted: true,
      flushed: { files: 1, bytes: 100_000 },
      pending: { files: 0, bytes: 0 },
      closed: [],
      discarded: { files: 0, bytes: 0 },
    });
    expect(await mounts()).toEqual(['/mem']);
    await fixture.refused('vfs_read', { path: '/ipfs/a' }, 'NOT_FOUND');
    const again = { backend: 'ipfs', mount_point: '/ipfs', read_only: true };
    await fixture.done('vfs_mount', again);
    expect((await fixture.bytes('/ipfs/a')).length).toBe(100_000);
    await fixture.refused('vfs_write', { path: '/ipfs/a', content: '' }, 'READ_ONLY');
  });

  test('a memory tree with content goes only by force', async () => {
    await fixture.write('/mem/d/a', 'abc');
    const values = { mount_point: '/mem' };
    const context = await fixture.refused('vfs_unmount', values, 'CONFIRMATION_REQUIRED');
    expect(context).toMatchObject({ mount_point: '/mem', partial: { files: 1, bytes: 3 } });
    const forced = { ...values, force: true };
    expect(await fixture.planned('vfs_unmount', forced)).toMatchObject({ counts: { unmount: 1 } });
    expect(await fixture.done('vfs_unmount', forced)).toMatchObject({
      discarded: { files: 1, bytes: 3 },
    });
    await fixture.refused('vfs_unmount', values, 'NOT_FOUND');
    await fixture.done('vfs_mount', { backend: 'memory', mount_point: '/mem' });
    expect(await fixture.done('vfs_ls', { path: '/mem' })).toMatchObject({ entries: [] });
  });

  test('open files keep it, and by force are closed to those who hold them', async () => {
    await fixture.write('/ipfs/a', 'abc');
    const { vfs } = fixture;
    const { fh } = vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    vfs.write(KERNEL, fh, Buffer.from('new'), 0, false);
    const values = { mount_point: '/ipfs' };
    const context = await fixture.refused('vfs_unmount', values, 'MOUNT_BUSY');
    const opened = { path: '/ipfs/a', pid: 4711, exe: '/usr/bin/vim' };
    expect(context).toMatchObject({ partial: { open: [opened], nested: [] }, errno: 'EBUSY' });
    await fixture.planned('vfs_unmount', { ...values, force: true });
    expect(vfs.read(fh, Buffer.alloc(3), 0, 3, 0)).toBe(3);
    const data = await fixture.done('vfs_unmount', { ...values, force: true });
    expect(data).toMatchObject({ closed: [opened] });
    expect(() => vfs.read(fh, Buffer.alloc(3), 0, 3, 0)).toThrow(/version-conflict/);
    vfs.release(fh);
    expect(() => vfs.read(fh, Buffer.alloc(3), 0, 3, 0)).toThrow(/bad-handle/);
    await fixture.done('vfs_mount', { backend: 'ipfs', mount_point: '/ipfs' });
    expect(await fixture.text('/ipfs/a')).toBe('new');
  });

  test('what is mounted inside keeps it, whatever the force', async () => {
    await fixture.done('vfs_mount', { backend: 'memory', mount_point: '/ipfs/d/m' });
    const values = { mount_point: '/ipfs', force: true };
    const context = await fixture.refused('vfs_unmount', values, 'MOUNT_BUSY');
    expect(context).toMatchObject({ partial: { nested: ['/ipfs/d/m'] } });
    const none = await fixture.refused('vfs_unmount', { mount_point: '/none' }, 'NOT_FOUND');
    expect(none).toMatchObject({ kind: 'mount', mount_point: '/none' });
  });
});

describe('vfs_list_mounts', () => {
  test('tells what is mounted, what is not hashed yet and what is open', async () => {
    await fixture.write('/ipfs/a', 'abc');
    await fixture.write('/ipfs/b', 'de');
    await fixture.done('vfs_stat', { path: '/ipfs/b', compute_cid: true });
    fixture.vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    const data = await fixture.done('vfs_list_mounts', {});
    expect(data).toMatchObject({
      mounts: [
        { mount_point: '/ipfs', kind: 'ipfs', dirty: { files: 1, bytes: 3 }, open_files: 1 },
        { mount_point: '/mem', kind: 'memory', dirty: { files: 0, bytes: 0 }, open_files: 0 },
      ],
      kernel: { mounted: true, dir: '/mnt/kitfs' },
      total: 2,
      truncated: false,
    });
    fixture.mountDir = undefined;
    const down = await fixture.done('vfs_list_mounts', {});
    expect(down['kernel']).toEqual({ mounted: false });
  });

  test('the root CID of a tree is told to its owner alone', async () => {
    await fixture.write('/ipfs/secret', 'x', { mode: '0600' });
    const { root_cid } = await fixture.done('vfs_sync_to_ipfs', {});
    const listed = (peer?: object) => fixture.done('vfs_list_mounts', {}, peer);
    expect((await listed())['mounts']).toContainEqual(expect.objectContaining({ root_cid }));
    expect(JSON.stringify(await listed(STRANGER))).not.toContain(root_cid);
  });

  test('pages through them', async () => {
    const first = await fixture.done('vfs_list_mounts', { limit: 1 });
    expect(first).toMatchObject({ mounts: [{ mount_point: '/ipfs' }], truncated: true });
    await fixture.done('vfs_mount', { backend: 'memory', mount_point: '/a' });
    const cursor = first['next_cursor'];
    const second = await fixture.done('vfs_list_mounts', { limit: 1, cursor });
    expect(second).toMatchObject({ mounts: [{ mount_point: '/mem' }], truncated: false });
  });
});

test('a start finds the mounts as they were, those in memory empty', async () => {
  await fixture.done('vfs_mount', { backend: 'memory', mount_point: '/x/y' });
  await fixture.write('/x/y/a', 'gone');
  const { superblocks, dentries } = fixture.journal;
  expect(superblocks.mounts().map(({ mountPoint }) => mountPoint)).toContain('/x/y');
  expect(dentries.find(fixture.ino('/'), 'x' as Name)).toBeDefined();
  expect(fixture.vfs.getattr(ROOT, fixture.ino('/x')).nlink).toBe(2);
});
