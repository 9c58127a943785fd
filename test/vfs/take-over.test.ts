/** What a daemon that goes on with the connection of a killed one finds and does. */
import { rmSync } from 'node:fs';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { Fh, Ino, Name } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { O_RDONLY, O_RDWR, O_WRONLY } from '../../src/base/posix.ts';
import type { Handle } from '../../src/vfs/vfs.ts';
import { DirectRig, KERNEL } from './direct-rig.ts';
import { ROOT } from './fixture.ts';

let rig: DirectRig;
beforeEach(() => {
  rig = new DirectRig();
});
afterEach(() => {
  rig.close();
});

const LARGE = Buffer.alloc(200_000, 'kitfs');

/** As the session does when the kernel took the answer with these. */
function hold(...handles: readonly Handle[]): void {
  for (const { fh, ino, flags, backing } of handles) {
    const asked = { unique: fh * 2, uid: 0, gid: 0, pid: 1, openFlags: 0, isDirectory: false };
    rig.fixture.table.told(rig.fixture.table.addHandle({ fh, ino, flags, backing, ...asked }));
  }
}

const kindsOf = (ino: Ino) => rig.kinds(ino);

/** What a handle is now. */
const now = ({ fh }: Handle): Handle => rig.core.handles.get(fh);

function times(ino: Ino): unknown {
  const { size, version, mtimeS, mtimeNs, ctimeS, ctimeNs } = rig.row(ino);
  return { size, version, mtimeS, mtimeNs, ctimeS, ctimeNs };
}

describe('a kernel that took files for itself under the daemon before', () => {
  test.each([
    ['goes on to, though the disk is full', 'no-space', true],
    ['does not when it is this process that is wrong', 'internal', false],
  ] as const)('%s', (_, failure, isOffered) => {
    const { live, content } = rig.core;
    live.detach();
    vi.spyOn(content.direct, 'prepare').mockImplementationOnce(() => {
      throw new OpError(failure, 'make slot 1');
    });
    const attach = () => live.attach(rig.passthrough, true);
    if (isOffered) expect(attach).not.toThrow();
    else expect(attach).toThrow(expect.objectContaining({ failure }));
    expect(live.isOffered).toBe(isOffered);
  });
});

