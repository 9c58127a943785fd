/** Files that the kernel reads and writes by itself: which, from when to when, and what is told of it. */
import { existsSync, statSync, utimesSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Ino, type Name, nameOfText } from '../../src/base/ids.ts';
import { HISTORY_COPY_BYTES_MAX, SLOTS_FREE_MAX } from '../../src/base/limits.ts';
import { O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../src/base/posix.ts';
import { copyTree, mount } from '../../src/vfs/vfs.ts';
import { HandPassthrough } from '../fakes/passthrough.ts';
import { DirectRig, KERNEL, USER } from './direct-rig.ts';
import { Fixture, ROOT } from './fixture.ts';

const KIB = 1024;
const SMALL = Buffer.alloc(1000, 's');
const LARGE = Buffer.alloc(200 * KIB, 'l');

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => rig.close());

describe('the kernel gets', () => {
  test('a file just made, with a name or without one, if it is to be written', () => {
    expect(rig.create('a', O_RDWR).handle.backing).toBeDefined();
    expect(rig.create('b', O_WRONLY).handle.backing).toBeDefined();
    expect(rig.create('c', O_RDONLY).handle.backing).toBeUndefined();
    const { vfs, ipfs } = rig.fixture;
    expect(vfs.tmpfile(KERNEL, ipfs, 0o600, O_RDWR).handle.backing).toBeDefined();
  });

  test('any file that it opens to write, and large ones to read', () => {
    const opened = (bytes: Buffer, flags: number): boolean => {
      const ino = rig.put(`${bytes.length}-${flags}`, bytes);
      const handle = rig.open(ino, flags);
      const isDirect = handle.backing !== undefined;
      rig.release(handle);
      return isDirect;
    };
    for (const flags of [O_RDWR, O_WRONLY, O_RDWR | O_TRUNC, O_RDONLY | O_TRUNC]) {
      for (const bytes of [Buffer.alloc(0), SMALL, LARGE]) {
        expect([flags, bytes.length, opened(bytes, flags)]).toEqual([flags, bytes.length, true]);
      }
    }
    expect([opened(SMALL, O_RDONLY), opened(LARGE, O_RDONLY)]).toEqual([false, true]);
    rig.expectAtRest();
  });

  test('nothing of a tree in memory, of one with a limit, or through a tool', () => {
    const { vfs } = rig.fixture;
    mount(rig.core, ROOT, {
      mountId: 'limited',
      mountPoint: nameOfText('/limited'),
      kind: 'ipfs',
      backend: 'ipfs',
      source: '',
      readOnly: false,
      volatile: false,
      sizeBytesMax: 1024 * KIB,
      options: {},
      uid: 0,
      gid: 0,
      mode: 0o755,
    });
    for (const tree of ['/mem', '/limited']) {
      const parent = rig.fixture.ino(tree);
      const { handle } = vfs.create(KERNEL, parent, 'a' as Name, 0o644, O_RDWR);
      expect([tree, handle.backing]).toEqual([tree, undefined]);
    }
    const ino = rig.put('a', LARGE);
    expect(rig.open(ino, O_RDWR, ROOT).backing).toBeUndefined();
    expect(rig.passthrough.registered.size).toBe(1);
  });

  test('nothing that it holds in its cache already', () => {
    const ino = rig.put('a', SMALL);
    const reader = rig.open(ino, O_RDONLY);
    const writer = rig.open(ino, O_RDWR);
    expect([reader.backing, writer.backing]).toEqual([undefined, undefined]);
    rig.release(reader, writer);
    expect(rig.open(ino, O_RDWR).backing).toBeDefined();
  });

  test('of bytes that two files show a copy to write, and none to read', () => {
    const ino = rig.put('a', LARGE);
    const { ipfs } = rig.fixture;
    const copied = copyTree(rig.core, ROOT, ino, { parent: ipfs, name: 'b' as Name }, false);
    expect(rig.row(copied.ino).content).toBe(rig.row(ino).content);
    const reader = rig.open(ino, O_RDONLY);
    expect(reader.backing).toBeUndefined();
    rig.release(reader);
    const writer = rig.open(ino, O_RDWR);
    rig.write(writer, 'X');
    expect(rig.bytesOf(copied.ino)).toBe(LARGE.toString());
    expect(rig.bytesOf(ino).slice(0, 2)).toBe('Xl');
    rig.release(writer);
    rig.expectAtRest();
  });

  test('nothing of shared bytes that are too many to be copied while others wait', () => {
    const ino = rig.put('a', Buffer.alloc(1024 * KIB + 1));
    const { ipfs } = rig.fixture;
    copyTree(rig.core, ROOT, ino, { parent: ipfs, name: 'b' as Name }, false);
    expect(rig.open(ino, O_RDWR).backing).toBeUndefined();
  });

  test('one number for all who have a file open, and another one afterwards', () => {
    const { ino, handle } = rig.create('a');
    const [reader, writer] = [rig.open(ino, O_RDONLY), rig.open(ino, O_RDWR)];
    expect([reader.backing, writer.backing]).toEqual([handle.backing, handle.backing]);
    rig.release(handle, reader);
    expect(rig.open(ino, O_RDWR).backing).toBe(handle.backing);
    const large = rig.put('b', LARGE);
    const first = rig.open(large, O_RDONLY);
    expect(rig.open(large, O_RDWR).backing).toBe(first.backing);
  });

  test('no file at all when the disk is one it cannot take', () => {
    const plain = new Fixture();
    const passthrough = new HandPassthrough();
    passthrough.isRefusing = true;
    expect(() => plain.vfs.core.live.attach(passthrough)).toThrow(
      expect.objectContaining({ failure: 'io' }),
    );
    const { handle } = plain.vfs.create(KERNEL, plain.ipfs, 'a' as Name, 0o644, O_RDWR);
    expect(handle.backing).toBeUndefined();
    plain.close();
  });

  test('an error, and the file stays as it was, when it does not take this one', () => {
    const { ino, cid } = rig.putSealed('a', LARGE);
    const kinds = rig.kinds(ino);
    rig.passthrough.isRefusing = true;
    for (const flags of [O_RDONLY, O_RDWR]) {
      expect(() => rig.open(ino, flags)).toThrow(expect.objectContaining({ failure: 'io' }));
      rig.expectAtRest();
    }
    rig.passthrough.isRefusing = false;
    expect(rig.contentOf(ino)).toMatchObject({ state: 'sealed', cid });
    expect(rig.kinds(ino)).toEqual(kinds);
    const handle = rig.open(ino, O_RDONLY);
    expect(rig.read(handle)).toBe(LARGE.toString());
    rig.release(handle);
  });
});

