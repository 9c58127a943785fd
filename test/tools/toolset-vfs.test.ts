import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Ino, type Name, nameOf, nameOfText } from '../../src/base/ids.ts';
import { O_RDWR, S_IFIFO, S_IFREG } from '../../src/base/posix.ts';
import { type Facts, Fixture, KERNEL, ROOT } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const SIGNAL = new AbortController().signal;
const STRANGER = { uid: 1000, gid: 1000 };

const names = (data: Facts, field = 'name') =>
  (data['entries'] as Facts[]).map((entry) => entry[field]);

/** A directory by CID: `docs/` with `a.txt`, and `link` to it. */
async function addedDirectory(): Promise<string> {
  const { builder } = fixture;
  const plain = { profile: 'unixfs-v1-2025' } as const;
  const file = await builder.addBytes(Buffer.from('by cid'), plain, SIGNAL);
  const { cid, cumulativeSize } = file;
  const link = builder.buildSymlink('a.txt' as Name, plain);
  const children = [
    { name: 'a.txt', cid, cumulativeSize },
    { name: 'link', cid: link.cid, cumulativeSize: link.cumulativeSize },
  ];
  const docs = await builder.buildDirectory(children, plain, SIGNAL);
  const above = [{ name: 'docs', cid: docs.cid, cumulativeSize: docs.cumulativeSize }];
  return (await builder.buildDirectory(above, plain, SIGNAL)).cid.toString();
}

