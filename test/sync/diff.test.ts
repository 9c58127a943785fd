/** The laws of what two snapshots differ in. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import { S_IFIFO } from '../../src/base/posix.ts';
import { type CID, Dag } from '../../src/content/content.ts';
import { differences, readSnapshot } from '../../src/sync/sync.ts';
import { Fixture, failureOf, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  world.mkdir('/ipfs/t');
  world.mkdir('/ipfs/t/d');
  world.write('/ipfs/t/d/file', 'before');
  world.write('/ipfs/t/kept', 'kept');
});
afterEach(() => world.close());

const snapshot = async (): Promise<CID> => (await world.publish('/ipfs/t')).snapshot;

async function between(before: CID, after: CID, dag = world.dag) {
  const sides = {
    before: await readSnapshot(world.dag, before, world.signal),
    after: await readSnapshot(world.dag, after, world.signal),
  };
  return differences(dag, sides, world.signal);
}

/** The differences that a change of the tree makes. */
async function madeBy(change: () => Promise<void> | void) {
  const before = await snapshot();
  await change();
  return between(before, await snapshot());
}

const setTime = async (path: string, s: number): Promise<void> => {
  await world.vfs.setattr(ROOT, world.ino(path), { mtime: { s, ns: 0 } });
};

test('a name that is made, with all below it, is created; one that goes is deleted', async () => {
  const made = await madeBy(() => {
    world.mkdir('/ipfs/t/new');
    world.symlink('/ipfs/t/new/link', 'kept');
    world.mknod('/ipfs/t/pipe', S_IFIFO | 0o600);
    world.unlink('/ipfs/t/kept');
  });
  expect(made).toEqual([
    { path: 'kept', change: 'deleted', type: 'file', what: [] },
    { path: 'new', change: 'created', type: 'directory', what: [] },
    { path: 'new/link', change: 'created', type: 'symlink', what: [] },
    { path: 'pipe', change: 'created', type: 'fifo', what: [] },
  ]);
});

test('other bytes are told also when nothing else shows them', async () => {
  await setTime('/ipfs/t/d/file', 5);
  const made = await madeBy(async () => {
    world.write('/ipfs/t/d/file', 'after!');
    await setTime('/ipfs/t/d/file', 5);
  });
  expect(made).toEqual([{ path: 'd/file', change: 'changed', type: 'file', what: ['content'] }]);
});

test.each([
  ['mode', () => world.vfs.setattr(ROOT, world.ino('/ipfs/t/kept'), { mode: 0o600 })],
  ['owner', () => world.vfs.setattr(ROOT, world.ino('/ipfs/t/kept'), { uid: 7 })],
  ['time', () => setTime('/ipfs/t/kept', 7)],
  [
    'attribute',
    () => {
      const [name, value] = [nameOfText('user.a'), Buffer.from('b')];
      world.vfs.setxattr(ROOT, world.ino('/ipfs/t/kept'), name, value, 'any');
    },
  ],
  [
    'hard link',
    () => {
      world.unlink('/ipfs/t/kept');
      world.link('/ipfs/t/d/file', '/ipfs/t/kept');
      world.unlink('/ipfs/t/d/file');
      world.link('/ipfs/t/kept', '/ipfs/t/d/file');
    },
  ],
])('another %s is metadata', async (_, change) => {
  const made = await madeBy(change);
  expect(made.map(({ path, what }) => [path, what.at(-1)])).toEqual([['kept', 'metadata']]);
});

test('another kind of file of the same name is another type', async () => {
  const made = await madeBy(() => {
    world.unlink('/ipfs/t/kept');
    world.mkdir('/ipfs/t/kept');
  });
  expect(made.map(({ path, type, what }) => [path, type, what[0]])).toEqual([
    ['kept', 'directory', 'type'],
  ]);
});

test('a name that is no text has its bytes compared too', async () => {
  const odd = '\xff' as Name;
  const write = (text: string) => {
    const known = world.vfs.core.child(world.ino('/ipfs/t'), odd);
    const fh =
      known === undefined
        ? world.vfs.create(ROOT, world.ino('/ipfs/t'), odd, 0o600, 1).handle.fh
        : world.vfs.openNow(ROOT, known.ino, 1, false).fh;
    world.vfs.write(ROOT, fh, Buffer.from(text), 0, false);
    world.vfs.release(fh);
  };
  write('one');
  const made = await madeBy(() => write('two'));
  expect(made.map(({ path, what }) => [path, what])).toEqual([[odd, ['content', 'metadata']]]);
});

test('when a file was read, and when names in a directory changed, is no difference', async () => {
  const made = await madeBy(async () => {
    await world.vfs.setattr(ROOT, world.ino('/ipfs/t/kept'), { atime: { s: 9, ns: 9 } });
    await setTime('/ipfs/t/d', 9);
  });
  expect(made).toEqual([]);
});

test('of directories that are the same nothing is read', async () => {
  world.mkdir('/ipfs/t/same');
  world.write('/ipfs/t/same/a', 'a');
  const before = await snapshot();
  const same = await world.dag.resolve(
    (await readSnapshot(world.dag, before, world.signal)).tree,
    ['same'],
    world.signal,
  );
  world.write('/ipfs/t/kept', 'changed');
  const after = await snapshot();
  const read: string[] = [];
  const dag = new Dag({
    get: (cid) => {
      read.push(cid.toString());
      return world.blocks.get(cid);
    },
    sizeOf: (cid) => world.blocks.sizeOf(cid),
  });
  expect(await between(before, after, dag)).toHaveLength(1);
  expect(read).not.toContain(same.toString());
  expect(read.length).toBeGreaterThan(0);
});

test('a manifest that is not here is content-missing, not an empty list', async () => {
  const before = await snapshot();
  world.write('/ipfs/t/kept', 'changed');
  const after = await snapshot();
  const { manifest } = await readSnapshot(world.dag, before, world.signal);
  const dag = new Dag({
    get: (cid) => (cid.equals(manifest) ? undefined : world.blocks.get(cid)),
    sizeOf: (cid) => world.blocks.sizeOf(cid),
  });
  expect((await failureOf(between(before, after, dag))).failure).toBe('content-missing');
});
