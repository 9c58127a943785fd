/** Trees of MFS whose node is slow. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { nameOfText } from '../../src/base/ids.ts';
import { MfsTrees } from '../../src/sync/sync.ts';
import { RememberedLog } from '../fakes/log.ts';
import { Fixture } from './fixture.ts';

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
