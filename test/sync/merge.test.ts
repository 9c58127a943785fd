/** The laws of merging a tree into a directory, over the newest tree that both sides had. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { S_IFIFO } from '../../src/base/posix.ts';
import type { CID } from '../../src/content/content.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import type { Policy } from '../../src/sync/merge.ts';
import { noise } from '../content/fixture.ts';
import { callerOf, Fixture, failureOf, ROOT } from './fixture.ts';

/** Where the tree is changed that is merged into `here`. */
let there: Fixture;
let here: Fixture;
const PLAIN = { noReplace: false, exchange: false };
const POLICIES = ['fail', 'keep_local', 'keep_remote', 'keep_both'] as const;

beforeEach(async () => {
  there = new Fixture();
  here = new Fixture();
  for (const [path, text] of Object.entries({
    a: 'a',
    b: 'b',
    'd/x': 'x',
    'd/y': 'y',
    'e/z': 'z',
  })) {
    const [above] = path.includes('/') ? path.split('/') : [];
    if (above !== undefined && !names(there).includes(above)) there.mkdir(`/ipfs/${above}`);
    there.write(`/ipfs/${path}`, text);
  }
});
afterEach(async () => {
  await here.close();
  await there.close();
});

/** Paths below the tree, without the leading slash. */
const names = (world: Fixture): string[] =>
  Object.keys(world.tree('/ipfs'))
    .filter((path) => path !== '.')
    .map((path) => path.slice(1))
    .sort();

/** Publishes there; all blocks of it are here then. */
async function carried(): Promise<{ root: CID; snapshot: CID }> {
  const { root, snapshot } = await there.publish('/ipfs');
  for await (const { cid } of there.dag.walk(snapshot, there.signal)) {
    here.blocks.put(cid, there.blocks.get(cid) ?? Buffer.alloc(0));
  }
  return { root, snapshot };
}

const merge = (cid: CID, policy: Policy = 'fail', change: object = {}) =>
  here.restore(cid, '/ipfs', { conflicts: { how: 'merge', policy }, ...change });

/** Both have the tree as it is there. */
async function together(): Promise<void> {
  await merge((await carried()).snapshot);
  expect(here.tree('/ipfs')).toEqual(there.tree('/ipfs'));
}

const text = (path: string, world = here) => world.bytes(`/ipfs/${path}`).toString();

const conflictsOf = async (work: Promise<unknown>) => (await failureOf(work)).details['conflicts'];

