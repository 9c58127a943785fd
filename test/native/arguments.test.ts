/** Every call of the addon refuses what it cannot use, before it does anything. */
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';

/** The addon as JavaScript sees it: any arguments at all. */
type Untyped = Readonly<Record<string, (...args: unknown[]) => unknown>>;
const native = loadNative() as unknown as Untyped;

const dir = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
const file = openSync(join(dir, 'file'), 'w+');
const folder = openSync(dir, 'r');
afterAll(() => {
  closeSync(file);
  closeSync(folder);
  rmSync(dir, { recursive: true });
});

const HUGE = 2 ** 53;
const NOT_NUMBERS = [undefined, null, '1', {}, 1n, true];
const NOT_INTEGERS = [-1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, HUGE];
const NOT_NAMES = [undefined, null, 1, {}, new Uint16Array(2), ['a']];
const NOT_USABLE_NAMES = ['', 'a\0b', Buffer.alloc(0), Buffer.from('a\0'), new Uint8Array(1)];
const NOT_BOOLEANS = [undefined, null, 0, 'true', {}];
const NOT_OBJECTS = [null, 1, 'text', () => undefined];
const NOT_BYTES = [undefined, null, 'text', {}, [1], new Uint16Array(8), new ArrayBuffer(8)];
const NOT_FUNCTIONS = [undefined, null, {}, 'text'];

/** What is wrong by its type, and what is wrong by its value. */
interface Kind {
  readonly types: readonly unknown[];
  readonly values: readonly unknown[];
}
const DESCRIPTOR: Kind = { types: NOT_NUMBERS, values: [...NOT_INTEGERS, 2 ** 31, -100] };
const DIRECTORY: Kind = { types: NOT_NUMBERS, values: [...NOT_INTEGERS, 2 ** 31, -101] };
const NUMBER: Kind = { types: NOT_NUMBERS, values: NOT_INTEGERS };
const ABSENT_OR_NUMBER: Kind = {
  types: NOT_NUMBERS.filter((value) => value !== undefined),
  values: NOT_INTEGERS,
};
const NAME: Kind = { types: NOT_NAMES, values: NOT_USABLE_NAMES };
const BOOLEAN: Kind = { types: NOT_BOOLEANS, values: [] };
const OPTIONS: Kind = { types: NOT_OBJECTS, values: [] };
const BYTES: Kind = { types: NOT_BYTES, values: [] };
const FUNCTION: Kind = { types: NOT_FUNCTIONS, values: [] };

/** A call with right arguments, and the kind of each. */
type Row = readonly [call: string, ...args: readonly (readonly [right: unknown, kind: Kind])[]];

const mountOptions = { source: 'kitfs', fsType: 'fuse.kitfs' };
const channelOptions = { requestBytesMax: 8192, arenaBytes: 16384, requestsMax: 4 };
const nothing = () => undefined;

