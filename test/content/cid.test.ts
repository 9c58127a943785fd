import { bases } from 'multiformats/basics';
import { describe, expect, test } from 'vitest';
import { blockKey, CID, cidOfBytes, parseCid } from '../../src/content/content.ts';

const V0 = 'QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn';
const V1 = 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354';
const RAW = 'bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';

describe('the text of a CID', () => {
  test.each([V0, V1, RAW])('%s is read and written as it is', (text) => {
    expect(parseCid(text).toString()).toBe(text);
  });

  test('is understood in every multibase', () => {
    const cid = CID.parse(V1);
    for (const { encoder } of Object.values(bases)) {
      expect(parseCid(encoder.encode(cid.bytes)).equals(cid)).toBe(true);
    }
  });

  test.each([
    '',
    'Qm',
    'hello',
    `${V0}1`,
    V0.slice(0, -1),
    V1.slice(0, -1),
    `/ipfs/${V1}`,
    ` ${V1}`,
    'bé',
    'f00',
    `z${V0}`,
    'a'.repeat(10_000),
    '../../etc/passwd',
  ])('is refused with its name when it is "%s"', (text) => {
    expect(() => parseCid(text)).toThrowError(expect.objectContaining({ failure: 'invalid-cid' }));
  });
});

test('both versions of a CID name one block, and codecs tell blocks apart', () => {
  expect(blockKey(parseCid(V0)).equals(blockKey(parseCid(V1)))).toBe(true);
  const raw = CID.createV1(0x55, parseCid(V1).multihash);
  expect(blockKey(raw).equals(blockKey(parseCid(V1)))).toBe(false);
});

test('damaged bytes of a CID are damage of the journal', () => {
  expect(cidOfBytes(parseCid(V0).bytes).toString()).toBe(V0);
  expect(() => cidOfBytes(Buffer.from([9, 9, 9]))).toThrowError(
    expect.objectContaining({ failure: 'journal-corrupt' }),
  );
});