describe('what only one side changed', () => {
  beforeEach(together);

  test.each(POLICIES)('there is taken, whatever the policy (%s)', async (policy) => {
    there.write('/ipfs/a', 'changed there');
    there.write('/ipfs/d/new', 'made there');
    there.unlink('/ipfs/d/x');
    void there.vfs.setattr(ROOT, there.ino('/ipfs/b'), { mode: 0o4711 });
    void there.vfs.setattr(ROOT, there.ino('/ipfs/e'), { mode: 0o700 });
    const { counts, conflicts } = await merge((await carried()).snapshot, policy);
    expect(conflicts).toEqual([]);
    expect(counts).toMatchObject({ created: 1, deleted: 1, conflicts: 0 });
    expect(here.tree('/ipfs')).toEqual(there.tree('/ipfs'));
    expect(checkJournal(here.journal)).toEqual([]);
  });

  test.each(POLICIES)('here stays, whatever the policy (%s)', async (policy) => {
    here.write('/ipfs/a', 'changed here');
    here.write('/ipfs/d/new', 'made here');
    here.unlink('/ipfs/d/x');
    void here.vfs.setattr(ROOT, here.ino('/ipfs/b'), { mode: 0o4711 });
    const before = here.tree('/ipfs');
    there.write('/ipfs/e/other', 'something else');
    const { conflicts } = await merge((await carried()).snapshot, policy);
    expect(conflicts).toEqual([]);
    expect(text('e/other')).toBe('something else');
    here.unlink('/ipfs/e/other');
    const { ['/e']: wasE, ...was } = before;
    const { ['/e']: isE, ...is } = here.tree('/ipfs');
    expect(is).toEqual(was);
    expect(checkJournal(here.journal)).toEqual([]);
  });

  test('both made the same change of is no conflict', async () => {
    for (const world of [here, there]) {
      const ino = world.write('/ipfs/a', 'the same');
      void world.vfs.setattr(ROOT, ino, { mtime: { s: 7, ns: 8 } });
      world.unlink('/ipfs/b');
    }
    const { counts, conflicts } = await merge((await carried()).snapshot);
    expect([conflicts, counts.updated, counts.deleted]).toEqual([[], 0, 0]);
  });

  test('a rename on one side is one name less and one more, here and there', async () => {
    const [at, to] = [here.ino('/ipfs'), here.ino('/ipfs/d')];
    here.vfs.rename(
      ROOT,
      { parent: at, name: 'a' as Name },
      { parent: to, name: 'a2' as Name },
      PLAIN,
    );
    const other = there.ino('/ipfs');
    const from = { parent: other, name: 'd' as Name };
    there.vfs.rename(ROOT, from, { parent: other, name: 'moved' as Name }, PLAIN);
    const { conflicts } = await merge((await carried()).snapshot);
    expect(conflicts).toEqual([]);
    expect(names(here)).toEqual(['b', 'd', 'd/a2', 'e', 'e/z', 'moved', 'moved/x', 'moved/y']);
    expect(text('d/a2')).toBe('a');
  });

  test('a name that becomes another kind of file there becomes it here', async () => {
    there.unlink('/ipfs/a');
    there.mkdir('/ipfs/a');
    there.write('/ipfs/a/inside', 'now a directory');
    there.unlink('/ipfs/b');
    there.mknod('/ipfs/b', S_IFIFO | 0o640);
    const { conflicts, counts } = await merge((await carried()).snapshot);
    expect([conflicts, counts.updated]).toEqual([[], 2]);
    expect(here.tree('/ipfs')).toEqual(there.tree('/ipfs'));
  });

  test('a directory that was deleted there stays with what was made in it here', async () => {
    there.unlink('/ipfs/d/x');
    there.unlink('/ipfs/d/y');
    there.vfs.rmdir(ROOT, there.ino('/ipfs'), 'd' as Name);
    here.write('/ipfs/d/mine', 'mine');
    const { counts, conflicts } = await merge((await carried()).snapshot);
    expect([conflicts, counts.deleted]).toEqual([[], 2]);
    expect(names(here)).toEqual(['a', 'b', 'd', 'd/mine', 'e', 'e/z']);
  });

  test('a directory that was deleted here comes back with what was made in it there', async () => {
    here.unlink('/ipfs/d/x');
    here.unlink('/ipfs/d/y');
    here.vfs.rmdir(ROOT, here.ino('/ipfs'), 'd' as Name);
    there.write('/ipfs/d/theirs', 'theirs');
    const { counts, conflicts } = await merge((await carried()).snapshot);
    expect([conflicts, counts.created]).toEqual([[], 2]);
    expect(names(here)).toEqual(['a', 'b', 'd', 'd/theirs', 'e', 'e/z']);
  });

  test('a second name that was made there is one here, and one that was undone is none', async () => {
    there.link('/ipfs/a', '/ipfs/d/a');
    await merge((await carried()).snapshot);
    expect(here.ino('/ipfs/d/a')).toBe(here.ino('/ipfs/a'));
    const bytes = there.bytes('/ipfs/a');
    const { mtimeS: s, mtimeNs: ns } = there.inode('/ipfs/a');
    there.unlink('/ipfs/d/a');
    const ino = there.write('/ipfs/d/a', bytes);
    void there.vfs.setattr(ROOT, ino, { mtime: { s, ns } });
    const { conflicts } = await merge((await carried()).snapshot);
    expect(conflicts).toEqual([]);
    expect(here.ino('/ipfs/d/a')).not.toBe(here.ino('/ipfs/a'));
    expect(here.inode('/ipfs/a').nlink).toBe(1);
    expect(checkJournal(here.journal)).toEqual([]);
  });

  test('deletions there are left out when that is asked', async () => {
    there.unlink('/ipfs/a');
    there.write('/ipfs/b', 'changed there');
    here.write('/ipfs/d/x', 'changed here');
    there.unlink('/ipfs/d/x');
    const { counts } = await merge((await carried()).snapshot, 'fail', { applyDeletions: false });
    expect(counts).toMatchObject({ deleted: 0, updated: 1, conflicts: 0 });
    expect([text('a'), text('b'), text('d/x')]).toEqual(['a', 'changed there', 'changed here']);
  });
});