const CALLS: readonly Row[] = [
  ['mountFuse', [file, DESCRIPTOR], [dir, NAME], [mountOptions, OPTIONS]],
  ['mountWithHelper', ['/bin/false', NAME], [dir, NAME], ['a', { types: NOT_NAMES, values: [] }]],
  ['unmount', [join(dir, 'absent'), NAME], [{}, OPTIONS]],
  [
    'openChannel',
    [file, DESCRIPTOR],
    [channelOptions, OPTIONS],
    [nothing, FUNCTION],
    [nothing, FUNCTION],
  ],
  ['openNotifier', [file, DESCRIPTOR], [{ queueMax: 1, program: '/x' }, OPTIONS]],
  ['backingOpen', [file, DESCRIPTOR], [file, DESCRIPTOR]],
  ['backingClose', [file, DESCRIPTOR], [1, { ...NUMBER, values: [...NOT_INTEGERS, 0] }]],
  ['closeDescriptor', [file, DESCRIPTOR]],
  [
    'endWithin',
    [0, { ...NUMBER, values: [...NOT_INTEGERS, 60_001] }],
    [0, { ...NUMBER, values: [...NOT_INTEGERS, 256] }],
  ],
  [
    'tellSystemd',
    [
      join(dir, 'absent'),
      { ...NAME, values: [...NOT_USABLE_NAMES, 'name', `/${'a'.repeat(107)}`] },
    ],
    ['READY=1', { ...NAME, values: [...NOT_USABLE_NAMES, 'a'.repeat(4097)] }],
  ],
  ['peerCredentials', [file, DESCRIPTOR]],
  [
    'sendMessage',
    [file, DESCRIPTOR],
    [Buffer.alloc(1), { ...BYTES, values: [Buffer.alloc(0), Buffer.alloc(8193)] }],
    [file, { ...DESCRIPTOR, types: ABSENT_OR_NUMBER.types }],
    [0, { ...ABSENT_OR_NUMBER, values: [...NOT_INTEGERS, 60_001] }],
  ],
  ['receiveMessage', [file, DESCRIPTOR], [0, { ...NUMBER, values: [...NOT_INTEGERS, 60_001] }]],
  ['hasFailed', [file, DESCRIPTOR]],
  ['connectSeqpacket', [join(dir, 'absent'), NAME]],
  ['makeShared', [1, { ...NUMBER, values: [...NOT_INTEGERS, 0, 2 ** 30 + 1] }]],
  [
    'allocateShared',
    [file, DESCRIPTOR],
    [0, { ...NUMBER, values: [...NOT_INTEGERS, 2 ** 30] }],
    [1, { ...NUMBER, values: [...NOT_INTEGERS, 0, 2 ** 30 + 1] }],
  ],
  [
    'replaceProcess',
    [join(dir, 'absent'), NAME],
    [[], { types: [undefined, null, {}, 'a', 1, [1], [undefined]], values: [['a\0b']] }],
  ],
  [
    'mapShared',
    [file, { ...DESCRIPTOR, values: [...DESCRIPTOR.values, file] }],
    [1, { ...NUMBER, values: [...NOT_INTEGERS, 0, 2 ** 30 + 1] }],
  ],
  ['flockTry', [file, DESCRIPTOR], [true, BOOLEAN]],
  ['otherOpeners', [file, DESCRIPTOR]],
  [
    'sense',
    [file, { types: [undefined, null, {}, 1n, true], values: [-1, 0.5, '', 'a\0b'] }],
    [new Float64Array(5), { types: [undefined, [], new Float32Array(5)], values: [] }],
  ],
  ['unread', [file, { types: [undefined, null, {}, 1n, true], values: [-1, 0.5, '', 'a\0b'] }]],
  ['empty', [join(dir, 'file'), NAME]],
  ['fallocate', [file, DESCRIPTOR], [0, NUMBER], [0, NUMBER], [1, NUMBER]],
  [
    'seek',
    [file, DESCRIPTOR],
    [0, NUMBER],
    ['data', { ...NAME, values: [...NOT_USABLE_NAMES, 'end'] }],
  ],
  ['copyFileRange', [file, DESCRIPTOR], [0, NUMBER], [file, DESCRIPTOR], [0, NUMBER], [1, NUMBER]],
  ['reflink', [file, DESCRIPTOR], [file, DESCRIPTOR]],
  ['openAt', [folder, DIRECTORY], ['new', NAME], [0, NUMBER], [0, ABSENT_OR_NUMBER]],
  [
    'mkdirAt',
    [folder, DIRECTORY],
    ['new', NAME],
    [0, { ...NUMBER, values: [...NOT_INTEGERS, 0o10000] }],
  ],
  [
    'mknodAt',
    [folder, DIRECTORY],
    ['new', NAME],
    [0o10600, NUMBER],
    [0, { ...NUMBER, values: [...NOT_INTEGERS, 4096] }],
    [0, { ...NUMBER, values: [...NOT_INTEGERS, 2 ** 20] }],
  ],
  ['unlinkAt', [folder, DIRECTORY], ['absent', NAME], [false, BOOLEAN]],
  [
    'renameAt2',
    [folder, DIRECTORY],
    ['absent', NAME],
    [folder, DIRECTORY],
    ['new', NAME],
    [0, { ...NUMBER, values: [...NOT_INTEGERS, 8] }],
  ],
  [
    'linkAt',
    [folder, DIRECTORY],
    ['absent', NAME],
    [folder, DIRECTORY],
    ['new', NAME],
    [{}, OPTIONS],
  ],
  ['symlinkAt', ['target', NAME], [folder, DIRECTORY], ['link', NAME]],
  ['readlinkAt', [folder, DIRECTORY], ['link', NAME], [{}, OPTIONS]],
  ['statx', [folder, DIRECTORY], ['file', NAME], [{}, OPTIONS]],
  [
    'readDirectory',
    [folder, DESCRIPTOR],
    [4096, { ...ABSENT_OR_NUMBER, values: [...NOT_INTEGERS, 100, 2 ** 21] }],
  ],
  [
    'getXattr',
    [file, { types: [undefined, null, {}, true], values: [-1, 0.5, Number.NaN, HUGE, '', 'a\0'] }],
    ['user.a', NAME],
    [{}, OPTIONS],
  ],
  [
    'setXattr',
    [file, { types: [undefined, null, {}, true], values: [-1, 0.5, Number.NaN, HUGE, '', 'a\0'] }],
    ['user.a', NAME],
    [Buffer.alloc(1), BYTES],
    [0, { ...ABSENT_OR_NUMBER, values: [...NOT_INTEGERS, 4] }],
    [{}, OPTIONS],
  ],
  [
    'listXattr',
    [file, { types: [undefined, null, {}, true], values: [-1, 0.5, Number.NaN, HUGE, '', 'a\0'] }],
    [{}, OPTIONS],
  ],
  [
    'removeXattr',
    [file, { types: [undefined, null, {}, true], values: [-1, 0.5, Number.NaN, HUGE, '', 'a\0'] }],
    ['user.a', NAME],
    [{}, OPTIONS],
  ],
  [
    'fdatasyncMany',
    [
      [file],
      { types: [undefined, null, {}, 'a', 1, ['1'], [undefined]], values: [[-1], [file, HUGE]] },
    ],
  ],
];

