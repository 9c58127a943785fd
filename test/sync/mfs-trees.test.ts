/** How often a node is asked for what its mutable tree is. */
import { expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { MFS_LOOK_MS } from '../../src/base/limits.ts';
import { blockKey, parseCid } from '../../src/content/content.ts';
import { rootRow } from '../../src/sync/mfs-judge.ts';
import { MfsTrees } from '../../src/sync/sync.ts';
import { TurnedClock } from '../fakes/clock.ts';
import { Fixture } from './fixture.ts';

const EMPTY = parseCid('bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354');

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
