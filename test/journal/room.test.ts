/** The journal on a disk that is full: a tmpfs, in a mount namespace of its own. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';

const CHILD = fileURLToPath(new URL('room-child.mjs', import.meta.url));
const BUILT = fileURLToPath(new URL('../../dist/src/', import.meta.url));

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'kitfs-room-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

interface Told {
  readonly freeBytes: number;
  readonly refused: string;
  readonly isShort: boolean;
  readonly freed: number;
  readonly refusedStill: string;
  readonly isShortWithSpace: boolean;
  readonly records: number;
  readonly found: number;
  readonly findings: readonly string[];
}

function fill(): Told {
  const isRoot = process.getuid?.() === 0;
  const namespace = isRoot ? ['--mount'] : ['--map-root-user', '--mount'];
  const child = spawnSync('unshare', [...namespace, process.execPath, CHILD, BUILT, directory], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  expect(child.stderr).toBe('');
  return JSON.parse(child.stdout) as Told;
}

test('with no byte free what frees space is committed a thousand times, and nothing else', () => {
  const told = fill();
  expect(told.freeBytes).toBe(0);
  expect([told.refused, told.isShort]).toEqual(['no-space', true]);
  expect(told.freed).toBe(1000);
  expect(told.refusedStill).toBe('no-space');
  // With space the reserve is whole again, and all of it is still there when it is opened anew.
  expect(told.isShortWithSpace).toBe(false);
  expect(told.found).toBe(told.records);
  expect(told.findings).toEqual([]);
}, 60_000);