describe('what both changed', () => {
  beforeEach(async () => {
    await together();
    here.write('/ipfs/a', 'ours');
    there.write('/ipfs/a', 'theirs');
    here.unlink('/ipfs/b');
    there.write('/ipfs/b', 'theirs');
    here.write('/ipfs/d/x', 'ours');
    there.unlink('/ipfs/d/x');
    here.write('/ipfs/new.tar.gz', 'ours');
    there.write('/ipfs/new.tar.gz', 'theirs');
    here.unlink('/ipfs/d/y');
    here.symlink('/ipfs/d/y', 'ours');
    there.write('/ipfs/d/y', 'theirs');
  });

  test('is under fail told whole, and nothing is changed, not even what nobody disputes', async () => {
    there.write('/ipfs/e/z', 'not disputed');
    const { snapshot } = await carried();
    const [before, { seq }] = [here.tree('/ipfs'), here.journal.head];
    for (const change of [{}, { dryRun: true }]) {
      expect(await conflictsOf(merge(snapshot, 'fail', change))).toMatchObject([
        { path: 'a', what: 'both_changed', resolution: 'none' },
        { path: 'b', what: 'deleted_here', resolution: 'none', localCid: undefined },
        { path: 'd/x', what: 'deleted_there', resolution: 'none', remoteCid: undefined },
        { path: 'd/y', what: 'type_changed', resolution: 'none' },
        { path: 'new.tar.gz', what: 'both_created', resolution: 'none', baseCid: undefined },
      ]);
    }
    expect(here.tree('/ipfs')).toEqual(before);
    expect(here.journal.head.seq).toBe(seq);
  });

  test('stays as it is here under keep_local, deletions too', async () => {
    const before = here.tree('/ipfs');
    const { conflicts, counts } = await merge((await carried()).snapshot, 'keep_local');
    expect(conflicts.map(({ resolution }) => resolution)).toEqual(Array(5).fill('kept_local'));
    expect(counts).toMatchObject({ created: 0, updated: 0, deleted: 0, conflicts: 5 });
    expect(here.tree('/ipfs')).toEqual(before);
  });

  test('becomes what it is there under keep_remote, deletions too, and can be undone', async () => {
    const { conflicts, seq } = await merge((await carried()).snapshot, 'keep_remote');
    expect(conflicts.map(({ resolution }) => resolution)).toEqual(Array(5).fill('kept_remote'));
    expect(here.tree('/ipfs')).toEqual(there.tree('/ipfs'));
    const rows = here.journal.ops.page((seq?.first ?? 0) - 1, 100);
    const lost = rows.filter(({ kind }) => kind === 'unlink').map(({ name }) => String(name));
    expect(lost.sort()).toEqual(['a', 'new.tar.gz', 'x', 'y']);
    expect(checkJournal(here.journal)).toEqual([]);
  });

  test('is both there under keep_both; of a deletion what is left', async () => {
    const { root, snapshot } = await carried();
    const { conflicts } = await merge(snapshot, 'keep_both');
    const lastOf = async (...path: string[]) =>
      (await there.dag.resolve(root, path, there.signal)).toString().slice(-8);
    const [a, y, tar] = [await lastOf('a'), await lastOf('d', 'y'), await lastOf('new.tar.gz')];
    expect(conflicts).toMatchObject([
      { path: 'a', resolution: 'kept_both', keptAs: `a.conflict-${a}` },
      { path: 'b', resolution: 'kept_remote' },
      { path: 'd/x', resolution: 'kept_local' },
      { path: 'd/y', resolution: 'kept_both', keptAs: `d/y.conflict-${y}` },
      { path: 'new.tar.gz', resolution: 'kept_both', keptAs: `new.tar.conflict-${tar}.gz` },
    ]);
    expect([text('a'), text(`a.conflict-${a}`)]).toEqual(['ours', 'theirs']);
    expect([text('b'), text('d/x')]).toEqual(['theirs', 'ours']);
    expect(text(`d/y.conflict-${y}`)).toBe('theirs');
    expect(here.inode('/ipfs/d/y').mode & 0o170000).toBe(0o120000);
    expect(checkJournal(here.journal)).toEqual([]);
  });

  test('was resolved: the same tree again brings nothing, and what is published then is the merge', async () => {
    const { snapshot } = await carried();
    await merge(snapshot, 'keep_both');
    const before = here.tree('/ipfs');
    const { counts } = await merge(snapshot);
    expect(counts).toMatchObject({ created: 0, updated: 0, deleted: 0, conflicts: 0 });
    expect(here.tree('/ipfs')).toEqual(before);
  });
});

