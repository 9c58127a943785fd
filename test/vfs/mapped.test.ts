/** Files that the kernel reads and writes by itself: which, from when to when, and what is told of it. */
import { statSync, truncateSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Ino, Name } from '../../src/base/ids.ts';
import { O_RDONLY, O_RDWR } from '../../src/base/posix.ts';
import { restLingering } from '../../src/vfs/vfs.ts';
import { DirectRig, KERNEL } from './direct-rig.ts';
import { ROOT } from './fixture.ts';

const SMALL = Buffer.alloc(1000, 's');

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => rig.close());

describe('a file that somebody has mapped', () => {
  test('is not at rest before the mapping ends, and what it changed counts', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, SMALL);
    const mapping = rig.map(handle, 'r+');
    rig.release(handle);
    expect([restLingering(rig.core), rig.contentOf(ino)?.state]).toEqual([0, 'open']);
    rig.write(handle, 'mapped');
    expect(rig.bytesOf(ino).slice(0, 7)).toBe('mappeds');
    mapping.end();
    expect([restLingering(rig.core), restLingering(rig.core)]).toEqual([1, 0]);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'frozen', place: 'packed' });
    expect(rig.bytesOf(ino).slice(0, 7)).toBe('mappeds');
    rig.expectAtRest();
  });

  test('to read only comes to rest where it lies', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, SMALL);
    const file = rig.diskInode(handle);
    const mapping = rig.map(handle, 'r');
    rig.release(handle);
    const path = rig.fixture.content.backingPath(rig.row(ino).content) ?? '';
    expect(statSync(path).ino).toBe(file);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'frozen', place: 'file' });
    mapping.end();
    rig.expectAtRest();
  });

  test('opened again is the same file under the same number', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, SMALL);
    const mapping = rig.map(handle, 'r+');
    rig.release(handle);
    const again = rig.open(ino, O_RDWR);
    expect(again.backing).toBe(handle.backing);
    mapping.end();
    expect(restLingering(rig.core)).toBe(0);
    rig.release(again);
    rig.expectAtRest();
  });

  test('and removed is gone when the mapping ends', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, SMALL);
    const mapping = rig.map(handle, 'r+');
    rig.fixture.vfs.unlink(KERNEL, rig.fixture.ipfs, 'a' as Name);
    rig.release(handle);
    expect(restLingering(rig.core)).toBe(0);
    mapping.end();
    restLingering(rig.core);
    expect(rig.core.inodes.find(ino)).toBeUndefined();
    rig.expectAtRest();
  });
});

describe('pages the kernel kept', () => {
  const drops = (ino: Ino): boolean | undefined => {
    // So that its time of access, which is another reason, is not due to change.
    const atime = { s: rig.core.clock.now().s + 100, ns: 0 };
    void rig.fixture.vfs.setattr(KERNEL, ino, { atime });
    const handle = rig.open(ino, O_RDONLY);
    rig.release(handle);
    expect(handle.backing).toBeUndefined();
    return handle.dropsPages;
  };

  test('are dropped once, when the file changed past them', () => {
    const ino = rig.put('a', SMALL);
    expect(drops(ino)).toBe(false);
    rig.release(rig.open(ino, O_RDWR));
    expect(drops(ino)).toBe(false);
    const writer = rig.open(ino, O_RDWR);
    rig.write(writer, 'new');
    rig.release(writer);
    expect([drops(ino), drops(ino)]).toEqual([true, false]);
  });

  test('are dropped also when the open that said so was undone', () => {
    const ino = rig.put('a', SMALL);
    const writer = rig.open(ino, O_RDWR);
    rig.write(writer, 'new');
    rig.release(writer);
    const { journal, ipfs, vfs } = rig.fixture;
    expect(() =>
      journal.group(() => {
        rig.open(ino, O_RDONLY);
        vfs.mkdir(ROOT, ipfs, 'd' as Name, 0o755);
        journal.commit(() => truncateSync('/no/such/file'));
      }),
    ).toThrow();
    expect(drops(ino)).toBe(true);
  });

  test('are none of a file just made, and none of one it forgot', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, SMALL);
    rig.release(handle);
    expect(drops(ino)).toBe(false);
    const writer = rig.open(ino, O_RDWR);
    rig.write(writer, 'new');
    rig.release(writer);
    rig.fixture.vfs.forget(ino);
    expect([drops(ino), rig.core.live.stalePages.size]).toEqual([false, 0]);
  });
});