describe('vfs_ls', () => {
  test('lists names in byte order, with what each is', async () => {
    await fixture.write('/ipfs/b', 'two');
    await fixture.write('/ipfs/a', 'one');
    await fixture.done('vfs_mkdir', { path: '/ipfs/\u{10000}' });
    await fixture.done('vfs_mkdir', { path: '/ipfs/\uffee' });
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs'), 'l' as Name, nameOfText('zü'));
    const data = await fixture.done('vfs_ls', { path: '/ipfs/' });
    expect(data).toMatchObject({ path: '/ipfs', local_path: '/mnt/kitfs/ipfs', truncated: false });
    // UTF-16 has the last two the other way round.
    expect(names(data)).toEqual(['a', 'b', 'l', '\uffee', '\u{10000}']);
    expect(data['entries']).toMatchObject([
      { type: 'file', size: 3, mode: '0644' },
      { type: 'file' },
      { type: 'symlink', target: 'zü' },
      { type: 'directory' },
      {},
    ]);
    expect(data['next_cursor']).toBeUndefined();
  });

  test('an empty directory is an empty list, a missing one an error', async () => {
    expect(await fixture.done('vfs_ls', { path: '/mem' })).toMatchObject({ entries: [], total: 0 });
    const context = await fixture.refused('vfs_ls', { path: '/mem/none' }, 'NOT_FOUND');
    expect(context).toMatchObject({ kind: 'path', path: '/mem/none', errno: 'ENOENT' });
    await fixture.write('/mem/file', '');
    await fixture.refused('vfs_ls', { path: '/mem/file' }, 'NOT_A_DIRECTORY');
  });

  test('with recursive it lists all levels, enters mounts and follows no links', async () => {
    await fixture.write('/ipfs/a/b/c', '');
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs/a'), 'up' as Name, '..' as Name);
    const all = await fixture.done('vfs_ls', { path: '/', recursive: true });
    expect(names(all, 'path')).toEqual([
      '/.kitfs',
      '/.kitfs/status.json',
      '/ipfs',
      '/ipfs/a',
      '/ipfs/a/b',
      '/ipfs/a/b/c',
      '/ipfs/a/up',
      '/mem',
    ]);
    expect(all['entries']).toContainEqual(expect.objectContaining({ path: '/mem', mount: true }));
    const two = await fixture.done('vfs_ls', { path: '/ipfs', recursive: true, max_depth: 2 });
    expect(names(two, 'path')).toEqual(['/ipfs/a', '/ipfs/a/b', '/ipfs/a/up']);
  });

  test('pages give every entry of the first moment once, whatever is made or removed', async () => {
    for (let index = 0; index < 25; index += 1) await fixture.write(`/ipfs/d/f${index + 10}`, 'x');
    const seen: unknown[] = [];
    let page = await fixture.done('vfs_ls', { path: '/ipfs/d', limit: 7 });
    for (;;) {
      seen.push(...names(page));
      expect(page).toMatchObject({ total: 25, truncated: page['next_cursor'] !== undefined });
      if (page['next_cursor'] === undefined) break;
      // One before the page, one behind it, one gone that is still to come.
      await fixture.write(`/ipfs/d/a${seen.length}`, '');
      await fixture.write(`/ipfs/d/z${seen.length}`, '');
      await fixture.done('vfs_rm', { path: `/ipfs/d/f${seen.length + 11}` });
      const cursor = page['next_cursor'];
      page = await fixture.done('vfs_ls', { path: '/ipfs/d', limit: 7, cursor });
    }
    expect(seen).toEqual(Array.from({ length: 25 }, (_, index) => `f${index + 10}`));
  });

  test('a cursor belongs to its arguments and its principal', async () => {
    await fixture.write('/ipfs/a', '');
    await fixture.write('/ipfs/b', '');
    const page = await fixture.done('vfs_ls', { path: '/ipfs', limit: 1 });
    const cursor = page['next_cursor'];
    await fixture.refused('vfs_ls', { path: '/mem', limit: 1, cursor }, 'INVALID_ARGUMENT');
    await fixture.refused('vfs_ls', { path: '/ipfs', cursor }, 'CURSOR_EXPIRED', STRANGER);
    await fixture.refused('vfs_ls', { path: '/ipfs', cursor: 'x.1' }, 'CURSOR_EXPIRED');
  });

  test('a name that is no UTF-8 is listed with its bytes', async () => {
    const name = nameOf(Buffer.from([0x61, 0xff]));
    fixture.vfs.mkdir(ROOT, fixture.ino('/ipfs'), name, 0o755);
    const { entries } = await fixture.done('vfs_ls', { path: '/ipfs' });
    expect(entries).toMatchObject([{ name: 'a\ufffd', name_b64: 'Yf8=' }]);
  });

  test('content by CID is listed, its CIDs with it', async () => {
    const cid = await addedDirectory();
    const data = await fixture.done('vfs_ls', { path: `/ipfs/${cid}`, recursive: true });
    expect(names(data, 'path')).toEqual([
      `/ipfs/${cid}/docs`,
      `/ipfs/${cid}/docs/a.txt`,
      `/ipfs/${cid}/docs/link`,
    ]);
    const [, file] = data['entries'] as Facts[];
    expect(file).toMatchObject({ type: 'file', size: 6, mode: '0444', version: file?.['cid'] });
  });

  test('what is not here of content by CID is left out, and told so', async () => {
    const { builder } = fixture;
    const plain = { profile: 'unixfs-v1-2025' } as const;
    const absent = { ...plain, dryRun: true };
    const { cid, cumulativeSize } = await builder.addBytes(Buffer.from('gone'), absent, SIGNAL);
    const lost = await builder.buildDirectory(
      [{ name: 'gone', cid, cumulativeSize }],
      absent,
      SIGNAL,
    );
    const here = builder.buildSymlink('x' as Name, plain);
    const children = [
      { name: 'here', cid: here.cid, cumulativeSize: here.cumulativeSize },
      { name: 'lost', cid: lost.cid, cumulativeSize: lost.cumulativeSize },
    ];
    const root = await builder.buildDirectory(children, plain, SIGNAL);
    const path = `/ipfs/${root.cid}`;
    const { data, context } = await fixture.ask('vfs_ls', { path });
    expect(data).toMatchObject({ entries: [{ name: 'here' }] });
    expect(context['warnings']).toEqual([`nothing is here of ${path}/lost`]);
  });

  test('who may not look into a directory does not', async () => {
    await fixture.write('/ipfs/open/secret/x', '');
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/open/secret'), { mode: 0o700 });
    const path = '/ipfs/open/secret';
    const context = await fixture.refused('vfs_ls', { path }, 'PERMISSION_DENIED', STRANGER);
    expect(context).toMatchObject({ errno: 'EACCES', path });
    const above = { path: '/ipfs/open', recursive: true };
    const answer = await fixture.ask('vfs_ls', above, STRANGER);
    expect(answer.data).toMatchObject({ entries: [{ name: 'secret' }] });
    expect(answer.context['warnings']).toEqual(['no permission to list /ipfs/open/secret']);
  });
});