describe('numbers of backing files', () => {
  test('are given back with the files, and kept of slots that serve again', () => {
    for (let round = 0; round < 3; round++) {
      const { handle } = rig.create(`small-${round}`);
      rig.write(handle, SMALL);
      rig.release(handle);
    }
    expect(rig.passthrough.count).toBe(1);
    const { ino, handle } = rig.create('large');
    rig.write(handle, LARGE);
    rig.release(handle);
    rig.release(rig.open(ino, O_RDONLY), rig.open(ino, O_RDWR));
    expect(rig.passthrough.registered.size).toBe(0);
  });

  test('are not kept of slots that are gone', () => {
    const handles = Array.from({ length: SLOTS_FREE_MAX + 10 }, (_, index) => {
      return rig.create(`${index}`).handle;
    });
    for (const handle of handles) rig.write(handle, 'x');
    rig.release(...handles);
    rig.expectAtRest();
    expect(rig.slotFiles()).toHaveLength(SLOTS_FREE_MAX);
    expect(rig.passthrough.registered.size).toBe(SLOTS_FREE_MAX);
    for (const path of rig.passthrough.registered.values()) expect(existsSync(path)).toBe(true);
  });

  test('mean nothing any more when the connection has ended', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'bytes');
    rig.core.live.detach();
    rig.passthrough.registered.clear();
    expect(rig.open(ino, O_RDWR, ROOT).backing).toBeUndefined();
    rig.core.live.attach(rig.passthrough);
    const again = rig.open(ino, O_RDONLY);
    expect(rig.read(again)).toBe('bytes');
  });
});

