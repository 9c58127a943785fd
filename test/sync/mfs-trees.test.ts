/** How trees of MFS ask their node, and wait for it. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { MFS_LOOK_MS } from '../../src/base/limits.ts';
import { blockKey, parseCid } from '../../src/content/content.ts';
import { rootRow } from '../../src/sync/mfs-judge.ts';
import { MfsTrees } from '../../src/sync/sync.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Fixture } from './fixture.ts';

const EMPTY = parseCid('bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354');

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

test('who cannot wait longer waits for no round of others, and takes no turn from those behind', async () => {
  const asked: AbortSignal[] = [];
  const { ino: root, superblock } = world.inode('/ipfs');
  const path = nameOfText('/ipfs');
  const tree = { mountId: 'm', superblock, path, root, source: '/shared', readOnly: true };
  const trees = new MfsTrees({
    ...world,
    ...{ log: new RememberedLog(), isRoot: true, reach: () => world.dag },
    syncJournal: () => Promise.resolve(),
    mounts: { all: () => [tree], bring: () => undefined, isWritten: () => false },
    end: {
      isSure: true,
      stat: (_, { signal }) =>
        new Promise((_resolve, refuse) => {
          asked.push(signal);
          signal.addEventListener('abort', () => refuse(signal.reason));
        }),
      edit: () => Promise.resolve(),
    },
  });
  const first = new AbortController();
  const hasty = new AbortController();
  const patient = new AbortController();
  const slow = trees.settle(first.signal);
  const waiting = trees.settle(hasty.signal);
  const behind = trees.settle(patient.signal);
  const late = new Error('no time is left');
  hasty.abort(late);
  await expect(waiting).rejects.toBe(late);
  expect(asked).toEqual([first.signal]);
  first.abort(late);
  await expect(slow).rejects.toBe(late);
  await expect.poll(() => asked).toEqual([first.signal, patient.signal]);
  patient.abort(late);
  await expect(behind).rejects.toBe(late);
});

test('a node is asked for a tree that is mounted read-only once in each interval', async () => {
  const w = new Fixture();
  const clock = new TurnedClock();
  const root = w.ino('/ipfs');
  w.journal.commit(() => w.journal.mfsSeen.put(rootRow(root, blockKey(EMPTY))));
  let asked = 0;
  const stat = () => {
    asked += 1;
    const there = { cid: EMPTY, type: 'directory', size: 0, cumulativeSize: 0, blocks: 0 } as const;
    return Promise.resolve(there);
  };
  const edit = () => Promise.reject(new Error('nothing is changed there'));
  const tree = {
    ...{ mountId: 'm', superblock: w.inode('/ipfs').superblock, path: nameOfText('/ipfs') },
    ...{ root, source: '/', readOnly: true },
  };
  const trees = new MfsTrees({
    ...{ journal: w.journal, contents: w.contents, blocks: w.blocks, dag: w.dag },
    ...{ sealer: w.sealer, builder: w.builder, clock, isRoot: true, reach: () => w.dag },
    log: { info() {}, warn() {}, error() {} },
    end: { isSure: true, stat, edit },
    syncJournal: () => Promise.resolve(),
    mounts: { all: () => [tree], bring: () => undefined, isWritten: () => false },
  });
  const stop = new AbortController();
  const running = trees.run(stop.signal).catch(() => undefined);
  await clock.turn(3 * MFS_LOOK_MS);
  expect(asked).toBeGreaterThanOrEqual(2);
  expect(asked).toBeLessThanOrEqual(4);
  stop.abort(new Error('the test is over'));
  await running;
  await w.close();
});
