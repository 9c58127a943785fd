/** The laws of publishing again: what did not change is not looked at, and nothing is missed. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import { type Ino, type Name, nameOfText } from '../../src/base/ids.ts';
import { R_OK, S_IFIFO } from '../../src/base/posix.ts';
import { checkJournal, Retention } from '../../src/journal/journal.ts';
import { Dice } from '../fuzz/dice.ts';
import { callerOf, Fixture, failureOf, ROOT } from './fixture.ts';

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
  world.mkdir('/ipfs/t');
});
afterEach(() => world.close());

/** Publishes, and answers what was looked at besides. */
async function watched(path = '/ipfs/t') {
  const looked: Ino[] = [];
  const gate = { demandReadable: (ino: Ino) => looked.push(ino), seesTrusted: true };
  return { ...(await world.publish(path, { gate })), looked };
}

/** The same of a journal that remembers no publication. */
async function fromNothing(path = '/ipfs/t') {
  world.journal.connection.exec('DELETE FROM published');
  return watched(path);
}

/** A tree of depth three: `/ipfs/t/a/b/c/f` among others that are never touched. */
function plant(): void {
  for (const at of ['a', 'a/b', 'a/b/c', 'a/x', 'y', 'y/z']) {
    world.mkdir(`/ipfs/t/${at}`);
    world.write(`/ipfs/t/${at}/f`, at);
    world.write(`/ipfs/t/${at}/g`, `other ${at}`);
  }
}

test('of a tree that did not change nothing but its root is looked at', async () => {
  plant();
  const first = await watched();
  expect(first.looked.length).toBe(19);
  const second = await watched();
  expect(second.looked).toEqual([world.ino('/ipfs/t')]);
  expect(second).toMatchObject({ changed: false, counts: { newBlocks: 0, deleted: 0 } });
  const { newBlocks, reusedBlocks } = first.counts;
  const counts = { ...first.counts, newBlocks: 0, reusedBlocks: newBlocks + reusedBlocks };
  expect(second.counts).toEqual(counts);
});

test('a changed byte makes one block for each directory above it, and looks at those alone', async () => {
  plant();
  await world.publish('/ipfs/t');
  world.write('/ipfs/t/a/b/c/f', 'changed');
  const { counts, looked } = await watched();
  // The file, c, b, a and the root.
  expect(counts.newBlocks).toBe(5);
  expect(looked).not.toContain(world.ino('/ipfs/t/a/x/f'));
  expect(looked).not.toContain(world.ino('/ipfs/t/y/z'));
  expect(counts).toMatchObject({ files: 12, directories: 7 });
});

test('changes elsewhere are no changes', async () => {
  plant();
  await world.publish('/ipfs/t');
  world.mkdir('/ipfs/other');
  for (let n = 0; n < 20; n += 1) world.write('/ipfs/other/f', `${n}`);
  expect((await watched()).looked).toEqual([world.ino('/ipfs/t')]);
});

test('reading is no change', async () => {
  plant();
  const first = await world.publish('/ipfs/t');
  const root = world.journal.inodes.get(world.ino('/ipfs/t'));
  if (root === undefined) throw new Error('it is there');
  root.atimeS += 1000;
  world.journal.commit(() => world.journal.inodes.update(root));
  const second = await world.publish('/ipfs/t');
  expect(second.changed).toBe(false);
  expect(second.snapshot.toString()).toBe(first.snapshot.toString());
});

test('a file that is open for writing is as it was, and as it is when it is closed', async () => {
  plant();
  const handle = world.openForWriting('/ipfs/t/a/f');
  world.vfs.write(ROOT, handle.fh, Buffer.from('one'), 0, false);
  const first = await world.publish('/ipfs/t');
  world.vfs.write(ROOT, handle.fh, Buffer.from('two'), 0, false);
  const second = await world.publish('/ipfs/t');
  expect(second.root.toString()).toBe(first.root.toString());
  world.vfs.release(handle.fh);
  const third = await world.publish('/ipfs/t');
  expect(third.root.toString()).not.toBe(first.root.toString());
  expect((await fromNothing()).changed).toBe(false);
});