describe('metadata', () => {
  beforeEach(together);

  test('both changed in different ways is a conflict, of a file and of a directory', async () => {
    for (const path of ['/ipfs/a', '/ipfs/d']) {
      void here.vfs.setattr(ROOT, here.ino(path), { mode: 0o700 });
      void there.vfs.setattr(ROOT, there.ino(path), { mode: 0o711 });
    }
    const { snapshot } = await carried();
    expect(await conflictsOf(merge(snapshot))).toMatchObject([
      { path: 'a', what: 'both_changed' },
      { path: 'd', what: 'both_changed' },
    ]);
    await merge(snapshot, 'keep_local');
    expect(here.inode('/ipfs/a').mode & 0o777).toBe(0o700);
  });

  test('an attribute there, a time there, an owner there are changes there', async () => {
    const ino = there.ino('/ipfs/a');
    there.vfs.setxattr(ROOT, ino, nameOfText('user.k'), Buffer.from('v'), 'any');
    void there.vfs.setattr(ROOT, there.ino('/ipfs/b'), { mtime: { s: -1, ns: 5 } });
    void there.vfs.setattr(ROOT, there.ino('/ipfs/d/x'), { uid: 12, gid: 34 });
    const inode = here.ino('/ipfs/a');
    await merge((await carried()).snapshot);
    expect(here.tree('/ipfs')).toEqual(there.tree('/ipfs'));
    expect(here.ino('/ipfs/a')).toBe(inode);
  });

  test('of what nobody but root may set is no change for anybody else', async () => {
    for (const path of ['/ipfs', '/ipfs/a', '/ipfs/b', '/ipfs/d', '/ipfs/d/x', '/ipfs/d/y']) {
      void here.vfs.setattr(ROOT, here.ino(path), { uid: 1000, gid: 1000 });
    }
    void there.vfs.setattr(ROOT, there.ino('/ipfs/a'), { uid: 7, gid: 8 });
    there.write('/ipfs/b', 'changed there');
    void there.vfs.setattr(ROOT, there.ino('/ipfs/b'), { mode: 0o6755 });
    const { conflicts } = await merge((await carried()).snapshot, 'fail', {
      caller: callerOf(1000),
    });
    expect(conflicts).toEqual([]);
    expect(here.inode('/ipfs/a')).toMatchObject({ uid: 1000, gid: 1000 });
    expect(here.inode('/ipfs/b')).toMatchObject({ uid: 1000, mode: 0o100755 });
    expect(text('b')).toBe('changed there');
  });
});

