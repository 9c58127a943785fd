import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Ino, type Name, nameOfText, ROOT_INO } from '../../src/base/ids.ts';
import { O_RDWR } from '../../src/base/posix.ts';
import { announceSince, mount, unmount } from '../../src/vfs/vfs.ts';
import { Fixture, ROOT } from './fixture.ts';

const PLAIN = { noReplace: false, exchange: false };

let fixture: Fixture;
let told: string[];
beforeEach(() => {
  fixture = new Fixture();
  told = [];
});
afterEach(() => {
  fixture.close();
});

/** What the kernel is told of what `change` did, when it was killed before it could say so. */
function announced(change: () => void): string[] {
  const { core } = fixture.vfs;
  const { seq } = fixture.journal.head;
  change();
  core.invalidator = {
    entry: (parent, name) => told.push(`entry ${parent} ${name}`),
    inode: (ino, bytes) => told.push(`inode ${ino} ${bytes ? 'bytes' : 'attributes'}`),
    uncounted() {},
    settled: () => Promise.resolve(),
    knows: () => true,
  };
  announceSince(core, seq);
  return told;
}

function mkdir(name: string, parent = fixture.ipfs): Ino {
  return fixture.vfs.mkdir(ROOT, parent, name as Name, 0o755).ino;
}

const mknod = (name: string): Ino =>
  fixture.vfs.mknod(ROOT, fixture.ipfs, name as Name, 0o100644, 0).ino;

const place = (name: string, parent = fixture.ipfs) => ({ parent, name: name as Name });

describe('a kernel that was not told is told of', () => {
  test('a new name, and its directory', () => {
    let made = 0 as Ino;
    const heard = announced(() => {
      made = mkdir('a');
    });
    const { ipfs } = fixture;
    expect(heard).toEqual([`inode ${made} bytes`, `entry ${ipfs} a`, `inode ${ipfs} bytes`]);
  });

  test('a directory behind a name in it, also when it was told of it before', () => {
    const parent = mkdir('d');
    const heard = announced(() => {
      fixture.vfs.setxattr(ROOT, parent, 'user.a' as Name, Buffer.from('1'), 'any');
      mkdir('one', parent);
      mkdir('two', parent);
    });
    expect(heard.filter((line) => line.includes(` ${parent} `))).toEqual([
      `inode ${parent} bytes`,
      `entry ${parent} one`,
      `inode ${parent} bytes`,
      `entry ${parent} two`,
    ]);
  });

  test('attributes, bytes and extended attributes of an inode', () => {
    const ino = mknod('a');
    const heard = announced(() => {
      void fixture.vfs.setattr(ROOT, ino, { mode: 0o600 });
      fixture.vfs.setxattr(ROOT, ino, 'user.a' as Name, Buffer.from('1'), 'any');
    });
    expect(heard).toEqual([`inode ${ino} bytes`]);
  });

  test('each name and each inode once, however often they changed', () => {
    const ino = mknod('a');
    const heard = announced(() => {
      for (let i = 0; i < 50; i++) {
        void fixture.vfs.setattr(ROOT, ino, { mode: 0o600 + i });
        fixture.vfs.link(ROOT, ino, fixture.ipfs, 'b' as Name);
        fixture.vfs.unlink(ROOT, fixture.ipfs, 'b' as Name);
      }
    });
    const { ipfs } = fixture;
    expect(heard).toEqual([`inode ${ino} bytes`, `entry ${ipfs} b`, `inode ${ipfs} bytes`]);
  });

  test('both names of a rename, and both directories', () => {
    const [from, to] = [mkdir('from'), mkdir('to')];
    const moved = mkdir('a', from);
    const heard = announced(() => {
      fixture.vfs.rename(ROOT, place('a', from), place('b\xef', to), PLAIN);
    });
    expect(heard).toEqual([
      `inode ${moved} bytes`,
      `entry ${to} b\xef`,
      `inode ${to} bytes`,
      `entry ${from} a`,
      `inode ${from} bytes`,
    ]);
  });

  test('what a rename replaced, which may have other names', () => {
    mknod('a');
    const replaced = mknod('b');
    fixture.vfs.link(ROOT, replaced, fixture.ipfs, 'other' as Name);
    const heard = announced(() => fixture.vfs.rename(ROOT, place('a'), place('b'), PLAIN));
    expect(heard).toContain(`inode ${replaced} attributes`);
  });

  test('both inodes of an exchange', () => {
    const [one, other] = [mknod('a'), mknod('b')];
    const exchange = { noReplace: false, exchange: true };
    const heard = announced(() => fixture.vfs.rename(ROOT, place('a'), place('b'), exchange));
    const { ipfs } = fixture;
    expect(heard).toEqual([
      ...[`inode ${one} bytes`, `entry ${ipfs} b`, `inode ${ipfs} bytes`],
      ...[`entry ${ipfs} a`, `inode ${other} attributes`],
    ]);
  });

  test('a removed name, and what it was the name of', () => {
    const ino = mknod('a');
    const heard = announced(() => fixture.vfs.unlink(ROOT, fixture.ipfs, 'a' as Name));
    expect(heard).toContain(`entry ${fixture.ipfs} a`);
    expect(heard).toContain(`inode ${ino} bytes`);
  });

  test('each directory on the way to a tree that was mounted, and one that was unmounted', () => {
    const { vfs } = fixture;
    const request = {
      ...{ mountId: 'y', kind: 'memory', backend: 'memory', source: '', options: {} },
      ...{ uid: 0, gid: 0, mode: 0o755, readOnly: false, volatile: true, parents: true },
      mountPoint: nameOfText('/x/y'),
    };
    const heard = announced(() => mount(vfs.core, ROOT, request));
    expect(heard).toContain(`entry ${ROOT_INO} x`);
    expect(heard).toContain(`entry ${fixture.ino('/x')} y`);
    told.length = 0;
    const gone = announced(() => unmount(vfs.core, ROOT, nameOfText('/x/y')));
    expect(gone).toContain(`entry ${ROOT_INO} x`);
  });

  test('the attributes of what is open, and of nothing else that did not change', () => {
    const { inode, handle } = fixture.vfs.create(ROOT, fixture.ipfs, 'a' as Name, 0o644, O_RDWR);
    expect(announced(() => {})).toEqual([`inode ${inode.ino} attributes`]);
    fixture.vfs.release(handle.fh);
    told.length = 0;
    expect(announced(() => {})).toEqual([]);
  });

  test('more records than are read at once', () => {
    const { vfs, ipfs, journal } = fixture;
    const heard = announced(() => {
      journal.group(() => {
        for (let n = 0; n < 1500; n++) vfs.mkdir(ROOT, ipfs, `d${n}` as Name, 0o755);
      });
    });
    expect(heard.filter((message) => message.startsWith('entry'))).toHaveLength(1500);
  });
});