test('a directory that was changed elsewhere and moved back is looked at', async () => {
  plant();
  world.mkdir('/ipfs/away');
  await world.publish('/ipfs/t');
  const move = (from: string, to: string) =>
    world.vfs.rename(
      ROOT,
      { parent: world.ino(from), name: nameOfText('a') },
      { parent: world.ino(to), name: nameOfText('a') },
      { noReplace: false, exchange: false },
    );
  move('/ipfs/t', '/ipfs/away');
  const without = await world.publish('/ipfs/t');
  expect(without.counts.deleted).toBe(12);
  world.write('/ipfs/away/a/b/c/f', 'changed while it was away');
  await world.publish('/ipfs/t');
  move('/ipfs/away', '/ipfs/t');
  const again = await world.publish('/ipfs/t');
  const nothing = await fromNothing();
  expect(nothing.changed).toBe(false);
  expect(nothing.root.toString()).toBe(again.root.toString());
});

test('when records are gone that tell of changes, everything is looked at', async () => {
  plant();
  await world.publish('/ipfs/t');
  world.write('/ipfs/t/a/f', 'changed');
  world.write('/ipfs/t/y/f', 'changed too');
  const policy = { keepS: 0, recordsMax: 1, oldBytesMax: 1e9 };
  const discard = () => undefined;
  const retention = new Retention({ journal: world.journal, policy, discard });
  while (retention.step());
  const { looked, changed } = await watched();
  expect(changed).toBe(true);
  expect(looked.length).toBe(19);
  expect((await fromNothing()).changed).toBe(false);
});

test('after a repair everything is looked at', async () => {
  plant();
  await world.publish('/ipfs/t');
  world.journal.commit((tx) => {
    const actor = world.journal.actors.intern(ROOT.actor());
    const name = '' as Name;
    tx.record({ kind: 'repair', actor, ino: 0, parent: 0, name, path: nameOfText('/') });
  });
  expect((await watched()).looked.length).toBe(19);
});

describe('who may not see all of it', () => {
  const nobody = callerOf(1234);
  const publishAs = (path: string) =>
    world.publish(path, {
      gate: { demandReadable: (ino) => world.vfs.access(nobody, ino, R_OK), seesTrusted: false },
    });

  test('is not given by what uid 0 published what he may not read', async () => {
    plant();
    await world.vfs.setattr(ROOT, world.ino('/ipfs/t/a/b/c/f'), { mode: 0o600 });
    await world.publish('/ipfs/t');
    expect((await failureOf(publishAs('/ipfs/t'))).failure).toBe('denied');
    await world.vfs.setattr(ROOT, world.ino('/ipfs/t/a/b/c/f'), { mode: 0o604 });
    await world.publish('/ipfs/t');
    await publishAs('/ipfs/t');
    expect((await fromNothing()).changed).toBe(false);
  });

  test('is not shown attributes that only uid 0 sees, nor does he hide them from it', async () => {
    plant();
    const ino = world.ino('/ipfs/t/a/b/c/f');
    world.vfs.setxattr(ROOT, ino, nameOfText('trusted.k'), Buffer.from('v'), 'any');
    const first = await world.publish('/ipfs/t');
    const theirs = await publishAs('/ipfs/t');
    expect(theirs.snapshot.toString()).not.toBe(first.snapshot.toString());
    world.write('/ipfs/t/y/f', 'changed');
    await publishAs('/ipfs/t');
    const ours = await world.publish('/ipfs/t');
    const nothing = await fromNothing();
    expect(nothing.changed).toBe(false);
    expect(nothing.snapshot.toString()).toBe(ours.snapshot.toString());
  });
});

