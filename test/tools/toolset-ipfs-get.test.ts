/** The laws of ipfs_get on the embedded engine. */
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { CID as OurCid } from '../../src/content/content.ts';
import { noise } from '../content/fixture.ts';
import { type Facts, Fixture } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const ABSENT = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';

async function tree(): Promise<string> {
  await world.write('/ipfs/d/a', 'hello world', { mode: '0600' });
  await world.write('/ipfs/d/sub/b', 'b');
  world.symlink('/ipfs/d/l', '../../outside');
  const { cid } = await world.done('ipfs_add', {
    path: '/ipfs/d',
    recursive: true,
    unixfs_metadata: true,
  });
  return String(cid);
}

const directoryOf = async (names: Readonly<Record<string, string>>): Promise<OurCid> => {
  const Data = new UnixFS({ type: 'directory' }).marshal();
  const Links = Object.entries(names).map(([Name, cid]) => ({
    Name,
    Hash: CID.parse(cid),
    Tsize: 1,
  }));
  const bytes = encode(prepare({ Data, Links }));
  const cid = CID.createV1(0x70, await sha256.digest(bytes)) as OurCid;
  world.blocks.put(cid, bytes);
  return cid;
};

describe('without a place in the tree', () => {
  test('a file is read from its beginning, as ipfs_cat does', async () => {
    const { cid } = await world.done('ipfs_add', { content: 'hello world' });
    const [got, read] = await Promise.all([
      world.done('ipfs_get', { ipfs_path: cid, length: 5 }),
      world.done('ipfs_cat', { ipfs_path: cid, length: 5 }),
    ]);
    expect(got).toEqual(read);
  });

  test('a directory is refused, and so is what is not here', async () => {
    const cid = await tree();
    await world.refused('ipfs_get', { ipfs_path: cid }, 'IS_A_DIRECTORY');
    await world.refused('ipfs_get', { ipfs_path: ABSENT }, 'CONTENT_NOT_AVAILABLE');
    await world.refused('ipfs_get', { ipfs_path: cid, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
  });
});

describe('with a place in the tree', () => {
  test('a directory is written with its links, modes and times, in one group', async () => {
    const cid = await tree();
    const { mtime } = await world.done('vfs_stat', { path: '/ipfs/d/a' });
    const { seq } = world.journal.head;
    const values = { ipfs_path: cid, output_path: '/ipfs/new/copy', parents: true };
    const { data, context } = await world.ask('ipfs_get', values);
    expect(data).toEqual({
      cid,
      output_path: '/ipfs/new/copy',
      local_path: '/mnt/kitfs/ipfs/new/copy',
      files: 2,
      directories: 2,
      symlinks: 1,
      bytes: 12,
      seq: world.journal.head.seq,
    });
    expect(context).toMatchObject({ seq: world.journal.head.seq, node: 'embedded' });
    expect(await world.text('/ipfs/new/copy/sub/b')).toBe('b');
    const stat = await world.done('vfs_stat', { path: '/ipfs/new/copy/a' });
    expect(stat).toMatchObject({ mode: '0600', mtime, size: 11 });
    const link = await world.done('vfs_stat', { path: '/ipfs/new/copy/l', follow: false });
    expect(link).toMatchObject({ type: 'symlink', target: '../../outside' });
    const rows = world.journal.ops.page(seq, 99);
    expect(rows.at(-1)).toMatchObject({ kind: 'fetch' });
    expect(new Set(rows.map(({ call_group }) => call_group)).size).toBe(1);
    expect(world.journal.ops.groupEnds(seq, 9)).toHaveLength(1);
  });

  test('bytes of any size are those of the content', async () => {
    for (const size of [0, 1, 70_000, 3 * 1024 * 1024 + 1]) {
      const bytes = noise(size);
      const { cid } = await world.done('ipfs_add', {
        content: bytes.toString('base64'),
        encoding: 'base64',
      });
      await world.done('ipfs_get', { ipfs_path: cid, output_path: `/ipfs/f${size}` });
      expect((await world.bytes(`/ipfs/f${size}`)).equals(bytes)).toBe(true);
    }
  });

  test('what is there is replaced only when it may be, and by its like', async () => {
    const { cid } = await world.done('ipfs_add', { content: 'new' });
    await world.write('/ipfs/f', 'old');
    const values = { ipfs_path: cid, output_path: '/ipfs/f' };
    await world.refused('ipfs_get', values, 'ALREADY_EXISTS');
    await world.refused('ipfs_get', { ...values, dry_run: true }, 'ALREADY_EXISTS');
    const plan = await world.planned('ipfs_get', { ...values, overwrite: true });
    expect(plan).toMatchObject({ counts: { fetch: 1 } });
    expect(await world.text('/ipfs/f')).toBe('old');
    await world.done('ipfs_get', { ...values, overwrite: true });
    expect(await world.text('/ipfs/f')).toBe('new');
    await world.done('vfs_mkdir', { path: '/ipfs/dir' });
    const over = { ipfs_path: cid, output_path: '/ipfs/dir', overwrite: true };
    await world.refused('ipfs_get', over, 'IS_A_DIRECTORY');
  });

  test('what lacks a block changes nothing, and names it', async () => {
    const { cid: leaf } = await world.done('ipfs_add', { content: 'here' });
    const root = await directoryOf({ here: String(leaf), gone: ABSENT });
    const values = { ipfs_path: root.toString(), output_path: '/ipfs/out' };
    const context = await world.refused('ipfs_get', values, 'CONTENT_NOT_AVAILABLE');
    expect(context).toMatchObject({ partial: { missing: [ABSENT] } });
    await world.refused('ipfs_get', { ...values, dry_run: true }, 'CONTENT_NOT_AVAILABLE');
  });

  test.each(['..', '.', 'a/b', ''])(
    'a link with the name %j never leads out of its place',
    async (name) => {
      const { cid: leaf } = await world.done('ipfs_add', { content: 'evil' });
      const root = await directoryOf({ fine: String(leaf), [name]: String(leaf) });
      const values = { ipfs_path: root.toString(), output_path: '/ipfs/out' };
      await world.refused('ipfs_get', values, 'INTEGRITY_MISMATCH');
    },
  );

  test('places that cannot be written are refused, whoever asks', async () => {
    const { cid } = await world.done('ipfs_add', { content: 'x' });
    const refused = (values: Facts, code: string, uid = 0) =>
      world.refused('ipfs_get', { ipfs_path: cid, ...values }, code, { uid, gid: uid });
    await refused({ output_path: `/ipfs/${cid}` }, 'READ_ONLY');
    await refused({ output_path: '/ipfs/none/f' }, 'NOT_FOUND');
    await refused({ output_path: '/ipfs/../f' }, 'INVALID_PATH');
    await refused({ output_path: '/ipfs/f', length: 1 }, 'INVALID_ARGUMENT');
    await world.write('/ipfs/own/f', 'x', { mode: '0600' });
    await refused({ output_path: '/ipfs/own/g' }, 'PERMISSION_DENIED', 1000);
    const odd = CID.createV1(0x71, CID.parse(String(cid)).multihash).toString();
    await refused({ ipfs_path: odd, output_path: '/ipfs/odd' }, 'CONTENT_NOT_AVAILABLE');
  });

  test('a call that is sent again under its key is answered as before, and does nothing', async () => {
    const { cid } = await world.done('ipfs_add', { content: 'x' });
    const values = { ipfs_path: cid, output_path: '/ipfs/once' };
    const first = await world.call('ipfs_get', values, {}, 'key');
    const { seq } = world.journal.head;
    const second = await world.call('ipfs_get', values, {}, 'key');
    expect(second.content).toEqual(first.content);
    expect(world.journal.head.seq).toBe(seq);
  });
});