function show(value: unknown): string {
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'string') return JSON.stringify(value);
  return Array.isArray(value) ? `[${value.map(show).join()}]` : String(value);
}

describe('a call refuses', () => {
  for (const [call, ...args] of CALLS) {
    const right = args.map(([value]) => value);
    args.forEach(([, kind], index) => {
      const refused = (wrong: unknown) => () => native[call]?.(...right.with(index, wrong));
      test(`${call}: argument ${index + 1} of a wrong type`, () => {
        for (const wrong of kind.types) expect(refused(wrong), show(wrong)).toThrow(TypeError);
      });
      if (kind.values.length === 0) return;
      test(`${call}: argument ${index + 1} out of range`, () => {
        for (const wrong of kind.values) expect(refused(wrong), show(wrong)).toThrow(RangeError);
      });
    });
  }
});

test('the table names every call of the addon that takes an argument', () => {
  const named = CALLS.map(([call]) => call);
  expect([...named, 'openFuseDevice'].sort()).toEqual(Object.keys(native).sort());
});

describe('an options object is refused', () => {
  const mount = (change: object) => () =>
    native['mountFuse']?.(file, dir, { ...mountOptions, ...change });
  const channel = (change: object) => () =>
    native['openChannel']?.(file, { ...channelOptions, ...change }, nothing, nothing);

  test('with a member of a wrong type', () => {
    for (const name of ['readOnly', 'nosuid', 'nodev', 'allowOther', 'defaultPermissions']) {
      expect(mount({ [name]: 1 }), name).toThrow(TypeError);
    }
    for (const name of ['source', 'fsType', 'maxReadBytes']) {
      expect(mount({ [name]: null }), name).toThrow(TypeError);
    }
    for (const name of Object.keys(channelOptions)) {
      expect(channel({ [name]: '8192' }), name).toThrow(TypeError);
      expect(channel({ [name]: undefined }), name).toThrow(TypeError);
    }
    expect(() => native['unmount']?.(dir, { lazy: 1 })).toThrow(TypeError);
    expect(() => native['unmount']?.(dir, { force: 'yes' })).toThrow(TypeError);
    expect(() => native['statx']?.(folder, 'file', { follow: 0 })).toThrow(TypeError);
    expect(() => native['openNotifier']?.(file, {})).toThrow(TypeError);
  });

  test('with a member out of range', () => {
    for (const source of ['a,b', 'a\nb', '', 'a\0']) {
      expect(mount({ source }), source).toThrow(RangeError);
    }
    for (const fsType of ['ext4', 'fuse.', 'fuse.a,b', 'fusectl', 'fuse.a b']) {
      expect(mount({ fsType }), fsType).toThrow(RangeError);
    }
    expect(mount({ maxReadBytes: -1 })).toThrow(RangeError);
    for (const wrong of [0, -1, Number.NaN, HUGE, 8191.5]) {
      for (const name of Object.keys(channelOptions)) {
        expect(channel({ [name]: wrong }), `${name} ${wrong}`).toThrow(RangeError);
      }
      expect(() => native['openNotifier']?.(file, { queueMax: wrong })).toThrow(RangeError);
    }
    expect(channel({ requestBytesMax: 8191 }), 'less than the kernel takes').toThrow(RangeError);
    expect(channel({ arenaBytes: 8191 }), 'less than one request').toThrow(RangeError);
  });

  test('when the helper options would leave a helper behind', () => {
    expect(() => native['mountWithHelper']?.('/bin/true', dir, 'rw,auto_unmount')).toThrow(
      RangeError,
    );
    expect(() => native['mountWithHelper']?.('fusermount3', dir, '')).toThrow(RangeError);
  });
});

test('what a getter throws comes through', () => {
  const options = {
    get queueMax(): number {
      throw new SyntaxError('from the getter');
    },
  };
  expect(() => native['openNotifier']?.(file, options)).toThrow(SyntaxError);
});
