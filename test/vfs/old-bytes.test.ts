/** What records keep of files that the kernel writes by itself: each what was there before it. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { O_RDWR } from '../../src/base/posix.ts';
import { endSession } from '../../src/vfs/sessions.ts';
import { copyTree } from '../../src/vfs/vfs.ts';
import { DirectRig } from './direct-rig.ts';
import { ROOT } from './fixture.ts';

const SMALL = Buffer.alloc(1000, 's');
const LARGE = Buffer.alloc(200 * 1024, 'l');

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => rig.close());

describe('what the daemon writes for it', () => {
  test('by two at once is told from its beginning by the first record, and not again', () => {
    const { vfs } = rig.fixture;
    const { ino } = rig.putSealed('a', LARGE);
    const [one, two] = [
      vfs.openNow(ROOT, ino, O_RDWR, false),
      vfs.openNow(ROOT, ino, O_RDWR, false),
    ];
    vfs.write(ROOT, one.fh, Buffer.from('one'), 0, false);
    vfs.write(ROOT, two.fh, Buffer.from('two'), LARGE.length, false);
    rig.release(two);
    vfs.write(ROOT, one.fh, Buffer.from('more'), 0, false);
    rig.release(one);
    const [first, second] = rig.records(ino).slice(-2);
    expect(rig.bytesIn(first?.old_content)).toBe(LARGE.toString());
    expect(second).toMatchObject({ old_content: null, old_size: LARGE.length + 3 });
    rig.expectAtRest();
  });
});

describe('what it writes', () => {
  test('has in each of its records what was there before that one, and old bytes in the first', async () => {
    const { ino } = rig.putSealed('a', LARGE);
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'one', LARGE.length);
    await rig.fixture.vfs.fsync(handle.fh, false);
    const { mtimeS, mtimeNs } = rig.row(ino);
    expect(rig.fixture.journal.sessions.all()).toMatchObject([
      { oldContent: 0, oldSize: LARGE.length + 3 },
    ]);
    rig.write(handle, 'two', LARGE.length + 3);
    rig.release(handle);
    const [first, second] = rig.records(ino).slice(-2);
    expect(rig.bytesIn(first?.old_content)).toBe(LARGE.toString());
    expect(second).toMatchObject({ old_content: null, old_size: LARGE.length + 3 });
    expect(JSON.parse(second?.before ?? '').times.slice(2, 4)).toEqual([mtimeS, mtimeNs]);
    rig.expectAtRest();
  });

  test('by the second who opens a file that the first left as it was has old bytes too', () => {
    for (const bytes of [SMALL, LARGE]) {
      const { ino } = rig.putSealed(`f${bytes.length}`, bytes);
      const first = rig.open(ino, O_RDWR);
      const second = rig.open(ino, O_RDWR);
      rig.release(first);
      rig.write(second, 'new');
      const third = rig.open(ino, O_RDWR);
      rig.release(second);
      const record = rig.records(ino).at(-1);
      expect(rig.bytesIn(record?.old_content)).toBe(bytes.toString());
      rig.write(third, 'newer');
      rig.release(third);
      expect(rig.records(ino).at(-1)).toMatchObject({ kind: 'write', old_content: null });
    }
    rig.expectAtRest();
  });

  test('by two at once is told from its beginning by the first record, and not again', () => {
    for (const [index, bytes] of [SMALL, LARGE].entries()) {
      const { ino } = rig.putSealed(`f${index}`, bytes);
      const one = rig.open(ino, O_RDWR);
      rig.write(one, 'one');
      const two = rig.open(ino, O_RDWR);
      rig.write(two, 'two', bytes.length);
      rig.release(two);
      const { mtimeS, mtimeNs } = rig.row(ino);
      rig.write(one, 'more', bytes.length + 3);
      rig.release(one);
      const [first, second] = rig.records(ino).slice(-2);
      expect(rig.bytesIn(first?.old_content)).toBe(bytes.toString());
      expect(first).toMatchObject({ kind: 'write', old_size: bytes.length });
      expect(second).toMatchObject({ kind: 'write', old_content: null });
      expect(second).toMatchObject({ old_size: bytes.length + 3, size: bytes.length + 7 });
      expect(JSON.parse(second?.before ?? '').times.slice(2, 4)).toEqual([mtimeS, mtimeNs]);
    }
    rig.expectAtRest();
  });

  test('by two at once that the daemon did not live to see ended is told once as well', () => {
    const { ino } = rig.putSealed('a', LARGE);
    const [one, two] = [rig.open(ino, O_RDWR), rig.open(ino, O_RDWR)];
    const three = rig.open(ino, O_RDWR);
    rig.write(one, 'one', LARGE.length);
    rig.release(one);
    for (const handle of [two, three]) rig.write(handle, 'more', LARGE.length + 3);
    rig.restart();
    const [first, second, third] = rig.records(ino).slice(-3);
    expect(rig.bytesIn(first?.old_content)).toBe(LARGE.toString());
    expect(second).toMatchObject({ old_content: null, old_size: LARGE.length + 3 });
    expect(third).toMatchObject({ old_content: null, old_size: LARGE.length + 7 });
    rig.expectAtRest();
  });

  test('whose record is undone with its group has all of it in the next one', async () => {
    const { ino } = rig.putSealed('a', LARGE);
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'one', LARGE.length);
    const { fixture, core } = rig;
    const file = core.handles.get(handle.fh);
    expect(() =>
      fixture.journal.commit(() => {
        endSession(core, file, false);
        throw new Error('the group breaks');
      }),
    ).toThrow('internal');
    rig.release(handle);
    const record = rig.records(ino).at(-1);
    expect(rig.bytesIn(record?.old_content)).toBe(LARGE.toString());
    rig.expectAtRest();
  });

  test('of bytes that history has of another file leaves them as they were', () => {
    const { vfs, ipfs } = rig.fixture;
    const { ino } = rig.putSealed('a', LARGE);
    const to = { parent: ipfs, name: 'b' as Name };
    const { ino: copy } = copyTree(rig.core, ROOT, ino, to, false);
    vfs.unlink(ROOT, ipfs, 'a' as Name);
    const handle = rig.open(copy, O_RDWR);
    rig.write(handle, 'new');
    rig.release(handle);
    const removed = rig.records(ino).at(-1);
    expect(rig.bytesIn(removed?.old_content)).toBe(LARGE.toString());
    expect(rig.bytesOf(copy).slice(0, 4)).toBe('newl');
    rig.expectAtRest();
  });
});
