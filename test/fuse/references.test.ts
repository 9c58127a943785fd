import { describe, expect, test } from 'vitest';
import { type Fh, type Ino, ROOT_INO } from '../../src/base/ids.ts';
import type { Reply } from '../../src/fuse/encode.ts';
import { KernelReferences } from '../../src/fuse/references.ts';
import { CID_INO_FROM, HandleTable } from '../../src/vfs/vfs.ts';

const INO = 5 as Ino;

const handle = (fh: number, isDirectory: boolean) => ({
  ...{ fh: fh as Fh, ino: INO, flags: 2, openFlags: 0, backing: undefined, isDirectory },
});

describe('references of the kernel', () => {
  test('an inode is known from its first lookup until its last is given back', () => {
    const references = new KernelReferences();
    expect(references.knows(INO)).toBe(false);
    for (let count = 0; count < 3; count++) references.lookedUp(INO);
    expect(references.forget(INO, 2)).toBe(false);
    expect(references.knows(INO)).toBe(true);
    expect(references.forget(INO, 1)).toBe(true);
    expect(references.knows(INO)).toBe(false);
    expect(references.inodeCount).toBe(0);
  });

  test('more than was handed out may be given back, once', () => {
    const references = new KernelReferences();
    expect(references.forget(INO, 1)).toBe(false);
    references.lookedUp(INO);
    expect(references.forget(INO, 2 ** 40)).toBe(true);
    expect(references.forget(INO, 1)).toBe(false);
  });

  test('the root is known as long as there is a mount', () => {
    const references = new KernelReferences();
    references.lookedUp(ROOT_INO);
    expect(references.forget(ROOT_INO, 100)).toBe(false);
    expect(references.knows(ROOT_INO)).toBe(true);
  });

  test('everything comes back at the end', () => {
    const references = new KernelReferences();
    references.lookedUp(INO);
    references.opened(handle(1, false));
    references.opened(handle(2, true));
    references.closed(1 as Fh);
    expect(() => references.opened(handle(2, true))).toThrow('handed out twice');
    expect(references.takeAll()).toEqual({
      handles: [handle(2, true)],
      inos: [INO],
    });
    expect(references.takeAll()).toEqual({ handles: [], inos: [] });
    expect([references.handleCount, references.knows(INO)]).toEqual([0, false]);
  });
});

describe('references of a connection that is gone on with', () => {
  const asked = { unique: 40, uid: 1, gid: 2, pid: 3 };
  const CID = (CID_INO_FROM + 9) as Ino;

  /** What a daemon left that handed out two handles; the kernel took the first answer. */
  function inherited(): { readonly references: KernelReferences; readonly table: HandleTable } {
    const table = HandleTable.make();
    const before = new KernelReferences(table);
    for (const [fh, unique] of [
      [1, 40],
      [2, 42],
    ] as const) {
      const opened = handle(fh, false);
      before.opened(opened);
      before.keep({ ...asked, unique, opened } as Reply);
    }
    before.told(1 as Fh);
    const references = new KernelReferences(table);
    references.inherit(table.handles(), 100 as Ino);
    return { references, table };
  }

  test('are in the table when the answer leaves, once, and until they are given back', () => {
    const table = HandleTable.make();
    const references = new KernelReferences(table);
    const opened = handle(1, true);
    references.opened(opened);
    expect(table.handles()).toEqual([]);
    for (let count = 0; count < 2; count++) references.keep({ ...asked, opened } as Reply);
    const place = 0;
    const known = { ...opened, ...asked, place, isRevoked: false };
    expect(table.handles()).toEqual([{ ...known, isTold: false }]);
    references.told(1 as Fh);
    expect(table.handles()).toEqual([{ ...known, isTold: true }]);
    references.closed(1 as Fh);
    references.closed(1 as Fh);
    references.told(1 as Fh);
    references.keep({ ...asked, opened: undefined } as Reply);
    expect(table.handles()).toEqual([]);
  });

  test('are handles, of which one whose answer may be lost is claimed once', () => {
    const { references } = inherited();
    expect(references.handleCount).toBe(2);
    expect(references.claim(40)).toBeUndefined();
    expect(references.claim(42)).toMatchObject({ fh: 2, ino: INO });
    expect(references.claim(42)).toBeUndefined();
  });

  test('are not claimed any more when they were given back', () => {
    const { references, table } = inherited();
    references.closed(2 as Fh);
    expect(references.claim(42)).toBeUndefined();
    expect(table.handles().map(({ fh }) => fh)).toEqual([1]);
  });

  test('are all inodes that there were, each until it is given back', () => {
    const { references } = inherited();
    const inos = [INO, 99 as Ino, 100 as Ino, CID];
    expect(inos.map((ino) => references.knows(ino))).toEqual([true, true, false, true]);
    expect(inos.map((ino) => references.isCounted(ino))).toEqual([false, false, false, false]);
    expect(inos.map((ino) => references.forget(ino, 7))).toEqual([true, true, false, true]);
    references.lookedUp(INO);
    expect([references.isCounted(INO), references.forget(INO, 1)]).toEqual([true, true]);
  });

  test('come back at the end, and nothing is inherited then', () => {
    const { references, table } = inherited();
    expect(references.takeAll().handles.map(({ fh }) => fh)).toEqual([1, 2]);
    expect([table.handles(), references.knows(INO), references.knows(CID)]).toEqual([
      [],
      false,
      false,
    ]);
  });
});
