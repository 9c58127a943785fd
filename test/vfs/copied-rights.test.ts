/** What a copy lets whom do: lists, capabilities and bits of the original, and of where it is made. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Ino, type Name, NO_CONTENT } from '../../src/base/ids.ts';
import { O_RDWR, R_OK, S_IFREG, W_OK } from '../../src/base/posix.ts';
import { type Acl, formatAcl } from '../../src/vfs/acl.ts';
import { type Caller, copyTree } from '../../src/vfs/vfs.ts';
import { callerOf, Fixture, ROOT } from './fixture.ts';

const n = (text: string): Name => text as Name;
const ACCESS = n('system.posix_acl_access');
const DEFAULT = n('system.posix_acl_default');
const CAPABILITY = n('security.capability');
const OWNER = callerOf(7, 8);
const NAMED = callerOf(20, 20);
const GROUP = callerOf(30, 8);
/** Of the group nothing, of user 20 all, within a mask that the mode shows as the group's bits. */
const LIST: Acl = {
  owner: 7,
  users: [{ id: 20, bits: 7 }],
  group: 0,
  groups: [],
  mask: 7,
  other: 0,
};

let f: Fixture;
beforeEach(() => {
  f = new Fixture();
  void f.vfs.setattr(ROOT, f.ipfs, { mode: 0o777 });
});
afterEach(() => f.close());

function put(parent: Ino, name: string): Ino {
  const { inode, handle } = f.vfs.create(OWNER, parent, n(name), 0o640, O_RDWR);
  f.vfs.write(OWNER, handle.fh, Buffer.from('bytes'), 0, false);
  f.vfs.release(handle.fh);
  return inode.ino;
}

const copy = (ino: Ino, name: string, preserve: boolean, caller: Caller): Ino =>
  copyTree(f.vfs.core, caller, ino, { parent: f.ipfs, name: n(name) }, preserve).ino;

function may(caller: Caller, ino: Ino, mask = R_OK | W_OK): boolean {
  try {
    f.vfs.access(caller, ino, mask);
    return true;
  } catch {
    return false;
  }
}

test('a copy that keeps attributes lets in whom the list of the original does', () => {
  const ino = put(f.ipfs, 'a');
  f.vfs.setxattr(OWNER, ino, ACCESS, formatAcl(LIST), 'any');
  for (const [caller, name] of [
    [ROOT, 'b'],
    [OWNER, 'c'],
  ] as const) {
    const made = copy(ino, name, true, caller);
    expect([name, may(NAMED, made), may(GROUP, made)]).toEqual([name, true, false]);
    expect(f.vfs.getxattr(ROOT, made, ACCESS)).toEqual(formatAcl(LIST));
    expect(f.vfs.getattr(ROOT, made).mode).toBe(S_IFREG | 0o770);
  }
});

test('a copy without attributes gives the group no more than the list gave it', () => {
  const ino = put(f.ipfs, 'a');
  f.vfs.setxattr(OWNER, ino, ACCESS, formatAcl(LIST), 'any');
  const made = copy(ino, 'b', false, OWNER);
  expect([may(OWNER, made), may(GROUP, made), may(NAMED, made)]).toEqual([true, false, false]);
});

test('a copy made where a default list waits has the original’s rights, or the list bounded', () => {
  const inside = f.vfs.mkdir(OWNER, f.ipfs, n('d'), 0o500).ino;
  void f.vfs.setattr(OWNER, inside, { mode: 0o700 });
  put(inside, 'a');
  void f.vfs.setattr(OWNER, inside, { mode: 0o500 });
  f.vfs.setxattr(ROOT, f.ipfs, DEFAULT, formatAcl(LIST), 'any');
  for (const preserve of [true, false]) {
    const top = copy(inside, `kept-${preserve}`, preserve, OWNER);
    const file = f.ino(`/ipfs/kept-${preserve}/a`);
    expect([preserve, may(NAMED, top), may(NAMED, file)]).toEqual([preserve, false, false]);
    const lists = [top, file].map((ino) => f.vfs.getxattr(ROOT, ino, ACCESS) !== undefined);
    expect(lists).toEqual([!preserve, !preserve]);
    expect(may(OWNER, top, W_OK)).toBe(false);
    expect(f.vfs.getattr(ROOT, top).mode & 0o700).toBe(0o500);
  }
});

test('capabilities copied by root are there at once, and go with the first write', () => {
  const ino = put(f.ipfs, 'a');
  f.vfs.setxattr(ROOT, ino, CAPABILITY, Buffer.from('cap'), 'any');
  const made = copy(ino, 'b', true, ROOT);
  expect(f.vfs.getxattr(ROOT, made, CAPABILITY)?.toString()).toBe('cap');
  const { fh } = f.vfs.openNow(ROOT, made, O_RDWR, false);
  f.vfs.write(ROOT, fh, Buffer.from('other'), 0, false);
  f.vfs.release(fh);
  expect(f.vfs.getxattr(ROOT, made, CAPABILITY)).toBeUndefined();
  f.reopen();
  expect(f.vfs.getxattr(ROOT, made, CAPABILITY)).toBeUndefined();
});

test('what is restored has the rights it had, whatever list waits where it is made', () => {
  f.vfs.setxattr(ROOT, f.ipfs, DEFAULT, formatAcl(LIST), 'any');
  const node = { type: 'file', content: NO_CONTENT, size: 0 } as const;
  const made = { action: 'make', replaces: undefined, node, children: [] } as const;
  f.vfs.graft(OWNER, {
    root: f.ipfs,
    linksFrom: [],
    metadata: {},
    children: [
      { ...made, name: n('whole'), metadata: { mode: 0o600, xattrs: [] } },
      { ...made, name: n('bits'), metadata: { mode: 0o600 } },
    ],
  });
  const [whole, bits] = [f.ino('/ipfs/whole'), f.ino('/ipfs/bits')];
  expect(f.vfs.getxattr(ROOT, whole, ACCESS)).toBeUndefined();
  expect(f.vfs.getxattr(ROOT, bits, ACCESS)).toEqual(formatAcl({ ...LIST, owner: 6, mask: 0 }));
  expect([may(NAMED, whole), may(NAMED, bits)]).toEqual([false, false]);
});
