/** The laws of the tools of toolset mfs, which are the same on every engine. */
import { expect, test } from 'vitest';
import { noise } from '../content/fixture.ts';
import type { Facts, Fixture } from './fixture.ts';

export interface MfsWorld {
  readonly kind: 'embedded' | 'kubo';
  world(): Fixture;
}

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
let places = 0;

/** A directory that no other test has. */
async function place(world: Fixture): Promise<string> {
  places += 1;
  const path = `/t${places}`;
  await world.done('ipfs_files_mkdir', { path });
  return path;
}

export async function bytesOf(world: Fixture, path: string): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let offset = 0; ; ) {
    const values = { path, offset, length: 1024 * 1024, encoding: 'base64' };
    const { content } = await world.call('ipfs_files_read', values);
    const [head, block] = content;
    const { kitfs } = JSON.parse(head?.type === 'text' ? head.text : '{}');
    if (block?.type === 'resource') pieces.push(Buffer.from(block.resource.blob, 'base64'));
    if (kitfs.eof === true) return Buffer.concat(pieces);
    offset = kitfs.next_offset;
  }
}

const textOf = async (world: Fixture, path: string) => (await bytesOf(world, path)).toString();

/** What is told of a change, and the records that it left. */
async function changed(world: Fixture, kind: string, tool: string, values: Facts): Promise<Facts> {
  const { seq } = world.journal.head;
  const { data, context, status } = await world.ask(tool, values);
  expect(status, JSON.stringify({ data, context })).toBe('success');
  expect(context['seq']).toBe(world.journal.head.seq);
  const rows = world.journal.ops.page(seq, 9);
  const states = context['node'] === 'kubo' ? ['pending', 'done'] : ['done'];
  expect(rows.map((row) => [row.kind, row.state])).toEqual(states.map((state) => [kind, state]));
  return data ?? {};
}