describe('vfs_stat', () => {
  test('tells of a file who changed it last and where it lies', async () => {
    const { version } = await fixture.write('/ipfs/a.png', 'x');
    const data = await fixture.done('vfs_stat', { path: '/ipfs/a.png' });
    expect(data).toMatchObject({
      name: 'a.png',
      path: '/ipfs/a.png',
      local_path: '/mnt/kitfs/ipfs/a.png',
      uri: 'kitfs://tree/ipfs/a.png',
      type: 'file',
      size: 1,
      mode: '0644',
      version,
      uid: 0,
      nlink: 1,
      blocks: 1,
      mime: 'image/png',
      xattrs: [],
      mount: { mount_point: '/ipfs', backend: 'ipfs', kind: 'ipfs', read_only: false },
      open_handles: 0,
      locked: false,
      durability: { state: 'journaled', replicas: [] },
      last_change: { op: 'write', actor: { surface: 'mcp', tool: 'vfs_write', uid: 0 } },
    });
    expect(data['mtime']).toMatch(/^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z$/);
  });

  test('computes a CID when it is asked to, the one that sealing gives', async () => {
    await fixture.write('/ipfs/a', 'hello');
    expect(await fixture.done('vfs_stat', { path: '/ipfs/a' })).not.toHaveProperty('cid');
    const { cid, durability } = await fixture.done('vfs_stat', {
      path: '/ipfs/a',
      compute_cid: true,
    });
    const expected = await fixture.builder.addBytes(
      Buffer.from('hello'),
      { profile: 'unixfs-v1-2025', dryRun: true },
      SIGNAL,
    );
    expect(cid).toBe(expected.cid.toString());
    expect(durability).toMatchObject({ state: 'local' });
  });

  test('a file that is being written has a CID of that moment and stays open', async () => {
    await fixture.write('/ipfs/a', 'old');
    const { fh } = fixture.vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    fixture.vfs.write(KERNEL, fh, Buffer.from('new'), 0, false);
    const data = await fixture.done('vfs_stat', { path: '/ipfs/a', compute_cid: true });
    expect(data).toMatchObject({ open_handles: 1, durability: { state: 'journaled' } });
    const { cid } = await fixture.builder.addBytes(
      Buffer.from('new'),
      { profile: 'unixfs-v1-2025', dryRun: true },
      SIGNAL,
    );
    expect(data['cid']).toBe(cid.toString());
    fixture.vfs.write(KERNEL, fh, Buffer.from('later'), 0, false);
    fixture.vfs.release(fh);
    expect(await fixture.text('/ipfs/a')).toBe('later');
  });

  test('a file nobody wrote has the CID of no bytes, one that is all hole that of its zeros', async () => {
    const above = fixture.ino('/ipfs');
    fixture.vfs.mknod(ROOT, above, 'hole' as Name, S_IFREG | 0o644, 0);
    const values = { path: '/ipfs/hole', compute_cid: true };
    const { data, context } = await fixture.ask('vfs_stat', values);
    const nothing = 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku';
    expect(data).toHaveProperty('cid', nothing);
    expect(await fixture.text(`/ipfs/${nothing}`)).toBe('');
    expect(context['warnings'] ?? []).toEqual([]);
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/hole'), { size: 1000 });
    await fixture.write('/ipfs/zeros', '\0'.repeat(1000));
    const zeros = await fixture.done('vfs_stat', { path: '/ipfs/zeros', compute_cid: true });
    expect(await fixture.done('vfs_stat', values)).toMatchObject({ cid: zeros['cid'] });
  });

  test('a file that changes whenever it is hashed is left without a CID, and told so', async () => {
    await fixture.write('/ipfs/busy', 'first');
    const ino = fixture.ino('/ipfs/busy');
    const seal = fixture.sealer.seal.bind(fixture.sealer);
    let tries = 0;
    fixture.sealer.seal = async (id, signal) => {
      const cid = await seal(id, signal);
      tries += 1;
      void fixture.vfs.setattr(ROOT, ino, { size: 100 + tries });
      return cid;
    };
    const { data, context } = await fixture.ask('vfs_stat', {
      path: '/ipfs/busy',
      compute_cid: true,
    });
    expect(tries).toBe(3);
    expect(data).not.toHaveProperty('cid');
    expect(context['warnings']).toEqual(['the file is being written: no CID of it holds']);
  });

  test('follows links unless told not to', async () => {
    await fixture.write('/ipfs/file', 'abc');
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs'), 'link' as Name, 'file' as Name);
    expect(await fixture.done('vfs_stat', { path: '/ipfs/link' })).toMatchObject({
      type: 'file',
      name: 'link',
      size: 3,
    });
    const itself = await fixture.done('vfs_stat', { path: '/ipfs/link', follow: false });
    expect(itself).toMatchObject({ type: 'symlink', target: 'file' });
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs'), 'one' as Name, 'two' as Name);
    fixture.vfs.symlink(ROOT, fixture.ino('/ipfs'), 'two' as Name, 'one' as Name);
    await fixture.refused('vfs_stat', { path: '/ipfs/one' }, 'TOO_MANY_SYMLINKS');
  });

  test('tells of the root, of control files and of content by CID', async () => {
    const root = await fixture.done('vfs_stat', { path: '/' });
    expect(root).toMatchObject({ name: '/', type: 'directory', mount: { mount_point: '/' } });
    const control = await fixture.done('vfs_stat', { path: '/.kitfs/status.json' });
    expect(control).toMatchObject({ mount: { kind: 'control', read_only: true } });
    const cid = await addedDirectory();
    const content = await fixture.done('vfs_stat', { path: `/ipfs/${cid}` });
    expect(content).toMatchObject({ type: 'directory', cid, durability: { state: 'local' } });
  });

  test('has no local path while nothing is mounted', async () => {
    fixture.mountDir = undefined;
    expect(await fixture.done('vfs_stat', { path: '/ipfs' })).not.toHaveProperty('local_path');
  });

  test('sees an exclusive lock of a file somebody has open', async () => {
    await fixture.write('/ipfs/a', '');
    const ino = fixture.ino('/ipfs/a');
    fixture.locks.held.set(ino, [{ kind: 'flock', pid: 4711 }]);
    expect(await fixture.done('vfs_stat', { path: '/ipfs/a' })).toMatchObject({ locked: false });
    fixture.vfs.openNow(KERNEL, ino, O_RDWR, false);
    expect(await fixture.done('vfs_stat', { path: '/ipfs/a' })).toMatchObject({ locked: true });
  });

  test('paths that are none are told from names that are too long', async () => {
    await fixture.refused('vfs_stat', { path: '/ipfs/../etc' }, 'INVALID_PATH');
    await fixture.refused('vfs_stat', { path: 'ipfs' }, 'INVALID_PATH');
    await fixture.refused('vfs_stat', { path: `/ipfs/${'x'.repeat(256)}` }, 'NAME_TOO_LONG');
    await fixture.refused('vfs_stat', { path: '/ipfs/none' }, 'NOT_FOUND');
    await fixture.write('/ipfs/file', '');
    await fixture.refused('vfs_stat', { path: '/ipfs/file/below' }, 'NOT_A_DIRECTORY');
  });
});