test('a removed directory takes what is remembered of it along, and fsck has nothing to say', async () => {
  plant();
  await world.publish('/ipfs/t');
  const count = () =>
    world.journal.connection.prepare('SELECT count(*) FROM published').pluck().get();
  expect(count()).toBe(7);
  expect(checkJournal(world.journal)).toEqual([]);
  world.unlink('/ipfs/t/y/z/f');
  world.unlink('/ipfs/t/y/z/g');
  world.vfs.rmdir(ROOT, world.ino('/ipfs/t/y'), nameOfText('z'));
  expect(count()).toBe(6);
  const { counts } = await world.publish('/ipfs/t');
  expect(counts.deleted).toBe(3);
  expect(checkJournal(world.journal)).toEqual([]);
});

/** One change out of all there are; what is not possible at the moment is none. */
class Changer {
  readonly #dice: Dice;

  constructor(dice: Dice) {
    this.#dice = dice;
  }

  #paths(): string[] {
    return Object.keys(world.tree('/ipfs/t')).map((at) => `/ipfs/t${at === '.' ? '' : at}`);
  }

  #pick(isWanted: (mode: number) => boolean = () => true): string {
    const found = this.#paths().filter((path) => isWanted(world.inode(path).mode));
    return found.length === 0 ? '/ipfs/t' : this.#dice.pick(found);
  }

  #directory = (): string => this.#pick((mode) => (mode & 0o170000) === 0o040000);
  #other = (): string => this.#pick((mode) => (mode & 0o170000) !== 0o040000);

  #place(path: string): { parent: Ino; name: Name } {
    const at = path.lastIndexOf('/');
    return { parent: world.ino(path.slice(0, at)), name: nameOfText(path.slice(at + 1)) };
  }

  #fresh = (): string => `${this.#directory()}/n${this.#dice.below(12)}`;

  change(): void {
    const { vfs } = world;
    const mode = this.#dice.pick([0o644, 0o600, 0o755]);
    const changes = [
      () => world.write(this.#fresh(), `bytes ${this.#dice.below(5)}`),
      () => world.mkdir(this.#fresh()),
      () => world.symlink(this.#fresh(), `to ${this.#dice.below(3)}`),
      () => world.mknod(this.#fresh(), S_IFIFO | 0o600),
      () => world.link(this.#other(), this.#fresh()),
      () => world.unlink(this.#other()),
      () => vfs.setattr(ROOT, world.ino(this.#pick()), { mode }),
      () =>
        vfs.setattr(ROOT, world.ino(this.#pick()), { mtime: { s: this.#dice.below(9), ns: 0 } }),
      () =>
        vfs.setxattr(
          ROOT,
          world.ino(this.#pick()),
          nameOfText(this.#dice.pick(['user.a', 'trusted.b'])),
          Buffer.alloc(this.#dice.below(3)),
          'any',
        ),
      () => {
        const { parent, name } = this.#place(this.#directory());
        vfs.rmdir(ROOT, parent, name);
      },
      () =>
        vfs.rename(ROOT, this.#place(this.#pick()), this.#place(this.#fresh()), {
          noReplace: false,
          exchange: this.#dice.chance(30),
        }),
    ];
    try {
      this.#dice.pick(changes)();
    } catch (error) {
      // Not here, or not now: the tree is as it was.
      if (!(error instanceof OpError)) throw error;
    }
  }
}

test.each([1, 2, 3, 4, 5, 6])(
  'whatever changes, it is as published from nothing (seed %i)',
  async (seed) => {
    const dice = new Dice(seed);
    const changer = new Changer(dice);
    for (let round = 0; round < 25; round += 1) {
      for (let n = dice.below(8); n >= 0; n -= 1) changer.change();
      const known = await watched();
      const nothing = await fromNothing();
      expect(nothing, `round ${round}`).toMatchObject({ changed: false });
      expect(nothing.root.toString()).toBe(known.root.toString());
      const { newBlocks: _, reusedBlocks: __, deleted: ___, ...counts } = nothing.counts;
      expect(known.counts).toMatchObject(counts);
      expect(known.skipped).toEqual(nothing.skipped);
    }
    expect(checkJournal(world.journal)).toEqual([]);
  },
);
