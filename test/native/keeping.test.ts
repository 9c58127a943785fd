/** Memory that several processes map. */
import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';
import { loadNative } from '../../src/base/native.ts';

const native = loadNative();
const ADDON = JSON.stringify(
  fileURLToPath(new URL('../../native/build/Release/kitfs.node', import.meta.url)),
);

describe('shared memory', () => {
  test('shows every mapping of it the same bytes', () => {
    const fd = native.makeShared(5000);
    const [one, other] = [native.mapShared(fd, 5000), native.mapShared(fd, 4096)];
    closeSync(fd);
    expect(one.equals(Buffer.alloc(5000))).toBe(true);
    one.write('both', 100);
    expect(other.toString('latin1', 100, 104)).toBe('both');
    expect([one.length, other.length]).toEqual([5000, 4096]);
  });

  test('has all its pages before anybody touches one, and grows by the range asked for', () => {
    const fd = native.makeShared(8192);
    expect(fstatSync(fd)).toMatchObject({ size: 8192, blocks: 16 });
    native.allocateShared(fd, 40_960, 4096);
    expect(fstatSync(fd)).toMatchObject({ size: 45_056, blocks: 24 });
    native.mapShared(fd, 8192).write('kept');
    expect(native.mapShared(fd, 45_056).toString('latin1', 0, 4)).toBe('kept');
    closeSync(fd);
  });

  test('never becomes shorter, and is not mapped beyond its end', () => {
    const fd = native.makeShared(4096);
    expect(() => native.mapShared(fd, 4097)).toThrow(RangeError);
    const cut = spawnSync('truncate', ['-s', '0', `/proc/${process.pid}/fd/${fd}`]);
    expect(cut.status).not.toBe(0);
    expect(fstatSync(fd).size).toBe(4096);
    closeSync(fd);
  });

  test('is there for a process that opened it when who made it was killed', () => {
    const child = `
      const native = require(${ADDON});
      native.mapShared(3, 4096).write('from a process that died');
      process.kill(process.pid, 'SIGKILL');`;
    const fd = native.makeShared(4096);
    const { signal } = spawnSync(process.execPath, ['-e', child], {
      stdio: ['ignore', 'inherit', 'inherit', fd],
    });
    expect(signal).toBe('SIGKILL');
    expect(native.mapShared(fd, 4096).toString('latin1', 0, 24)).toBe('from a process that died');
    closeSync(fd);
  });

  test('is given back when the buffer over it is collected', () => {
    const collect = `
      const native = require(${ADDON});
      const { readFileSync } = require('node:fs');
      const mapped = () => (readFileSync('/proc/self/maps', 'latin1').match(/memfd:kitfs/g) ?? []).length;
      const fd = native.makeShared(4096);
      (() => { for (let i = 0; i < 100; i++) native.mapShared(fd, 4096)[0] = 1; })();
      if (mapped() === 0) process.exit(2);
      const until = () => { gc(); if (mapped() === 0) process.exit(0); setImmediate(until); };
      setImmediate(until);`;
    const { status } = spawnSync(process.execPath, ['--expose-gc', '-e', collect], {
      stdio: ['ignore', 'inherit', 'inherit'],
      timeout: 20_000,
    });
    expect(status).toBe(0);
  });
});
