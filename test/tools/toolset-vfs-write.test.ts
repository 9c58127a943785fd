import { randomBytes } from 'node:crypto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { O_RDWR, S_IFIFO } from '../../src/base/posix.ts';
import { blockKey, CONTENT_PROFILE, rawCid } from '../../src/content/content.ts';
import { mount } from '../../src/vfs/vfs.ts';
import { type Facts, Fixture, KERNEL, ROOT } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const STRANGER = { uid: 1000, gid: 1000 };

/** A file of which nothing is here, and nobody can be asked. */
function plantElsewhere(name: string, size: number): void {
  const { journal, content: contents, vfs } = fixture;
  const cid = rawCid(Buffer.alloc(size, 1));
  journal.commit(() => {
    const content = contents.remote.create({ cid, size, profile: CONTENT_PROFILE });
    const node = { type: 'file', content, size, cid: blockKey(cid) } as const;
    const making = { action: 'make', name: name as Name, replaces: undefined, node } as const;
    vfs.graft(ROOT, {
      root: fixture.ino('/ipfs'),
      linksFrom: [],
      metadata: {},
      children: [{ ...making, metadata: {}, children: [] }],
    });
  });
}

const records = async (path: string) => {
  const values = { path, recursive: true, order: 'asc' };
  return (await fixture.done('fs_journal_get_history', values))['entries'] as Facts[];
};

function readOnlyTree(): void {
  mount(fixture.vfs.core, ROOT, {
    mountId: 'ro',
    mountPoint: '/ro' as Name,
    kind: 'ipfs',
    backend: 'ipfs',
    source: 'x',
    readOnly: true,
    volatile: false,
    options: { umask: '0027' },
    uid: 0,
    gid: 0,
    mode: 0o777,
  });
}

