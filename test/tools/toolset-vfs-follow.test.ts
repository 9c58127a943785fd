/** The laws of names in the tree, and of trees that follow them, as tools have them. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { mount } from '../../src/vfs/vfs.ts';
import { settle } from '../fakes/clock.ts';
import { Fixture, ROOT } from './fixture.ts';

const SIGNAL = new AbortController().signal;
const STRANGER = { uid: 2000, gid: 2000 };
const PLAIN = { profile: 'unixfs-v1-2025' } as const;

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
  mount(fixture.vfs.core, ROOT, {
    ...{ mountId: 'names', mountPoint: '/ipns' as Name, kind: 'ipns', backend: 'ipns' },
    ...{ source: '', readOnly: true, volatile: false, options: {}, uid: 0, gid: 0, mode: 0o555 },
  });
});
afterEach(() => fixture.close());

/** A directory of files is what the name means from now on; answers its CID. */
async function publish(files: Readonly<Record<string, string>>): Promise<string> {
  const children = [];
  for (const [name, text] of Object.entries(files)) {
    const { cid, cumulativeSize } = await fixture.builder.addBytes(
      Buffer.from(text),
      PLAIN,
      SIGNAL,
    );
    children.push({ name, cid, cumulativeSize });
  }
  const { cid } = await fixture.builder.buildDirectory(children, PLAIN, SIGNAL);
  const values = { ipfs_path: `/ipfs/${cid}`, ttl_s: 1, allow_offline: true };
  await fixture.done('ipfs_name_publish', values);
  return cid.toString();
}

const FOLLOW = {
  backend: 'ipns',
  source: '/ipns/self',
  mount_point: '/copy',
  read_only: true,
  options: { refresh_s: 1 },
} as const;

test('a path by a name is read as what the name means, and is never written', async () => {
  const cid = await publish({ a: 'by name' });
  expect(await fixture.text('/ipns/self/a')).toBe('by name');
  const { entries } = await fixture.done('vfs_ls', { path: '/ipns/self' });
  expect(entries).toMatchObject([{ name: 'a' }]);
  const link = await fixture.done('vfs_stat', { path: '/ipns/self', follow: false });
  expect(link).toMatchObject({ type: 'symlink', target: `../ipfs/${cid}` });
  await fixture.refused('vfs_write', { path: '/ipns/self/a', content: '' }, 'READ_ONLY');
  await fixture.refused('vfs_write', { path: '/ipns/mine', content: '' }, 'READ_ONLY');
  await fixture.refused('vfs_mkdir', { path: '/ipns/.mine' }, 'READ_ONLY');
});

test('a name that means nothing, or that nobody here can resolve, says so', async () => {
  await fixture.refused('vfs_ls', { path: '/ipns/self' }, 'NAME_NOT_RESOLVED');
  await fixture.refused('vfs_ls', { path: '/ipns/example.org' }, 'IPFS_NODE_OFFLINE');
});

test('the directory of all names that was unmounted is mounted again, there and nowhere else', async () => {
  await publish({ a: 'by name' });
  await fixture.done('vfs_unmount', { mount_point: '/ipns' });
  await fixture.refused('vfs_ls', { path: '/ipns/self' }, 'NOT_FOUND');
  const all = { backend: 'ipns', mount_point: '/ipns', read_only: true };
  await fixture.refused('vfs_mount', { ...all, mount_point: '/names' }, 'INVALID_ARGUMENT');
  await fixture.done('vfs_mount', all);
  expect(await fixture.text('/ipns/self/a')).toBe('by name');
});