describe('a file that the kernel writes by itself', () => {
  test('has the size, times and version it had when nothing was written', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'bytes');
    hold(handle);
    rig.fixture.journal.group(() => void rig.fixture.vfs.setattr(ROOT, ino, { mode: 0o600 }));
    const before = times(ino);
    rig.takeOver();
    expect(times(ino)).toEqual(before);
    rig.takeOver();
    expect(times(ino)).toEqual(before);
  });

  test('is opened again by its number when nothing new can be registered', () => {
    const { ino, handle } = rig.create('a');
    hold(handle);
    rig.write(handle, 'bytes');
    rig.passthrough.isRefusing = true;
    rig.takeOver();
    const again = rig.fixture.vfs.openNow(KERNEL, ino, O_RDONLY, false);
    expect(again.backing).toBe(handle.backing);
  });

  test('lies in a file that says so, though the daemon before was killed before it could', () => {
    const { ino, handle } = rig.create('a');
    hold(handle);
    const path = Buffer.from(rig.passthrough.pathOf(handle.backing));
    const owner = Buffer.from('user.kitfs.content');
    loadNative().setXattr(path, owner, Buffer.from('999'));
    rig.takeOver();
    expect(loadNative().getXattr(path, owner).toString()).toBe(String(rig.row(ino).content));
  });

  test('has what was written while there was no daemon', () => {
    const { ino, handle } = rig.create('a');
    hold(handle);
    const { version } = rig.row(ino);
    rig.write(handle, 'bytes');
    rig.takeOver();
    expect(rig.row(ino)).toMatchObject({ size: 5, version: version + 1 });
    expect(rig.bytesOf(ino)).toBe('bytes');
  });

  test('goes on with its session, which makes one record', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'one');
    hold(handle);
    rig.takeOver();
    expect(kindsOf(ino)).toEqual(['create']);
    rig.write(now(handle), 'two', 3);
    rig.release(handle);
    expect(rig.records(ino)).toMatchObject([{ kind: 'create' }, { kind: 'write', size: 6 }]);
    expect(rig.bytesOf(ino)).toBe('onetwo');
    rig.expectAtRest();
  });

  test('makes no record when nothing was written', () => {
    const ino = rig.put('a', LARGE);
    const handle = rig.open(ino, O_RDWR);
    hold(handle);
    rig.takeOver();
    rig.release(handle);
    expect(kindsOf(ino)).toEqual(['create', 'write']);
    rig.expectAtRest();
  });

  test('by several handles has one base of before, which the first record tells', () => {
    const ino = rig.put('a', LARGE);
    const [one, other] = [rig.open(ino, O_RDWR), rig.open(ino, O_WRONLY)];
    hold(one, other);
    rig.write(one, 'new');
    rig.takeOver();
    const open = rig.core.handles.openInode(ino);
    expect(open).toMatchObject({ count: 2, writers: 2, isPrivate: true });
    expect(open?.base?.oldSize).toBe(LARGE.length);
    rig.release(one, other);
    const [, , first] = rig.records(ino);
    expect(first).toMatchObject({ kind: 'write', old_size: LARGE.length });
    expect(rig.fixture.journal.sessions.all()).toEqual([]);
    rig.expectAtRest();
  });

  test('has the number the kernel knows it by for opens to come', () => {
    const { ino, handle } = rig.create('a');
    hold(handle);
    rig.takeOver();
    const again = rig.open(ino, O_RDWR);
    expect([now(handle).backing, again.backing]).toEqual([handle.backing, handle.backing]);
    expect(again.fh).toBeGreaterThan(handle.fh);
  });

  test('can be fsynced, and is recorded then', async () => {
    const { ino, handle } = rig.create('a');
    hold(handle);
    rig.write(handle, 'bytes');
    rig.takeOver();
    await rig.fixture.vfs.fsync(handle.fh, false);
    expect(kindsOf(ino)).toEqual(['create', 'write']);
    rig.takeOver();
    rig.release(handle);
    expect(kindsOf(ino)).toEqual(['create', 'write']);
    rig.expectAtRest();
  });

  test('whose bytes are lost can be given back, and all others are as they were', () => {
    const lost = rig.create('a');
    const kept = rig.create('b');
    rig.write(kept.handle, 'bytes');
    hold(lost.handle, kept.handle);
    rmSync(rig.passthrough.pathOf(lost.handle.backing));
    rig.takeOver();
    expect(rig.bytesOf(kept.ino)).toBe('bytes');
    rig.release(lost.handle, kept.handle);
    expect(rig.core.handles.size).toBe(0);
  });

  test('that nobody has open any more comes to rest, but not while it is mapped', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'bytes');
    const mapping = rig.map(handle, 'r+');
    rig.release(handle);
    expect(rig.core.live.lingering.has(ino)).toBe(true);
    rig.takeOver();
    expect(rig.core.live.lingering.has(ino)).toBe(true);
    mapping.end();
    rig.takeOver();
    expect(rig.core.live.find(ino)).toBeUndefined();
    expect(rig.bytesOf(ino)).toBe('bytes');
  });

  test('whose handle the kernel was never told of ends, with its record', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'bytes');
    rig.takeOver();
    expect(rig.records(ino)).toMatchObject([{ kind: 'create' }, { kind: 'write', size: 5 }]);
    rig.expectAtRest();
  });
});

