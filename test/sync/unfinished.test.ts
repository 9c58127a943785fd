/** The laws of what a publication held that failed, or ended with the daemon. */
import { afterEach, beforeEach, expect, test } from 'vitest';
import { OpError } from '../../src/base/errors.ts';
import type { ContentId } from '../../src/base/ids.ts';
import { blockKey, cidOfBytes } from '../../src/content/content.ts';
import { checkJournal } from '../../src/journal/journal.ts';
import { Releaser } from '../../src/sync/release.ts';
import { noteUnfinished, unfinishedOf } from '../../src/sync/unfinished.ts';
import { Fixture } from './fixture.ts';

const SILENT = { info() {}, warn() {}, error() {} };
const SIZE = 300_000;

let world: Fixture;
beforeEach(() => {
  world = new Fixture();
});
afterEach(() => world.close());

const release = () => new Releaser({ ...world, log: SILENT }, 1).release(world.signal);
const contentOf = (path: string): ContentId => world.inode(path).content;
const heldOf = (id: ContentId) => world.contents.row(id)?.held;

/** A publication that ends just before its record; what its file `f` shows. */
async function failed(text = 'x'): Promise<ContentId> {
  world.write('/ipfs/f', text.repeat(SIZE));
  const onRecord = () => {
    throw new OpError('io', 'stopped');
  };
  await expect(world.publish('/ipfs', { onRecord })).rejects.toMatchObject({ failure: 'io' });
  return contentOf('/ipfs/f');
}

test('it is let go once the file has other bytes and nothing leads to it', async () => {
  const content = await failed();
  expect(heldOf(content)).toBe(1);
  world.write('/ipfs/f', 'y'.repeat(SIZE));
  await world.publish('/ipfs');
  expect(await release()).toMatchObject({ snapshots: 0, objects: 1 });
  expect(heldOf(content)).toBe(0);
  expect(world.journal.meta.get('unfinished')).toBe('');
  expect(await release()).toEqual({ snapshots: 0, objects: 0, bytes: 0 });
  expect(checkJournal(world.journal)).toEqual([]);
});

test('what a later snapshot has of it stays', async () => {
  const content = await failed();
  const { snapshot } = await world.publish('/ipfs');
  await release();
  expect(heldOf(content)).toBe(1);
  world.write('/ipfs/f', 'y');
  world.mkdir('/ipfs/again');
  await world.restore(snapshot, '/ipfs/again');
  expect(world.bytes('/ipfs/again/f').toString()).toBe('x'.repeat(SIZE));
});

test('what somebody pinned of it stays', async () => {
  const content = await failed();
  const cid = await world.sealer.seal(content, world.signal);
  const pin = { cid: blockKey(cid), type: 'recursive', name: null, time_s: 0, time_ns: 0 } as const;
  world.journal.commit(() => world.journal.contents.setPin(pin));
  world.write('/ipfs/f', 'y');
  await world.publish('/ipfs');
  await release();
  expect(heldOf(content)).toBe(1);
  expect(world.blocks.get(cidOfBytes(blockKey(cid)))).toBeDefined();
});

test('nothing of it goes while somebody stores', async () => {
  const content = await failed();
  world.write('/ipfs/f', 'y');
  const stored = await world.contents.holding.during(async () => {
    await release();
    return heldOf(content);
  });
  expect(stored).toBe(1);
});

test('a publication that is recorded leaves nothing noted, and what was noted before stays so', async () => {
  world.write('/ipfs/f', 'w');
  await world.publish('/ipfs');
  expect(world.journal.meta.get('unfinished') ?? '').toBe('');
  const content = await failed();
  const noted = world.journal.meta.get('unfinished');
  expect(noted).toBe(`${content}-${content}`);
  world.write('/ipfs/f', 'y');
  await world.publish('/ipfs');
  expect(world.journal.meta.get('unfinished')).toBe(noted);
});

test('of a damaged note only what can be read is meant, and only what is there', async () => {
  const { journal } = world;
  const ids = [1, 2, 3].map((at) => {
    world.write(`/ipfs/f${at}`, `bytes ${at}`);
    return contentOf(`/ipfs/f${at}`);
  });
  journal.commit(() => noteUnfinished(journal, ids));
  const read = async () => {
    const found: ContentId[] = [];
    for await (const id of unfinishedOf(journal)) found.push(id);
    return found;
  };
  expect(await read()).toEqual(ids);
  const [first = 0] = ids;
  const damaged = `x ${first}-999999999999999 -1 7- 5-1`;
  journal.commit(() => journal.meta.set('unfinished', damaged));
  expect(await read()).toEqual(
    journal.contents.page((first - 1) as ContentId, 9).map((row) => row.id),
  );
});
