/** Calls on names in open directories, on a real directory. */
import { closeSync, mkdtempSync, openSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { AT_FDCWD, loadNative, type NativeError } from '../../src/base/native.ts';
import * as posix from '../../src/base/posix.ts';

const native = loadNative();
const ODD = Buffer.from([0xff, 0x20, 0x0a, 0xc3, 0x28]); // Not UTF-8.
const ENOENT = { code: 'ENOENT', errno: 2 } satisfies Partial<NativeError>;
const DT_DIR = 4;
const DT_REG = 8;
const DT_LNK = 10;

let dir = '';
let fd = -1;

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  fd = openSync(dir, 'r');
});

afterEach(() => {
  closeSync(fd);
  rmSync(dir, { recursive: true });
});

function create(name: string | Buffer): void {
  const made = native.openAt(fd, name, posix.O_CREAT | posix.O_WRONLY | posix.O_EXCL, 0o600);
  native.closeDescriptor(made);
}

function names(): Buffer[] {
  const again = native.openAt(fd, '.', 0);
  const found: Buffer[] = [];
  for (;;) {
    const some = native.readDirectory(again, 1024);
    if (some.length === 0) break;
    found.push(...some.map(({ name }) => name));
  }
  native.closeDescriptor(again);
  return found.sort(Buffer.compare);
}

test('a name that is not UTF-8 is created, found, renamed and removed byte for byte', () => {
  create(ODD);
  expect(names()).toEqual([ODD]);
  const other = Buffer.from([0x80]);
  native.renameAt2(fd, ODD, fd, other, 0);
  expect(names()).toEqual([other]);
  expect(native.statx(fd, other).size).toBe(0);
  native.unlinkAt(fd, other, false);
  expect(names()).toEqual([]);
});

test('a failing call throws its code, a positive errno and the system call', () => {
  expect(() => native.openAt(fd, 'absent', 0)).toThrow(
    expect.objectContaining({ ...ENOENT, syscall: 'openat', name: 'Error' }),
  );
  expect(() => native.statx(fd, 'absent')).toThrow(expect.objectContaining(ENOENT));
  expect(() => native.mkdirAt(9999, 'a', 0o700)).toThrow(
    expect.objectContaining({ code: 'EBADF', errno: 9 }),
  );
});

test('a path is relative to the working directory when no directory is given', () => {
  writeFileSync(join(dir, 'file'), 'four');
  expect(native.statx(AT_FDCWD, join(dir, 'file')).size).toBe(4);
});

test('mkdirAt and unlinkAt tell directories from files', () => {
  native.mkdirAt(fd, 'sub', 0o700);
  expect(native.statx(fd, 'sub').mode).toBe(posix.S_IFDIR | 0o700);
  expect(() => native.unlinkAt(fd, 'sub', false)).toThrow(
    expect.objectContaining({ code: 'EISDIR' }),
  );
  native.unlinkAt(fd, 'sub', true);
  expect(() => native.unlinkAt(fd, 'sub', true)).toThrow(expect.objectContaining(ENOENT));
});

test('mknodAt makes a FIFO without privilege', () => {
  native.mknodAt(fd, 'fifo', posix.S_IFIFO | 0o600, 0, 0);
  expect(native.statx(fd, 'fifo').mode & posix.S_IFMT).toBe(posix.S_IFIFO);
});

test('renameAt2 refuses to replace, and exchanges, when told to', () => {
  create('a');
  native.mkdirAt(fd, 'b', 0o700);
  expect(() => native.renameAt2(fd, 'a', fd, 'b', 1)).toThrow(
    expect.objectContaining({ code: 'EEXIST' }),
  );
  native.renameAt2(fd, 'a', fd, 'b', 2);
  expect(native.statx(fd, 'a').mode & posix.S_IFMT).toBe(posix.S_IFDIR);
  expect(native.statx(fd, 'b').mode & posix.S_IFMT).toBe(posix.S_IFREG);
});

test('linkAt gives a second name, also to a file that has none', () => {
  create('a');
  native.linkAt(fd, 'a', fd, ODD);
  expect(native.statx(fd, 'a')).toMatchObject({ nlink: 2, ino: native.statx(fd, ODD).ino });
  const held = native.openAt(fd, 'a', 0);
  native.linkAt(AT_FDCWD, `/proc/self/fd/${held}`, fd, 'third', { follow: true });
  native.closeDescriptor(held);
  expect(native.statx(fd, 'third').nlink).toBe(3);
});

test('a symbolic link is read whole, and followed only when asked', () => {
  const target = Buffer.concat([ODD, Buffer.alloc(3000, 0x61)]);
  native.symlinkAt(target, fd, 'long');
  expect(native.readlinkAt(fd, 'long')).toEqual(target);
  writeFileSync(join(dir, 'file'), 'four');
  symlinkSync('file', join(dir, 'link'));
  expect(native.statx(fd, 'link').mode & posix.S_IFMT).toBe(posix.S_IFLNK);
  expect(native.statx(fd, 'link', { follow: true }).size).toBe(4);
  expect(() => native.readlinkAt(fd, 'file')).toThrow(expect.objectContaining({ code: 'EINVAL' }));
});

test('statx reports what stat does, with nanoseconds, and of the descriptor itself', async () => {
  const { statSync } = await import('node:fs');
  const told = statSync(dir, { bigint: true });
  const found = native.statx(fd, '', { emptyPath: true });
  expect(BigInt(found.ino)).toBe(told.ino);
  expect(found).toMatchObject({
    mode: Number(told.mode),
    nlink: Number(told.nlink),
    uid: Number(told.uid),
    gid: Number(told.gid),
    size: Number(told.size),
    blocks: Number(told.blocks),
    blksize: Number(told.blksize),
  });
  expect(BigInt(found.mtime.s) * 1_000_000_000n + BigInt(found.mtime.ns)).toBe(told.mtimeNs);
  expect(BigInt(found.ctime.s) * 1_000_000_000n + BigInt(found.ctime.ns)).toBe(told.ctimeNs);
  expect(() => native.statx(fd, '')).toThrow(RangeError);
});

test('readDirectory gives every entry once, in bounded parts, without dots', () => {
  const made = Array.from({ length: 100 }, (_, i) => `entry-${i}-${'x'.repeat(40)}`);
  for (const name of made) create(name);
  const again = native.openAt(fd, '.', 0);
  const first = native.readDirectory(again, 1024);
  native.closeDescriptor(again);
  expect(first.length).toBeLessThan(20);
  expect(names().map(String).sort()).toEqual(made.sort());
});

test('readDirectory tells types and inode numbers', () => {
  create('file');
  native.mkdirAt(fd, 'sub', 0o700);
  native.symlinkAt('file', fd, 'link');
  const found = native.readDirectory(fd).map(({ name, ino, type }) => [`${name}`, ino, type]);
  expect(new Set(found)).toEqual(
    new Set([
      ['file', native.statx(fd, 'file').ino, DT_REG],
      ['sub', native.statx(fd, 'sub').ino, DT_DIR],
      ['link', native.statx(fd, 'link').ino, DT_LNK],
    ]),
  );
  expect(native.readDirectory(fd)).toEqual([]);
});

test('what openAt opens is not inherited by children', async () => {
  const { execFileSync } = await import('node:child_process');
  const opened = native.openAt(fd, '.', 0);
  const listed = execFileSync('ls', ['-l', '/proc/self/fd'], { encoding: 'utf8' });
  native.closeDescriptor(opened);
  expect(listed).not.toContain(dir);
});