test('a tree that follows a name is read-only, and becomes what the name means', async () => {
  const first = await publish({ a: 'one', b: 'stays' });
  const made = await fixture.done('vfs_mount', FOLLOW);
  expect(made).toMatchObject({
    ...{ kind: 'ipns', source: '/ipns/self', read_only: true, state: 'ready', existed: false },
    ...{ root_cid: first, options: { refresh_s: 1 } },
  });
  expect(await fixture.text('/copy/a')).toBe('one');
  await fixture.refused('vfs_write', { path: '/copy/a', content: '' }, 'READ_ONLY');
  await fixture.refused('vfs_rm', { path: '/copy/a' }, 'READ_ONLY');
  expect(await fixture.done('vfs_mount', FOLLOW)).toMatchObject({ existed: true });
  const second = await publish({ b: 'stays', c: 'two' });
  while (fixture.ports.ipfs.follower.states()[0]?.shown !== second) await settle();
  const { entries } = await fixture.done('vfs_ls', { path: '/copy' });
  expect(entries).toMatchObject([{ name: 'b' }, { name: 'c' }]);
  await fixture.done('vfs_unmount', { mount_point: '/copy' });
  expect(checkJournal(fixture.journal)).toEqual([]);
});

test('a writable tree starts from what a name means, and does not follow it', async () => {
  await publish({ a: 'one' });
  const task = { backend: 'ipfs', source: '/ipns/self', mount_point: '/task' };
  await fixture.done('vfs_mount', task);
  await fixture.write('/task/a', 'changed');
  expect(fixture.ports.ipfs.follower.states()).toEqual([]);
});

test('a directory is restored from what a name means', async () => {
  await publish({ a: 'one' });
  const values = { ipfs_path: '/ipns/self', path: '/ipfs/back', parents: true };
  await fixture.done('vfs_sync_from_ipfs', values);
  expect(await fixture.text('/ipfs/back/a')).toBe('one');
});

test('nothing is mounted that cannot follow', async () => {
  await fixture.refused('vfs_mount', FOLLOW, 'NAME_NOT_RESOLVED');
  await publish({ a: 'one' });
  await fixture.refused('vfs_mount', { ...FOLLOW, source: 'x' }, 'INVALID_ARGUMENT');
  await fixture.refused('vfs_mount', { ...FOLLOW, source: '' }, 'INVALID_ARGUMENT');
  await fixture.refused('vfs_mount', { ...FOLLOW, read_only: false }, 'NOT_SUPPORTED');
  const stranger = { ...FOLLOW, source: '/ipns/example.org' };
  await fixture.refused('vfs_mount', stranger, 'IPFS_NODE_OFFLINE');
  await fixture.refused('vfs_mount', { ...FOLLOW, source: '/ipns/self/a' }, 'NOT_SUPPORTED');
  await fixture.refused('vfs_mount', { ...FOLLOW, source: '/ipns/self/b' }, 'NOT_FOUND');
  await fixture.write('/ipfs/full/a', '');
  await fixture.refused('vfs_mount', { ...FOLLOW, mount_point: '/ipfs/full' }, 'NOT_EMPTY');
  await fixture.refused('vfs_mount', { ...FOLLOW, mount_point: '/mem' }, 'MOUNT_BUSY');
  await fixture.refused('vfs_mount', FOLLOW, 'PERMISSION_DENIED', STRANGER);
  await fixture.done('vfs_mount', FOLLOW);
});

test('that what it follows is not known is shown where mounts are listed', async () => {
  await publish({ a: 'one' });
  await fixture.done('vfs_mount', FOLLOW);
  // It leads to no directory.
  const { cid } = await fixture.builder.addBytes(Buffer.from('no tree'), PLAIN, SIGNAL);
  await fixture.done('ipfs_name_publish', { ipfs_path: `/ipfs/${cid}`, allow_offline: true });
  while (fixture.ports.ipfs.follower.states()[0]?.error === undefined) await settle();
  const { mounts } = await fixture.done('vfs_list_mounts', {});
  expect(mounts).toContainEqual(
    expect.objectContaining({ mount_point: '/copy', state: 'degraded' }),
  );
  expect(await fixture.text('/copy/a')).toBe('one');
});
