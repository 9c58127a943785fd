/** The laws of ipfs_dag_get, ipfs_dag_put and ipfs_pin_update on the embedded engine. */
import { encode as encodeCbor } from '@ipld/dag-cbor';
import { CID } from 'multiformats/cid';
import { sha256 } from 'multiformats/hashes/sha2';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Facts, Fixture } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const ABSENT = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
const ABSENT_NODE = ABSENT.replace('bafkrei', 'bafyrei');
const base64 = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64');
const put = (values: Facts) => world.done('ipfs_dag_put', values);
const get = (path: unknown, more: Facts = {}) =>
  world.done('ipfs_dag_get', { ipfs_path: path, ...more });

describe('a value', () => {
  test.each([
    [null],
    [0],
    [''],
    [false],
    [[]],
    [{}],
    [-1.5],
    ['ü\0'],
    [{ a: [1, { b: null }], '/b': 'x' }],
    [{ link: { '/': ABSENT }, bytes: { '/': { bytes: 'AP8' } } }],
  ])('%j comes back as it was put', async (value) => {
    for (const store_codec of ['dag-cbor', 'dag-json']) {
      const { cid, codec } = await put({ value, store_codec });
      expect(codec).toBe(store_codec);
      const data = await get(cid);
      expect(data).toMatchObject({ cid, codec: 'dag-json', remaining_path: '' });
      expect(data['value']).toEqual(value);
    }
  });

  test('has the CID that its bytes have, by the hash that is asked for', async () => {
    const bytes = encodeCbor({ hello: 'world' });
    const { cid, size } = await put({ value: { hello: 'world' } });
    expect(cid).toBe(CID.createV1(0x71, await sha256.digest(bytes)).toString());
    expect(size).toBe(bytes.length);
    for (const [hash, code] of [
      ['sha2-512', 0x13],
      ['blake2b-256', 0xb220],
    ] as const) {
      const made = await put({ value: { hello: 'world' }, hash });
      expect(CID.parse(String(made['cid'])).multihash.code).toBe(code);
      expect((await get(made['cid']))['value']).toEqual({ hello: 'world' });
    }
  });

  test('may be given as bytes of any codec, and taken as such', async () => {
    const bytes = encodeCbor([1, 'two']);
    const content = base64(bytes);
    const { cid } = await put({ content, encoding: 'base64', input_codec: 'dag-cbor' });
    const taken = await get(cid, { output_codec: 'dag-cbor' });
    expect(taken).toMatchObject({ content, encoding: 'base64', size: bytes.length });
    expect(await get(cid, { output_codec: 'json' })).toMatchObject({ value: [1, 'two'] });
    const raw = await put({ content: 'text', input_codec: 'raw', store_codec: 'raw' });
    const { cid: added } = await world.done('ipfs_add', { content: 'text' });
    expect(raw['cid']).toBe(added);
    const again = await get(added, { output_codec: 'raw' });
    expect(Buffer.from(String(again['content']), 'base64').toString()).toBe('text');
  });

  test('is reached by a path, across links, by the names of dag-pb too', async () => {
    const { cid: file } = await world.done('ipfs_add', {
      content: 'x',
      filename: 'f',
      wrap_with_directory: true,
    });
    const inner = await put({ value: { list: [{ deep: 7 }], directory: { '/': file } } });
    const { cid } = await put({ value: { inner: { '/': inner['cid'] } } });
    expect(await get(`${cid}/inner/list/0/deep`)).toMatchObject({
      cid: inner['cid'],
      remaining_path: 'list/0/deep',
      value: 7,
    });
    expect(await get(`${cid}/inner`)).toMatchObject({ cid: inner['cid'], remaining_path: '' });
    const byName = await get(`${cid}/inner/directory/f`, { output_codec: 'raw' });
    expect(Buffer.from(String(byName['content']), 'base64').toString()).toBe('x');
    const byPlace = await get(`${cid}/inner/directory/Links/0/Hash`, { output_codec: 'raw' });
    expect(byPlace).toEqual(byName);
    for (const path of ['none', 'inner/list/1', 'inner/list/x', 'inner/list/0/deep/er']) {
      const context = await world.refused(
        'ipfs_dag_get',
        { ipfs_path: `${cid}/${path}` },
        'NOT_FOUND',
      );
      expect(context).toMatchObject({ kind: 'link' });
    }
  });

  test('that cannot be given is refused by its reason', async () => {
    const refused = (path: unknown, code: string, more: Facts = {}) =>
      world.refused('ipfs_dag_get', { ipfs_path: path, ...more }, code);
    await refused(ABSENT_NODE, 'CONTENT_NOT_AVAILABLE');
    await refused('QmNot', 'INVALID_CID');
    await refused(ABSENT, 'SERVICE_NOT_CONFIGURED', { node: 'kubo' });
    await refused(ABSENT.replace('bafk', 'bafz'), 'NOT_SUPPORTED');
    const { cid } = await put({ value: { link: { '/': ABSENT } } });
    await refused(`${cid}/link`, 'CONTENT_NOT_AVAILABLE');
    await refused(cid, 'NOT_SUPPORTED', { output_codec: 'json' });
    await refused(cid, 'NOT_SUPPORTED', { output_codec: 'raw' });
    const large = encodeCbor(2n ** 60n);
    const number = await put({
      content: base64(large),
      encoding: 'base64',
      input_codec: 'dag-cbor',
    });
    await refused(number['cid'], 'NOT_SUPPORTED');
    expect(await get(number['cid'], { output_codec: 'dag-cbor' })).toMatchObject({
      content: base64(large),
    });
    const long = await put({ value: 'x'.repeat(300 * 1024) });
    const context = await refused(long['cid'], 'RESULT_TOO_LARGE');
    expect(context['suggestions']).toMatchObject([{ tool: 'ipfs_block_get' }]);
  });

  test('that cannot be put is refused, with nothing stored', async () => {
    const refused = (values: Facts, code: string) => world.refused('ipfs_dag_put', values, code);
    await refused({}, 'INVALID_ARGUMENT');
    await refused({ value: 1, content: '1' }, 'INVALID_ARGUMENT');
    await refused({ value: 1, input_codec: 'dag-cbor' }, 'INVALID_ARGUMENT');
    await refused({ value: 1, store_codec: 'raw' }, 'NOT_SUPPORTED');
    await refused({ value: { a: 1 }, store_codec: 'dag-pb' }, 'NOT_SUPPORTED');
    const link = { Hash: { '/': ABSENT }, Other: 1 };
    await refused({ value: { Links: [link] }, store_codec: 'dag-pb' }, 'NOT_SUPPORTED');
    await refused({ value: { '/': 'no cid' } }, 'NOT_SUPPORTED');
    await refused({ value: { a: { '/': ABSENT } }, store_codec: 'cbor' }, 'NOT_SUPPORTED');
    await refused({ content: '{', input_codec: 'json' }, 'NOT_SUPPORTED');
    await refused({ content: '!', encoding: 'base64' }, 'ENCODING_INVALID');
    await refused({ value: 'x'.repeat(2 * 1024 * 1024) }, 'PAYLOAD_TOO_LARGE');
    await refused({ value: 1, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
    const missing = { value: [{ '/': ABSENT }], pin: true };
    const context = await refused(missing, 'CONTENT_NOT_AVAILABLE');
    expect(context).toMatchObject({ partial: { missing: [ABSENT] } });
    await refused({ ...missing, dry_run: true }, 'CONTENT_NOT_AVAILABLE');
  });

  test('is put with its pin in one record, and a dry run only tells the plan', async () => {
    const { cid: leaf } = await world.done('ipfs_add', { content: 'leaf', pin: false });
    const values = { value: [{ '/': leaf }], pin: true, pin_name: 'mine' };
    expect(await world.planned('ipfs_dag_put', values)).toMatchObject({ counts: { dag_put: 1 } });
    const { seq } = world.journal.head;
    const { data, context } = await world.ask('ipfs_dag_put', values);
    expect(data).toMatchObject({ pinned: true });
    expect(context).toMatchObject({ node: 'embedded', seq: world.journal.head.seq });
    expect(world.journal.ops.page(seq, 9).map(({ kind }) => kind)).toEqual(['dag_put']);
    const { pins } = await world.done('ipfs_pin_ls', { pin_type: 'all' });
    expect(pins).toMatchObject([
      { cid: data?.['cid'], pin_type: 'recursive', pin_name: 'mine' },
      { cid: leaf, pin_type: 'indirect' },
    ]);
  });
});

describe('ipfs_pin_update', () => {
  const pins = async () => (await world.done('ipfs_pin_ls', {}))['pins'] as Facts[];
  const add = async (content: string, more: Facts = {}) =>
    String((await world.done('ipfs_add', { content, ...more }))['cid']);

  test('moves a pin and its name in one record; the old one is then none', async () => {
    const source = await add('old', { pin_name: 'release' });
    const destination = await add('new', { pin: false });
    const plan = await world.planned('ipfs_pin_update', { source, destination });
    expect(plan).toMatchObject({ counts: { pin_update: 1 } });
    const { seq } = world.journal.head;
    const data = await world.done('ipfs_pin_update', { source, destination });
    expect(data).toEqual({ source_cid: source, destination_cid: destination, unpinned: true });
    expect(await pins()).toMatchObject([{ cid: destination, pin_name: 'release' }]);
    expect(world.journal.ops.page(seq, 9).map(({ kind }) => kind)).toEqual(['pin_update']);
    await world.refused('ipfs_pin_update', { source, destination }, 'NOT_PINNED');
    expect(await pins()).toHaveLength(1);
  });

  test('keeps the old pin when it is told to, and a pin of one root where it is', async () => {
    const source = await add('old');
    const destination = await add('new', { pin: false });
    await world.done('ipfs_pin_update', { source, destination, unpin: false });
    expect(await pins()).toHaveLength(2);
    const same = await world.done('ipfs_pin_update', { source, destination: source });
    expect(same).toMatchObject({ unpinned: false });
    expect(await pins()).toHaveLength(2);
  });

  test('without a recursive pin, or without all blocks of the new root, changes nothing', async () => {
    const source = await add('old');
    const destination = await add('new', { pin: false });
    const refused = (values: Facts, code: string) => world.refused('ipfs_pin_update', values, code);
    await refused({ source: destination, destination: source }, 'NOT_PINNED');
    await refused({ source, destination: ABSENT }, 'CONTENT_NOT_AVAILABLE');
    await refused({ source, destination: ABSENT, dry_run: true }, 'CONTENT_NOT_AVAILABLE');
    await refused({ source, destination, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
    await world.done('ipfs_pin_add', { ipfs_path: destination, recursive: false });
    const context = await refused({ source: destination, destination: source }, 'NOT_PINNED');
    expect(context).toMatchObject({ partial: { pin_type: 'direct' } });
  });
});
