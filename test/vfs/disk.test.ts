/** What the disk holds more, or less, than the rows say, when the kernel is given a file to itself. */
import { appendFileSync, existsSync, rmSync, truncateSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Ino, Name } from '../../src/base/ids.ts';
import { O_RDONLY, O_RDWR, O_TRUNC } from '../../src/base/posix.ts';
import { DirectRig, KERNEL } from './direct-rig.ts';

const KIB = 1024;
const LARGE = Buffer.alloc(200 * KIB, 'l');

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => rig.close());

const pathOf = (ino: Ino): string =>
  rig.fixture.content.backingPath(rig.row(ino).content) ?? 'packed';

describe('bytes beyond the end, which a kill or a rollback left,', () => {
  test.each([
    ['to read', O_RDONLY],
    ['to write', O_RDWR],
  ])('are no part of a file that the kernel gets %s', (_, flags) => {
    const { ino, cid } = rig.putSealed('a', LARGE);
    appendFileSync(pathOf(ino), 'cut off long ago');
    const handle = rig.open(ino, flags);
    expect(rig.read(handle) === LARGE.toString()).toBe(true);
    expect(rig.row(ino).size).toBe(LARGE.length);
    rig.release(handle);
    expect(rig.contentOf(ino)).toMatchObject({ size: LARGE.length, state: 'sealed', cid });
    rig.expectAtRest();
  });

  test('are no part of the copy that history keeps', () => {
    const { ino } = rig.putSealed('a', LARGE);
    appendFileSync(pathOf(ino), 'cut off long ago');
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'X');
    rig.release(handle);
    expect(rig.bytesIn(rig.records(ino).at(-1)?.old_content) === LARGE.toString()).toBe(true);
    expect(rig.row(ino).size).toBe(LARGE.length);
    rig.expectAtRest();
  });
});

describe('a file whose bytes the disk has lost', () => {
  test('in part is not opened as if that were all of it, but can be emptied', () => {
    const { ino } = rig.putSealed('a', LARGE);
    truncateSync(pathOf(ino), 10);
    for (const flags of [O_RDONLY, O_RDWR]) {
      expect(() => rig.open(ino, flags)).toThrow(expect.objectContaining({ failure: 'integrity' }));
    }
    expect(rig.contentOf(ino)?.size).toBe(LARGE.length);
    rig.release(rig.open(ino, O_RDWR | O_TRUNC));
    expect(rig.row(ino).size).toBe(0);
    rig.expectAtRest();
  });

  test('with its slot is damaged, and all others are there after a start', () => {
    const lost = rig.create('lost');
    rig.write(lost.handle, 'bytes');
    const kept = rig.create('kept');
    rig.write(kept.handle, 'others');
    rmSync(rig.passthrough.pathOf(lost.handle.backing));
    rig.restart();
    expect(rig.bytesOf(kept.ino)).toBe('others');
    for (const flags of [O_RDONLY, O_RDWR]) {
      expect(() => rig.open(lost.ino, flags)).toThrow(
        expect.objectContaining({ failure: 'integrity' }),
      );
    }
    rig.release(rig.open(lost.ino, O_RDWR | O_TRUNC));
    rig.fixture.vfs.unlink(KERNEL, rig.fixture.ipfs, 'lost' as Name);
    rig.expectAtRest();
  });

  test('lost as it is cut is cut, as its row says, and who reads it is told', () => {
    const { ino } = rig.putSealed('a', LARGE);
    const handle = rig.open(ino, O_RDWR);
    const { vfs, journal } = rig.fixture;
    journal.commit(() => {
      void vfs.setattr(KERNEL, ino, { size: 100 });
      rmSync(rig.passthrough.pathOf(handle.backing));
    });
    expect(rig.kinds(ino).at(-1)).toBe('truncate');
    expect(journal.inodes.get(ino)?.size).toBe(100);
    expect(() => rig.core.inodes.get(ino)).toThrow(
      expect.objectContaining({ failure: 'integrity' }),
    );
  });

  test('lost while the kernel has it is EIO, never a name that is gone', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, LARGE);
    rig.release(handle);
    rmSync(pathOf(ino));
    expect(() => rig.open(ino, O_RDONLY)).toThrow(
      expect.objectContaining({ failure: 'integrity' }),
    );
  });
});

describe('a file that is copied before it is opened to be written', () => {
  test('keeps the bytes of the version it had when it was opened, not of one before', async () => {
    const before = Buffer.alloc(2048 * KIB, 'm');
    const { ino } = rig.putSealed('a', before);
    const opening = rig.openLater(ino, O_RDWR);
    // The thread has copied, and its answer waits until this is over.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
    const other = rig.fixture.vfs.openNow(KERNEL, ino, O_RDWR, false);
    rig.write(other, 'CHANGED');
    rig.release(other);
    const { journal, content } = rig.fixture;
    const cid = Buffer.from([1, 0x70, 0x12, 0x20, ...Array<number>(32).fill(99)]);
    const { content: id } = rig.row(ino);
    journal.commit(() => {
      journal.contents.insertBlock({ cid, content: id, position: 0, size: before.length });
      content.seal(id, cid, 'unixfs-v1-2025');
    });
    const between = rig.bytesOf(ino);
    const handle = await opening;
    rig.write(handle, 'X');
    rig.release(handle);
    const old = rig.records(ino).at(-1)?.old_content;
    expect(rig.contentRow(old)).toMatchObject({ cid });
    expect(rig.bytesIn(old) === between).toBe(true);
    rig.expectAtRest();
  });
});

describe('the kernel', () => {
  test('is not left with the number of a slot whose file became a copy for history', () => {
    const small = rig.create('small');
    rig.write(small.handle, 'x');
    rig.release(small.handle);
    const [slot] = rig.passthrough.registered.values();
    const { ino } = rig.putSealed('a', LARGE);
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'X');
    rig.release(handle);
    expect(existsSync(slot ?? '')).toBe(false);
    expect(rig.passthrough.registered.size).toBe(0);
  });

  test('is not left with the number of a file whose opening is rolled back', () => {
    const { ino } = rig.putSealed('a', LARGE);
    const before = rig.passthrough.registered.size;
    const { journal, vfs } = rig.fixture;
    expect(() =>
      journal.group(() => {
        vfs.openNow(KERNEL, ino, O_RDWR, false);
        throw new Error('broken');
      }),
    ).toThrow();
    expect(rig.passthrough.registered.size).toBe(before);
  });
});

describe('a directory with a file the kernel writes', () => {
  test('lists it as it is, not as its row says', () => {
    const { ino } = rig.putSealed('a', LARGE);
    const writer = rig.open(ino, O_RDWR);
    truncateSync(rig.passthrough.pathOf(writer.backing), 3 * LARGE.length);
    const sizes: (number | undefined)[] = [];
    void rig.fixture.vfs.list(rig.fixture.ipfs, 2, true, ({ inode }) => {
      sizes.push(inode?.size);
      return true;
    });
    expect(sizes).toEqual([3 * LARGE.length]);
    rig.release(writer);
  });
});
