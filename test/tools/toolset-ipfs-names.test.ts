/** The laws of ipfs_name_publish and ipfs_name_resolve on the embedded engine. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Facts, Fixture } from './fixture.ts';

let world: Fixture;
let path: string;
beforeEach(async () => {
  world = new Fixture();
  const { cid } = await world.done('ipfs_add', {
    content: 'hello world',
    filename: 'f',
    wrap_with_directory: true,
  });
  path = `/ipfs/${cid}`;
});
afterEach(() => world.close());

const publish = (values: Facts) =>
  world.done('ipfs_name_publish', { allow_offline: true, ...values });

describe('a name', () => {
  test('that was published leads to its content, in every tool that takes a path', async () => {
    const { data, context } = await world.ask('ipfs_name_publish', {
      ipfs_path: path,
      allow_offline: true,
      lifetime_s: 3600,
      ttl_s: 60,
    });
    expect(data).toMatchObject({
      ipns_name: expect.stringMatching(/^k51/),
      ipfs_path: path,
      key: 'self',
      sequence: 1,
      ttl_s: 60,
      published: 'local',
    });
    expect(context).toMatchObject({ node: 'embedded', seq: world.journal.head.seq });
    const { keys } = await world.done('ipfs_id', {});
    expect(keys).toEqual([{ name: 'self', id: data?.['ipns_name'] }]);
    expect(await world.done('ipfs_name_resolve', {})).toMatchObject({
      ipns_name: 'self',
      ipfs_path: path,
      cid: path.slice('/ipfs/'.length),
      sequence: 1,
      from: 'local',
    });
    const read = await world.ask('ipfs_cat', { ipfs_path: `/ipns/${data?.['ipns_name']}/f` });
    expect(read.data).toMatchObject({ size: 11 });
  });

  test('goes on counting, and each publication is one record', async () => {
    await publish({ ipfs_path: path });
    const { seq } = world.journal.head;
    expect(await publish({ ipfs_path: `${path}/f` })).toMatchObject({ sequence: 2 });
    const rows = world.journal.ops.page(seq, 9);
    expect(rows.map(({ kind, state }) => [kind, state])).toEqual([['name_publish', 'done']]);
    const found = await world.done('ipfs_name_resolve', {});
    expect(found).toMatchObject({ ipfs_path: `${path}/f` });
    expect(found).not.toHaveProperty('cid');
  });

  test('may be of a key that is made for it, and lead to another name', async () => {
    await world.refused('ipfs_name_publish', { ipfs_path: path, key: 'site' }, 'IPFS_NODE_OFFLINE');
    const values = { ipfs_path: path, key: 'site', allow_offline: true };
    const context = await world.refused('ipfs_name_publish', values, 'NOT_FOUND');
    expect(context).toMatchObject({ kind: 'key' });
    const made = await publish({ ipfs_path: path, key: 'site', create_key: true });
    const again = await publish({ ipfs_path: path, key: 'site', create_key: true });
    expect(again).toMatchObject({ ipns_name: made['ipns_name'], sequence: 2 });
    const link = `/ipns/${made['ipns_name']}`;
    await publish({ ipfs_path: link });
    const resolve = (recursive: boolean) => world.done('ipfs_name_resolve', { recursive });
    expect(await resolve(false)).toMatchObject({ ipfs_path: link });
    expect(await resolve(true)).toMatchObject({ ipfs_path: path });
    await publish({ ipfs_path: '/ipns/self', key: 'site', resolve: false });
    await world.refused('ipfs_name_resolve', {}, 'NAME_NOT_RESOLVED');
  });

  test('that nobody published, that ran out, or that is damaged leads nowhere', async () => {
    await world.refused('ipfs_name_resolve', {}, 'NAME_NOT_RESOLVED');
    await world.refused('ipfs_cat', { ipfs_path: '/ipns/self' }, 'NAME_NOT_RESOLVED');
    await publish({ ipfs_path: path });
    world.journal.connection.exec(
      `UPDATE meta SET value = replace(value, 'A', 'B') WHERE key LIKE 'ipns:%'`,
    );
    await world.refused('ipfs_name_resolve', {}, 'NAME_NOT_RESOLVED');
  });

  test('of somebody else needs a network', async () => {
    for (const ipns_name of [
      'example.org',
      'k51qzi5uqu5dgutdk6i1ynyzgkqngpha5xpgia3a5qqp4jsh0u4csozksxel2r',
    ]) {
      await world.refused('ipfs_name_resolve', { ipns_name }, 'IPFS_NODE_OFFLINE');
    }
    await world.refused('ipfs_name_resolve', { node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
  });
});

test('what cannot be published is refused, and a dry run says so too', async () => {
  const absent = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
  const cases: readonly (readonly [Facts, string])[] = [
    [{ ipfs_path: path }, 'IPFS_NODE_OFFLINE'],
    [{ ipfs_path: path, allow_offline: true, ttl_s: 9, lifetime_s: 8 }, 'INVALID_ARGUMENT'],
    [{ ipfs_path: absent, allow_offline: true }, 'CONTENT_NOT_AVAILABLE'],
    [{ ipfs_path: path, allow_offline: true, key: 'none' }, 'NOT_FOUND'],
    [{ ipfs_path: path, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED'],
  ];
  for (const [values, code] of cases) {
    await world.refused('ipfs_name_publish', values, code);
    await world.refused('ipfs_name_publish', { ...values, dry_run: true }, code);
  }
  const values = { ipfs_path: path, allow_offline: true, key: 'new', create_key: true };
  const plan = await world.planned('ipfs_name_publish', values);
  expect(plan).toMatchObject({ counts: { name_publish: 1 } });
  const { keys } = await world.done('ipfs_id', {});
  expect(keys).toHaveLength(1);
  expect(await publish({ ipfs_path: absent, resolve: false })).toMatchObject({ sequence: 1 });
});
