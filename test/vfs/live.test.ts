/** Files the kernel has open for itself, when somebody else changes them, a group breaks, or a kill comes. */
import { existsSync, statSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { Ino, Name } from '../../src/base/ids.ts';
import { SLOTS_USED_MAX } from '../../src/base/limits.ts';
import { O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/base/posix.ts';
import {
  copyTree,
  patchBytes,
  prepareBytes,
  rehearseWrite,
  replaceBytes,
  restLingering,
} from '../../src/vfs/vfs.ts';
import { DirectRig, KERNEL } from './direct-rig.ts';
import { ROOT } from './fixture.ts';

const KIB = 1024;
const LARGE = Buffer.alloc(200 * KIB, 'l');
const n = (text: string) => text as Name;

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => rig.close());

const copy = (ino: Ino, name: string): Ino =>
  copyTree(rig.core, ROOT, ino, { parent: rig.fixture.ipfs, name: n(name) }, false).ino;

/** A large sealed file that the kernel has open to read. */
function read(name: string) {
  const { ino, cid } = rig.putSealed(name, LARGE);
  const reader = rig.open(ino, O_RDONLY);
  return { ino, cid, reader, file: rig.diskInode(reader) };
}

describe('a file the kernel reads', () => {
  test('is replaced by a tool in place, and its bytes before are kept', () => {
    const { ino, cid, reader, file } = read('a');
    replaceBytes(rig.core, ROOT, ino, Buffer.from('new'));
    expect([rig.read(reader), rig.diskInode(reader), rig.row(ino).size]).toEqual(['new', file, 3]);
    const record = rig.records(ino).at(-1);
    expect(record).toMatchObject({ kind: 'write', size: 3, old_size: LARGE.length });
    expect(rig.contentRow(record?.old_content)).toMatchObject({ cid, state: 'sealed' });
    expect(rig.bytesIn(record?.old_content)).toBe(LARGE.toString());
    expect(rig.fixture.journal.contents.page(0, 10)).toHaveLength(2);
    expect(rig.told.at(-1)).toEqual([ino, true]);
    rig.release(reader);
    expect([rig.bytesOf(ino), rig.contentOf(ino)?.place]).toEqual(['new', 'packed']);
    rig.expectAtRest();
  });

  test('is patched by a tool in place, and its bytes before are kept', () => {
    const { ino, cid, reader, file } = read('a');
    patchBytes(rig.core, ROOT, ino, Buffer.from('NEW'), 1);
    patchBytes(rig.core, ROOT, ino, Buffer.from('END'), 'end');
    expect(rig.read(reader).slice(0, 5)).toBe('lNEWl');
    expect([rig.row(ino).size, rig.diskInode(reader)]).toEqual([LARGE.length + 3, file]);
    const [, , first] = rig.records(ino);
    expect(first).toMatchObject({ kind: 'write', position: 1, length: 3 });
    expect(rig.contentRow(first?.old_content)).toMatchObject({ cid, state: 'sealed' });
    expect(rig.bytesIn(first?.old_content)).toBe(LARGE.toString());
    rig.release(reader);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'frozen', cid: null });
    rig.expectAtRest();
  });

  test('is written by nobody who only wants to know what would happen', () => {
    const { ino, cid, reader } = read('a');
    const { journal } = rig.fixture;
    for (const position of [undefined, 0, 'end'] as const) {
      const [record] = journal.rehearse(() => {
        rehearseWrite(rig.core, ROOT, ino, 3, position);
      });
      expect(record).toMatchObject({ kind: 'write', length: 3, old_size: LARGE.length });
      expect(rig.row(ino).size).toBe(LARGE.length);
    }
    expect(rig.read(reader)).toBe(LARGE.toString());
    rig.release(reader);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'sealed', cid });
    rig.expectAtRest();
  });

  test('has no CID before the first byte changes that a tool writes in a group', () => {
    const { ino, cid, reader } = read('a');
    const { journal } = rig.fixture;
    const nobody = { ...ROOT, uid: 1001, gid: 1001 };
    prepareBytes(rig.core, nobody, ino);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'sealed', cid });
    prepareBytes(rig.core, ROOT, ino);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'open', cid: null });
    expect(() =>
      journal.group(() => {
        replaceBytes(rig.core, ROOT, ino, Buffer.from('new'));
        journal.commit(() => {
          throw new OpError('no-space', 'planted');
        });
      }),
    ).toThrow('planted');
    // Bytes written in place stay; what is said of them is true.
    rig.release(reader);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'frozen', cid: null });
    expect(rig.bytesOf(ino)).toBe('new');
    rig.expectAtRest();
  });

  test('is cut and lengthened in place, and its bytes before are kept', () => {
    const { ino, reader, file } = read('a');
    void rig.fixture.vfs.setattr(ROOT, ino, { size: 10 });
    expect([rig.read(reader), rig.row(ino).size]).toEqual(['l'.repeat(10), 10]);
    void rig.fixture.vfs.setattr(KERNEL, ino, { size: 12 });
    expect([rig.read(reader), rig.row(ino).size]).toEqual([`${'l'.repeat(10)}\0\0`, 12]);
    expect(rig.diskInode(reader)).toBe(file);
    const [, , cut] = rig.records(ino);
    expect(cut).toMatchObject({ kind: 'truncate', size: 10, old_size: LARGE.length });
    expect(rig.bytesIn(cut?.old_content)).toBe(LARGE.toString());
    rig.release(reader);
    expect(rig.bytesOf(ino)).toBe(`${'l'.repeat(10)}\0\0`);
    rig.expectAtRest();
  });

  test('is written through a handle of a tool', () => {
    const { ino, reader } = read('a');
    const { vfs } = rig.fixture;
    const tool = vfs.openNow(ROOT, ino, O_RDWR, false);
    vfs.write(ROOT, tool.fh, Buffer.from('tool'), 2, false);
    expect(rig.read(reader).slice(0, 7)).toBe('lltooll');
    rig.release(reader, tool);
    const record = rig.records(ino).at(-1);
    expect(record).toMatchObject({ kind: 'write' });
    expect(rig.bytesIn(record?.old_content)).toBe(LARGE.toString());
    rig.expectAtRest();
  });

  test('becomes one it writes, under the same number', () => {
    const { ino, reader } = read('a');
    const writer = rig.open(ino, O_RDWR);
    expect(writer.backing).toBe(reader.backing);
    rig.write(writer, 'W');
    expect(rig.read(reader).slice(0, 2)).toBe('Wl');
    rig.release(writer, reader);
    expect(rig.bytesIn(rig.records(ino).at(-1)?.old_content)).toBe(LARGE.toString());
    rig.expectAtRest();
  });

  test('emptied by an open stays the same file', () => {
    const { ino, reader, file } = read('a');
    const writer = rig.open(ino, O_WRONLY | O_TRUNC);
    expect([rig.read(reader), rig.row(ino).size]).toEqual(['', 0]);
    rig.write(writer, 'new');
    expect([rig.read(reader), rig.diskInode(writer)]).toEqual(['new', file]);
    rig.release(reader, writer);
    expect(rig.kinds(ino)).toEqual(['create', 'write', 'truncate', 'write']);
    // All of it is one opening, whose record has the bytes before.
    expect(rig.bytesIn(rig.records(ino).at(-1)?.old_content)).toBe(LARGE.toString());
    rig.expectAtRest();
  });

  test('goes on being read and written when another file shows its bytes since', () => {
    const { ino, cid, reader } = read('a');
    const others = [copy(ino, 'b'), copy(ino, 'c')];
    expect(rig.open(ino, O_RDONLY).backing).toBe(reader.backing);
    const writer = rig.open(ino, O_RDWR);
    expect(writer.backing).toBe(reader.backing);
    rig.write(writer, 'W');
    rig.release(writer);
    for (const other of others) {
      expect(rig.bytesOf(other)).toBe(LARGE.toString());
      expect(rig.contentOf(other)).toMatchObject({ cid, refs: 2, state: 'sealed' });
    }
    expect(rig.bytesOf(ino).slice(0, 2)).toBe('Wl');
  });

  test('goes on being read and written when a pin keeps its bytes', () => {
    const { ino, cid, reader } = read('a');
    const { journal, content } = rig.fixture;
    const kept = rig.row(ino).content;
    journal.commit(() => content.hold(kept));
    const again = rig.open(ino, O_RDONLY);
    expect(again.backing).toBe(reader.backing);
    const writer = rig.open(ino, O_RDWR);
    rig.write(writer, 'W');
    const pinned = journal.contents.byCid(cid);
    expect(pinned).toMatchObject({ id: kept, held: 1, refs: 0 });
    expect(rig.bytesIn(pinned?.id)).toBe(LARGE.toString());
    rig.release(reader, again, writer);
    expect(rig.contentOf(ino)).toMatchObject({ held: 0, refs: 1, cid: null });
    rig.expectAtRest();
  });

  test('leaves what others show to them when nothing was written', () => {
    const { ino, cid, reader } = read('a');
    const other = copy(ino, 'b');
    rig.release(rig.open(ino, O_RDWR), reader);
    for (const each of [ino, other]) {
      expect(rig.contentOf(each)).toMatchObject({ cid, refs: 2, state: 'sealed' });
      expect(rig.bytesOf(each)).toBe(LARGE.toString());
    }
    rig.expectAtRest();
  });

  test('is refused to write when its bytes are shared and there is no room to copy them', () => {
    const { ino, cid, reader } = read('a');
    const other = copy(ino, 'b');
    for (let count = 0; count < SLOTS_USED_MAX; count++) rig.create(`slot-${count}`);
    expect(() => rig.open(ino, O_RDWR)).toThrow(expect.objectContaining({ failure: 'busy' }));
    expect(rig.read(reader)).toBe(LARGE.toString());
    expect(rig.contentOf(other)).toMatchObject({ cid, refs: 2 });
  });
});

