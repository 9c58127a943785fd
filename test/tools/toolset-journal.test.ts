import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { O_RDWR } from '../../src/base/posix.ts';
import { Retention } from '../../src/journal/journal.ts';
import { type Facts, Fixture, KERNEL, ROOT } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const history = (values: Facts = {}) => fixture.done('fs_journal_get_history', values);

const operations = (data: Facts) => (data['entries'] as Facts[]).map(({ op }) => op);

describe('fs_journal_get_history', () => {
  test('tells what tools and programs did to a path, newest first', async () => {
    await fixture.write('/ipfs/a', 'one');
    const { fh } = fixture.vfs.openNow(KERNEL, fixture.ino('/ipfs/a'), O_RDWR, false);
    fixture.vfs.write(KERNEL, fh, Buffer.from('two'), 0, false);
    fixture.vfs.release(fh);
    const data = await history({ path: '/ipfs/a' });
    expect(operations(data)).toEqual(['write', 'write', 'create']);
    const [mount, tool] = data['entries'] as Facts[];
    expect(mount).toMatchObject({
      path: '/ipfs/a',
      size: 3,
      old_size: 3,
      offset: 0,
      length: 3,
      actor: { surface: 'fuse', pid: 4711, exe: '/usr/bin/vim' },
      result: { state: 'done' },
      undo: { state: 'available' },
    });
    expect(tool).toMatchObject({
      actor: { surface: 'mcp', tool: 'vfs_write', client: { name: 'test', version: '1.0' } },
    });
    expect(data['head']).toEqual({
      seq: fixture.journal.head.seq,
      hash: fixture.journal.head.hash.toString('hex'),
    });
    expect(data).toMatchObject({ path: '/ipfs/a', oldest_seq: 1, truncated: false });
    expect(data['current_state']).toMatchObject({ exists: true, type: 'file', size: 3 });
  });

  test('follows an inode across names unless told not to; what is removed keeps its history', async () => {
    await fixture.write('/ipfs/a', 'x');
    await fixture.done('vfs_move', { source: '/ipfs/a', destination: '/ipfs/b' });
    await fixture.write('/ipfs/b', 'y');
    expect(operations(await history({ path: '/ipfs/b', order: 'asc' }))).toEqual([
      'create',
      'write',
      'rename',
      'write',
    ]);
    const plain = await history({ path: '/ipfs/b', follow: false });
    expect(operations(plain)).toEqual(['write', 'rename']);
    const old = await history({ path: '/ipfs/a' });
    expect(operations(old)).toEqual(['rename', 'write', 'create']);
    expect((old['entries'] as Facts[])[0]).toMatchObject({ path: '/ipfs/b', old_path: '/ipfs/a' });
    expect(old['current_state']).toBeNull();
    await fixture.done('vfs_rm', { path: '/ipfs/b' });
    expect(operations(await history({ path: '/ipfs/b', follow: false }))[0]).toBe('unlink');
    expect(await history({ path: '/never/was' })).toMatchObject({ entries: [] });
  });

  test('selects by kind, face, session, process, number and time', async () => {
    await fixture.write('/ipfs/d/a', 'x');
    const middle = fixture.journal.head.seq;
    fixture.vfs.mkdir(KERNEL, fixture.ino('/ipfs'), 'k' as Name, 0o755);
    const all = { path: '/ipfs', recursive: true, order: 'asc' };
    expect(operations(await history({ ...all, operations: ['write', 'mkdir'] }))).toEqual([
      'mkdir',
      'write',
      'mkdir',
    ]);
    expect(operations(await history({ ...all, operations: ['alert_create'] }))).toEqual([]);
    expect(operations(await history({ ...all, surface: 'fuse' }))).toEqual(['mkdir']);
    expect(operations(await history({ ...all, pid: 4711 }))).toEqual(['mkdir']);
    const mine = await history({ ...all, session_id: 'session-1' });
    expect(operations(mine)).toEqual(['mkdir', 'create', 'write']);
    expect(operations(await history({ ...all, since_seq: middle }))).toEqual(['mkdir']);
    const whole = await history({ ...all, since_seq: 0 });
    expect((whole['entries'] as Facts[]).length).toBe(5);
    const { time } = (whole['entries'] as Facts[])[1] ?? {};
    const since = await history({ ...all, since: time });
    expect((since['entries'] as Facts[]).length).toBe(4);
    // Exclusive.
    const until = await history({ ...all, until: time });
    expect((until['entries'] as Facts[]).length).toBe(1);
  });

  test('an operation that is none is an argument that is wrong', async () => {
    const values = { operations: ['write', 'ponder'] };
    const context = await fixture.refused('fs_journal_get_history', values, 'INVALID_ARGUMENT');
    expect(context['issues']).toMatchObject([{ argument: 'operations' }]);
    await fixture.refused('fs_journal_get_history', { since: 'yesterday' }, 'INVALID_ARGUMENT');
  });

  test.each(['asc', 'desc'])(
    'pages %s give each record of the first moment once',
    async (order) => {
      for (let index = 0; index < 10; index += 1) await fixture.write('/ipfs/a', `${index}`);
      const expected = (await history({ path: '/ipfs/a', order }))['entries'] as Facts[];
      const seen: Facts[] = [];
      let values: Facts = { path: '/ipfs/a', order, limit: 3 };
      for (;;) {
        const page = await history(values);
        seen.push(...(page['entries'] as Facts[]));
        if (page['next_cursor'] === undefined) break;
        expect(page['truncated']).toBe(true);
        await fixture.write('/ipfs/a', 'more');
        values = { ...values, cursor: page['next_cursor'] };
      }
      expect(seen.map(({ seq }) => seq)).toEqual(expected.map(({ seq }) => seq));
      const other = { ...values, path: '/ipfs/b' };
      await fixture.refused('fs_journal_get_history', other, 'INVALID_ARGUMENT');
    },
  );

  test('a page is no larger than it may be', async () => {
    const deep = `/ipfs/${'d'.repeat(200)}/${'e'.repeat(200)}`;
    for (let index = 0; index < 100; index += 1) await fixture.write(`${deep}/${index}`, '');
    const page = await history({ path: '/ipfs', recursive: true, limit: 500 });
    const entries = page['entries'] as Facts[];
    expect(Buffer.byteLength(JSON.stringify(entries))).toBeLessThanOrEqual(48 * 1024 + 2);
    expect(entries.length).toBeGreaterThan(10);
    expect(page['truncated']).toBe(true);
  });

  test('a record that fails its hash is told, never shown', async () => {
    await fixture.write('/ipfs/a', 'x');
    const { connection } = fixture.journal;
    connection.prepare('UPDATE op SET size = 99 WHERE kind = ?').run('write');
    const values = { path: '/ipfs/a' };
    const context = await fixture.refused('fs_journal_get_history', values, 'JOURNAL_CORRUPT');
    expect(context).toMatchObject({ severity: 'CRITICAL', recovery: 'repair-journal' });
  });

  test('what is not kept any more is told from what never was', async () => {
    await fixture.write('/ipfs/a', 'x');
    await fixture.write('/ipfs/a', 'y');
    const { journal } = fixture;
    const policy = { keepS: 3600, recordsMax: 1, oldBytesMax: 1000 };
    const retention = new Retention({ journal, policy, discard: () => {} });
    for (let step = 0; step < 10 && retention.step(); step += 1);
    const cut = journal.ops.firstSeq() - 1;
    expect(cut).toBeGreaterThan(1);
    const lost = { path: '/ipfs/a', since_seq: 1 };
    await fixture.refused('fs_journal_get_history', lost, 'HISTORY_NOT_RETAINED');
    const early = { path: '/ipfs/a', until: '2001-01-01T00:00:00Z' };
    await fixture.refused('fs_journal_get_history', early, 'HISTORY_NOT_RETAINED');
    const kept = await history({ path: '/ipfs/a', since_seq: 0 });
    expect(kept).toMatchObject({ oldest_seq: cut + 1 });
  });

  test('the past of what one may not look into is not told', async () => {
    await fixture.write('/ipfs/closed/a', '');
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/closed'), { mode: 0o700 });
    const stranger = { uid: 1000, gid: 1000 };
    for (const values of [{ path: '/ipfs/closed/a' }, { path: '/ipfs/closed', recursive: true }]) {
      await fixture.refused('fs_journal_get_history', values, 'PERMISSION_DENIED', stranger);
    }
  });

  test('nor is it told from above, or from where a file went, what lies there', async () => {
    await fixture.write('/ipfs/closed/deep/name', '');
    await fixture.write('/ipfs/closed/out', '');
    await fixture.write('/ipfs/seen', '');
    await fixture.done('vfs_move', { source: '/ipfs/closed/out', destination: '/ipfs/out' });
    void fixture.vfs.setattr(ROOT, fixture.ino('/ipfs/closed'), { mode: 0o700 });
    const stranger = { uid: 1000, gid: 1000 };
    const told = async (values: Facts, peer = {}) => {
      const { entries } = await fixture.done('fs_journal_get_history', values, peer);
      return (entries as Facts[]).map(({ op, path, old_path: from }) => [op, from, path].join(' '));
    };
    const all = { path: '/', recursive: true, order: 'asc' };
    expect((await told(all)).join()).toContain('/ipfs/closed/deep/name');
    const seen = await told(all, stranger);
    expect(seen).toContain('create  /ipfs/seen');
    expect(seen).toContain('rename [redacted] /ipfs/out');
    expect(seen.join()).not.toContain('/ipfs/closed/');
    expect(await told({ path: '/ipfs/out' }, stranger)).toEqual(['rename [redacted] /ipfs/out']);
  });

  test('bytes that were too many to keep cannot be brought back, and it says so', async () => {
    await fixture.write('/mem/a', 'one');
    await fixture.write('/mem/a', 'two', { offset: 0 });
    const { entries } = await history({ path: '/mem/a' });
    expect((entries as Facts[])[0]).toMatchObject({ undo: { state: 'impossible' } });
  });
});