describe('vfs_write', () => {
  test('changes no part of a file whose bytes cannot be had, but replaces it', async () => {
    plantElsewhere('far', 100);
    const values = { path: '/ipfs/far', content: 'here', overwrite: true };
    for (const part of [{ offset: 3 }, { append: true }]) {
      const refused = await fixture.ask('vfs_write', { ...values, ...part });
      expect(refused).toMatchObject({ error_code: 'CONTENT_NOT_AVAILABLE' });
    }
    const read = await fixture.ask('vfs_read', { path: '/ipfs/far' });
    expect(read).toMatchObject({ error_code: 'CONTENT_NOT_AVAILABLE' });
    expect(await fixture.done('vfs_write', values)).toMatchObject({ size: 4, created: false });
  });

  test('makes a file, replaces it as the same inode, and keeps the old bytes', async () => {
    const made = await fixture.write('/ipfs/a', 'one');
    expect(made).toMatchObject({
      path: '/ipfs/a',
      local_path: '/mnt/kitfs/ipfs/a',
      uri: 'kitfs://tree/ipfs/a',
      bytes_written: 3,
      size: 3,
      created: true,
      durability: { state: 'journaled' },
    });
    const after = await fixture.write('/ipfs/a', 'second');
    expect(after).toMatchObject({ inode: made['inode'], created: false, size: 6 });
    expect(after['version']).not.toBe(made['version']);
    expect(await fixture.text('/ipfs/a')).toBe('second');
    const last = (await records('/ipfs/a')).at(-1);
    expect(last).toMatchObject({ op: 'write', old_size: 3, undo: { state: 'available' } });
    const row = fixture.journal.ops.page(Number(last?.['seq']) - 1, 1)[0];
    const old = Buffer.alloc(3);
    fixture.content.read(row?.old_content ?? (0 as never), old, 0, 3, 0);
    expect(old.toString()).toBe('one');
  });

  test('is one record for each operation, with the call that made it', async () => {
    const answer = await fixture.ask('vfs_write', {
      path: '/ipfs/x/a',
      content: 'b',
      parents: true,
    });
    const entries = await records('/ipfs/x');
    expect(entries.map(({ op }) => op)).toEqual(['mkdir', 'create', 'write']);
    expect(new Set(entries.map(({ group }) => group))).toEqual(
      new Set([answer.context['request_id']]),
    );
    expect(answer.context['seq']).toBe(entries.at(-1)?.['seq']);
    expect(entries[0]).toMatchObject({ actor: { surface: 'mcp', tool: 'vfs_write' } });
  });

  test('changes a part in place, appends, and leaves a hole that reads as zeros', async () => {
    await fixture.write('/ipfs/a', 'hello world');
    expect(await fixture.write('/ipfs/a', 'W', { offset: 6 })).toMatchObject({ size: 11 });
    expect(await fixture.write('/ipfs/a', '!', { append: true })).toMatchObject({ size: 12 });
    expect(await fixture.text('/ipfs/a')).toBe('hello World!');
    await fixture.write('/ipfs/a', 'z', { offset: 14 });
    expect(await fixture.text('/ipfs/a')).toBe('hello World!\0\0z');
    expect(await fixture.write('/ipfs/new', 'x', { offset: 2 })).toMatchObject({ size: 3 });
    const both = { path: '/ipfs/a', content: '', offset: 0, append: true };
    const context = await fixture.refused('vfs_write', both, 'INVALID_ARGUMENT');
    expect(context['issues']).toMatchObject([{ argument: 'append', reason: 'combination' }]);
  });

  test('any bytes come back as they were', async () => {
    for (const bytes of [Buffer.alloc(0), Buffer.from([0, 0xff, 0xc3]), randomBytes(70_000)]) {
      const content = bytes.toString('base64');
      for (const path of ['/ipfs/r', '/mem/r']) {
        await fixture.write(path, content, { encoding: 'base64' });
        expect((await fixture.bytes(path, 9999)).equals(bytes)).toBe(true);
      }
    }
  });

  test('content has a limit and must be what it says', async () => {
    const large = 'x'.repeat(4 * 1024 * 1024 + 1);
    await fixture.refused('vfs_write', { path: '/ipfs/a', content: large }, 'PAYLOAD_TOO_LARGE');
    const bad = { path: '/ipfs/a', content: '!', encoding: 'base64' };
    await fixture.refused('vfs_write', bad, 'ENCODING_INVALID');
    const values = { path: '/ipfs/a', content: 'too far', offset: Number.MAX_SAFE_INTEGER };
    await fixture.refused('vfs_write', values, 'FILE_TOO_LARGE');
  });

  test('needs the directory above, unless it may make it', async () => {
    const values = { path: '/ipfs/x/y/a', content: 'b' };
    const context = await fixture.refused('vfs_write', values, 'NOT_FOUND');
    expect(context).toMatchObject({ kind: 'path' });
    await fixture.done('vfs_write', { ...values, parents: true });
    expect(await fixture.text('/ipfs/x/y/a')).toBe('b');
    const below = { path: '/ipfs/x/y/a/c', content: '', parents: true };
    await fixture.refused('vfs_write', below, 'NOT_A_DIRECTORY');
  });

  test('writes over what is there only when it may, and only the version expected', async () => {
    const first = await fixture.write('/ipfs/a', 'one');
    const anew = { path: '/ipfs/a', content: 'x', overwrite: false };
    await fixture.refused('vfs_write', anew, 'ALREADY_EXISTS');
    await fixture.done('vfs_write', { ...anew, path: '/ipfs/b' });
    const second = await fixture.write('/ipfs/a', 'two', { expected_version: first['version'] });
    const stale = { path: '/ipfs/a', content: 'x', expected_version: first['version'] };
    const context = await fixture.refused('vfs_write', stale, 'VERSION_CONFLICT');
    expect(context['partial']).toEqual({ version: second['version'] });
    const gone = { path: '/ipfs/none', content: 'x', expected_version: '7.1' };
    await fixture.refused('vfs_write', gone, 'VERSION_CONFLICT');
  });

  test('directories, special files, content by CID, control files and read-only trees refuse', async () => {
    readOnlyTree();
    fixture.vfs.mknod(ROOT, fixture.ino('/ipfs'), 'pipe' as Name, S_IFIFO | 0o644, 0);
    const cid = 'bafkreibm6jg3ux5qumhcn2b3flc3tyu6dmlb4xa7u5bf44yegnrjhc4yeq';
    for (const [path, code] of [
      ['/ipfs', 'IS_A_DIRECTORY'],
      ['/ipfs/pipe', 'NOT_SUPPORTED'],
      [`/ipfs/${cid}`, 'READ_ONLY'],
      [`/ipfs/${cid}/x`, 'READ_ONLY'],
      ['/.kitfs/status.json', 'READ_ONLY'],
      ['/.kitfs/new', 'READ_ONLY'],
      ['/ro/a', 'READ_ONLY'],
      ['/new', 'READ_ONLY'],
      ['/', 'MOUNT_BUSY'],
    ]) {
      await fixture.refused('vfs_write', { path, content: 'x' }, code ?? '');
    }
  });

  test('acts with the rights of the peer', async () => {
    await fixture.write('/ipfs/mine', 'x');
    const values = { path: '/ipfs/mine', content: 'y' };
    await fixture.refused('vfs_write', values, 'PERMISSION_DENIED', STRANGER);
    await fixture.done('vfs_mkdir', { path: '/ipfs/closed', mode: '0755' });
    const inside = { path: '/ipfs/closed/a', content: '' };
    await fixture.refused('vfs_write', inside, 'PERMISSION_DENIED', STRANGER);
    await fixture.done('vfs_write', { path: '/ipfs/own', content: 'z', mode: '0400' }, STRANGER);
    const stat = await fixture.done('vfs_stat', { path: '/ipfs/own' });
    expect(stat).toMatchObject({ uid: 1000, gid: 1000, mode: '0400', size: 1 });
    // Made with the rights of its maker; written again with those of its mode.
    const again = { path: '/ipfs/own', content: '' };
    await fixture.refused('vfs_write', again, 'PERMISSION_DENIED', STRANGER);
  });

  test('a write by an ordinary user takes set-id bits away', async () => {
    await fixture.write('/ipfs/tool', 'x', { mode: '0777' });
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/tool'), { mode: 0o4777 });
    await fixture.done('vfs_write', { path: '/ipfs/tool', content: 'y' }, STRANGER);
    expect(await fixture.done('vfs_stat', { path: '/ipfs/tool' })).toMatchObject({ mode: '0777' });
  });

  test('follows a link, also one to a name that is not there yet', async () => {
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs'), 'link' as Name, '/ipfs/later' as Name);
    await fixture.write('/ipfs/link', 'through');
    expect(await fixture.text('/ipfs/later')).toBe('through');
  });

  test('new files obey the umask of their mount', async () => {
    readOnlyTree();
    const { mounts } = fixture.vfs.core;
    const superblock = mounts.mountAt('/ro' as Name)?.superblock;
    if (superblock !== undefined) superblock.readOnly = false;
    await fixture.write('/ro/d/a', '');
    expect(await fixture.done('vfs_stat', { path: '/ro/d/a' })).toMatchObject({ mode: '0640' });
    expect(await fixture.done('vfs_stat', { path: '/ro/d' })).toMatchObject({ mode: '0750' });
  });

  test('with sync it survives the power, and says so', async () => {
    const small = await fixture.write('/ipfs/a', 'x', { sync: true });
    expect(small['durability']).toMatchObject({ state: 'fsynced' });
    const large = await fixture.write('/ipfs/b', 'x'.repeat(100_000), { sync: true });
    expect(large['durability']).toMatchObject({ state: 'fsynced' });
    expect(await fixture.write('/ipfs/a', 'y')).toMatchObject({
      durability: { state: 'journaled' },
    });
  });

  test('a replacement is seen through a handle that was open, and its session goes on', async () => {
    await fixture.write('/ipfs/a', 'old');
    const { fh } = fixture.vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    fixture.vfs.write(KERNEL, fh, Buffer.from('mid'), 0, false);
    await fixture.write('/ipfs/a', 'new text');
    const seen = Buffer.alloc(20);
    expect(fixture.vfs.read(fh, seen, 0, 20, 0)).toBe(8);
    fixture.vfs.write(KERNEL, fh, Buffer.from('NEW'), 0, false);
    fixture.vfs.release(fh);
    expect(await fixture.text('/ipfs/a')).toBe('NEW text');
  });

  test('a dry run tells the plan and changes nothing, also of a file that is being written', async () => {
    expect(
      await fixture.planned('vfs_write', { path: '/ipfs/n/a', content: 'abc', parents: true }),
    ).toMatchObject({
      actions: [
        { op: 'mkdir', path: '/ipfs/n' },
        { op: 'create', path: '/ipfs/n/a' },
        { op: 'write', path: '/ipfs/n/a', bytes: 3 },
      ],
      counts: { mkdir: 1, create: 1, write: 1 },
      bytes: 3,
    });
    await fixture.write('/ipfs/a', 'x'.repeat(100_000));
    const { fh } = fixture.vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    fixture.vfs.write(KERNEL, fh, Buffer.from('y'), 0, false);
    for (const more of [{}, { offset: 5 }, { append: true }]) {
      for (const content of ['', 'zzz']) {
        await fixture.planned('vfs_write', { path: '/ipfs/a', content, ...more });
      }
    }
    const bad = { path: '/ipfs', content: '', dry_run: true };
    await fixture.refused('vfs_write', bad, 'IS_A_DIRECTORY');
    fixture.vfs.write(KERNEL, fh, Buffer.from('w'), 1, false);
    fixture.vfs.release(fh);
    expect((await fixture.text('/ipfs/a')).slice(0, 3)).toBe('ywx');
    await fixture.write('/ipfs/n/a', 'after all');
  });

  test('waits for a locked file, and then says who holds it', async () => {
    await fixture.write('/ipfs/a', 'x');
    const ino = fixture.ino('/ipfs/a');
    fixture.vfs.openNow(KERNEL, ino, O_RDWR, false);
    fixture.locks.held.set(ino, [{ kind: 'flock', pid: 4711 }]);
    const context = await fixture.refused('vfs_write', { path: '/ipfs/a', content: 'y' }, 'LOCKED');
    expect(context).toMatchObject({
      retryable: true,
      errno: 'EBUSY',
      partial: { holders: [{ kind: 'flock', pid: 4711 }] },
    });
    const later = fixture.write('/ipfs/a', 'z');
    fixture.locks.held.clear();
    await later;
    expect(await fixture.text('/ipfs/a')).toBe('z');
  });

  test('the kernel has heard of it when the call answers', async () => {
    const heard: string[] = [];
    await fixture.write('/ipfs/a', 'x');
    fixture.vfs.core.invalidator = {
      entry: (_, name) => heard.push(`entry ${name}`),
      inode: (ino, bytes) => heard.push(`inode ${ino} ${bytes}`),
      uncounted() {},
      settled: async () => void heard.push('settled'),
      knows: () => false,
    };
    await fixture.write('/ipfs/a', 'y');
    expect(heard).toEqual([`inode ${fixture.ino('/ipfs/a')} true`, 'settled']);
    heard.length = 0;
    await fixture.done('vfs_rm', { path: '/ipfs/a' });
    expect(heard).toContain('entry a');
    expect(heard.at(-1)).toBe('settled');
  });
});

