/** The laws of which metadata is given to whoever restores, and when it differs from what is. */
import { expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import type { InodeRow } from '../../src/journal/journal.ts';
import { differsFrom, grantedTo } from '../../src/sync/metadata.ts';
import type { RemoteEntry } from '../../src/sync/remote.ts';

const mtime = { s: 10, ns: 5 };
const xattr = (name: string, value = 'v') => ({
  name: nameOfText(name),
  value: Buffer.from(value),
});

const NAMES = [
  'user.a',
  'user.kitfs.seq',
  'user.ipfs.cid',
  'system.posix_acl_access',
  'system.other',
  'trusted.t',
  'security.s',
];

const entry = (type: RemoteEntry['type'], more: object = {}): RemoteEntry => ({
  name: 'x' as Name,
  path: 'x' as Name,
  type,
  cid: undefined,
  size: 0,
  target: undefined,
  metadata: {
    mode: 0o6755,
    uid: 7,
    gid: 8,
    atime: undefined,
    mtime,
    xattrs: NAMES.map((name) => xattr(name)),
    ...more,
  },
  rdev: 0,
  sameAs: undefined,
  children: [],
});

const namesOf = (isRoot: boolean, type: RemoteEntry['type']) =>
  grantedTo({ isRoot }, entry(type)).xattrs?.map(({ name }) => name);

test('attributes are granted by who asks and by what may hold them', () => {
  const acl = 'system.posix_acl_access';
  expect(namesOf(true, 'file')).toEqual(['user.a', acl, 'trusted.t', 'security.s']);
  expect(namesOf(false, 'directory')).toEqual(['user.a', acl]);
  expect(namesOf(true, 'symlink')).toEqual(['trusted.t', 'security.s']);
  expect(namesOf(false, 'fifo')).toEqual([]);
});

test('a time of access that nobody told is the time of change', () => {
  expect(grantedTo({ isRoot: true }, entry('file')).atime).toEqual(mtime);
  const atime = { s: 99, ns: 0 };
  expect(grantedTo({ isRoot: true }, entry('file', { atime })).atime).toEqual(atime);
});

test('a mode that nobody told is none, for uid 0 and for others', () => {
  for (const isRoot of [true, false]) {
    expect(grantedTo({ isRoot }, entry('file', { mode: undefined })).mode).toBeUndefined();
  }
});

const row = {
  mode: 0o100644,
  uid: 7,
  gid: 8,
  mtimeS: mtime.s,
  mtimeNs: mtime.ns,
} as InodeRow;

const same = { mode: 0o644, uid: 7, gid: 8, atime: { s: 1, ns: 1 }, mtime, xattrs: [xattr('a')] };

test.each([
  ['mode', { mode: 0o600 }],
  ['owner', { uid: 1 }],
  ['group', { gid: 1 }],
  ['seconds', { mtime: { s: 11, ns: 5 } }],
  ['nanoseconds', { mtime: { s: 10, ns: 6 } }],
  ['no attributes', { xattrs: [] }],
  ['another attribute', { xattrs: [xattr('b')] }],
  ['another value', { xattrs: [xattr('a', 'w')] }],
])('another %s is a difference', (_, change) => {
  const withTimes = { withTimes: true };
  expect(differsFrom(same, row, [xattr('a')], withTimes)).toBe(false);
  expect(differsFrom({ ...same, ...change }, row, [xattr('a')], withTimes)).toBe(true);
});

test('what is not told, and times that do not count, are no difference', () => {
  const nothing = {
    mode: undefined,
    uid: undefined,
    gid: undefined,
    atime: undefined,
    mtime: undefined,
    xattrs: undefined,
  };
  expect(differsFrom(nothing, row, [xattr('a')], { withTimes: true })).toBe(false);
  const late = { ...same, mtime: { s: 99, ns: 9 } };
  expect(differsFrom(late, row, [xattr('a')], { withTimes: false })).toBe(false);
});