describe('vfs_read', () => {
  test('gives text as text with a header that says what it is', async () => {
    const { version } = await fixture.write('/ipfs/a.md', '# ä\n');
    const result = await fixture.call('vfs_read', { path: '/ipfs/a.md' });
    const [head, text, link] = result.content;
    expect(JSON.parse(head?.type === 'text' ? head.text : '')).toEqual({
      kitfs: {
        uri: 'kitfs://tree/ipfs/a.md',
        local_path: '/mnt/kitfs/ipfs/a.md',
        size: 5,
        offset: 0,
        length: 5,
        eof: true,
        truncated: false,
        encoding: 'utf-8',
        mime: 'text/markdown',
        version,
      },
    });
    expect(text).toEqual({ type: 'text', text: '# ä\n' });
    expect(link).toMatchObject({ type: 'resource_link', uri: 'kitfs://tree/ipfs/a.md', size: 5 });
    expect(result.structuredContent).toBeUndefined();
  });

  test('slices join to the whole, of whatever bytes', async () => {
    const bytes = Buffer.alloc(1024 * 1024 + 1, 'n\0\xff\xc3', 'latin1');
    await fixture.write('/ipfs/a', bytes.toString('base64'), { encoding: 'base64' });
    for (const length of [1024 * 1024, 300_001]) {
      expect((await fixture.bytes('/ipfs/a', length)).equals(bytes)).toBe(true);
    }
    expect(await fixture.done('vfs_read', { path: '/ipfs/a' })).toMatchObject({
      encoding: 'base64',
      length: 24 * 1024,
      next_offset: 24 * 1024,
      mime: 'application/octet-stream',
    });
  });

  test('a slice at the end is empty, one beyond is an error', async () => {
    await fixture.write('/ipfs/a', 'abc');
    const end = await fixture.done('vfs_read', { path: '/ipfs/a', offset: 3 });
    expect(end).toMatchObject({ length: 0, eof: true });
    const context = await fixture.refused(
      'vfs_read',
      { path: '/ipfs/a', offset: 4 },
      'RANGE_INVALID',
    );
    expect(context).toMatchObject({ partial: { size: 3, offset: 4 }, errno: 'EINVAL' });
  });

  test('bytes that are no text are no UTF-8', async () => {
    await fixture.write('/ipfs/a', '/w==', { encoding: 'base64' });
    const values = { path: '/ipfs/a', encoding: 'utf-8' };
    await fixture.refused('vfs_read', values, 'ENCODING_INVALID');
  });

  test('only of the version that was expected', async () => {
    const { version } = await fixture.write('/ipfs/a', 'one');
    await fixture.done('vfs_read', { path: '/ipfs/a', expected_version: version });
    const after = await fixture.write('/ipfs/a', 'two');
    const values = { path: '/ipfs/a', expected_version: version };
    const context = await fixture.refused('vfs_read', values, 'VERSION_CONFLICT');
    expect(context['partial']).toEqual({ version: after['version'] });
  });

  test('includes what a program has written and not closed', async () => {
    await fixture.write('/ipfs/a', 'old');
    const { fh } = fixture.vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    fixture.vfs.write(KERNEL, fh, Buffer.from('new'), 0, false);
    expect(await fixture.text('/ipfs/a')).toBe('new');
  });

  test('reads content by CID and control files', async () => {
    const cid = await addedDirectory();
    const path = `/ipfs/${cid}/docs/link`;
    const header = await fixture.done('vfs_read', { path });
    expect(header).toMatchObject({ size: 6, eof: true, version: header['cid'] });
    expect(await fixture.text(path)).toBe('by cid');
    expect(await fixture.text('/.kitfs/status.json')).toBe('{"health":"ok"}\n');
    const status = { path: '/.kitfs/status.json', offset: 17 };
    await fixture.refused('vfs_read', status, 'RANGE_INVALID');
  });

  test('only files have bytes', async () => {
    await fixture.refused('vfs_read', { path: '/ipfs' }, 'IS_A_DIRECTORY');
    await fixture.refused('vfs_read', { path: '/ipfs/none' }, 'NOT_FOUND');
    fixture.vfs.mknod(ROOT, fixture.ino('/ipfs'), 'pipe' as Name, S_IFIFO | 0o644, 0);
    await fixture.refused('vfs_read', { path: '/ipfs/pipe' }, 'NOT_SUPPORTED');
  });

  test('a file of another user with mode 0600 is not read', async () => {
    await fixture.write('/ipfs/mine', 'secret', { mode: '0600' });
    const context = await fixture.refused(
      'vfs_read',
      { path: '/ipfs/mine' },
      'PERMISSION_DENIED',
      STRANGER,
    );
    expect(context).toMatchObject({ errno: 'EACCES', category: 'access' });
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/mine') as Ino, { uid: 1000 });
    await fixture.done('vfs_read', { path: '/ipfs/mine' }, STRANGER);
  });

  test('a picture is shown as one', async () => {
    await fixture.write(
      '/ipfs/dot.gif',
      'R0lGODlhAQABAID/AMDAwAAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==',
      { encoding: 'base64' },
    );
    const { content } = await fixture.call('vfs_read', { path: '/ipfs/dot.gif' });
    expect(content[1]).toMatchObject({ type: 'image', mimeType: 'image/gif' });
  });

  test('bytes that no longer are those of their CID are an error', async () => {
    const bytes = Buffer.alloc(100_000, 'x');
    const plain = { profile: 'unixfs-v1-2025' } as const;
    const { cid } = await fixture.builder.addBytes(bytes, plain, SIGNAL);
    const { content, journal } = fixture;
    const row = journal.contents.byCid(Buffer.from(cid.bytes));
    if (row === undefined) throw new Error('not added');
    journal.commit(() => {
      content.unhold(row.id);
      content.reopen(row.id);
      content.write(row.id, Buffer.from('y'), 500);
      content.freeze(row.id);
      journal.contents.insertBlock({
        cid: Buffer.from(cid.bytes),
        content: row.id,
        position: 0,
        size: row.size,
      });
    });
    await fixture.refused('vfs_read', { path: `/ipfs/${cid}` }, 'INTEGRITY_MISMATCH');
  });
});
