/** Laws of the tables: what is put in is found, in the order promised. */
import { describe, expect, test } from 'vitest';
import type { ContentId, Ino, SuperblockId } from '../../src/base/ids.ts';
import { S_IFREG } from '../../src/base/posix.ts';
import { checkJournal, type Journal } from '../../src/journal/journal.ts';
import { content, entry, inode, name, openScratch, plantTree, root } from './scratch.ts';

const DIRECTORY = 1 as Ino;

function enter(journal: Journal, ...names: string[]): void {
  journal.commit((tx) => {
    for (const text of names) {
      const row = inode(tx, journal.inodes.nextIno(), S_IFREG);
      journal.inodes.insert(row);
      journal.dentries.insert(DIRECTORY, name(text), row.ino);
    }
  });
}

describe('a directory', () => {
  test('is read in the order its entries were made, from any place in it', () => {
    const { journal } = openScratch();
    enter(journal, 'c', 'a', 'b');
    const all = journal.dentries.list(DIRECTORY, 0, 10);
    expect(all.map((row) => row.name)).toEqual(['c', 'a', 'b']);
    const [first] = all;
    expect(journal.dentries.list(DIRECTORY, first?.cookie ?? 0, 1)).toEqual([all[1]]);
  });

  test('gives a new entry a new place, also under an old name', () => {
    const { journal } = openScratch();
    enter(journal, 'a', 'b');
    const [was] = journal.dentries.list(DIRECTORY, 0, 1);
    journal.commit(() => journal.dentries.remove(DIRECTORY, name('a')));
    enter(journal, 'a');
    const places = journal.dentries.list(DIRECTORY, 0, 10);
    expect(places.map((row) => row.name)).toEqual(['b', 'a']);
    expect(places.map(({ cookie }) => cookie)).not.toContain(was?.cookie);
  });

  test('what names mean follows every change of them, and what is taken back', () => {
    const { journal } = openScratch();
    const { dentries } = journal;
    enter(journal, 'a', 'b');
    const meant = () => [
      dentries.find(DIRECTORY, name('a')),
      dentries.find(DIRECTORY, name('new')),
    ];
    const [a, none] = meant();
    const other = dentries.find(DIRECTORY, name('b'));
    if (a === undefined || other === undefined || none !== undefined) throw new Error('a and b');
    const seen: unknown[] = [];
    const change = () =>
      journal.commit(() => {
        dentries.insert(DIRECTORY, name('new'), a);
        dentries.replace(DIRECTORY, name('a'), other);
        seen.push(meant());
        dentries.remove(DIRECTORY, name('a'));
        seen.push(meant());
        if (seen.length < 3) throw new Error('taken back');
      });
    expect(change).toThrow();
    expect(meant()).toEqual([a, undefined]);
    change();
    expect(meant()).toEqual([undefined, a]);
    const once = [
      [other, a],
      [undefined, a],
    ];
    expect(seen).toEqual([...once, ...once]);
  });

  test('keeps the place of an entry that means another inode', () => {
    const { journal } = openScratch();
    enter(journal, 'a');
    const [was] = journal.dentries.list(DIRECTORY, 0, 1);
    enter(journal, 'b');
    const other = journal.dentries.find(DIRECTORY, name('b'));
    if (other === undefined) throw new Error('b is gone');
    journal.commit(() => journal.dentries.replace(DIRECTORY, name('a'), other));
    const [is] = journal.dentries.list(DIRECTORY, 0, 1);
    expect([is?.cookie, is?.inode.ino]).toEqual([was?.cookie, other]);
    expect(journal.dentries.listInodes(DIRECTORY, 0, 1)).toMatchObject([
      { name: 'a', cookie: was?.cookie, inode: journal.inodes.get(other) },
    ]);
  });

  test('is read by name bytewise, and counted', () => {
    const { journal } = openScratch();
    expect(journal.dentries.isEmpty(DIRECTORY)).toBe(true);
    enter(journal, 'b', 'B', 'é', 'a');
    const { dentries } = journal;
    const names = dentries.namesAfter(DIRECTORY, name(''), 10).map((row) => row.name);
    expect(names).toEqual(['B', 'a', 'b', name('é')]);
    expect(dentries.namesAfter(DIRECTORY, name('a'), 1).map((row) => row.name)).toEqual(['b']);
    expect(dentries.count(DIRECTORY)).toBe(4);
    expect(dentries.isEmpty(DIRECTORY)).toBe(false);
  });
});

