/**
 * The laws of trees that show the mutable tree of the home node, as tools have them, which every
 * engine keeps.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { S_IFIFO } from '../../src/base/posix.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { type Facts, type Fixture, ROOT } from './fixture.ts';

const SIGNAL = new AbortController().signal;
const O_WRONLY = 1;

export interface MountLaws {
  readonly kind: 'embedded' | 'kubo';
  readonly world: () => Fixture;
}

/** Until it is sure that the node forgets nothing. */
async function waitUntil(holds: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error('it never holds');
  }
}

type HomeNode = ReturnType<Fixture['ports']['ipfs']['nodes']['state']>;

/** As another client of the node: no mount is told. */
async function changeBehind(w: Fixture, node: HomeNode, path: string, bytes: Buffer) {
  const how = { signal: SIGNAL, truncate: true, create: true };
  const content = async function* () {
    yield bytes;
  };
  if (node.kind === 'kubo') {
    await node.mfs.write(path, content(), how);
    return;
  }
  await node.mfs.edit('change it', SIGNAL, async (draft) => {
    await draft.write(path, content(), how);
    await draft.prepare({ flush: true, signal: SIGNAL });
    w.journal.commit(() => draft.commit());
  });
}

async function removeBehind(w: Fixture, node: HomeNode, path: string) {
  const how = { signal: SIGNAL, recursive: true };
  if (node.kind === 'kubo') {
    await node.mfs.rm(path, how);
    return;
  }
  await node.mfs.edit('remove it', SIGNAL, async (draft) => {
    await draft.rm(path, how);
    await draft.prepare({ flush: true, signal: SIGNAL });
    w.journal.commit(() => draft.commit());
  });
}

