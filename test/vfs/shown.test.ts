/** A daemon goes on where a killed one was: the kernel has its files open still. */
import { utimesSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import type { Handle } from '../../src/vfs/vfs.ts';
import { DirectRig, KERNEL } from './direct-rig.ts';

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => rig.close());

const shown = (ino: Ino) => {
  const { mtimeS, mtimeNs, ctimeS, ctimeNs, size, version } = rig.fixture.vfs.getattr(KERNEL, ino);
  return { mtime: { s: mtimeS, ns: mtimeNs }, ctime: { s: ctimeS, ns: ctimeNs }, size, version };
};

/** Changes the file so that the disk shows another size and this time. */
function writeAt(handle: Handle, size: number, seconds: number): void {
  rig.lengthen(handle, size);
  utimesSync(rig.passthrough.pathOf(handle.backing), seconds, seconds);
}

test('what was seen of a file that the kernel writes is not taken back by a kill', () => {
  const { ino, handle } = rig.create('a');
  const { s, ns } = shown(ino).ctime;
  // One tick of the disk's clock, in which two writes fall.
  const tick = s + (ns + 3000) / 1e9;
  writeAt(handle, 1, tick);
  const first = shown(ino);
  writeAt(handle, 2, tick);
  const second = shown(ino);
  expect(second.mtime).not.toEqual(first.mtime);
  for (let kill = 0; kill < 2; kill++) {
    rig.takeOver({ ...handle, ino });
    const { version, ...rest } = shown(ino);
    expect({ ...rest, version: second.version }).toEqual(second);
    expect(version).toBeGreaterThanOrEqual(second.version);
  }
  writeAt(handle, 3, tick + 100);
  expect(shown(ino).mtime.s).toBe(Math.floor(tick + 100));
  rig.release(handle);
  expect(shown(ino).size).toBe(3);
  rig.expectAtRest();
});