describe('an inode', () => {
  test('is read as it was written, and as it was changed', () => {
    const { journal } = openScratch();
    const row = journal.commit((tx) => inode(tx, 5 as Ino, S_IFREG | 0o644, { mtimeS: -3 }));
    journal.commit(() => journal.inodes.insert(row));
    expect(journal.inodes.get(row.ino)).toEqual(row);
    Object.assign(row, { size: 2 ** 53 - 1, uid: 2 ** 32 - 1, nlink: 2, version: 9 });
    journal.commit(() => journal.inodes.update(row));
    expect(journal.inodes.get(row.ino)).toEqual(row);
    journal.commit(() => journal.inodes.delete(row));
    expect(journal.inodes.get(row.ino)).toBeUndefined();
  });

  test('without a name is an orphan', () => {
    const { journal } = openScratch();
    plantTree(journal);
    expect(journal.inodes.orphans(10).map(({ ino }) => ino)).toEqual([8]);
  });

  test('is counted and paged with its superblock, and dropped with it', () => {
    const { journal } = openScratch();
    plantTree(journal);
    const { inodes, superblocks } = journal;
    const superblock = 1 as SuperblockId;
    expect(inodes.usage(superblock)).toEqual({ inodes: 8, bytes: 5 + 1000 });
    expect(superblocks.filesOf(superblock)).toEqual({ files: 4, bytes: 5 + 1000 });
    expect(superblocks.inosOf(superblock)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    expect(inodes.ofSuperblock(superblock, 3 as Ino, 2).map(({ ino }) => ino)).toEqual([4, 5]);
    journal.commit(() => superblocks.dropInodes(superblock));
    expect(inodes.usage(superblock)).toEqual({ inodes: 0, bytes: 0 });
    expect(inodes.ofSuperblock(superblock, 0, 1)).toEqual([]);
    expect(journal.dentries.find(2 as Ino, name('f'))).toBeUndefined();
    expect(journal.sessions.all()).toEqual([]);
    expect(journal.symlinks.get(7 as Ino)).toBeUndefined();
    expect(journal.xattrs.list(4 as Ino)).toEqual([]);
  });
});

describe('what a superblock holds', () => {
  const superblock = 1 as SuperblockId;

  test('is known inside a transaction, and after it, and in the next life', () => {
    const opened = openScratch();
    plantTree(opened.journal);
    const row = opened.journal.commit((tx) => inode(tx, 50 as Ino, S_IFREG, { size: 10 }));
    opened.journal.commit(() => {
      opened.journal.inodes.insert(row);
      expect(opened.journal.inodes.usage(superblock)).toEqual({ inodes: 9, bytes: 1015 });
      row.size = 3;
      opened.journal.inodes.update(row);
      expect(opened.journal.inodes.usage(superblock)).toEqual({ inodes: 9, bytes: 1008 });
    });
    expect(opened.reopen().inodes.usage(superblock)).toEqual({ inodes: 9, bytes: 1008 });
    const again = opened.journal.inodes.get(row.ino);
    if (again === undefined) throw new Error('it is gone');
    again.size = 7;
    opened.journal.commit(() => opened.journal.inodes.update(again));
    expect(opened.reopen().inodes.usage(superblock)).toEqual({ inodes: 9, bytes: 1012 });
    opened.journal.commit(() => opened.journal.inodes.delete(again));
    expect(opened.reopen().inodes.usage(superblock)).toEqual({ inodes: 8, bytes: 1005 });
    expect(checkJournal(opened.journal)).toEqual([]);
  });

  test('is as before when the transaction did not happen', () => {
    const { journal } = openScratch();
    plantTree(journal);
    const failing = () =>
      journal.commit((tx) => {
        journal.inodes.insert(inode(tx, 50 as Ino, S_IFREG, { size: 10 }));
        throw new Error('no');
      });
    expect(failing).toThrow('commit');
    expect(journal.inodes.usage(superblock)).toEqual({ inodes: 8, bytes: 1005 });
    journal.commit((tx) => tx.record(entry(root(journal), '/d')));
    expect(checkJournal(journal)).toEqual([]);
  });
});

test('superblocks and mounts are read as they were written', () => {
  const { journal } = openScratch();
  plantTree(journal);
  const { superblocks } = journal;
  expect(superblocks.all()).toMatchObject([
    { id: 1, kind: 'root', volatile: false, sizeBytesMax: undefined, inodesMax: 1000, options: {} },
  ]);
  expect(superblocks.mounts()).toEqual([{ mountPoint: '/', mountId: 'm1', superblock: 1 }]);
  journal.commit(() => {
    superblocks.deleteMount(name('/'));
    superblocks.delete(1 as SuperblockId);
  });
  expect([superblocks.all(), superblocks.mounts()]).toEqual([[], []]);
});

test('what was published of a subtree is the last that was said', () => {
  const { journal } = openScratch();
  const { superblocks } = journal;
  const row = {
    path: name('/a'),
    rootCid: Buffer.from('root'),
    snapshotCid: null,
    seq: 5,
    timeS: 1,
    timeNs: 2,
  };
  expect(superblocks.synced(row.path)).toBeUndefined();
  journal.commit(() => superblocks.setSynced({ ...row, seq: 4 }));
  journal.commit(() => superblocks.setSynced(row));
  expect(superblocks.synced(row.path)).toEqual(row);
});

test('attributes and targets are bytes, listed bytewise', () => {
  const { journal } = openScratch();
  const ino = 4 as Ino;
  const { xattrs, symlinks } = journal;
  journal.commit(() => {
    xattrs.set(ino, name('user.b'), Buffer.from([0, 255]));
    xattrs.set(ino, name('user.a'), Buffer.alloc(0));
    xattrs.set(ino, name('user.b'), Buffer.from([1]));
    symlinks.set(ino, name('../ÿ'));
  });
  expect(xattrs.list(ino)).toEqual(['user.a', 'user.b']);
  expect(xattrs.all(ino).map(({ value }) => [...value])).toEqual([[], [1]]);
  expect(xattrs.get(ino, name('user.c'))).toBeUndefined();
  expect(symlinks.get(ino)).toBe(name('../ÿ'));
  journal.commit(() => {
    xattrs.remove(ino, name('user.a'));
    symlinks.remove(ino);
  });
  expect(xattrs.list(ino)).toEqual(['user.b']);
  journal.commit(() => xattrs.clear(ino));
  expect(xattrs.list(ino)).toEqual([]);
  expect(symlinks.get(ino)).toBeUndefined();
});

describe('content', () => {
  const cid = (text: string) => Buffer.from(text);

  test('is found by its state, page by page', () => {
    const { journal } = openScratch();
    const { contents } = journal;
    journal.commit(() => {
      for (const id of [1, 2, 3, 4] as ContentId[]) {
        contents.insert(content(id, 1, { state: id === 2 ? 'open' : 'frozen' }));
      }
    });
    expect(contents.frozen(0, 2).map(({ id }) => id)).toEqual([1, 3]);
    expect(contents.frozen(3 as ContentId, 2).map(({ id }) => id)).toEqual([4]);
    expect(contents.page(2 as ContentId, 9).map(({ id }) => id)).toEqual([3, 4]);
  });

  test('takes its bytes and blocks with it', () => {
    const { journal } = openScratch();
    const { contents } = journal;
    const id = 1 as ContentId;
    journal.commit(() => {
      contents.insert(content(id, 2));
      contents.setBytes(id, Buffer.from('ab'));
      contents.copyBytes(id, 2 as ContentId);
      contents.insertBlock({ cid: cid('x'), content: id, position: 0, size: 2 });
      contents.insertBlock({ cid: cid('x'), content: id, position: 1, size: 1 });
    });
    expect(contents.bytes(2 as ContentId)?.toString()).toBe('ab');
    expect(contents.blocksOf(id)).toEqual([{ cid: cid('x'), content: id, position: 0, size: 2 }]);
    journal.commit(() => contents.delete(id));
    expect(contents.get(id)).toBeUndefined();
    expect(contents.bytes(id)).toBeUndefined();
    expect(contents.blocksOf(id)).toEqual([]);
  });

  test('is pinned once for each CID', () => {
    const { journal } = openScratch();
    const { contents } = journal;
    const pin = { cid: cid('x'), type: 'recursive', name: null, time_s: 1, time_ns: 2 } as const;
    journal.commit(() => {
      contents.setPin({ ...pin, type: 'direct' });
      contents.setPin(pin);
    });
    expect(contents.pin(pin.cid)).toEqual(pin);
    expect(contents.pins()).toEqual([pin]);
    journal.commit(() => contents.deletePin(pin.cid));
    expect(contents.pins()).toEqual([]);
  });
});
