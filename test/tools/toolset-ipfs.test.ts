/** The laws of ipfs_add, ipfs_cat, ipfs_ls and the pins on the embedded engine. */
import { encode, prepare } from '@ipld/dag-pb';
import { UnixFS } from 'ipfs-unixfs';
import { CID as MultiformatsCid } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { S_IFIFO, S_IFREG } from '../../src/base/posix.ts';
import { type CID, parseCid } from '../../src/content/content.ts';
import { noise } from '../content/fixture.ts';
import { VECTORS } from '../content/vectors.ts';
import { type Facts, Fixture, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const HELLO = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';
const ABSENT = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
const EMPTY_DIRECTORY = 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354';

const add = (values: Facts): Promise<Facts> => world.done('ipfs_add', values);
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');

async function put(code: number, bytes: Uint8Array): Promise<CID> {
  const cid = MultiformatsCid.createV1(code, await sha256.digest(bytes)) as CID;
  world.blocks.put(cid, bytes);
  return cid;
}

/** The whole of a file by CID, in slices. */
async function cat(path: unknown, length = 1024 * 1024): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for (let offset = 0; ; ) {
    const { content } = await world.call('ipfs_cat', {
      ipfs_path: path,
      offset,
      length,
      encoding: 'base64',
    });
    const [head, block] = content;
    const { kitfs } = JSON.parse(head?.type === 'text' ? head.text : '{}');
    if (block?.type === 'resource') pieces.push(Buffer.from(block.resource.blob, 'base64'));
    if (kitfs.eof === true) return Buffer.concat(pieces);
    offset = kitfs.next_offset;
  }
}

