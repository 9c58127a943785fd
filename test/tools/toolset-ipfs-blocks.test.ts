/** The laws of ipfs_block_stat, ipfs_block_get, ipfs_refs and ipfs_refs_local on the embedded engine. */
import { encode as encodeCbor } from '@ipld/dag-cbor';
import { encode as encodeJson } from '@ipld/dag-json';
import { CID } from 'multiformats/cid';
import { create as digestOf } from 'multiformats/hashes/digest';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DIGESTS } from '../../src/base/digests.ts';
import type { CID as OurCid } from '../../src/content/content.ts';
import { noise } from '../content/fixture.ts';
import { type Facts, Fixture } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const ABSENT = 'bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta';
const RAW = 0x55;
const DAG_CBOR = 0x71;
const DAG_JSON = 0x0129;

function cidOf(code: number, bytes: Uint8Array, hash = 'sha2-256'): OurCid {
  const kind = DIGESTS.find(({ name }) => name === hash);
  if (kind === undefined) throw new Error(`no hash ${hash}`);
  return CID.createV1(code, digestOf(kind.code, kind.digest(bytes))) as OurCid;
}

function put(code: number, bytes: Uint8Array, hash?: string): OurCid {
  const cid = cidOf(code, bytes, hash);
  world.blocks.put(cid, bytes);
  return cid;
}

/** The bytes of a block in slices, and the header of the last one. */
async function block(cid: OurCid, length: number): Promise<{ bytes: Buffer; header: Facts }> {
  const pieces: Buffer[] = [];
  for (let offset = 0; ; ) {
    const values = { cid: cid.toString(), offset, length, encoding: 'base64' };
    const { content } = await world.call('ipfs_block_get', values);
    const [head, piece] = content;
    const header = JSON.parse(head?.type === 'text' ? head.text : '{}').kitfs;
    if (piece?.type === 'resource') pieces.push(Buffer.from(piece.resource.blob, 'base64'));
    if (header.eof === true) return { bytes: Buffer.concat(pieces), header };
    offset = header.next_offset;
  }
}

