import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Name } from '../../src/base/ids.ts';
import { ROOT_INO } from '../../src/base/ids.ts';
import { after, walk, walkToPlace } from '../../src/fuse/walk.ts';
import { FaultyFileSystem } from '../fakes/faulty.ts';
import { Fixture, ROOT } from '../vfs/fixture.ts';

const path = (latin1: string) => latin1 as Name;

let fixture: Fixture;
beforeEach(() => {
  fixture = new Fixture();
});
afterEach(() => fixture.close());

describe('a walk', () => {
  test('ends at the inode the path names, through mounted trees and by bytes', () => {
    const { vfs, ipfs } = fixture;
    const directory = vfs.mkdir(ROOT, ipfs, path('d\xff'), 0o755);
    const file = vfs.mknod(ROOT, directory.ino, path('f'), 0o100644, 0);
    expect(walk(vfs, path('/'))).toBe(ROOT_INO);
    expect(walk(vfs, path('/ipfs'))).toBe(ipfs);
    expect(walk(vfs, path('/ipfs/d\xff/f'))).toBe(file.ino);
    expect(walkToPlace(vfs, path('/ipfs/d\xff/new'))).toEqual({
      parent: directory.ino,
      name: 'new',
    });
  });

  test('fails as path_resolution(7) has it', () => {
    const { vfs, ipfs } = fixture;
    vfs.mknod(ROOT, ipfs, path('f'), 0o100644, 0);
    expect(() => walk(vfs, path('/ipfs/none'))).toThrow(
      expect.objectContaining({ failure: 'not-found' }),
    );
    expect(() => walk(vfs, path('/ipfs/none/f'))).toThrow(
      expect.objectContaining({ failure: 'not-found' }),
    );
    expect(() => walk(vfs, path('/ipfs/f/g'))).toThrow(
      expect.objectContaining({ failure: 'not-directory' }),
    );
    expect(() => walk(vfs, path(`/ipfs/${'n'.repeat(256)}`))).toThrow(
      expect.objectContaining({ failure: 'name-too-long' }),
    );
    expect(() => walkToPlace(vfs, path('/'))).toThrow(expect.objectContaining({ failure: 'busy' }));
  });

  test('asks as nobody who could be refused, because the kernel has asked already', () => {
    const { vfs, ipfs } = fixture;
    const closed = vfs.mkdir(ROOT, ipfs, path('closed'), 0o000);
    const file = vfs.mknod(ROOT, closed.ino, path('f'), 0o100000, 0);
    expect(walk(vfs, path('/ipfs/closed/f'))).toBe(file.ino);
  });

  test('waits only for what is not there at once, and goes on behind it', async () => {
    const faulty = new FaultyFileSystem(fixture.vfs);
    const directory = fixture.vfs.mkdir(ROOT, fixture.ipfs, path('d'), 0o755);
    const file = fixture.vfs.mknod(ROOT, directory.ino, path('f'), 0o100644, 0);
    faulty.faults.set('lookup', (real, [, , name]) =>
      name === 'd' ? Promise.resolve(real()) : real(),
    );
    const walking = walk(faulty.fileSystem, path('/ipfs/d/f'));
    expect(walking).toBeInstanceOf(Promise);
    expect(await walking).toBe(file.ino);
    await expect(walk(faulty.fileSystem, path('/ipfs/d/none'))).rejects.toMatchObject({
      failure: 'not-found',
    });
  });

  test('hands a value on in the same turn', () => {
    expect(after(1, (one) => one + 1)).toBe(2);
  });
});