describe('what else is open', () => {
  test('a large file at rest that is read goes on by its number', () => {
    const { ino } = rig.putSealed('a', LARGE);
    const handle = rig.open(ino, O_RDONLY);
    hold(handle);
    rig.takeOver();
    expect(rig.core.live.find(ino)).toMatchObject({ backing: handle.backing, isWritable: false });
    rig.release(handle);
    expect([rig.core.live.size, rig.contentOf(ino)?.state]).toEqual([0, 'sealed']);
  });

  test('a large file at rest whose bytes are lost is closed without a word', () => {
    const { ino } = rig.putSealed('a', LARGE);
    const handle = rig.open(ino, O_RDONLY);
    hold(handle);
    rmSync(rig.passthrough.pathOf(handle.backing));
    rig.takeOver();
    expect(rig.core.live.find(ino)).toBeUndefined();
    rig.release(handle);
    expect(rig.core.handles.size).toBe(0);
  });

  test('a file without a name is there until it is given back', () => {
    const { ino, handle } = rig.create('a');
    rig.write(handle, 'bytes');
    hold(handle);
    rig.fixture.vfs.unlink(KERNEL, rig.fixture.ipfs, 'a' as Name);
    rig.takeOver();
    expect([rig.row(ino).nlink, rig.row(ino).size]).toEqual([0, 5]);
    expect(rig.fixture.vfs.unnamed()).toEqual([ino]);
    rig.release(handle);
    expect(rig.fixture.journal.inodes.get(ino)).toBeUndefined();
    rig.expectAtRest();
  });

  test('a handle whose inode is gone, or that was taken, is stale, and can be given back', () => {
    const { handle } = rig.create('a');
    const [gone, taken] = [9001, 9002].map((fh) => ({ ...handle, fh: fh as Fh }));
    hold({ ...handle, ...gone, ino: 12345 as Ino }, { ...handle, ...taken });
    rig.fixture.table.revoked(9002 as Fh);
    rig.takeOver();
    for (const fh of [9001, 9002] as Fh[]) {
      expect(() => rig.core.handles.get(fh)).toThrow(
        expect.objectContaining({ failure: 'version-conflict' }),
      );
      rig.fixture.vfs.release(fh);
      expect(() => rig.core.handles.get(fh)).toThrow(
        expect.objectContaining({ failure: 'bad-handle' }),
      );
    }
  });

  test('a tree in memory is as it was', () => {
    const { vfs } = rig.fixture;
    const parent = rig.fixture.ino('/mem');
    const { inode, handle } = vfs.create(KERNEL, parent, 'a' as Name, 0o644, O_RDWR);
    vfs.write(KERNEL, handle.fh, Buffer.from('bytes'), 0, false);
    hold(handle);
    rig.takeOver();
    expect(rig.fixture.ino('/mem/a')).toBe(inode.ino);
    expect(rig.bytesOf(inode.ino)).toBe('bytes');
    rig.fixture.vfs.write(KERNEL, handle.fh, Buffer.from('!'), 5, false);
    expect(rig.bytesOf(inode.ino)).toBe('bytes!');
    rig.restart();
    expect(() => rig.fixture.ino('/mem/a')).toThrow('not-found');
  });

  test('a control file whose text was not kept is stale', () => {
    const { vfs } = rig.fixture;
    const ino = rig.fixture.ino('/.kitfs/status.json');
    const handle = vfs.openNow(KERNEL, ino, O_RDONLY, false);
    expect(vfs.read(handle.fh, Buffer.alloc(9), 0, 9, 0)).toBe(3);
    hold(handle);
    rig.takeOver();
    expect(() => rig.fixture.vfs.read(handle.fh, Buffer.alloc(9), 0, 9, 0)).toThrow(
      expect.objectContaining({ failure: 'version-conflict' }),
    );
    rig.fixture.vfs.release(handle.fh);
    expect(rig.core.handles.size).toBe(0);
  });

  test('what a tool had open is not taken for what the kernel has', () => {
    const { vfs, ipfs } = rig.fixture;
    const { inode, handle } = vfs.create(ROOT, ipfs, 'a' as Name, 0o644, O_RDWR);
    vfs.write(ROOT, handle.fh, Buffer.from('bytes'), 0, false);
    rig.takeOver();
    expect(rig.core.handles.size).toBe(0);
    expect(rig.records(inode.ino)).toMatchObject([{ kind: 'create' }, { kind: 'write', size: 5 }]);
    const next = rig.create('b').handle;
    expect(next.fh).toBeGreaterThan(handle.fh);
  });
});
