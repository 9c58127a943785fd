/** The laws of what stores have of the tree as it is now: never more than they said, and not for longer. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type Name, nameOfText } from '../../src/base/ids.ts';
import type { TargetRow } from '../../src/journal/journal.ts';
import { failed } from '../../src/sync/intend.ts';
import { Ladder } from '../../src/sync/ladder.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { Fixture, ROOT } from './fixture.ts';

let world: Fixture;
let ladder: Ladder;
let clock: TurnedClock;

const CHECK_S = 3600;

beforeEach(() => {
  world = new Fixture();
  clock = new TurnedClock();
  ladder = new Ladder({ journal: world.journal, clock }, { want: undefined, checkS: CHECK_S });
  world.mkdir('/ipfs/t');
  world.mkdir('/ipfs/t/sub');
  world.write('/ipfs/t/f', 'one');
  world.write('/ipfs/t/sub/g', 'two');
});
afterEach(() => world.close());

const change = (path: string, by: (row: TargetRow) => Partial<TargetRow>, target = 'one') => {
  const row = world.journal.targets.get(nameOfText(path), target);
  if (row === undefined) throw new Error('nothing is owed');
  world.journal.commit(() => world.journal.targets.put({ ...row, ...by(row) }));
};

/** Publishes a tree, and the store says that it has it. */
async function hold(path: string, { pin = true, target = 'one' } = {}): Promise<void> {
  await world.publish(path, { targets: [target], pin });
  const said = {
    state: pin ? 'pinned' : 'stored',
    dueS: undefined,
    checkedS: clock.now().s,
  } as const;
  change(path, ({ wanted }) => ({ ...said, held: { ...wanted, pin } }), target);
}

/** What the stores have of it: pinned, queued, …; nothing where none shall have it. */
const states = (path: string) => ladder.of(world.ino(path)).map(({ state }) => state);

const rename = (from: string, to: string, exchange = false) => {
  const at = (path: string) => {
    const cut = path.lastIndexOf('/');
    return { parent: world.ino(path.slice(0, cut)), name: path.slice(cut + 1) as Name };
  };
  world.vfs.rename(ROOT, at(from), at(to), { noReplace: false, exchange });
};

describe('a file', () => {
  test('is held where its tree is held, as the tree is', async () => {
    expect(states('/ipfs/t/f')).toEqual([]);
    await world.publish('/ipfs/t', { targets: ['one'] });
    expect(states('/ipfs/t/f')).toEqual(['queued']);
    await hold('/ipfs/t');
    expect(ladder.of(world.ino('/ipfs/t/sub/g'))).toEqual([
      { store: 'one', state: 'pinned', checkedS: clock.now().s, failure: undefined },
    ]);
    await hold('/ipfs/t', { pin: false });
    expect(states('/ipfs/t/f')).toEqual(['stored']);
    world.write('/ipfs/elsewhere', 'x');
    expect(states('/ipfs/elsewhere')).toEqual([]);
  });

  test('that was changed since is not, and its neighbours are', async () => {
    await hold('/ipfs/t');
    world.write('/ipfs/t/f', 'changed');
    world.write('/ipfs/t/new', 'new');
    expect(states('/ipfs/t/f')).toEqual(['queued']);
    expect(states('/ipfs/t/new')).toEqual(['queued']);
    expect(states('/ipfs/t/sub/g')).toEqual(['pinned']);
    await world.publish('/ipfs/t', { targets: ['one'] });
    // What the store had before it has still.
    expect([states('/ipfs/t/f'), states('/ipfs/t/sub/g')]).toEqual([['queued'], ['pinned']]);
    await hold('/ipfs/t');
    expect([states('/ipfs/t/f'), states('/ipfs/t/new')]).toEqual([['pinned'], ['pinned']]);
  });

  test('that is being written is not, before anything of that is recorded', async () => {
    await hold('/ipfs/t');
    const handle = world.vfs.open(ROOT, world.ino('/ipfs/t/f'), 1, false);
    if (handle instanceof Promise) throw new Error('it is here');
    world.vfs.write(ROOT, handle.fh, Buffer.from('x'), 0, false);
    expect(states('/ipfs/t/f')).toEqual(['queued']);
    expect([states('/ipfs/t'), states('/ipfs/t/sub')]).toEqual([['queued'], ['pinned']]);
    world.vfs.release(handle.fh);
    expect(states('/ipfs/t/f')).toEqual(['queued']);
  });

  test('is not held by a change of the same group that is not committed yet', async () => {
    await hold('/ipfs/t');
    const ino = world.ino('/ipfs/t/f');
    world.journal.group(() => {
      void world.vfs.setattr(ROOT, ino, { size: 1 });
      expect(states('/ipfs/t/f')).toEqual(['queued']);
    });
    expect(states('/ipfs/t/f')).toEqual(['queued']);
  });

  test('with a name outside is held by the one inside', async () => {
    await hold('/ipfs/t');
    world.link('/ipfs/t/f', '/ipfs/other');
    await hold('/ipfs/t');
    expect(states('/ipfs/other')).toEqual(['pinned']);
    world.unlink('/ipfs/t/f');
    expect(states('/ipfs/other')).toEqual([]);
  });
});

