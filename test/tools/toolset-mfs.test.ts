/** The laws of the mutable tree on the embedded engine: those of every engine, and its own. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { Scope } from '../../src/tools/ceiling.ts';
import { noise } from '../content/fixture.ts';
import { type Facts, Fixture } from './fixture.ts';
import { bytesOf, lawsOfMfs } from './mfs-laws.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

lawsOfMfs({ kind: 'embedded', world: () => world });

const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');

test('nothing is in it before anything is written, and Kubo is asked only by name', async () => {
  expect(await world.done('ipfs_files_ls', {})).toMatchObject({ entries: [], total: 0 });
  const { cid } = await world.done('ipfs_files_stat', { path: '/' });
  // What Kubo has for an empty directory.
  expect(cid).toBe('bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354');
  await world.refused('ipfs_files_ls', { node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
});

describe('a file', () => {
  test('has the CID that ipfs_add gives its bytes, however it was written', async () => {
    const bytes = noise(3 * 1024 * 1024 + 9, 1);
    const values = { content: base64(bytes), encoding: 'base64' };
    const { cid } = await world.done('ipfs_add', { ...values, dry_run: false });
    const whole = await world.done('ipfs_files_write', { ...values, path: '/whole' });
    expect(whole['cid']).toBe(cid);
    for (let offset = 0; offset < bytes.length; offset += 700_001) {
      const content = base64(bytes.subarray(offset, offset + 700_001));
      await world.done('ipfs_files_write', { path: '/parts', content, encoding: 'base64', offset });
    }
    expect(await world.done('ipfs_files_stat', { path: '/parts' })).toMatchObject({ cid });
    const old = await world.done('ipfs_files_stat', { path: '/parts' });
    const edit = { path: '/parts', content: base64(bytes.subarray(5, 9)), encoding: 'base64' };
    await world.done('ipfs_files_write', { ...edit, offset: 5 });
    expect(await world.done('ipfs_files_stat', { path: '/parts' })).toEqual(old);
  });

  test('that others cut keeps the leaves that are not touched', async () => {
    const bytes = noise(2 * 1024 * 1024, 2);
    const add = { content: base64(bytes), encoding: 'base64', cid_profile: 'unixfs-v0-2015' };
    const { cid } = await world.done('ipfs_add', add);
    await world.done('ipfs_files_cp', { source: `/ipfs/${cid}`, destination: '/f' });
    const links = async (of: unknown) => {
      const { refs } = await world.done('ipfs_refs', { ipfs_path: of });
      return (refs as Facts[]).map((ref) => ref['cid']);
    };
    const before = await links(cid);
    const made = await world.done('ipfs_files_write', {
      path: '/f',
      content: 'x',
      offset: 600_000,
    });
    const after = await links(made['cid']);
    expect(after.filter((leaf) => before.includes(leaf)).length).toBeGreaterThanOrEqual(6);
    bytes.set(Buffer.from('x'), 600_000);
    expect((await bytesOf(world, '/f')).equals(Buffer.from(bytes))).toBe(true);
  });

  test('keeps its mode, and is newer than it was', async () => {
    await world.write('/ipfs/f', 'text', { mode: '0640' });
    const add = { path: '/ipfs/f', unixfs_metadata: true };
    const { cid } = await world.done('ipfs_add', add);
    await world.done('ipfs_files_cp', { source: `/ipfs/${cid}`, destination: '/f' });
    const before = await world.done('ipfs_files_stat', { path: '/f' });
    expect(before).toMatchObject({ mode: '0640', mtime: expect.any(String) });
    await world.done('ipfs_files_write', { path: '/f', content: 'other' });
    const after = await world.done('ipfs_files_stat', { path: '/f' });
    expect(after).toMatchObject({ mode: '0640', size: 5 });
    expect(String(after['mtime']) > String(before['mtime'])).toBe(true);
    expect((await bytesOf(world, '/f')).toString()).toBe('other');
  });

  test('may have a hole of many leaves, which is one block', async () => {
    const offset = 300 * 1024 * 1024;
    await world.done('ipfs_files_write', { path: '/f', content: 'end', offset });
    const before = world.journal.contents.blockTotals();
    expect(before.bytes).toBeLessThan(3 * 1024 * 1024);
    const values = { path: '/f', offset: offset - 2, length: 5, encoding: 'utf-8' };
    expect((await world.ask('ipfs_files_read', values)).data).toMatchObject({ length: 5 });
  });
});

test('a directory of very many entries is sharded as the same tree is that is published', async () => {
  const names = Array.from({ length: 1300 }, (_, index) => `${index}`.padStart(200, 'n'));
  for (const name of names) await world.write(`/ipfs/d/${name}`, '');
  const { cid } = await world.done('ipfs_add', { path: '/ipfs/d', recursive: true });
  const last = names.at(-1);
  await world.done('ipfs_files_cp', { source: `/ipfs/${cid}`, destination: '/d' });
  await world.done('ipfs_files_rm', { path: `/d/${last}` });
  await world.done('vfs_rm', { path: `/ipfs/d/${last}` });
  const less = await world.done('ipfs_add', { path: '/ipfs/d', recursive: true });
  const stat = await world.done('ipfs_files_stat', { path: '/d' });
  expect(stat['cid']).toBe(less['cid']);
  await world.done('ipfs_files_write', { path: `/d/${last}`, content: '' });
  expect(await world.done('ipfs_files_stat', { path: '/d' })).toMatchObject({ cid });
});

test('content of which a part is missing is linked, and said to be incomplete', async () => {
  const absent = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
  const from = { source: `/ipfs/${absent}`, destination: '/f' };
  await world.refused('ipfs_files_cp', { ...from, timeout_ms: 5000 }, 'CONTENT_NOT_AVAILABLE');
  const node = { Data: { '/': { bytes: 'CAE' } }, Links: [] as Facts[] };
  node.Links.push({ Hash: { '/': absent }, Name: 'gone', Tsize: 5 });
  const values = { value: node, store_codec: 'dag-pb', input_codec: 'dag-json' };
  const { cid } = await world.done('ipfs_dag_put', values);
  const made = await world.done('ipfs_files_cp', { source: `/ipfs/${cid}`, destination: '/d' });
  expect(made).toMatchObject({ complete: false });
  const local = await world.done('ipfs_files_stat', { path: '/d', with_local: true });
  expect(local).toMatchObject({ local: { complete: false } });
  await world.refused('ipfs_files_stat', { path: '/d/gone/x' }, 'NOT_A_DIRECTORY');
});

test('changes made at once are all made, one after the other', async () => {
  const names = Array.from({ length: 20 }, (_, index) => `f${index}`);
  await Promise.all(
    names.map((name) => world.done('ipfs_files_write', { path: `/${name}`, content: name })),
  );
  expect(await world.done('ipfs_files_ls', {})).toMatchObject({ total: 20 });
});

test('a change and its answer are one: sent again, it is not made again', async () => {
  const values = { path: '/f', content: 'a', offset: 0 };
  const first = await world.call('ipfs_files_write', values, {}, 'key-1');
  await world.done('ipfs_files_write', { path: '/f', content: 'b' });
  const again = await world.call('ipfs_files_write', values, {}, 'key-1');
  expect(again.structuredContent?.status).toBe('success');
  expect(again.structuredContent).toMatchObject({
    data: (first.structuredContent as unknown as { data: Facts }).data,
  });
  expect((await bytesOf(world, '/f')).toString()).toBe('b');
});

test('a change whose record cannot be written is not made', async () => {
  await world.done('ipfs_files_write', { path: '/f', content: 'kept' });
  world.journal.connection.exec(
    `CREATE TRIGGER no_mfs BEFORE INSERT ON op BEGIN SELECT RAISE(ABORT, 'no'); END`,
  );
  const answer = await world.ask('ipfs_files_write', { path: '/f', content: 'lost' });
  expect(answer.status).toBe('error');
  world.journal.connection.exec('DROP TRIGGER no_mfs');
  expect((await bytesOf(world, '/f')).toString()).toBe('kept');
  await world.done('ipfs_files_write', { path: '/f', content: 'made' });
  expect((await bytesOf(world, '/f')).toString()).toBe('made');
});

test('who is kept to places is kept to those of MFS too, which lies at /mfs', async () => {
  await world.done('ipfs_files_write', { path: '/own/f', content: 'x', parents: true });
  const scope = new Scope(['/mfs/own', '/ipfs']);
  world.ceiling = { ...world.ceiling, scope };
  const { entries, path } = await world.done('ipfs_files_ls', { path: '/own' });
  expect([path, entries]).toMatchObject(['/own', [{ name: 'f' }]]);
  await world.refused('ipfs_files_ls', { path: '/' }, 'POLICY_DENIED');
  await world.refused('ipfs_files_rm', { path: '/ownother' }, 'POLICY_DENIED');
  const out = { source: '/own/f', destination: '/out' };
  await world.refused('ipfs_files_cp', out, 'POLICY_DENIED');
  const { cid } = await world.done('ipfs_add', { content: 'content' });
  const into = { source: `/ipfs/${cid}`, destination: '/own/c' };
  expect(await world.done('ipfs_files_cp', into)).toMatchObject(into);
});

test('what is published is for root and the owner alone, and so is the CID of all', async () => {
  const secret = '/kitfs/ipfs/secret';
  await world.done('ipfs_files_write', { path: secret, content: 'private', parents: true });
  await world.done('ipfs_files_write', { path: '/open', content: 'for all' });
  const other = { uid: 1000, gid: 1000 };
  const refused: readonly (readonly [string, Facts])[] = [
    ...['/', '/kitfs', secret].flatMap((path) => [
      ['ipfs_files_stat', { path }] as const,
      ['ipfs_files_flush', { path }] as const,
    ]),
    ['ipfs_files_ls', { path: '/kitfs' }],
    ['ipfs_files_read', { path: secret }],
    ['ipfs_files_cp', { source: secret, destination: '/copy' }],
    ['ipfs_files_mv', { source: '/kitfs', destination: '/copy' }],
    ['ipfs_files_mkdir', { path: '/', parents: true }],
    ['ipfs_files_write', { path: secret, content: 'other' }],
    ['ipfs_files_chcid', { path: '/kitfs' }],
    ['ipfs_files_rm', { path: '/kitfs', recursive: true }],
  ];
  for (const [tool, values] of refused) {
    await world.refused(tool, values, 'PERMISSION_DENIED', other);
  }
  const names = async (peer: Facts) => {
    const { entries } = await world.done('ipfs_files_ls', { path: '/' }, peer);
    return (entries as Facts[]).map(({ name }) => name);
  };
  expect(await names(other)).toEqual(['open']);
  expect(await names({})).toEqual(['kitfs', 'open']);
  expect(await world.done('ipfs_files_stat', { path: '/open' }, other)).toMatchObject({ size: 7 });
});

test('pins of what is published are listed for root and the owner alone', async () => {
  const other = { uid: 1000, gid: 1000 };
  const named = async (content: string, name: string) =>
    (await world.done('ipfs_add', { content, pin: true, pin_name: name }))['cid'];
  const hidden = [await named('a', 'kitfs content x'), await named('b', 'sync /ipfs')];
  const open = await named('c', 'own');
  const cids = async (peer: Facts) => {
    const { pins } = await world.done('ipfs_pin_ls', {}, peer);
    return (pins as Facts[]).map(({ cid }) => cid).sort();
  };
  expect(await cids({})).toEqual([...hidden, open].sort());
  expect(await cids(other)).toEqual([open]);
  const { pins } = await world.done('ipfs_pin_ls', { ipfs_path: hidden[0] }, other);
  expect(pins).toEqual([expect.not.objectContaining({ pin_name: expect.anything() })]);
  for (const type of ['indirect', 'all']) {
    await world.refused('ipfs_pin_ls', { pin_type: type }, 'PERMISSION_DENIED', other);
  }
});
