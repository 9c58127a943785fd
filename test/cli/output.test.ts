import { describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { sentenceOf, sizeText, table } from '../../src/cli/output.ts';
import { treePathOf } from '../../src/cli/tree-path.ts';
import { Asked } from './asking.ts';

test.each([
  [0, '0 bytes'],
  [1023, '1023 bytes'],
  [1024, '1.0 KiB'],
  [1536, '1.5 KiB'],
  [5 * 1024 ** 3, '5.0 GiB'],
  [3 * 1024 ** 5, '3072.0 TiB'],
])('%d bytes are %s', (bytes, text) => {
  expect(sizeText(bytes)).toBe(text);
});

test('columns are as wide as what is in them, the last one ends by itself', () => {
  expect(
    table([
      ['a', 'bb', 'c'],
      ['aaa', 'b', 'cc'],
    ]),
  ).toBe('a    bb  c\naaa  b   cc');
  expect(table([])).toBe('');
  expect(table([['a'], ['bb', 'c']])).toBe('a\nbb  c');
  expect(table([['a', 'b', 'c'], ['aaa']])).toBe('a    b  c\naaa');
});

test('of what is wrong with arguments each is a line, with what was expected if that is known', async () => {
  const issues = [
    { argument: 'path', reason: 'is missing', expected: 'a path' },
    { argument: 'x', reason: 'is unknown' },
  ];
  const refusal = { status: 'error', error: 'no', error_code: 'INVALID_ARGUMENT' };
  for (const [context, below] of [
    [{ issues }, '  path: is missing; expected: a path\n  x: is unknown\n'],
    [{}, ''],
    [undefined, ''],
  ] as const) {
    await using asked = await Asked.open({ call: async () => ({ ...refusal, context }) });
    const { code, stderr } = await asked.kitfs(['call', 'vfs_stat']);
    expect([code, stderr]).toEqual([1, `kitfs: no\n${below}`]);
  }
});

test('a daemon that ends while it is asked is not running any more, with or without JSON', async () => {
  const failure = async () => {
    throw new OpError('not-running', 'ask');
  };
  await using asked = await Asked.open({ status: failure });
  expect(await asked.kitfs(['status'])).toMatchObject({ code: 3, stdout: '' });
  const { code, stdout } = await asked.kitfs(['status', '--json']);
  expect(code).toBe(3);
  expect(JSON.parse(stdout)).toMatchObject({ error_code: 'NOT_READY' });
});

describe('an error in one line', () => {
  test('says what happened and what to do', () => {
    const error = new OpError('not-empty', 'mount at /a', { hint: 'name an empty directory' });
    expect(sentenceOf(error)).toBe('mount at /a: not empty; name an empty directory');
    expect(sentenceOf(new OpError('io', 'read /a'))).toBe('read /a: io');
  });

  test('of a configuration is what its hint says', () => {
    const error = new OpError('configuration', 'read c.toml', {
      hint: 'foo: there is no such key',
    });
    expect(sentenceOf(error)).toBe('read c.toml: foo: there is no such key');
  });

  test('is more than a line when it is a bug of ours', () => {
    const error = new OpError('internal', 'call', { cause: new TypeError('oops') });
    expect(sentenceOf(error)).toMatch(/this is a bug of kitfs.*\nTypeError: oops/);
    expect(sentenceOf(new OpError('internal', 'call', { cause: 3 }))).toContain('3');
    const bare = Object.assign(new Error('no trace'), { stack: undefined });
    expect(sentenceOf(new OpError('internal', 'call', { cause: bare }))).toMatch(/\nno trace$/);
  });
});

describe('a path', () => {
  test.each([
    ['/ipfs/a', '/', '/srv/tree', '/ipfs/a'],
    ['/srv/tree/ipfs/a', '/', '/srv/tree', '/ipfs/a'],
    ['/srv/tree', '/', '/srv/tree', '/'],
    ['/srv/trees/a', '/', '/srv/tree', '/srv/trees/a'],
    ['a', '/srv/tree/ipfs', '/srv/tree', '/ipfs/a'],
    ['.', '/srv/tree', '/srv/tree', '/'],
    ['../b/', '/srv/tree/ipfs', '/srv/tree', '/b'],
    ['/ipfs/a', '/', undefined, '/ipfs/a'],
  ])('%s in %s, with a mount at %s, is %s in the tree', (path, directory, mount, expected) => {
    expect(treePathOf(path, directory, mount)).toBe(expected);
  });
});