describe('a file the kernel writes', () => {
  test('is replaced and patched by a tool in place', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'kernel');
    const file = rig.diskInode(handle);
    replaceBytes(rig.core, ROOT, ino, Buffer.from('tool'));
    expect([rig.read(handle), rig.row(ino).size]).toEqual(['tool', 4]);
    const record = rig.records(ino).at(-1);
    expect(record).toMatchObject({ kind: 'write', old_size: 6, size: 4 });
    expect(rig.bytesIn(record?.old_content)).toBe('kernel');
    rig.write(handle, 'K');
    patchBytes(rig.core, ROOT, ino, Buffer.from('!'), 'end');
    expect([rig.read(handle), rig.bytesOf(ino)]).toEqual(['Kool!', 'Kool!']);
    expect(rig.diskInode(handle)).toBe(file);
    rig.release(handle);
    expect(rig.bytesOf(ino)).toBe('Kool!');
    rig.expectAtRest();
  });

  test('is copied as it is now, and the copy stays that', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'one');
    const small = copy(ino, 'b');
    rig.write(handle, LARGE);
    const large = copy(ino, 'c');
    rig.write(handle, 'two');
    expect([rig.bytesOf(small), rig.bytesOf(large)]).toEqual(['one', LARGE.toString()]);
    expect(rig.bytesOf(ino).slice(0, 4)).toBe('twol');
    rig.release(handle);
    rig.expectAtRest();
  });

  test('is cut by the kernel, and grows from there', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, LARGE);
    void rig.fixture.vfs.setattr(KERNEL, ino, { size: 5 }, handle.fh);
    expect([rig.read(handle), rig.row(ino).size]).toEqual(['lllll', 5]);
    rig.write(handle, '!', 7);
    expect([rig.bytesOf(ino), rig.row(ino).size]).toEqual(['lllll\0\0!', 8]);
    rig.release(handle);
    expect(rig.kinds(ino)).toEqual(['create', 'truncate', 'write']);
    rig.expectAtRest();
  });

  test('is given room, and is copied into, by the daemon', () => {
    const source = rig.put('source', LARGE);
    const { ino, handle } = rig.create('a');
    const { vfs } = rig.fixture;
    const from = rig.open(source, O_RDONLY);
    const ends = [
      { fh: from.fh, position: 0 },
      { fh: handle.fh, position: 10 },
    ] as const;
    expect(vfs.copyFileRange(KERNEL, ...ends, 100)).toBe(100);
    expect([rig.row(ino).size, rig.read(handle).slice(10)]).toEqual([110, 'l'.repeat(100)]);
    const mode = { keepSize: false, punchHole: false, zeroRange: false };
    vfs.fallocate(KERNEL, handle.fh, mode, 0, 200);
    expect([rig.row(ino).size, rig.read(handle).length]).toEqual([200, 200]);
    rig.release(from, handle);
    expect(rig.row(ino).size).toBe(200);
    rig.expectAtRest();
  });

  test('without a name goes with its last handle, and its room with it', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, LARGE);
    rig.fixture.vfs.unlink(KERNEL, rig.fixture.ipfs, n('a'));
    rig.write(handle, 'still');
    expect(rig.bytesOf(ino).slice(0, 6)).toBe('stilll');
    rig.release(handle);
    expect(rig.core.inodes.find(ino)).toBeUndefined();
    rig.expectAtRest();
  });
});