describe('what was moved into a tree', () => {
  beforeEach(() => {
    world.mkdir('/ipfs/x');
    world.write('/ipfs/x/h', 'elsewhere');
  });

  test('is not held with it before it is published', async () => {
    await hold('/ipfs/t');
    rename('/ipfs/x', '/ipfs/t/x');
    expect(states('/ipfs/t/x/h')).toEqual(['queued']);
    await hold('/ipfs/t');
    expect(states('/ipfs/t/x/h')).toEqual(['pinned']);
  });

  test('by an exchange is neither, though no record is its own', async () => {
    await hold('/ipfs/t');
    rename('/ipfs/t/sub', '/ipfs/x', true);
    expect([states('/ipfs/t/sub/h'), states('/ipfs/x/g')]).toEqual([['queued'], []]);
  });

  test('a tree that was renamed itself is held as it was', async () => {
    await hold('/ipfs/t');
    rename('/ipfs/t', '/ipfs/u');
    expect(states('/ipfs/u/sub/g')).toEqual(['pinned']);
    world.mkdir('/ipfs/t');
    world.write('/ipfs/t/f', 'one');
    expect(states('/ipfs/t/f')).toEqual([]);
  });
});

describe('a directory', () => {
  test('is held with all that is in it, or is not', async () => {
    await hold('/ipfs/t');
    expect([states('/ipfs/t'), states('/ipfs/t/sub')]).toEqual([['pinned'], ['pinned']]);
    world.write('/ipfs/t/sub/g', 'changed');
    expect([states('/ipfs/t'), states('/ipfs/t/sub')]).toEqual([['queued'], ['queued']]);
    await hold('/ipfs/t');
    world.write('/ipfs/t/f', 'changed');
    expect([states('/ipfs/t'), states('/ipfs/t/sub')]).toEqual([['queued'], ['pinned']]);
  });
});

test('a store that lost it has it no more, and one that failed says so', async () => {
  await hold('/ipfs/t');
  change('/ipfs/t', () => ({ held: undefined, state: 'uploading', dueS: 1 }));
  expect(states('/ipfs/t/f')).toEqual(['uploading']);
  change('/ipfs/t', () => ({ state: 'failed', failure: 'timeout' }));
  expect(ladder.of(world.ino('/ipfs/t/f'))).toMatchObject([
    { state: 'failed', failure: 'timeout' },
  ]);
});

describe('what a store said', () => {
  const minute = 60;

  test('counts until it should have said so again', async () => {
    await hold('/ipfs/t');
    await clock.turn(CHECK_S * 1000);
    expect(states('/ipfs/t/f')).toEqual(['pinned']);
    await clock.turn(minute * 1000);
    expect(states('/ipfs/t/f')).toEqual(['queued']);
    change('/ipfs/t', () => ({ checkedS: clock.now().s }));
    expect(states('/ipfs/t/f')).toEqual(['pinned']);
  });

  test('counts no more when it was asked for again in vain', async () => {
    await hold('/ipfs/t');
    const later = { nowS: clock.now().s + CHECK_S, checkS: CHECK_S };
    const early = { ...later, nowS: later.nowS - 1 };
    change('/ipfs/t', (row) => failed(row, 'not-running', early));
    expect(states('/ipfs/t/f')).toEqual(['pinned']);
    change('/ipfs/t', (row) => failed(row, 'not-running', later));
    expect(ladder.of(world.ino('/ipfs/t/f'))).toMatchObject([
      { state: 'failed', failure: 'not-running' },
    ]);
  });

  test('counts while it is given something newer, which it has not', async () => {
    await hold('/ipfs/t');
    world.write('/ipfs/t/f', 'changed');
    await world.publish('/ipfs/t', { targets: ['one'] });
    const at = { nowS: clock.now().s + 1, checkS: CHECK_S };
    change('/ipfs/t', (row) => failed(row, 'not-running', at));
    expect([states('/ipfs/t/f'), states('/ipfs/t/sub/g')]).toEqual([['failed'], ['pinned']]);
  });
});

test('each store counts once, by the best of the trees that hold it there', async () => {
  await hold('/ipfs');
  await hold('/ipfs/t', { target: 'two', pin: false });
  await world.publish('/ipfs/t', { targets: ['one'] });
  expect(ladder.of(world.ino('/ipfs/t/f')).map(({ store, state }) => [store, state])).toEqual([
    ['one', 'pinned'],
    ['two', 'stored'],
  ]);
});

test('what was held before a schema that says since when is not believed', async () => {
  await hold('/ipfs/t');
  change('/ipfs/t', ({ wanted, held }) => ({
    wanted: { ...wanted, ino: 0, seq: 0 },
    held: held === undefined ? undefined : { ...held, ino: 0, seq: 0 },
  }));
  expect(states('/ipfs/t/f')).toEqual([]);
});