describe('what was published here and brought to nobody', () => {
  beforeEach(together);

  test.each(POLICIES)(
    'is no deletion there, and what was before it no change there (%s)',
    async (policy) => {
      here.write('/ipfs/a', 'edited here');
      here.write('/ipfs/only-here', 'new here');
      await here.publish('/ipfs');
      there.write('/ipfs/other', 'new there');
      there.unlink('/ipfs/b');
      const { conflicts } = await merge((await carried()).snapshot, policy);
      expect(conflicts).toEqual([]);
      expect([text('only-here'), text('a'), text('other')]).toEqual([
        'new here',
        'edited here',
        'new there',
      ]);
      expect(names(here)).not.toContain('b');
    },
  );

  test('stays beside a plain tree, which is merged over the one that was brought before', async () => {
    here.write('/ipfs/a', 'edited here');
    here.write('/ipfs/only-here', 'new here');
    await here.publish('/ipfs');
    there.unlink('/ipfs/b');
    const { conflicts } = await merge((await carried()).root);
    expect(conflicts).toEqual([]);
    expect([text('only-here'), text('a')]).toEqual(['new here', 'edited here']);
    expect(names(here)).not.toContain('b');
  });

  test('is no base of a plain tree when nothing was ever brought, nor held by a store', async () => {
    await here.publish('/ipfs/d');
    there.write('/ipfs/d/x', 'changed there');
    there.unlink('/ipfs/d/y');
    const root = await there.dag.resolve((await carried()).root, ['d'], there.signal);
    const work = here.restore(root, '/ipfs/d', { conflicts: { how: 'merge', policy: 'fail' } });
    expect(await conflictsOf(work)).toMatchObject([{ path: 'x', what: 'both_created' }]);
    expect(text('d/y')).toBe('y');
  });
});

describe('a tree that comes after one of', () => {
  /** Published there from what was here, and changed; here since changed as well, and published. */
  async function afterOurs(): Promise<CID> {
    await together();
    here.write('/ipfs/mine', 'v1');
    await here.want('/ipfs');
    const held = here.target('/ipfs').wanted;
    here.journal.commit(() =>
      here.journal.targets.put({ ...here.target('/ipfs'), held: { ...held, pin: true } }),
    );
    there.write('/ipfs/mine', 'v1');
    there.write('/ipfs/theirs', 'new there');
    there.unlink('/ipfs/b');
    here.write('/ipfs/mine', 'v2');
    here.write('/ipfs/more', 'new here');
    await here.want('/ipfs');
    return (await carried()).root;
  }

  test('ours, in the place where the store held that, is merged over it', async () => {
    const root = await afterOurs();
    const { conflicts } = await merge(root, 'fail', { placedAt: async () => root });
    expect(conflicts).toEqual([]);
    expect([text('mine'), text('more'), text('theirs')]).toEqual(['v2', 'new here', 'new there']);
    expect(names(here)).not.toContain('b');
    // What came behind it there is merged over it in turn.
    there.unlink('/ipfs/theirs');
    const next = (await carried()).root;
    await merge(next, 'fail', { placedAt: async () => next });
    expect([names(here).includes('theirs'), text('mine')]).toEqual([false, 'v2']);
  });

  test('ours, but elsewhere, makes of what both have a conflict', async () => {
    const root = await afterOurs();
    const elsewhere = async () => undefined;
    expect(await conflictsOf(merge(root, 'fail', { placedAt: elsewhere }))).toMatchObject([
      { path: 'mine', what: 'both_created' },
    ]);
    await merge(root, 'keep_local', { placedAt: elsewhere });
    expect([text('mine'), text('more')]).toEqual(['v2', 'new here']);
  });

  test('an old one of ours that was restored meanwhile is not merged over that', async () => {
    await together();
    here.write('/ipfs/ours', 'published once');
    const first = await here.publish('/ipfs');
    here.unlink('/ipfs/ours');
    await here.publish('/ipfs');
    await here.restore(first.snapshot, '/ipfs', {
      conflicts: { how: 'restore', policy: 'keep_remote' },
    });
    there.unlink('/ipfs/b');
    await merge((await carried()).root);
    expect([names(here).includes('b'), text('ours')]).toEqual([false, 'published once']);
  });

  test('ours that is merged itself brings nothing: it is what was before', async () => {
    await together();
    const old = await here.publish('/ipfs');
    here.write('/ipfs/a', 'edited here');
    here.write('/ipfs/mine', 'new here');
    await here.publish('/ipfs');
    for (const cid of [old.root, old.snapshot]) {
      const { counts } = await merge(cid, 'keep_remote');
      expect(counts).toMatchObject({ created: 0, updated: 0, deleted: 0, conflicts: 0 });
    }
    expect([text('a'), text('mine')]).toEqual(['edited here', 'new here']);
  });
});

