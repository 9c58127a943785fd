import { mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { makeDirectories } from '../../src/daemon/directories.ts';

let root = '';
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'kitfs-directories-'));
});
afterEach(() => {
  rmSync(root, { recursive: true });
});

test('all that are missing are made, each with the mode', () => {
  makeDirectories(join(root, 'a/b/c'), 0o700);
  for (const name of ['a', 'a/b', 'a/b/c']) {
    expect(statSync(join(root, name)).mode & 0o777).toBe(0o700);
  }
});

test('one that is there is left as it is, and so is a link to one', () => {
  mkdirSync(join(root, 'a'), { mode: 0o750 });
  symlinkSync('a', join(root, 'link'));
  makeDirectories(join(root, 'a'), 0o700);
  makeDirectories(join(root, 'link'), 0o700);
  expect(statSync(join(root, 'a')).mode & 0o777).toBe(0o750);
  makeDirectories('/');
});

test('a file in the way, and a link to nothing, is a failure', () => {
  writeFileSync(join(root, 'file'), '');
  symlinkSync('none', join(root, 'dangling'));
  expect(() => makeDirectories(join(root, 'file'))).toThrow('EEXIST');
  expect(() => makeDirectories(join(root, 'file/below'))).toThrow('ENOTDIR');
  expect(() => makeDirectories(join(root, 'dangling'))).toThrow('EEXIST');
  expect(() => makeDirectories(join(root, 'dangling/below'))).toThrow('EEXIST');
});

test('a directory in which none can be made is a failure, and not asked again and again', () => {
  expect(() => makeDirectories('/proc/none/a')).toThrow('ENOENT');
});