describe('what the kernel writes', () => {
  test('is known to whoever asks, at once', () => {
    const { ino, handle } = rig.create('a');
    const { version } = rig.row(ino);
    const told = () => [rig.row(ino).size, rig.bytesOf(ino)];
    rig.write(handle, 'first');
    expect(told()).toEqual([5, 'first']);
    rig.write(handle, 'second', 5);
    expect(told()).toEqual([11, 'firstsecond']);
    rig.lengthen(handle, 3);
    expect(told()).toEqual([3, 'fir']);
    expect(rig.row(ino).version).toBeGreaterThan(version + 2);
    const listed: number[] = [];
    void rig.fixture.vfs.list(rig.fixture.ipfs, 0, true, ({ inode }) => {
      if (inode?.ino === ino) listed.push(inode.size);
      return true;
    });
    expect(listed).toEqual([3]);
  });

  test('never takes its times back', () => {
    const time = (ino: Ino) => {
      const { mtimeS, mtimeNs, ctimeS, ctimeNs } = rig.row(ino);
      const ns = (s: number, rest: number) => BigInt(s) * 1_000_000_000n + BigInt(rest);
      return [ns(mtimeS, mtimeNs), ns(ctimeS, ctimeNs)] as const;
    };
    const { ino, handle } = rig.create('a');
    let [mtime, ctime] = time(ino);
    for (let round = 0; round < 50; round++) {
      rig.write(handle, `${round}`, round);
      const [nextMtime, nextCtime] = time(ino);
      expect(nextMtime).toBeGreaterThanOrEqual(mtime);
      expect(nextCtime).toBeGreaterThanOrEqual(ctime);
      [mtime, ctime] = [nextMtime, nextCtime];
      if (round % 10 === 0) void rig.fixture.vfs.setattr(KERNEL, ino, { mode: 0o600 + round });
    }
    rig.release(handle);
    expect(time(ino)[0]).toBe(mtime);
  });

  test('shows every read that is due in its access time, whatever the clock of the disk', () => {
    for (const flags of [O_RDONLY, O_RDWR]) {
      const { ino, handle } = rig.create(`a${flags}`);
      rig.write(handle, 'text');
      // The disk has seen a read it takes for a later one: it marks no other, by relatime.
      const path = rig.passthrough.pathOf(handle.backing);
      utimesSync(path, Date.now() / 1000 + 5, statSync(path).mtimeMs / 1000);
      rig.core.live.restamp(ino);
      const { mtimeS, mtimeNs } = rig.row(ino);
      const reader = rig.open(ino, flags);
      expect(rig.read(reader)).toBe('text');
      const { atimeS, atimeNs } = rig.row(ino);
      expect([atimeS, atimeNs]).not.toEqual([mtimeS, mtimeNs]);
      expect(atimeS * 1e9 + atimeNs).toBeGreaterThan(mtimeS * 1e9 + mtimeNs);
      expect(atimeS).toBeLessThan(Date.now() / 1000 + 1);
      rig.release(handle, reader);
    }
  });

  test('has no access time before the write that the disk saw before it', () => {
    const { ino, handle } = rig.create('a');
    // The disk's clock is behind: the row shows the write in the tick that followed.
    rig.write(handle, 'text');
    const path = rig.passthrough.pathOf(handle.backing);
    const early = rig.row(ino).ctimeS - 1;
    utimesSync(path, early, early);
    const { atimeS, atimeNs, mtimeS, mtimeNs } = rig.row(ino);
    expect([atimeS, atimeNs]).toEqual([mtimeS, mtimeNs]);
    rig.release(handle);
  });

  test('does not touch times that were set since, until it writes again', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'one');
    void rig.fixture.vfs.setattr(KERNEL, ino, { mtime: { s: 1000, ns: 5 } });
    expect(rig.row(ino)).toMatchObject({ mtimeS: 1000, mtimeNs: 5, size: 3 });
    const other = rig.open(ino, O_RDWR);
    rig.release(other);
    expect(rig.row(ino)).toMatchObject({ mtimeS: 1000, mtimeNs: 5 });
    rig.write(handle, 'two', 3);
    expect(rig.row(ino).mtimeS).toBeGreaterThan(1000);
    void rig.fixture.vfs.setattr(KERNEL, ino, { mtime: { s: 2000, ns: 6 } });
    rig.release(handle);
    expect(rig.row(ino)).toMatchObject({ mtimeS: 2000, mtimeNs: 6, size: 6 });
    rig.expectAtRest();
  });

  test('is one record for each opening, with what was there before', () => {
    const { ino } = rig.putSealed('a', LARGE);
    const before = rig.row(ino).content;
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'one');
    rig.write(handle, 'two', LARGE.length);
    expect(rig.kinds(ino)).toEqual(['create', 'write']);
    rig.release(handle);
    const [record] = rig.records(ino).slice(2);
    expect(record).toMatchObject({
      kind: 'write',
      content: before,
      size: LARGE.length + 3,
      old_size: LARGE.length,
      position: 0,
      length: LARGE.length + 3,
    });
    expect(rig.bytesIn(record?.old_content)).toBe(LARGE.toString());
    expect(rig.kinds(ino)).toEqual(['create', 'write', 'write']);
    rig.expectAtRest();
  });

  test('of a small file leaves the bytes before as they were', () => {
    const ino = rig.put('a', SMALL);
    const old = rig.row(ino).content;
    const handle = rig.open(ino, O_WRONLY);
    rig.write(handle, 'new');
    rig.release(handle);
    const record = rig.records(ino).at(-1);
    expect(record).toMatchObject({ kind: 'write', old_content: old, old_size: SMALL.length });
    expect(rig.bytesIn(old)).toBe(SMALL.toString());
    expect(rig.contentOf(ino)).toMatchObject({ place: 'packed', state: 'frozen' });
    rig.expectAtRest();
  });

  test('has its record with each fsync that follows it', async () => {
    const { ino, handle } = rig.create('a');
    const writes = () => rig.kinds(ino).filter((kind) => kind === 'write').length;
    await rig.fixture.vfs.fsync(handle.fh, false);
    expect(writes()).toBe(0);
    rig.write(handle, 'one');
    await rig.fixture.vfs.fsync(handle.fh, false);
    await rig.fixture.vfs.fsync(handle.fh, true);
    expect(writes()).toBe(1);
    rig.write(handle, 'two', 3);
    await rig.fixture.vfs.fsync(handle.fh, false);
    expect(writes()).toBe(2);
    rig.write(handle, 'three', 6);
    rig.release(handle);
    expect([writes(), rig.bytesOf(ino)]).toEqual([3, 'onetwothree']);
    rig.expectAtRest();
  });

  test('is at rest when the last who has it open closes it', () => {
    const { ino, handle } = rig.create('a');
    const reader = rig.open(ino, O_RDONLY);
    rig.write(handle, SMALL);
    rig.release(handle);
    expect(rig.contentOf(ino)?.state).toBe('open');
    rig.release(reader);
    expect(rig.contentOf(ino)).toMatchObject({ state: 'frozen', size: SMALL.length });
    rig.expectAtRest();
  });

  test('is nothing when it is nothing: no content is left of it', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'gone');
    rig.lengthen(handle, 0);
    rig.release(handle);
    expect([rig.row(ino).size, rig.row(ino).content, rig.bytesOf(ino)]).toEqual([0, 0, '']);
    rig.expectAtRest();
  });
});

