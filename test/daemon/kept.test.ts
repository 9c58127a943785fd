/** What a daemon takes of what the one before it left with the keeper, which is played here. */
import { spawnSync } from 'node:child_process';
import { closeSync, fstatSync, mkdirSync } from 'node:fs';
import { afterAll, afterEach, describe, expect, test } from 'vitest';
import type { Fh, Ino } from '../../src/base/ids.ts';
import { loadNative } from '../../src/base/native.ts';
import { keepMount, letGo, takeKept } from '../../src/daemon/kept.ts';
import { keepConfig, takeConfig } from '../../src/daemon/kept-config.ts';
import { keepPlaces } from '../../src/daemon/kept-places.ts';
import { deviceAt } from '../../src/fuse/native.ts';
import { DuplicatingKeeper, HandKeeper } from './hand-keeper.ts';
import { Scratch } from './scratch.ts';

const native = loadNative();
const AGREED = { generation: 3, minor: 45, maxReadahead: 0, flags: 0, flags2: 0 };
const HANDLE = {
  ...{ fh: 5 as Fh, ino: 7 as Ino, unique: 2, flags: 0, uid: 0, gid: 0, pid: 1 },
  ...{ backing: undefined, openFlags: 0, isDirectory: false },
};

const opened: number[] = [];
const scratch = new Scratch();
let mounts: string[] = [];
afterEach(() => {
  for (const dir of mounts) unmount(dir);
  for (const fd of opened.splice(0)) if (isOpen(fd)) closeSync(fd);
});
afterAll(() => scratch[Symbol.dispose]());

/** A mount that nobody serves, and nobody here touches. */
function mount(): { readonly fd: number; readonly mountPoint: string; readonly device: string } {
  const mountPoint = scratch.path(`mount-${mounts.length}`);
  mkdirSync(mountPoint, { recursive: true });
  const fd = native.openFuseDevice();
  opened.push(fd);
  native.mountFuse(fd, mountPoint, { source: 'kitfs', fsType: 'fuse.kitfs' });
  mounts.push(mountPoint);
  return { fd, mountPoint, device: deviceAt(mountPoint) ?? '' };
}

function unmount(dir: string): void {
  spawnSync('umount', ['--lazy', dir]);
  mounts = mounts.filter((each) => each !== dir);
}

function isOpen(fd: number): boolean {
  try {
    fstatSync(fd);
    return true;
  } catch {
    return false;
  }
}

/** What a daemon left that was killed while it served a mount. */
async function left() {
  const keeper = new HandKeeper();
  const { table } = await takeKept(native, keeper);
  keepPlaces(keeper, { state: '/tmp', run: '/tmp', mountPoint: '/proc' }, 'of this mount');
  table.agree(AGREED);
  table.told(table.addHandle(HANDLE));
  const mounted = mount();
  keepMount(keeper, mounted);
  opened.push(keeper.held('handles')?.descriptor ?? -1);
  keeper.said.length = 0;
  return { keeper, ...mounted };
}

/** Nothing of it is gone on with: what was held is closed, and a new table is held instead. */
async function expectNew(keeper: HandKeeper, fd: number): Promise<void> {
  const old = keeper.held('handles')?.descriptor ?? -1;
  const { table, mount } = await takeKept(native, keeper);
  opened.push(keeper.held('handles')?.descriptor ?? -1);
  expect(mount).toBeUndefined();
  expect([table.agreement, table.handles()]).toEqual([undefined, []]);
  expect(keeper.said).toContain('drop fuse');
  expect(keeper.held('fuse')).toBeUndefined();
  // Its number may mean the new table now.
  expect(isOpen(fd) && fstatSync(fd).isCharacterDevice()).toBe(false);
  if (old >= 0) expect(keeper.said).toContain('drop handles');
  expect(keeper.said.at(-1)).toBe('hold handles');
}

