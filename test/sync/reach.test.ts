/** The laws of what waiting is in vain for. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Ino } from '../../src/base/ids.ts';
import { nameOfText } from '../../src/base/ids.ts';
import type { Rung } from '../../src/base/rungs.ts';
import type { TargetRow } from '../../src/journal/journal.ts';
import { Ladder } from '../../src/sync/ladder.ts';
import { hindranceOf, type ReachPorts } from '../../src/sync/reach.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { Fixture } from './fixture.ts';

let world: Fixture;
let given: { stores: readonly string[]; want: number | undefined; isByItself: boolean };
const clock = new TurnedClock();

beforeEach(() => {
  world = new Fixture();
  given = { stores: ['one'], want: undefined, isByItself: true };
  world.write('/ipfs/f', 'one');
});
afterEach(() => world.close());

const hindrance = (rung: Rung, path = '/ipfs/f', ino = world.ino(path)): string => {
  const { journal } = world;
  const { stores, want, isByItself } = given;
  const ladder = new Ladder({ journal, clock }, { want, checkS: 3600 });
  const background = { publishes: () => isByItself };
  const ports: ReachPorts = { journal, background, ladder, stores };
  return hindranceOf(ports, ino, rung) ?? 'none';
};

/** What the store says of `/ipfs`. */
const say = (by: (row: TargetRow) => Partial<TargetRow>) => {
  const row = world.journal.targets.get(nameOfText('/ipfs'), 'one');
  if (row === undefined) throw new Error('nothing is owed');
  world.journal.commit(() => world.journal.targets.put({ ...row, ...by(row) }));
};
const hold = async ({ pin = true } = {}) => {
  await world.publish('/ipfs', { targets: ['one'], pin });
  const said = { state: pin ? 'pinned' : 'stored', dueS: undefined } as const;
  say(({ wanted }) => ({ ...said, checkedS: clock.now().s, held: { ...wanted, pin } }));
};

test('a tree that is published by itself comes to its store, however late', async () => {
  expect([hindrance('stored'), hindrance('pinned')]).toEqual(['none', 'none']);
  await world.publish('/ipfs', { targets: ['one'] });
  say(() => ({ state: 'failed', attempts: 9, failure: 'not-running' }));
  expect(hindrance('pinned')).toBe('none');
});

test('without a store nothing comes to one, and what is here does', () => {
  given.stores = [];
  expect(hindrance('stored')).toMatch(/no store is configured/);
  expect([hindrance('local'), hindrance('fsynced')]).toEqual(['none', 'none']);
});

test('what is in memory, or content by CID, comes to no store', () => {
  world.write('/mem/f', 'one');
  expect(hindrance('stored', '/mem/f')).toMatch(/no store/);
  expect(hindrance('stored', '', (2 ** 50) as Ino)).toMatch(/no store/);
});

test('what has no bytes is never hashed', () => {
  world.write('/ipfs/empty', '');
  expect(hindrance('local', '/ipfs/empty')).toMatch(/no bytes/);
  expect(hindrance('stored', '/ipfs/empty')).toBe('none');
});

test('as many copies as nobody wants, or nobody can have, are never there', () => {
  expect(hindrance('replicated')).toMatch(/sync\.want/);
  given.want = 2;
  expect(hindrance('replicated')).toBe('sync.want is 2, of 1 stores');
  given.want = 1;
  expect(hindrance('replicated')).toBe('none');
});

test('what a store does not take waits for somebody, not for time', async () => {
  await world.publish('/ipfs', { targets: ['one'] });
  say(() => ({ state: 'failed', failure: 'sync-conflict', dueS: undefined }));
  expect(hindrance('stored')).toMatch(/one has something else in its place/);
});

describe('a tree that is published when somebody asks', () => {
  beforeEach(() => {
    given.isByItself = false;
  });

  test('comes to a store once it is owed, or is there', async () => {
    expect(hindrance('stored')).toMatch(/kitfs sync/);
    await world.publish('/ipfs', { targets: ['one'] });
    expect(hindrance('pinned')).toBe('none');
    await hold();
    expect(hindrance('pinned')).toBe('none');
    world.write('/ipfs/f', 'two');
    expect(hindrance('stored')).toMatch(/kitfs sync/);
  });

  test('is not pinned when that was not asked for', async () => {
    await hold({ pin: false });
    expect(hindrance('stored')).toBe('none');
    expect(hindrance('pinned')).toMatch(/without a pin/);
  });
});
