import { describe, expect, test } from 'vitest';
import { type Fh, type Ino, ROOT_INO } from '../../src/base/ids.ts';
import { KernelReferences } from '../../src/fuse/references.ts';

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
