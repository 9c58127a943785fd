import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { textOf } from '../../src/base/ids.ts';
import {
  faultOfTreePath,
  ipfsUri,
  namesOf,
  parseIpfsPath,
  treeUri,
} from '../../src/tools/paths.ts';

const CID = 'bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e';

describe('a path of the tree', () => {
  test.each([
    ['', 'invalid-path'],
    ['a', 'invalid-path'],
    ['//a', 'invalid-path'],
    ['/a//b', 'invalid-path'],
    ['/a//', 'invalid-path'],
    ['/.', 'invalid-path'],
    ['/a/../b', 'invalid-path'],
    ['/a/..', 'invalid-path'],
    ['/a\0', 'invalid-path'],
    ['/\ud800', 'invalid-path'],
    [`/${'x'.repeat(256)}`, 'name-too-long'],
    [`/${'ä'.repeat(128)}`, 'name-too-long'],
    ['/x'.repeat(2049), 'name-too-long'],
  ])('%j is refused', (path, failure) => {
    expect(faultOfTreePath(path)?.failure).toBe(failure);
  });

  test.each(['/', '/a', '/a/', '/...', '/.a', '/a..', `/${'x'.repeat(255)}`, '/x'.repeat(2048)])(
    '%j is one',
    (path) => {
      expect(faultOfTreePath(path)).toBeUndefined();
    },
  );

  test('comes apart into the names it was made of', () => {
    const name = fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 40 })
      .filter((text) => !/[/\0]/.test(text) && text !== '.' && text !== '..');
    fc.assert(
      fc.property(fc.array(name), (names) => {
        const path = `/${names.join('/')}`;
        expect(faultOfTreePath(path)).toBeUndefined();
        expect(namesOf(path).map(textOf)).toEqual(names);
      }),
    );
  });

  test('has a URI with its segments encoded', () => {
    expect(treeUri('/ipfs/a b/ü?#')).toBe('kitfs://tree/ipfs/a%20b/%C3%BC%3F%23');
    expect(treeUri('/')).toBe('kitfs://tree/');
    expect(ipfsUri(CID, ['a b'])).toBe(`kitfs://ipfs/${CID}/a%20b`);
  });
});

describe('a path of content', () => {
  test.each([
    [CID, []],
    [`/ipfs/${CID}`, []],
    [`${CID}/a/b`, ['a', 'b']],
    [`/ipfs/${CID}/a b/`, ['a b']],
    [`ipfs://${CID}/a%20b`, ['a b']],
    ['QmdfTbBqBPQ7VNxZEYEj14VmRuZBkqFbiwReogJgS1zR1n', []],
  ])('%s starts from a CID', (text, segments) => {
    expect(parseIpfsPath(text)).toMatchObject({ kind: 'ipfs', segments });
  });

  test.each([
    ['/ipns/k51abc/x', 'k51abc', ['x']],
    ['ipns://example.org', 'example.org', []],
  ])('%s starts from a name', (text, name, segments) => {
    expect(parseIpfsPath(text)).toEqual({ kind: 'ipns', name, segments });
  });

  test.each([
    '',
    '/',
    'QmNot',
    `${CID}/../x`,
    `${CID}//x`,
    `/ipfs/`,
    `/ipld/${CID}`,
    '/ipns/',
    '/ipns/a\0b',
    `ipfs://${CID}/%`,
    `https://x/ipfs/${CID}`,
  ])('%j is none', (text) => {
    expect(parseIpfsPath(text)).toBeUndefined();
  });
});
