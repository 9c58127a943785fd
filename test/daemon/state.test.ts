import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';
import { openState, statePaths } from '../../src/daemon/state.ts';
import { Scratch } from './scratch.ts';

const native = loadNative();

test('the directory is made, closed to others, and says what it is', () => {
  using scratch = new Scratch();
  const directory = scratch.path('a', 'b', 'state');
  using state = openState(directory, native);
  expect(statSync(directory).mode & 0o777).toBe(0o700);
  expect(readFileSync(state.format, 'utf8')).toBe('kitfs-state 1\n');
  expect(state.journal).toBe(`${directory}/journal.db`);
});

test('a directory of ours that others may look into is closed to them', () => {
  using scratch = new Scratch();
  chmodSync(scratch.directory, 0o755);
  using state = openState(scratch.directory, native);
  expect(statSync(state.directory).mode & 0o777).toBe(0o700);
});

test('a directory in use is refused, and the daemon that uses it is named', () => {
  using scratch = new Scratch();
  const first = openState(scratch.directory, native);
  expect(() => openState(scratch.directory, native)).toThrow(
    expect.objectContaining({
      failure: 'busy',
      message: expect.stringContaining(`pid ${process.pid}`),
      details: { pid: process.pid },
    }),
  );
  first[Symbol.dispose]();
  openState(scratch.directory, native)[Symbol.dispose]();
});

test('a lock file without a pid in it is refused all the same', () => {
  using scratch = new Scratch();
  using first = openState(scratch.directory, native);
  writeFileSync(first.lock, '');
  expect(() => openState(scratch.directory, native)).toThrow(/another kitfs/);
});

test('a directory that holds other things is refused and left as it is', () => {
  using scratch = new Scratch();
  for (const name of ['a', 'b', 'c', 'd']) writeFileSync(scratch.path(name), '');
  expect(() => openState(scratch.directory, native)).toThrow(/it holds other things \(a, b, c\)/);
  expect(readdirSync(scratch.directory)).toEqual(['a', 'b', 'c', 'd']);
});

test('a first start that was cut off right at its beginning is no obstacle', () => {
  using scratch = new Scratch();
  writeFileSync(statePaths(scratch.directory).lock, '');
  openState(scratch.directory, native)[Symbol.dispose]();
});

test('a directory that a newer kitfs made is refused, and so is one of another kind', () => {
  using scratch = new Scratch();
  const { format } = statePaths(scratch.directory);
  writeFileSync(format, 'kitfs-state 2\n');
  expect(() => openState(scratch.directory, native)).toThrow(
    expect.objectContaining({ failure: 'version-unsupported' }),
  );
  writeFileSync(format, 'something else\n');
  expect(() => openState(scratch.directory, native)).toThrow(
    expect.objectContaining({ failure: 'configuration' }),
  );
  // The lock was given back each time.
  writeFileSync(format, 'kitfs-state 1\n');
  openState(scratch.directory, native)[Symbol.dispose]();
});

test('a path on which there is a file is refused', () => {
  using scratch = new Scratch();
  writeFileSync(scratch.path('file'), '');
  expect(() => openState(scratch.path('file'), native)).toThrow(
    expect.objectContaining({ op: expect.stringContaining('use the state directory') }),
  );
  expect(() => openState(scratch.path('file', 'below'), native)).toThrow();
});

test('a lock that cannot be opened is refused with the directory named', () => {
  using scratch = new Scratch();
  mkdirSync(statePaths(scratch.directory).lock);
  expect(() => openState(scratch.directory, native)).toThrow(
    expect.objectContaining({ failure: 'is-directory' }),
  );
});