describe('a block', () => {
  test.each(DIGESTS.map(({ name }) => name))(
    'by %s is looked at and read in slices',
    async (hash) => {
      const bytes = noise(1001);
      const cid = put(RAW, bytes, hash);
      const { data, context } = await world.ask('ipfs_block_stat', { cid: cid.toString() });
      expect(data).toEqual({
        cid: cid.toString(),
        size: 1001,
        codec: 'raw',
        hash: Buffer.from(cid.multihash.bytes).toString('hex'),
        local: true,
      });
      expect(context).toMatchObject({ node: 'embedded' });
      const read = await block(cid, 300);
      expect(read.bytes.equals(bytes)).toBe(true);
      expect(read.header).toMatchObject({ codec: 'raw', size: 1001, cid: cid.toString() });
    },
  );

  test('of no bytes is here without being put, by whatever hash', async () => {
    for (const { name } of DIGESTS) {
      const cid = cidOf(RAW, new Uint8Array(), name);
      const stat = await world.done('ipfs_block_stat', { cid: cid.toString() });
      expect(stat).toMatchObject({ size: 0, local: true });
      expect((await block(cid, 10)).bytes).toHaveLength(0);
    }
  });

  test('that is no file is given as its codec, and not as a place in the tree', async () => {
    const cid = put(DAG_CBOR, encodeCbor({ a: 1 }));
    const { header } = await block(cid, 100);
    expect(header).toMatchObject({ codec: 'dag-cbor', mime: 'application/vnd.ipld.dag-cbor' });
    expect(header).not.toHaveProperty('local_path');
  });

  test('that is not here, or that nobody can verify, is refused by its reason', async () => {
    const other = CID.createV1(RAW, digestOf(0x11, new Uint8Array(20)));
    for (const tool of ['ipfs_block_stat', 'ipfs_block_get']) {
      await world.refused(tool, { cid: ABSENT }, 'CONTENT_NOT_AVAILABLE');
      await world.refused(tool, { cid: other.toString() }, 'NOT_SUPPORTED');
      await world.refused(tool, { cid: 'QmNot' }, 'INVALID_CID');
      await world.refused(tool, { cid: `/ipfs/${ABSENT}` }, 'INVALID_CID');
      await world.refused(tool, { cid: ABSENT, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
    }
    const cid = put(RAW, Buffer.from([0xff])).toString();
    await world.refused('ipfs_block_get', { cid, encoding: 'utf-8' }, 'ENCODING_INVALID');
    await world.refused('ipfs_block_get', { cid, offset: 2 }, 'RANGE_INVALID');
  });

  test('whose bytes are others is never given', async () => {
    const cid = put(RAW, noise(100));
    const row = world.journal.contents.byCid(Buffer.from(cid.bytes));
    if (row === undefined) throw new Error('it was put');
    world.journal.commit(() => world.journal.contents.setBytes(row.id, noise(100, 2)));
    await world.refused('ipfs_block_get', { cid: cid.toString() }, 'INTEGRITY_MISMATCH');
  });
});

describe('ipfs_refs', () => {
  /** root → [left, right]; left → [leaf]; right → [leaf, left]. */
  function diamond() {
    const leaf = put(RAW, Buffer.from('leaf'));
    const left = put(DAG_CBOR, encodeCbor({ leaf }));
    const right = put(DAG_JSON, encodeJson([leaf, { left }]));
    const root = put(DAG_CBOR, encodeCbor([left, right]));
    return { leaf, left, right, root };
  }
  const texts = (cids: readonly OurCid[]) => cids.map((cid) => ({ cid: cid.toString() }));
  const refs = (values: Facts) => world.done('ipfs_refs', values);

  test('tells the links of one block, and with recursive all below, depth first', async () => {
    const { leaf, left, right, root } = diamond();
    const ipfs_path = root.toString();
    expect(await refs({ ipfs_path })).toMatchObject({
      refs: texts([left, right]),
      failed: [],
      complete: true,
      truncated: false,
    });
    expect((await refs({ ipfs_path, recursive: true }))['refs']).toEqual(
      texts([left, leaf, right, leaf, left, leaf]),
    );
    expect((await refs({ ipfs_path, recursive: true, unique: true }))['refs']).toEqual(
      texts([left, leaf, right]),
    );
    expect((await refs({ ipfs_path, recursive: true, max_depth: 1 }))['refs']).toEqual(
      texts([left, right]),
    );
    const edges = await refs({ ipfs_path: right.toString(), edges: true });
    expect(edges['refs']).toEqual([
      { cid: leaf.toString(), parent: right.toString() },
      { cid: left.toString(), parent: right.toString() },
    ]);
  });

  test('a block that was first met too far down still tells its links where it is near', async () => {
    const leaf = put(RAW, Buffer.from('leaf'));
    const shared = put(DAG_CBOR, encodeCbor([leaf]));
    const far = put(DAG_CBOR, encodeCbor([shared]));
    const root = put(DAG_CBOR, encodeCbor([far, shared]));
    const values = { ipfs_path: root.toString(), recursive: true, unique: true, max_depth: 2 };
    expect((await refs(values))['refs']).toEqual(texts([far, shared, leaf]));
  });

  test('pages add up to the whole, and every page knows that something is missing', async () => {
    const { left, root } = diamond();
    const gone = cidOf(DAG_CBOR, encodeCbor('gone'));
    const top = put(DAG_CBOR, encodeCbor([root, gone]));
    const values = { ipfs_path: top.toString(), recursive: true, limit: 3 };
    const first = await refs(values);
    expect(first).toMatchObject({ complete: false, truncated: true, total: 9 });
    const pages = [first];
    for (let page = first; page['next_cursor'] !== undefined; ) {
      page = await refs({ ...values, cursor: page['next_cursor'] });
      pages.push(page);
    }
    expect(pages.every(({ complete }) => complete === false)).toBe(true);
    expect(pages.flatMap(({ refs: some }) => some)).toHaveLength(8);
    expect(pages.flatMap(({ failed }) => failed)).toEqual([
      { cid: gone.toString(), error_code: 'CONTENT_NOT_AVAILABLE' },
    ]);
    await world.refused(
      'ipfs_refs',
      { ...values, ipfs_path: left.toString(), cursor: first['next_cursor'] },
      'INVALID_ARGUMENT',
    );
  });

  test('a root that cannot be had is an error', async () => {
    await world.refused(
      'ipfs_refs',
      { ipfs_path: ABSENT.replace('bafkrei', 'bafyrei') },
      'CONTENT_NOT_AVAILABLE',
    );
    const odd = CID.createV1(0x78, cidOf(RAW, Buffer.from('x')).multihash);
    await world.refused('ipfs_refs', { ipfs_path: odd.toString() }, 'NOT_SUPPORTED');
    await world.refused('ipfs_refs', { ipfs_path: ABSENT, node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
  });
});

describe('ipfs_refs_local', () => {
  test('lists every block once in the order of CIDs, in pages, with its size', async () => {
    const cids = Array.from({ length: 25 }, (_, at) => put(RAW, Buffer.from(`block ${at}`)));
    const listed: Facts[] = [];
    for (let cursor: unknown; ; ) {
      const page = await world.done('ipfs_refs_local', { limit: 10, cursor });
      if (cursor === undefined) expect(page['total']).toBe(25);
      listed.push(...(page['refs'] as Facts[]));
      // What comes in the meantime is nobody's double, and hides nothing.
      if (cursor === undefined) put(DAG_JSON, encodeJson('late'));
      cursor = page['next_cursor'];
      if (cursor === undefined) break;
    }
    const wanted = cids.map((cid) => cid.toString()).sort();
    const raw = listed.filter(({ cid }) => wanted.includes(String(cid)));
    expect(raw.map(({ cid }) => cid).sort()).toEqual(wanted);
    expect(raw[0]).toMatchObject({ size: expect.any(Number) });
  });

  test('is for root and the owner alone: who has a CID has the bytes', async () => {
    await world.refused('ipfs_refs_local', {}, 'PERMISSION_DENIED', { uid: 1000, gid: 1000 });
    await world.refused('ipfs_refs_local', { node: 'kubo' }, 'SERVICE_NOT_CONFIGURED');
    await world.refused('ipfs_refs_local', { cursor: 'x.1' }, 'CURSOR_EXPIRED');
  });
});
