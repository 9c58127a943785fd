/** What the disk holds more, or less, than the rows say, when the kernel is given a file to itself. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { O_RDWR } from '../../src/base/posix.ts';
import { DirectRig, KERNEL } from './direct-rig.ts';

const KIB = 1024;

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => rig.close());

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
    journal.commit(() => content.seal(id, cid, 'unixfs-v1-2025'));
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