describe('when a group breaks', () => {
  /** Does it in a group that comes to nothing. */
  function broken(body: () => void): void {
    const { journal } = rig.fixture;
    expect(() =>
      journal.group(() => {
        body();
        journal.commit(() => {
          throw new OpError('no-space', 'planted');
        });
      }),
    ).toThrow(expect.objectContaining({ failure: 'no-space' }));
  }

  test('what it opened to write is what it was', () => {
    for (const [name, bytes] of [
      ['small', Buffer.from('small')],
      ['large', LARGE],
    ] as const) {
      const { ino, cid } = rig.putSealed(name, bytes);
      for (const flags of [O_RDWR, O_WRONLY | O_TRUNC]) {
        broken(() => rig.open(ino, flags));
        rig.expectAtRest();
        expect([name, flags, rig.bytesOf(ino)]).toEqual([name, flags, bytes.toString()]);
        expect(rig.contentOf(ino)).toMatchObject({ state: 'sealed', cid });
      }
      const handle = rig.open(ino, O_RDWR);
      rig.write(handle, 'X');
      rig.release(handle);
      expect(rig.bytesOf(ino).slice(0, 1)).toBe('X');
    }
    rig.expectAtRest();
  });

  test('what it made is gone, and its slot serves others', () => {
    broken(() => rig.create('a'));
    rig.expectAtRest();
    const slots = rig.slotFiles();
    rig.create('a');
    expect(rig.slotFiles()).toEqual(slots);
  });

  test('who read goes on reading, and can be given the file to write', () => {
    const { ino, cid, reader } = read('a');
    broken(() => rig.open(ino, O_RDWR));
    expect(rig.contentOf(ino)).toMatchObject({ state: 'sealed', cid });
    expect([rig.core.handles.size, rig.read(reader)]).toEqual([1, LARGE.toString()]);
    patchBytes(rig.core, ROOT, ino, Buffer.from('T'), 0);
    const writer = rig.open(ino, O_RDWR);
    rig.write(writer, 'W', 1);
    expect(rig.bytesOf(ino).slice(0, 3)).toBe('TWl');
    rig.release(reader, writer);
    rig.expectAtRest();
  });

  test('who wrote has the handle still, and closes it again', () => {
    for (const [name, bytes] of [
      ['small', 'small'],
      ['large', LARGE],
    ] as const) {
      const { ino, handle } = rig.create(name);
      rig.write(handle, bytes);
      broken(() => rig.release(handle));
      expect(rig.contentOf(ino)?.state).toBe('open');
      rig.write(handle, 'X');
      expect(rig.read(handle).slice(0, 1)).toBe('X');
      rig.release(handle);
      expect(rig.bytesOf(ino)).toBe(`X${String(bytes).slice(1)}`);
      expect(rig.kinds(ino)).toEqual(['create', 'write']);
    }
    rig.expectAtRest();
  });

  test('who wrote nothing has the handle still, and its CID after', () => {
    const { ino, cid } = rig.putSealed('a', LARGE);
    const handle = rig.open(ino, O_RDWR);
    broken(() => rig.release(handle));
    rig.release(handle);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'sealed', cid });
    rig.expectAtRest();
  });

  test('sizes and times are those of the disk', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'one');
    broken(() => rig.fixture.vfs.setattr(KERNEL, ino, { mode: 0o600 }));
    expect([rig.row(ino).size, rig.row(ino).mode & 0o777]).toEqual([3, 0o644]);
    rig.write(handle, 'two', 3);
    broken(() => rig.release(handle));
    expect([rig.row(ino).size, rig.bytesOf(ino)]).toEqual([6, 'onetwo']);
    rig.release(handle);
    expect(rig.row(ino).size).toBe(6);
    rig.expectAtRest();
  });

  test('before it began, no copy made for it is left', () => {
    const { ino } = rig.putSealed('a', LARGE);
    const { journal } = rig.fixture;
    for (let count = 0; count < SLOTS_USED_MAX + 1; count++) {
      const spy = vi.spyOn(journal, 'commit').mockImplementationOnce(() => {
        throw new OpError('no-space', 'planted');
      });
      expect(() => rig.open(ino, O_RDWR)).toThrow('planted');
      spy.mockRestore();
    }
    expect(rig.slotFiles().every((name) => sizeOf(name) === 0)).toBe(true);
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'X');
    rig.release(handle);
    expect(rig.records(ino).at(-1)?.old_content).not.toBe(null);
    rig.expectAtRest();
  });
});

