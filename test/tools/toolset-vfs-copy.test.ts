import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { O_RDWR, S_IFIFO } from '../../src/base/posix.ts';
import { type Facts, Fixture, KERNEL, ROOT } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const STRANGER = { uid: 1000, gid: 1000 };
const SIGNAL = new AbortController().signal;

const paths = async (path: string) => {
  const { entries } = await fixture.done('vfs_ls', { path, recursive: true });
  return (entries as Facts[]).map((entry) => entry['path']);
};

const stat = (path: string) => fixture.done('vfs_stat', { path, follow: false });

describe('vfs_copy', () => {
  test('copies a file by sharing its bytes', async () => {
    await fixture.write('/ipfs/a', 'x'.repeat(100_000), { mode: '0600' });
    const before = fixture.journal.contents.page(0, 100).length;
    const data = await fixture.done('vfs_copy', { source: '/ipfs/a', destination: '/ipfs/b' });
    expect(data).toMatchObject({
      source: '/ipfs/a',
      destination: '/ipfs/b',
      local_path: '/mnt/kitfs/ipfs/b',
      files: 1,
      directories: 0,
      bytes: 100_000,
      linked_bytes: 100_000,
      skipped: [],
    });
    expect(fixture.journal.contents.page(0, 100)).toHaveLength(before);
    const [one, other] = [await stat('/ipfs/a'), await stat('/ipfs/b')];
    expect(other).toMatchObject({ mode: '0600', mtime: one['mtime'], version: data['version'] });
    await fixture.write('/ipfs/b', 'y');
    expect((await fixture.bytes('/ipfs/a')).length).toBe(100_000);
  });

  test('a tree keeps its links, hard links, modes, times and attributes', async () => {
    await fixture.write('/ipfs/t/d/a', 'abc');
    const directory = fixture.ino('/ipfs/t');
    fixture.vfs.link(ROOT, fixture.ino('/ipfs/t/d/a'), directory, 'hard' as Name);
    fixture.vfs.symlink(ROOT, directory, 'soft' as Name, 'd/a' as Name);
    fixture.vfs.mknod(ROOT, directory, 'pipe' as Name, S_IFIFO | 0o644, 0);
    const value = Buffer.from('blue');
    fixture.vfs.setxattr(ROOT, fixture.ino('/ipfs/t/d'), 'user.color' as Name, value, 'any');
    const time = { s: 1_000_000_000, ns: 5 };
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/t/d'), { mode: 0o500, mtime: time });
    const values = { source: '/ipfs/t', destination: '/ipfs/u', recursive: true };
    expect(await fixture.done('vfs_copy', values)).toMatchObject({
      files: 1,
      directories: 2,
      symlinks: 1,
      bytes: 3,
      skipped: [{ path: '/ipfs/u/pipe', error_code: 'NOT_SUPPORTED' }],
    });
    expect(await paths('/ipfs/u')).toEqual([
      '/ipfs/u/d',
      '/ipfs/u/d/a',
      '/ipfs/u/hard',
      '/ipfs/u/soft',
    ]);
    expect(fixture.ino('/ipfs/u/hard')).toBe(fixture.ino('/ipfs/u/d/a'));
    expect(await stat('/ipfs/u/soft')).toMatchObject({ target: 'd/a' });
    expect(await stat('/ipfs/u/d')).toMatchObject({
      mode: '0500',
      mtime: '2001-09-09T01:46:40.000000005Z',
      xattrs: ['user.color'],
    });
  });

  test('a directory its maker may not write is copied all the same', async () => {
    const mkdir = (path: string) => fixture.done('vfs_mkdir', { path }, STRANGER);
    await mkdir('/ipfs/t');
    await fixture.done('vfs_write', { path: '/ipfs/t/a', content: 'x' }, STRANGER);
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/t'), { mode: 0o555 });
    const values = { source: '/ipfs/t', destination: '/ipfs/u', recursive: true };
    await fixture.done('vfs_copy', values, STRANGER);
    expect(await stat('/ipfs/u')).toMatchObject({ mode: '0555', uid: 1000 });
    expect(await fixture.text('/ipfs/u/a')).toBe('x');
  });

  test('nobody but root copies privileges with a file', async () => {
    await fixture.write('/ipfs/a', 'x', { mode: '0755' });
    const ino = fixture.ino('/ipfs/a');
    void fixture.vfs.setattr(ROOT, ino, { mode: 0o4755 });
    const name = 'security.capability' as Name;
    fixture.vfs.setxattr(ROOT, ino, name, Buffer.from('all'), 'any');
    const values = { source: '/ipfs/a', destination: '/ipfs/b' };
    await fixture.done('vfs_copy', values, STRANGER);
    expect(await stat('/ipfs/b')).toMatchObject({ mode: '0755', uid: 1000, xattrs: [] });
    await fixture.done('vfs_copy', { ...values, destination: '/ipfs/c' });
    expect(await stat('/ipfs/c')).toMatchObject({ mode: '4755'.padStart(5, '0'), xattrs: [name] });
  });

  test('without preserve_metadata the copy is of now', async () => {
    await fixture.write('/ipfs/a', 'x');
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/a'), { mtime: { s: 1, ns: 0 } });
    const values = { source: '/ipfs/a', destination: '/ipfs/b', preserve_metadata: false };
    await fixture.done('vfs_copy', values);
    expect((await stat('/ipfs/b'))['mtime']).not.toMatch(/^1970/);
  });

  test('between trees of different life the bytes move', async () => {
    await fixture.write('/ipfs/a', 'x'.repeat(70_000));
    const values = { source: '/ipfs/a', destination: '/mem/a' };
    expect(await fixture.done('vfs_copy', values)).toMatchObject({ linked_bytes: 0 });
    expect((await fixture.bytes('/mem/a')).equals(await fixture.bytes('/ipfs/a'))).toBe(true);
  });

  test('a file that is being written is copied as it is now', async () => {
    await fixture.write('/ipfs/a', 'old');
    const { fh } = fixture.vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    fixture.vfs.write(KERNEL, fh, Buffer.from('mid'), 0, false);
    await fixture.done('vfs_copy', { source: '/ipfs/a', destination: '/ipfs/b' });
    fixture.vfs.write(KERNEL, fh, Buffer.from('new'), 0, false);
    expect(await fixture.text('/ipfs/b')).toBe('mid');
  });

  test('content by CID becomes files that can be written', async () => {
    const plain = { profile: 'unixfs-v1-2025' } as const;
    const bytes = Buffer.alloc(100_000, 'by cid ');
    const { cid, cumulativeSize } = await fixture.builder.addBytes(bytes, plain, SIGNAL);
    const old = await fixture.builder.addBytes(
      Buffer.from('in small blocks'),
      { profile: 'unixfs-v0-2015' },
      SIGNAL,
    );
    const link = fixture.builder.buildSymlink('big' as Name, plain);
    const children = [
      { name: 'big', cid, cumulativeSize },
      { name: 'link', cid: link.cid, cumulativeSize: link.cumulativeSize },
      { name: 'old', cid: old.cid, cumulativeSize: old.cumulativeSize },
    ];
    const docs = await fixture.builder.buildDirectory(children, plain, SIGNAL);
    const source = `/ipfs/${docs.cid}`;
    for (const destination of ['/ipfs/docs', '/mem/docs']) {
      const values = { source, destination, recursive: true };
      const isShared = destination.startsWith('/ipfs');
      await fixture.planned('vfs_copy', values);
      expect(await fixture.done('vfs_copy', values)).toMatchObject({
        files: 2,
        directories: 1,
        symlinks: 1,
        bytes: 100_015,
        linked_bytes: isShared ? 100_000 : 0,
      });
      expect((await fixture.bytes(`${destination}/link`)).equals(bytes)).toBe(true);
      expect(await fixture.text(`${destination}/old`)).toBe('in small blocks');
      expect(await stat(`${destination}/big`)).toMatchObject({ mode: '0644' });
      await fixture.write(`${destination}/big`, 'changed');
    }
    const again = await fixture.ask('vfs_read', { path: `${source}/big`, length: 1 });
    expect(again.status).toBe('success');
    await fixture.refused('vfs_copy', { source, destination: '/ipfs/x' }, 'IS_A_DIRECTORY');
    const file = { source: `${source}/none`, destination: '/ipfs/x' };
    await fixture.refused('vfs_copy', file, 'NOT_FOUND');
    const taken = { source: `${source}/big`, destination: '/ipfs/docs/old' };
    await fixture.refused('vfs_copy', taken, 'ALREADY_EXISTS');
    const control = { source: '/.kitfs/status.json', destination: '/ipfs/status' };
    await fixture.done('vfs_copy', control);
    expect(await fixture.text('/ipfs/status')).toBe('{"health":"ok"}\n');
  });

  test('takes the place of what is there only when it may', async () => {
    await fixture.write('/ipfs/a', 'new');
    const { version } = await fixture.write('/ipfs/b', 'old');
    const values = { source: '/ipfs/a', destination: '/ipfs/b' };
    await fixture.refused('vfs_copy', values, 'ALREADY_EXISTS');
    const over = { ...values, overwrite: true };
    const stale = { ...over, expected_version: '1.1' };
    await fixture.refused('vfs_copy', stale, 'VERSION_CONFLICT');
    await fixture.planned('vfs_copy', over);
    await fixture.done('vfs_copy', { ...over, expected_version: version });
    expect(await fixture.text('/ipfs/b')).toBe('new');
    await fixture.done('vfs_copy', over);
    await fixture.write('/ipfs/t/new', '');
    await fixture.write('/ipfs/u/old', '');
    const tree = { source: '/ipfs/t', destination: '/ipfs/u', recursive: true, overwrite: true };
    await fixture.done('vfs_copy', tree);
    expect(await paths('/ipfs/u')).toEqual(['/ipfs/u/new']);
    const onto = { source: '/ipfs/a', destination: '/ipfs/u', overwrite: true };
    await fixture.refused('vfs_copy', onto, 'IS_A_DIRECTORY');
    await fixture.refused('vfs_copy', { ...tree, destination: '/ipfs/a' }, 'NOT_A_DIRECTORY');
    await fixture.refused('vfs_copy', { ...tree, destination: '/mem' }, 'MOUNT_BUSY');
  });

  test('nothing is copied into itself, nor over what holds it', async () => {
    await fixture.write('/ipfs/t/d/a', '');
    const into = { source: '/ipfs/t', recursive: true, overwrite: true };
    for (const destination of ['/ipfs/t', '/ipfs/t/x', '/ipfs/t/d', '/ipfs/t/d/x']) {
      await fixture.refused('vfs_copy', { ...into, destination }, 'INVALID_ARGUMENT');
    }
    const up = { source: '/ipfs/t/d', destination: '/ipfs/t', recursive: true, overwrite: true };
    await fixture.refused('vfs_copy', up, 'INVALID_ARGUMENT');
  });

  test('says what is missing or not allowed', async () => {
    await fixture.write('/ipfs/a', '', { mode: '0600' });
    await fixture.done('vfs_mkdir', { path: '/ipfs/d' });
    fixture.vfs.mknod(ROOT, fixture.ino('/ipfs'), 'pipe' as Name, S_IFIFO | 0o644, 0);
    const to = { destination: '/ipfs/z' };
    await fixture.refused('vfs_copy', { ...to, source: '/ipfs/none' }, 'NOT_FOUND');
    await fixture.refused('vfs_copy', { ...to, source: '/ipfs/d' }, 'IS_A_DIRECTORY');
    await fixture.refused('vfs_copy', { ...to, source: '/ipfs/pipe' }, 'NOT_SUPPORTED');
    await fixture.refused('vfs_copy', { ...to, source: '/ipfs/a' }, 'PERMISSION_DENIED', STRANGER);
    const deep = { source: '/ipfs/a', destination: '/ipfs/x/y/z' };
    await fixture.refused('vfs_copy', deep, 'NOT_FOUND');
    await fixture.done('vfs_copy', { ...deep, parents: true });
    await fixture.refused('vfs_copy', { source: '/ipfs/a', destination: '/b' }, 'READ_ONLY');
    const cid = '/ipfs/bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq';
    await fixture.refused('vfs_copy', { source: '/ipfs/a', destination: cid }, 'READ_ONLY');
  });
});