describe('vfs_mkdir', () => {
  test('makes one directory, or with parents all of them', async () => {
    expect(await fixture.done('vfs_mkdir', { path: '/ipfs/a', mode: '0700' })).toMatchObject({
      path: '/ipfs/a',
      local_path: '/mnt/kitfs/ipfs/a',
      created: true,
      mode: '0700',
      inode: fixture.ino('/ipfs/a'),
    });
    await fixture.refused('vfs_mkdir', { path: '/ipfs/x/y' }, 'NOT_FOUND');
    await fixture.done('vfs_mkdir', { path: '/ipfs/x/y', parents: true });
    expect(await fixture.done('vfs_stat', { path: '/ipfs/x/y' })).toMatchObject({ mode: '0755' });
  });

  test('makes the directories of a deep path, each once, where a link leads', async () => {
    await fixture.done('vfs_mkdir', { path: '/ipfs/real' });
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs'), 'link' as Name, 'real/gone' as Name);
    const names = Array.from({ length: 300 }, () => 'd');
    const before = fixture.vfs.core.journal.head.seq;
    await fixture.done('vfs_mkdir', { path: `/ipfs/link/${names.join('/')}`, parents: true });
    expect(fixture.vfs.core.journal.head.seq - before).toBe(1 + names.length);
    const real = await fixture.done('vfs_stat', { path: `/ipfs/real/gone/${names.join('/')}` });
    expect(real).toMatchObject({ type: 'directory' });
    const linked = `/ipfs/link/new/${'x'.repeat(255)}`;
    await fixture.done('vfs_write', { path: linked, content: 'x', parents: true });
  });

  test('what is there already is no error with parents, if it is a directory', async () => {
    await fixture.done('vfs_mkdir', { path: '/ipfs/a' });
    const context = await fixture.refused('vfs_mkdir', { path: '/ipfs/a' }, 'ALREADY_EXISTS');
    expect(context).toMatchObject({ kind: 'path', errno: 'EEXIST' });
    const again = await fixture.ask('vfs_mkdir', { path: '/ipfs/a', parents: true });
    expect(again.data).toMatchObject({ created: false });
    expect(again.context).not.toHaveProperty('seq');
    await fixture.done('vfs_mkdir', { path: '/ipfs', parents: true });
    await fixture.write('/ipfs/file', '');
    const file = { path: '/ipfs/file', parents: true };
    await fixture.refused('vfs_mkdir', file, 'ALREADY_EXISTS');
    await fixture.refused('vfs_mkdir', { path: '/' }, 'ALREADY_EXISTS');
    await fixture.refused('vfs_mkdir', { path: '/elsewhere' }, 'READ_ONLY');
    await fixture.refused('vfs_mkdir', { path: '/ipfs/a/b' }, 'PERMISSION_DENIED', STRANGER);
  });
});