export function lawsOfMfsMounts({ kind, world }: MountLaws): void {
  describe(`a tree of MFS on the engine ${kind}`, () => {
    let w: Fixture;
    beforeEach(async () => {
      w = world();
      await w.done('ipfs_files_mkdir', { path: '/shared' });
      await w.done('ipfs_files_write', { path: '/shared/there', content: 'from there' });
    });
    afterEach(async () => {
      const errors = checkJournal(w.journal);
      await w.done('ipfs_files_rm', { path: '/shared', recursive: true, missing_ok: true });
      expect(errors).toEqual([]);
    });

    const mounted = (more: Facts = {}) =>
      w.done('vfs_mount', { backend: 'mfs', source: '/shared', mount_point: '/m', ...more });
    const settled = () => w.ports.ipfs.mfsTrees.settle(SIGNAL);
    const there = async (path: string): Promise<string> => {
      const values = { path: `/shared/${path}` };
      const { content } = await w.call('ipfs_files_read', values);
      const [, block] = content;
      return block?.type === 'text' ? block.text : '';
    };
    const listed = async (path = ''): Promise<readonly string[]> => {
      const { entries } = await w.done('ipfs_files_ls', { path: `/shared${path}` });
      return (entries as { name: string }[]).map(({ name }) => name);
    };
    const shown = async (path = ''): Promise<readonly string[]> => {
      const { entries } = await w.done('vfs_ls', { path: `/m${path}` });
      return (entries as { name: string }[]).map(({ name }) => name);
    };

    test('what is in MFS is there from the first answer on, and says what it is', async () => {
      const made = await mounted();
      expect(made).toMatchObject({
        ...{ backend: 'mfs', kind: 'mfs', source: '/shared', state: 'ready', read_only: false },
        capabilities: ['posix', 'symlinks', 'xattrs', 'history'],
      });
      expect(await w.text('/m/there')).toBe('from there');
      const { cid } = await w.done('ipfs_files_stat', { path: '/shared' });
      const { mounts } = await w.done('vfs_list_mounts', {});
      const one = { mount_point: '/m', kind: 'mfs', state: 'ready', root_cid: cid };
      expect(mounts).toContainEqual(expect.objectContaining(one));
      expect(await mounted()).toMatchObject({ existed: true });
    });

    test('what is written on the mount comes to MFS', async () => {
      await mounted();
      await w.write('/m/a', 'first');
      await w.write('/m/deep/er/b', 'second');
      await settled();
      expect(await there('a')).toBe('first');
      expect(await there('deep/er/b')).toBe('second');
      await w.write('/m/a', 'changed');
      await w.done('vfs_move', { source: '/m/deep/er', destination: '/m/er' });
      await w.done('vfs_rm', { path: '/m/there' });
      await settled();
      expect(await there('a')).toBe('changed');
      expect(await there('er/b')).toBe('second');
      expect(await listed()).toEqual(['a', 'deep', 'er']);
      expect(await listed('/deep')).toEqual([]);
    });

    test('what is changed in MFS by tools the mount shows in the next answer', async () => {
      await mounted();
      await w.done('ipfs_files_write', { path: '/shared/there', content: 'other bytes' });
      expect(await w.text('/m/there')).toBe('other bytes');
      await w.done('ipfs_files_write', { path: '/shared/d/e/f', content: 'deep', parents: true });
      expect(await w.text('/m/d/e/f')).toBe('deep');
      await w.done('ipfs_files_mv', { source: '/shared/d/e', destination: '/shared/e' });
      expect(await shown('/d')).toEqual([]);
      expect(await w.text('/m/e/f')).toBe('deep');
      await w.done('ipfs_files_rm', { path: '/shared/e', recursive: true });
      await w.done('ipfs_files_rm', { path: '/shared/there' });
      expect(await shown()).toEqual(['d']);
    });

    test('what was changed on both sides is kept twice, on both sides', async () => {
      await mounted();
      const { cid } = await w.done('ipfs_files_stat', { path: '/shared/there' });
      const handle = await w.vfs.open(ROOT, w.ino('/m/there'), O_WRONLY, false);
      w.vfs.write(ROOT, handle.fh, Buffer.from('mine'), 0, false);
      // While it is written to, what was changed there waits.
      await w.done('ipfs_files_write', { path: '/shared/there', content: 'of others' });
      const other = (await w.done('ipfs_files_stat', { path: '/shared/there' }))['cid'];
      expect(other).not.toBe(cid);
      expect(await shown()).toEqual(['there']);
      w.vfs.release(handle.fh);
      await settled();
      const beside = `there.conflict-${String(other).slice(-8)}`;
      expect(await shown()).toEqual(['there', beside]);
      expect(await listed()).toEqual(['there', beside]);
      expect(await w.text('/m/there')).toBe('mine there');
      expect(await there('there')).toBe('mine there');
      expect(await there(beside)).toBe('of others');
    });

    /** Both sides change a file: what others wrote in it. */
    const changedTwice = async (name: string) => {
      const handle = await w.vfs.open(ROOT, w.ino(`/m/${name}`), O_WRONLY, false);
      w.vfs.write(ROOT, handle.fh, Buffer.from('mine'), 0, false);
      await w.done('ipfs_files_write', { path: `/shared/${name}`, content: 'of others' });
      const { cid } = await w.done('ipfs_files_stat', { path: `/shared/${name}` });
      w.vfs.release(handle.fh);
      return String(cid).slice(-8);
    };

    test('what was changed on both sides is kept twice, however long its name is', async () => {
      await mounted();
      const name = `${'n'.repeat(251)}.txt`;
      await w.write(`/m/${name}`, 'both');
      await settled();
      const mark = `.conflict-${await changedTwice(name)}.txt`;
      await settled();
      const beside = `${'n'.repeat(255 - mark.length)}${mark}`;
      expect(await listed()).toEqual([beside, name, 'there'].sort());
      expect(await there(name)).toBe('mine');
      expect(await there(beside)).toBe('of others');
      expect(await w.text(`/m/${beside}`)).toBe('of others');
    });

    test('what was changed on both sides is kept twice, though its other name is taken', async () => {
      await mounted();
      for (const name of ['a', 'b']) await w.write(`/m/${name}`, 'both');
      await settled();
      const mark = await changedTwice('a');
      await settled();
      const beside = `b.conflict-${mark}`;
      await w.write(`/m/${beside}`, 'edited');
      await settled();
      // Of the same history Kubo makes the same CID.
      expect(await changedTwice('b')).toBe(mark);
      await settled();
      const all = ['a', `a.conflict-${mark}`, 'b', beside, `${beside}-2`, 'there'];
      expect(await listed()).toEqual(all);
      expect(await there(beside)).toBe('edited');
      expect(await there(`${beside}-2`)).toBe('of others');
    });

    test('what is published is in no mount of MFS, and no push takes it away', async () => {
      const values = { path: '/kitfs/ipfs/secret', content: 'private', parents: true };
      await w.done('ipfs_files_write', values);
      await w.done('vfs_mount', { backend: 'mfs', source: '/', mount_point: '/m' });
      expect(await shown()).not.toContain('kitfs');
      await w.refused('vfs_mkdir', { path: '/m/kitfs' }, 'PERMISSION_DENIED');
      await w.write('/m/shared/here', 'brought');
      await settled();
      expect(await there('here')).toBe('brought');
      expect(await w.done('ipfs_files_stat', { path: '/kitfs/ipfs/secret' })).toMatchObject({
        size: 7,
      });
      for (const source of ['/kitfs', '/kitfs/ipfs']) {
        const mount = { backend: 'mfs', source, mount_point: '/n' };
        await w.refused('vfs_mount', mount, 'PERMISSION_DENIED');
      }
      await w.done('vfs_unmount', { mount_point: '/m' });
      await w.done('ipfs_files_rm', { path: '/kitfs', recursive: true });
    });

    test('what was removed on one side and changed on the other stays', async () => {
      await w.done('ipfs_files_write', { path: '/shared/d/x', content: 'x', parents: true });
      await w.done('ipfs_files_write', { path: '/shared/d/y', content: 'y' });
      await mounted();
      const outside = w.ports.ipfs.nodes.state(undefined, 'change it behind the mount');
      const others = (path: string, text: string) =>
        changeBehind(w, outside, path, Buffer.from(text));
      await others('/shared/there', 'changed there');
      await w.done('vfs_rm', { path: '/m/there' });
      await settled();
      expect(await shown()).toEqual(['d', 'there']);
      expect(await w.text('/m/there')).toBe('changed there');
      await removeBehind(w, outside, '/shared/d');
      await w.write('/m/d/y', 'changed here');
      await settled();
      expect(await shown('/d')).toEqual(['y']);
      expect(await listed('/d')).toEqual(['y']);
      expect(await there('d/y')).toBe('changed here');
    });

    test('of a directory removed here what was changed there comes back, and no more', async () => {
      await mounted();
      for (const name of ['a', 'b', 'sub/c', 'sub/d']) await w.write(`/m/d/${name}`, name);
      await settled();
      const node = w.ports.ipfs.nodes.state(undefined, 'change it behind the mount');
      await changeBehind(w, node, '/shared/d/sub/c', Buffer.from('changed there'));
      const values = { path: '/m/d', recursive: true };
      await w.done('vfs_rmdir', values);
      await settled();
      for (const [path, names] of [
        ['/d', ['sub']],
        ['/d/sub', ['c']],
      ] as const) {
        expect(await shown(path)).toEqual(names);
        expect(await listed(path)).toEqual(names);
      }
      expect(await w.text('/m/d/sub/c')).toBe('changed there');
      await w.done('vfs_rmdir', values);
      await settled();
      expect(await listed()).toEqual(['there']);
    });

    test('a directory made anew is what was made, and what others changed in the old one', async () => {
      await mounted();
      for (const name of ['a', 'b', 'c']) await w.write(`/m/d/${name}`, name);
      await settled();
      const node = w.ports.ipfs.nodes.state(undefined, 'change it behind the mount');
      await changeBehind(w, node, '/shared/d/b', Buffer.from('changed there'));
      await w.done('vfs_rmdir', { path: '/m/d', recursive: true });
      await w.write('/m/d/c', 'made anew');
      await settled();
      expect(await shown('/d')).toEqual(['b', 'c']);
      expect(await listed('/d')).toEqual(['b', 'c']);
      expect(await there('d/b')).toBe('changed there');
      expect(await there('d/c')).toBe('made anew');
    });

    test('nothing is known of a directory any more that is gone on both sides', async () => {
      await mounted();
      await w.write('/m/d/e/f', 'deep');
      await w.write('/m/d/moved/g', 'stays');
      await settled();
      await w.done('vfs_move', { source: '/m/d/moved', destination: '/m/moved' });
      await w.done('vfs_rmdir', { path: '/m/d', recursive: true });
      await settled();
      await waitUntil(async () => {
        await settled();
        const sql = 'SELECT count(*) FROM mfs_seen WHERE parent NOT IN (SELECT ino FROM inode)';
        return w.journal.connection.prepare(sql).pluck().get() === 0;
      });
      // The root, and three names.
      expect(w.journal.connection.prepare('SELECT count(*) FROM mfs_seen').pluck().get()).toBe(4);
      expect(await there('moved/g')).toBe('stays');
    });

    test('a file that is being written to is brought when it is closed, and not before', async () => {
      await mounted();
      const parent = w.ino('/m');
      const { handle } = w.vfs.create(ROOT, parent, nameOfText('open'), 0o644, O_WRONLY);
      w.vfs.write(ROOT, handle.fh, Buffer.from('half'), 0, false);
      await settled();
      expect(await listed()).toEqual(['there']);
      w.vfs.write(ROOT, handle.fh, Buffer.from(' and half'), 4, false);
      w.vfs.release(handle.fh);
      await settled();
      expect(await there('open')).toBe('half and half');
    });

    test('what MFS cannot hold is refused', async () => {
      await mounted();
      const parent = w.ino('/m');
      const [file, fifo] = [w.ino('/m/there'), nameOfText('fifo')];
      expect(() => w.vfs.link(ROOT, file, parent, nameOfText('second'))).toThrow('not-permitted');
      expect(() => w.vfs.mknod(ROOT, parent, fifo, S_IFIFO | 0o644, 0)).toThrow('not-permitted');
      const odd = '\xff' as typeof fifo;
      expect(() => w.vfs.mkdir(ROOT, parent, odd, 0o755)).toThrow('encoding');
      const to = { parent, name: odd };
      const from = { parent, name: nameOfText('there') };
      const flags = { noReplace: false, exchange: false };
      expect(() => w.vfs.rename(ROOT, from, to, flags)).toThrow('encoding');
    });

    test('links come to MFS as what they are, and from there', async () => {
      await mounted();
      w.symlink('/m/link', 'there');
      await settled();
      expect(await listed()).toEqual(['link', 'there']);
      await w.done('vfs_unmount', { mount_point: '/m' });
      await mounted({ mount_point: '/again' });
      const link = await w.done('vfs_stat', { path: '/again/link', follow: false });
      expect(link).toMatchObject({ type: 'symlink', target: 'there' });
    });

    test('modes, owners and attributes stay with a file that gets other bytes in MFS', async () => {
      await mounted();
      const ino = w.ino('/m/there');
      await w.vfs.setattr(ROOT, ino, { mode: 0o600, uid: 1234 });
      w.vfs.setxattr(ROOT, ino, nameOfText('user.k'), Buffer.from('v'), 'any');
      await w.done('ipfs_files_write', { path: '/shared/there', content: 'other bytes' });
      expect(await w.done('vfs_stat', { path: '/m/there' })).toMatchObject({
        ...{ mode: '0600', uid: 1234 },
      });
      const kept = w.vfs.getxattr(ROOT, w.ino('/m/there'), nameOfText('user.k'));
      expect(String(await kept)).toBe('v');
    });

    test('a tree that is unmounted is in MFS, and goes on where it was', async () => {
      await mounted();
      await w.write('/m/last', 'words');
      const gone = await w.done('vfs_unmount', { mount_point: '/m' });
      expect(gone).toMatchObject({ unmounted: true, pending: { files: 0, bytes: 0 } });
      expect(await there('last')).toBe('words');
      await w.done('ipfs_files_write', { path: '/shared/last', content: 'more words' });
      await mounted();
      expect(await w.text('/m/last')).toBe('more words');
    });

    test('a tree that is mounted read-only follows MFS', async () => {
      await mounted({ read_only: true });
      await w.refused('vfs_write', { path: '/m/x', content: '' }, 'READ_ONLY');
      await w.done('ipfs_files_write', { path: '/shared/x', content: 'there' });
      expect(await w.text('/m/x')).toBe('there');
    });

    test('only a directory of MFS is mounted', async () => {
      const values = { backend: 'mfs', mount_point: '/m' };
      await w.refused('vfs_mount', { ...values, source: '/shared/none' }, 'NOT_FOUND');
      await w.refused('vfs_mount', { ...values, source: '/shared/there' }, 'NOT_A_DIRECTORY');
      await w.refused('vfs_mount', { ...values, source: 'shared' }, 'INVALID_ARGUMENT');
    });

    test('where the directory goes away the mount keeps what it has, and says so', async () => {
      await mounted();
      await w.done('ipfs_files_rm', { path: '/shared', recursive: true });
      const { mounts } = await w.done('vfs_list_mounts', {});
      const one = { mount_point: '/m', state: 'degraded' };
      expect(mounts).toContainEqual(expect.objectContaining(one));
      expect(await w.text('/m/there')).toBe('from there');
      await w.write('/m/waits', 'here');
      await w.refused('vfs_unmount', { mount_point: '/m' }, 'BACKEND_UNAVAILABLE');
      const left = await w.done('vfs_unmount', { mount_point: '/m', force: true });
      expect(left).toMatchObject({ pending: { files: 1, bytes: 4 } });
      await w.done('ipfs_files_mkdir', { path: '/shared' });
      await mounted();
      await settled();
      expect(await there('waits')).toBe('here');
    });
  });
}
