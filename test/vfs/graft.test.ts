/** The laws of carrying out a planned change of a tree. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { PlannedEntry, PlannedMaking, TreePlan } from '../../src/base/graft.ts';
import { type ContentId, type Ino, type Name, NO_CONTENT, nameOfText } from '../../src/base/ids.ts';
import { S_IFCHR } from '../../src/base/posix.ts';
import { callerOf, Fixture, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const name = (text: string): Name => nameOfText(text);

const planOf = (...children: PlannedEntry[]): TreePlan => ({
  root: world.ipfs,
  linksFrom: [],
  metadata: {},
  children,
});

const making = (text: string, more: Partial<PlannedMaking> = {}): PlannedMaking => ({
  action: 'make',
  name: name(text),
  replaces: undefined,
  node: { type: 'directory' },
  metadata: {},
  children: [],
  ...more,
});

function seen(path: string) {
  const { ino, version } = world.vfs.core.inodes.get(world.ino(path));
  return { ino, version };
}

/** What the plan fails with; it must leave no record. */
function failureOf(plan: TreePlan, caller = ROOT): string {
  const { seq } = world.journal.head;
  try {
    world.vfs.graft(caller, plan);
  } catch (error) {
    expect(world.journal.head.seq).toBe(seq);
    return error instanceof OpError ? error.failure : String(error);
  }
  throw new Error('the plan was carried out');
}

function content(bytes: string): ContentId {
  return world.journal.commit(() => {
    const id = world.content.create('local');
    world.content.write(id, Buffer.from(bytes), 0);
    world.content.freeze(id);
    return id;
  });
}

const file = (bytes: string) =>
  ({ type: 'file', content: content(bytes), size: bytes.length }) as const;

test('a tree is made as planned, with further names of its inodes', () => {
  const metadata = { mode: 0o640, uid: 5, gid: 6, mtime: { s: 7, ns: 8 }, atime: { s: 9, ns: 1 } };
  const inside = [
    making('f', { node: file('bytes'), metadata }),
    making('g', { node: { type: 'link', to: [name('d'), name('f')] } }),
    making('l', { node: { type: 'symlink', target: name('f') } }),
    making('n', { node: { type: 'special', mode: S_IFCHR, rdev: 0x103 } }),
    making('z', { node: { type: 'file', content: NO_CONTENT, size: 0 } }),
  ];
  world.vfs.graft(
    ROOT,
    planOf(making('d', { children: inside, metadata: { mtime: { s: 3, ns: 0 } } })),
  );
  const row = world.vfs.core.inodes.get(world.ino('/ipfs/d/f'));
  expect(row).toMatchObject({
    mode: 0o100640,
    uid: 5,
    gid: 6,
    nlink: 2,
    size: 5,
    mtimeS: 7,
    atimeS: 9,
  });
  expect(world.ino('/ipfs/d/g')).toBe(row.ino);
  expect(world.content.row(row.content)).toMatchObject({ refs: 1 });
  expect(world.vfs.core.inodes.get(world.ino('/ipfs/d/n'))).toMatchObject({ rdev: 0x103 });
  expect(world.vfs.core.inodes.get(world.ino('/ipfs/d/z'))).toMatchObject({ size: 0 });
  expect(world.vfs.core.inodes.get(world.ino('/ipfs/d'))).toMatchObject({ mtimeS: 3 });
});

test('everything planned happens, or nothing', () => {
  const missing = making('b', { node: { type: 'file', content: 999 as ContentId, size: 1 } });
  expect(failureOf(planOf(making('a'), missing))).toBe('version-conflict');
  expect(() => world.ino('/ipfs/a')).toThrow();
});

test('bytes that are not here are shown by a rehearsal, and by nothing else', () => {
  const plan = planOf(making('z', { node: { type: 'file', content: NO_CONTENT, size: 3 } }));
  expect(world.journal.rehearse(() => world.vfs.graft(ROOT, plan))).toHaveLength(2);
  expect(failureOf(plan)).toBe('internal');
  expect(() => world.ino('/ipfs/z')).toThrow();
});

test('a name that appeared since the plan is not lost', () => {
  world.vfs.mkdir(ROOT, world.ipfs, name('d'), 0o755);
  expect(failureOf(planOf(making('d')))).toBe('version-conflict');
  const removal = {
    action: 'remove',
    name: name('d'),
    seen: seen('/ipfs/d'),
    isDirectory: true,
    children: [],
  } as const;
  world.vfs.mkdir(ROOT, world.ino('/ipfs/d'), name('new'), 0o755);
  expect(failureOf(planOf(removal))).toBe('version-conflict');
});

test('a file that changed since the plan is not replaced', () => {
  world.vfs.graft(ROOT, planOf(making('f', { node: file('old') })));
  const replaces = {
    action: 'remove',
    name: name('f'),
    seen: seen('/ipfs/f'),
    isDirectory: false,
    children: [],
  } as const;
  const plan = planOf(making('f', { node: file('new'), replaces }));
  void world.vfs.setattr(ROOT, world.ino('/ipfs/f'), { size: 1 });
  expect(failureOf(plan)).toBe('version-conflict');
  const again = { ...replaces, seen: seen('/ipfs/f') };
  world.vfs.graft(ROOT, planOf(making('f', { node: file('new'), replaces: again })));
  expect(world.vfs.core.inodes.get(world.ino('/ipfs/f'))).toMatchObject({ size: 3 });
});

test('what is adjusted keeps its inode, and each change of it is recorded', () => {
  world.vfs.graft(ROOT, planOf(making('f', { node: file('x') })));
  const ino = world.ino('/ipfs/f');
  const set = (key: string) => world.vfs.setxattr(ROOT, ino, name(key), Buffer.from('v'), 'any');
  set('user.old');
  set('user.kept');
  const { seq } = world.journal.head;
  const metadata = {
    mode: 0o6755,
    uid: 7,
    gid: 0,
    mtime: { s: 1, ns: 2 },
    atime: { s: 1, ns: 2 },
    xattrs: [
      { name: name('user.kept'), value: Buffer.from('v') },
      { name: name('user.new'), value: Buffer.from('w') },
    ],
  };
  const adjusted = {
    action: 'adjust',
    name: name('f'),
    seen: seen('/ipfs/f'),
    metadata,
    children: [],
  } as const;
  world.vfs.graft(ROOT, planOf(adjusted));
  expect(world.ino('/ipfs/f')).toBe(ino);
  expect(world.vfs.core.inodes.get(ino)).toMatchObject({ mode: 0o106755, uid: 7, mtimeNs: 2 });
  expect(world.journal.xattrs.list(ino)).toEqual(['user.kept', 'user.new']);
  const kinds = world.journal.ops.page(seq, 10).map(({ kind }) => kind);
  expect(kinds).toEqual(['setxattr', 'removexattr', 'chown', 'chmod', 'utimens']);
});

test('the rights of the caller hold', () => {
  const other = callerOf(1000, 1000);
  void world.vfs.setattr(ROOT, world.ipfs, { mode: 0o755 });
  expect(failureOf(planOf(making('d')), other)).toBe('denied');
  expect(failureOf({ ...planOf(), root: (2 ** 52) as Ino })).toBe('read-only');
});

test('a name that means content by CID cannot be made', () => {
  const cid = 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354';
  expect(failureOf(planOf(making(cid)))).toBe('read-only');
});