describe('vfs_rm', () => {
  test('removes a file, or a link and never its target', async () => {
    await fixture.write('/ipfs/a', 'abc');
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs'), 'link' as Name, 'a' as Name);
    expect(await fixture.done('vfs_rm', { path: '/ipfs/link' })).toEqual({
      path: '/ipfs/link',
      removed: true,
      entries: 1,
      bytes: 0,
    });
    expect(await fixture.done('vfs_rm', { path: '/ipfs/a' })).toMatchObject({ bytes: 3 });
    await fixture.refused('vfs_rm', { path: '/ipfs/a' }, 'NOT_FOUND');
    const missing = await fixture.done('vfs_rm', { path: '/ipfs/a', missing_ok: true });
    expect(missing).toMatchObject({ removed: false, entries: 0 });
    await fixture.done('vfs_rm', { path: '/ipfs/no/such', missing_ok: true });
  });

  test('removes a directory only with recursive, as one group', async () => {
    await fixture.write('/ipfs/d/e/a', 'abc');
    await fixture.write('/ipfs/d/b', 'de');
    await fixture.refused('vfs_rm', { path: '/ipfs/d' }, 'IS_A_DIRECTORY');
    const plan = await fixture.planned('vfs_rm', { path: '/ipfs/d', recursive: true });
    expect(plan).toMatchObject({ counts: { unlink: 2, rmdir: 2 }, bytes: 5 });
    const answer = await fixture.ask('vfs_rm', { path: '/ipfs/d', recursive: true });
    expect(answer.data).toMatchObject({ removed: true, entries: 4, bytes: 5 });
    const removals = (await records('/ipfs/d')).slice(-4);
    expect(new Set(removals.map(({ group }) => group)).size).toBe(1);
    expect(new Set(removals.map(({ hash }) => hash)).size).toBe(1);
  });

  test('takes the version and the count that are expected as a promise', async () => {
    const { version } = await fixture.write('/ipfs/a', 'x');
    await fixture.write('/ipfs/a', 'y');
    const stale = { path: '/ipfs/a', expected_version: version };
    await fixture.refused('vfs_rm', stale, 'VERSION_CONFLICT');
    await fixture.write('/ipfs/d/a', '');
    const wrong = { path: '/ipfs/d', recursive: true, expected_count: 1 };
    const context = await fixture.refused('vfs_rm', wrong, 'CONFIRMATION_REQUIRED');
    expect(context['partial']).toEqual({ count: 2 });
  });

  test('more than 1,000 entries go only when their number is known', async () => {
    fixture.journal.group(() => {
      const { ino } = fixture.vfs.mkdir(ROOT, fixture.ino('/ipfs'), 'many' as Name, 0o755);
      for (let index = 0; index < 1000; index += 1) {
        fixture.vfs.mkdir(ROOT, ino, `d${index}` as Name, 0o755);
      }
    });
    for (const tool of ['vfs_rm', 'vfs_rmdir']) {
      const values = { path: '/ipfs/many', recursive: true };
      const context = await fixture.refused(tool, values, 'CONFIRMATION_REQUIRED');
      expect(context['partial']).toEqual({ count: 1001 });
      const dry = { ...values, dry_run: true };
      await fixture.refused(tool, dry, 'CONFIRMATION_REQUIRED');
      await fixture.planned(tool, { ...values, expected_count: 1001 });
    }
    const values = { path: '/ipfs/many', recursive: true, expected_count: 1001 };
    expect(await fixture.done('vfs_rm', values)).toMatchObject({ entries: 1001 });
  });

  test('mounts, and what holds them, stay', async () => {
    await fixture.refused('vfs_rm', { path: '/mem', recursive: true }, 'MOUNT_BUSY');
    await fixture.refused('vfs_rm', { path: '/', recursive: true }, 'MOUNT_BUSY');
    await fixture.done('vfs_mkdir', { path: '/ipfs/d' });
    await fixture.done('vfs_mount', { backend: 'memory', mount_point: '/ipfs/d/deep/m' });
    await fixture.refused('vfs_rm', { path: '/ipfs/d', recursive: true }, 'MOUNT_BUSY');
    await fixture.refused('vfs_move', { source: '/ipfs/d', destination: '/ipfs/e' }, 'MOUNT_BUSY');
  });

  test('needs the right to write the directory, and with the sticky bit the file', async () => {
    await fixture.write('/ipfs/d/a', '');
    await fixture.refused('vfs_rm', { path: '/ipfs/d/a' }, 'PERMISSION_DENIED', STRANGER);
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/d'), { mode: 0o1777 });
    await fixture.refused('vfs_rm', { path: '/ipfs/d/a' }, 'PERMISSION_DENIED', STRANGER);
    await fixture.done('vfs_write', { path: '/ipfs/d/own', content: '' }, STRANGER);
    await fixture.done('vfs_rm', { path: '/ipfs/d/own' }, STRANGER);
    // Of a tree that may not be removed whole nothing is.
    await fixture.write('/ipfs/t/1', '');
    await fixture.write('/ipfs/t/closed/2', '');
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/t'), { mode: 0o777 });
    const tree = { path: '/ipfs/t', recursive: true };
    await fixture.refused('vfs_rm', tree, 'PERMISSION_DENIED', STRANGER);
  });

  test('a file that is open goes on until it is closed', async () => {
    await fixture.write('/ipfs/a', 'still here');
    const { fh } = fixture.vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    await fixture.done('vfs_rm', { path: '/ipfs/a' });
    const seen = Buffer.alloc(10);
    expect(fixture.vfs.read(fh, seen, 0, 10, 0)).toBe(10);
    expect(seen.toString()).toBe('still here');
    fixture.vfs.release(fh);
  });
});