const sizeOf = (slot: string): number =>
  statSync(`${rig.fixture.directory}/content/slots/${slot}`).size;

describe('after a kill', () => {
  test('what the kernel wrote is there, with its size, time and record', () => {
    const { ino, handle } = rig.create('small');
    rig.write(handle, 'bytes');
    const large = rig.create('large');
    rig.write(large.handle, LARGE);
    const { mtimeMs } = statSync(rig.passthrough.pathOf(large.handle.backing));
    rig.restart();
    expect([rig.bytesOf(ino), rig.row(ino).size]).toEqual(['bytes', 5]);
    expect(rig.contentOf(ino)).toMatchObject({ place: 'packed', state: 'frozen' });
    expect(rig.bytesOf(large.ino)).toBe(LARGE.toString());
    expect(rig.contentOf(large.ino)).toMatchObject({ place: 'file', state: 'frozen', slot: null });
    const { mtimeS, mtimeNs } = rig.row(large.ino);
    expect(mtimeS * 1000 + mtimeNs / 1e6).toBeGreaterThanOrEqual(Math.floor(mtimeMs));
    for (const each of [ino, large.ino]) {
      const record = rig.records(each).at(-1);
      expect(record).toMatchObject({ kind: 'write', size: rig.row(each).size });
      expect(JSON.parse(record?.after ?? '{}')).toEqual({ interrupted: true });
    }
    rig.expectAtRest();
    expect(rig.slotFiles().every((name) => sizeOf(name) === 0)).toBe(true);
  });

  test('a file written where it lay is there, and so are its bytes before', () => {
    const { ino, cid } = rig.putSealed('a', LARGE);
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'X');
    rig.write(handle, 'END', LARGE.length);
    rig.restart();
    expect(rig.bytesOf(ino)).toBe(`X${LARGE.toString().slice(1)}END`);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'frozen', cid: null, place: 'file' });
    const record = rig.records(ino).at(-1);
    expect(record).toMatchObject({ kind: 'write', old_size: LARGE.length });
    expect(rig.contentRow(record?.old_content)).toMatchObject({ cid, state: 'sealed' });
    expect(rig.bytesIn(record?.old_content)).toBe(LARGE.toString());
    rig.expectAtRest();
  });

  test('a file that was only read is as it was', () => {
    const { ino, cid } = read('a');
    rig.restart();
    expect(rig.contentOf(ino)).toMatchObject({ state: 'sealed', cid });
    rig.expectAtRest();
  });

  test('what somebody has mapped still is at rest when that ends', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'bytes');
    const mapping = rig.map(handle, 'r+');
    rig.release(handle);
    const path = rig.passthrough.pathOf(handle.backing);
    rig.restart();
    expect([restLingering(rig.core), rig.bytesOf(ino)]).toEqual([0, 'bytes']);
    const again = rig.open(ino, O_RDWR);
    expect(rig.passthrough.pathOf(again.backing)).toBe(path);
    rig.write(again, 'BYTES!');
    rig.release(again);
    expect([restLingering(rig.core), rig.row(ino).size]).toEqual([0, 6]);
    mapping.end();
    expect([restLingering(rig.core), rig.bytesOf(ino)]).toEqual([1, 'BYTES!']);
    rig.expectAtRest();
  });

  test('what had no name any more is gone', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, LARGE);
    const mapping = rig.map(handle, 'r+');
    rig.fixture.vfs.unlink(KERNEL, rig.fixture.ipfs, n('a'));
    rig.restart();
    expect(rig.core.inodes.find(ino)).toBeUndefined();
    expect(restLingering(rig.core)).toBe(0);
    mapping.end();
    expect([rig.core.live.size, rig.core.live.lingering.size]).toEqual([0, 0]);
    rig.restart();
    rig.expectAtRest();
  });

  test('the same came twice, nothing is lost', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, LARGE);
    rig.restart();
    rig.restart();
    expect(rig.bytesOf(ino)).toBe(LARGE.toString());
    expect(existsSync(rig.fixture.content.backingPath(rig.row(ino).content) ?? '')).toBe(true);
    expect(rig.kinds(ino)).toEqual(['create', 'write']);
    rig.expectAtRest();
  });
});