export function lawsOfMfs({ kind, world: get }: MfsWorld): void {
  test('a directory is made once, with those above it, and again only where it may be', async () => {
    const world = get();
    const top = await place(world);
    const path = `${top}/a/b`;
    await world.refused('ipfs_files_mkdir', { path }, 'NOT_FOUND');
    const values = { path, parents: true };
    const made = await changed(world, 'mfs_mkdir', 'ipfs_files_mkdir', values);
    expect(made).toMatchObject({ path, created: true, cid: expect.stringMatching(/^bafy/) });
    const before = world.fingerprint();
    expect(await world.done('ipfs_files_mkdir', values)).toEqual({ ...made, created: false });
    expect(world.fingerprint()).toEqual(before);
    await world.refused('ipfs_files_mkdir', { path }, 'ALREADY_EXISTS');
    await world.done('ipfs_files_write', { path: `${top}/f`, content: 'x' });
    await world.refused('ipfs_files_mkdir', { path: `${top}/f/d` }, 'NOT_A_DIRECTORY');
    await world.refused('ipfs_files_mkdir', { path: `${top}/f`, parents: true }, 'ALREADY_EXISTS');
    const wrong = { path: `${top}/v0`, cid_version: 0, hash: 'sha2-512' };
    await world.refused('ipfs_files_mkdir', wrong, 'INVALID_ARGUMENT');
    const old = await world.done('ipfs_files_mkdir', { path: `${top}/v0`, cid_version: 0 });
    expect(old['cid']).toMatch(/^Qm/);
  });

  test('a file is written whole, in part, and past its end', async () => {
    const world = get();
    const path = `${await place(world)}/f`;
    const values = { path, content: 'hello world' };
    const made = await changed(world, 'mfs_write', 'ipfs_files_write', values);
    expect(made).toMatchObject({ path, bytes_written: 11, size: 11, created: true });
    expect(made['version']).toBe(made['cid']);
    expect(await textOf(world, path)).toBe('hello world');
    const part = { path, content: 'W', offset: 6 };
    expect(await world.done('ipfs_files_write', part)).toMatchObject({ size: 11, created: false });
    expect(await textOf(world, path)).toBe('hello World');
    await world.done('ipfs_files_write', { path, content: 'short' });
    expect(await textOf(world, path)).toBe('short');
    await world.done('ipfs_files_write', { path, content: '!', offset: 8 });
    expect(await textOf(world, path)).toBe('short\0\0\0!');
    await world.done('ipfs_files_write', { path, content: 'cut', offset: 0, truncate: true });
    expect(await textOf(world, path)).toBe('cut');
    await world.done('ipfs_files_write', { path, content: '' });
    expect(await world.done('ipfs_files_stat', { path })).toMatchObject({ size: 0, type: 'file' });
    const base = { path, content: '/w==', encoding: 'base64' };
    await world.done('ipfs_files_write', base);
    const read = { path, encoding: 'utf-8' };
    await world.refused('ipfs_files_read', read, 'ENCODING_INVALID');
    await world.refused('ipfs_files_read', { path, offset: 2 }, 'RANGE_INVALID');
  });

  test('many chunks are read and written as the bytes they are', async () => {
    const world = get();
    const path = `${await place(world)}/big`;
    const bytes = noise(3 * 1024 * 1024 + 5, 7);
    await world.done('ipfs_files_write', { path, content: base64(bytes), encoding: 'base64' });
    const edits: readonly (readonly [number, number])[] = [
      [1_048_570, 20],
      [0, 1],
      [bytes.length - 1, 3],
      [3 * 1024 * 1024 + 8, 2_000_000],
      [5_145_736, 10],
      [2 * 1024 * 1024, 1024 * 1024],
    ];
    let expected = Buffer.from(bytes);
    for (const [index, [offset, length]] of edits.entries()) {
      const piece = noise(length, 100 + index);
      const whole = Buffer.alloc(Math.max(expected.length, offset + length));
      expected.copy(whole);
      whole.set(piece, offset);
      expected = whole;
      const values = { path, content: base64(piece), encoding: 'base64', offset };
      expect(await world.done('ipfs_files_write', values)).toMatchObject({ size: whole.length });
      expect((await bytesOf(world, path)).equals(whole), `edit ${index}`).toBe(true);
    }
  });

  test('what may not be written is refused, a dry run too, and nothing is changed', async () => {
    const world = get();
    const top = await place(world);
    const path = `${top}/f`;
    const { version } = await world.done('ipfs_files_write', { path, content: 'one' });
    const cases: readonly (readonly [Facts, string])[] = [
      [{ path: top, content: 'x' }, 'IS_A_DIRECTORY'],
      [{ path: `${top}/g`, content: 'x', create: false }, 'NOT_FOUND'],
      [{ path: `${top}/d/g`, content: 'x' }, 'NOT_FOUND'],
      [{ path: `${path}/g`, content: 'x' }, 'NOT_A_DIRECTORY'],
      [{ path, content: 'x', expected_version: 'other' }, 'VERSION_CONFLICT'],
      [{ path: `${top}/g`, content: 'x', expected_version: version }, 'VERSION_CONFLICT'],
      [{ path, content: 'x', offset: 2 ** 40 }, 'FILE_TOO_LARGE'],
      [{ path: '/ipfs/x', content: 'x' }, 'INVALID_PATH'],
      [{ path: `${top}/../x`, content: 'x' }, 'INVALID_PATH'],
    ];
    for (const [values, code] of cases) {
      await world.refused('ipfs_files_write', values, code);
      await world.refused('ipfs_files_write', { ...values, dry_run: true }, code);
    }
    const values = { path, content: 'two', expected_version: version };
    expect(await world.planned('ipfs_files_write', values)).toMatchObject({
      actions: [{ op: 'mfs_write', path, backend: 'mfs', bytes: 3 }],
      counts: { mfs_write: 1 },
    });
    expect(await textOf(world, path)).toBe('one');
    await world.done('ipfs_files_write', values);
    await world.refused('ipfs_files_write', values, 'VERSION_CONFLICT');
    expect(await textOf(world, path)).toBe('two');
  });

  test('a directory lists its entries by name, bytewise, page by page; a file itself', async () => {
    const world = get();
    const path = await place(world);
    for (const name of ['b', 'B', 'ä']) {
      await world.done('ipfs_files_write', { path: `${path}/${name}`, content: name });
    }
    await world.done('ipfs_files_mkdir', { path: `${path}/dir` });
    const first = await world.done('ipfs_files_ls', { path, limit: 3 });
    expect(first).toMatchObject({ path, truncated: true, total: 4 });
    const cursor = first['next_cursor'];
    const second = await world.done('ipfs_files_ls', { path, limit: 3, cursor });
    const entries = [...(first['entries'] as Facts[]), ...(second['entries'] as Facts[])];
    expect(entries.map(({ name, type, size }) => [name, type, size])).toEqual([
      ['B', 'file', 1],
      ['b', 'file', 1],
      ['dir', 'directory', 0],
      ['ä', 'file', 2],
    ]);
    const own = await world.done('ipfs_files_ls', { path: `${path}/b` });
    expect(own).toMatchObject({ entries: [{ name: 'b', type: 'file', size: 1 }] });
    await world.refused('ipfs_files_ls', { path: `${path}/none` }, 'NOT_FOUND');
  });

  test('content by CID is linked under a name, and its bytes are read there', async () => {
    const world = get();
    const top = await place(world);
    const { cid } = await world.done('ipfs_add', { content: 'content', filename: 'c' });
    const values = { source: `/ipfs/${cid}`, destination: `${top}/c` };
    const made = await changed(world, 'mfs_cp', 'ipfs_files_cp', values);
    const complete = kind === 'kubo' ? null : true;
    expect(made).toEqual({ ...values, cid, overwritten: false, complete });
    expect(await textOf(world, `${top}/c`)).toBe('content');
    await world.refused('ipfs_files_cp', values, 'ALREADY_EXISTS');
    const over = { ...values, overwrite: true };
    expect(await world.done('ipfs_files_cp', over)).toMatchObject({ overwritten: true });
    const copy = { source: top, destination: `/copies${top}/d`, parents: true };
    await world.done('ipfs_files_cp', copy);
    expect(await textOf(world, `/copies${top}/d/c`)).toBe('content');
    const refused: readonly (readonly [Facts, string])[] = [
      [{ source: top, destination: `${top}/in` }, 'INVALID_ARGUMENT'],
      [{ source: `${top}/none`, destination: `${top}/x` }, 'NOT_FOUND'],
      [{ source: `${top}/c`, destination: `${top}/no/x` }, 'NOT_FOUND'],
      [{ source: `${top}/c`, destination: '/copies', overwrite: true }, 'IS_A_DIRECTORY'],
      [{ source: '/ipfs/nonsense', destination: `${top}/x` }, 'INVALID_CID'],
    ];
    for (const [call, code] of refused) {
      await world.refused('ipfs_files_cp', call, code);
      await world.refused('ipfs_files_cp', { ...call, dry_run: true }, code);
    }
    const { cid: dag } = await world.done('ipfs_dag_put', { value: { no: 'file' } });
    const other = { source: `/ipfs/${dag}`, destination: `${top}/x` };
    await world.refused('ipfs_files_cp', other, 'NOT_SUPPORTED');
  });

  test('a name is moved, and nothing is lost by a move that cannot be', async () => {
    const world = get();
    const top = await place(world);
    await world.done('ipfs_files_write', { path: `${top}/d/f`, content: 'kept', parents: true });
    await world.done('ipfs_files_write', { path: `${top}/g`, content: 'other' });
    const moves: readonly (readonly [Facts, string])[] = [
      [{ source: `${top}/d`, destination: `${top}/d` }, 'INVALID_ARGUMENT'],
      [{ source: `${top}/d`, destination: `${top}/d/e` }, 'INVALID_ARGUMENT'],
      [{ source: '/', destination: `${top}/r` }, 'INVALID_ARGUMENT'],
      [{ source: `${top}/none`, destination: `${top}/x` }, 'NOT_FOUND'],
      [{ source: `${top}/g`, destination: `${top}/d` }, 'ALREADY_EXISTS'],
      [{ source: `${top}/g`, destination: `${top}/d`, overwrite: true }, 'IS_A_DIRECTORY'],
      [{ source: `${top}/d`, destination: `${top}/g`, overwrite: true }, 'NOT_A_DIRECTORY'],
      [{ source: `${top}/g`, destination: `${top}/no/g` }, 'NOT_FOUND'],
    ];
    for (const [values, code] of moves) {
      await world.refused('ipfs_files_mv', values, code);
      await world.refused('ipfs_files_mv', { ...values, dry_run: true }, code);
    }
    expect(await textOf(world, `${top}/d/f`)).toBe('kept');
    expect(await textOf(world, `${top}/g`)).toBe('other');
    const values = { source: `${top}/d`, destination: `${top}/n/d`, parents: true };
    expect(await world.planned('ipfs_files_mv', values)).toMatchObject({ counts: { mfs_mv: 1 } });
    const made = await changed(world, 'mfs_mv', 'ipfs_files_mv', values);
    expect(made).toMatchObject({ destination: `${top}/n/d`, overwritten: false });
    expect(await textOf(world, `${top}/n/d/f`)).toBe('kept');
    await world.refused('ipfs_files_stat', { path: `${top}/d` }, 'NOT_FOUND');
    const over = { source: `${top}/g`, destination: `${top}/n/d/f`, overwrite: true };
    expect(await world.done('ipfs_files_mv', over)).toMatchObject({ overwritten: true });
    expect(await textOf(world, `${top}/n/d/f`)).toBe('other');
  });

  test('what is removed is counted, and more than a thousand entries are asked about', async () => {
    const world = get();
    const top = await place(world);
    const path = `${top}/d`;
    await world.done('ipfs_files_write', { path: `${path}/e/f`, content: 'x', parents: true });
    await world.refused('ipfs_files_rm', { path: '/', recursive: true }, 'INVALID_ARGUMENT');
    await world.refused('ipfs_files_rm', { path }, 'IS_A_DIRECTORY');
    await world.refused('ipfs_files_rm', { path: `${top}/none` }, 'NOT_FOUND');
    expect(await world.done('ipfs_files_rm', { path: `${top}/none`, missing_ok: true })).toEqual({
      path: `${top}/none`,
      removed: false,
      entries: 0,
    });
    const values = { path, recursive: true };
    const counted = { ...values, expected_count: 7 };
    const context = await world.refused('ipfs_files_rm', counted, 'CONFIRMATION_REQUIRED');
    expect(context).toMatchObject({ partial: { count: 3 } });
    expect(await world.planned('ipfs_files_rm', values)).toMatchObject({ counts: { mfs_rm: 1 } });
    const { cid } = await world.done('ipfs_files_stat', { path });
    const gone = await changed(world, 'mfs_rm', 'ipfs_files_rm', values);
    expect(gone).toEqual({ path, removed: true, entries: 3, cid });
    await world.refused('ipfs_files_stat', { path }, 'NOT_FOUND');
    // Still readable.
    expect(await world.done('ipfs_ls', { ipfs_path: cid })).toMatchObject({ type: 'directory' });
  });

  test('a directory takes the hash it is told, and what is below it keeps its own', async () => {
    const world = get();
    const top = await place(world);
    const path = `${top}/d`;
    await world.done('ipfs_files_mkdir', { path });
    await world.done('ipfs_files_write', { path: `${path}/old`, content: 'old' });
    const old = await world.done('ipfs_files_stat', { path: `${path}/old` });
    const before = await world.done('ipfs_files_stat', { path });
    const values = { path, hash: 'blake2b-256' };
    const made = await changed(world, 'mfs_chcid', 'ipfs_files_chcid', values);
    expect(made).toMatchObject({ path, previous_cid: before['cid'], changed: true });
    expect(made['cid']).toMatch(/^bafyk/);
    expect(await world.done('ipfs_files_stat', { path: `${path}/old` })).toEqual(old);
    await world.done('ipfs_files_write', { path: `${path}/new`, content: 'new' });
    expect(await textOf(world, `${path}/new`)).toBe('new');
    const after = await world.done('ipfs_files_stat', { path });
    expect(after['cid']).toMatch(/^bafyk/);
    await world.refused('ipfs_files_chcid', { path: '/' }, 'INVALID_ARGUMENT');
    await world.refused('ipfs_files_chcid', { path: `${path}/old` }, 'NOT_A_DIRECTORY');
    await world.refused('ipfs_files_chcid', { path: `${top}/none` }, 'NOT_FOUND');
    const wrong = { path, cid_version: 0, hash: 'sha2-256' };
    await world.refused('ipfs_files_chcid', wrong, 'INVALID_ARGUMENT');
  });

  test('what was written without flush is read all the same, and flushed when asked', async () => {
    const world = get();
    const path = `${await place(world)}/f`;
    await world.done('ipfs_files_write', { path, content: 'late', flush: false });
    expect(await textOf(world, path)).toBe('late');
    const { cid } = await world.done('ipfs_files_stat', { path, with_local: true });
    expect(await world.done('ipfs_files_flush', { path })).toEqual({ path, cid });
    await world.refused('ipfs_files_flush', { path: `${path}none` }, 'NOT_FOUND');
    const root = await world.done('ipfs_files_flush', {});
    expect(await world.done('ipfs_files_stat', { path: '/' })).toMatchObject({ cid: root['cid'] });
  });
}