describe('ipfs_add', () => {
  test.each(VECTORS)('gives bytes the CID that Kubo gives them ($profile)', async (vector) => {
    const data = await add({ content: 'hello world', cid_profile: vector.profile });
    expect(data).toMatchObject({ cid: vector.small, size: 11, blocks: 1, pinned: true });
  });

  test('what was added is read back by ipfs_cat, by the tree, and in slices', async () => {
    const bytes = noise(3 * 1024 * 1024 + 11);
    const { cid, blocks } = await add({ content: base64(bytes), encoding: 'base64' });
    expect(blocks).toBe(5);
    expect((await cat(cid)).equals(bytes)).toBe(true);
    expect((await world.bytes(`/ipfs/${cid}`)).equals(bytes)).toBe(true);
  });

  test.each([[''], ['\0'], ['\xff\xfe']])('bytes %j survive', async (text) => {
    const bytes = Buffer.from(text, 'latin1');
    const { cid, size } = await add({ content: base64(bytes), encoding: 'base64' });
    expect(size).toBe(bytes.length);
    expect((await cat(cid)).equals(bytes)).toBe(true);
  });

  test('a dry run computes the same CID, and stores nothing', async () => {
    await world.write('/ipfs/d/a', 'hello world');
    const inline = await world.planned('ipfs_add', { content: 'hello world' });
    const file = await world.planned('ipfs_add', { path: '/ipfs/d/a' });
    const tree = await world.planned('ipfs_add', { path: '/ipfs/d', recursive: true });
    const actions = (plan: Facts) => plan['actions'] as Facts[];
    expect(actions(inline)[0]).toEqual({ op: 'add', identifier: HELLO, bytes: 11 });
    expect(actions(file)[0]).toMatchObject({ path: '/ipfs/d/a', identifier: HELLO });
    const { cid } = await add({ path: '/ipfs/d', recursive: true });
    expect(actions(tree)[0]).toMatchObject({ identifier: cid });
  });

  test('a file of the tree and the same bytes inline are one CID', async () => {
    await world.write('/ipfs/a.txt', 'hello world');
    expect(await add({ path: '/ipfs/a.txt' })).toMatchObject({ cid: HELLO, filename: 'a.txt' });
  });

  test('a directory keeps its links, and tells what is left out', async () => {
    await world.write('/ipfs/d/b/c', 'c');
    await world.write('/ipfs/d/a', 'hello world');
    const directory = world.ino('/ipfs/d');
    world.vfs.symlink(ROOT, directory, 'l' as never, 'a' as never);
    world.vfs.mknod(ROOT, directory, 'p' as never, S_IFIFO | 0o600, 0);
    const { data, context } = await world.ask('ipfs_add', { path: '/ipfs/d', recursive: true });
    expect(context['warnings']).toEqual(['left out p: it is a fifo']);
    expect(data).toMatchObject({
      size: 12,
      entries: [
        { path: 'a', cid: HELLO, size: 11, type: 'file' },
        { path: 'b', type: 'directory' },
        { path: 'b/c', size: 1, type: 'file' },
        { path: 'l', type: 'symlink' },
      ],
    });
    expect((await cat(`${data?.['cid']}/b/c`)).toString()).toBe('c');
  });

  test('a directory of many shows the first, and tells how much it left out', async () => {
    for (let at = 0; at < 51; at += 1) await world.write(`/ipfs/d/f${at}`, 'x');
    const directory = world.ino('/ipfs/d');
    for (let at = 0; at < 21; at += 1) {
      world.vfs.mknod(ROOT, directory, nameOfText(`p${at}`), S_IFIFO | 0o600, 0);
    }
    world.vfs.mknod(ROOT, directory, '\x80' as Name, S_IFREG | 0o600, 0);
    await world.done('vfs_mount', { backend: 'memory', mount_point: '/ipfs/d/m' });
    const values = { path: '/ipfs/d', recursive: true };
    const { data, context } = await world.ask('ipfs_add', values);
    expect(data?.['entries']).toHaveLength(50);
    const warnings = context['warnings'] as string[];
    expect(warnings).toHaveLength(22);
    expect(warnings.slice(20)).toEqual(['left out 2 more', 'left out what is mounted inside']);
  });

  test('a name that is no text is left out, and told so', async () => {
    await world.write('/ipfs/d/a', 'x');
    world.vfs.mknod(ROOT, world.ino('/ipfs/d'), '\x80' as Name, S_IFREG | 0o600, 0);
    const { context } = await world.ask('ipfs_add', { path: '/ipfs/d', recursive: true });
    expect(context['warnings']).toEqual([expect.stringMatching(/: its name is no text$/)]);
  });

  test('what UnixFS has of mode and time is listed, of a file and of inline content', async () => {
    await world.write('/ipfs/a', 'x', { mode: '0600' });
    const listed = async (values: Facts) => {
      const more = { filename: 'f', wrap_with_directory: true, unixfs_metadata: true };
      const { cid } = await add({ ...values, ...more });
      return (await world.done('ipfs_ls', { ipfs_path: cid }))['entries'];
    };
    const { mtime } = await world.done('vfs_stat', { path: '/ipfs/a' });
    expect(await listed({ path: '/ipfs/a' })).toMatchObject([{ name: 'f', mode: '0600', mtime }]);
    expect(await listed({ content: 'x' })).toMatchObject([{ mtime: expect.any(String) }]);
  });

  test('wrapping gives the name a directory', async () => {
    const { cid } = await add({
      content: 'hello world',
      filename: 'greeting.txt',
      wrap_with_directory: true,
    });
    expect((await cat(`/ipfs/${cid}/greeting.txt`)).toString()).toBe('hello world');
    const nameless = await add({ content: 'hello world', wrap_with_directory: true });
    expect((await cat(`${nameless['cid']}/${HELLO}`)).toString()).toBe('hello world');
  });

  test('metadata in UnixFS is kept, and changes the CID', async () => {
    await world.write('/ipfs/a', 'hello world', { mode: '0600' });
    const { cid } = await add({ path: '/ipfs/a', unixfs_metadata: true });
    expect(cid).not.toBe(HELLO);
    const entry = await world.dag.entryOf(parseCid(String(cid)), new AbortController().signal);
    expect(entry).toMatchObject({ mode: 0o600, size: 11 });
  });

  test('adding twice leaves the state of adding once, and each is one record', async () => {
    await add({ content: 'x', pin_name: 'mine' });
    const pins = await world.done('ipfs_pin_ls', {});
    const seq = world.journal.head.seq;
    const { context } = await world.ask('ipfs_add', { content: 'x' });
    expect(await world.done('ipfs_pin_ls', {})).toEqual(pins);
    expect(context).toMatchObject({ seq: seq + 1, node: 'embedded' });
    expect(world.journal.ops.page(seq, 2).map(({ kind }) => kind)).toEqual(['add']);
  });

  test('without pin nothing is pinned, and the bytes are there', async () => {
    const { cid } = await add({ content: 'x', pin: false });
    expect(await world.done('ipfs_pin_ls', {})).toMatchObject({ pins: [] });
    expect((await cat(cid)).toString()).toBe('x');
  });

  test('what cannot be added is refused, and nothing changes', async () => {
    await world.write('/ipfs/d/secret', 'x', { mode: '0600' });
    const refused = (values: Facts, code: string, uid = 0) =>
      world.refused('ipfs_add', values, code, { uid, gid: uid });
    await refused({}, 'INVALID_ARGUMENT');
    await refused({ content: 'x', path: '/ipfs/d' }, 'INVALID_ARGUMENT');
    await refused({ content: 'x', filename: 'a/b' }, 'INVALID_ARGUMENT');
    await refused({ content: 'x', transaction_id: 'a'.repeat(22) }, 'INVALID_ARGUMENT');
    await refused({ content: 'not base64!', encoding: 'base64' }, 'ENCODING_INVALID');
    await refused({ content: 'x'.repeat(4 * 1024 * 1024 + 1) }, 'PAYLOAD_TOO_LARGE');
    await refused({ path: '/ipfs/none' }, 'NOT_FOUND');
    await refused({ path: '/ipfs/d' }, 'IS_A_DIRECTORY');
    await refused({ path: '/ipfs/d/secret/x' }, 'NOT_A_DIRECTORY');
    await refused({ path: '/.kitfs/status.json' }, 'NOT_SUPPORTED');
    await refused({ path: '/ipfs/d/secret' }, 'PERMISSION_DENIED', 1000);
    await refused({ path: '/ipfs/d', recursive: true }, 'PERMISSION_DENIED', 1000);
    const context = await refused({ content: 'x', node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
    expect(context).toMatchObject({ service: 'kubo' });
  });
});

describe('ipfs_cat', () => {
  test('says what a byte reader says, with the CID and where it is on this host', async () => {
    const { cid } = await add({
      content: 'hello world',
      filename: 'a.txt',
      wrap_with_directory: true,
    });
    const { data, context } = await world.ask('ipfs_cat', { ipfs_path: `${cid}/a.txt`, length: 5 });
    expect(data).toEqual({
      uri: `kitfs://ipfs/${cid}/a.txt`,
      local_path: `/mnt/kitfs/ipfs/${cid}/a.txt`,
      size: 11,
      offset: 0,
      length: 5,
      eof: false,
      truncated: true,
      next_offset: 5,
      encoding: 'utf-8',
      mime: 'text/plain',
      cid: HELLO,
    });
    expect(context).toMatchObject({ node: 'embedded' });
  });

  test('slices of any size add up to the whole', async () => {
    const bytes = noise(300_001);
    const { cid } = await add({ content: base64(bytes), encoding: 'base64' });
    expect((await cat(cid, 77_777)).equals(bytes)).toBe(true);
  });

  test('fails with the code of its reason', async () => {
    const { cid } = await add({ content: 'x', filename: 'f', wrap_with_directory: true });
    const refused = (path: unknown, code: string, more: Facts = {}) =>
      world.refused('ipfs_cat', { ipfs_path: path, ...more }, code);
    await refused('QmNot', 'INVALID_CID');
    await refused('/ipns/example.org', 'IPFS_NODE_OFFLINE');
    await refused(ABSENT, 'CONTENT_NOT_AVAILABLE');
    await refused(cid, 'IS_A_DIRECTORY');
    expect(await refused(`${cid}/none`, 'NOT_FOUND')).toMatchObject({ kind: 'link' });
    expect(await refused(`${cid}/f/g`, 'NOT_FOUND')).toMatchObject({ kind: 'link' });
    await refused(`${cid}/f`, 'RANGE_INVALID', { offset: 2 });
    await refused(`${cid}/f`, 'SERVICE_NOT_CONFIGURED', { node: 'kubo' });
    const odd = await put(0x71, Buffer.from([0xa0]));
    await refused(odd.toString(), 'NOT_SUPPORTED');
    const { cid: bad } = await add({ content: base64(Buffer.from([255])), encoding: 'base64' });
    await refused(bad, 'ENCODING_INVALID', { encoding: 'utf-8' });
  });

  test('bytes that do not hash to their CID never leave', async () => {
    const bytes = noise(100);
    const { cid } = await add({ content: base64(bytes), encoding: 'base64' });
    const row = world.journal.contents.byCid(Buffer.from(parseCid(String(cid)).bytes));
    if (row === undefined) throw new Error('it was added');
    world.journal.commit(() => world.journal.contents.setBytes(row.id, noise(100, 2)));
    await world.refused('ipfs_cat', { ipfs_path: cid }, 'INTEGRITY_MISMATCH');
  });
});

describe('ipfs_ls', () => {
  test('lists names in byte order with type, size and target, in pages', async () => {
    await world.write('/ipfs/d/b', 'hello world');
    await world.write('/ipfs/d/a/x', '1');
    world.vfs.symlink(ROOT, world.ino('/ipfs/d'), 'c' as never, 'b' as never);
    const { cid } = await add({ path: '/ipfs/d', recursive: true });
    const first = await world.done('ipfs_ls', { ipfs_path: cid, limit: 2 });
    expect(first).toMatchObject({
      cid,
      type: 'directory',
      entries: [
        { name: 'a', type: 'directory', size: 0 },
        { name: 'b', type: 'raw', size: 11, cid: HELLO },
      ],
      truncated: true,
      total: 3,
    });
    const cursor = first['next_cursor'];
    const last = await world.done('ipfs_ls', { ipfs_path: cid, limit: 2, cursor });
    expect(last).toMatchObject({
      entries: [{ name: 'c', type: 'symlink', target: 'b' }],
      truncated: false,
    });
    await world.refused('ipfs_ls', { ipfs_path: HELLO, cursor }, 'INVALID_ARGUMENT');
    await world.refused('ipfs_ls', { ipfs_path: cid, cursor: 'x.1' }, 'CURSOR_EXPIRED');
  });

  test('a sharded directory is listed as any other', async () => {
    const file = parseCid(String((await add({ content: 'x' }))['cid']));
    const children = Array.from({ length: 5000 }, (_, index) => ({
      name: `some-long-name-of-a-file-${index}`,
      cid: file,
      cumulativeSize: 1,
    }));
    const { signal } = new AbortController();
    const { cid } = await world.builder.buildDirectory(
      children,
      { profile: 'unixfs-v1-2025' },
      signal,
    );
    const data = await world.done('ipfs_ls', { ipfs_path: cid.toString(), limit: 1 });
    expect(data).toMatchObject({
      total: 5000,
      entries: [{ name: 'some-long-name-of-a-file-0', type: 'raw', size: 1 }],
    });
  });

  test('of what is no directory the type is told; a missing child is unknown', async () => {
    await add({ content: 'hello world' });
    expect(await world.done('ipfs_ls', { ipfs_path: HELLO })).toMatchObject({
      type: 'raw',
      entries: [],
    });
    const Data = new UnixFS({ type: 'directory' }).marshal();
    const child = prepare({ Data: new Uint8Array([8, 1]), Links: [] });
    const digest = await sha256.digest(encode(child));
    const Hash = MultiformatsCid.createV1(0x70, digest);
    const root = await put(
      0x70,
      encode(prepare({ Data, Links: [{ Name: 'gone', Hash, Tsize: 9 }] })),
    );
    const { data, context } = await world.ask('ipfs_ls', { ipfs_path: root.toString() });
    expect(data?.['entries']).toEqual([{ name: 'gone', cid: Hash.toString(), type: 'unknown' }]);
    expect(context['warnings']).toEqual(['1 of these entries are not here']);
    await world.refused('ipfs_ls', { ipfs_path: Hash.toString() }, 'CONTENT_NOT_AVAILABLE');
    await world.refused('ipfs_ls', { ipfs_path: '/ipns/x' }, 'IPFS_NODE_OFFLINE');
  });
});

describe('pins', () => {
  const pinned = async (type = 'all') =>
    (await world.done('ipfs_pin_ls', { pin_type: type }))['pins'] as Facts[];

  test('a pin is one record; the same pin again is none', async () => {
    const { cid } = await add({ content: 'x', pin: false });
    const first = await world.ask('ipfs_pin_add', { ipfs_path: cid, pin_name: 'one' });
    expect(first.data).toEqual({
      cid,
      pin_type: 'recursive',
      pin_name: 'one',
      already_pinned: false,
      blocks: 1,
    });
    expect(first.context).toMatchObject({ seq: world.journal.head.seq });
    const seq = world.journal.head.seq;
    const again = await world.done('ipfs_pin_add', { ipfs_path: cid });
    expect(again).toMatchObject({ already_pinned: true, pin_name: 'one' });
    expect(world.journal.head.seq).toBe(seq);
    const [row] = world.journal.ops.page(seq - 1, 1);
    expect(row).toMatchObject({ kind: 'pin_add' });
  });

  test('a direct pin becomes recursive, and a recursive one never direct', async () => {
    const { cid } = await add({ content: 'x', pin: false });
    const pin = (recursive: boolean) => world.done('ipfs_pin_add', { ipfs_path: cid, recursive });
    expect(await pin(false)).toMatchObject({ pin_type: 'direct', already_pinned: false });
    expect(await pin(true)).toMatchObject({ pin_type: 'recursive', already_pinned: false });
    expect(await pin(false)).toMatchObject({ pin_type: 'recursive', already_pinned: true });
    expect(await pinned()).toHaveLength(1);
  });

  test('what a recursive pin keeps is pinned indirectly', async () => {
    await world.write('/ipfs/d/a', 'hello world');
    const { cid } = await add({ path: '/ipfs/d', recursive: true, pin_name: 'the tree' });
    expect(await pinned()).toEqual([
      { cid, pin_type: 'recursive', pin_name: 'the tree', pinned_at: expect.any(String) },
      { cid: HELLO, pin_type: 'indirect' },
    ]);
    expect(await pinned('indirect')).toHaveLength(1);
    expect(await pinned('direct')).toEqual([]);
    const of = (values: Facts) => world.done('ipfs_pin_ls', values);
    expect(await of({ ipfs_path: `${cid}/a`, pin_type: 'all' })).toMatchObject({
      pins: [{ cid: HELLO, pin_type: 'indirect' }],
    });
    expect(await of({ pin_name: 'tree' })).toMatchObject({ total: 1 });
    expect(await of({ pin_name: 'Tree' })).toMatchObject({ total: 0 });
    const context = await world.refused('ipfs_pin_ls', { ipfs_path: HELLO }, 'NOT_PINNED');
    expect(context).toMatchObject({ partial: { pin_type: 'indirect' } });
    await world.refused('ipfs_pin_ls', { ipfs_path: ABSENT, pin_type: 'all' }, 'NOT_PINNED');
  });

  test('pinning what is not all here names what is missing, and pins nothing', async () => {
    const Data = new UnixFS({ type: 'directory' }).marshal();
    const Hash = MultiformatsCid.parse(ABSENT);
    const root = await put(0x70, encode(prepare({ Data, Links: [{ Name: 'a', Hash, Tsize: 1 }] })));
    const context = await world.refused(
      'ipfs_pin_add',
      { ipfs_path: root.toString() },
      'CONTENT_NOT_AVAILABLE',
    );
    expect(context).toMatchObject({ partial: { missing: [ABSENT] } });
    const direct = { ipfs_path: root.toString(), recursive: false };
    expect(await world.done('ipfs_pin_add', direct)).toMatchObject({ pin_type: 'direct' });
    await world.refused('ipfs_pin_add', { ipfs_path: EMPTY_DIRECTORY }, 'CONTENT_NOT_AVAILABLE');
    await world.refused(
      'ipfs_pin_add',
      { ipfs_path: HELLO, node: 'kubo' },
      'SERVICE_NOT_CONFIGURED',
    );
    await world.refused('ipfs_pin_add', { ipfs_path: '/ipns/a' }, 'IPFS_NODE_OFFLINE');
  });

  test('unpinning removes the row and nothing else; the bytes stay', async () => {
    const { cid } = await add({ content: 'x' });
    const plan = await world.planned('ipfs_pin_rm', { ipfs_path: cid });
    expect(plan).toMatchObject({ counts: { pin_rm: 1 } });
    await world.refused('ipfs_pin_rm', { ipfs_path: cid, recursive: false }, 'NOT_PINNED');
    expect(await world.done('ipfs_pin_rm', { ipfs_path: cid })).toEqual({
      cid,
      pin_type: 'recursive',
      removed: true,
    });
    expect(await pinned()).toEqual([]);
    expect((await cat(cid)).toString()).toBe('x');
    await world.refused('ipfs_pin_rm', { ipfs_path: cid }, 'NOT_PINNED');
    await world.refused('ipfs_pin_rm', { ipfs_path: cid, dry_run: true }, 'NOT_PINNED');
    await world.refused('ipfs_pin_rm', { ipfs_path: cid, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
  });

  test('pinned blocks are held when the tree lets them go', async () => {
    await world.write('/ipfs/a', 'only in the tree');
    const ino = world.ino('/ipfs/a');
    const { signal } = new AbortController();
    const cid = await world.sealer.seal(world.vfs.core.inodes.get(ino).content, signal);
    await world.done('ipfs_pin_add', { ipfs_path: cid.toString() });
    const held = world.content.row(world.vfs.core.inodes.get(ino).content);
    expect(held).toMatchObject({ held: 1 });
    await world.done('vfs_rm', { path: '/ipfs/a' });
    expect((await cat(cid.toString())).toString()).toBe('only in the tree');
  });
});

test('content by CID is immutable in the tree, whoever asks', async () => {
  const { cid } = await add({ content: 'x', filename: 'f', wrap_with_directory: true });
  const values = { path: `/ipfs/${cid}/f`, content: 'y' };
  await world.refused('vfs_write', values, 'READ_ONLY');
});