describe('vfs_move', () => {
  test('renames in one step, and links themselves', async () => {
    const { inode } = await fixture.write('/ipfs/a', 'x');
    const data = await fixture.done('vfs_move', { source: '/ipfs/a', destination: '/ipfs/b' });
    expect(data).toEqual({
      source: '/ipfs/a',
      destination: '/ipfs/b',
      local_path: '/mnt/kitfs/ipfs/b',
      version: (await stat('/ipfs/b'))['version'],
      overwritten: false,
      method: 'rename',
    });
    expect(await stat('/ipfs/b')).toMatchObject({ inode });
    await fixture.refused('vfs_stat', { path: '/ipfs/a' }, 'NOT_FOUND');
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs'), 'l' as Name, 'b' as Name);
    const values = { source: '/ipfs/l', destination: '/ipfs/x/m', parents: true };
    await fixture.planned('vfs_move', values);
    await fixture.done('vfs_move', values);
    expect(await stat('/ipfs/x/m')).toMatchObject({ type: 'symlink', target: 'b' });
  });

  test('replaces only when it may, and a directory only an empty one', async () => {
    const { version } = await fixture.write('/ipfs/a', 'a');
    await fixture.write('/ipfs/b', 'b');
    const values = { source: '/ipfs/a', destination: '/ipfs/b' };
    const context = await fixture.refused('vfs_move', values, 'ALREADY_EXISTS');
    expect(context).toMatchObject({ path: '/ipfs/b' });
    const over = { ...values, overwrite: true };
    const stale = { ...over, expected_version: '9.9' };
    await fixture.refused('vfs_move', stale, 'VERSION_CONFLICT');
    const planned = await fixture.planned('vfs_move', over);
    expect(planned['actions']).toEqual([{ op: 'rename', path: '/ipfs/a', destination: '/ipfs/b' }]);
    const moved = await fixture.done('vfs_move', { ...over, expected_version: version });
    expect(moved).toMatchObject({ overwritten: true });
    expect(await fixture.text('/ipfs/b')).toBe('a');
    await fixture.write('/ipfs/t/x', '');
    await fixture.write('/ipfs/u/y', '');
    const tree = { source: '/ipfs/t', destination: '/ipfs/u', overwrite: true };
    await fixture.refused('vfs_move', tree, 'NOT_EMPTY');
    await fixture.refused('vfs_move', { ...tree, destination: '/ipfs/b' }, 'NOT_A_DIRECTORY');
    await fixture.refused('vfs_move', { ...tree, source: '/ipfs/b' }, 'IS_A_DIRECTORY');
  });

  test('a path planned and taken back is not remembered', async () => {
    await fixture.write('/ipfs/d/e/a', '');
    await fixture.planned('vfs_move', { source: '/ipfs/d', destination: '/ipfs/x' });
    await fixture.write('/ipfs/d/e/b', '');
    const { entries } = await fixture.done('fs_journal_get_history', { path: '/ipfs/d/e/b' });
    expect((entries as Facts[]).length).toBeGreaterThan(0);
  });

  test('between mounts it copies and removes, all or nothing, and only when told', async () => {
    await fixture.write('/ipfs/t/d/a', 'abc');
    const values = { source: '/ipfs/t', destination: '/mem/t' };
    const context = await fixture.refused('vfs_move', values, 'CROSS_MOUNT');
    expect(context).toMatchObject({ errno: 'EXDEV' });
    const across = { ...values, cross_mount: true };
    const plan = await fixture.planned('vfs_move', across);
    expect(plan['counts']).toMatchObject({ mkdir: 2, create: 1, unlink: 1, rmdir: 2 });
    expect(await fixture.done('vfs_move', across)).toMatchObject({ method: 'copy_delete' });
    expect(await paths('/mem')).toEqual(['/mem/t', '/mem/t/d', '/mem/t/d/a']);
    expect(await paths('/ipfs')).toEqual([]);
    fixture.vfs.mknod(ROOT, fixture.ino('/mem/t'), 'pipe' as Name, S_IFIFO | 0o644, 0);
    const back = { source: '/mem/t', destination: '/ipfs/t', cross_mount: true };
    await fixture.refused('vfs_move', back, 'NOT_SUPPORTED');
    await fixture.write('/ipfs/f', 'old');
    const file = { source: '/mem/t/d/a', destination: '/ipfs/f', cross_mount: true };
    await fixture.refused('vfs_move', file, 'ALREADY_EXISTS');
    await fixture.done('vfs_move', { ...file, overwrite: true });
    expect(await fixture.text('/ipfs/f')).toBe('abc');
  });

  test('mounts, their holders and what lies in itself stay', async () => {
    await fixture.write('/ipfs/t/d/a', '');
    const to = { destination: '/ipfs/z' };
    await fixture.refused('vfs_move', { ...to, source: '/mem' }, 'MOUNT_BUSY');
    await fixture.refused('vfs_move', { ...to, source: '/' }, 'MOUNT_BUSY');
    await fixture.refused('vfs_move', { ...to, source: '/ipfs/none' }, 'NOT_FOUND');
    const into = { source: '/ipfs/t', destination: '/ipfs/t/d/t' };
    await fixture.refused('vfs_move', into, 'INVALID_ARGUMENT');
    await fixture.done('vfs_mount', { backend: 'memory', mount_point: '/ipfs/t/d/m' });
    const across = { source: '/ipfs/t', destination: '/mem/t', cross_mount: true };
    await fixture.refused('vfs_move', across, 'MOUNT_BUSY');
    const cid = '/ipfs/bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq';
    await fixture.refused('vfs_move', { ...to, source: cid }, 'READ_ONLY');
    await fixture.refused('vfs_move', { source: '/ipfs/t', destination: cid }, 'READ_ONLY');
  });

  test('needs the right to write both directories', async () => {
    await fixture.write('/ipfs/d/a', '');
    const values = { source: '/ipfs/d/a', destination: '/ipfs/a' };
    await fixture.refused('vfs_move', values, 'PERMISSION_DENIED', STRANGER);
    await fixture.done('vfs_write', { path: '/ipfs/own', content: '' }, STRANGER);
    const into = { source: '/ipfs/own', destination: '/ipfs/d/own' };
    await fixture.refused('vfs_move', into, 'PERMISSION_DENIED', STRANGER);
    await fixture.done('vfs_move', { ...into, destination: '/ipfs/mine' }, STRANGER);
  });
});
