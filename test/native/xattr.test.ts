/** Extended attributes on a real file. */
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';

const native = loadNative();
const ODD = Buffer.from('user.\xff', 'latin1');
const XATTR_CREATE = 1;
const XATTR_REPLACE = 2;

let dir = '';
let path = '';
let fd = -1;

beforeEach(() => {
  // Not where temporary files may be in memory, which on older kernels keeps no user attributes.
  dir = mkdtempSync('/var/tmp/kitfs-native-');
  path = join(dir, 'file');
  fd = openSync(path, 'w+');
});

afterEach(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

test('a value is kept byte for byte, on a descriptor and on a path alike', () => {
  const value = Buffer.from([0, 1, 0xff, 0]);
  native.setXattr(fd, ODD, value);
  expect(native.getXattr(fd, ODD)).toEqual(value);
  expect(native.getXattr(path, ODD)).toEqual(value);
  native.setXattr(Buffer.from(path), 'user.empty', Buffer.alloc(0));
  expect(native.getXattr(fd, 'user.empty')).toEqual(Buffer.alloc(0));
  expect(native.listXattr(fd).sort(Buffer.compare)).toEqual([Buffer.from('user.empty'), ODD]);
  native.removeXattr(fd, ODD);
  native.removeXattr(path, 'user.empty');
  expect(native.listXattr(path)).toEqual([]);
});

test('an attribute that is not there is ENODATA', () => {
  const absent = expect.objectContaining({ code: 'ENODATA', errno: 61 });
  expect(() => native.getXattr(fd, 'user.a')).toThrow(absent);
  expect(() => native.removeXattr(fd, 'user.a')).toThrow(absent);
  expect(() => native.setXattr(fd, 'user.a', Buffer.alloc(1), XATTR_REPLACE)).toThrow(absent);
});

test('an attribute that must be new is refused when it is there', () => {
  native.setXattr(fd, 'user.a', Buffer.alloc(1), XATTR_CREATE);
  expect(() => native.setXattr(fd, 'user.a', Buffer.alloc(1), XATTR_CREATE)).toThrow(
    expect.objectContaining({ code: 'EEXIST' }),
  );
});

test('a link is not followed unless asked', () => {
  native.setXattr(fd, 'user.a', Buffer.from('file'));
  const link = join(dir, 'link');
  symlinkSync('file', link);
  expect(native.listXattr(link).map(String)).not.toContain('user.a');
  expect(native.getXattr(link, 'user.a', { follow: true })).toEqual(Buffer.from('file'));
});
