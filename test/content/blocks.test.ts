import { createHash } from 'node:crypto';
import { create as digestOf } from 'multiformats/hashes/digest';
import { identity } from 'multiformats/hashes/identity';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { BLOCK_BYTES_MAX, PACKED_BYTES_MAX } from '../../src/base/limits.ts';
import { CID } from '../../src/content/content.ts';
import { Fixture, noise } from './fixture.ts';

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

const RAW = 0x55;
const DAG_PB = 0x70;
const cidOf = (bytes: Uint8Array, codec = RAW): CID =>
  CID.createV1(codec, digestOf(0x12, createHash('sha256').update(bytes).digest()));
const failing = (failure: string) => expect.objectContaining({ failure });

describe('a block', () => {
  test.each([1, 1000, PACKED_BYTES_MAX, PACKED_BYTES_MAX + 1, BLOCK_BYTES_MAX])(
    'of %i bytes is given back as it was put',
    (size) => {
      const { blocks } = fixture;
      const bytes = noise(size);
      const cid = cidOf(bytes);
      expect(blocks.get(cid)).toBeUndefined();
      expect(blocks.has(cid)).toBe(false);
      expect(blocks.put(cid, bytes)).toBe(true);
      expect(blocks.sizeOf(cid)).toBe(size);
      expect(bytes.equals(blocks.get(cid) ?? Buffer.from('absent'))).toBe(true);
    },
  );

  test('of no bytes is always here', () => {
    const { blocks, journal } = fixture;
    const cid = cidOf(Buffer.alloc(0));
    expect([blocks.has(cid), blocks.sizeOf(cid), blocks.hold(cid)]).toEqual([true, 0, true]);
    expect(blocks.get(cid)).toHaveLength(0);
    expect(blocks.put(cid, Buffer.alloc(0))).toBe(false);
    expect(journal.contents.page(0, 10)).toEqual([]);
  });

  test('put again is nothing new', () => {
    const { blocks, journal } = fixture;
    const bytes = noise(100);
    blocks.put(cidOf(bytes), bytes);
    expect(blocks.put(cidOf(bytes), bytes)).toBe(false);
    expect(journal.contents.page(0, 10)).toHaveLength(1);
  });

  test('is found by both versions of its CID', () => {
    const { blocks } = fixture;
    const bytes = noise(100);
    const v1 = cidOf(bytes, DAG_PB);
    blocks.put(v1.toV0(), bytes);
    expect(bytes.equals(blocks.get(v1) ?? Buffer.alloc(0))).toBe(true);
    expect(bytes.equals(blocks.get(v1.toV0()) ?? Buffer.alloc(0))).toBe(true);
  });

  test('of an identity CID is in its CID', () => {
    const { blocks, journal } = fixture;
    const cid = CID.createV1(RAW, identity.digest(Buffer.from('inline')));
    expect(Buffer.from(blocks.get(cid) ?? []).toString()).toBe('inline');
    expect(blocks.sizeOf(cid)).toBe(6);
    expect(blocks.put(cid, Buffer.from('inline'))).toBe(false);
    expect(() => blocks.put(cid, Buffer.from('other'))).toThrowError(failing('integrity'));
    expect(journal.contents.page(0, 10)).toEqual([]);
  });

  test('that is not what its CID says is refused, and all that came with it', () => {
    const { blocks } = fixture;
    const good = noise(10, 1);
    const bad = { cid: cidOf(noise(10, 2)), bytes: noise(10, 3) };
    expect(() => blocks.putAll([{ cid: cidOf(good), bytes: good }, bad])).toThrowError(
      expect.objectContaining({ failure: 'integrity', details: { cid: bad.cid.toString() } }),
    );
    expect(blocks.has(cidOf(good))).toBe(false);
  });

  test('of another hash is not taken and not given', () => {
    const { blocks } = fixture;
    const cid = CID.createV1(RAW, digestOf(0x11, createHash('sha1').update('x').digest()));
    expect(() => blocks.get(cid)).toThrowError(failing('unsupported'));
    expect(() => blocks.put(cid, Buffer.from('x'))).toThrowError(failing('unsupported'));
  });

  test('that no other node would take is refused', () => {
    const bytes = noise(BLOCK_BYTES_MAX + 1);
    expect(() => fixture.blocks.put(cidOf(bytes), bytes)).toThrowError(
      failing('payload-too-large'),
    );
  });

  test.each([1000, 100_000])('of %i bytes with one of them flipped is an error', (size) => {
    const { blocks, journal } = fixture;
    const bytes = noise(size);
    const cid = cidOf(bytes);
    blocks.put(cid, bytes);
    const [row] = journal.contents.page(0, 1);
    if (row === undefined) throw new Error('no content');
    fixture.flip(row.id, size - 1);
    expect(() => blocks.get(cid)).toThrowError(
      expect.objectContaining({ failure: 'integrity', details: { cid: cid.toString() } }),
    );
  });
});

describe('a block with several places', () => {
  const sealedTwice = async () => {
    const bytes = noise(5000);
    const ids = [fixture.makeFrozen(bytes), fixture.makeFrozen(bytes)] as const;
    for (const id of ids) await fixture.sealer.seal(id, fixture.signal);
    return { ids, bytes, cid: cidOf(bytes) };
  };

  test('is given from a sound one when another is damaged', async () => {
    const { ids, bytes, cid } = await sealedTwice();
    fixture.flip(ids[0], 7);
    expect(bytes.equals(fixture.blocks.get(cid) ?? Buffer.alloc(0))).toBe(true);
    fixture.flip(ids[1], 7);
    expect(() => fixture.blocks.get(cid)).toThrowError(failing('integrity'));
  });

  test('stays when one of them goes', async () => {
    const { ids, bytes, cid } = await sealedTwice();
    fixture.journal.commit(() => fixture.contents.discard(ids[0]));
    expect(bytes.equals(fixture.blocks.get(cid) ?? Buffer.alloc(0))).toBe(true);
    fixture.journal.commit(() => fixture.contents.discard(ids[1]));
    expect(fixture.blocks.get(cid)).toBeUndefined();
  });
});

test('a block of the tree that is put is held from then on', async () => {
  const bytes = noise(5000);
  const id = fixture.makeFrozen(bytes);
  const cid = await fixture.sealer.seal(id, fixture.signal);
  expect(fixture.contents.row(id)?.held).toBe(0);
  expect(fixture.blocks.put(cid, bytes)).toBe(false);
  expect(fixture.contents.row(id)?.held).toBe(1);
  expect(fixture.blocks.hold(cidOf(noise(3, 9)))).toBe(false);
});