describe('what the keeper holds', () => {
  test('is nothing for a daemon that nobody keeps', async () => {
    const { table, mount } = await takeKept(native, undefined);
    expect([table.agreement, mount]).toEqual([undefined, undefined]);
  });

  test('is a new table for the first daemon', async () => {
    const keeper = new HandKeeper();
    const { mount } = await takeKept(native, keeper);
    opened.push(keeper.held('handles')?.descriptor ?? -1);
    expect([mount, keeper.said]).toEqual([undefined, ['hold handles']]);
  });

  test('is gone on with: the connection, its mount, and each handle', async () => {
    const { keeper, fd, mountPoint, device } = await left();
    const { table, mount, journalId } = await takeKept(native, keeper);
    expect(mount).toEqual({ fd, mountPoint, device, diedOfItself: false });
    expect(journalId).toBe('of this mount');
    expect(table.agreement).toEqual(AGREED);
    expect(table.handles()).toMatchObject([{ ...HANDLE, isTold: true }]);
    expect(keeper.said).toEqual([]);
  });

  test('is one table for all of them, also when it grows', async () => {
    const { keeper } = await left();
    const { table } = await takeKept(native, keeper);
    for (let fh = 6; fh < 5000; fh++) table.addHandle({ ...HANDLE, fh: fh as Fh });
    const again = await takeKept(native, keeper);
    expect(again.table.handles()).toHaveLength(4995);
  });

  test('is let go when the mount was taken away meanwhile', async () => {
    for (const mountPoint of [undefined, '/nowhere']) {
      const { keeper, fd, ...there } = await left();
      keepMount(keeper, { fd, mountPoint: mountPoint ?? there.mountPoint, device: '0:0' });
      await expectNew(keeper, fd);
    }
    const { keeper, fd } = await left();
    keepMount(keeper, { fd, mountPoint: '/nowhere', device: undefined });
    await expectNew(keeper, fd);
  });

  test('is gone on with where it is by now, and the keeper told', async () => {
    const { keeper, ...mounted } = await left();
    keepMount(keeper, { ...mounted, mountPoint: '/old' });
    keeper.said.length = 0;
    const { mount } = await takeKept(native, keeper);
    expect(mount).toEqual({ ...mounted, diedOfItself: false });
    expect(keeper.said).toEqual([
      expect.stringContaining('note fuse'),
      `mounted ${mounted.device} ${mounted.mountPoint}`,
    ]);
  });

  test('is let go when what has its number by now is another mount', async () => {
    const { keeper, fd, mountPoint } = await left();
    const { device } = mount();
    unmount(mountPoint);
    keepMount(keeper, { fd, mountPoint, device });
    await expectNew(keeper, fd);
  });

  test('is let go when the table is of another form, or there is none', async () => {
    const other = await left();
    native.mapShared(other.keeper.held('handles')?.descriptor ?? -1, 8).writeUInt32LE(99, 4);
    await expectNew(other.keeper, other.fd);
    const none = await left();
    none.keeper.things.delete('handles');
    await expectNew(none.keeper, none.fd);
  });

  test('is let go when nobody knows of which journal it is', async () => {
    for (const data of ['', '{}', '{"journalId":1}', '{"journalId":"a","state":"/tmp"}']) {
      const { keeper, fd } = await left();
      keeper.hold('state', -1, data);
      await expectNew(keeper, fd);
    }
    const { keeper, fd } = await left();
    keeper.things.delete('state');
    await expectNew(keeper, fd);
  });

  test('is let go when what is said of it makes no sense', async () => {
    for (const data of ['', '{', '{}', '{"mountPoint":5}']) {
      const { keeper, fd } = await left();
      keeper.hold('fuse', fd, data);
      await expectNew(keeper, fd);
    }
  });

  test('tells who ended the daemon before: itself, or somebody', async () => {
    const ends: Readonly<Record<string, boolean>> = {
      ...{ 'signal 9': false, 'signal 15': false, 'exit 0': false, unknown: false, none: false },
      ...{ 'signal 11': true, 'signal 6': true, 'exit 1': true, hung: true },
    };
    const { keeper } = await left();
    for (const [last, isOwn] of Object.entries(ends)) {
      keeper.last = last;
      expect([last, (await takeKept(native, keeper)).mount?.diedOfItself]).toEqual([last, isOwn]);
    }
  });

  test('is what the configuration file said, or that there was none, for a mount that is there', () => {
    const connection = { descriptor: -1, data: '' };
    for (const said of [{ file: '/config.toml', text: 'ä = "€"\n' }, {}]) {
      const keeper = new DuplicatingKeeper();
      expect(takeConfig(keeper)).toBeUndefined();
      keepConfig(native, keeper, said);
      keeper.things.set('fuse', connection);
      const fd = keeper.held('config')?.descriptor ?? -1;
      expect(takeConfig(keeper)).toEqual(said);
      expect(isOpen(fd)).toBe(false);
      keepConfig(native, keeper, said);
      keeper.things.delete('fuse');
      expect(takeConfig(keeper)).toBeUndefined();
    }
  });

  test('is let go at the end of the mount', async () => {
    const { keeper } = await left();
    letGo(keeper);
    expect(keeper.said).toEqual(['unmounted', 'drop fuse']);
  });
});