describe('without a base', () => {
  test('every difference in an existing name is a conflict, and nothing is deleted', async () => {
    here.write('/ipfs/a', 'ours');
    here.write('/ipfs/mine', 'only here');
    const { root } = await carried();
    expect(await conflictsOf(merge(root))).toMatchObject([{ path: 'a', what: 'both_created' }]);
    const { counts } = await merge(root, 'keep_remote');
    expect(counts).toMatchObject({ deleted: 0, updated: 1, created: 6, conflicts: 1 });
    expect([text('mine'), text('a'), text('e/z')]).toEqual(['only here', 'a', 'z']);
  });

  test('that is so too when the last tree is lost', async () => {
    await together();
    there.unlink('/ipfs/b');
    there.write('/ipfs/a', 'changed there');
    const { snapshot } = await carried();
    const { rootCid } = here.journal.superblocks.synced(nameOfText('/ipfs')) ?? {};
    const places = rootCid === undefined ? [] : here.journal.contents.keepersOf(rootCid);
    expect(places).not.toEqual([]);
    here.journal.commit(() => {
      for (const { id } of places) here.journal.contents.deleteBlocks(id);
    });
    expect(await conflictsOf(merge(snapshot))).toMatchObject([{ path: 'a', what: 'both_created' }]);
    expect(text('b')).toBe('b');
  });
});

describe('a plain tree, that says nothing of metadata', () => {
  test('changes bytes and leaves the mode, the owner and the attributes of a file', async () => {
    await merge((await carried()).root);
    const ino = here.ino('/ipfs/a');
    void here.vfs.setattr(ROOT, ino, { uid: 5, gid: 6 });
    void here.vfs.setattr(ROOT, ino, { mode: 0o640 });
    here.vfs.setxattr(ROOT, ino, nameOfText('user.k'), Buffer.from('v'), 'any');
    there.write('/ipfs/a', noise(5000));
    const { conflicts } = await merge((await carried()).root);
    expect(conflicts).toEqual([]);
    expect(here.inode('/ipfs/a')).toMatchObject({ size: 5000, mode: 0o100640, uid: 5, gid: 6 });
    expect(here.journal.xattrs.all(here.ino('/ipfs/a'))).toHaveLength(1);
  });
});

test('what is merged must be the tree of the version that was named', async () => {
  await together();
  const { snapshot } = await carried();
  const wrong = snapshot.toString();
  const failure = await failureOf(merge(snapshot, 'fail', { expectedRoot: wrong }));
  expect(failure.failure).toBe('version-conflict');
});

test('kept names are cut between characters, numbered when taken, and as long as names may be', async () => {
  const long = 'é'.repeat(127);
  await together();
  here.write(`/ipfs/${long}`, 'ours');
  there.write(`/ipfs/${long}`, 'theirs');
  const [conflict] = (await merge((await carried()).snapshot, 'keep_both')).conflicts;
  const kept = Buffer.from(conflict?.keptAs ?? '', 'latin1').toString('utf8');
  expect(kept).toMatch(/^é+\.conflict-\w{8}$/);
  expect(Buffer.byteLength(kept)).toBeLessThanOrEqual(255);
  here.write(`/ipfs/${long}`, 'mine');
  // The same content at another time, beside that of before.
  there.write(`/ipfs/${long}`, 'theirs');
  const [next] = (await merge((await carried()).snapshot, 'keep_both')).conflicts;
  const numbered = Buffer.from(next?.keptAs ?? '', 'latin1').toString('utf8');
  expect(numbered).toMatch(/^é+\.conflict-\w{8}-2$/);
  expect(numbered.slice(0, 100)).toBe(kept.slice(0, 100));
});