describe('vfs_rmdir', () => {
  test('removes an empty directory, and with recursive any', async () => {
    await fixture.write('/ipfs/d/a', 'abc');
    const context = await fixture.refused('vfs_rmdir', { path: '/ipfs/d' }, 'NOT_EMPTY');
    expect(context).toMatchObject({ errno: 'ENOTEMPTY' });
    await fixture.planned('vfs_rmdir', { path: '/ipfs/d', recursive: true });
    expect(await fixture.done('vfs_rmdir', { path: '/ipfs/d', recursive: true })).toEqual({
      path: '/ipfs/d',
      removed: true,
      entries: 2,
      bytes: 3,
    });
    await fixture.done('vfs_mkdir', { path: '/ipfs/d' });
    expect(await fixture.done('vfs_rmdir', { path: '/ipfs/d' })).toMatchObject({ entries: 1 });
  });

  test('is for directories that are there and no mounts', async () => {
    await fixture.write('/ipfs/a', '');
    await fixture.refused('vfs_rmdir', { path: '/ipfs/a' }, 'NOT_A_DIRECTORY');
    await fixture.refused('vfs_rmdir', { path: '/ipfs/none' }, 'NOT_FOUND');
    await fixture.refused('vfs_rmdir', { path: '/mem' }, 'MOUNT_BUSY');
    await fixture.refused('vfs_rmdir', { path: '/mem', recursive: true }, 'MOUNT_BUSY');
    await fixture.refused('vfs_rmdir', { path: '/.kitfs' }, 'MOUNT_BUSY');
  });
});