describe('an open for writing', () => {
  test('that changes nothing leaves no trace, and the CID', () => {
    for (const [name, bytes] of [
      ['small', SMALL],
      ['large', LARGE],
    ] as const) {
      const { ino, cid } = rig.putSealed(name, bytes);
      const kinds = rig.kinds(ino);
      const { version, mtimeNs } = rig.row(ino);
      const objects = rig.fixture.journal.contents.page(0, 100).length;
      const handle = rig.open(ino, O_RDWR);
      if (bytes === LARGE) expect(rig.contentOf(ino)?.cid).toBe(null);
      rig.release(handle);
      expect(rig.row(ino)).toMatchObject({ version, mtimeNs });
      expect(rig.kinds(ino)).toEqual(kinds);
      expect(rig.bytesOf(ino)).toBe(bytes.toString());
      rig.expectAtRest();
      expect([name, rig.contentOf(ino)?.cid?.equals(cid)]).toEqual([name, true]);
      expect([name, rig.fixture.journal.contents.page(0, 100).length]).toEqual([name, objects]);
    }
  });

  test('of sealed bytes has them copied aside, CID and all, before the first one changes', () => {
    const { ino, cid } = rig.putSealed('a', LARGE);
    rig.open(ino, O_RDWR);
    const [aside] = rig.fixture.journal.contents
      .page(0, 100)
      .filter(({ id }) => id !== rig.row(ino).content);
    expect(aside).toMatchObject({ state: 'sealed', cid, refs: 0, size: LARGE.length });
    expect(rig.bytesIn(aside?.id)).toBe(LARGE.toString());
    expect(rig.contentOf(ino)).toMatchObject({ state: 'open', cid: null });
  });

  test('of many bytes has them copied while others are served', async () => {
    const bytes = Buffer.alloc(2048 * KIB, 'm');
    const { ino } = rig.putSealed('a', bytes);
    const handle = await rig.openLater(ino, O_RDWR);
    rig.write(handle, 'X');
    rig.release(handle);
    expect(rig.bytesIn(rig.records(ino).at(-1)?.old_content)).toBe(bytes.toString());
    rig.expectAtRest();
  });

  test('of many bytes that another one opens meanwhile copies them once', async () => {
    const { ino } = rig.putSealed('a', Buffer.alloc(2048 * KIB, 'm'));
    const opens = [rig.openLater(ino, O_RDWR), rig.openLater(ino, O_RDWR)];
    const [one, other] = await Promise.all(opens);
    expect(one?.backing).toBe(other?.backing);
    expect(rig.fixture.journal.contents.page(0, 100)).toHaveLength(2);
    rig.release(...(await Promise.all(opens)));
    rig.expectAtRest();
  });

  test('of a file that is removed meanwhile fails as it would have after', async () => {
    const { ino } = rig.putSealed('a', Buffer.alloc(2048 * KIB, 'm'));
    const opening = rig.openLater(ino, O_RDWR);
    rig.fixture.vfs.unlink(ROOT, rig.fixture.ipfs, 'a' as Name);
    await expect(opening).rejects.toMatchObject({ failure: 'not-found' });
    rig.expectAtRest();
  });

  test('of more bytes than history keeps copies none, and the record says so', () => {
    const ino = rig.put('a', LARGE);
    const size = HISTORY_COPY_BYTES_MAX + 1;
    void rig.fixture.vfs.setattr(ROOT, ino, { size });
    rig.fixture.journal.commit(() => {
      rig.fixture.content.seal(rig.row(ino).content, Buffer.alloc(36, 1), 'unixfs-v1-2025');
    });
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'X');
    rig.release(handle);
    expect(rig.records(ino).at(-1)).toMatchObject({ old_content: null, old_size: size });
    expect(rig.contentOf(ino)).toMatchObject({ state: 'frozen', cid: null });
    rig.expectAtRest();
  });

  test('of bytes that are not sealed yet copies none', () => {
    const ino = rig.put('a', LARGE);
    const handle = rig.open(ino, O_RDWR);
    rig.write(handle, 'X');
    rig.release(handle);
    expect(rig.fixture.journal.contents.page(0, 100)).toHaveLength(1);
    rig.expectAtRest();
  });

  test('with O_TRUNC is a truncation, and what is written is another record', () => {
    for (const [name, bytes] of [
      ['small', SMALL],
      ['large', LARGE],
    ] as const) {
      const { ino } = rig.putSealed(name, bytes);
      const old = rig.row(ino).content;
      const handle = rig.open(ino, O_WRONLY | O_TRUNC);
      expect(rig.row(ino).size).toBe(0);
      rig.write(handle, 'new');
      rig.release(handle);
      expect(rig.kinds(ino)).toEqual(['create', 'write', 'truncate', 'write']);
      expect(rig.records(ino).at(-2)).toMatchObject({ old_content: old, old_size: bytes.length });
      expect([rig.bytesOf(ino), rig.bytesIn(old)]).toEqual(['new', bytes.toString()]);
      rig.expectAtRest();
    }
  });

  test('takes set-id bits and capabilities away, for nobody does it later', () => {
    const capability = 'security.capability' as Name;
    const ino = rig.put('a', SMALL);
    const { vfs } = rig.fixture;
    const prepare = () => {
      void vfs.setattr(ROOT, ino, { mode: 0o6755 });
      vfs.setxattr(ROOT, ino, capability, Buffer.from('cap'), 'any');
    };
    const left = () => [rig.row(ino).mode & 0o7777, vfs.getxattr(ROOT, ino, capability)];
    prepare();
    rig.release(rig.open(ino, O_RDONLY));
    expect(left()).toEqual([0o6755, Buffer.from('cap')]);
    rig.release(rig.open(ino, O_RDWR, USER));
    expect(left()).toEqual([0o755, undefined]);
    expect(rig.kinds(ino).slice(-2)).toEqual(['chmod', 'removexattr']);
    prepare();
    rig.release(rig.open(ino, O_RDWR, KERNEL));
    expect(left()).toEqual([0o6755, undefined]);
    void vfs.setattr(ROOT, ino, { mode: 0o6755 });
    rig.release(rig.open(ino, O_RDWR, KERNEL, true));
    expect(left()).toEqual([0o755, undefined]);
    rig.expectAtRest();
  });
});
