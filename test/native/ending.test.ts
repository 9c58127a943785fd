/** The end of a process one of whose threads cannot end, in processes of their own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AT_FDCWD, loadNative } from '../../src/base/native.ts';
import { S_IFIFO } from '../../src/base/posix.ts';

const ADDON = createRequire(import.meta.url).resolve('../../native/build/Release/kitfs.node');

/** Runs a script that has the addon as `native`. */
const run = (script: string, ...args: string[]) =>
  spawnSync(
    process.execPath,
    ['-e', `const native = require(process.argv[1]); ${script}`, ADDON, ...args],
    {
      timeout: 10_000,
    },
  );

test('a process ends with its code although a thread of Node waits for ever', () => {
  const directory = mkdtempSync(join(tmpdir(), 'kitfs-native-'));
  const fifo = join(directory, 'fifo');
  loadNative().mknodAt(AT_FDCWD, fifo, S_IFIFO | 0o600, 0, 0);
  try {
    const opened = `require('node:fs').open(process.argv[2], 'r', () => {});`;
    const later = (end: string) => `${opened} setTimeout(() => { ${end} }, 50);`;
    const ended = run(later('native.endWithin(100, 7); process.exit(7);'), fifo);
    expect([ended.status, ended.signal]).toEqual([7, null]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('an end that comes sooner stays what it is', () => {
  expect(run('native.endWithin(60_000, 7); process.exitCode = 3;').status).toBe(3);
});
